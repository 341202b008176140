"""Rows of an in-process store: immutable segments with a mask of the dead ones, so that a search keeps its snapshot.

Rows are only ever appended, and a replaced or deleted row is marked dead: positions stay true for every index built
on them, until `compacted` numbers the living anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.backends import _arrow
from dkvector.backends._marks import Marks, Mask
from dkvector.backends._segment import Segment, as_lists, gaps_of, merged, segment
from dkvector.backends._topk import Block, Positions
from dkvector.columns import taken, to_index, to_pandas
from dkvector.filters import Filter
from dkvector.ingest import Batch
from dkvector.metrics import Floats
from dkvector.schema import Schema, VectorInfo

Column = Callable[["Segment"], pa.ChunkedArray | pa.Array]

SMALL = 1 << 16  # rows up to which segments are merged, so that many small writes don't make many segments


@dataclass(frozen=True, eq=False)
class Rows:
    """All rows of a store at one moment.

    Attributes:
        schema: what they hold.
        segments: the rows, dead ones included.
        marks: which rows were replaced or deleted.
        indexes: field → what the engine has built on the first rows.
        log_end: as far as the log is part of it, where there is one.
    """

    schema: Schema
    segments: tuple[Segment, ...] = ()
    marks: Marks = field(default_factory=Marks)
    indexes: Mapping[str, Any] = field(default_factory=dict)
    log_end: int = 0

    @property
    def dead(self) -> Mask:
        """Marks the rows that were replaced or deleted, `(total,)`."""
        return self.marks.whole

    @property
    def total(self) -> int:
        """Positions in use, the dead ones included."""
        return self.marks.total

    @property
    def buried(self) -> int:
        """How many rows are dead."""
        return self.marks.count

    @property
    def living(self) -> int:
        """How many rows there are."""
        return self.total - self.buried

    @property
    def kept_bytes(self) -> int:
        """Bytes kept in memory for the rows themselves: the mask of the dead, and squared norms once computed."""
        blocks = [block for one in self.segments for block in one.blocks.values()]
        return self.total + sum(4 * len(block.matrix) for block in blocks if "squared" in vars(block))

    def blocks(self, name: str) -> list[Block]:
        """Give the vectors of a field."""
        return [one.blocks[name] for one in self.segments]

    def single(self, name: str) -> list[Block]:
        """Give the vectors of a field, to be read one by one."""
        return [Block(one.start, one.single[name]) if name in one.single else one.blocks[name] for one in self.segments]

    def gaps(self, name: str) -> Mask | None:
        """Mark the rows that lack a vector in a field, `(total,)`; None where none does."""
        return gaps_of(self.segments).get(name) if any(name in one.gaps for one in self.segments) else None

    def locate(self, ids: pd.Index) -> Positions:
        """Find the positions of ids; -1 for unknown ones."""
        found = np.full(len(ids), -1, np.intp)
        for one in reversed(self.segments):  # what was written last is asked for most
            at = one.find(ids, self.schema.id)
            hit = np.flatnonzero(at >= 0)
            if len(hit):
                places = at[hit] + one.start
                living = ~self.marks.at(places)
                found[hit[living]] = places[living]
                if (found >= 0).all():
                    break
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
            return taken(self.segments[0].labels(self.schema.id), positions)
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
            made.append(as_lists(matrix, self.missing(info.name, positions)))
        return pa.Table.from_arrays(made, schema=pa.schema(fields))

    def arrays(self, positions: Positions, columns: Iterable[str]) -> dict[str, Any]:
        """Give payload columns by position, as pandas has them."""
        return {name: self._array(positions, name) for name in columns}

    def _array(self, positions: Positions, name: str) -> Any:
        whole = self.segments[0].whole(name, self.schema.payload) if len(self.segments) == 1 else None
        if whole is not None:
            return whole.take(positions)
        of = self.schema.payload.field(name)
        return to_pandas(self._taken(positions, partial(Segment.column, of=of)), of)

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

    def missing(self, name: str, positions: Positions) -> Mask | None:
        """Tell which of some rows lack a vector; None where none does."""
        gaps = self.gaps(name)
        return None if gaps is None or not (lacking := gaps[positions]).any() else lacking

    def appended(self, batch: Batch) -> Rows:
        """Add rows at the end, small segments merged with the one before."""
        added = segment(self.total, batch)
        return replace(
            self,
            schema=batch.schema,
            segments=_joined(self.segments, added, batch.schema),
            marks=self.marks.grown(len(batch)),
        )

    def grown(self, recent: Segment, log_end: int) -> Rows:
        """Put a longer segment of the log in the place of the one there is."""
        marks = self.marks.grown(recent.start + len(recent) - self.total)
        return Rows(self.schema, (*self.settled, recent), marks, self.indexes, log_end)

    @property
    def settled(self) -> tuple[Segment, ...]:
        """The segments that have files, or will have."""
        return tuple(one for one in self.segments if not one.loose)

    def folded(self) -> Rows:
        """Make a segment like any other of what is in the log alone, which is the last."""
        segments = self.settled
        for one in self.segments[len(segments) :]:
            segments = _joined(segments, replace(one.plain(), loose=False), self.schema)
        return replace(self, segments=segments, marks=Marks.of(self.dead), log_end=0)

    def without(self, positions: Positions) -> Rows:
        """Mark living rows dead."""
        return replace(self, marks=self.marks.without(positions)) if len(positions) else self

    def compacted(self) -> Rows:
        """Number the living anew, as one segment; damaged rows are refused, and not passed on."""
        for one in self.segments:
            one.prove()
        alive = np.flatnonzero(~self.dead)
        names = [info.name for info in self.schema.vectors]
        payload = self.take(alive, self.schema.payload.names).combine_chunks()
        ids = payload.column(0).combine_chunks()
        gaps = {name: mask for name in names if (mask := self.missing(name, alive)) is not None}
        vectors = {name: self.vectors(name, alive) for name in names}
        one = Segment(0, ids, payload.remove_column(0), vectors, gaps=gaps)
        return Rows(self.schema, (one,), Marks().grown(len(alive)))


def _joined(before: Sequence[Segment], added: Segment, schema: Schema) -> tuple[Segment, ...]:
    """Put a segment behind others, merged with those before it that are not much larger."""
    kept = list(before)
    while kept and len(kept[-1]) <= 2 * len(added) and len(kept[-1]) + len(added) <= SMALL:
        added = merged(kept.pop(), added, schema)
    return (*kept, added)


def _chunks(column: pa.ChunkedArray | pa.Array) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]


def _vector_dtype(info: VectorInfo) -> dict[bytes, bytes]:
    return {b"pandas": f"vector[{info.dimensions}]".encode()}
