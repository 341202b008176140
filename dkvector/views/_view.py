"""A store seen through another: what is asked of it is asked of the inner one, and a view does its part at one place.

The checks and the whole interface above them are those of every store; what is passed on are the backend's own
methods, so that a view of a view works, and a search of a kind that is yet to come is covered by what it is made of.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar, cast

import pandas as pd
import pyarrow as pa

from dkvector.compiled import Statement
from dkvector.encoders import Encoder
from dkvector.errors import UnsupportedError
from dkvector.filling import Backfill, Page
from dkvector.filters import Filter
from dkvector.indexes import IndexSpec
from dkvector.ingest import Batch
from dkvector.metrics import Floats
from dkvector.migration import Infos
from dkvector.requests import KeywordRequest, Mode, Request, Written
from dkvector.results import Explanation, Hits, KeywordHits
from dkvector.schema import Schema, Supports, VectorInfo
from dkvector.store import AsyncVectorStore
from dkvector.views._permissions import Guarded, check

T = TypeVar("T")
Ask = Callable[[], Awaitable[T]]
Batches = AsyncGenerator[Any, None]  # of tables, or of pages of rows that lack a vector
WRITES = frozenset(
    {"upsert", "delete", "fill", "add_vector_field", "drop_vector_fields", "redescribe"}
    | {"build_index", "index_columns", "drop"}
)


@dataclass(frozen=True)
class Asked:
    """What a backend is asked.

    Attributes:
        operation: of the contract, such as "search", "keyword", "get", "scan" or "upsert".
        ids: of the rows.
        where: the filter.
        k: neighbours.
        queries: how many.
        of: all else that the answer depends on.
    """

    operation: str
    ids: pd.Index | None = None
    where: Filter | None = None
    k: int | None = None
    queries: int | None = None
    of: tuple[Any, ...] = ()


class View(Guarded, AsyncVectorStore):
    """A store that asks another.

    Args:
        store: the other.
    """

    def __init__(self, store: AsyncVectorStore) -> None:
        self._inner = store
        if isinstance(store, View):
            self._can = store._can  # noqa: SLF001 - a view of a view can't do more
        # its own from here on: how one view is tuned is no matter of the others
        self.dimension, self.metric, self.tuning = store.dimension, store.metric, store.tuning
        self._encoder = store.encoder

    async def _ask(self, asked: Asked, answer: Ask[T]) -> T:  # noqa: ARG002 - for the views to look at
        """Have the inner store answer: what a view does, it does here."""
        return await answer()

    async def _ask_each(self, asked: Asked, answers: Batches) -> Batches:  # noqa: ARG002
        """Have the inner store answer batch by batch."""
        # what its reader leaves is closed at once, down to the engine's cursor
        async with aclosing(answers) as each:
            async for one in each:
                yield one

    @classmethod
    async def open(cls, config: Mapping[str, Any]) -> Self:  # noqa: ARG003 - no config will do
        """Refuse: a view is made of a store that is open."""
        raise UnsupportedError(f"{cls.__name__} is a view of a store, made of one that is open")

    @property
    def name(self) -> str:  # type: ignore[override]  # a class knows its own, a view that of its store
        """The backend's name."""
        return self._inner.name

    @property
    def inline(self) -> bool:  # type: ignore[override]
        """Whether the store is in this process."""
        return self._inner.inline

    @property
    def supports(self) -> Supports:  # type: ignore[override]
        """What the backend can do."""
        return self._inner.supports

    @property
    def schema(self) -> Schema | None:  # type: ignore[override]
        """What the store holds."""
        return self._inner.schema

    @property
    def closed(self) -> bool:  # type: ignore[override]
        """Whether the store was closed."""
        return self._inner.closed

    @property
    def planned(self) -> IndexSpec | None:
        """The index that follows the first write."""
        return self._inner.planned

    @planned.setter
    def planned(self, spec: IndexSpec | None) -> None:
        # a property, which the guard of methods does not see
        check(self.can, "build_index")
        self._inner.planned = spec

    @property
    def _gives_vectors(self) -> bool:  # type: ignore[override]
        return "vectors" in self._can

    @property
    def _embedders(self) -> dict[str, Encoder]:
        # of the rows, not of who looks at them: a switch to another model's vectors is one for every view
        return self._inner._embedders  # noqa: SLF001

    def _snapshot(self) -> Any:
        return self._inner._snapshot()  # noqa: SLF001 - a view is one of the store's own

    def _size(self) -> str:
        return self._inner._size()  # noqa: SLF001

    def _place(self) -> str:
        return self._inner._place()  # noqa: SLF001

    def _specs_known(self) -> Mapping[str, IndexSpec]:
        return self._inner._specs_known()  # noqa: SLF001

    async def _search(self, request: Request) -> tuple[Hits, Explanation]:
        return await self._ask(_searched("search", request), partial(self._inner._search, request))  # noqa: SLF001

    async def _explain(self, request: Request) -> tuple[Hits, Explanation]:
        return await self._ask(_searched("explain", request), partial(self._inner._explain, request))  # noqa: SLF001

    async def _keyword(self, request: KeywordRequest) -> KeywordHits:
        asked = Asked("keyword", where=request.where, k=request.k, queries=1, of=(request,))
        return await self._ask(asked, partial(self._inner._keyword, request))  # noqa: SLF001

    async def _compile(self, request: Request) -> Statement:
        return await self._ask(_searched("compile", request), partial(self._inner._compile, request))  # noqa: SLF001

    async def _compile_words(self, request: KeywordRequest) -> Statement:
        asked = Asked("compile", where=request.where, k=request.k, queries=1, of=(request,))
        return await self._ask(asked, partial(self._inner._compile_words, request))  # noqa: SLF001

    async def _get(self, ids: pd.Index, columns: Sequence[str], *, include_vectors: bool) -> pa.Table:
        asked = Asked("get", ids=ids, of=(tuple(columns), include_vectors))
        answer = partial(self._inner._get, ids, columns, include_vectors=include_vectors)  # noqa: SLF001
        return await self._ask(asked, answer)

    async def _scan(
        self, where: Filter | None, columns: Sequence[str], batch_size: int, *, include_vectors: bool
    ) -> Batches:
        batches = self._inner._scan(where, columns, batch_size, include_vectors=include_vectors)  # noqa: SLF001
        async with aclosing(self._ask_each(Asked("scan", where=where), batches)) as each:
            async for batch in each:
                yield batch

    async def _count(self, where: Filter | None) -> int:
        return await self._ask(Asked("count", where=where), partial(self._inner._count, where))  # noqa: SLF001

    async def _among_ours(self, ids: pd.Index) -> Any:
        return await self._ask(Asked("known", ids=ids), partial(self._inner._among_ours, ids))  # noqa: SLF001

    async def _upsert(self, batch: Batch, mode: Mode, *, progress: bool) -> Written:
        asked = Asked("upsert", ids=batch.labels, of=(mode,))
        return await self._ask(asked, partial(self._inner._upsert, batch, mode, progress=progress))  # noqa: SLF001

    async def _delete(self, ids: pd.Index | None, where: Filter | None) -> int:
        asked = Asked("delete", ids=ids, where=where)
        return await self._ask(asked, partial(self._inner._delete, ids, where))  # noqa: SLF001

    @asynccontextmanager
    async def _while_loading(self) -> AsyncIterator[None]:
        async with self._inner._while_loading():  # noqa: SLF001
            yield

    async def _build_index(self, spec: IndexSpec, info: VectorInfo, *, progress: bool) -> IndexSpec:
        answer = partial(self._inner._build_index, spec, info, progress=progress)  # noqa: SLF001
        return await self._ask(Asked("build_index"), answer)

    async def _indexes(self) -> dict[str, IndexSpec]:
        return await self._ask(Asked("indexes"), self._inner._indexes)  # noqa: SLF001

    async def _add_vector_field(self, info: VectorInfo) -> None:
        await self._ask(Asked("add_vector_field"), partial(self._inner._add_vector_field, info))  # noqa: SLF001

    async def _drop_vector_fields(self, names: Sequence[str]) -> None:
        answer = partial(self._inner._drop_vector_fields, names)  # noqa: SLF001
        await self._ask(Asked("drop_vector_fields", of=(tuple(names),)), answer)

    async def _redescribe(self, change: Callable[[Infos], Infos], whole: str | None) -> None:
        await self._ask(Asked("redescribe"), partial(self._inner._redescribe, change, whole))  # noqa: SLF001

    async def _count_lacking(self, name: str) -> int:
        return await self._ask(Asked("lacking", of=(name,)), partial(self._inner._count_lacking, name))  # noqa: SLF001

    async def _lacking(self, request: Backfill) -> AsyncGenerator[Page, None]:
        pages = cast("Batches", self._inner._lacking(request))  # noqa: SLF001
        async with aclosing(self._ask_each(Asked("backfill", where=request.where), pages)) as each:
            async for page in each:
                yield page

    async def _fill(self, request: Backfill, page: Page, made: Floats) -> int:
        asked = Asked("fill", ids=page.ids, where=request.where)
        return await self._ask(asked, partial(self._inner._fill, request, page, made))  # noqa: SLF001

    async def _index_columns(self, columns: tuple[str, ...], *, words: bool) -> None:
        await self._ask(Asked("index_columns"), partial(self._inner._index_columns, columns, words=words))  # noqa: SLF001

    async def engine(self) -> str:
        """Name what searches."""
        return await self._ask(Asked("engine"), self._inner.engine)

    async def stats(self) -> pd.Series:
        """Measure the store."""
        return await self._ask(Asked("stats"), self._inner.stats)

    async def refresh(self) -> bool:
        """See what others have committed since."""
        return await self._ask(Asked("refresh"), self._inner.refresh)

    async def verify(self, *, progress: bool | None = None) -> pd.DataFrame:
        """Compare every file with its checksum."""
        return await self._ask(Asked("verify"), partial(self._inner.verify, progress=progress))

    async def drop(self) -> None:
        """Remove the store and all it holds."""
        await self._ask(Asked("drop"), self._inner.drop)

    async def aclose(self) -> None:
        """Close the store."""
        await self._ask(Asked("close"), self._inner.aclose)


def _searched(operation: str, request: Request) -> Asked:
    return Asked(operation, where=request.where, k=request.k, queries=len(request.queries), of=(request,))
