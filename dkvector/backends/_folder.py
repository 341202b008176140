"""The folder of an embedded store: Arrow segments are the truth, a JSON manifest says which of them count.

::

    manifest.json             format, generation, vector fields, and every file with its size and CRC-32
    rows-000001.arrow         Arrow IPC file, one record batch: id, payload, vectors as fixed-size lists of float32
    dead-000003.bits          one bit a row, set where the row is replaced or deleted
    index0-000002.index       the engine's own index file; derived, may be removed and is built again
    lock                      held by the one process that writes, with its number

A commit writes its new files, flushes them to the disk, and then publishes them by renaming a new manifest into place:
a kill at any instant leaves the last committed state. Files that no manifest names are removed by the next commit.
docs/format.md tells it in full.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from dkvector.backends import _checks
from dkvector.backends._checks import Trust, checksums
from dkvector.backends._lock import WriterLock
from dkvector.backends._manifest import MANIFEST, Manifest, Stored
from dkvector.backends._row_file import bulk_of, map_rows, write_rows
from dkvector.backends._rows import Mask, Rows, Segment
from dkvector.errors import BackendUnavailableError, DkvectorError, SchemaError
from dkvector.schema import Schema, VectorInfo

FRESH = MANIFEST + ".new"
OURS = re.compile(r"(rows|dead|index\d+)-\d{6,}\.(arrow|bits|index)")
LOOSE = 1_000  # dead rows that a manifest lists itself, before they get a new mask
FLUSHERS = 4  # files flushed at a time: a disk makes several durable in hardly more time than one

Known = Mapping[Segment, Stored]


class Folder:
    """The folder of a store.

    Args:
        path: where it is; it is made by the first write.
        durable: flush every commit to the disk; a temporary store need not.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.path, self.durable = path, durable
        self._lock = WriterLock(path)
        self._closed = False
        self._written: list[Path] = []
        self._trust = Trust(frozenset(), frozenset())

    def manifest(self) -> Manifest:
        """Read the manifest; an empty one where there is none."""
        with told(f"{self.path} can't be read"):
            try:
                text = (self.path / MANIFEST).read_bytes()
            except FileNotFoundError:
                return self._no_manifest()
        return Manifest.from_json(text, self.path)

    def _no_manifest(self) -> Manifest:
        """Take a folder of none of our files as a new one; one that lost its manifest is not, and loses nothing more."""
        if self.path.exists() and any(OURS.fullmatch(path.name) for path in self.path.iterdir()):
            if (self.path / MANIFEST).exists():  # it came while we looked
                return self.manifest()
            raise SchemaError(
                f"{self.path / MANIFEST} is missing: there are rows, but nothing says which of them count"
            )
        return Manifest()

    def claim(self) -> None:
        """Become the folder's writer, until `release`.

        Raises:
            BackendUnavailableError: another process, or another store of this one, writes here; or nobody can.
        """
        if self._closed:
            raise BackendUnavailableError(f"this store of {self.path} was closed; open it again")
        with self.writing():
            new = [one for one in (self.path, *self.path.parents) if not one.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            if self.durable and new:
                _flush_all([one.parent for one in new])
            if self._lock.claim():
                with suppress(OSError):  # leftovers only take room
                    self.sweep()
            if self.durable and not (self.path / MANIFEST).exists():
                self.publish(self._no_manifest(), Manifest())

    def writing(self) -> AbstractContextManager[None]:
        """Tell what goes wrong with the disk as an error of ours."""
        return told(f"writing to {self.path} failed, what was committed before stands")

    def close(self) -> None:
        """Let another write, and write no more."""
        self._lock.release()
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
        self._fill(path, fill)
        size = path.stat().st_size
        inner = (_checks.ENDS, size - _checks.ENDS) if spec and size > 2 * _checks.ENDS else None
        return self._stored(path, rows, size, inner, spec)

    def write_rows(self, name: str, segment: Segment, schema: Schema) -> tuple[Stored, Segment]:
        """Write a segment, and give it back as mapped from its file."""
        path = self.path / name
        self._fill(path, lambda path: write_rows(path, segment, schema))
        bulk = bulk_of(path, schema.vectors) if self.durable else None
        stored = self._stored(path, len(segment), path.stat().st_size, bulk)
        return stored, map_rows(path, stored, segment.start, schema.vectors, trusted=True)[0]

    def _fill(self, path: Path, fill: Callable[[Path], None]) -> None:
        self._written.append(path)
        path.unlink(missing_ok=True)  # what a killed writer left may be mapped, and is not written over
        try:
            fill(path)
        except BaseException:  # a full disk, or an interrupt: what was committed before still counts
            path.unlink(missing_ok=True)
            raise

    def _stored(
        self, path: Path, rows: int, size: int, bulk: tuple[int, int] | None, spec: dict[str, Any] | None = None
    ) -> Stored:
        if not self.durable:
            return Stored(path.name, rows, size, None, spec)
        whole, rest = checksums(path, size, bulk)
        return Stored(path.name, rows, size, whole, spec, bulk, rest)

    def bury(self, before: Manifest, known: Mask, dead: Mask, generation: int) -> tuple[Stored | None, tuple[int, ...]]:
        """Keep which rows are dead: few by their positions in the manifest, many in a mask of their own.

        Args:
            before: the last manifest.
            known: `(n,)` marks the dead rows that it tells of.
            dead: `(m,)` marks all, of the same positions.
            generation: of this commit.

        Returns:
            The mask's file, and the positions that it lacks.
        """
        if not dead.any():
            return None, ()
        died = np.flatnonzero(dead[: len(known)] & ~known[: len(dead)]).tolist()
        if len(buried := (*before.buried, *died)) <= LOOSE:
            return before.dead, buried
        bits = np.packbits(dead, bitorder="little")
        return self.write(f"dead-{generation:06}.bits", len(dead), lambda path: _write(path, bits.tobytes())), ()

    def publish(self, manifest: Manifest, before: Manifest) -> None:
        """Make a manifest the one that counts, in one step, and remove what no longer does."""
        fresh = self.path / FRESH
        try:
            _write(fresh, manifest.to_json())
            if self.durable:
                _flush_all([*self._written, fresh])
            fresh.replace(self.path / MANIFEST)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        self._written.clear()
        if self.durable:
            _flush(self.path)
        with suppress(OSError):  # it is committed: what can't be removed now is removed by a later writer
            for name in before.files - manifest.files:
                (self.path / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what no manifest names: what a write left that failed or was killed."""
        self._written.clear()
        named = self.manifest().files
        for path in self.path.iterdir():
            if path.name == FRESH or (OURS.fullmatch(path.name) and path.name not in named):
                path.unlink(missing_ok=True)

    def rows(self, manifest: Manifest, known: Known, schema: Schema | None) -> tuple[Rows, dict[Segment, Stored]]:
        """Map the rows of a manifest into memory; the bulk is not read before it is used.

        Args:
            manifest: names them.
            known: segments that are mapped already.
            schema: that the last of those was written with.

        Returns:
            The rows, and the file of each segment.

        Raises:
            SchemaError: names the file that is missing or damaged.
        """
        infos = tuple(VectorInfo.from_dict(one) for one in manifest.vectors)
        mapped = {(stored, one.start): one for one, stored in known.items()}
        new = [one for one in manifest if one not in known.values()]
        self._trust = Trust.of(new, _checks.READ)
        files: dict[Segment, Stored] = {}
        start = 0
        for stored in manifest.segments:
            segment = mapped.get((stored, start))
            if segment is None:
                segment, own = self._segment(stored, start, infos)
                schema = own if stored is manifest.segments[-1] else schema
            files[segment] = stored
            start += stored.rows
        if schema is None:
            raise SchemaError(f"{self.path / MANIFEST} is damaged: it names no rows")
        return Rows(Schema(schema.id, infos, schema.payload), tuple(files), self._dead(manifest, start)), files

    def _segment(self, stored: Stored, start: int, infos: tuple[VectorInfo, ...]) -> tuple[Segment, Schema]:
        path = self.path / stored.file
        return map_rows(path, stored, start, infos, trusted=self._trust.check(path, stored))

    def _dead(self, manifest: Manifest, total: int) -> Mask:
        dead = np.zeros(total, np.bool_)
        if manifest.dead is not None:
            path = self.path / manifest.dead.file
            _checks.compare(path, manifest.dead)
            bits = np.unpackbits(np.fromfile(path, np.uint8), bitorder="little")
            dead[: manifest.dead.rows] = bits[: manifest.dead.rows]
        dead[np.array(manifest.buried, np.intp)] = True
        return dead

    def index(self, stored: Stored) -> tuple[Path, bool]:
        """Check an index file as far as opening does.

        Returns:
            Its path, and whether all of it was compared with its checksum.

        Raises:
            SchemaError: it is missing or damaged.
        """
        path = self.path / stored.file
        self._trust.check(path, stored)
        return path, stored.file in self._trust.whole

    def remove(self) -> None:
        """Remove what belongs to the store, and the folder if nothing else is in it."""
        with self.writing():
            self.publish(Manifest(), Manifest())  # first: one that names what is gone can't be opened
            self.sweep()
            (self.path / MANIFEST).unlink()
            self._lock.remove()
        with suppress(OSError):  # other files are not ours to remove
            self.path.rmdir()


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn an error of the operating system into ours, with its reason.

    Raises:
        BackendUnavailableError: what could not be done, and why.
    """
    try:
        yield
    except DkvectorError:
        raise
    except OSError as exc:
        raise BackendUnavailableError(f"{what}: {exc.strerror or exc}") from exc


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)


def _flush_all(paths: Sequence[Path]) -> None:
    if len(paths) == 1:
        return _flush(paths[0])
    with ThreadPoolExecutor(FLUSHERS) as pool:
        list(pool.map(_flush, paths))
    return None


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
