"""The blocking view of a store: same methods, same arguments, no `await`, DataFrames out."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import pandas as pd
import pyarrow as pa

from dkvector._loop import LOOP, run_inline
from dkvector.columns import kept
from dkvector.encoders import Encoder
from dkvector.indexes import Tuning
from dkvector.requests import Written
from dkvector.results import Explanation, Hits, KeywordHits, TableSource
from dkvector.results import framed as framed_columns
from dkvector.schema import Schema, Supports
from dkvector.store import AsyncVectorStore
from dkvector.verified import Verified
from dkvector.views import Audited, Cached, Limited, RateLimit, Restricted
from dkvector.views.audited import Hook

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

Method = Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]


def blocking(method: Method[P, R]) -> Callable[Concatenate[VectorStore, P], R]:
    """Turn a method of the async store into the same method of the blocking one."""
    return framed(method, lambda result: result)


def framed(method: Method[P, R], frame: Callable[[R], S]) -> Callable[Concatenate[VectorStore, P], S]:
    """Turn a method into a blocking one whose result is given as pandas has it."""

    @functools.wraps(method)
    def call(self: VectorStore, *args: P.args, **kwargs: P.kwargs) -> S:
        # looked up by its name: a view or a backend may have one of its own
        return frame(self._run(getattr(self.store, method.__name__)(*args, **kwargs)))

    return cast("Callable[Concatenate[VectorStore, P], S]", call)


def awaiting(method: Method[P, R]) -> Callable[Concatenate[VectorStore, P], R]:
    """Turn a method into a blocking one that may have to wait for what it is given: then it runs on the loop."""

    @functools.wraps(method)
    def call(self: VectorStore, *args: P.args, **kwargs: P.kwargs) -> R:
        run = LOOP.run if any(hasattr(one, "__aiter__") for one in (*args, *kwargs.values())) else self._run
        return cast("R", run(getattr(self.store, method.__name__)(*args, **kwargs)))

    return cast("Callable[Concatenate[VectorStore, P], R]", call)


def as_frame(rows: pa.Table) -> pd.DataFrame:
    """Give rows as a DataFrame indexed by their ids."""
    source = TableSource(rows)
    columns = {name: kept(values) for name, values in source.columns().items()}
    return framed_columns(columns, source.labels())


def as_found(hits: Hits) -> pd.DataFrame:
    """Give hits, or those of a hybrid search, as a DataFrame."""
    return hits.to_frame()


class VectorStore:
    """A blocking view of an `AsyncVectorStore`.

    Args:
        opener: a coroutine function that opens the store: a client must be born on the loop that will use it.
        inline: the store is in-process, so that its coroutines are stepped on the caller's thread.
    """

    def __init__(self, opener: Callable[[], Coroutine[Any, Any, AsyncVectorStore]], *, inline: bool) -> None:
        self._inline = inline
        self.store = self._run(opener())

    def _run(self, coro: Coroutine[Any, Any, R]) -> R:
        return run_inline(coro) if self._inline else LOOP.run(coro)

    upsert = blocking(AsyncVectorStore.upsert)
    load = blocking(AsyncVectorStore.load)
    delete = blocking(AsyncVectorStore.delete)
    count = blocking(AsyncVectorStore.count)
    build_index = blocking(AsyncVectorStore.build_index)
    indexes = blocking(AsyncVectorStore.indexes)
    stats = blocking(AsyncVectorStore.stats)
    explain = blocking(AsyncVectorStore.explain)
    compile = blocking(AsyncVectorStore.compile)
    engine = blocking(AsyncVectorStore.engine)
    why_not = blocking(AsyncVectorStore.why_not)
    refresh = blocking(AsyncVectorStore.refresh)
    verify = blocking(AsyncVectorStore.verify)
    drop = blocking(AsyncVectorStore.drop)
    close = blocking(AsyncVectorStore.aclose)
    search = framed(AsyncVectorStore.search, as_found)
    keyword_search = framed(AsyncVectorStore.keyword_search, KeywordHits.to_frame)
    get = framed(AsyncVectorStore.get, as_frame)

    add_vector_field = blocking(AsyncVectorStore.add_vector_field)
    backfill = blocking(AsyncVectorStore.backfill)
    index_columns = blocking(AsyncVectorStore.index_columns)

    record_model = blocking(AsyncVectorStore.record_model)
    reembed = blocking(AsyncVectorStore.reembed)
    switch = blocking(AsyncVectorStore.switch)
    rollback = blocking(AsyncVectorStore.rollback)
    prune = blocking(AsyncVectorStore.prune)
    versions = blocking(AsyncVectorStore.versions)

    create = blocking(AsyncVectorStore.create)
    read = blocking(AsyncVectorStore.read)
    update = blocking(AsyncVectorStore.update)
    find = blocking(AsyncVectorStore.find)
    stream_write = awaiting(AsyncVectorStore.stream_write)
    index_vectors = blocking(AsyncVectorStore.index_vectors)
    search_similar = blocking(AsyncVectorStore.search_similar)
    update_vector = blocking(AsyncVectorStore.update_vector)
    delete_from_index = blocking(AsyncVectorStore.delete_from_index)

    def scan(
        self,
        where: Any = None,
        columns: Sequence[str] | None = None,
        batch_size: int = 1000,
        *,
        include_vectors: bool = False,
    ) -> Iterator[pd.DataFrame]:
        """Give the rows that satisfy `where` as frames of at most `batch_size` rows."""
        return self._each(self.store.scan(where, columns, batch_size, include_vectors=include_vectors), as_frame)

    def stream_read(self, query: Any = None, batch_size: int = 1000) -> Iterator[Any]:
        """Give the records that satisfy a query one by one."""
        return self._each(self.store.stream_read(query, batch_size), lambda record: record)

    def to_frame(
        self, where: Any = None, columns: Sequence[str] | None = None, *, include_vectors: bool = True
    ) -> pd.DataFrame:
        """Give the rows that satisfy `where` as one DataFrame, vectors included.

        Args:
            where: a filter; all rows by default.
            columns: payload columns to give; all by default.
            include_vectors: give the vectors, as `vector[d]`.

        Returns:
            The frame, indexed by the ids.
        """
        if self.store.empty:
            return pd.DataFrame()
        scan = self.store.scan(where, columns, 1 << 16, include_vectors=include_vectors)
        tables = list(self._each(scan, lambda table: table))
        if not tables:
            # a get of nothing knows the columns and dtypes
            tables = [self._run(self.store.get([], columns, include_vectors=include_vectors))]
        return as_frame(pa.concat_tables(tables))

    def _each(self, items: AsyncGenerator[R, None], turn: Callable[[R], S]) -> Iterator[S]:
        async def following() -> list[R]:
            async for item in items:
                return [item]
            return []

        try:
            # in a list, so that an item that is false, or None, is not the end
            while item := self._run(following()):
                yield turn(item[0])
        finally:
            # left early: let go of the engine's cursor, unless it is the loop itself that collects the garbage
            with suppress(RuntimeError):
                self._run(items.aclose())

    @classmethod
    def _of(cls, store: AsyncVectorStore) -> VectorStore:
        async def opened() -> AsyncVectorStore:
            return store

        return VectorStore(opened, inline=store.inline)

    def cached(self, size: int | str = "64MB", *, seconds: float | None = None) -> VectorStore:
        """See the store through a cache of its answers: see `dkvector.Cached`."""
        return self._of(Cached(self.store, size, seconds=seconds))

    def limited(self, limit: RateLimit) -> VectorStore:
        """See the store through a limit of how often it is asked: see `dkvector.Limited`."""
        return self._of(Limited(self.store, limit))

    def restricted(self, can: str | Iterable[str] | None = None, where: Any = None) -> VectorStore:
        """See some of the rows, and do some things only: see `dkvector.Restricted`."""
        return self._of(Restricted(self.store, can, where))

    def audited(self, hook: Hook) -> VectorStore:
        """See the store through a hook that is told of every question: see `dkvector.Audited`."""
        return self._of(Audited(self.store, hook))

    @property
    def audit(self) -> Hook | None:
        """What is told of every question to the store; a function of one `Event` can be set, a second one beside it."""
        return self.store.hook if isinstance(self.store, Audited) else None

    @audit.setter
    def audit(self, hook: Hook) -> None:
        self.store = Audited(self.store, hook)

    @property
    def name(self) -> str:
        """The backend's name."""
        return self.store.name

    @property
    def schema(self) -> Schema | None:
        """What the store holds; None while it is empty."""
        return self.store.schema

    @property
    def supports(self) -> Supports:
        """What the backend can do."""
        return self.store.supports

    @property
    def last(self) -> Explanation | None:
        """What the last search really did."""
        return self.store.last

    @property
    def verified(self) -> Verified | None:
        """What searches with `verify` tell of recall, all together."""
        return self.store.verified

    @property
    def tuning(self) -> Tuning | None:
        """What searches use that bring no tuning of their own; knobs or a dict of them can be set."""
        return self.store.tuning

    @tuning.setter
    def tuning(self, tuning: Tuning | Mapping[str, Any] | None) -> None:
        self.store.tuning = None if tuning is None else Tuning.of(tuning)

    @property
    def encoder(self) -> Encoder | None:
        """What embeds the texts of `search(text=…)`; any encoder can be set."""
        return self.store.encoder

    @encoder.setter
    def encoder(self, encoder: Any) -> None:
        self.store.encoder = encoder

    @property
    def written(self) -> Written | None:
        """What the last write did: rows inserted, replaced, and left out for their vectors."""
        return self.store.written

    def __len__(self) -> int:
        return self.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{self.store!r}"

    def _repr_html_(self) -> str:
        return self.store._repr_html_()
