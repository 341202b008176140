"""The folder of an embedded store: Arrow segments are the truth, a JSON manifest says which of them count.

::

    manifest.json             format, generation, vector fields, and every file with its size and CRC-32
    rows-000001.arrow         Arrow IPC file, one record batch: id, payload, vectors as fixed-size lists of float32
    dead-000003.bits          one bit a row, set where the row is replaced or deleted
    index0-000002.index       the engine's own index file; derived, may be removed and is built again
    log-000004.wal            small writes since the manifest, in one piece of room that was taken before
    lock                      held by the one process that writes, with its number

A commit writes its new files, flushes them to the disk, and then publishes them by renaming a new manifest into place:
a kill at any instant leaves the last committed state. Files that no manifest names are removed by the next commit.
docs/format.md tells it in full.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, TypeVar

from dkvector.backends import _checks, _dead, _disk, _log
from dkvector.backends._checks import Trust, checksums
from dkvector.backends._lock import WriterLock
from dkvector.backends._manifest import MANIFEST, LogFile, Manifest, Stored
from dkvector.backends._marks import Marks, Mask
from dkvector.backends._replay import replayed
from dkvector.backends._row_file import RowFile, map_rows, write_rows
from dkvector.backends._rows import Rows
from dkvector.backends._segment import Segment, with_gaps
from dkvector.errors import BackendUnavailableError, SchemaError
from dkvector.schema import Schema, VectorInfo

FRESH = MANIFEST + ".new"
OURS = re.compile(r"(rows\d*|dead|log|index\d+)-\d{6,}\.(arrow|bits|wal|index)")
PATIENCE = 100  # times that reading begins anew, when each time a writer was quicker

Known = Mapping[Segment, Stored]
T = TypeVar("T")


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
        with _disk.told(f"{self.path} can't be read"):
            try:
                text = (self.path / MANIFEST).read_bytes()
            except FileNotFoundError:
                return self._no_manifest()
        return Manifest.from_json(text, self.path)

    def _no_manifest(self) -> Manifest:
        """Take a folder with no rows as a new one; one that lost its manifest is refused, and loses nothing more."""
        if self.path.exists() and any(OURS.fullmatch(path.name) for path in self.path.iterdir()):
            if (self.path / MANIFEST).exists():
                # it came while we looked
                return self.manifest()
            raise SchemaError(f"{self.path / MANIFEST} is missing: there are rows, but nothing says which count")
        return Manifest()

    def steadily(self, read: Callable[[Manifest], T]) -> T:
        """Read what the newest manifest names, once more wherever a writer took files away meanwhile.

        Raises:
            SchemaError: names a file that is missing or damaged.
        """
        for _ in range(PATIENCE):
            manifest = self.manifest()
            try:
                return read(manifest)
            except SchemaError:
                # no commit came in between: the file is damaged, not taken away
                if self.manifest() == manifest:
                    raise
        raise BackendUnavailableError(f"{self.path} is written to faster than it can be read; try again later")

    def claim(self) -> bool:
        """Become the folder's writer, until `close`.

        Returns:
            Whether it was another's, so that there may be commits that are not known yet.

        Raises:
            BackendUnavailableError: another process, or another store of this one, writes here; or nobody can.
        """
        if self._closed:
            raise BackendUnavailableError(f"this store of {self.path} was closed; open it again")
        if self._lock.mine:
            return False
        with self.writing():
            self._made()
            self._lock.claim()
            if self.durable:
                self._begun()
        return True

    @property
    def is_claimed(self) -> bool:
        """Whether this process is the folder's writer."""
        return self._lock.mine

    def _made(self) -> None:
        new = [one for one in (self.path, *self.path.parents) if not one.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        if self.durable and new:
            # a folder that is new lasts only once the one above is known to list it
            _disk.flush_all([one.parent for one in new])

    def _begun(self) -> None:
        """Remove what a killed writer left; give a new folder its first manifest, by which it is known to be one."""
        try:
            if not (self.path / MANIFEST).exists():
                self.publish(self._no_manifest(), Manifest())
            with suppress(OSError):  # leftovers only take room
                self.sweep()
        except BaseException:
            self._lock.release()
            raise

    def writing(self) -> AbstractContextManager[None]:
        """Tell what goes wrong with the disk as an error of ours."""
        return _disk.told(f"writing to {self.path} failed, what was committed before stands")

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

    def write_rows(self, generation: int, segment: Segment, schema: Schema) -> tuple[Stored, Segment]:
        """Write a segment of a commit, and give it back as mapped from its file."""
        # what was in the log, before what is new
        others = sum(path.name.startswith("rows") for path in self._written)
        path = self.path / f"rows{others or ''}-{generation:06}.arrow"
        self._fill(path, lambda path: write_rows(path, segment, schema))
        file = RowFile.mapped(path, schema.vectors)
        stored = self._stored(path, len(segment), file.whole.size, file.bulk if self.durable else None)
        return stored, file.segment(stored, segment.start)

    def _fill(self, path: Path, fill: Callable[[Path], None]) -> None:
        self._written.append(path)
        # what a killed writer left may be mapped, and is not written over
        path.unlink(missing_ok=True)
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

    def begin_log(self, generation: int) -> LogFile | None:
        """Begin the log of a commit; None where there is no room for one, which it can do without."""
        # drawn, not counted: in a copy of the folder, the log of the same generation is another
        log = LogFile(f"log-{generation:06}.wal", _log.SIZE, secrets.randbits(63))
        try:
            self._fill(self.path / log.file, lambda path: _log.begin(path, log, generation))
        except OSError:
            # it is not there to be flushed with the commit
            self._written.pop()
            return None
        return log

    def changed(self, manifest: Manifest, log_end: int) -> bool:
        """Tell whether there is anything beyond a manifest, and the beginning of its log."""
        log = manifest.log
        return self.manifest() != manifest or (log is not None and _log.grown(self.path / log.file, log, log_end))

    def bury(self, before: Manifest, known: Mask, dead: Mask, generation: int) -> tuple[Stored | None, tuple[int, ...]]:
        """Keep which rows are dead: few by their positions in the manifest, many in a mask of their own.

        Args:
            before: the last manifest.
            known: `(n,)` marks the dead rows that it tells of.
            dead: `(m,)` marks all, of the same positions and later ones.
            generation: of this commit.

        Returns:
            The mask's file, and the positions that it lacks.
        """
        if not dead.any():
            return None, ()
        listed = _dead.buried(before, known, dead)
        if listed is not None:
            return before.dead, listed
        bits = _dead.packed(dead)
        return self.write(f"dead-{generation:06}.bits", len(dead), lambda path: _disk.write(path, bits)), ()

    def publish(self, manifest: Manifest, before: Manifest) -> None:
        """Make a manifest the one that counts, in one step, and remove what no longer does."""
        fresh = self.path / FRESH
        try:
            _disk.write(fresh, manifest.to_json())
            if self.durable:
                # before the rename: the disk must not keep a manifest without the files that it names
                _disk.flush_all([*self._written, fresh])
            # from here on the commit counts: an error below is told, and takes nothing back
            fresh.replace(self.path / MANIFEST)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        self._written.clear()
        if self.durable:
            _disk.flush(self.path)
        with suppress(OSError):  # it is committed: what can't be removed now is removed by a later writer
            for name in before.files - manifest.files:
                (self.path / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what no manifest names: what a write left that failed or was killed."""
        self._written.clear()
        self._remove_all_but(self.manifest().files)

    def _remove_all_but(self, named: AbstractSet[str]) -> None:
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
                # the newest file has all columns; those before it may lack some
                schema = own if stored is manifest.segments[-1] else schema
            files[with_gaps(segment, infos)] = stored
            start += stored.rows
        if schema is None:
            raise SchemaError(f"{self.path / MANIFEST} is damaged: it names no rows")
        dead = Marks.of(_dead.read(self.path, manifest, start))
        rows = Rows(Schema(schema.id, infos, schema.payload), tuple(files), dead)
        return rows if manifest.log is None else replayed(self.path / manifest.log.file, manifest.log, rows), files

    def _segment(self, stored: Stored, start: int, infos: tuple[VectorInfo, ...]) -> tuple[Segment, Schema]:
        path = self.path / stored.file
        return map_rows(path, stored, start, infos, trusted=self._trust.check(path, stored))

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
            try:
                # first: one that names what is gone can't be opened
                self.publish(Manifest(), Manifest())
            except OSError:  # a full disk is a reason to drop; a kill from here on leaves rows that nothing names
                (self.path / MANIFEST).unlink(missing_ok=True)
            self._remove_all_but(frozenset())
            (self.path / MANIFEST).unlink(missing_ok=True)
            self._lock.remove()
        with suppress(OSError):  # other files are not ours to remove
            self.path.rmdir()
