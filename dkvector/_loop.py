"""Run coroutines from blocking code, also where an event loop already runs (Jupyter).

Two ways: `LOOP.run` hands a coroutine to one event loop on a daemon thread, where clients of servers live: no
interrupt of the main thread ever lands in the middle of a driver's work. `run_inline` steps the coroutine of an
in-process engine to its end on the caller's thread, which costs about a microsecond where the hop costs thirty.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar

from dkvector._fork import Lock

P = ParamSpec("P")
T = TypeVar("T")

_INLINE: ContextVar[bool] = ContextVar("dkvector_inline", default=False)


class _Call(Generic[T]):
    """A coroutine on its way through the loop: the caller sleeps on a lock that its last step opens.

    The standard library's way, a future of one kind chained to one of the other, wakes the caller a turn of the loop
    later. Whatever is raised is handed over as a value: the loop would end by an interrupt or an exit.
    """

    def __init__(self, coro: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._coro, self._loop = coro, loop
        self._task: asyncio.Task[None] | None = None
        self._began = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def waited(self) -> T:
        """Have it run, and wait for what it gives or raises; an interrupt of the wait cancels it."""
        try:
            self._loop.call_soon_threadsafe(self._start)
            self._done.acquire()
        except BaseException:
            # after `_start` in the loop's queue: what was begun is there to be cancelled
            self._loop.call_soon_threadsafe(self._cancel)
            raise
        if self._error is not None:
            # else its traceback would keep it alive, and all that it holds
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error
        result: T = self._result
        return result

    def _start(self) -> None:
        self._task = self._loop.create_task(self._run())

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        # a coroutine that nobody has begun warns when it goes, unless it is closed
        if not self._began:
            self._coro.close()

    async def _run(self) -> None:
        self._began = True
        try:
            self._result = await self._coro
        except BaseException as exc:  # noqa: BLE001 - raised again where it belongs
            self._error = exc
        finally:
            self._done.release()


class LoopThread:
    """One event loop on one daemon thread; every blocking call to a server goes through it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine; an interrupt cancels it, so that no query runs on unseen."""
        loop = self._started()
        if asyncio._get_running_loop() is loop:  # noqa: SLF001 - a wait here would never end
            coro.close()
            raise RuntimeError("blocking call from inside the store's own event loop: use the async store and await it")
        return _Call(coro, loop).waited()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            alive = self._thread is not None and self._thread.is_alive()
            if self._loop is None or not alive or self._pid != os.getpid():
                # threads do not survive a fork
                self._pid, self._loop = os.getpid(), asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="dkvector", daemon=True)
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop for good; an interrupt or an exit that a task raised is its caller's, who gets it too."""
    while not loop.is_closed():
        with suppress(KeyboardInterrupt, SystemExit):
            loop.run_forever()


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
