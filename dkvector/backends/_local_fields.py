"""Vector fields of an in-process store: added, filled, described anew and dropped, each as a new snapshot."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from dkvector._loop import offload
from dkvector.backends._rows import Rows
from dkvector.backends._segment import Segment, altered, with_gaps
from dkvector.backends._topk import Positions
from dkvector.errors import SchemaError
from dkvector.filling import Backfill, Page
from dkvector.metrics import Floats
from dkvector.migration import Infos
from dkvector.schema import VectorInfo
from dkvector.store import AsyncVectorStore
from dkvector.versions import check_whole

PAGES = 16  # that a fill is written in: a page is kept as a whole, and costs a look at every row


class LocalFields(AsyncVectorStore):
    """What `exact` and `faiss` share of vector fields that come later than the rows."""

    @property
    @abstractmethod
    def rows(self) -> Rows:
        """The current snapshot; an error while nothing has been written."""

    @abstractmethod
    def _write(self, work: Callable[[], Any]) -> Any: ...

    @abstractmethod
    def _refreshed(self) -> Rows | None: ...

    @abstractmethod
    def _publish(self, rows: Rows, *, progress: bool) -> None: ...

    async def _reshape(self, change: Callable[[Rows], Rows]) -> None:
        """Publish what a change makes of the newest rows; those of the log become rows like all others."""

        def now() -> None:
            rows = (self._refreshed() or self.rows).folded()
            self._republish(change(rows))

        await offload(self._write, now)

    def _republish(self, rows: Rows) -> None:
        self._publish(rows, progress=False)

    async def _add_vector_field(self, info: VectorInfo) -> None:
        if info.dtype != "float32":
            raise SchemaError(f"{self.name} keeps vectors as float32, not as {info.dtype!r}")

        def added(rows: Rows) -> Rows:
            if info.name in [one.name for one in rows.schema.vectors]:
                # another process was as quick
                raise SchemaError(f"there is a column {info.name!r} already")
            return with_fields(rows, (*rows.schema.vectors, info))

        await self._reshape(added)

    async def _drop_vector_fields(self, names: Sequence[str]) -> None:
        await self._reshape(
            lambda rows: with_fields(rows, tuple(one for one in rows.schema.vectors if one.name not in names))
        )

    async def _redescribe(self, change: Callable[[Infos], Infos], whole: str | None) -> None:
        def described(rows: Rows) -> Rows:
            if whole is not None:
                check_whole(whole, lacking(rows, whole))
            return replace(rows, schema=replace(rows.schema, vectors=change(rows.schema.vectors)))

        await self._reshape(described)

    async def _count_lacking(self, name: str) -> int:
        return int(await offload(lacking, self.rows, name))

    async def _lacking(self, request: Backfill) -> AsyncIterator[Page]:
        rows = self.rows
        positions = await offload(_waiting, rows, request)
        size = max(request.batch_size, -(-len(positions) // PAGES))
        for at in range(0, len(positions), size):
            page = await offload(_page, rows, positions[at : at + size], request)
            if len(page):
                yield page

    async def _fill(self, request: Backfill, page: Page, made: Floats) -> int:
        done = 0

        def given(rows: Rows) -> Rows:
            nonlocal done
            # looked at anew under the lock: rows may have changed while their vectors were made
            at = _still(rows, request, page)
            done = int((at >= 0).sum())
            return filled(rows, request.info.name, at[at >= 0], made[at >= 0])

        await self._reshape(given)
        return done


def with_fields(rows: Rows, infos: Infos) -> Rows:
    """Give rows other vector fields: new ones are lacking everywhere, indexes of those that go are let go."""
    kept = {name: index for name, index in rows.indexes.items() if name in [one.name for one in infos]}
    segments = tuple(with_gaps(one, infos) for one in rows.segments)
    return replace(rows, schema=replace(rows.schema, vectors=infos), segments=segments, indexes=kept)


def lacking(rows: Rows, name: str) -> int:
    """Count the living rows that lack a vector."""
    gaps = rows.gaps(name)
    return 0 if gaps is None else int((gaps & ~rows.dead).sum())


def filled(rows: Rows, name: str, positions: Positions, made: Floats) -> Rows:
    """Give rows their vectors `(p, d)` in a field, by position; an index that covers any of them is let go."""
    indexes = dict(rows.indexes)
    if name in indexes and positions.min(initial=rows.total) < indexes[name].rows:
        del indexes[name]
    segments = tuple(_filled(one, name, positions, made) for one in rows.segments)
    return replace(rows, segments=segments, indexes=indexes)


def _filled(one: Segment, name: str, positions: Positions, made: Floats) -> Segment:
    inside = (positions >= one.start) & (positions < one.start + len(one))
    if not inside.any():
        return one
    one.prove()
    at = positions[inside] - one.start
    # a copy of all: searches have the matrix, and a file that is mapped is never written to
    matrix, gaps = one.vectors[name].copy(), one.gaps[name].copy()
    matrix[at], gaps[at] = made[inside], False
    kept = {field: mask for field, mask in {**one.gaps, name: gaps}.items() if mask.any()}
    return altered(one, {**one.vectors, name: matrix}, kept)


def _waiting(rows: Rows, request: Backfill) -> Positions:
    """Find the living rows that lack their vector and satisfy the filter."""
    gaps = rows.gaps(request.info.name)
    if gaps is None:
        return np.empty(0, np.intp)
    mask = rows.matching(request.where)
    return np.flatnonzero(gaps if mask is None else gaps & mask)


def _texts(rows: Rows, positions: Positions, request: Backfill) -> list[list[str | None]]:
    table = rows.take(positions, request.text)
    return [table.column(1 + at).to_pylist() for at in range(len(request.text))]


def _page(rows: Rows, positions: Positions, request: Backfill) -> Page:
    return Page.of(rows.labels(positions), _texts(rows, positions, request))


def _still(rows: Rows, request: Backfill, page: Page) -> Positions:
    """Find the rows of a page by now, `(n,)`; -1 for those that are gone, are filled, or have another text."""
    at = rows.locate(page.ids)
    gaps = rows.gaps(request.info.name)
    there = np.flatnonzero((at >= 0) & (False if gaps is None else gaps[at]))
    now = Page.of(pd.RangeIndex(len(there)), _texts(rows, at[there], request))
    same = [there[place] for place, text in zip(now.ids, now.texts, strict=True) if page.texts[there[place]] == text]
    kept = np.full(len(at), -1, np.intp)
    kept[same] = at[same]
    return kept
