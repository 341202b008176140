"""A row file: one Arrow record batch of ids, payload and vectors, mapped into memory.

The vectors come last, in one piece: the bulk, which opening does not read.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

import pyarrow as pa

from dkvector.backends._manifest import Stored
from dkvector.backends._marks import Mask
from dkvector.backends._row_reader import RowReader
from dkvector.backends._segment import Segment, as_lists, column_of, with_gaps
from dkvector.errors import SchemaError
from dkvector.ingest import Batch
from dkvector.metrics import Floats
from dkvector.schema import Schema, VectorInfo

MAGIC = b"ARROW1\0\0"  # before the schema
LARGE = 1 << 20  # bytes from which a file's room is asked for
_UNREADABLE = (pa.ArrowException, ValueError, TypeError, LookupError, OSError, OverflowError, MemoryError)
_TEXT = (pa.types.is_string, pa.types.is_large_string)


def write_rows(path: Path, segment: Segment, schema: Schema) -> None:
    """Write rows as an Arrow file of one record batch."""
    batch = batched(segment, schema)
    with path.open("wb") as file, pa.PythonFile(file, "w") as sink:
        _reserve(file, pa.ipc.get_record_batch_size(batch))
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)


def columns_of(schema: Schema) -> pa.Schema:
    """Give the columns of a row file: ids, payload, vectors."""
    vectors = [pa.field(one.name, pa.list_(pa.float32(), one.dimensions)) for one in schema.vectors]
    return pa.schema([schema.id, *schema.payload, *vectors])


def batched(rows: Segment | Batch, schema: Schema, columns: pa.Schema | None = None) -> pa.RecordBatch:
    """Give rows as one record batch, in place as far as they are in one piece.

    Args:
        rows: ids, payload and vectors.
        schema: which of the payload's columns to give; nulls where there is none.
        columns: `columns_of` the schema, where it is at hand.
    """
    same = rows.payload.schema.equals(schema.payload)
    payload = rows.payload.columns if same else [column_of(rows.payload, of) for of in schema.payload]
    arrays = [rows.ids, *map(_whole, payload)]
    gaps = rows.gaps if isinstance(rows, Segment) else {}
    arrays += [as_lists(rows.vectors[info.name], gaps.get(info.name)) for info in schema.vectors]
    return pa.RecordBatch.from_arrays(arrays, schema=columns or columns_of(schema))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _reserve(file: BinaryIO, size: int) -> None:
    """Ask for the room of a large file at once: a third faster than room by and by; the file is never smaller."""
    if size > LARGE and hasattr(os, "posix_fallocate"):
        with suppress(OSError):  # where that is not known, or the disk is full, writing will tell
            os.posix_fallocate(file.fileno(), 0, size)


@dataclass(frozen=True)
class RowFile:
    """A row file in memory.

    Attributes:
        path: of the file.
        whole: its bytes, mapped.
        table: its rows, in place.
        infos: the vector fields, which are its last columns.
    """

    path: Path
    whole: pa.Buffer
    table: pa.Table
    infos: tuple[VectorInfo, ...]

    @classmethod
    def mapped(cls, path: Path, infos: tuple[VectorInfo, ...]) -> Self:
        """Map a file into memory."""
        whole = pa.memory_map(str(path)).read_buffer()
        return cls(path, whole, pa.ipc.open_file(pa.BufferReader(whole)).read_all(), infos)

    @property
    def bulk(self) -> tuple[int, int] | None:
        """From which byte to which the vectors lie; None where there are none."""
        if not len(self.table):
            return None
        matrices = [_matrix(self.table, info) for info in self.infos]
        starts = [self._offset(matrix) for matrix in matrices]
        return min(starts), max(at + matrix.nbytes for at, matrix in zip(starts, matrices, strict=True))

    def segment(self, stored: Stored, start: int) -> Segment:
        """Give the rows as they are, whose first has a position."""
        payload, vectors = parts_of(self.table, self.infos)
        single = {name: RowReader(self.path, self._offset(one), one.shape) for name, one in vectors.items()}
        prove = partial(_prove, self.path, stored, self.whole)
        gaps = {info.name: mask for info in self.infos if (mask := _gaps(self.table, info)) is not None}
        return Segment(start, self.table.column(0).chunk(0), payload, vectors, single, prove, gaps)

    def _offset(self, matrix: Floats) -> int:
        return int(matrix.ctypes.data - self.whole.address)


def map_rows(
    path: Path, stored: Stored, start: int, infos: tuple[VectorInfo, ...], *, trusted: bool
) -> tuple[Segment, Schema]:
    """Map a row file that another has written.

    Args:
        path: of the file.
        stored: what the manifest says of it.
        start: position of its first row.
        infos: the vector fields.
        trusted: its ids and payload have been compared with their checksum; else their structure is checked, so that no
            damage leads Arrow out of its buffers.

    Returns:
        The rows, and the schema they were written with.

    Raises:
        SchemaError: the file is not what the manifest says.
    """
    try:
        file = RowFile.mapped(path, infos)
        # before a field was added that its rows may lack
        written = file.table.schema.names
        file = replace(file, infos=tuple(one for one in infos if one.name in written or not one.partial))
        schema = _schema(file.table, stored, file.infos)
        if not trusted:
            _check_structure(file)
        return with_gaps(file.segment(stored, start), infos), schema
    except FileNotFoundError as exc:
        raise SchemaError(f"{path} is missing: the manifest names it") from exc
    except _UNREADABLE as exc:
        raise SchemaError(f"{path} is damaged: {exc}") from exc


def _schema(table: pa.Table, stored: Stored, infos: tuple[VectorInfo, ...]) -> Schema:
    """Read the schema, which must fit what the manifest says."""
    payload = len(table.schema) - 1 - len(infos)
    vectors = [(one.name, pa.list_(pa.float32(), one.dimensions)) for one in infos]
    if payload < 0 or [(one.name, one.type) for one in list(table.schema)[1 + payload :]] != vectors:
        raise ValueError(f"its columns are {table.schema.names}, the manifest says {[one.name for one in infos]}")
    if len(table) != stored.rows or table.column(0).num_chunks != 1:
        raise ValueError(f"{len(table):,} rows, the manifest says {stored.rows:,}")
    return Schema(table.schema.field(0), infos, pa.schema(list(table.schema)[1 : 1 + payload]))


def _check_structure(file: RowFile) -> None:
    """Check schema, lengths and offsets; of text the offsets alone, since reading its letters could take long."""
    table = file.table
    # Arrow writes the schema twice and reads the second: a changed byte in either shows
    if not pa.ipc.read_schema(file.whole.slice(len(MAGIC))).equals(table.schema, check_metadata=True):
        raise ValueError("the schema at its start is another than at its end")
    table.validate()
    for column in table.columns:
        plain = column
        if any(test(column.type) for test in _TEXT):  # a cast to bytes copies nothing
            plain = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
        if not pa.types.is_fixed_size_list(column.type):
            plain.validate(full=True)


def parts_of(table: pa.Table, infos: tuple[VectorInfo, ...]) -> tuple[pa.Table, dict[str, Floats]]:
    """Take payload and vectors from the columns of a row file, of one chunk each."""
    payload = table.select(range(1, table.num_columns - len(infos)))
    return payload, {info.name: _matrix(table, info) for info in infos}


def _matrix(table: pa.Table, info: VectorInfo) -> Floats:
    # the one batch; combining chunks would copy it
    lists = table.column(info.name).chunk(0)
    # not flatten(), which leaves out the room of what is null
    flat = lists.values.slice(lists.offset * info.dimensions, len(lists) * info.dimensions)
    matrix: Floats = flat.to_numpy().reshape(len(table), info.dimensions)
    return matrix


def _gaps(table: pa.Table, info: VectorInfo) -> Mask | None:
    lists = table.column(info.name).chunk(0)
    return lists.is_null().to_numpy(zero_copy_only=False) if lists.null_count else None


def _prove(path: Path, stored: Stored, whole: pa.Buffer) -> None:
    """Compare the mapped bytes with their checksum, before they are copied to another file."""
    if stored.crc32 is not None and zlib.crc32(whole) != stored.crc32:
        raise SchemaError(f"{path} is damaged: its bytes have another checksum than was written")
