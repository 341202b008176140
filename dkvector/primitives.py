"""What every store does, in rows: a call is checked here, once, before any I/O.

Validated requests go to the backend's own `_…` methods: a backend implements those, and nothing else.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector._loop import offload
from dkvector._repr import Shown
from dkvector.blending import barring
from dkvector.columns import to_index
from dkvector.encoders import as_encoder
from dkvector.errors import BackendUnavailableError, PartialWriteError, SchemaError, hint
from dkvector.explaining import Explaining
from dkvector.filters import Filter, Ids
from dkvector.fusion import Fusion
from dkvector.indexes import IndexSpec, Tuning, as_spec
from dkvector.ingest import Batch, Reading, as_batch
from dkvector.loading import Loading
from dkvector.metrics import DistanceMetric
from dkvector.refinements import Refinement
from dkvector.requests import MODES, Mode, Search, Written, as_ids, filter_of, shown
from dkvector.results import Explanation, Hits
from dkvector.schema import Schema, VectorInfo
from dkvector.versions import Versions


class Primitives(Shown, Explaining, Loading, Versions):
    """A named collection of rows with vectors."""

    inline: ClassVar[bool] = False  # in-process: its coroutines may be stepped on the caller's thread
    last: Explanation | None = None  # what the last search did
    planned: IndexSpec | None = None  # the index that follows the first write: some backends build it with the rows
    dimension: int | None = None  # what the config promises of a store that is still empty
    metric: DistanceMetric | None = None

    @classmethod
    @abstractmethod
    async def open(cls, config: Mapping[str, Any]) -> Self:
        """Open the store that a config describes, creating it where that is the backend's way."""

    @property
    def known(self) -> Schema:
        """The schema; an error while nothing has been written."""
        if self.empty or self.schema is None:
            raise SchemaError(f"this {self.name} store is empty: write rows to it first")
        return self.schema

    @property
    def empty(self) -> bool:
        """Whether nothing has been written.

        Raises:
            BackendUnavailableError: the store has been closed.
        """
        if self.closed:
            raise BackendUnavailableError(f"this {self.name} store was closed; open it again")
        return self.schema is None

    async def upsert(
        self,
        rows: Any,
        *,
        mode: Mode = "upsert",
        reading: Reading | None = None,
        progress: bool | None = None,
    ) -> Written:
        """Write rows; they are visible to every search that starts after it returns.

        Args:
            rows: a DataFrame (its index is the ids), records, or anything that speaks the Arrow C stream: an Arrow
                table, a frame of polars, DuckDB or ibis; its column "id", or `reading`'s, is the ids.
            mode: "upsert" replaces rows of known ids, "insert" refuses them, "replace" swaps all rows at once, and with
                them the columns and the vectors' dimensions; the metric stays, for who searches the store would get
                other numbers unawares: `drop()` first where another is meant.
            reading: which columns, id, metric and model; what to do with bad rows.
            progress: show a bar; None shows one when there is much to do.

        Returns:
            How many rows were new, replaced and left out.

        Raises:
            VectorError: vectors that can't be used; nothing is written.
            DuplicateIdError: ids given twice, or known to an "insert"; nothing is written.
            SchemaError: rows that don't fit the store; nothing is written.
        """
        if mode not in MODES:
            raise SchemaError(f"no mode {mode!r}; {hint(mode, MODES)}")
        # rows that replace all others need not have their columns
        known = None if self.empty or mode == "replace" else self.schema
        how = self._promised(reading or Reading())
        batch = as_batch(rows, known=known, reading=how, composite=self.supports.composite_ids)
        for info in batch.schema.vectors:
            self.supports.check_metric(self.name, info.metric, info.metric)
            # a version that does not serve may be of another model, with vectors of another length
            if self.dimension not in {None, info.dimensions} and (known is None or info.name in _names(known.serving)):
                raise SchemaError(f"the config says dimension {self.dimension}, {info.name!r} has {info.dimensions}")
        if known is not None:
            batch = batch.fitted(known.widened(batch.schema))
            await self._check_maker(how, batch, known)
        try:
            self.written = await self._upsert(batch, mode, progress=shown(progress, len(batch)))
        except PartialWriteError as exc:
            exc.dropped = batch.dropped
            raise
        return self.written

    @staticmethod
    async def _check_maker(reading: Reading, batch: Batch, known: Schema) -> None:
        if reading.encoder is not None:
            for name in batch.vectors:
                # it may embed the probes, which can take a model seconds
                await offload(as_encoder(reading.encoder).check_field, known.vector(name))

    def _promised(self, reading: Reading) -> Reading:
        stored = [info.metric for info in self.schema.vectors] if self.schema else []
        stored = stored or [self.metric or reading.metric]  # type: ignore[list-item]  # None where neither says
        if reading.metric is None:
            return replace(reading, metric=stored[0])
        if any(reading.metric != one for one in stored):
            way = "leave it out, or drop() the store first, whatever the mode" if self.schema else "its config says so"
            raise SchemaError(f"the store measures by {stored[0]!s}, these rows ask for {reading.metric!s}: {way}")
        return reading

    async def delete(self, ids: Any = None, where: Any = None) -> int:
        """Delete rows by id, by filter, or both; unknown ids are passed over.

        Returns:
            How many rows were deleted.

        Raises:
            SchemaError: neither is given: `drop()` removes everything.
        """
        if ids is None and where is None:
            raise SchemaError("delete needs ids or a filter; drop() removes the whole store")
        if self.empty:
            return 0
        return await self._delete(None if ids is None else as_ids(ids), self._where(where))

    async def get(self, ids: Any, columns: Sequence[str] | None = None, *, include_vectors: bool = False) -> pa.Table:
        """Give rows by id, in the order of the ids.

        Raises:
            NotFoundError: ids that are not in the store.
        """
        return await self._get(as_ids(ids), self.known.select(columns), include_vectors=include_vectors)

    async def search(
        self,
        queries: Any = None,
        k: int = 10,
        *,
        text: Any = None,
        like: Any = None,
        field: str | Sequence[str] | None = None,
        where: Any = None,
        metric: DistanceMetric | str | None = None,
        tuning: Tuning | Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
        include_vectors: bool = False,
        fusion: Fusion | None = None,
        text_on: str | Sequence[str] | None = None,
        refine: Refinement | Sequence[Refinement] | None = None,
        verify: float | None = None,
    ) -> Hits:
        """Find the k nearest rows of every query among those that satisfy `where`.

        Args:
            queries: one vector `(d,)` or many `(q, d)`: an array, a Series, a frame's column, a `VectorField`; a
                `Blend` or a list of them, each several vectors that are one query; a dict, field → vectors; or a
                `VectorQuery`, which brings k, field, filter and metric with it.
            k: neighbours of each query.
            text: instead of a query, one text or a list of them, which the store's `encoder` embeds. Beside a query, or
                with `fusion` or `text_on`, its words are searched for as well, and both answers are fused.
            like: instead of a query, the label of a row, or a list of labels; a row is not its own neighbour.
            field: the vector field, where there are several; or a list of them, all of which are searched, and the
                answers fused.
            where: a filter, applied before the neighbours are taken.
            metric: what to measure by; the field's own by default.
            tuning: search-time knobs; the store's own by default.
            columns: payload columns to give; all by default.
            include_vectors: give the stored vectors too.
            fusion: how neighbours by each field and rows with the words are fused: `RRF()` or `Weighted(alpha)`.
            text_on: text columns to look for words in; all by default.
            refine: what is done with the neighbours: `Cut` those that are far, weigh the `Evidence`, choose diverse
                ones by `MMR`, or the nearest of each `Group`; or several of these.
            verify: share of the queries to ask again, exactly: `last` tells the recall of this call, `verified` that of
                all calls. Of several queries at least one is asked again, a single one with this chance.

        Returns:
            The hits, nearest first, ties by id; k of each query wherever k rows satisfy `where`. Of a search whose
            answers are fused `HybridHits`, best first.

        Raises:
            VectorError: queries of another length, not finite, or of no direction under cosine.
            FilterError: a filter that can't be read or names unknown columns.
            NotFoundError: a row to search like that is not there.
            SchemaError: text without an encoder, or with one of another model than the field's.
            UnsupportedError: a metric that this field can't be searched by; words on a backend without keyword search.
        """
        knobs = self.tuning if tuning is None else tuning
        asked = Search(
            queries, k, text, like, field, where, metric, knobs, columns, include_vectors, fusion, text_on, refine
        )
        # together: where a search fails, `last` stays what the one before did
        hits, self.last = await self._answer(asked, self._verifying(barring(self._search), verify))
        return hits

    def _snapshot(self) -> Any:
        """Give what is another object after every change of the rows, where that can be told without asking."""
        return None

    def _state_now(self) -> Any:
        """Give what is another object after each write through this store: samples are drawn anew then."""
        version = self._snapshot()
        return self.written if version is None else version

    def _where(self, where: Any) -> Filter | None:
        return None if where is None else filter_of(where, self.known)

    async def scan(
        self,
        where: Any = None,
        columns: Sequence[str] | None = None,
        batch_size: int = 1000,
        *,
        include_vectors: bool = False,
    ) -> AsyncGenerator[pa.Table, None]:
        """Give the rows that satisfy `where`, batch by batch, as they stood when the scan began."""
        if self.empty:
            return
        names = self.known.select(columns)
        batches = self._scan(self._where(where), names, batch_size, include_vectors=include_vectors)
        async with aclosing(batches) as each:
            # what its reader leaves is closed at once, down to the engine's cursor
            async for batch in each:
                yield batch

    async def count(self, where: Any = None) -> int:
        """Count the rows that satisfy `where`."""
        return 0 if self.empty else await self._count(self._where(where))

    async def build_index(
        self, spec: IndexSpec | str | Mapping[str, Any], field: str | None = None, *, progress: bool | None = None
    ) -> IndexSpec:
        """Build the index of a vector field, in place of the one it has.

        Args:
            spec: an index spec, its name, or a dict.
            field: the vector field, where there are several.
            progress: show a bar; None shows one when there is much to do.

        Returns:
            The spec that was built, every "auto" in it resolved.

        Raises:
            UnsupportedError: an index that the backend has not.
        """
        wanted = as_spec(spec)
        self.supports.check_index(self.name, wanted)
        return await self._build_index(wanted, self.known.vector(field), progress=shown(progress, await self.count()))

    async def _among_ours(self, ids: pd.Index) -> Any:
        if isinstance(ids, pd.MultiIndex):
            raise SchemaError("a load goes on by ids of one column; these have several: load without resume=True")
        found = [
            to_index(one.column(0), one.schema.field(0))
            async for one in self._scan(Ids(tuple(ids)), [], len(ids), include_vectors=False)
        ]
        return ids.isin(found[0].append(found[1:])) if found else np.zeros(len(ids), bool)

    async def indexes(self) -> dict[str, IndexSpec]:
        """Give the index spec of every vector field."""
        return {} if self.empty else await self._indexes()

    @abstractmethod
    async def stats(self) -> pd.Series:
        """Measure the store: rows, bytes in memory and on disk."""

    @abstractmethod
    async def drop(self) -> None:
        """Remove the store and all it holds."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of files and connections; what was written stays."""

    @abstractmethod
    async def _upsert(self, batch: Batch, mode: Mode, *, progress: bool) -> Written: ...

    @abstractmethod
    async def _delete(self, ids: pd.Index | None, where: Filter | None) -> int: ...

    @abstractmethod
    async def _get(self, ids: pd.Index, columns: Sequence[str], *, include_vectors: bool) -> pa.Table: ...

    @abstractmethod
    def _scan(
        self, where: Filter | None, columns: Sequence[str], batch_size: int, *, include_vectors: bool
    ) -> AsyncGenerator[pa.Table, None]: ...

    @abstractmethod
    async def _count(self, where: Filter | None) -> int: ...

    @abstractmethod
    async def _build_index(self, spec: IndexSpec, info: VectorInfo, *, progress: bool) -> IndexSpec: ...

    @abstractmethod
    async def _indexes(self) -> dict[str, IndexSpec]: ...


def _names(infos: Sequence[VectorInfo]) -> set[str]:
    return {info.name for info in infos}
