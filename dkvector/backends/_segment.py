"""Rows written together: their ids, payload and vectors, as Arrow and NumPy hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.backends._marks import Mask
from dkvector.backends._row_reader import RowReader
from dkvector.backends._texts import Texts, can_view
from dkvector.backends._topk import Block, Positions
from dkvector.columns import holds_objects, to_index, to_pandas
from dkvector.ingest import Batch
from dkvector.metrics import Floats
from dkvector.schema import Schema, VectorInfo

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
        gaps: field → mask `(n,)` of the rows that lack a vector in it, which is zero there; none of other fields.
        loose: they are in the log alone, and the next commit writes them to a file.
    """

    start: int
    ids: pa.Array
    payload: pa.Table
    vectors: Mapping[str, Floats]
    single: Mapping[str, RowReader] = field(default_factory=dict)
    prove: Callable[[], None] = unproven
    gaps: Mapping[str, Mask] = field(default_factory=dict)
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

    def whole(self, name: str, payload: pa.Schema) -> Any:
        """Give what takes from a payload column faster than Arrow does, converted once and mostly without a copy.

        Returns:
            Something with `take(positions)`, which gives values as pandas has them; None where Arrow is as fast.
        """
        if name not in self._converted:
            self._converted[name] = _whole(self.column(of := payload.field(name)), of)
        return self._converted[name]

    def labels(self, of: pa.Field) -> pd.Index:
        """Give the ids as pandas has them, converted once: the index keeps the table that finds them."""
        if _LABELS not in self._converted:
            self._converted[_LABELS] = to_index(self.ids, of)
        labels: pd.Index = self._converted[_LABELS]
        return labels

    def find(self, ids: pd.Index, of: pa.Field) -> Positions:
        """Find ids, -1 for unknown ones; of a replaced id that stands here twice, the last place counts."""
        labels = self.labels(of)
        # an index that holds a label twice refuses get_indexer
        if labels.is_unique:
            # other kinds of index, of times or of several levels, may answer get_loc with a slice
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


def _whole(column: pa.ChunkedArray, of: pa.Field) -> Any:
    kind = of.type
    quick = pa.types.is_primitive(kind) or pa.types.is_dictionary(kind) or pa.types.is_large_string(kind)
    # objects of all rows would take much memory, and long
    if not quick or holds_objects(of):
        return None
    values = to_pandas(column, of)
    return Texts.of(column, values) if can_view(column, values) else values


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
    """Make a segment of a batch; of the fields that it does not bring, its rows lack the vectors."""
    made = Segment(start, batch.ids, batch.payload.combine_chunks(), dict(batch.vectors))
    return with_gaps(made, batch.schema.vectors)


def with_gaps(rows: Segment, infos: Iterable[VectorInfo]) -> Segment:
    """Give rows the fields that they have no vectors in, and take those away that are no more."""
    infos = tuple(infos)
    if rows.vectors.keys() == {info.name for info in infos}:
        return rows
    new = [info for info in infos if info.name not in rows.vectors]
    vectors = dict(rows.vectors) | {info.name: np.zeros((len(rows), info.dimensions), np.float32) for info in new}
    gaps = dict(rows.gaps) | {info.name: np.ones(len(rows), np.bool_) for info in new}
    names = [info.name for info in infos]
    kept = {name: mask for name, mask in gaps.items() if name in names}
    return altered(rows, {name: vectors[name] for name in names}, kept)


def altered(rows: Segment, vectors: Mapping[str, Floats], gaps: Mapping[str, Mask]) -> Segment:
    """Give the same rows with other vectors; what was found out of their ids and payload stays known."""
    # a reader sees what is in the file: only of a matrix that is still the one from there
    same = {name: reader for name, reader in rows.single.items() if vectors.get(name) is rows.vectors[name]}
    made = replace(rows, vectors=vectors, gaps=gaps, single=same)
    vars(made)["_converted"] = rows._converted  # noqa: SLF001 - its own kind
    return made


def merged(first: Segment, second: Segment, schema: Schema) -> Segment:
    """Put two neighbouring segments into one; positions stay the same, damaged rows are refused."""
    # the second is new, and in memory: there is nothing to compare it with
    first.prove()
    columns = [
        pa.chunked_array([*first.column(of).chunks, *second.column(of).chunks], type=of.type) for of in schema.payload
    ]
    return Segment(
        first.start,
        pa.concat_arrays([first.ids, second.ids]),
        pa.Table.from_arrays(columns, schema=schema.payload).combine_chunks(),
        {name: np.concatenate([first.vectors[name], second.vectors[name]]) for name in first.vectors},
        gaps=gaps_of([first, second]),
    )


def gaps_of(segments: Sequence[Segment]) -> dict[str, Mask]:
    """Tell which rows lack a vector, of all segments one after another; nothing of fields that none lacks."""
    names = dict.fromkeys(name for one in segments for name in one.gaps)
    none = {name: [one.gaps.get(name, np.zeros(len(one), np.bool_)) for one in segments] for name in names}
    return {name: np.concatenate(masks) for name, masks in none.items() if any(mask.any() for mask in masks)}


def as_lists(matrix: Floats, gaps: Mask | None) -> pa.FixedSizeListArray:
    """Give vectors `(n, d)` as Arrow has them, in place; null where they are lacking."""
    mask = None if gaps is None else pa.array(gaps)
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1], mask=mask)
