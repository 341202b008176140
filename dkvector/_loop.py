"""Run coroutines from blocking code, also where an event loop already runs (Jupyter).

Two ways: `LOOP.run` hands a coroutine to one event loop on a daemon thread, where clients of servers live;
`run_inline` steps the coroutine of an in-process engine to its end on the caller's thread, which costs about
a microsecond where the hop to another thread costs a hundred.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_INLINE: ContextVar[bool] = ContextVar("dkvector_inline", default=False)


class LoopThread:
    """One event loop on one daemon thread; every blocking call to a server goes through it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine; an interrupt cancels it, so that no query runs on unseen."""
        loop = self._started()
        if asyncio._get_running_loop() is loop:  # noqa: SLF001 - a wait here would never end
            coro.close()
            raise RuntimeError("blocking call from inside the store's own event loop: use the async store and await it")
        future = asyncio.run_coroutine_threadsafe(coro, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():  # threads do not survive a fork
                self._pid, self._loop = os.getpid(), asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="dkvector", daemon=True).start()
            return self._loop


LOOP = LoopThread()


def run_inline(coro: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that, inline, never waits; one that does wait is a bug of its store.

    Example:
        >>> async def answer() -> int:
        ...     return await offload(lambda: 42)
        >>> run_inline(answer())
        42
    """
    token = _INLINE.set(True)
    try:
        coro.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        _INLINE.reset(token)
    coro.close()
    raise RuntimeError("an in-process store waited for something")


async def offload(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do blocking work: here and now under `run_inline`, in a thread under a running loop."""
    if _INLINE.get():
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
