"""The true neighbours of some queries."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dkvector.backends._topk import Positions
from dkvector.counts import as_count
from dkvector.errors import SchemaError
from dkvector.metrics import DistanceMetric, Floats
from dkvector.results import assemble, ranks


@dataclass(frozen=True)
class Truth:
    """The k nearest rows of every query, one query after the other, nearest first.

    Attributes:
        labels: `(h,)` of the rows.
        positions: `(h,)` places of the rows among all.
        distances: `(h,)` float32.
        counts: `(q,)` how many of them belong to each query: k, or as many as match where those are fewer.
        k: neighbours asked for.
        metric: what they were measured by.
        queries: `(q,)` labels of the queries.
        own: `(q,)` the row that each query is itself, which is no neighbour of its own; -1 where it is none.
        matching: rows that satisfy the filter.
        rows: all rows.
        cached: whether it was known from before.
    """

    labels: pd.Index
    positions: Positions
    distances: Floats
    counts: Positions
    k: int
    metric: DistanceMetric
    queries: pd.Index
    own: Positions
    matching: int
    rows: int
    cached: bool = False

    def __len__(self) -> int:
        return len(self.counts)

    def at(self, k: int) -> Truth:
        """Give the k nearest of each query.

        Raises:
            SchemaError: more than there are here.
        """
        if as_count(k) > self.k:
            raise SchemaError(f"these are the {self.k} nearest rows of each query, not the {k} nearest: ask for more")
        keep = ranks(self.counts) <= k
        near = (self.labels[keep], self.positions[keep], self.distances[keep], np.minimum(self.counts, k))
        return replace(self, labels=near[0], positions=near[1], distances=near[2], counts=near[3], k=k)

    @property
    def kth(self) -> Floats:
        """Distance of the last neighbour of each query, `(q,)`; minus infinity where there is none."""
        ends = np.cumsum(self.counts) - 1
        # where the first queries have no neighbours their end is -1, which is the number put last
        padded = np.append(self.distances, np.float32(-np.inf))
        return np.where(self.counts > 0, padded[ends], np.float32(-np.inf))

    def to_frame(self) -> pd.DataFrame:
        """Give it as a search for many queries would: `query`, `rank`, `score`, `distance`, indexed by row label."""
        return assemble(self.labels, self.distances, self.counts, self.metric, queries=self.queries, payload={})

    def __repr__(self) -> str:
        among = f"{self.matching:,} of {self.rows:,} rows" if self.matching < self.rows else f"{self.rows:,} rows"
        return f"<Truth: {self.k} nearest of {among} for {len(self):,} queries, by {self.metric.value}>"
