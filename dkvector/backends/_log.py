"""The log of a folder: one record a small write, durable by one flush of room that was taken before.

::

    head     8 bytes of magic, salt, generation, CRC-32 of these; 32 bytes
    record   salt, CRC-32 of the rest, number, rows, died, bytes of the stream, 0; then the positions that died, as
             int64, and the next piece of an Arrow stream of ids, payload and vectors
    seal     a record of nothing, with 1 as its last number, behind each record that was flushed

All start at a multiple of 8 bytes, and zeros follow. The salt is in the manifest: no other log's records count. A
record that is not whole ends the log, which is what a killed writer leaves; but not where anything whole follows, which
tells that it was flushed, and then damaged. docs/format.md tells it in full.
"""

from __future__ import annotations

import io
import os
import struct
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dkvector.backends import _disk
from dkvector.backends._manifest import LogFile
from dkvector.backends._topk import Positions
from dkvector.errors import SchemaError

SIZE = 1 << 19  # bytes of a log: read in about 3 ms, and some 240 rows of 384 dimensions
MAGIC = b"DKVLOG\0\1"
HEAD = struct.Struct("<8sQQI4x")
FRAME = struct.Struct("<QIIIIII")
CHECKED = 12  # bytes of a frame before what its checksum is of


class Record(NamedTuple):
    """A whole record of a log: `number` counts from 0, `died` and `stream` are its content, `end` is behind it."""

    number: int
    rows: int
    died: memoryview
    stream: memoryview
    seal: bool
    end: int


@dataclass(frozen=True)
class Logged:
    """What a log tells: rows `(r, …)` of ids, payload and vectors, positions that died, and where it ends."""

    table: pa.Table | None
    died: Positions
    rows: int
    end: int


def begin(path: Path, log: LogFile, generation: int) -> None:
    """Write an empty log, zeros and all: to flush a record then waits for no other write of the file system."""
    head = MAGIC, log.salt, generation
    _disk.write(path, HEAD.pack(*head, zlib.crc32(HEAD.pack(*head, 0)[:24])) + bytes(log.bytes - HEAD.size))


