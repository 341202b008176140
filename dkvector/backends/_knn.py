"""Exact neighbours of very many queries: in batches that can be interrupted, by the engine that is faster.

Faiss's blocked product beats ours where it is installed and the batch is large enough for it to use BLAS. What it
finds is measured again, so that both give the same rows and numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import numpy as np

from dkvector.backends import _topk
from dkvector.backends._topk import Block, Nearest, Positions
from dkvector.metrics import DistanceMetric, Floats
from dkvector.progress import bar

BATCH = 4096  # queries between two looks at the progress bar: as many as Faiss multiplies at once
MUCH = 3e11  # multiplications from which a progress bar shows by itself: some seconds

Engine = Callable[[Floats, int], Nearest]


def nearest(
    block: Block,
    queries: Floats,
    k: int,
    metric: DistanceMetric,
    *,
    own: Positions | None = None,
    progress: bool | None = False,
) -> Nearest:
    """Find the k nearest rows of every query, exactly.

    Args:
        block: the vectors `(n, d)`.
        queries: `(q, d)` float32.
        k: how many neighbours a query gets, at most.
        metric: the metric.
        own: `(q,)` a row that each query must not find; -1 where there is none.
        progress: show a bar; None shows one where there is much to do.

    Returns:
        The neighbours, nearest first, ties in the order of the rows.
    """
    engine = engine_for(block, queries, metric)
    parts = []
    for at in batches(len(queries), len(block.matrix) * block.matrix.shape[1], progress):
        near = engine(queries[at], k if own is None else k + 1)
        parts.append(near if own is None else without_own(near, own[at], k))
    return _topk.joined(parts)


def batches(
    queries: int, cost: int, progress: bool | None, *, label: str = "neighbours", size: int | None = None
) -> Iterator[slice]:
    """Cut queries into batches, each of which costs `cost` multiplications a query."""
    show = queries * cost >= MUCH if progress is None else progress
    with bar(queries, label, unit="rows", show=show) as done:
        size = size or BATCH
        for at in range(0, queries, size):
            yield slice(at, at + size)
            done(min(size, queries - at))


def engine_for(block: Block, queries: Floats, metric: DistanceMetric) -> Engine:
    """Choose what searches these rows for batches of such queries."""
    ours = partial(_ours, block, metric)
    if len(queries) < 2 or find_spec("faiss") is None:  # noqa: PLR2004 - a batch has several
        return ours
    from dkvector.backends import _faiss_knn  # noqa: PLC0415 - the engine is optional

    theirs = _faiss_knn.FaissKnn(block, metric)
    # asked for every batch: the last one may be too small for a product of matrices
    return lambda some, k: theirs.nearest(some, k, partial(ours, k=k)) if _faiss_knn.many(some) else ours(some, k)


def _ours(block: Block, metric: DistanceMetric, queries: Floats, k: int) -> Nearest:
    return _topk.search([block], queries, k, metric)


def without_own(wide: Nearest, own: Positions, k: int) -> Nearest:
    """Leave each query's own row out of k + 1 neighbours, and keep k of the rest."""
    query = np.repeat(np.arange(len(own)), wide.counts)
    others = wide.positions != own[query]
    return _topk.best_of(query[others], wide.positions[others], wide.distances[others], len(own), k=k)
