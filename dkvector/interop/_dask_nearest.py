"""Exact search over partitions: the nearest of each, merged in the order of the frame; no I/O, so that it pickles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dkvector import frames
from dkvector.detect import dimensions
from dkvector.errors import NotFoundError, SchemaError
from dkvector.filters import Or
from dkvector.ingest import OnBad
from dkvector.interop._extra import needs
from dkvector.metrics import DistanceMetric, Floats
from dkvector.results import ranks
from dkvector.vectors import read_vectors

with needs("dask", "dask"):
    from dask.dataframe.methods import concat


@dataclass(frozen=True)
class Nearest:
    """What is searched for in every partition.

    Args:
        column: the vector column.
        k: neighbours of each query.
        metric: what to measure by.
        where: the filter.
        columns: to give.
        on_bad: what becomes of rows whose vectors can't be used.
    """

    column: Any
    k: int
    metric: DistanceMetric
    where: Any
    columns: tuple[Any, ...]
    on_bad: OnBad

    def of(self, part: pd.DataFrame, queries: Floats) -> pd.DataFrame | None:
        """Search one partition: a frame whose `query` is the place of each; None of a partition without rows."""
        if not len(part):
            return None
        asked = frames.Asked(queries, None, self.k, self.metric)
        return frames.search(part, self.column, asked, where=self.where, columns=self.columns, on_bad=self.on_bad)

    def merged(self, parts: Sequence[pd.DataFrame | None]) -> pd.DataFrame | None:
        """Keep the k nearest of each query; ties stay in the order of the frame."""
        found = [one for one in parts if one is not None and len(one)]
        if not found:
            # an answer without rows still has the columns and their types
            return next((one for one in parts if one is not None), None)
        # Dask's own unites the categories of partitions, where pandas' gives them up
        whole = concat(found) if len(found) > 1 else found[0]
        query = whole["query"].to_numpy()
        order = np.lexsort((whole["distance"].to_numpy(), query))
        whole = whole.iloc[order[ranks(_counts(query[order])) <= self.k]]
        return whole.assign(rank=ranks(_counts(whole["query"].to_numpy())))

    def without(self, wide: pd.DataFrame | None, own: pd.Index) -> pd.DataFrame | None:
        """Leave the row that each query is like out of its k + 1 nearest."""
        if wide is None:
            return None
        return self.merged([wide[np.asarray(wide.index != own.take(wide["query"].to_numpy()), bool)]])

    def none(self, sample: pd.DataFrame) -> pd.DataFrame:
        """Give no hits, with their columns and types."""
        one = np.ones((1, dimensions(sample[self.column])), np.float32)
        asked = frames.Asked(one, None, self.k, self.metric)
        return frames.search(sample, self.column, asked, where=Or(()), columns=self.columns, on_bad="drop")


def _counts(query: Any) -> Any:
    """Count the rows of each query; they stand together."""
    ends = np.flatnonzero(np.diff(query, append=-1))
    return np.diff(ends, prepend=-1)


def finished(found: pd.DataFrame | None, empty: pd.DataFrame, labels: pd.Index | None) -> pd.DataFrame:
    """Give hits as `df.vec.search` does: with the labels of the queries, or without where it was one."""
    hits = empty if found is None else found
    if labels is None:
        return hits.drop(columns="query")
    return hits.assign(query=labels.take(hits["query"].to_numpy()).array)


def located(part: pd.DataFrame, column: Any, labels: pd.Index) -> tuple[pd.Index, Floats]:
    """Find the rows of a partition that labels name, and their vectors."""
    some = part[part.index.isin(labels)]
    if not len(some):
        return some.index, np.empty((0, 0), np.float32)
    return some.index, read_vectors(some[column], name=str(column)).matrix


def together(found: Sequence[tuple[pd.Index, Floats]], labels: pd.Index) -> tuple[pd.Index, Floats]:
    """Put labelled rows in the order of the labels, which get the type of the frame's own.

    Raises:
        NotFoundError: no such row.
        SchemaError: a label that names several rows.
    """
    some = [(index, matrix) for index, matrix in found if len(index)]
    known = some[0][0].append([index for index, _ in some[1:]]) if some else labels[:0]
    if not known.is_unique:
        raise SchemaError(f"several rows are called {known[known.duplicated()][0]}; search by their vectors instead")
    at = known.get_indexer(labels)
    if missing := [label for label, place in zip(labels, at, strict=True) if place < 0]:
        raise NotFoundError(f"no row {missing[0]!r} to search like")
    return known.take(at), np.concatenate([matrix for _, matrix in some])[at]
