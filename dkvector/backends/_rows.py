"""Rows of an in-process store: immutable segments with a mask of the dead ones, so that a search keeps its snapshot.

Rows are only ever appended, and a replaced or deleted row is marked dead: positions stay true for every index built
on them, until `compacted` numbers the living anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector.backends import _arrow
from dkvector.backends._row_reader import RowReader
from dkvector.backends._topk import Block, Positions
from dkvector.columns import to_index, to_pandas
from dkvector.filters import Filter
from dkvector.ingest import Batch
from dkvector.metrics import Floats
from dkvector.schema import Schema, VectorInfo

Mask = NDArray[np.bool_]
Column = Callable[["Segment"], pa.ChunkedArray | pa.Array]

_LABELS, _LAST = object(), object()  # keys that no column has
SMALL = 1 << 16  # rows up to which segments are merged, so that many small writes don't make many segments


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
    """

    start: int
    ids: pa.Array
    payload: pa.Table
    vectors: Mapping[str, Floats]
    single: Mapping[str, RowReader] = field(default_factory=dict)
    prove: Callable[[], None] = unproven

    def __len__(self) -> int:
        return len(self.ids)

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
            return labels.get_indexer(ids)
        if _LAST not in self._converted:
            last = np.flatnonzero(~labels.duplicated(keep="last"))
            self._converted[_LAST] = last, labels[last]
        last, unique = self._converted[_LAST]
        at = unique.get_indexer(ids)
        return np.where(at >= 0, last[at], -1)

    def column(self, of: pa.Field) -> pa.ChunkedArray:
        """Give a payload column; one that came later, or was of no type yet, is missing here."""
        at = self.payload.schema.get_field_index(of.name)
        if at >= 0 and self.payload.schema.field(at).type == of.type:
            return self.payload.column(at)
        return pa.chunked_array([pa.nulls(len(self), of.type)])


def segment(start: int, batch: Batch) -> Segment:
    """Make a segment of a batch."""
    return Segment(start, batch.ids, batch.payload.combine_chunks(), dict(batch.vectors))


