"""`dkv.place`: new rows on a map that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dkvector.backends._knn import nearest
from dkvector.backends._topk import Block, Nearest
from dkvector.blocking import VectorStore
from dkvector.detect import dimensions
from dkvector.errors import SchemaError, hint
from dkvector.frame_columns import payload, vector_column
from dkvector.ingest import OnBad
from dkvector.maps._linear import fitted
from dkvector.maps._placing import NEIGHBOURS, between
from dkvector.maps._source import METHODS, Data, Method, directions, framed, metric_of
from dkvector.metrics import DistanceMetric, Floats
from dkvector.vectors import read_queries, read_vectors

ENOUGH = 4  # rows, as a multiple of the dimensions, from which a plane is found again


@dataclass(frozen=True)
class Map:
    """A map, and the rows that it was made of.

    Attributes:
        data: the rows.
        name: their vector column or field.
        view: the map.
        metric: what neighbours are measured by.
    """

    data: Data
    name: Any
    view: pd.DataFrame
    metric: DistanceMetric

    @property
    def points(self) -> Floats:
        """Where the rows of the map are, `(m, 2)`."""
        return self.view[["x", "y"]].to_numpy(np.float32)

    @property
    def dimensions(self) -> int:
        """How long vectors are."""
        if isinstance(self.data, VectorStore):
            return self.data.store.known.vector(self.name).dimensions
        return dimensions(self.data[self.name])

    def known(self, every: int = 1) -> tuple[Floats, Floats]:
        """Give the vectors `(k, d)` and points `(k, 2)` of the rows of the map, or of one in so many.

        Raises:
            SchemaError: rows and map that don't belong together.
        """
        labels = self.view.index[::every]
        if isinstance(self.data, VectorStore):
            rows = self.data.get(labels, columns=[], include_vectors=True)
        elif not self.data.index.is_unique:
            raise SchemaError("labels must be unique in the rows that a map was made of")
        else:
            rows = self.data
        at = rows.index.get_indexer(labels)
        if len(labels) and (at < 0).all():
            raise SchemaError("none of these rows is on the map: they must be those that it was made of")
        column = rows[self.name]
        # a map of all rows in their order needs no copy of them
        if not np.array_equal(at, np.arange(len(column))):
            column = column.iloc[at[at >= 0]]
        read = read_vectors(column, metric=self.metric, on_bad="drop", name=str(self.name))
        points = self.points[::every][at >= 0]
        return read.matrix, points if read.rows is None else points[read.rows]


def place(
    rows: Any,
    data: Data,
    view: pd.DataFrame,
    *,
    on: Any = None,
    where: Any = None,
    columns: Sequence[Any] = (),
    method: Method = "umap",
    metric: DistanceMetric | str | None = None,
    on_bad: OnBad = "raise",
) -> pd.DataFrame:
    """Place new rows on a map without moving those that are there.

    On a map by "umap" a row comes to lie at the spatial median of its five nearest rows, so among most of them; a copy
    of a row lies on it. On one by "pca" it is projected onto the same plane. Where a row lies depends on no other new
    row.

    Args:
        rows: new rows: a frame with a vector column, or vectors `(d,)` or `(q, d)` such as queries.
        data: the frame or store that the map was made of.
        view: the map, as `project` gave it, or some of its rows; only `x` and `y` are looked at.
        on: the vector column or field, where there are several; that of the new rows is called the same, or is their
            only one.
        where: the filter that the map was made with, where `data` is a store.
        columns: columns of the new rows to carry along.
        method: how the map was made.
        metric: what it was made by.
        on_bad: "drop" leaves out new rows whose vectors can't be used.

    Returns:
        A frame with the labels of the new rows: `x`, `y`, `placed` (True), then the columns.

    Raises:
        VectorError: vectors that can't be used, or of other dimensions; names the rows.
        SchemaError: rows and map that don't belong together; a map by another method.

    Example:
        >>> import dkvector as dkv
        >>> digits = dkv.datasets.load_digits()
        >>> view = dkv.project(digits.head(1000), method="pca", metric="euclidean")
        >>> dkv.place(digits.tail(2), digits, view, method="pca", metric="euclidean").round(1)
                x    y  placed
        1795 -5.9 -3.0    True
        1796 -8.7  6.7    True
    """
    if method not in METHODS:
        raise SchemaError(f"no method {method!r}; {hint(str(method), METHODS)}")
    if not view.index.is_unique:
        raise SchemaError("labels must be unique on a map that rows are placed on")
    name = data.store.known.vector(on).name if isinstance(data, VectorStore) else vector_column(data, on)
    ground = Map(data, name, view, metric_of(data, metric, name))
    vectors, labels, carried = _new(rows, ground, columns, on_bad)
    if not len(view) and len(vectors):
        raise SchemaError("the map is empty: there is nothing to place rows beside")
    if not len(vectors):
        points = np.empty((0, 2), np.float32)
    elif method == "pca":
        points = _projected(vectors, ground)
    else:
        points = _among(vectors, ground, where)
    return framed(points, np.ones(len(points), np.bool_), carried, labels)


def _new(rows: Any, ground: Map, columns: Sequence[Any], on_bad: OnBad) -> tuple[Floats, pd.Index, Mapping[Any, Any]]:
    """Read the new rows: their vectors, labels, and columns to carry along."""
    if not isinstance(rows, pd.DataFrame):
        vectors, _, labels = read_queries(rows, dimensions=ground.dimensions, metric=ground.metric, name="a new row")
        return vectors, pd.RangeIndex(len(vectors)) if labels is None else labels, {}
    names = payload(rows, columns, include_vectors=False)
    name = vector_column(rows, ground.name if ground.name in rows.columns else None)
    read = read_vectors(rows[name], dimensions=ground.dimensions, metric=ground.metric, on_bad=on_bad, name=str(name))
    rows = rows if read.rows is None else rows.iloc[read.rows]
    return read.matrix, rows.index, {one: rows[one].array for one in names}


def _projected(vectors: Floats, ground: Map) -> Floats:
    """Project onto the plane of the map, which is found again from enough of its rows."""
    matrix, points = ground.known(max(1, len(ground.view) // (ENOUGH * vectors.shape[1] + 1000)))
    return fitted(directions(matrix, ground.metric), points).points(directions(vectors, ground.metric))


def _among(vectors: Floats, ground: Map, where: Any) -> Floats:
    if isinstance(ground.data, VectorStore):
        return between(_asked(vectors, ground.data, ground, where), ground.points)
    matrix, points = ground.known()
    return between(nearest(Block(0, matrix), vectors, NEIGHBOURS, ground.metric), points)


def _asked(vectors: Floats, store: VectorStore, ground: Map, where: Any) -> Nearest:
    """Ask the store for the neighbours that are on the map; where there are fewer, others fill up and weigh nothing."""
    frame = store.search(vectors, NEIGHBOURS, field=ground.name, where=where, metric=ground.metric, columns=[])
    at = ground.view.index.get_indexer(frame.index)
    query, distances = frame["query"].to_numpy(np.intp)[at >= 0], frame["distance"].to_numpy()[at >= 0]
    counts = np.bincount(query, minlength=len(vectors))
    if not counts.all():
        lost = int((counts == 0).sum())
        raise SchemaError(f"{lost:,} new rows have no neighbour on the map; where= is the filter it was made with")
    step, has = np.arange(NEIGHBOURS), counts[:, None]
    pick = (np.cumsum(counts) - counts)[:, None] + np.where(step < has, step, 0)
    far = np.where(step < has, distances[pick], np.inf).astype(np.float32)
    return Nearest(at[at >= 0][pick].ravel(), far.ravel(), np.full(len(vectors), NEIGHBOURS))
