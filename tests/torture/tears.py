"""Files torn at random: cut, flipped, emptied, gone, longer."""

import json
import random
import shutil
import warnings

from model import Op, check_answers, held
from rounds import BrokenPromiseError, opened, outcome

from dkvector.backends import _checks
from dkvector.errors import SchemaError


def make(say, folder, seed):
    """A folder as a killed writer leaves it: row files, a mask of the dead, an index, and a log; tell its states."""
    rng, states = random.Random(seed), [{}]
    ops = [Op("upsert", list(range(40)), 1), Op("build", stamp=1 + rng.randrange(2)), Op("upsert", [3, 45, 46], 2)]
    ops += [Op("delete", [5, 6, 7, 8, 9, 10]), Op("upsert", [50], 3), Op("delete", [46])]
    ops += [Op("upsert", [51, 52], 4), Op("upsert", [3], 5), Op("delete", [52, 2])]
    store = opened(folder)
    for op in ops:
        op.do(store)
        states.append(op.after(states[-1]))
    kinds = {path.name.split("-")[0].rstrip("0123456789") for path in folder.iterdir()}
    if kinds != {"rows", "dead", "index", "log", "manifest.json", "lock"}:
        raise BrokenPromiseError(f"only {kinds}")
    say(json.dumps([sorted(state.items()) for state in states[-6:]]))


def tear(path, rng):
    """Do a random harm to a file, and tell what."""
    data = bytearray(path.read_bytes())
    harm, at = rng.choice(["cut", "flip", "empty", "gone", "longer", "flip"]), rng.randrange(len(data))
    if harm == "gone":
        path.unlink()
        return harm, at
    if harm == "cut":
        del data[at:]
    elif harm == "flip":
        data[at] ^= rng.randint(1, 255)
    elif harm == "longer":
        data += rng.randbytes(rng.randint(1, 5000))
    else:
        stop = min(len(data), at + rng.choice([8, 64, 4096]))
        data[at:stop] = bytes(stop - at)
    whole = path.with_name("torn")
    whole.write_bytes(data)  # another inode, as after a copy or a repair of the disk
    whole.replace(path)
    return harm, at


def look(say, folder, name, states, draw):
    """Open what was torn: what is not refused or told must be right, wherever opening promises to notice."""
    seed, budget = draw
    state = states[-1]
    _checks.READ, rng = budget, random.Random(seed)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            store = opened(folder)
        except SchemaError as exc:
            return say(verdict(str(exc), name, "refused"))
    with store:
        if told:
            say(verdict(str(told[0].message), name, "told"))
        try:
            store.verify()
        except SchemaError as exc:
            if not told:
                found = verdict(str(exc), name, "verified")
                if budget:
                    raise BrokenPromiseError(f"{found}: opening read everything, and did not notice") from exc
                return say(try_everything(store, name, state, rng))
        if held(store) not in states:
            raise BrokenPromiseError(f"{held(store)} instead of {state}")
        state = held(store)
        check_answers(store, state, rng)
        Op("upsert", [1, 2], 9).do(store)
        check_answers(store, Op("upsert", [1, 2], 9).after(state), rng)
    return say("told" if told else "harmless")


def verdict(message, name, kind):
    if name not in message and not (name == "manifest.json" and "another version" in message):
        raise BrokenPromiseError(f"{name} was torn, but the message is: {message}")
    return kind


def try_everything(store, name, state, rng):
    """What is read only on demand may be wrong, but it crashes nothing and is never copied under a new checksum."""
    queries = [[rng.gauss(0, 1) for _ in range(32)] for _ in range(5)]
    for exact in (True, False):
        store.search(queries, 10, tuning={"exact": exact})
        store.search(queries, 10, where="stamp < 3", tuning={"exact": exact}, include_vectors=True)
    store.to_frame()
    try:
        Op("delete", sorted(state)[: len(state) // 2]).do(store)  # numbers the living anew
    except SchemaError as exc:
        return verdict(str(exc), name, "found by verify, not copied")
    if name.startswith("rows"):
        raise BrokenPromiseError(f"{name} was torn, and copied")
    store.verify()
    return "found by verify, built anew"


def torn(template, folder, states, rng):
    """Tear a copy of a folder, look at it, and tell what came of it."""
    shutil.copytree(template, folder)
    name = rng.choice(sorted(path.name for path in template.iterdir() if path.name != "lock"))
    harm, at = tear(folder / name, rng)
    if not (name.startswith("log") and harm == "empty"):  # zeros over its end are no record
        states = states[-1:]
    try:
        said = outcome(look, folder, name, states, (rng.random(), rng.choice([0, _checks.READ])))
    except BrokenPromiseError as fault:
        raise BrokenPromiseError(f"{harm} at {at} of {name} in {folder}: {fault}") from fault
    shutil.rmtree(folder)
    return said[-1]
