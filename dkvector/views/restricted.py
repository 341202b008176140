"""A view that can do some things only, to some rows only."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector._loop import offload
from dkvector.backends import _arrow
from dkvector.columns import to_index
from dkvector.compiled import Statement
from dkvector.errors import AccessDeniedError, NotFoundError, some
from dkvector.filling import Backfill, Page
from dkvector.filters import And, Filter, as_filter, check_columns
from dkvector.ingest import Batch
from dkvector.migration import Infos
from dkvector.primitives import Primitives
from dkvector.requests import KeywordRequest, Mode, Request, Written
from dkvector.results import Explanation, Hits, KeywordHits
from dkvector.schema import Schema
from dkvector.store import AsyncVectorStore
from dkvector.views._detached import detached
from dkvector.views._permissions import EVERYTHING, as_permissions, listed
from dkvector.views._view import Ask, Asked, Batches, View

T = TypeVar("T")
Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Restricted(View):
    """A store of which only some things can be asked, and whose filter always holds.

    "search" is to find rows by vectors, texts and words; "read" to get, scan and stream them; "vectors" to be given
    stored vectors; "write", "delete", and "manage", which is indexes, fields, statistics and dropping. Rows that the
    filter leaves out are not found, got, counted or scanned, nor are they written, replaced or deleted; a row to be
    written must satisfy it. Any method that no permission names is refused. Closing the view leaves the store open.

    The names and types of all columns can be seen, and the categories of a categorical one. What is counted over the
    whole store shows through: how frequent words are, by which a search for words ranks (BM25), and the numbers of rows
    that `compile()` and `versions()` tell. A writer by another way may come between the check of a write and the write
    itself; where users must be kept apart whatever they run, let the server do it: row-level security in PostgreSQL,
    aliases with filters and document-level security in the search engines. Code in this process that wants to can reach
    anything.

    Args:
        store: the store.
        can: permissions, one or several of those above; all of them by default.
        where: the filter.

    Raises:
        SchemaError: a permission that is not known.
        FilterError: a filter that can't be read, or names columns that the store has not.

    Example:
        >>> import asyncio
        >>> from dkvector.backends.exact import ExactStore
        >>> async def found() -> list[str]:
        ...     store = await ExactStore.open({})
        ...     rows = {"id": ["a", "b"], "team": ["red", "blue"], "v": [[1.0, 0.0], [0.9, 0.1]]}
        ...     await store.upsert(pa.table(rows))
        ...     blue = Restricted(store, can={"search"}, where="team == 'blue'")
        ...     return list((await blue.search([1.0, 0.0], k=5)).ids)
        >>> asyncio.run(found())
        ['b']
    """

    def __init__(self, store: AsyncVectorStore, can: str | Iterable[str] | None = None, where: Any = None) -> None:
        super().__init__(store)
        # of a view of a view: never more than the one below can
        self._can &= as_permissions(can)
        self._own_filter = as_filter(where)
        self._left = False
        if self._own_filter is not None and store.schema is not None:
            check_columns(self._own_filter, store.schema.columns)

    @property
    def closed(self) -> bool:  # type: ignore[override]
        """Whether this view, or the store, was closed."""
        return self._left or self._inner.closed

    async def aclose(self) -> None:
        """Close the view; the store stays open."""
        self._left = True

    async def _ask(self, asked: Asked, answer: Ask[T]) -> T:
        # what needs no schema, drop() among it, has not asked yet whether the view was closed
        _ = self.empty
        return await super()._ask(asked, answer)

    def _size(self) -> str:
        own = "" if self._own_filter is None else f" where {self._own_filter}"
        return f"can {listed(self._can)}{own}"

    def _place(self) -> str:
        return ""

    def _only(self, where: Filter | None) -> Filter | None:
        """Add the view's filter to another."""
        own = self._own_filter
        if own is None:
            return where
        check_columns(own, self.known.columns)
        return own if where is None else And((own, where))

    async def _search(self, request: Request) -> tuple[Hits, Explanation]:
        found = await super()._search(replace(request, where=self._only(request.where)))
        hits, told = await self._taken_out(found)
        return hits, self._own(told, None)

    async def _explain(self, request: Request) -> tuple[Hits, Explanation]:
        found = await super()._explain(replace(request, where=self._only(request.where)))
        hits, told = await self._taken_out(found)
        return hits, told if self._own_filter is None else self._own(told, await self._count(None))

    def _own(self, told: Explanation, rows: int | None) -> Explanation:
        """Leave out what an engine tells of rows that are not the view's."""
        return told if self._own_filter is None else replace(told, rows=rows, native={})

    async def _keyword(self, request: KeywordRequest) -> KeywordHits:
        found = await super()._keyword(replace(request, where=self._only(request.where)))
        return await self._taken_out(found)

    async def _taken_out(self, found: T) -> T:
        """Leave behind the snapshot that hits hold, which has all rows and vectors."""
        if self._own_filter is None and self._can == EVERYTHING:
            return found
        return await offload(detached, found)

    async def _compile(self, request: Request) -> Statement:
        return await super()._compile(replace(request, where=self._only(request.where)))

    async def _compile_words(self, request: KeywordRequest) -> Statement:
        return await super()._compile_words(replace(request, where=self._only(request.where)))

    async def _count(self, where: Filter | None) -> int:
        return await super()._count(self._only(where))

    async def _scan(
        self, where: Filter | None, columns: Sequence[str], batch_size: int, *, include_vectors: bool
    ) -> Batches:
        own = super()._scan(self._only(where), columns, batch_size, include_vectors=include_vectors)
        async with aclosing(own) as each:
            async for one in each:
                yield one

    async def _among_ours(self, ids: pd.Index) -> Any:
        if self._own_filter is None:
            return await super()._among_ours(ids)
        return await Primitives._among_ours(self, ids)  # noqa: SLF001 - by a scan, through the filter

    async def _get(self, ids: pd.Index, columns: Sequence[str], *, include_vectors: bool) -> pa.Table:
        # by this way too searches like a row read it: what a hidden one is like is not told
        if (own := self._only(None)) is None:
            return await super()._get(ids, columns, include_vectors=include_vectors)
        # what the filter reads comes along, and is left out again
        extra = [name for name in self.known.payload.names if name in own.columns() and name not in columns]
        try:
            rows = await super()._get(ids, [*columns, *extra], include_vectors=include_vectors)
        except NotFoundError:  # it names those that are not there, but none that are there and hidden
            raise NotFoundError.ids(ids[~await self._visible(ids)]) from None
        if not (visible := _satisfying(own, rows, self.known)).all():
            raise NotFoundError.ids(ids[~visible])
        return rows.drop_columns(extra)

    async def _visible(self, ids: pd.Index) -> Mask:
        """Tell which rows are in the store and the view's."""
        if isinstance(ids, pd.MultiIndex):
            return await _found(self._get, ids)
        return np.asarray(await self._among_ours(ids), bool)

    async def _upsert(self, batch: Batch, mode: Mode, *, progress: bool) -> Written:
        if mode == "replace" and (self._own_filter is not None or "delete" not in self._can):
            raise AccessDeniedError("this view of the store can't replace all of its rows")
        if self._own_filter is not None:
            await self._check_written(batch, self._own_filter)
        return await super()._upsert(batch, mode, progress=progress)

    async def _check_written(self, batch: Batch, own: Filter) -> None:
        """Refuse rows that the view would not see, and ids of rows that it does not see."""
        rows = batch.payload.add_column(0, batch.schema.id, batch.ids)
        if not (good := _satisfying(own, rows, batch.schema)).all():
            raise AccessDeniedError(f"not rows of this view, where {own}: {some(batch.labels[~good])}; nothing written")
        if self._inner.empty:
            return
        known = batch.labels[await self._there(batch.labels)]
        if len(known) and len(hidden := known[~await self._visible(known)]):
            raise AccessDeniedError(f"ids of rows that are not this view's: {some(hidden)}; nothing written")

    async def _there(self, ids: pd.Index) -> Mask:
        """Tell which rows are in the store, whoever may see them."""
        if isinstance(ids, pd.MultiIndex):
            return await _found(self._inner._get, ids)  # noqa: SLF001 - past the filter
        return np.asarray(await self._inner._among_ours(ids), bool)  # noqa: SLF001 - likewise

    async def _delete(self, ids: pd.Index | None, where: Filter | None) -> int:
        return await super()._delete(ids, self._only(where))

    async def _lacking(self, request: Backfill) -> AsyncGenerator[Page, None]:
        async with aclosing(super()._lacking(replace(request, where=self._only(request.where)))) as each:
            async for page in each:
                yield page

    async def _drop_vector_fields(self, names: Sequence[str]) -> None:
        self._refuse_filtered("take a field from")
        await super()._drop_vector_fields(names)

    async def _redescribe(self, change: Callable[[Infos], Infos], whole: str | None) -> None:
        self._refuse_filtered("change the model of")
        await super()._redescribe(change, whole)

    async def verify(self, *, progress: bool | None = None) -> pd.DataFrame:
        """Compare every file with its checksum; not through a filter, for the files hold all rows."""
        self._refuse_filtered("verify")
        return await super().verify(progress=progress)

    async def stats(self) -> pd.Series:
        """Measure the store; not through a filter, for what is measured is all of it."""
        self._refuse_filtered("measure")
        return await super().stats()

    async def drop(self) -> None:
        """Remove the store; not through a filter: `delete` removes the view's rows."""
        self._refuse_filtered("drop")
        await super().drop()

    def _refuse_filtered(self, what: str) -> None:
        if self._own_filter is not None:
            raise AccessDeniedError(f"this view sees some of the rows, and can't {what} them all")


