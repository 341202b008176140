"""How the true neighbours are found: exactly, in blocks on all cores, from memory or chunk by chunk, and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from dkvector.backends import _topk
from dkvector.backends._knn import nearest
from dkvector.backends._topk import Block, Nearest, Positions
from dkvector.counts import as_count
from dkvector.errors import SchemaError
from dkvector.evaluation import cache as caching
from dkvector.evaluation.asked import Queries, own_rows, read_asked
from dkvector.evaluation.fingerprint import Digest, digest
from dkvector.evaluation.sources import Chunk, Content, FrameSource, Held, columns_of, read_source
from dkvector.evaluation.truth import Truth
from dkvector.filters import as_filter
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric


def ground_truth(
    data: Any,
    queries: Any,
    k: int = 10,
    *,
    on: str | None = None,
    where: Any = None,
    metric: DistanceMetric | str | None = None,
    exclude_self: bool | None = None,
    on_bad: OnBad = "raise",
    cache: bool | str | PathLike[str] = True,
    progress: bool | None = None,
) -> Truth:
    """Find the true neighbours of many queries, exactly.

    Args:
        data: a DataFrame, a store, an Arrow table or dataset, or the path of Parquet files; stores and files are read
            in chunks, so that they may be larger than memory.
        queries: vectors `(q, d)`, a Series of them, or a frame with a vector column.
        k: neighbours of each query.
        on: the vector column, where there are several.
        where: a filter, applied before the neighbours are taken.
        metric: what to measure by; the store's own, or cosine, by default.
        exclude_self: leave out the row that a query is itself. By default that is a row of the query's label with the
            very same vector; True goes by the label alone.
        on_bad: "drop" leaves out the rows whose vectors can't be used.
        cache: keep the answer, by the content of all that it depends on, in the user's cache folder or this one.
        progress: show a bar; None shows one where there is much to do.

    Returns:
        The neighbours, nearest first, ties in the order of the rows; fewer than k only where fewer rows match.

    Raises:
        VectorError: vectors or queries that can't be used; names the rows.
        FilterError: a filter that can't be read.

    Example:
        >>> import dkvector as dkv
        >>> digits = dkv.datasets.load_digits()
        >>> dkv.ground_truth(digits, digits.head(2), k=2, metric="euclidean").to_frame().round(2)
              query  rank  score  distance
        877       0     1   0.08     10.95
        1365      0     2   0.07     12.81
        93        1     1   0.07     14.25
        1120      1     2   0.05     19.42
    """
    source = read_source(data, on, on_bad)
    by = source.metric if metric is None else DistanceMetric.of(metric)
    chunks = source.chunks(columns_of([where]), by)
    first = next(chunks, None)
    if first is None:
        raise SchemaError("there are no rows to find neighbours among")
    asked = read_asked(queries, first.matrix.shape[1], by)
    wanted = Wanted(as_count(k), by, where, exclude_self, progress)
    # a frame is one chunk, which need not be read again
    rows = Held(first) if isinstance(source, FrameSource) else source
    return truth_of(rows, asked, wanted, cache, begun=_again(first, chunks))


@dataclass(frozen=True)
class Wanted:
    """What neighbours are wanted: see `ground_truth`."""

    k: int
    metric: DistanceMetric
    where: Any = None
    exclude_self: bool | None = None
    progress: bool | None = False

    @property
    def key(self) -> tuple[Any, ...]:
        """All that the answer depends on beside rows and queries."""
        return self.k, self.metric.value, *where_key(self.where), self.exclude_self


def where_key(where: Any) -> tuple[Any, ...]:
    """Give what a filter is known by: its text, or the labels and values of a boolean Series."""
    if isinstance(where, pd.Series):
        return where.index, where.to_numpy(dtype=bool, na_value=False)
    return (str(as_filter(where)),)


def truth_of(
    source: Content,
    asked: Queries,
    wanted: Wanted,
    cache: bool | str | PathLike[str],
    *,
    begun: Iterator[Chunk] | None = None,
) -> Truth:
    """Find the true neighbours, or know them from before; `begun` are the chunks of the source, where it is open."""
    folder, read = caching.folder_of(cache), partial(source.chunks, columns_of([wanted.where]), wanted.metric)
    chunks = read() if begun is None else begun
    first = next(chunks)
    chunks = _again(first, chunks)
    small = len(first.matrix) * asked.matrix.size < caching.LEAST
    # a folder that is named keeps even what is found quickly
    if folder is None or (small and isinstance(cache, bool)):
        return _found(chunks, asked, wanted)
    content, seen = source.key, Digest()
    if content is None:
        # in memory, or in a store, which tells what it holds by being read: then read anew, so as not to hold it all
        for chunk in chunks:
            seen.add(*_content(chunk, wanted))
        chunks = read()
    known = caching.load(folder, _key(content or seen.text, asked, wanted))
    if known is not None:
        return replace(known, queries=asked.labels, metric=wanted.metric)
    searched = Digest()
    found = _found(chunks if content else _digested(chunks, wanted, searched), asked, wanted)
    caching.save(folder, _key(content or searched.text, asked, wanted), found)
    return found


def _key(content: str, asked: Queries, wanted: Wanted) -> str:
    return digest(content, asked.matrix, asked.labels, *wanted.key)


def _content(chunk: Chunk, wanted: Wanted) -> Sequence[Any]:
    """Give what the answer depends on; what is in the filter's columns matters only by the rows that match."""
    rows = chunk.matching(wanted.where)
    return chunk.matrix, chunk.labels, *(() if rows is None else (rows,))


