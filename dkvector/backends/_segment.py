"""Rows written together: their ids, payload and vectors, as Arrow and NumPy hold them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.backends._row_reader import RowReader
from dkvector.backends._topk import Block, Positions
from dkvector.columns import to_index, to_pandas
from dkvector.ingest import Batch
from dkvector.metrics import Floats
from dkvector.schema import Schema

FEW = 16  # ids that are looked up one by one
_LABELS, _LAST = object(), object()  # keys that no column has


def unproven() -> None:
    """Pass rows that are nowhere but in memory: there is nothing to compare them with."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Rows written together.

    Attributes:
        start: the first row's position.
        ids: `(n,)` Arrow array.
        payload: table of `n` rows, one chunk a column.
        vectors: field → matrix `(n, d)` float32.
        single: field → what reads single vectors from the file; without one they are in memory.
        prove: raises where they are not what was written; asked before they are copied to another file.
        loose: they are in the log alone, and the next commit writes them to a file.
    """

    start: int
    ids: pa.Array
    payload: pa.Table
    vectors: Mapping[str, Floats]
    single: Mapping[str, RowReader] = field(default_factory=dict)
    prove: Callable[[], None] = unproven
    loose: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def plain(self) -> Segment:
        """Give the same rows as arrays of their own."""
        return self

    @cached_property
    def blocks(self) -> dict[str, Block]:
        """The vectors, ready to be searched."""
        return {name: Block(self.start, matrix) for name, matrix in self.vectors.items()}

    @cached_property
    def _converted(self) -> dict[object, Any]:
        return {}

    def values(self, of: pa.Field) -> Any:
        """Give a payload column as pandas has it, converted once: mostly without a copy."""
        if of.name not in self._converted:
            self._converted[of.name] = to_pandas(self.column(of), of)
        return self._converted[of.name]

    def labels(self, of: pa.Field) -> pd.Index:
        """Give the ids as pandas has them, converted once: the index keeps the table that finds them."""
        if _LABELS not in self._converted:
            self._converted[_LABELS] = to_index(self.ids, of)
        labels: pd.Index = self._converted[_LABELS]
        return labels

    def find(self, ids: pd.Index, of: pa.Field) -> Positions:
        """Find ids, -1 for unknown ones; of a replaced id that stands here twice, the last place counts."""
        labels = self.labels(of)
        if labels.is_unique:
            few = len(ids) <= FEW and type(labels) is pd.Index and labels.dtype == ids.dtype
            return _each(labels, ids) if few else labels.get_indexer(ids)
        if _LAST not in self._converted:
            last = np.flatnonzero(~labels.duplicated(keep="last"))
            self._converted[_LAST] = last, labels[last]
        last, unique = self._converted[_LAST]
        at = unique.get_indexer(ids)
        return np.where(at >= 0, last[at], -1)

    def column(self, of: pa.Field) -> pa.ChunkedArray:
        """Give a payload column; one that came later, or was of no type yet, is missing here."""
        return column_of(self.payload, of)


def _each(labels: pd.Index, ids: pd.Index) -> Positions:
    """Find ids one by one, which is quicker for a few."""
    found: list[Any] = [-1] * len(ids)
    for at, one in enumerate(ids.tolist()):
        with suppress(KeyError):
            found[at] = labels.get_loc(one)
    return np.array(found, np.intp)


def column_of(payload: pa.Table, of: pa.Field) -> pa.ChunkedArray:
    """Give a column; nulls where there is none of that name and type."""
    at = payload.schema.get_field_index(of.name)
    if at >= 0 and payload.schema.field(at).type == of.type:
        return payload.column(at)
    return pa.chunked_array([pa.nulls(len(payload), of.type)])


def segment(start: int, batch: Batch) -> Segment:
    """Make a segment of a batch."""
    return Segment(start, batch.ids, batch.payload.combine_chunks(), dict(batch.vectors))


def merged(first: Segment, second: Segment, schema: Schema) -> Segment:
    """Put two neighbouring segments into one; positions stay the same, damaged rows are refused."""
    first.prove()
    columns = [
        pa.chunked_array([*first.column(of).chunks, *second.column(of).chunks], type=of.type) for of in schema.payload
    ]
    return Segment(
        first.start,
        pa.concat_arrays([first.ids, second.ids]),
        pa.Table.from_arrays(columns, schema=schema.payload).combine_chunks(),
        {name: np.concatenate([first.vectors[name], second.vectors[name]]) for name in first.vectors},
    )
