"""Where the rows of a map come from: a frame, or a store that may hold more than memory does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector import frames
from dkvector.backends._topk import Positions
from dkvector.blocking import VectorStore
from dkvector.counts import as_count
from dkvector.errors import SchemaError, UnsupportedError
from dkvector.frame_columns import payload, vector_column
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric, Floats
from dkvector.norms import normalize
from dkvector.results import free
from dkvector.vectors import read_vectors
from dkvector.verbs._ground import distinctive, ground
from dkvector.verbs.sampling import sample

BATCH = 1 << 11  # rows that are placed at a time

Method = Literal["umap", "pca"]
METHODS = ("umap", "pca")
Parts = Iterator[tuple[Positions, Floats]]
Data = pd.DataFrame | VectorStore


@dataclass(frozen=True)
class Asked:
    """Which rows a map is of.

    Attributes:
        on: the vector column or field; None for the only one.
        where: a filter.
        n: rows that are laid out, at most.
        columns: columns to carry along.
        metric: what neighbours are measured by; None for cosine, or the store's own.
        diverse: choose rows far from each other, where there are more than n.
        seed: of the choice.
        on_bad: what becomes of rows whose vectors can't be used.
        progress: show a bar; None shows one where there is much to do.
    """

    on: Any = None
    where: Any = None
    n: int = 50_000
    columns: tuple[Any, ...] = ()
    metric: DistanceMetric | str | None = None
    diverse: bool = False
    seed: int | None = 0
    on_bad: OnBad = "raise"
    progress: bool | None = None

    def __post_init__(self) -> None:
        as_count(self.n, "n")


@dataclass(frozen=True)
class Rows:
    """The rows of a map.

    Attributes:
        labels: of all rows, in their order.
        payload: columns to carry along.
        metric: what neighbours are measured by.
        chosen: `(m,)` the rows that are laid out, ascending.
        vectors: `(m, d)` their vectors.
        rest: gives the other rows and their vectors, batch by batch.
    """

    labels: pd.Index
    payload: Mapping[Any, Any]
    metric: DistanceMetric
    chosen: Positions
    vectors: Floats
    rest: Callable[[], Parts]


def rows_of(data: Data, asked: Asked) -> Rows:
    """Read the rows of a frame or a store, and choose those that are laid out."""
    if isinstance(data, pd.DataFrame):
        return _of_frame(data, vector_column(data, asked.on), asked)
    if not isinstance(data, VectorStore):
        raise SchemaError(f"a map is made of a DataFrame or a store, not of {type(data).__name__}")
    return _of_store(data, asked)


def metric_of(data: Data, metric: DistanceMetric | str | None, on: str | None = None) -> DistanceMetric:
    """Tell what neighbours are measured by, where a vector is nearest to itself.

    Raises:
        UnsupportedError: the inner product, under which it is not.
    """
    if metric is None and isinstance(data, VectorStore) and data.schema is not None:
        metric = data.schema.vector(on).metric
    return distinctive(metric or DistanceMetric.COSINE, "a map")


def directions(vectors: Floats, metric: DistanceMetric) -> Floats:
    """Give vectors as a plane through them sees them: at unit length under cosine."""
    return normalize(vectors) if metric is DistanceMetric.COSINE else vectors


def framed(points: Floats, placed: NDArray[np.bool_], columns: Mapping[Any, Any], labels: pd.Index) -> pd.DataFrame:
    """Put a map together; a column of the same name as one of ours gives way."""
    ours: dict[Any, Any] = {"x": points[:, 0], "y": points[:, 1], "placed": placed}
    taken = {*ours, *columns}
    carried = {free(name, taken) if name in ours else name: values for name, values in columns.items()}
    return pd.DataFrame({**ours, **carried}, index=labels)


def _of_frame(frame: pd.DataFrame, name: Any, asked: Asked) -> Rows:
    names = payload(frame, asked.columns, include_vectors=False)
    mask = frames.matching(frame, asked.where)
    if mask is not None and not mask.all():
        frame = frame[mask]
    rows = ground(frame, name, metric_of(frame, asked.metric), on_bad=asked.on_bad)
    count = len(rows)
    chosen = np.arange(count)
    if count > asked.n:
        drawn = sample(rows, asked.n, diverse=asked.diverse, seed=asked.seed, progress=asked.progress)
        chosen = np.sort(drawn)
    others = np.setdiff1d(np.arange(count), chosen, assume_unique=True)

    def rest() -> Parts:
        for at in range(0, len(others), BATCH):
            yield others[at : at + BATCH], rows.matrix[others[at : at + BATCH]]

    carried = rows.take(names, np.arange(count))
    return Rows(rows.frame.index, carried, rows.metric, chosen, rows.some(chosen).matrix, rest)


def _of_store(store: VectorStore, asked: Asked) -> Rows:
    columns = [str(name) for name in asked.columns]
    by = metric_of(store, asked.metric, asked.on)
    if store.schema is None:
        none = np.empty((0, 1), np.float32)
        return Rows(pd.Index([]), {}, by, np.empty(0, np.intp), none, lambda: iter(()))
    name = store.schema.vector(asked.on).name
    # without the filter, which the store has applied
    few = Asked(name, None, asked.n, asked.columns, by, asked.diverse, asked.seed, asked.on_bad, asked.progress)
    if store.count(asked.where) <= asked.n:
        return _of_frame(store.to_frame(asked.where, columns), name, few)
    if asked.diverse:
        raise UnsupportedError(f"diverse=True needs all vectors in memory, and the store holds more than n={asked.n:,}")
    # of all rows all but the vectors, which are read in parts
    known = store.to_frame(asked.where, columns, include_vectors=False)
    drawn = np.sort(np.random.default_rng(asked.seed).choice(len(known), asked.n, replace=False))
    chosen, vectors = _usable(store, known.index.take(drawn), name, few)
    chosen = drawn[chosen]
    carried = {one: known[one].array for one in columns}
    return Rows(
        known.index, carried, by, chosen, vectors, partial(_scanned, store, known.index, drawn, few, asked.where)
    )


def _usable(store: VectorStore, labels: pd.Index, name: str, asked: Asked) -> tuple[Positions, Floats]:
    """Get the vectors of some rows, and which of the rows have usable ones."""
    found = store.get(labels, columns=[], include_vectors=True)
    read = read_vectors(found[name], metric=DistanceMetric.of(asked.metric or ""), on_bad=asked.on_bad, name=name)
    return np.arange(len(labels)) if read.rows is None else read.rows, read.matrix


def _scanned(store: VectorStore, labels: pd.Index, drawn: Positions, asked: Asked, where: Any) -> Parts:
    """Go through the store for the rows that were not drawn; rows that came meanwhile are passed over."""
    free: NDArray[np.bool_] = np.ones(len(labels) + 1, np.bool_)
    free[drawn] = free[-1] = False  # the last stands for rows that are not known
    by = DistanceMetric.of(asked.metric or "")
    for part in store.scan(where, columns=[], batch_size=BATCH, include_vectors=True):
        at = labels.get_indexer(part.index)
        wanted = free[at]
        read = read_vectors(part[asked.on][wanted], metric=by, on_bad=asked.on_bad, name=asked.on)
        places = at[wanted]
        yield places if read.rows is None else places[read.rows], read.matrix
