"""What a folder asks of its disk: to make files durable, and to tell in our words what it can't do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from dkvector.errors import BackendUnavailableError, DkvectorError

FLUSHERS = 4  # files flushed at a time
_DSYNC = getattr(os, "RWF_DSYNC", None)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn an error of the operating system into ours, with its reason.

    Raises:
        BackendUnavailableError: what could not be done, and why.
    """
    try:
        yield
    # some of ours are OSErrors too, such as BackendUnavailableError
    except DkvectorError:
        raise
    except OSError as exc:
        raise BackendUnavailableError(f"{what}: {exc.strerror or exc}") from exc


def write(path: Path, data: bytes) -> None:
    """Write a file."""
    with path.open("wb") as file:
        file.write(data)


def flush_all(paths: Sequence[Path]) -> None:
    """Flush several files at once: a disk makes them durable in hardly more time than one."""
    *others, last = paths
    if not others:
        return flush(last)
    with ThreadPoolExecutor(FLUSHERS) as pool:
        flushing = pool.map(flush, others)
        flush(last)
        # raises what any of them raised
        list(flushing)
    return None


def flush(path: Path) -> None:
    """Make a file, or what a folder lists, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_at(handle: int, data: bytes, at: int) -> None:
    """Write all of some bytes to a place of an open file."""
    written = os.pwrite(handle, data, at)
    while written < len(data):
        written += os.pwrite(handle, data[written:], at + written)


def write_flushed(handle: int, data: bytes, at: int) -> None:
    """Write bytes to a place of an open file, which had its room before, and wait until they are durable."""
    if _DSYNC is None:
        write_at(handle, data, at)
        os.fsync(handle)
        return
    written = 0
    # all at once but for a full disk; a third quicker than to write, and to flush then
    while written < len(data):
        written += os.pwritev(handle, [data[written:]], at + written, _DSYNC)


def erase(handle: int, at: int, size: int) -> None:
    """Put zeros where something was written, as far as the disk still lets us."""
    with suppress(OSError):
        write_flushed(handle, bytes(size), at)
