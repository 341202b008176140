"""The connections to PostgreSQL of one event loop, and how they end."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from asyncpg import exceptions as pg

PATIENCE = 10  # seconds that closing waits for what still runs


@dataclass(eq=False)
class Home:
    """The connections of one loop.

    Attributes:
        pool: opened when it is first needed.
        spare: a connection kept at hand: the pool's own ways cost a tenth of a search.
        opening: held while the pool is opened.
        gone: closes the pool when nobody did.
    """

    pool: Any = None
    spare: Any = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    gone: Any = None

    def opened(self, pool: Any, owner: Any) -> None:
        """Take a pool, which is closed at the latest with its owner."""
        self.pool = pool
        self.gone = weakref.finalize(owner, _abandoned, pool, asyncio.get_running_loop())
        # at the end of the process its connections close by themselves
        self.gone.atexit = False

    async def let_go(self) -> None:
        """Give the connection at hand back to the pool."""
        connection, self.spare = self.spare, None
        if connection is not None and self.pool is not None:
            await self.pool.release(connection)

    async def close(self) -> None:
        """Close all connections, on their own loop, once what still runs has ended."""
        if self.pool is None:
            return
        await self.let_go()
        pool, self.pool = self.pool, None
        self.gone.detach()
        with suppress(OSError, pg.InterfaceError):
            try:
                await asyncio.wait_for(pool.close(), PATIENCE)
            except TimeoutError:
                pool.terminate()

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close all connections from elsewhere, without waiting for what still runs."""
        if self.pool is not None:
            self.gone.detach()
            _abandoned(self.pool, loop)


def _abandoned(pool: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Close what nobody closed, on the loop that it lives on."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(pool.terminate)
        return
    # pool.terminate() would end with its first connection: each says goodbye, and then can't tell its loop
    for holder in pool._holders:  # noqa: SLF001 - nothing public knows of all connections
        with suppress(RuntimeError):
            holder.terminate()
