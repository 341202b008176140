"""A view that answers again what it has answered, as long as nothing has changed that it can see."""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import blake2b
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from dkvector._fork import Lock
from dkvector._loop import offload
from dkvector.errors import MissingExtraError, SchemaError
from dkvector.indexes import as_bytes
from dkvector.requests import KeywordRequest, Request
from dkvector.results import Explanation, Hits, KeywordHits
from dkvector.store import AsyncVectorStore
from dkvector.views._detached import detached
from dkvector.views._view import WRITES, Ask, Asked, View

T = TypeVar("T")
KEPT = frozenset({"search", "keyword", "get", "count"})
FORGET = WRITES | {"close"}
ENTRY = 1_000  # bytes that an entry takes beside its rows


class Cached(View):
    """A store that keeps its answers, up to so many bytes: the least recently used go first.

    Kept are hits of searches by vectors and by words, rows by id with their vectors, and counts. They are forgotten
    with every write through this view, with a `refresh()` that shows something new, and, of an embedded store (exact,
    Faiss), with every change of its rows, whoever made it. What another writer does to a database or a search engine
    can't be seen, nor what other code writes there through the same store: `seconds` bounds how old an answer can be,
    `refresh()` forgets them all.

    Args:
        store: the store.
        size: bytes that the answers may take, or a text such as "64MB".
        seconds: after which an answer is asked for again; by default they are kept until something changes.

    Raises:
        SchemaError: no size, or no time.

    Example:
        >>> import asyncio
        >>> from dkvector.backends.exact import ExactStore
        >>> async def twice() -> int:
        ...     store = Cached(await ExactStore.open({}), "1MB")
        ...     await store.upsert(pa.table({"id": [1], "v": [[1.0, 0.0]]}))
        ...     for _ in range(2):
        ...         await store.search([1.0, 0.0], k=1)
        ...     return int((await store.stats())["cache_hits"])
        >>> asyncio.run(twice())
        1
    """

    def __init__(self, store: AsyncVectorStore, size: int | str = "64MB", *, seconds: float | None = None) -> None:
        super().__init__(store)
        if seconds is not None and not seconds > 0:
            raise SchemaError(f"seconds must be above 0, not {seconds!r}")
        self._kept = _kept(as_bytes(size), seconds)
        self._lock = Lock()
        self._changes = self._hits = self._misses = 0
        self._seen: Callable[[], Any] = _reference(None)

    async def _ask(self, asked: Asked, answer: Ask[T]) -> T:
        if asked.operation in KEPT:
            return await self._answered(asked, answer)
        if asked.operation not in FORGET:
            made = await answer()
            # a server does not tell whether anything is new
            if asked.operation == "refresh" and (made or self._snapshot() is None):
                self._forget()
            return self._measured(made) if asked.operation == "stats" else made
        try:
            return await answer()
        finally:  # also of a write that failed; an answer that is on its way meanwhile is not kept either
            self._forget()

    @asynccontextmanager
    async def _while_loading(self) -> AsyncIterator[None]:
        try:
            async with super()._while_loading():
                yield
        finally:  # a search engine shows what a load wrote here, after its last write
            self._forget()

    async def _answered(self, asked: Asked, answer: Ask[T]) -> T:
        key = _key(asked)
        with self._lock:
            self._notice()
            made, changes = self._kept.get(key), self._changes
            self._hits, self._misses = self._hits + (made is not None), self._misses + (made is None)
        if made is not None:
            return _given(_labelled(made, asked))  # type: ignore[no-any-return]
        made = await offload(detached, await answer())
        with self._lock:
            self._notice()
            # where a write came between, nobody knows which state the answer is of
            if changes == self._changes and _bytes(made) <= self._kept.maxsize:
                self._kept[key] = made
        return _given(made)  # type: ignore[no-any-return]

    def _notice(self) -> None:
        """Forget everything where an embedded store's rows are others than before."""
        version = self._snapshot()
        if self._seen() is not version:
            self._seen = _reference(version)
            self._forgotten()

    def _forget(self) -> None:
        with self._lock:
            self._forgotten()

    def _forgotten(self) -> None:
        self._kept.clear()
        self._changes += 1

    def _measured(self, stats: Any) -> Any:
        with self._lock:
            told = {"cache_bytes": self._kept.currsize, "cache_hits": self._hits, "cache_misses": self._misses}
        return pd.concat([stats, pd.Series(told)]).rename(stats.name)


def _kept(size: int, seconds: float | None) -> Any:
    try:
        import cachetools  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("cachetools", "cache") from exc
    if seconds is None:
        return cachetools.LRUCache(size, getsizeof=_bytes)
    # not by the clock on the wall, which may be set back
    return cachetools.TTLCache(size, seconds, timer=time.monotonic, getsizeof=_bytes)


def _reference(version: Any) -> Callable[[], Any]:
    """Remember a snapshot without keeping it alive."""
    return weakref.ref(version) if version is not None else lambda: None


def _key(asked: Asked) -> bytes:
    """Name a question by all that its answer depends on; in text, where 1, 1.0 and True differ."""
    of: tuple[Any, ...] = asked.of
    if of and isinstance(of[0], Request):
        request = of[0]
        many = request.labels is not None
        of = (request.info.name, request.metric, request.tuning, request.columns, request.include_vectors, many)
        of += (blake2b(request.queries.tobytes(), digest_size=20).digest(),)
    elif of and isinstance(of[0], KeywordRequest):
        of = (replace(of[0], where=None),)
    ids = None if asked.ids is None else (str(asked.ids.dtype), asked.ids.tolist())
    told = (asked.operation, ids, None if asked.where is None else str(asked.where), asked.k, asked.queries, of)
    return blake2b(repr(told).encode("utf-8", "surrogatepass"), digest_size=20).digest()


def _labelled(made: Any, asked: Asked) -> Any:
    """Give hits the labels of this search's queries, and say where they come from."""
    match made:
        case (Hits() as hits, Explanation() as told):
            native = {**told.native, "cache": "answered before"}
            return replace(hits, queries=asked.of[0].labels), replace(told, native=native)
    return made


def _given(made: Any) -> Any:
    """Give arrays that the reader may write to: a frame is made of them as they are."""
    match made:
        case (Hits() as hits, told):
            return replace(hits, distances=hits.distances.copy(), counts=hits.counts.copy()), told
        case KeywordHits():
            return replace(made, scores=made.scores.copy())
    return made


def _bytes(made: Any) -> int:
    match made:
        case (Hits() as hits, _):
            return ENTRY + int(hits.rows.get_total_buffer_size()) + hits.distances.nbytes + hits.counts.nbytes
        case KeywordHits():
            marks = sum(map(len, made.highlights or ()))
            return ENTRY + int(made.rows.get_total_buffer_size()) + made.scores.nbytes + 4 * marks
        case pa.Table():
            return ENTRY + int(made.get_total_buffer_size())
    return ENTRY
