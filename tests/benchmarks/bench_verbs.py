"""The frame's verbs beside faiss.knn on the same vectors in the same run; whole calls, DataFrame included.

At 200,000 rows only some of them ask, so that a run takes less than a minute.
Run it alone on the machine: ``python tests/benchmarks/bench_verbs.py [20000 200000]``. On a busy one, CPU time on one
thread says more: ``OMP_NUM_THREADS=1 python tests/benchmarks/bench_verbs.py cpu 20000``.
"""

import sys
import time

import faiss
import numpy as np
from _data import clustered, fastest, framed, head, line

import dkvector as dkv
from dkvector.backends._knn import nearest
from dkvector.backends._topk import Block
from dkvector.results import assemble
from dkvector.verbs._ground import ground

K = 10
CLOCK = time.process_time if "cpu" in sys.argv else time.perf_counter
ASKING = 2_000  # rows that ask, where there are too many for all to


def bare(queries, vectors, k):
    """What Faiss alone takes: with one neighbour more where each row finds itself."""
    return lambda: faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)


def pairs(frame, vectors, repeats) -> None:
    """Neighbours and joins against the bare product."""
    some = frame.iloc[:: max(1, len(frame) // ASKING)] if len(frame) > 50_000 else frame
    mine = some["embedding"].vec.to_numpy()
    if some is frame:
        ours, theirs = fastest(
            lambda: frame.vec.neighbors(K), bare(vectors, vectors, K + 1), repeats=repeats, clock=CLOCK
        )
        line(f"neighbors, k = {K}", ours, theirs, "≤ 1.20")
    for how, k in (("inner", 1), ("left", K)):
        call = lambda how=how, k=k: some.vec.join(frame, k, how=how, min_score=0.3)  # noqa: E731 - timed
        ours, theirs = fastest(call, bare(mine, vectors, k), repeats=repeats, clock=CLOCK)
        line(f"join of {len(some):,}, {how}, k = {k}", ours, theirs, "≤ 1.20")
    lengths = np.linspace(0.5, 2, len(vectors), dtype="f4")[:, None]
    longer = frame.assign(embedding=dkv.VectorArray(vectors * lengths))
    ours, theirs = fastest(lambda: some.vec.join(longer, K), bare(mine, vectors, K), repeats=repeats, clock=CLOCK)
    line(f"join of {len(some):,}, lengths that differ", ours, theirs, "≤ 1.20")


def asking(frame, vectors, repeats) -> None:
    """The neighbours of some rows, as the table of all gives them: too many would ask otherwise."""
    rows = ground(frame, "embedding", dkv.DistanceMetric.COSINE, on_bad="raise")
    at = np.arange(0, len(frame), len(frame) // ASKING)
    columns = [name for name in frame if name != "embedding"]

    def ours():
        near = nearest(Block(0, rows.matrix), vectors[at], K, rows.metric, own=at)
        labels, payload = frame.index.take(near.positions), rows.take(columns, near.positions)
        return assemble(labels, near.distances, near.counts, rows.metric, queries=frame.index[at], payload=payload)

    took = fastest(ours, bare(vectors[at], vectors, K + 1), repeats=repeats, clock=CLOCK)
    line(f"neighbors of {len(at):,} of the rows", *took, "≤ 1.20")


def others(frame) -> None:
    """What the other verbs take, on their own."""
    calls = {
        "duplicates(0.95)": frame.vec.duplicates,
        "drop_duplicates(0.95)": frame.vec.drop_duplicates,
        "cluster(20)": lambda: frame.vec.cluster(20),
        "outliers(method='lof')": lambda: frame.vec.outliers(method="lof"),
        "sample(100)": lambda: frame.vec.sample(100),
        "check()": frame.vec.check,
    }
    for name, call in calls.items():
        start = CLOCK()
        call()
        print(f"{name:<52}{(CLOCK() - start) * 1e3:>11.1f}")


def main(sizes) -> None:
    for rows in sizes:
        vectors, _ = clustered(rows)
        frame = framed(vectors)
        head(f"{rows:,} x {vectors.shape[1]}", "faiss.knn")
        pairs(frame, vectors, 3)
        asking(frame, vectors, 3)
        if rows <= 50_000:
            others(frame)


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:] if one.isdigit()] or [20_000, 200_000])
