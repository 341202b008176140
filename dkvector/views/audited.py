"""A view that tells a hook what was asked of a store."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from dkvector.errors import SchemaError
from dkvector.requests import Written
from dkvector.results import Hits, KeywordHits
from dkvector.store import AsyncVectorStore
from dkvector.views._view import Ask, Asked, Batches, View

T = TypeVar("T")


@dataclass(frozen=True)
class Event:
    """One question to a backend; never a vector, a value of a row, or a credential.

    Attributes:
        operation: "search", "keyword", "explain", "get", "scan", "count", "known" (which of some ids are there),
            "upsert", "delete", "build_index", "indexes", "add_vector_field", "drop_vector_fields", "redescribe"
            (models and versions), "lacking", "backfill" (the rows that lack a vector), "fill", "index_columns",
            "compile", "stats", "engine", "refresh", "verify", "drop" or "close".
        ids: of the rows that were asked for, or written.
        where: the filter, as text.
        k: neighbours of each query.
        queries: how many queries.
        rows: found, given, counted, written or deleted; None where it is no matter of rows, or where it failed.
        seconds: that it took.
        error: the name of the error's class; None where there was none.
    """

    operation: str
    ids: pd.Index | None = None
    where: str | None = None
    k: int | None = None
    queries: int | None = None
    rows: int | None = None
    seconds: float = 0.0
    error: str | None = None


Hook = Callable[[Event], Any]


class Audited(View):
    """A store that tells of every question to its backend, once it was answered or has failed.

    A hybrid search is three: "search", "keyword", and "get" of the rows. What the hook raises reaches the caller, for
    an audit that fails unseen is none; a write that it was to tell of is made all the same.

    Args:
        store: the store.
        hook: called with each `Event`, on the thread that runs the store: let it be quick.

    Raises:
        SchemaError: a hook that can't be called.

    Example:
        >>> import asyncio
        >>> from dkvector.backends.exact import ExactStore
        >>> events: list[Event] = []
        >>> async def told() -> list[tuple[str, int | None]]:
        ...     store = Audited(await ExactStore.open({}), events.append)
        ...     await store.upsert(pa.table({"id": [1, 2], "v": [[1.0, 0.0], [0.0, 1.0]]}))
        ...     await store.search([1.0, 0.0], k=1)
        ...     return [(one.operation, one.rows) for one in events]
        >>> asyncio.run(told())
        [('upsert', 2), ('search', 1)]
    """

    def __init__(self, store: AsyncVectorStore, hook: Hook) -> None:
        super().__init__(store)
        if not callable(hook):
            raise SchemaError(f"an audit is a function of one event, not {hook!r}")
        self._hook = hook

    @property
    def hook(self) -> Hook:
        """What is told."""
        return self._hook

    async def _ask(self, asked: Asked, answer: Ask[T]) -> T:
        telling = _Telling(self.hook, asked)
        with telling:
            made = await answer()
            telling.rows = _rows(made)
        return made

    async def _ask_each(self, asked: Asked, answers: Batches) -> Batches:
        telling = _Telling(self.hook, asked, rows=0)
        with telling:
            async with aclosing(answers) as each:
                async for one in each:
                    telling.rows = (telling.rows or 0) + len(one)
                    yield one


@dataclass
class _Telling:
    """Tells of what goes on within it, when it ends."""

    hook: Hook
    asked: Asked
    rows: int | None = None

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # told before the error goes on, which Python chains to that of a hook that fails as well
        left = kind is GeneratorExit  # a stream that its reader has left is no failure
        asked = self.asked
        event = Event(
            asked.operation,
            asked.ids,
            None if asked.where is None else str(asked.where),
            asked.k,
            asked.queries,
            self.rows,
            time.perf_counter() - self._start,
            None if kind is None or left else kind.__name__,
        )
        self.hook(event)


def _rows(made: Any) -> int | None:
    """Count the rows of an answer."""
    match made:
        case (Hits() as hits, _):
            return len(hits.distances)
        case KeywordHits():
            return len(made.scores)
        case pa.Table():
            return len(made)
        case Written():
            return made.inserted + made.replaced
        case int() if not isinstance(made, bool):
            return made
    return None
