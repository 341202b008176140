"""What is evaluated: rows in memory, as they are searched exactly and as a store takes them, and the queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from dkvector.counts import as_count
from dkvector.dtype import VectorArray
from dkvector.errors import NotFoundError, SchemaError
from dkvector.evaluation.asked import Queries, read_asked
from dkvector.evaluation.sources import Chunk, FrameSource, gathered, read_source
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric

DRAWN = 1_000  # rows drawn as queries where none are given


@dataclass(frozen=True)
class Subject:
    """Rows that are searched.

    Attributes:
        rows: all of them, with their payload.
        name: the vector column.
        metric: what they are measured by.
    """

    rows: Chunk
    name: str
    metric: DistanceMetric

    def frame(self, columns: Sequence[str]) -> pd.DataFrame:
        """Give the rows as a store takes them: the vectors, and some other columns."""
        kept = self.rows.frame[[name for name in self.rows.frame.columns if str(name) in columns]]
        # a store's columns are called by text
        return kept.set_axis([str(name) for name in kept.columns], axis=1).assign(
            **{self.name: VectorArray(self.rows.matrix)}
        )

    def some(self, places: Any) -> Subject:
        """Give some of the rows."""
        rows = Chunk(0, np.ascontiguousarray(self.rows.matrix[places]), self.rows.frame.iloc[places])
        return replace(self, rows=rows)

    def queries(self, queries: Any, by: Sequence[str], seed: int) -> Queries:
        """Read queries, or draw so many rows by chance.

        Args:
            queries: what `read_asked` takes, or a number of rows; None draws 1,000.
            by: columns that they must have.
            seed: of the drawing.

        Raises:
            NotFoundError: a column that they lack.
            SchemaError: no queries.
        """
        if queries is None or (hasattr(queries, "__index__") and not np.ndim(queries)):
            count = DRAWN if queries is None else as_count(queries, "queries")
            places = np.random.default_rng(seed).permutation(len(self.rows.matrix))[:count]
            asked = Queries(self.rows.matrix, self.rows.labels, self.rows.frame).some(np.sort(places))
        else:
            asked = read_asked(queries, self.rows.matrix.shape[1], self.metric)
        for name in by:
            if name not in asked.frame.columns:
                raise NotFoundError.of("column of the queries", name, map(str, asked.frame.columns))
        return asked


def read_subject(
    data: Any,
    columns: Sequence[str],
    *,
    on: str | None = None,
    metric: DistanceMetric | str | None = None,
    on_bad: OnBad = "raise",
) -> Subject:
    """Bring rows into memory.

    Args:
        data: a DataFrame, a store, an Arrow table or dataset, or a path; or stores by name, of which the first is read.
        columns: columns that filters and slices need; a frame gives all it has.
        on: the vector column, where there are several.
        metric: what to measure by; a store's own, or cosine, by default.
        on_bad: "drop" leaves out the rows whose vectors can't be used.

    Raises:
        SchemaError: no rows, or rows without unique labels: they can't be told apart in an answer.
    """
    source = read_source(next(iter(data.values())) if isinstance(data, Mapping) else data, on, on_bad)
    by = source.metric if metric is None else DistanceMetric.of(metric)
    if isinstance(source, FrameSource):
        columns = [str(name) for name in source.frame.columns if name != source.name]
    rows = gathered(source, columns, by)
    if not len(rows.matrix):
        raise SchemaError("there are no rows")
    if not rows.labels.is_unique:
        raise SchemaError("several rows have the same label: reset_index() gives each its own")
    return Subject(rows, str(source.name), by)
