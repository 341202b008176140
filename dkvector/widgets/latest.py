"""Work off the kernel's loop, of which only the newest matters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Latest(Generic[A, R]):
    """Does one piece of work at a time, in a thread; of those that wait, only the newest is done.

    Where no event loop runs, there is nothing to keep free, and work is done at once.

    Args:
        work: what is done; it raises nothing.
        done: told of what came of it, on the loop, unless something newer waits.
    """

    def __init__(self, work: Callable[[A], R], done: Callable[[A, R], None]) -> None:
        self._work, self._done = work, done
        self._waiting: list[A] = []
        self._doing: list[A] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being done, or waits."""
        return bool(self._waiting) or bool(self._doing)

    def ask(self, what: A) -> None:
        """Have something done, in place of all that waits."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.now(what)
            return
        if self._task is not None and self._task.get_loop() is not loop:  # of a loop that ended with it
            self._waiting, self._doing, self._task = [], [], None
        if (self._waiting or self._doing) == [what]:
            return
        self._waiting = [what]
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run())

    def now(self, what: A) -> R:
        """Do something here and now; what waits, or comes of older work, is passed over."""
        self.forget()
        result = self._work(what)
        self._done(what, result)
        return result

    def forget(self) -> None:
        """Pass over all that waits, and what will come of what is being done."""
        self._waiting, self._doing = [], []
        if self._task is not None:
            # which ends the wait alone: the thread goes on to its end, and nobody hears of it
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while self._waiting:
            what = self._waiting.pop()
            self._doing = [what]
            result = await asyncio.to_thread(self._work, what)
            self._doing = []
            if not self._waiting:
                self._done(what, result)
