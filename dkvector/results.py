"""Hits of a search, by vectors, by words, or by both."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector.assembly import Counts, assemble, beside, framed, free, queried, ranks
from dkvector.columns import to_index, to_pandas
from dkvector.explanation import Explanation
from dkvector.metrics import DistanceMetric, Floats, score

__all__ = [
    "Counts",
    "Explanation",
    "Hits",
    "HybridHits",
    "KeywordHits",
    "Picked",
    "Source",
    "TableSource",
    "assemble",
    "framed",
    "free",
    "ranks",
]


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
        columns = queried(self.queries, self.counts) | {"rank": ranks(self.counts), "score": self.fused}
        for leg, rank, of_leg in zip(("vector", "text"), self.ranks, self.of_legs, strict=True):
            columns[f"{leg}_rank"] = pd.arrays.IntegerArray(rank, rank == 0)
            columns[f"{leg}_score"] = of_leg
        return beside(columns, self.source.columns(), self.ids)


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
        return beside(columns, self.source.columns(), self.ids)