@dataclass(frozen=True, eq=False)
class Rows:
    """All rows of a store at one moment.

    Attributes:
        schema: what they hold.
        segments: the rows, dead ones included.
        dead: `(total,)` marks the rows that were replaced or deleted.
        indexes: field → what the engine has built on the first rows.
    """

    schema: Schema
    segments: tuple[Segment, ...] = ()
    dead: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    indexes: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def total(self) -> int:
        """Positions in use, the dead ones included."""
        return len(self.dead)

    @cached_property
    def buried(self) -> int:
        """How many rows are dead."""
        return int(np.count_nonzero(self.dead))

    @property
    def living(self) -> int:
        """How many rows there are."""
        return self.total - self.buried

    @property
    def kept_bytes(self) -> int:
        """Bytes kept in memory for the rows themselves: the mask of the dead, and squared norms once computed."""
        blocks = [block for one in self.segments for block in one.blocks.values()]
        return self.dead.nbytes + sum(4 * len(block.matrix) for block in blocks if "squared" in vars(block))

    def blocks(self, name: str) -> list[Block]:
        """Give the vectors of a field."""
        return [one.blocks[name] for one in self.segments]

    def single(self, name: str) -> list[Block]:
        """Give the vectors of a field, to be read one by one."""
        return [Block(one.start, one.single[name]) if one.single else one.blocks[name] for one in self.segments]

    def locate(self, ids: pd.Index) -> Positions:
        """Find the positions of ids; -1 for unknown ones."""
        found = np.full(len(ids), -1, np.intp)
        for one in self.segments:
            at = one.find(ids, self.schema.id)
            hit = at >= 0
            hit[hit] = ~self.dead[at[hit] + one.start]
            found[hit] = at[hit] + one.start
        return found

    def ranks(self, positions: Positions) -> Positions:
        """Order positions by their ids, for ties."""
        labels = self.labels(positions)
        return np.argsort(np.argsort(labels, kind="stable"), kind="stable")

    def column(self, name: str) -> pa.ChunkedArray:
        """Give one column over all positions; a payload column of the ids' name goes first, as in pandas."""
        if name not in self.schema.payload.names:
            return pa.chunked_array([one.ids for one in self.segments], type=self.schema.id.type)
        of = self.schema.payload.field(name)
        chunks = [chunk for one in self.segments for chunk in one.column(of).chunks]
        return pa.chunked_array(chunks, type=of.type)

    def matching(self, where: Filter | None) -> Mask | None:
        """Mark the living rows that satisfy a filter, `(total,)`; None where every row does."""
        if where is None:
            return ~self.dead if self.buried else None
        mask = _arrow.mask(where, self.column, self.total, self._among)
        return mask & ~self.dead if self.buried else mask

    def _among(self, ids: Sequence[object]) -> Mask:
        mask = np.zeros(self.total, np.bool_)
        found = self.locate(pd.Index(list(ids)))
        mask[found[found >= 0]] = True
        return mask

    def labels(self, positions: Positions) -> pd.Index:
        """Give the ids at positions as pandas has them."""
        if len(self.segments) == 1:
            return self.segments[0].labels(self.schema.id).take(positions)
        return to_index(self.take_ids(positions), self.schema.id)

    def take_ids(self, positions: Positions) -> pa.ChunkedArray:
        """Give the ids at positions."""
        return self._taken(positions, lambda one: one.ids)

    def take(self, positions: Positions, columns: Iterable[str], *, include_vectors: bool = False) -> pa.Table:
        """Give rows by position: the id, the columns, and the vectors where asked."""
        fields = [self.schema.id]
        made = [self.take_ids(positions)]
        for name in columns:
            of = self.schema.payload.field(name)
            fields.append(of)
            made.append(self._taken(positions, partial(Segment.column, of=of)))
        for info in self.schema.vectors if include_vectors else ():
            matrix = self.vectors(info.name, positions)
            fields.append(pa.field(info.name, pa.list_(pa.float32(), info.dimensions), metadata=_vector_dtype(info)))
            made.append(pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), info.dimensions))
        return pa.Table.from_arrays(made, schema=pa.schema(fields))

    def arrays(self, positions: Positions, columns: Iterable[str]) -> dict[str, Any]:
        """Give payload columns by position, as pandas has them."""
        made = {}
        for name in columns:
            of = self.schema.payload.field(name)
            if len(self.segments) == 1 and _kept_converted(of.type):
                made[name] = self.segments[0].values(of).take(positions)
            else:
                made[name] = to_pandas(self._taken(positions, partial(Segment.column, of=of)), of)
        return made

    def _taken(self, positions: Positions, column: Column) -> pa.ChunkedArray:
        if len(self.segments) == 1:
            return column(self.segments[0]).take(pa.array(positions))
        chunks = [chunk for one in self.segments for chunk in _chunks(column(one))]
        return pa.chunked_array(chunks).take(pa.array(positions))

    def vectors(self, name: str, positions: Positions) -> Floats:
        """Copy vectors by position, `(p, d)`."""
        result = np.empty((len(positions), self.schema.vector(name).dimensions), np.float32)
        for block in self.blocks(name):
            inside = (positions >= block.start) & (positions < block.start + len(block.matrix))
            result[inside] = block.matrix[positions[inside] - block.start]
        return result

    def appended(self, batch: Batch) -> Rows:
        """Add rows at the end, small segments merged with the one before."""
        added = segment(self.total, batch)
        kept = list(self.segments)
        while kept and len(kept[-1]) <= 2 * len(added) and len(kept[-1]) + len(added) <= SMALL:
            added = merged(kept.pop(), added, batch.schema)
        dead = np.concatenate([self.dead, np.zeros(len(batch), np.bool_)])
        return Rows(batch.schema, (*kept, added), dead, self.indexes)

    def without(self, positions: Positions) -> Rows:
        """Mark rows dead."""
        dead = self.dead.copy()
        dead[positions] = True
        return replace(self, dead=dead)

    def compacted(self) -> Rows:
        """Number the living anew, as one segment; damaged rows are refused, and not passed on."""
        for one in self.segments:
            one.prove()
        alive = np.flatnonzero(~self.dead)
        names = [info.name for info in self.schema.vectors]
        payload = self.take(alive, self.schema.payload.names).combine_chunks()
        ids = payload.column(0).combine_chunks()
        one = Segment(0, ids, payload.remove_column(0), {name: self.vectors(name, alive) for name in names})
        return Rows(self.schema, (one,), np.zeros(len(alive), np.bool_))


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


def _kept_converted(kind: pa.DataType) -> bool:
    """Tell whether pandas can take from a column faster than Arrow, at little memory."""
    return bool(pa.types.is_primitive(kind) or pa.types.is_dictionary(kind) or pa.types.is_large_string(kind))


def _chunks(column: pa.ChunkedArray | pa.Array) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]


def _vector_dtype(info: VectorInfo) -> dict[bytes, bytes]:
    return {b"pandas": f"vector[{info.dimensions}]".encode()}
