"""The rows of a map, with all columns that they can be coloured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dkvector.blocking import VectorStore
from dkvector.errors import DuplicateIdError, NotFoundError, SchemaError, some
from dkvector.filters import as_filter
from dkvector.frame_columns import vector_columns
from dkvector.maps import project
from dkvector.maps._source import Method
from dkvector.metrics import DistanceMetric
from dkvector.store import AsyncVectorStore
from dkvector.widgets.asking import blocking

PLACES = ("x", "y", "placed")


@dataclass(frozen=True)
class Laying:
    """How a map is laid out: see `project`."""

    on: Any = None
    where: Any = None
    n: int = 50_000
    method: Method = "umap"
    metric: DistanceMetric | str | None = None
    seed: int | None = 0
    progress: bool | None = None


def mapped(data: Any, view: pd.DataFrame | None, columns: Sequence[Any] | None, laying: Laying) -> pd.DataFrame:
    """Give a map with columns: the one that there is, or a new one of a frame or a store.

    Raises:
        SchemaError: neither rows nor a map, or no rows.
        NotFoundError: rows of the map that the data has not.
        DuplicateIdError: labels that are there twice, so that none of the two could be selected.
    """
    rows: Any = blocking(data) if isinstance(data, VectorStore | AsyncVectorStore) else data
    if not isinstance(rows, pd.DataFrame | VectorStore):
        raise SchemaError(f"a map is of a store, a DataFrame, or what dkv.project gave, not of {type(data).__name__}")
    if view is None and isinstance(rows, pd.DataFrame) and {"x", "y"} <= set(rows.columns) and not vector_columns(rows):
        view, rows = rows, rows.drop(columns=[name for name in PLACES if name in rows.columns])
    names = _names(rows) if columns is None else [*columns, *_filtered(rows, laying.where, columns)]
    made = _laid(rows, names, laying) if view is None else _joined(rows, view, names)
    if not len(made):
        raise SchemaError("there are no rows to show on a map")
    if not made.index.is_unique:
        raise DuplicateIdError(f"labels given more than once: {some(made.index[made.index.duplicated()].unique())}")
    return made


def _names(rows: pd.DataFrame | VectorStore) -> list[Any]:
    if isinstance(rows, VectorStore):
        return [] if rows.schema is None else [one.name for one in rows.schema.payload]
    vectors = set(vector_columns(rows))
    return [name for name in rows.columns if name not in vectors]


def _filtered(rows: pd.DataFrame | VectorStore, where: Any, columns: Sequence[Any]) -> list[Any]:
    """Name the columns that the filter reads beside those that are carried along: it is applied to the map too."""
    read = None if isinstance(where, pd.Series) else as_filter(where)
    named = set() if read is None else read.columns() - {str(one) for one in columns}
    return [name for name in _names(rows) if str(name) in named]


def _laid(rows: pd.DataFrame | VectorStore, names: list[Any], laying: Laying) -> pd.DataFrame:
    return project(
        rows,
        on=laying.on,
        where=laying.where,
        n=laying.n,
        columns=names,
        method=laying.method,
        metric=laying.metric,
        seed=laying.seed,
        progress=laying.progress,
    )


def _joined(rows: pd.DataFrame | VectorStore, view: pd.DataFrame, names: list[Any]) -> pd.DataFrame:
    """Put the columns beside the map that it has not yet."""
    if not {"x", "y"} <= set(view.columns):
        raise SchemaError("a map has the columns x and y: make one with dkv.project")
    missing = [name for name in names if name not in view.columns]
    if not missing:
        return view
    found = rows[missing] if isinstance(rows, pd.DataFrame) else rows.to_frame(None, missing, include_vectors=False)
    lost = view.index[~view.index.isin(found.index)]
    if len(lost):
        raise NotFoundError(f"rows of the map that the data has not: {some(lost)}")
    return view.join(found) if found.index.is_unique else view
