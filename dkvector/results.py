"""Hits of a search, by vectors, by words, or by both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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
        extra: `(h,)` columns that stand after distance; a "rank" among them takes the place of the usual one.
    """

    source: Source
    distances: Floats
    counts: Counts
    metric: DistanceMetric
    queries: pd.Index | None = None
    extra: Mapping[str, NDArray[Any]] = dataclasses.field(default_factory=dict)

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

    @property
    def of_query(self) -> Counts:
        """Which query each hit belongs to, `(h,)`."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def some(self, places: Counts) -> Hits:
        """Give the hits of some of the queries."""
        starts = np.cumsum(self.counts) - self.counts
        kept = [np.arange(starts[at], starts[at] + self.counts[at]) for at in places]
        keep = np.concatenate([np.empty(0, np.intp), *kept]).astype(np.intp)
        labels = None if self.queries is None else self.queries[places]
        return dataclasses.replace(self.taken(keep), counts=self.counts[places], queries=labels)

    def taken(self, keep: Counts) -> Hits:
        """Give some of the hits, by position, in this order, in which those of one query must stay together."""
        return dataclasses.replace(
            self,
            source=Picked(self.source, keep),
            distances=self.distances[keep],
            counts=np.bincount(self.of_query[keep], minlength=len(self.counts)),
            extra={name: values[keep] for name, values in self.extra.items()},
        )

    def without(self, own: Sequence[pd.Index], k: int) -> Hits:
        """Leave out rows of each query's hits, and keep the k nearest of the others.

        Args:
            own: for each query, ids that it must not find.
            k: neighbours to keep; as many more were asked for as there are ids, so that none is missing.
        """
        ids, query = self.ids, self.of_query
        others = np.ones(len(ids), bool)
        for place in range(max(map(len, own), default=0)):
            having = np.array([len(one) > place for one in own])
            barred = pd.Index([one[min(place, len(one) - 1)] if len(one) else None for one in own], tupleize_cols=False)
            others &= ~having[query] | np.asarray(ids != barred.take(query), bool)
        left = np.flatnonzero(others)
        counts = np.bincount(query[left], minlength=len(self.counts))
        return self.taken(left[ranks(counts) <= k])

    def to_frame(self) -> pd.DataFrame:
        """Give the hits as a DataFrame.

        Returns:
            A frame indexed by row label: `query` (where there are several), `rank` from 1, `score`, `distance`, what
            was added, then the payload.
        """
        rows = self.ids, self.distances, self.counts, self.metric
        return assemble(*rows, queries=self.queries, payload=self.source.columns(), extra=self.extra)


@dataclass(frozen=True, kw_only=True)
class HybridHits(Hits):
    """Rows that several searches found, by vectors or by words, fused into one ranking.

    Attributes:
        fused: `(h,)` float64 scores of the fusion, larger is better.
        ranks: `(legs, h)` from 1 of each search; 0 where it has not found the row.
        of_legs: `(legs, h)` float32 scores of each; NaN where it has not found the row.
        legs: what each is called in the frame.
    """

    fused: NDArray[np.float64]
    ranks: NDArray[np.int64]
    of_legs: Floats
    legs: tuple[str, ...] = ("vector", "text")

    @property
    def scores(self) -> Floats:
        """Scores `(h,)` of the fusion."""
        return self.fused.astype(np.float32)

    def to_frame(self) -> pd.DataFrame:
        """Give the hits as a DataFrame.

        Returns:
            A frame indexed by row label: `query` (where there are several), `rank` from 1, `score` of the fusion, rank
            and score of each leg, missing where it has not found the row, then the payload.
        """
        columns = queried(self.queries, self.counts) | {"rank": ranks(self.counts), "score": self.fused}
        for leg, rank, of_leg in zip(self.legs, self.ranks, self.of_legs, strict=True):
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
            texts = pa.field("highlight", pa.large_string())
            columns["highlight"] = to_pandas(pa.array(self.highlights, texts.type), texts)
        return beside(columns, self.source.columns(), self.ids)
