"""A store in this process: what `exact` and `faiss` share — rows, writes, filters and results.

A write makes a new snapshot and publishes it in one assignment; a search uses the snapshot it began with.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector._fork import Lock
from dkvector._loop import offload
from dkvector.backends._local_fields import LocalFields
from dkvector.backends._marks import Mask
from dkvector.backends._rows import Rows
from dkvector.backends._topk import Nearest, Positions
from dkvector.backends._words import Words
from dkvector.compiled import Statement
from dkvector.dtype import VectorArray
from dkvector.errors import DuplicateIdError, NotFoundError, some
from dkvector.filters import Filter
from dkvector.ingest import Batch
from dkvector.requests import KeywordRequest, Mode, Request, Written
from dkvector.results import Explanation, Hits, KeywordHits

DEAD_SHARE = 0.25  # of the rows, past which the living are numbered anew


def is_worn(rows: Rows) -> bool:
    """Tell whether so much is dead that the living should be numbered anew."""
    return rows.buried > DEAD_SHARE * rows.total


@dataclass(frozen=True)
class Candidates:
    """The rows that a search may find: a mask over all positions, None where all of them."""

    mask: Mask | None
    count: int

    @property
    def positions(self) -> Positions | None:
        """The same as ascending positions."""
        return None if self.mask is None else np.flatnonzero(self.mask)


@dataclass(frozen=True)
class Found:
    """What an engine found, and how."""

    nearest: Nearest
    plan: str
    native: dict[str, Any]


@dataclass(frozen=True)
class Taken:
    """Rows that a search found, taken from its snapshot when they are wanted."""

    rows: Rows
    positions: Positions
    names: tuple[str, ...]
    include_vectors: bool

    def table(self) -> pa.Table:
        """Give the id, the payload, and the vectors where they were asked for."""
        return self.rows.take(self.positions, self.names, include_vectors=self.include_vectors)

    def labels(self) -> pd.Index:
        """Give the ids."""
        return self.rows.labels(self.positions)

    def columns(self) -> dict[str, Any]:
        """Give everything but the ids, as pandas has it."""
        made = self.rows.arrays(self.positions, self.names)
        for info in self.rows.schema.vectors if self.include_vectors else ():
            missing = self.rows.missing(info.name, self.positions)
            made[info.name] = VectorArray(self.rows.vectors(info.name, self.positions), missing)
        return made


class LocalStore(LocalFields):
    """A store in this process."""

    inline = True

    def __init__(self) -> None:
        self._rows: Rows | None = None
        self._words: Words | None = None  # of the last search by words: its index is kept while the rows are the same
        self._writing = Lock()

    @abstractmethod
    def _nearest(self, rows: Rows, request: Request, candidates: Candidates) -> Found:
        """Find the neighbours among the candidates."""

    @abstractmethod
    def _publish(self, rows: Rows, *, progress: bool) -> None:
        """Make a snapshot the current one; whatever must be kept is kept when it returns."""

    def _owned(self, batch: Batch) -> Batch:
        """Make sure that the caller's later changes to its arrays don't reach what is stored."""
        return batch

    def _refreshed(self) -> Rows | None:
        """Give the snapshot that a write starts from."""
        return self._rows

    def _snapshot(self) -> Rows | None:
        return self._rows

    @property
    def rows(self) -> Rows:
        """The current snapshot; an error while nothing has been written."""
        _ = self.known
        if self._rows is None:  # pragma: no cover - `known` has raised
            raise AssertionError
        return self._rows

    async def _search(self, request: Request) -> tuple[Hits, Explanation]:
        return await offload(self._search_now, request)

    def _search_now(self, request: Request) -> tuple[Hits, Explanation]:
        rows = self.rows
        candidates = self._candidates(rows, request)
        found = self._nearest(rows, request, candidates)
        near = found.nearest
        hits = Hits(
            Taken(rows, near.positions, request.columns, request.include_vectors),
            near.distances,
            near.counts,
            request.metric,
            request.labels,
        )
        return hits, self._told(rows, request, candidates.count, found)

    def _told(self, rows: Rows, request: Request, count: int, found: Found) -> Explanation:
        asked = len(request.queries) * min(request.k, count)
        returned = len(found.nearest.positions)
        return Explanation(
            backend=self.name,
            field=request.info.name,
            metric=request.metric.value,
            plan=found.plan,
            k=request.k,
            queries=len(request.queries),
            rows=rows.living,
            matching=None if request.where is None else count,
            returned=returned,
            shortfall=asked - returned,
            native=found.native,
        )

    @abstractmethod
    def _planned(self, rows: Rows, request: Request, candidates: Candidates) -> tuple[str, dict[str, Any]]:
        """Tell how the neighbours would be found, and with which knobs."""

    async def _compile(self, request: Request) -> Statement:
        return await offload(self._compile_now, request)

    def _compile_now(self, request: Request) -> Statement:
        rows = self.rows
        candidates = self._candidates(rows, request)
        plan, native = self._planned(rows, request, candidates)
        told = {
            "field": str(request.info),
            "rows": f"{candidates.count:,} of {rows.living:,}",
            "k": request.k,
            **native,
        }
        if request.where is not None:
            told["where"] = request.where
        return Statement(plan, "\n".join(f"{name}: {value}" for name, value in told.items()), (request.queries,))

    async def _compile_words(self, request: KeywordRequest) -> Statement:
        told = {"words": repr(request.text), "in": ", ".join(request.on), "k": request.k}
        if request.where is not None:
            told["where"] = str(request.where)
        return Statement("BM25", "\n".join(f"{name}: {value}" for name, value in told.items()))

    def _candidates(self, rows: Rows, request: Request) -> Candidates:
        mask, gaps = rows.matching(request.where), rows.gaps(request.info.name)
        if gaps is not None:
            mask = ~gaps if mask is None else mask & ~gaps
        count = rows.total if mask is None else int(np.count_nonzero(mask))
        # a filter that leaves every row in is as good as none, and asks no selector about rows
        return Candidates(None if count == rows.total else mask, count)

    async def _keyword(self, request: KeywordRequest) -> KeywordHits:
        return await offload(self._keyword_now, request)

    def _keyword_now(self, request: KeywordRequest) -> KeywordHits:
        # held by name: another search may put its own words there meanwhile
        rows, words = self.rows, self._words
        if words is None or words.rows is not rows or words.on != request.on:
            words = self._words = Words(rows, request.on)
        positions, scores = words.ranked(request.text, rows.matching(request.where), request.k)
        marks = words.marked(request.text, positions) if request.highlight else None
        return KeywordHits(Taken(rows, positions, request.columns, include_vectors=False), scores, marks)

    async def _upsert(self, batch: Batch, mode: Mode, *, progress: bool) -> Written:
        return await offload(self._write, lambda: self._upsert_now(batch, mode, progress=progress))

    def _write(self, work: Callable[[], Any]) -> Any:
        with self._writing:
            return work()

    def _upsert_now(self, batch: Batch, mode: Mode, *, progress: bool) -> Written:
        # also for a replace, which needs none of the rows: it makes this store the writer
        latest = self._refreshed()
        before = None if mode == "replace" else latest
        if before is not None:
            # the batch was checked against what was known before the lock was taken
            batch = batch.fitted(before.schema.widened(batch.schema))
        rows = Rows(batch.schema) if before is None else before
        labels = batch.labels
        known = rows.locate(labels) if rows.total else np.full(len(batch), -1, np.intp)
        died = known[known >= 0]
        if mode == "insert" and len(died):
            raise DuplicateIdError(f"already in the store: {some(labels[known >= 0])}; nothing was written")
        # no rows at all still tell an empty store its columns
        if len(batch) or before is None:
            self._change(rows, died, batch, progress=progress)
        return Written(len(batch) - len(died), len(died), batch.dropped, labels)

    def _change(self, rows: Rows, died: Positions, batch: Batch | None, *, progress: bool = False) -> None:
        """Publish a snapshot without some rows and with others, compacted where too much of it is dead."""
        # a commit empties the log: what is in it alone becomes rows like all others
        after = rows.without(died).folded()
        if batch is not None:
            after = after.appended(self._owned(batch))
        self._publish(after.compacted() if is_worn(after) else after, progress=progress)

    async def _delete(self, ids: pd.Index | None, where: Filter | None) -> int:
        return int(await offload(self._write, lambda: self._delete_now(ids, where)))

    def _delete_now(self, ids: pd.Index | None, where: Filter | None) -> int:
        rows = self._refreshed() or self.rows
        doomed = rows.matching(where)
        positions = np.flatnonzero(doomed) if doomed is not None else np.arange(rows.total)
        if ids is not None:
            found = rows.locate(ids)
            positions = np.intersect1d(positions, found[found >= 0])
        if len(positions):
            self._change(rows, positions, None)
        return len(positions)

    async def _get(self, ids: pd.Index, columns: Sequence[str], *, include_vectors: bool) -> pa.Table:
        return await offload(self._get_now, ids, columns, include_vectors)

    def _get_now(self, ids: pd.Index, columns: Sequence[str], include_vectors: bool) -> pa.Table:
        positions = self.rows.locate(ids)
        if (positions < 0).any():
            raise NotFoundError.ids(ids[positions < 0])
        return self.rows.take(positions, columns, include_vectors=include_vectors)

    async def _scan(
        self, where: Filter | None, columns: Sequence[str], batch_size: int, *, include_vectors: bool
    ) -> AsyncGenerator[pa.Table, None]:
        rows = self.rows
        mask = await offload(rows.matching, where)
        positions = np.arange(rows.total) if mask is None else np.flatnonzero(mask)
        for at in range(0, len(positions), batch_size):
            yield await offload(rows.take, positions[at : at + batch_size], columns, include_vectors=include_vectors)

    def _size(self) -> str:
        return "" if self._rows is None else f"{self._rows.living:,} rows"

    async def _count(self, where: Filter | None) -> int:
        rows = self.rows
        mask = await offload(rows.matching, where)
        return rows.total if mask is None else int(np.count_nonzero(mask))
