"""Data and clocks of the measurements: seeded clusters, and the minimum of interleaved repeats."""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

import dkvector as dkv

CLUSTERS, RANK = 200, 64


def clustered(rows: int, dimensions: int = 384, queries: int = 1000, seed: int = 0):
    """Unit vectors `(rows, d)` in 200 clusters with a rank-64 spread, and queries from the same clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CLUSTERS, dimensions)).astype("f4")
    spread = rng.standard_normal((CLUSTERS, RANK, dimensions)).astype("f4") / np.sqrt(RANK)

    def draw(count):
        vectors = np.empty((count, dimensions), "f4")
        cluster = rng.integers(0, CLUSTERS, count)
        for one in range(CLUSTERS):
            at = np.flatnonzero(cluster == one)
            vectors[at] = centres[one] + rng.standard_normal((len(at), RANK)).astype("f4") @ spread[one]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return draw(rows), draw(queries)


def framed(vectors, seed: int = 0) -> pd.DataFrame:
    """The vectors with a payload such as people have: a number, a text, a group, and `u` for filters of any share."""
    rng = np.random.default_rng(seed)
    n = len(vectors)
    return pd.DataFrame(
        {
            "u": rng.random(n),
            "n": np.arange(n),
            "text": pd.Series([f"row number {i}" for i in range(n)], dtype="str"),
            "group": pd.Categorical(rng.choice(list("abcdef"), n)),
            "embedding": dkv.VectorArray(vectors),
        }
    )


def fastest(
    *calls: Callable[[], object], repeats: int = 7, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """The minimum time of each call, in ms, over repeats that take turns: noise meets all of them alike."""
    took = [[] for _ in calls]
    for _ in range(repeats):
        for call, times in zip(calls, took, strict=True):
            start = clock()
            call()
            times.append(clock() - start)
    return [min(times) * 1e3 for times in took]


def line(name: str, ours: float, bare: float, target: str = "") -> None:
    """Print one measurement."""
    print(f"{name:<52}{ours:>11.3f}{bare:>11.3f}{ours / bare:>8.2f}  {target}")


def head(title: str, bare: str) -> None:
    """Print the head of a table."""
    print(f"\n{title:<52}{'ours ms':>11}{bare:>11}{'ratio':>8}  target")
