"""Long work off the kernel's loop, one step after the other, which can be ended between two steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

S = TypeVar("S")


class Steps(Generic[S]):
    """Takes steps in one thread, and tells of each on the loop that it was started on.

    Where no event loop runs, there is nothing to keep free, and all is done at once.

    Args:
        step: told of what each step gave.
        ended: told when no step follows: of what went wrong, and whether it was ended from outside.
    """

    def __init__(self, step: Callable[[S], None], ended: Callable[[Exception | None, bool], None]) -> None:
        self._step, self._ended = step, ended
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def busy(self) -> bool:
        """Whether steps are being taken."""
        return self._task is not None and not self._task.done()

    def start(self, work: Callable[[], Iterator[S]]) -> None:
        """Begin, unless steps are being taken already.

        Args:
            work: called in the thread; each item of what it gives is a step.
        """
        if self.busy:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.now(work)
            return
        self._stopped = False
        self._task = loop.create_task(self._run(work))

    def stop(self) -> None:
        """End after the step that is being taken."""
        self._stopped = True

    def now(self, work: Callable[[], Iterator[S]]) -> None:
        """Take all steps here and now; an interrupt ends them, and what was told of remains."""
        self._stopped = False
        error: Exception | None = None
        steps: Iterator[S] = iter(())
        stopped = True
        try:
            steps = work()
            for one in steps:
                self._step(one)
            stopped = False
        except Exception as exc:  # noqa: BLE001 - it is told of
            error, stopped = exc, False
        finally:
            _close(steps)
            self._ended(error, stopped)

    async def done(self) -> None:
        """Wait until no step follows."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self, work: Callable[[], Iterator[S]]) -> None:
        loop, error = asyncio.get_running_loop(), None
        thread = ThreadPoolExecutor(1, "dkvector-steps")  # one, for engines keep settings by thread
        steps: Iterator[S] = iter(())
        try:
            steps = await loop.run_in_executor(thread, work)
            while not self._stopped and (got := await loop.run_in_executor(thread, _next, steps)):
                self._step(got[0])
        except asyncio.CancelledError:
            # the loop is at its end, and nobody comes back to tell that no step follows
            self._ended(None, True)  # noqa: FBT003 - ended from outside
            raise
        except Exception as exc:  # noqa: BLE001 - it is told of
            error = exc
        finally:
            # closed where it ran, after the step that is being taken
            closed = loop.run_in_executor(thread, _close, steps)
            # a wait would hold up the loop for as long as that step takes
            thread.shutdown(wait=False)
        await closed
        self._ended(error, self._stopped)


def _next(steps: Iterator[S]) -> list[S]:
    """Take a step: a list of what it gave, empty when no step follows."""
    for one in steps:
        return [one]
    return []


def _close(steps: Iterator[S]) -> None:
    close = getattr(steps, "close", None)
    if close is not None:
        with suppress(Exception):
            close()
