"""A view that asks no faster than a shared server is meant to be asked."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from dkvector._fork import Lock
from dkvector.errors import MissingExtraError, SchemaError
from dkvector.store import AsyncVectorStore
from dkvector.views._view import Ask, Asked, Batches, View

T = TypeVar("T")
FREE = {"close"}  # which asks a server for nothing


@dataclass(frozen=True)
class RateLimit:
    """How often a store may be asked.

    Args:
        per_second: questions in a second, in the long run.
        burst: questions that may come at once, after a rest; as many as in a second, and at least one, by default.

    Raises:
        SchemaError: not above zero, or a burst of less than one.

    Example:
        >>> RateLimit(per_second=20).size, RateLimit(per_second=0.5).size
        (20.0, 1.0)
    """

    per_second: float
    burst: float | None = None

    def __post_init__(self) -> None:
        if not self.per_second > 0:
            raise SchemaError(f"per_second must be above 0, not {self.per_second!r}")
        if self.burst is not None and not self.burst >= 1:
            raise SchemaError(f"burst must be at least 1, not {self.burst!r}")

    @property
    def size(self) -> float:
        """How many questions may come at once."""
        return max(1.0, float(self.per_second)) if self.burst is None else float(self.burst)

    def limiter(self) -> Any:
        """Make what counts the questions, for one event loop."""
        try:
            from aiolimiter import AsyncLimiter  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as exc:
            raise MissingExtraError.of("aiolimiter", "limit") from exc
        return AsyncLimiter(self.size, self.size / self.per_second)


class Limited(View):
    """A store that is asked at most so often; who comes too early waits for their turn.

    Each question to the backend counts as one, of whatever size: a search of many queries, a batch of a scan, one
    write; a hybrid search is two or three. Every loop that uses the view counts by itself.

    Args:
        store: the store.
        limit: how often it may be asked.

    Example:
        >>> import asyncio
        >>> import pyarrow as pa
        >>> from dkvector.backends.exact import ExactStore
        >>> async def counted() -> int:
        ...     store = Limited(await ExactStore.open({}), RateLimit(per_second=1000))
        ...     await store.upsert(pa.table({"id": [1], "v": [[1.0, 0.0]]}))
        ...     return await store.count()
        >>> asyncio.run(counted())
        1
    """

    def __init__(self, store: AsyncVectorStore, limit: RateLimit) -> None:
        super().__init__(store)
        if not isinstance(limit, RateLimit):
            raise SchemaError(f"limit is a RateLimit(per_second=…), not {limit!r}")
        self._limit = limit
        limit.limiter()  # now, so that a missing package is told now
        # a limiter belongs to its loop, and is kept: a loop whose turn comes again must not begin with a full burst
        self._limiters: dict[asyncio.AbstractEventLoop, Any] = {}
        self._lock = Lock()

    @property
    def inline(self) -> bool:  # type: ignore[override]
        """Never: who must wait, waits on a loop."""
        return False

    async def _turn(self) -> None:
        await self._limiter().acquire()

    def _limiter(self) -> Any:
        """Give what counts for the loop that is running, which may not be the only one."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._limiters:
                # those of loops that are over would hold them in memory
                kept = {one: limiter for one, limiter in self._limiters.items() if not one.is_closed()}
                self._limiters = {**kept, loop: self._limit.limiter()}
            return self._limiters[loop]

    async def _ask(self, asked: Asked, answer: Ask[T]) -> T:
        if asked.operation not in FREE:
            await self._turn()
        return await answer()

    async def _ask_each(self, asked: Asked, answers: Batches) -> Batches:
        await self._turn()
        async with aclosing(super()._ask_each(asked, answers)) as each:
            async for one in each:
                yield one
                await self._turn()
