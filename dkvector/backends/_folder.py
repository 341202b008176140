"""The folder of an embedded store: Arrow segments are the truth, a JSON manifest says which of them count.

::

    manifest.json             format, generation, vector fields, and every file with its size and CRC-32
    rows-000001.arrow         Arrow IPC file, one record batch: id, payload, vectors as fixed-size lists of float32
    dead-000003.bits          one bit a row, set where the row is replaced or deleted
    index0-000002.index       the engine's own index file; derived, may be removed and is built again
    lock                      held by the one process that writes

A commit writes its new files, flushes them to the disk, and then publishes them by renaming a new manifest into place:
a kill at any instant leaves the last committed state. Files that no manifest names are removed by the next commit.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import weakref
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dkvector.backends._rows import Mask, Rows, Segment
from dkvector.errors import BackendUnavailableError, SchemaError
from dkvector.schema import Schema, VectorInfo

FORMAT = 1
MANIFEST = "manifest.json"
FRESH = MANIFEST + ".new"
OURS = re.compile(r"(rows|dead|index\d+)-\d{6,}\.(arrow|bits|index)")


@dataclass(frozen=True)
class Stored:
    """A file of the folder.

    Attributes:
        file: its name.
        rows: how many rows it covers.
        bytes: its size.
        crc32: its checksum; None in a temporary store.
        spec: of an index file: what it is.
    """

    file: str
    rows: int
    bytes: int
    crc32: int | None
    spec: dict[str, Any] | None = None


@dataclass(frozen=True)
class Manifest:
    """What counts in the folder.

    Attributes:
        generation: counts the commits.
        vectors: the vector fields.
        segments: the row files, in order.
        dead: the mask of dead rows, where there are any.
        indexes: field → its index file.
        specs: field → the index that is wanted, whether its file is there or not.
    """

    generation: int = 0
    vectors: tuple[dict[str, Any], ...] = ()
    segments: tuple[Stored, ...] = ()
    dead: Stored | None = None
    indexes: dict[str, Stored] = field(default_factory=dict)
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Give the text of the file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str, where: Path) -> Manifest:
        """Read the text of the file.

        Raises:
            SchemaError: a format that a later version wrote, or no JSON.
        """
        try:
            values = json.loads(text)
        except ValueError as exc:
            raise SchemaError(f"{where / MANIFEST} is damaged: {exc}") from exc
        if values.pop("format", None) != FORMAT:
            raise SchemaError(f"{where} was written by another version of dkvector; this one reads format {FORMAT}")
        values["segments"] = tuple(Stored(**one) for one in values["segments"])
        values["dead"] = Stored(**values["dead"]) if values["dead"] else None
        values["indexes"] = {name: Stored(**one) for name, one in values["indexes"].items()}
        return cls(**values | {"vectors": tuple(values["vectors"])})

    @property
    def files(self) -> set[str]:
        """Names of all files that count."""
        every = [*self.segments, *self.indexes.values(), *([self.dead] if self.dead else [])]
        return {one.file for one in every}


class Folder:
    """The folder of a store.

    Args:
        path: where it is; it is made by the first write.
        durable: flush every commit to the disk; a temporary store need not.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.path, self.durable = path, durable
        self._lock: weakref.finalize[[int], Folder] | None = None
        self._closed = False

    def manifest(self) -> Manifest:
        """Read the manifest; an empty one where there is none."""
        try:
            return Manifest.from_json((self.path / MANIFEST).read_text("utf-8"), self.path)
        except FileNotFoundError:
            return Manifest()

    def claim(self) -> None:
        """Become the folder's writer, until `release`.

        Raises:
            BackendUnavailableError: another process, or another store of this one, writes here.
        """
        if self._lock is not None:
            return None
        if self._closed:
            raise BackendUnavailableError(f"this store of {self.path} was closed; open it again")
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(lock)
            raise BackendUnavailableError(f"another store is writing to {self.path}; close it first") from exc
        if not os.fstat(lock).st_nlink:  # its owner removed the folder while we waited at its door
            os.close(lock)
            return self.claim()
        self._lock = weakref.finalize(self, os.close, lock)  # a store that is forgotten locks nobody out
        return None

    def release(self) -> None:
        """Let another write."""
        if self._lock is not None:
            self._lock()
            self._lock = None

    def close(self) -> None:
        """Let another write, and write no more."""
        self.release()
        self._closed = True

    def write(self, name: str, rows: int, fill: Callable[[Path], None], spec: dict[str, Any] | None = None) -> Stored:
        """Write a file that counts once a manifest names it.

        Args:
            name: its name.
            rows: how many rows it covers.
            fill: writes it.
            spec: of an index file: what it is.

        Returns:
            What the manifest says of it.
        """
        path = self.path / name
        try:
            fill(path)
            if self.durable:
                _flush(path)
        except BaseException:  # a full disk, or an interrupt: what was committed before still counts
            path.unlink(missing_ok=True)
            raise
        return Stored(name, rows, path.stat().st_size, _checksum(path) if self.durable else None, spec)

    def publish(self, manifest: Manifest) -> None:
        """Make a manifest the one that counts, in one step, and remove what no longer does."""
        fresh = self.path / FRESH
        fresh.write_text(manifest.to_json(), "utf-8")
        if self.durable:
            _flush(fresh)
        fresh.replace(self.path / MANIFEST)
        if self.durable:
            _flush(self.path)
        self.sweep()

    def sweep(self) -> None:
        """Remove what counts no more, and what a write left that failed or was killed."""
        named = self.manifest().files
        for path in self.path.iterdir():
            if path.name == FRESH or (OURS.fullmatch(path.name) and path.name not in named):
                path.unlink(missing_ok=True)

    def rows(self, manifest: Manifest) -> Rows | None:
        """Map the rows of a manifest into memory; nothing is read before it is used."""
        if not manifest.vectors:
            return None
        infos = tuple(VectorInfo.from_dict(one) for one in manifest.vectors)
        segments, start = [], 0
        for stored in manifest.segments:
            segments.append(self.segment(stored, start, infos))
            start += stored.rows
        dead = np.zeros(start, np.bool_) if manifest.dead is None else self._dead(manifest.dead)
        last = self._table(manifest.segments[-1]).schema
        payload = pa.schema(list(last)[1 : len(last) - len(infos)])
        return Rows(Schema(last.field(0), infos, payload), tuple(segments), dead)

    def segment(self, stored: Stored, start: int, infos: tuple[VectorInfo, ...]) -> Segment:
        """Map one row file into memory."""
        return _segment(start, self._table(stored), infos)

    def remove(self) -> None:
        """Remove what belongs to the store, and the folder if nothing else is in it."""
        (self.path / MANIFEST).unlink(missing_ok=True)  # first: a manifest that names what is gone can't be opened
        self.sweep()
        (self.path / "lock").unlink(missing_ok=True)
        self.release()
        with suppress(OSError):  # other files are not ours to remove
            self.path.rmdir()

    def whole(self, stored: Stored) -> Path:
        """Give the path of a file.

        Raises:
            SchemaError: it is not there, or of another size than was written.
        """
        path = self.path / stored.file
        if not path.exists():
            raise SchemaError(f"{path} is missing: the manifest names it")
        if path.stat().st_size != stored.bytes:
            raise SchemaError(f"{path} is damaged: {path.stat().st_size:,} bytes, the manifest says {stored.bytes:,}")
        return path

    def _table(self, stored: Stored) -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(self.whole(stored)))).read_all()

    def _dead(self, stored: Stored) -> Mask:
        bits = np.fromfile(self.whole(stored), np.uint8)
        return np.unpackbits(bits, count=stored.rows, bitorder="little").astype(np.bool_)


def write_segment(path: Path, segment: Segment, schema: Schema) -> None:
    """Write rows as an Arrow file of one record batch."""
    arrays = [segment.ids, *(segment.column(of).combine_chunks() for of in schema.payload)]
    fields = [schema.id, *schema.payload]
    for info in schema.vectors:
        flat = pa.array(segment.vectors[info.name].reshape(-1))
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, info.dimensions))
        fields.append(pa.field(info.name, arrays[-1].type))
    batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _segment(start: int, table: pa.Table, infos: tuple[VectorInfo, ...]) -> Segment:
    vectors, first = {}, table.num_columns - len(infos)
    for at, info in enumerate(infos, first):
        lists = table.column(at).chunk(0)  # the one batch; combining chunks would copy it
        vectors[info.name] = lists.flatten().to_numpy().reshape(len(table), info.dimensions)
    return Segment(start, table.column(0).chunk(0), table.select(range(1, first)), vectors)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checksum(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            crc = zlib.crc32(chunk, crc)
    return crc
