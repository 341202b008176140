"""Loads of more rows than memory holds: batch by batch, resumable by id."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import pandas as pd

from dkvector._loop import offload
from dkvector.counts import as_count
from dkvector.errors import BackendUnavailableError, PartialWriteError, SchemaError
from dkvector.ingest import Reading
from dkvector.operations import VectorOperations
from dkvector.progress import bar
from dkvector.requests import Mode, Written, shown
from dkvector.sources import read_source


class Loading(VectorOperations):
    """Rows out of sources that are larger than memory."""

    written: Written | None = None  # what the last write did

    @property
    @abstractmethod
    def empty(self) -> bool:
        """Whether nothing has been written."""

    @abstractmethod
    async def upsert(
        self, rows: Any, *, mode: Mode = "upsert", reading: Reading | None = None, progress: bool | None = None
    ) -> Written:
        """Write rows."""

    async def load(
        self,
        source: Any,
        *,
        mode: Literal["upsert", "insert"] = "upsert",
        id: str | None = None,  # noqa: A002 - the field's own word
        batch_size: int = 10_000,
        resume: bool = False,
        reading: Reading | None = None,
        progress: bool | None = None,
    ) -> Written:
        """Write rows from a source that may be larger than memory, which holds a few batches of it at a time.

        Args:
            source: a parquet file or a folder of them, a `pyarrow.dataset.Dataset`, an Arrow table or stream, a
                DataFrame, or several of them one after another.
            mode: "upsert" replaces rows of known ids, "insert" refuses them.
            id: the column of the ids; the index that pandas wrote, or else the column "id", by default.
            batch_size: rows that are written at a time.
            resume: leave rows whose ids are in the store as they are: a load that was interrupted goes on.
            reading: which columns, metric and model; what to do with bad rows.
            progress: show a bar; None shows one when there is much to do.

        Returns:
            How many rows were new, replaced, skipped and left out.

        Raises:
            VectorError: vectors that can't be used; the batches before theirs are stored.
            DuplicateIdError: ids known to an "insert", or twice in a batch; likewise.
            SchemaError: a source that can't be read, or rows that don't fit; likewise.
            PartialWriteError: rows that the engine did not take, after all others were written.

        Example:
            >>> import asyncio
            >>> from dkvector.backends.exact import ExactStore
            >>> rows = pd.DataFrame({"id": range(5), "v": [[1.0, float(n)] for n in range(5)]})
            >>> async def loaded() -> list[Written]:
            ...     store = await ExactStore.open({})
            ...     first = await store.load(rows.head(3), id="id")
            ...     return [first, await store.load(rows, id="id", batch_size=2, resume=True)]
            >>> [(one.inserted, one.skipped) for one in asyncio.run(loaded())]
            [(3, 0), (2, 3)]
        """
        if mode not in {"upsert", "insert"}:
            raise SchemaError(f"a load is an upsert or an insert, not {mode!r}; drop() the store to begin anew")
        parts = await offload(read_source, source, as_count(batch_size, "batch_size"), id=id)
        self.written = done = Written(0)
        failed: dict[Any, str] = {}
        show = shown(progress, parts.total or 0)
        with bar(parts.total, "loading", unit="rows", show=show) as count:
            async with self._while_loading():
                # reading and decoding take their time, in which the loop serves others
                while (frame := await offload(next, parts.frames, None)) is not None:
                    written, error = await self._part(frame, mode, reading, resume=resume)
                    self.written = done = done.and_then(written)
                    if error is not None:
                        failed |= error.failed
                        # an engine that is gone will not take the next batch either
                        if isinstance(error.__cause__, BackendUnavailableError):
                            raise done.partial(failed) from error.__cause__
                    count(len(frame))
        if failed:
            raise done.partial(failed)
        return done

    async def _part(
        self, frame: pd.DataFrame, mode: Mode, reading: Reading | None, *, resume: bool
    ) -> tuple[Written, PartialWriteError | None]:
        skipped = 0
        if resume and not self.empty:
            there = await self._among_ours(frame.index)
            skipped = int(there.sum())
            frame = frame[~there]
        if not len(frame):
            return Written(0, skipped=skipped), None
        written, error = await _partly(self.upsert(frame, mode=mode, reading=reading, progress=False))
        return replace(written, skipped=skipped), error

    @abstractmethod
    async def _among_ours(self, ids: pd.Index) -> Any:
        """Tell of each id whether the store has it, `(n,)` booleans."""

    @asynccontextmanager
    async def _while_loading(self) -> AsyncIterator[None]:
        """Do what a backend does around many writes."""
        yield


async def tried(write: Awaitable[Written]) -> tuple[Written, dict[Any, str]]:
    """Await one of several writes, the others of which go on where the engine does not take some rows.

    Returns:
        What was written, and the rows that were not: id → reason.

    Raises:
        PartialWriteError: the engine is gone, and will not take the next rows either.
    """
    written, error = await _partly(write)
    if error is None:
        return written, {}
    if isinstance(error.__cause__, BackendUnavailableError):
        raise error
    return written, error.failed


async def _partly(write: Awaitable[Written]) -> tuple[Written, PartialWriteError | None]:
    """Await a write, and give what it wrote beside the error that it ended with."""
    try:
        return await write, None
    except PartialWriteError as exc:
        # the error does not tell which of the rows replaced others
        return Written(exc.stored, dropped=exc.dropped), exc