class LogWriter:
    """Adds records to a log that was just begun.

    Args:
        path: of the log.
        log: what the manifest says of it.
        durable: flush each record to the disk.
    """

    def __init__(self, path: Path, log: LogFile, *, durable: bool) -> None:
        self.end = HEAD.size
        self._log, self._durable, self._number = log, durable, 0
        self._stream: pa.ipc.RecordBatchStreamWriter | None = None
        self._sink = io.BytesIO()
        self._file = os.open(path, os.O_WRONLY)
        # closes once, whoever asks: a number that is closed twice may by then be another file's
        self.close = weakref.finalize(self, os.close, self._file)

    def record(self, batch: pa.RecordBatch | None, died: Positions) -> bytes:
        """Give the bytes of the next record, which must be added before another is asked for.

        Args:
            batch: new rows.
            died: positions of rows that are dead from now on.
        """
        stream = b"" if batch is None else self._piece(batch)
        return self._framed(0 if batch is None else batch.num_rows, died.astype("<i8").tobytes(), stream)

    def has_room(self, record: bytes) -> bool:
        """Tell whether a record fits, with its seal."""
        return self.end + len(record) + FRAME.size <= self._log.bytes

    def add(self, record: bytes) -> None:
        """Add a record; it counts when this returns. If it raises, the log takes no more."""
        try:
            write = _disk.write_flushed if self._durable else _disk.write_at
            write(self._file, record, self.end)
            # the seal is not waited for: it only tells, should the record be damaged later, that it had been flushed
            _disk.write_at(self._file, self._framed(0, b"", b"", 1), self.end + len(record))
        except BaseException:
            # the caller is told of a failure: no reader may find what was to be written
            _disk.erase(self._file, self.end, len(record) + FRAME.size)
            raise
        self.end += len(record) + FRAME.size
        self._number += 1

    def _piece(self, batch: pa.RecordBatch) -> bytes:
        """Give the next bytes of the stream."""
        if self._stream is None:
            self._stream = pa.ipc.new_stream(self._sink, batch.schema)
        self._stream.write_batch(batch)
        piece = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return piece

    def _framed(self, rows: int, died: bytes, stream: bytes, seal: int = 0) -> bytes:
        head = FRAME.pack(self._log.salt, 0, self._number, rows, len(died) // 8, len(stream), seal)
        crc = zlib.crc32(stream, zlib.crc32(died, zlib.crc32(head[CHECKED:])))
        return b"".join((head[:8], crc.to_bytes(4, "little"), head[CHECKED:], died, stream, bytes(-len(stream) % 8)))


def read(path: Path, log: LogFile) -> Logged:
    """Read a log as far as it is whole.

    Raises:
        SchemaError: it is missing, damaged, or not the one that the manifest means.
    """
    data = _bytes(path)
    while True:
        try:
            return _logged(_records(data, log))
        except (ValueError, pa.ArrowException) as exc:
            # a writer adds to it: the first pages may have been read before the last
            again = _bytes(path)
            if again == data:
                raise SchemaError(f"{path} is damaged: {exc}") from exc
            data = again


def grown(path: Path, log: LogFile, end: int) -> bool:
    """Tell whether a log has records behind a place, or is not there any more."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return True
    # the seal of the last record known may have come since, and adds nothing
    return any(not one.seal for one in _whole(memoryview(data), log.salt, max(end, HEAD.size)))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise SchemaError(f"{path} is missing: the manifest names it") from exc


def _records(data: bytes, log: LogFile) -> list[Record]:
    """Give all records; what follows them must be none."""
    if len(data) != log.bytes:
        raise ValueError(f"{len(data):,} bytes, the manifest says {log.bytes:,}")
    magic, salt, _, crc = HEAD.unpack_from(data)
    if magic != MAGIC or crc != zlib.crc32(data[:24]):
        raise ValueError("its head has another checksum than was written")
    if salt != log.salt:
        raise ValueError("it is the log of another commit")
    view = memoryview(data)
    records = list(_whole(view, salt, HEAD.size))
    end = records[-1].end if records else HEAD.size
    if _follows(data, salt, end):
        raise ValueError(f"a record that was flushed is not whole, at byte {end:,}")
    number = 0
    for one in records:
        if one.number != number - one.seal:
            raise ValueError(f"record {one.number} where {number} should be")
        number += not one.seal
    return records


def _whole(data: memoryview, salt: int, at: int) -> Iterator[Record]:
    """Give the whole records from a place on, up to the first that is not."""
    while (record := _record(data, salt, at)) is not None:
        yield record
        at = record.end


def _record(data: memoryview, salt: int, at: int) -> Record | None:
    start = at + FRAME.size
    if start > len(data):
        return None
    mark, crc, number, rows, died, size, seal = FRAME.unpack_from(data, at)
    middle, end = start + 8 * died, start + 8 * died + size
    # until the checksum fits the sizes may be any numbers
    if mark != salt or end > len(data) or zlib.crc32(data[at + CHECKED : end]) != crc:
        return None
    return Record(number, rows, data[start:middle], data[middle:end], bool(seal), end + -size % 8)


def _follows(data: bytes, salt: int, at: int) -> bool:
    """Tell whether anything whole begins behind a place."""
    mark, view = salt.to_bytes(8, "little"), memoryview(data)
    # by its salt, at any byte: where the next record begins is told by sizes that are not to be believed
    while (at := data.find(mark, at)) >= 0:
        if _record(view, salt, at) is not None:
            return True
        at += 1
    return False


def _logged(records: list[Record]) -> Logged:
    stream = b"".join(one.stream for one in records)
    table = pa.ipc.open_stream(pa.py_buffer(stream)).read_all() if stream else None
    rows = sum(one.rows for one in records)
    if rows != (0 if table is None else len(table)):
        raise ValueError(f"{rows:,} rows, its records tell of {0 if table is None else len(table):,}")
    died = np.frombuffer(b"".join(one.died for one in records), "<i8").astype(np.intp)
    return Logged(table, died, rows, records[-1].end if records else HEAD.size)
