"""What goes in and out of a store's calls: a search that has been checked, and what a write did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from dkvector.errors import SchemaError
from dkvector.filters import Filter
from dkvector.indexes import Tuning
from dkvector.metrics import DistanceMetric, Floats
from dkvector.schema import VectorInfo

Mode = Literal["upsert", "insert", "replace"]
MODES = ("upsert", "insert", "replace")
MUCH = 50_000  # rows from which a progress bar shows by itself


@dataclass(frozen=True)
class Request:
    """A search that has been checked.

    Attributes:
        queries: `(q, d)` float32, finite.
        labels: of the query rows; None for a single query.
        k: neighbours of each query.
        info: the vector field.
        metric: what to measure by.
        where: the filter, its columns known.
        tuning: search-time knobs.
        columns: payload columns to give.
        include_vectors: give the vectors too.
    """

    queries: Floats
    labels: pd.Index | None
    k: int
    info: VectorInfo
    metric: DistanceMetric
    where: Filter | None
    tuning: Tuning
    columns: tuple[str, ...]
    include_vectors: bool


@dataclass(frozen=True)
class KeywordRequest:
    """A search by words that has been checked.

    Attributes:
        text: the words, not blank.
        k: rows to find at most.
        on: text columns to look in, at least one.
        where: the filter, its columns known.
        columns: payload columns to give.
        highlight: tell where the words are.
    """

    text: str
    k: int
    on: tuple[str, ...]
    where: Filter | None
    columns: tuple[str, ...]
    highlight: bool


@dataclass(frozen=True)
class Written:
    """What a write did.

    Attributes:
        inserted: rows that were new.
        replaced: rows whose id was known.
        dropped: labels of rows left out for their vectors.
        ids: ids of the rows written.
    """

    inserted: int
    replaced: int = 0
    dropped: tuple[Any, ...] = ()
    ids: pd.Index = field(default_factory=lambda: pd.Index([]), repr=False)


def as_count(k: Any) -> int:
    """Read k.

    Raises:
        SchemaError: not a whole number of at least 1.
    """
    if isinstance(k, bool) or not hasattr(k, "__index__") or k < 1:
        raise SchemaError(f"k must be a whole number of at least 1, not {k!r}")
    return int(k)


def shown(progress: bool | None, rows: int) -> bool:
    """Decide whether a progress bar is shown."""
    return rows >= MUCH if progress is None else progress


def as_ids(ids: Any) -> pd.Index:
    """Read one id or many."""
    if isinstance(ids, pd.Index):
        return ids
    if isinstance(ids, str | bytes) or not hasattr(ids, "__iter__"):
        ids = [ids]
    return pd.Index(ids if isinstance(ids, pd.Series) else list(ids))
