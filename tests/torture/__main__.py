"""Torture the folder of a store, as docs/format.md promises that it may be.

``python tests/torture --rounds 1000`` kills a writer a thousand times, fills a small disk as often, tears as many;
``--kind kill|fill|tear`` does one of them, ``--seed`` draws other rounds. A broken promise ends it with an error.
"""

import os

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")  # before anything is imported: forks are safe, and small work is quicker

import argparse
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from disk import filled, small_disk
from rounds import killed, outcome
from tears import make, torn
from tqdm.auto import tqdm

ANEW = 25  # rounds after which a folder begins anew


def kill_rounds(count, rng):
    with tempfile.TemporaryDirectory(prefix="dkvector-torture-") as name:
        folder, state, told = Path(name) / "rows", {}, Counter()
        for at in range(count):
            if at % ANEW == 0:
                shutil.rmtree(folder, ignore_errors=True)
                state = {}
            before, state = state, killed(folder, state, rng)
            told["later state" if state != before else "same state"] += 1
            yield told


def fill_rounds(count, rng):
    with small_disk() as (disk, mounted):
        state, told = {}, Counter()
        for at in range(count):
            if at % ANEW == 0:
                shutil.rmtree(disk / "rows", ignore_errors=True)
                state = {}
            state = filled(disk, mounted, state, rng)
            told["full disk" if mounted else "file limit"] += 1
            yield told


def tear_rounds(count, rng):
    with tempfile.TemporaryDirectory(prefix="dkvector-torture-") as name:
        template, told = Path(name) / "whole", Counter()
        for at in range(count):
            if at % ANEW == 0:
                shutil.rmtree(template, ignore_errors=True)
                (line,) = outcome(make, template, rng.random())
                states = [dict(state) for state in json.loads(line)]
            told[torn(template, Path(name) / "rows", states, rng)] += 1
            yield told


KINDS = {"kill": kill_rounds, "fill": fill_rounds, "tear": tear_rounds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--kind", choices=KINDS, nargs="*", default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for kind in args.kind:
        start, told = time.perf_counter(), Counter()
        rounds = KINDS[kind](args.rounds, random.Random(f"{kind} {args.seed}"))
        for each in tqdm(rounds, total=args.rounds, desc=kind):
            told = each
        print(f"{kind}: {told.total()} rounds in {time.perf_counter() - start:.0f} s:", dict(told))


if __name__ == "__main__":
    main()
