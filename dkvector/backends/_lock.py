"""The lock of a folder: one process writes, and the others are told which."""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

from dkvector.errors import BackendUnavailableError

LOCK = "lock"


class WriterLock:
    """The right to write to a folder; a process that ends, however it ends, gives it up.

    Args:
        folder: where the lock file is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: weakref.finalize[[int, int], WriterLock] | None = None
        self._owner = 0

    @property
    def mine(self) -> bool:
        """Whether this process has it."""
        return self._held is not None and self._owner == os.getpid()

    def claim(self) -> None:
        """Take the lock, until `release`.

        Raises:
            BackendUnavailableError: another process, or another store of this one, has it.
        """
        if self.mine:
            return
        if self._held is not None:
            # a fork has the store, but not its right to write
            raise self._taken(self._owner)
        while (lock := self._locked()) is None:
            pass
        self._owner = os.getpid()
        self._held = weakref.finalize(self, _let_go, lock, self._owner)  # a forgotten store locks nobody out

    def _locked(self) -> int | None:
        """Give the locked file; None where its owner removed it while we waited at the door."""
        lock = os.open(self._folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            # not lockf, whose locks are the process's: a second store of this one would not be kept out
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # a drop removes the file while it holds the lock: one on a file without a name keeps nobody out
            if os.fstat(lock).st_nlink:
                _sign(lock)
                return lock
        except OSError as exc:
            holder = _signature(lock)
            os.close(lock)
            if exc.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise self._taken(holder) from exc
            raise
        os.close(lock)
        return None

    def _taken(self, holder: int | None) -> BackendUnavailableError:
        who = f"process {holder}" if holder != os.getpid() else "this very process"
        known = "" if holder is None else f" ({who})"
        return BackendUnavailableError(f"another store is writing to {self._folder}{known}; close it first")

    def release(self) -> None:
        """Let another write."""
        if self._held is not None:
            self._held()
            self._held = None

    def remove(self) -> None:
        """Remove the lock file while it is held, and let another write."""
        (self._folder / LOCK).unlink(missing_ok=True)
        self.release()


def _sign(lock: int) -> None:
    """Leave our number for who comes next; a full disk is no reason not to begin."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _signature(lock: int) -> int | None:
    text = os.pread(lock, 20, 0).strip()
    return int(text) if text.isdigit() else None


def _let_go(lock: int, owner: int) -> None:
    # a forked child has the same lock open, and then closing it here does not undo it
    if os.getpid() == owner:
        fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)
