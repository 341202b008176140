"""The queries of an evaluation: vectors, their labels, and which of them are rows of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.backends._topk import Positions
from dkvector.errors import SchemaError
from dkvector.evaluation.sources import Chunk
from dkvector.frame_columns import vector_column
from dkvector.metrics import DistanceMetric, Floats
from dkvector.vectors import read_queries


@dataclass(frozen=True)
class Queries:
    """What is searched for.

    Attributes:
        matrix: `(q, d)` float32.
        labels: `(q,)` of the queries.
        frame: what else is known of each, a row for each query; what slices are made of.
    """

    matrix: Floats
    labels: pd.Index
    frame: pd.DataFrame

    def __len__(self) -> int:
        return len(self.matrix)

    def some(self, places: Positions) -> Queries:
        """Give some of them."""
        return Queries(self.matrix[places], self.labels.take(places), self.frame.iloc[places])


def read_asked(queries: Any, dimensions: int, metric: DistanceMetric) -> Queries:
    """Read queries that are vectors.

    Args:
        queries: one vector, many, a Series, or a frame with a vector column, whose other columns can make slices.
        dimensions: how long each must be.
        metric: under cosine a query of no length is an error.

    Returns:
        The queries.

    Raises:
        VectorError: another length, NaN or infinity, no direction under cosine.
        SchemaError: no queries.
    """
    frame = queries if isinstance(queries, pd.DataFrame) else None
    column = queries if frame is None else frame[vector_column(frame)]
    matrix, _, labels = read_queries(column, dimensions=dimensions, metric=metric)
    if not len(matrix):
        raise SchemaError("there are no queries")
    labels = pd.RangeIndex(len(matrix)) if labels is None else labels
    known = pd.DataFrame(index=labels) if frame is None else frame.drop(columns=[vector_column(frame)])
    return Queries(matrix, labels, known)


def own_rows(chunk: Chunk, queries: Queries, exclude_self: bool | None) -> Positions:
    """Find the row that each query is itself: that of its label, where it has the very same vector.

    Args:
        chunk: some of the rows.
        queries: the queries.
        exclude_self: True takes a row of the same label whatever its vector; False finds none.

    Returns:
        `(q,)` rows of the chunk; -1 where a query is no row of it.
    """
    none: Positions = np.full(len(queries), -1, np.intp)
    # which of several rows of one label a query would be nobody can tell
    if exclude_self is False or not chunk.labels.is_unique:
        return none
    try:
        rows: NDArray[np.intp] = chunk.labels.get_indexer(queries.labels)
    except (TypeError, ValueError):  # labels of another kind
        return none
    if exclude_self is None:
        there = np.flatnonzero(rows >= 0)
        other = there[(chunk.matrix[rows[there]] != queries.matrix[there]).any(axis=1)]
        rows[other] = -1
    return rows
