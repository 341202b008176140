"""What lives on an event loop, such as a client with its connections: each loop of each process has its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Homes(Generic[T]):
    """One of a kind for each loop of each process that asks.

    Args:
        make: makes one, for the loop that runs.

    Example:
        >>> homes = Homes(lambda: [asyncio.get_running_loop()])
        >>> async def asked() -> bool:
        ...     return homes.mine() is homes.mine()
        >>> asyncio.run(asked()), len(homes.left())
        (True, 1)
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._homes: dict[asyncio.AbstractEventLoop, tuple[int, T]] = {}

    def mine(self) -> T:
        """Give that of the loop that runs, made at the first call."""
        loop = asyncio.get_running_loop()
        found = self._homes.get(loop)
        # a fork's parent goes on with what it had
        if found is None or found[0] != os.getpid():
            self._homes[loop] = found = (os.getpid(), self._make())
        return found[1]

    def left(self) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        """Take out those whose loop is closed, where they can do nothing more."""
        return self._out([loop for loop in list(self._homes) if loop.is_closed()])

    def taken(self) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        """Take out all, with their loops."""
        return self._out(list(self._homes))

    def _out(self, loops: Sequence[asyncio.AbstractEventLoop]) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        found = [(loop, self._homes.pop(loop, None)) for loop in loops]
        # what another process has is let be
        return [(loop, one[1]) for loop, one in found if one is not None and one[0] == os.getpid()]
