"""Checksums of a folder's files: what opening reads through, and what `verify` finds.

Small files are compared in full at every opening. Of large ones, mapped so that they need not be read, only what is
not bulk: a store of any size opens at once. docs/format.md says what is noticed when.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from dkvector.backends import _log
from dkvector.backends._manifest import Manifest, Stored
from dkvector.errors import SchemaError

READ = 16 << 20  # bytes of a folder that are compared at each opening: 5 to 15 ms
CHUNK = 1 << 20  # bytes read at a time
ENDS = 1 << 16  # bytes at both ends of an index file, which tell of its structure


@dataclass(frozen=True)
class Trust:
    """Which files of a folder opening compares with their checksums.

    Attributes:
        whole: names of files that are compared in full.
        rest: names of files of which all but the bulk is compared.
    """

    whole: frozenset[str]
    rest: frozenset[str]

    @classmethod
    def of(cls, files: Iterable[Stored], budget: int) -> Trust:
        """Choose the smallest files, for as long as the budget of bytes lasts; then the rests of the others.

        Example:
            >>> small, large = Stored("a", 1, 10, 0), Stored("b", 1, 900, 0, bulk=(20, 880), rest_crc32=0)
            >>> Trust.of([large, small], 100) == Trust(frozenset({"a"}), frozenset({"b"}))
            True
        """
        every = [one for one in files if one.crc32 is not None]
        whole, left = _affordable([(one.bytes, one.file) for one in every], budget)
        rests = [(one.rest, one.file) for one in every if one.rest_crc32 is not None and one.file not in whole]
        return cls(whole, _affordable(rests, left)[0])

    def check(self, path: Path, stored: Stored) -> bool:
        """Compare a file as far as it was chosen.

        Returns:
            Whether anything of it was compared.

        Raises:
            SchemaError: it is missing, of another size, or damaged where it was compared.
        """
        # always: to read behind the end of a file that was cut short would end the process
        check_size(path, stored)
        if stored.file in self.whole:
            compare(path, stored)
        elif stored.file in self.rest:
            _compare_rest(path, stored)
        return stored.file in self.whole | self.rest


def _affordable(sizes: list[tuple[int, str]], budget: int) -> tuple[frozenset[str], int]:
    taken = set()
    for size, name in sorted(sizes):
        if size > budget:
            break
        budget -= size
        taken.add(name)
    return frozenset(taken), budget


def check_size(path: Path, stored: Stored) -> None:
    """Refuse a file that is not there, or of another size than was written.

    Raises:
        SchemaError: names it.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError as exc:
        raise SchemaError(f"{path} is missing: the manifest names it") from exc
    if size != stored.bytes:
        raise SchemaError(f"{path} is damaged: {size:,} bytes, the manifest says {stored.bytes:,}")


def compare(path: Path, stored: Stored, moved: Callable[[int], object] = int) -> None:
    """Compare all bytes of a file with its checksum.

    Args:
        path: of the file.
        stored: what the manifest says of it.
        moved: is told how many bytes were read, again and again.

    Raises:
        SchemaError: it is missing or damaged.
    """
    check_size(path, stored)
    if stored.crc32 is not None and checksum(path, 0, stored.bytes, moved=moved) != stored.crc32:
        raise _other(path)


def _compare_rest(path: Path, stored: Stored) -> None:
    start, stop = stored.bulk or (0, 0)
    if checksum(path, stop, stored.bytes, checksum(path, 0, start)) != stored.rest_crc32:
        raise _other(path)


def _other(path: Path) -> SchemaError:
    return SchemaError(f"{path} is damaged: its bytes have another checksum than was written")


def checksums(path: Path, size: int, bulk: tuple[int, int] | None) -> tuple[int, int | None]:
    """Compute the CRC-32 of a file, and that of everything outside its bulk."""
    if bulk is None:
        return checksum(path, 0, size), None
    # a CRC goes on from where it stopped: the head is read once for both
    head = checksum(path, 0, bulk[0])
    return checksum(path, bulk[0], size, head), checksum(path, bulk[1], size, head)


def checksum(path: Path, start: int, stop: int, crc: int = 0, *, moved: Callable[[int], object] = int) -> int:
    """Continue a CRC-32 over some bytes of a file; they are read, not mapped, and stay out of our memory."""
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            while start < stop and (chunk := file.read(min(CHUNK, stop - start))):
                crc = zlib.crc32(chunk, crc)
                start += len(chunk)
                moved(len(chunk))
    except FileNotFoundError as exc:
        raise SchemaError(f"{path} is missing: the manifest names it") from exc
    return crc


def verify(folder: Path, manifest: Manifest, *, progress: bool) -> pd.DataFrame:
    """Compare every file that a manifest names with its checksum.

    Args:
        folder: where they are.
        manifest: what counts.
        progress: show a bar.

    Returns:
        A frame indexed by file name: kind, rows, bytes, crc32; as many rows as files.

    Raises:
        SchemaError: names every file that is missing or damaged.
    """
    faults, files = [], list(manifest)
    total = sum(one.bytes for one in files)
    with tqdm(total=total, desc="verify", unit="B", unit_scale=True, disable=not progress) as bar:
        for one in files:
            try:
                compare(folder / one.file, one, bar.update)
            except SchemaError as exc:
                faults.append(f"{exc}" + ("; build_index() makes it anew" if one.spec else ""))
    logged = _log_of(folder, manifest, faults)
    if faults:
        raise SchemaError("\n".join(faults))
    return _report(manifest, logged)


def _log_of(folder: Path, manifest: Manifest, faults: list[str]) -> list[tuple[Any, ...]]:
    """Read the log, and give what is told of it; it has a checksum for each record."""
    if manifest.log is None:
        return []
    try:
        logged = _log.read(folder / manifest.log.file, manifest.log)
    except SchemaError as exc:
        faults.append(str(exc))
        return []
    return [(manifest.log.file, "log", logged.rows, manifest.log.bytes, None)]


def _report(manifest: Manifest, logged: list[tuple[Any, ...]]) -> pd.DataFrame:
    kinds = {".arrow": "rows", ".bits": "dead rows", ".index": "index"}
    told = [(one.file, kinds[Path(one.file).suffix], one.rows, one.bytes, one.crc32) for one in manifest] + logged
    columns = ["file", "kind", "rows", "bytes", "crc32"]
    frame = pd.DataFrame(told, columns=columns).astype({"rows": "int64", "bytes": "int64", "crc32": "Int64"})
    return frame.set_index("file").sort_index()
