"""A lock that a forked child can take, whichever thread of its parent held it: that thread is not there to let go."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from weakref import WeakSet


class Lock(AbstractContextManager[None]):
    """A lock like `threading.RLock`, free in a forked child unless the thread that forked holds it.

    Example:
        >>> lock = Lock()
        >>> with lock:
        ...     print("alone")
        alone
    """

    def __init__(self) -> None:
        self._inner = threading.RLock()
        _EVERY.add(self)

    def __enter__(self) -> None:
        self._inner.acquire()

    def __exit__(self, *_: object) -> None:
        self._inner.release()

    def freed(self) -> None:
        """Be a new lock where a thread that is not there holds the one before."""
        if self._inner.acquire(blocking=False):
            self._inner.release()
        else:
            self._inner = threading.RLock()


_EVERY: WeakSet[Lock] = WeakSet()


def _free_all() -> None:
    for one in list(_EVERY):
        one.freed()


if hasattr(os, "register_at_fork"):  # not on Windows, where no process forks
    os.register_at_fork(after_in_child=_free_all)
