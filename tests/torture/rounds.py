"""Children that may be killed or crash: forked from a parent that has everything imported and has run nothing."""

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path

from model import Op, check_answers, drawn, held
from tqdm.auto import tqdm

import dkvector as dkv
from dkvector.backends import _dead, _disk, _log
from dkvector.backends import _faiss_upkeep as upkeep

CRASHED = 99
PATIENCE = 120  # seconds until a child that hangs is ended
tqdm.monitor_interval = 0  # no thread beside those that fork,
tqdm.set_lock(threading.RLock())  # and no lock that a killed child keeps from the others


class BrokenPromiseError(AssertionError):
    """A promise was broken."""


def opened(folder):
    return dkv.connect("faiss", path=folder)


def named(folder):
    """Files that belong in a folder at rest."""
    read = json.loads((folder / "manifest.json").read_bytes())
    others = [read[key] for key in ("dead", "log") if read[key]]
    files = [*read["segments"], *read["indexes"].values(), *others]
    return {"manifest.json", "lock", *(one["file"] for one in files)}


def eager():
    """Small stores do what large ones do: extend an index, write masks of dead rows, fill a log."""
    upkeep.BEHIND, upkeep.BEHIND_SHARE, _dead.LOOSE, _log.SIZE = 5, 0.0, 5, 1 << 13


def child(work, *args: object):
    """Run work in a child, and give its process and the end of a pipe that tells what it says."""
    told, telling = os.pipe()
    process = os.fork()
    if process:
        os.close(telling)
        return process, os.fdopen(told, "r")
    code = CRASHED
    try:
        os.close(told)
        with os.fdopen(telling, "w", buffering=1) as say:
            try:
                warnings.simplefilter("ignore")
                signal.alarm(PATIENCE)
                eager()
                work(lambda text: say.write(f"{text}\n"), *args)
                code = 0
            except BaseException:  # noqa: BLE001 - whatever it is, the parent must hear of it
                say.write("fault " + json.dumps(traceback.format_exc()) + "\n")
    finally:
        os._exit(code)


def outcome(work, *args: object):
    """Run work in a child to its end.

    Returns:
        The lines it said.

    Raises:
        BrokenPromiseError: it failed, or was ended by a signal.
    """
    process, lines = child(work, *args)
    with lines:
        said = lines.read().splitlines()
    status = os.waitpid(process, 0)[1]
    for line in said:
        if line.startswith("fault "):
            raise BrokenPromiseError(json.loads(line[6:]))
    if os.WIFSIGNALED(status):
        raise BrokenPromiseError(f"crashed by signal {signal.Signals(os.WTERMSIG(status)).name} after {said[-1:]}")
    if status:
        raise BrokenPromiseError(f"ended with {status} after {said[-1:]}")
    return said


def write_on(say, folder, state, seed, step):
    """Write until killed, telling before each commit what it will be, and after it that it is."""
    rng = random.Random(seed)
    store = opened(folder)
    for count in range(10_000):
        op = drawn(rng, state)
        say(op.to_json())
        if not count and step:
            kill_at(step)
        op.do(store)
        say("done")
        state = op.after(state)
        left = {path.name for path in folder.iterdir()} - named(folder)
        if left:
            raise BrokenPromiseError(f"left behind: {sorted(left)}")


def kill_at(step):
    """Be killed right before the n-th time that a file is opened, renamed or removed, or a flush begins.

    Or in the middle of writing to a log, or right after it.
    """
    left = [step]

    def count(event, _args):
        if event in {"open", "os.rename", "os.remove", "os.listdir", "os.truncate"}:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    flush = _disk.flush

    def flushed(path):
        count("open", ())
        flush(path)

    def torn(write):
        def written(handle, data, at):
            if left[0] == 1:
                write(handle, data[: step * 7919 % len(data)], at)
            count("open", ())
            write(handle, data, at)

        return written

    _disk.flush, _disk.write_at, _disk.write_flushed = flushed, torn(_disk.write_at), torn(_disk.write_flushed)


def check_committed(say, folder, candidates, seed):
    """Find which of the states is there, whole in every part."""
    with opened(folder) as store:
        state = held(store)
        if state not in candidates:
            raise BrokenPromiseError(f"{state} is none of {candidates}")
        check_answers(store, state, random.Random(seed))
        store.verify()
        say(json.dumps(sorted(state.items())))


def killed(folder: Path, state, rng):
    """Kill a writer at an instant, and give the state that it left."""
    step = rng.choice([0, rng.randint(1, 40)])
    process, lines = child(write_on, folder, state, rng.random(), step)
    with lines:
        said = [lines.readline()]
        if not step:
            time.sleep(rng.uniform(0, 0.06))
            os.kill(process, signal.SIGKILL)
        said += lines.readlines()
    os.waitpid(process, 0)
    candidates = [state]
    for line in said:
        if line.startswith("fault "):
            raise BrokenPromiseError(json.loads(line[6:]))
        if line == "done\n":
            candidates = candidates[-1:]
        elif line.endswith("}\n"):
            candidates.append(Op.of(line).after(candidates[-1]))
    (last,) = outcome(check_committed, folder, candidates, rng.random())
    return dict(json.loads(last))
