"""Hits of a search, and the one tidy DataFrame they become on every backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pandas.core.internals.managers import (  # type: ignore[import-not-found]  # private, and in no stub
    create_block_manager_from_column_arrays,
)

from dkvector import _html
from dkvector.columns import kept, to_index, to_pandas
from dkvector.metrics import DistanceMetric, Floats, score
from dkvector.verified import Verified

Counts = NDArray[np.intp]
PIECES = 50  # columns that may stay as they are: a user can add as many again


class Source(Protocol):
    """Rows that were found, in the form that is wanted."""

    def table(self) -> pa.Table:
        """Give the id, the payload, and the vectors where they were asked for."""

    def labels(self) -> pd.Index:
        """Give the ids."""

    def columns(self) -> dict[str, Any]:
        """Give everything but the ids, as pandas has it."""


@dataclass(frozen=True)
class TableSource:
    """Rows that came as a table."""

    rows: pa.Table

    def table(self) -> pa.Table:
        """Give the table."""
        return self.rows

    def labels(self) -> pd.Index:
        """Give the first column."""
        return to_index(self.rows.column(0), self.rows.schema.field(0))

    def columns(self) -> dict[str, Any]:
        """Give the others."""
        schema = self.rows.schema
        return {schema.field(i).name: to_pandas(self.rows.column(i), schema.field(i)) for i in range(1, len(schema))}


@dataclass(frozen=True)
class Picked:
    """Some of the rows that another source has."""

    source: Source
    positions: Counts

    def table(self) -> pa.Table:
        """Give the id, the payload, and the vectors where they were asked for."""
        return self.source.table().take(pa.array(self.positions))

    def labels(self) -> pd.Index:
        """Give the ids."""
        return self.source.labels().take(self.positions)

    def columns(self) -> dict[str, Any]:
        """Give everything but the ids, as pandas has it."""
        return {name: values.take(self.positions) for name, values in self.source.columns().items()}


@dataclass(frozen=True)
class Hits:
    """Neighbours of every query, one query after the other, nearest first.

    Attributes:
        source: gives the rows, as Arrow or as pandas has them, when they are wanted.
        distances: `(h,)` float32, smaller is nearer.
        counts: `(q,)` hits of each query.
        metric: what the distances are measured in.
        queries: labels of the query rows; None for a single query.
    """

    source: Source
    distances: Floats
    counts: Counts
    metric: DistanceMetric
    queries: pd.Index | None = None

    @cached_property
    def rows(self) -> pa.Table:
        """The rows found: the id, then payload columns, then vectors where they were asked for."""
        return self.source.table()

    @property
    def ids(self) -> pd.Index:
        """Labels of the rows found, `(h,)`."""
        return self.source.labels()

    @property
    def scores(self) -> Floats:
        """Scores `(h,)` float32, larger is better."""
        return score(self.distances, self.metric)

    def some(self, places: Counts) -> Hits:
        """Give the hits of some of the queries."""
        starts = np.cumsum(self.counts) - self.counts
        kept = [np.arange(starts[at], starts[at] + self.counts[at]) for at in places]
        keep = np.concatenate([np.empty(0, np.intp), *kept]).astype(np.intp)
        labels = None if self.queries is None else self.queries[places]
        source, counts = Picked(self.source, keep), self.counts[places]
        return dataclasses.replace(self, source=source, distances=self.distances[keep], counts=counts, queries=labels)

    def without(self, own: pd.Index, k: int) -> Hits:
        """Leave out one row of each query's hits, and keep the k nearest of the others.

        Args:
            own: `(q,)` the id that each query must not find.
            k: neighbours to keep; the hits are the k + 1 nearest, so that none is missing, whatever ties there are.
        """
        query = np.repeat(np.arange(len(self.counts)), self.counts)
        others = np.flatnonzero(np.asarray(self.ids != own.take(query), bool))
        counts = np.bincount(query[others], minlength=len(self.counts))
        keep = others[ranks(counts) <= k]
        return dataclasses.replace(
            self,
            source=Picked(self.source, keep),
            distances=self.distances[keep],
            counts=np.minimum(counts, k),
        )

    def to_frame(self) -> pd.DataFrame:
        """Give the hits as a DataFrame.

        Returns:
            A frame indexed by row label: `query` (where there are several), `rank` from 1, `score`, `distance`,
            then the payload.
        """
        payload = self.source.columns()
        return assemble(self.ids, self.distances, self.counts, self.metric, queries=self.queries, payload=payload)


@dataclass(frozen=True, kw_only=True)
class HybridHits(Hits):
    """Rows that a vector search or a search by words found, fused into one ranking.

    Attributes:
        fused: `(h,)` float64 scores of the fusion, larger is better.
        ranks: `(2, h)` from 1 of the vector leg and of the words; 0 where it has not found the row.
        of_legs: `(2, h)` float32 scores of both; NaN where it has not found the row.
    """

    fused: NDArray[np.float64]
    ranks: NDArray[np.int64]
    of_legs: Floats

    @property
    def scores(self) -> Floats:
        """Scores `(h,)` of the fusion."""
        return self.fused.astype(np.float32)

    def to_frame(self) -> pd.DataFrame:
        """Give the hits as a DataFrame.

        Returns:
            A frame indexed by row label: `query` (where there are several), `rank` from 1, `score` of the fusion, rank
            and score of both legs, missing where it has not found the row, then the payload.
        """
        columns = _queried(self.queries, self.counts) | {"rank": ranks(self.counts), "score": self.fused}
        for leg, rank, of_leg in zip(("vector", "text"), self.ranks, self.of_legs, strict=True):
            columns[f"{leg}_rank"] = pd.arrays.IntegerArray(rank, rank == 0)
            columns[f"{leg}_score"] = of_leg
        return _beside(columns, self.source.columns(), self.ids)


@dataclass(frozen=True)
class KeywordHits:
    """Rows that answer some words, best first.

    Attributes:
        source: gives the rows, as Arrow or as pandas has them, when they are wanted.
        scores: `(h,)` float32 as the engine ranks, larger is better.
        highlights: `(h,)` where the words are, in the engine's markup; None where it was not asked for.
    """

    source: Source
    scores: Floats
    highlights: Sequence[str] | None = None

    @cached_property
    def rows(self) -> pa.Table:
        """The rows found: the id, then payload columns."""
        return self.source.table()

    @property
    def ids(self) -> pd.Index:
        """Labels of the rows found, `(h,)`."""
        return self.source.labels()

    def to_frame(self) -> pd.DataFrame:
        """Give the hits as a DataFrame.

        Returns:
            A frame indexed by row label: `rank` from 1, `score`, `highlight` where it was asked for, then the payload.
        """
        columns: dict[Any, Any] = {"rank": np.arange(1, len(self.scores) + 1), "score": self.scores}
        if self.highlights is not None:
            columns["highlight"] = pd.array(list(self.highlights), dtype="str")
        return _beside(columns, self.source.columns(), self.ids)


def assemble(
    index: pd.Index,
    distances: Floats,
    counts: Counts,
    metric: DistanceMetric,
    *,
    queries: pd.Index | None,
    payload: Mapping[Any, Any],
) -> pd.DataFrame:
    """Put the columns of a result together; a payload column of the same name as one of ours gives way.

    Args:
        index: `(h,)` labels of the rows found.
        distances: `(h,)` float32.
        counts: `(q,)` hits of each query.
        metric: what the distances are measured in.
        queries: `(q,)` labels of the queries; None for a single query.
        payload: column name → `(h,)` values.

    Returns:
        The frame.

    Example:
        >>> one = np.float32([0.25]), np.array([1]), DistanceMetric.COSINE
        >>> assemble(pd.Index(["a"]), *one, queries=None, payload={"n": np.array([7])})
           rank  score  distance  n
        a     1   0.75      0.25  7
    """
    columns = _queried(queries, counts)
    columns["rank"] = ranks(counts)
    columns["score"] = score(distances, metric)
    columns["distance"] = distances
    return _beside(columns, payload, index)


def _queried(queries: pd.Index | None, counts: Counts) -> dict[Any, Any]:
    """Begin the columns of a result: the label of its query beside every hit, where there are several queries."""
    if queries is None:
        return {}
    labels = queries.repeat(counts)
    return {"query": kept(labels.to_numpy() if isinstance(labels, pd.MultiIndex) else labels.array)}


def _beside(ours: dict[Any, Any], payload: Mapping[Any, Any], index: pd.Index) -> pd.DataFrame:
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


@dataclass(frozen=True)
class Explanation:
    """What a search really did.

    Attributes:
        backend: the engine.
        field: the vector field.
        metric: what the distances are measured in.
        plan: in words: "exact", "hnsw", "exact over the filtered rows" …
        k: neighbours asked for, of each query.
        queries: how many queries.
        rows: rows in the store; None where the engine was not asked.
        matching: rows that satisfy `where`; all of them without one, None where the engine was not asked.
        returned: hits in all.
        shortfall: hits that are missing although enough rows match; 0 unless the engine could not help it.
        native: what the engine was told: parameters, SQL or query DSL.
        verified: what a sample of the queries, asked again exactly, tells of recall; None where none was.
    """

    backend: str
    field: str
    metric: str
    plan: str
    k: int
    queries: int
    rows: int | None
    matching: int | None = None
    returned: int = 0
    shortfall: int = 0
    native: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    verified: Verified | None = None

    def without_own(self, k: int, returned: int) -> Explanation:
        """Tell of the same search once each query's own row was left out of its k + 1 hits."""
        missing = min(self.shortfall, self.queries * k - returned)
        return dataclasses.replace(self, k=k, returned=returned, shortfall=missing)

    @property
    def told(self) -> dict[str, str]:
        """What there is to tell, in words, heading → text."""
        matching = "" if self.matching is None else f", {self.matching:,} match"
        return {
            "field": f"{self.field} by {self.metric}",
            "rows": f"{'not counted' if self.rows is None else f'{self.rows:,}'}{matching}",
            "asked": f"{self.k} neighbours of {self.queries:,} {'query' if self.queries == 1 else 'queries'}",
            "returned": f"{self.returned:,}" + (f", {self.shortfall:,} short" if self.shortfall else ""),
            **({} if self.verified is None else {"verified": str(self.verified)}),
            **{str(name): str(value) for name, value in self.native.items()},
        }

    def __str__(self) -> str:
        return "\n".join(
            [f"{self.backend}: {self.plan}", *(f"  {name:<9} {value}" for name, value in self.told.items())]
        )

    def _repr_html_(self) -> str:
        return _html.facts(f"{self.backend}: {self.plan}", self.told)
