"""Rows written one by one: they grow in place, and a snapshot sees as many as there were when it was made."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.backends._segment import Segment, unproven
from dkvector.backends._topk import Positions
from dkvector.metrics import Floats
from dkvector.schema import Schema

ROOM = 64  # rows that a tail begins with room for


class Tail:
    """Rows behind all others, to which more are added.

    Args:
        start: position of the first.
        schema: of all of them.
    """

    def __init__(self, start: int, schema: Schema) -> None:
        self.start, self.rows = start, 0
        self.places: dict[Any, int] = {}  # label → the last row of that label
        self.batches: list[pa.RecordBatch] = []
        self._vectors = {info.name: np.empty((ROOM, info.dimensions), np.float32) for info in schema.vectors}

    def add(self, batch: pa.RecordBatch, labels: pd.Index, vectors: Mapping[str, Floats]) -> None:
        """Add rows.

        Args:
            batch: ids and payload, and whatever columns follow.
            labels: the ids as pandas has them.
            vectors: field → matrix `(n, d)`.
        """
        start, self.rows = self.rows, self.rows + len(labels)
        for name, matrix in vectors.items():
            if self.rows > len(self._vectors[name]):  # earlier snapshots keep the smaller one
                larger = np.empty((2 * self.rows, matrix.shape[1]), np.float32)
                larger[:start] = self._vectors[name][:start]
                self._vectors[name] = larger
            # behind all that any snapshot sees: a search may be reading there just now
            self._vectors[name][start : self.rows] = matrix
        self.batches.append(batch)
        self.places.update(zip(labels.tolist(), range(start, self.rows), strict=True))

    def seen(self, payload: int, dtype: Any) -> Recent:
        """Give the rows that there are by now.

        Args:
            payload: how many columns it has.
            dtype: of the labels.
        """
        vectors = {name: matrix[: self.rows] for name, matrix in self._vectors.items()}
        return Recent(self, vectors, payload, dtype)


class Recent(Segment):
    """The first rows of a tail; ids and payload are put together when they are asked for."""

    _tail: Tail
    _batches: int
    _columns: int
    _dtype: Any
    _rows: int

    def __init__(self, tail: Tail, vectors: Mapping[str, Floats], payload: int, dtype: Any) -> None:
        # past the frozen dataclass, whose own __init__ would want ids and payload at once
        vars(self).update(start=tail.start, vectors=vectors, single={}, prove=unproven, gaps={}, loose=True)
        vars(self).update(_tail=tail, _batches=len(tail.batches), _columns=payload, _dtype=dtype, _rows=tail.rows)

    def __len__(self) -> int:
        return self._rows

    @cached_property
    def _table(self) -> pa.Table:
        return pa.Table.from_batches(self._tail.batches[: self._batches]).select(range(1 + self._columns))

    @cached_property
    def ids(self) -> pa.Array:
        """The ids, `(n,)`."""
        return pa.concat_arrays(self._table.column(0).chunks)

    @cached_property
    def payload(self) -> pa.Table:
        """The payload, one chunk a column."""
        return self._table.remove_column(0).combine_chunks()

    def find(self, ids: pd.Index, of: pa.Field) -> Positions:
        """Find ids in the table that the tail keeps, as far as no later row hides the place."""
        # 1, True and 1.0 are one key of a dict: where dtypes differ, pandas decides
        if ids.dtype == self._dtype:
            at = [self._tail.places.get(one, -1) for one in ids.tolist()]
            if max(at, default=-1) < self._rows:
                return np.array(at, np.intp)
        return super().find(ids, of)

    def plain(self) -> Segment:
        """Give the same rows as arrays of their own."""
        return Segment(self.start, self.ids, self.payload, dict(self.vectors))