async def _found(get: Callable[..., Awaitable[pa.Table]], ids: pd.Index) -> Mask:
    """Tell which rows can be got, by halves: ids of several columns are in no filter."""
    try:
        await get(ids, [], include_vectors=False)
    except NotFoundError:
        half = len(ids) // 2
        if not half:
            return np.zeros(len(ids), bool)
        return np.concatenate([await _found(get, ids[:half]), await _found(get, ids[half:])])
    return np.ones(len(ids), bool)


def _satisfying(where: Filter, rows: pa.Table, schema: Schema) -> Mask:
    """Tell which rows satisfy a filter; a column that they lack is missing in all of them."""
    labels = to_index(rows.column(0), rows.schema.field(0))

    def column(name: str) -> Any:
        if name in rows.column_names:
            return rows.column(name)
        if pa.types.is_struct(schema.id.type) and name in {one.name for one in schema.id.type}:
            return pa.chunked_array([chunk.field(name) for chunk in rows.column(0).chunks])
        known = name in schema.payload.names
        return pa.nulls(len(rows), schema.payload.field(name).type if known else pa.null())

    def among(ids: Sequence[Any]) -> Mask:
        return np.asarray(labels.isin(list(ids)), bool)

    return np.asarray(_arrow.mask(where, column, len(rows), among), bool)