def _digested(chunks: Iterator[Chunk], wanted: Wanted, seen: Digest) -> Iterator[Chunk]:
    """Digest chunks on their way: a store may hold other rows than a moment ago, when it was read to be known."""
    for chunk in chunks:
        seen.add(*_content(chunk, wanted))
        yield chunk


def _again(first: Chunk, rest: Iterator[Chunk]) -> Iterator[Chunk]:
    yield first
    yield from rest


def _found(chunks: Iterator[Chunk], asked: Queries, wanted: Wanted) -> Truth:
    """Search chunk after chunk, and keep the best of all so far."""
    best = Nearest(np.empty(0, np.intp), np.empty(0, np.float32), np.zeros(len(asked), np.intp))
    own = np.full(len(asked), -1, np.intp)
    labels = pd.Index([])
    rows = matching = 0
    for chunk in chunks:
        inside = own_rows(chunk, asked, wanted.exclude_self)
        among = chunk.matching(wanted.where)
        near = _of_chunk(chunk, asked, among, inside, wanted)
        best, labels = _merged(best, labels, near, chunk, wanted.k)
        own = np.where(inside >= 0, inside + chunk.start, own)
        rows, matching = rows + len(chunk.matrix), matching + (len(chunk.matrix) if among is None else len(among))
    if wanted.exclude_self and (own < 0).all():
        raise SchemaError("exclude_self=True, but no label of a query is the label of a row")
    return Truth(
        labels,
        best.positions,
        best.distances,
        best.counts,
        wanted.k,
        wanted.metric,
        asked.labels,
        own,
        matching,
        rows,
    )


def _of_chunk(chunk: Chunk, asked: Queries, among: Positions | None, own: Positions, wanted: Wanted) -> Nearest:
    """Find the nearest rows of one chunk."""
    if among is None:
        block, inside = chunk.block, own
    else:
        # the last place is for queries that are no row: own is -1
        places = np.full(len(chunk.matrix) + 1, -1, np.intp)
        places[among] = np.arange(len(among))
        block, inside = Block(0, chunk.matrix[among]), places[own]
    some = inside if (inside >= 0).any() else None
    near = nearest(block, asked.matrix, wanted.k, wanted.metric, own=some, progress=wanted.progress)
    return near if among is None else replace(near, positions=among[near.positions])


def _merged(best: Nearest, labels: pd.Index, near: Nearest, chunk: Chunk, k: int) -> tuple[Nearest, pd.Index]:
    if not len(best.positions):
        return replace(near, positions=near.positions + chunk.start), chunk.labels.take(near.positions)
    query = np.concatenate([np.repeat(np.arange(len(one.counts)), one.counts) for one in (best, near)])
    row = np.concatenate([best.positions, near.positions + chunk.start])
    distance = np.concatenate([best.distances, near.distances])
    # places among both stand in for rows, and have their order within a query: those of later chunks come later
    merged = _topk.best_of(query, np.arange(len(row)), distance, len(near.counts), k=k)
    both = labels.append(chunk.labels.take(near.positions))
    return replace(merged, positions=row[merged.positions]), both.take(merged.positions)
