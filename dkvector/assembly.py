"""The one tidy DataFrame that hits become on every backend, put together without a copy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.core.internals.managers import (  # type: ignore[import-not-found]  # private, and in no stub
    create_block_manager_from_column_arrays,
)

from dkvector.columns import kept
from dkvector.metrics import DistanceMetric, Floats, score

Counts = NDArray[np.intp]
PIECES = 50  # columns that may stay as they are: a user can add as many again


def assemble(
    index: pd.Index,
    distances: Floats,
    counts: Counts,
    metric: DistanceMetric,
    *,
    queries: pd.Index | None,
    payload: Mapping[Any, Any],
    extra: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Put the columns of a result together; a payload column of the same name as one of ours gives way.

    Args:
        index: `(h,)` labels of the rows found.
        distances: `(h,)` float32.
        counts: `(q,)` hits of each query.
        metric: what the distances are measured in.
        queries: `(q,)` labels of the queries; None for a single query.
        payload: column name → `(h,)` values.
        extra: columns of ours that stand after distance; a "rank" among them takes the place of the usual one.

    Returns:
        The frame.

    Example:
        >>> one = np.float32([0.25]), np.array([1]), DistanceMetric.COSINE
        >>> assemble(pd.Index(["a"]), *one, queries=None, payload={"n": np.array([7])})
           rank  score  distance  n
        a     1   0.75      0.25  7
    """
    columns = queried(queries, counts)
    columns["rank"] = ranks(counts)
    columns["score"] = score(distances, metric)
    columns["distance"] = distances
    return beside(columns | dict(extra or {}), payload, index)


def queried(queries: pd.Index | None, counts: Counts) -> dict[Any, Any]:
    """Begin the columns of a result: the label of its query beside every hit, where there are several queries."""
    if queries is None:
        return {}
    labels = queries.repeat(counts)
    return {"query": kept(labels.to_numpy() if isinstance(labels, pd.MultiIndex) else labels.array)}


def beside(ours: dict[Any, Any], payload: Mapping[Any, Any], index: pd.Index) -> pd.DataFrame:
    """Put the payload beside our columns; a payload column of the same name as one of ours gives way."""
    columns, taken = dict(ours), {*ours, *payload}
    for name, values in payload.items():
        columns[free(name, taken) if name in ours else name] = kept(values)
    return framed(columns, index)


def framed(columns: Mapping[Any, Any], index: pd.Index) -> pd.DataFrame:
    """Make a frame of arrays of one length, without a copy.

    The public constructor looks at every value again and puts columns of one dtype together, which takes several times
    as long as a search does; many columns are put together, for pandas warns of frames in more than 100 pieces.
    """
    axes = [_names(tuple(columns)), index]
    merged = len(columns) > PIECES
    blocks = create_block_manager_from_column_arrays(list(columns.values()), axes, merged, [None] * len(columns))
    make: Any = getattr(pd.DataFrame, "_from_mgr")  # noqa: B009 - in no stub
    frame: pd.DataFrame = make(blocks, axes=blocks.axes)
    return frame


@lru_cache(maxsize=256)
def _names(names: tuple[Any, ...]) -> pd.Index:
    index: pd.Index = pd.Index(list(names), tupleize_cols=False)
    return index


def free(name: str, taken: set[Any]) -> str:
    """Give a name that is not taken yet, by underscores, and take it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def ranks(counts: Counts) -> NDArray[np.int64]:
    """Count from 1 within each query.

    Example:
        >>> ranks(np.array([2, 3]))
        array([1, 2, 1, 2, 3])
    """
    if len(counts) == 1:
        return np.arange(1, int(counts[0]) + 1, dtype=np.int64)
    ends = np.cumsum(counts)
    return np.arange(1, len(counts) and int(ends[-1]) + 1, dtype=np.int64) - np.repeat(ends - counts, counts)
