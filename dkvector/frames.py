"""What the accessor does on a frame itself: exact search over its rows, gathering, records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector.backends import _arrow, _knn, _topk
from dkvector.columns import to_arrow
from dkvector.counts import as_count
from dkvector.dtype import VectorArray
from dkvector.errors import FilterError, NotFoundError, SchemaError
from dkvector.fields import VectorField
from dkvector.filters import as_filter, check_columns, is_boolean
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric, Floats, from_inner_product, from_squared
from dkvector.norms import squared_norms
from dkvector.records import Record
from dkvector.results import assemble
from dkvector.vectors import gather, read_queries, read_vectors

Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Asked:
    """What is searched for.

    Attributes:
        query: vectors; None where rows are named instead.
        like: labels of rows; None where vectors are given.
        k: neighbours of each query.
        metric: what to measure by.
    """

    query: Any
    like: Any
    k: int
    metric: DistanceMetric

    def __post_init__(self) -> None:
        if (self.query is None) == (self.like is None):
            raise SchemaError("search takes a query vector, or like= with a row's label: one of the two")
        as_count(self.k)


def search(
    frame: pd.DataFrame, name: Any, asked: Asked, *, where: Any, columns: Sequence[Any], on_bad: OnBad
) -> pd.DataFrame:
    """Find the nearest rows of a frame, exactly."""
    # before bad rows are left out: a boolean Series is as long as the whole frame
    mask = matching(frame, where)
    read = read_vectors(frame[name], metric=asked.metric, on_bad=on_bad, name=str(name))
    if read.rows is not None:
        frame, mask = frame.iloc[read.rows], None if mask is None else mask[read.rows]
    matrix = read.matrix
    rows = None if mask is None else np.flatnonzero(mask)
    blocks = [_topk.Block(0, matrix)]
    if asked.like is None:
        queries, single, labels = read_queries(asked.query, dimensions=matrix.shape[1], metric=asked.metric)
        near = _topk.search(blocks, queries, asked.k, asked.metric, rows=rows)
        labels = pd.RangeIndex(len(queries)) if labels is None else labels
    else:
        own, single, labels = located(frame.index, asked.like)
        # one more, for a row finds itself too
        wide = _topk.search(blocks, matrix[own], asked.k + 1, asked.metric, rows=rows)
        near = _knn.without_own(wide, own, asked.k)
    return assemble(
        frame.index.take(near.positions),
        near.distances,
        near.counts,
        asked.metric,
        queries=None if single else labels,
        payload={one: frame[one].array.take(near.positions) for one in columns},
    )


def check_once(frame: pd.DataFrame, names: Sequence[Any]) -> None:
    """Refuse names that several columns have."""
    if frame.columns.is_unique:
        return
    if twice := [name for name in dict.fromkeys(names) if list(frame.columns).count(name) > 1]:
        raise SchemaError(f"several columns are called {', '.join(map(repr, twice))}: rename all but one")


def located(index: pd.Index, like: Any) -> tuple[Positions, bool, pd.Index]:
    """Find the rows that labels name.

    Args:
        index: labels of the frame.
        like: one label, or a list of them.

    Returns:
        Positions `(q,)`, whether it was one label, and the labels.

    Raises:
        NotFoundError: no such row.
        SchemaError: a label that names several rows.
    """
    many = isinstance(like, list | np.ndarray | pd.Index | pd.Series)
    labels = list(like) if many else [like]
    positions = [_position(index, label) for label in labels]
    named = index.take(positions) if positions else index[:0]
    return np.array(positions, np.intp), not many, named


def _position(index: pd.Index, label: Any) -> int:
    try:
        at = index.get_loc(label)
    except (KeyError, TypeError) as exc:
        raise NotFoundError(f"no row {label!r} to search like") from exc
    # a slice or a mask, where the label stands more than once
    if not isinstance(at, int | np.integer):
        raise SchemaError(f"several rows are called {label}; search by their vectors instead")
    return at


def matching(frame: pd.DataFrame, where: Any) -> NDArray[np.bool_] | None:
    """Mark the rows that satisfy a filter, `(n,)`; None where there is no filter.

    Raises:
        FilterError: a filter that can't be read, names unknown columns, or a Series that is not aligned.
    """
    if isinstance(where, pd.Series) and is_boolean(where):
        return _aligned(where, frame.index)
    read = as_filter(where)
    if read is None:
        return None
    # a filter knows columns by their text
    columns = {str(name): name for name in frame.columns}
    levels: dict[str, Any] = {str(name): name for name in frame.index.names if name is not None}
    check_columns(read, [*columns, *levels])

    def column(name: str) -> pa.Array:
        if name not in columns:
            return to_arrow(frame.index.get_level_values(levels[name]), name)[1]
        check_once(frame, [columns[name]])
        return to_arrow(frame[columns[name]], name)[1]

    return _arrow.mask(read, column, len(frame), frame.index.isin)


def _aligned(where: pd.Series, index: pd.Index) -> NDArray[np.bool_]:
    # then rows meet by place, and labels may repeat
    if where.index.equals(index):
        return where.to_numpy(np.bool_, na_value=False)
    if not where.index.is_unique or not index.isin(where.index).all():
        raise FilterError("a boolean Series must have the frame's own index")
    return where.reindex(index).to_numpy(np.bool_, na_value=False)


def distances(matrix: Floats, queries: Floats, metric: DistanceMetric) -> Floats:
    """Measure every vector `(n, d)` against every query `(q, d)`.

    Returns:
        Distances `(n, q)` float32.
    """
    if metric is DistanceMetric.EUCLIDEAN:
        return np.stack([_euclidean(matrix, query) for query in queries], axis=1)
    dots = matrix @ queries.T
    if metric is DistanceMetric.COSINE:
        dots /= np.linalg.norm(matrix, axis=1)[:, None] * np.linalg.norm(queries, axis=1)
    return from_inner_product(dots, metric)


def _euclidean(matrix: Floats, query: Floats) -> Floats:
    """Measure block by block, so that the differences never stand in memory all at once."""
    squared = np.empty(len(matrix), np.float32)
    for at in range(0, len(matrix), 1 << 13):
        apart = matrix[at : at + (1 << 13)] - query
        squared[at : at + (1 << 13)] = squared_norms(apart)
    return from_squared(squared)


def gathered(frame: pd.DataFrame, columns: str | Sequence[str], into: str) -> pd.DataFrame:
    """Turn one column per dimension into one vector column."""
    names, matrix = gather(frame, columns)
    if into in frame.columns and into not in names:
        raise SchemaError(f"there is a column {into!r} already")
    kept: pd.DataFrame = frame.drop(columns=names)
    kept[into] = VectorArray(matrix)
    return kept


def _usable(column: pd.Series, name: Any) -> Floats:
    way_out = f"df[df[{name!r}].vec.norms > 0] leaves them out"
    return read_vectors(column, name=str(name), way_out=way_out).matrix


def records(frame: pd.DataFrame, vectors: Sequence[Any]) -> list[Record]:
    """Give the rows as records."""
    fields = {name: _usable(frame[name], name) for name in vectors}
    plain = frame.drop(columns=list(vectors)).to_dict("records")
    # of rows without a column pandas 2 gives none
    plain = plain or [{} for _ in range(len(frame))]
    return [
        Record(
            {
                **{str(name): value for name, value in row.items()},
                **{str(name): VectorField(matrix[at]) for name, matrix in fields.items()},
            },
            id=label,
        )
        for at, (label, row) in enumerate(zip(frame.index.tolist(), plain, strict=True))
    ]
