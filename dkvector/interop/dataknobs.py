"""dataknobs both ways: records, its databases written into a store, and a store where it takes a database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import chain, islice
from os import PathLike
from typing import Any, Literal

from dkvector._loop import LOOP
from dkvector.blocking import VectorStore
from dkvector.errors import BackendUnavailableError, PartialWriteError
from dkvector.indexes import IndexSpec
from dkvector.ingest import OnBad, Reading
from dkvector.interop._dataknobs_database import Asked
from dkvector.interop._dataknobs_rows import as_table, from_dataknobs, taken, to_dataknobs, vector_fields
from dkvector.interop._dataknobs_vectors import StoreDatabase
from dkvector.interop._extra import needs
from dkvector.metrics import DistanceMetric
from dkvector.pushing import push
from dkvector.records import ID
from dkvector.registry import Target
from dkvector.requests import Written
from dkvector.store import AsyncVectorStore

with needs("dataknobs-data", "dataknobs"):
    from dataknobs_data import AsyncDatabase
    from dataknobs_data import Record as TheirRecord

__all__ = ["StoreDatabase", "from_dataknobs", "push_database", "to_dataknobs", "write_database"]


async def write_database(
    database: AsyncDatabase,
    store: AsyncVectorStore,
    *,
    query: Asked | None = None,
    batch_size: int = 1000,
    resume: bool = False,
    reading: Reading | None = None,
) -> Written:
    """Write the records of a database to a store, one batch of them in memory; those of a query all at once.

    Lists and dicts go to a column "name{}" as JSON, a record's metadata to "_metadata"; what is None counts as missing.

    Args:
        database: whatever has `stream_read`, and for a query `search`.
        store: where to.
        query: which records; all by default.
        batch_size: records at a time.
        resume: leave records whose ids are in the store as they are: what was interrupted goes on.
        reading: which vectors, metric and model; what to do with records whose vectors are missing or bad.

    Returns:
        How many records were new, replaced, skipped and left out.

    Raises:
        VectorError: vectors that are missing or can't be used; the batches before theirs are stored.
        SchemaError: records that don't fit; likewise.
        PartialWriteError: records that the engine did not take, after all others were written.
    """
    done, failed = Written(0), dict[Any, str]()
    # what an error leaves in the middle is closed at once, down to the database's cursor
    async with aclosing(_stream(database, query)) as records:
        while some := await taken(records, batch_size):
            # a store that is there knows which of its columns are vectors
            how = _told(reading or Reading(), some) if store.empty else reading
            try:
                await store.load(as_table(some), id=ID, batch_size=batch_size, resume=resume, reading=how)
            except PartialWriteError as exc:
                # an engine that is gone will not take the next batch either
                if isinstance(exc.__cause__, BackendUnavailableError):
                    raise
                failed |= exc.failed
            store.written = done = done.and_then(store.written or Written(0))
    if failed:
        raise done.partial(failed)
    return done


def push_database(
    database: Any,
    target: Target = "faiss",
    *,
    query: Asked | None = None,
    path: str | PathLike[str] | None = None,
    table: str | None = None,
    index: IndexSpec | str | None = None,
    on: str | Sequence[str] | None = None,
    metric: DistanceMetric | str | None = None,
    mode: Literal["upsert", "insert"] = "upsert",
    on_bad: OnBad = "raise",
    model: str | None = None,
    version: str | None = None,
    encoder: Any = None,
    batch_size: int = 1000,
    resume: bool = False,
    progress: bool | None = None,
) -> VectorStore:
    """Write the records of a database to a store, the blocking way; see `write_database` for the columns.

    Args:
        database: a `SyncDatabase`, or an `AsyncDatabase` that is bound to no other event loop, as one with connections
            to a server is: for that there is `await write_database(…)`.
        target: as all that follows but `query`, what `dkv.push` takes.
        query: which records; all by default.
        path: the folder of an embedded store.
        table: the table of a database, or the index of a search engine.
        index: an index to build.
        on: the vector fields; all by default.
        metric: what the store will measure by.
        mode: "upsert" replaces records of known ids, "insert" refuses them.
        on_bad: "drop" leaves out the records whose vectors are missing or can't be used.
        model: the model that made the vectors.
        version: its version.
        encoder: embeds the texts of the store's ``search(text=…)``.
        batch_size: records at a time.
        resume: leave records whose ids are in the store as they are.
        progress: show bars.

    Returns:
        The store, open.

    Raises:
        VectorError: vectors that are missing or can't be used; the batches before theirs are stored.
        SchemaError: records that don't fit; likewise.
    """
    parts = _parts(database, query, batch_size)
    # the first records tell which fields are vectors
    first = next(parts, [])
    return push(
        map(as_table, chain([first] if first else [], parts)),
        target,
        path=path,
        table=table,
        index=index,
        id=ID,
        on=on or vector_fields(first) or None,
        metric=metric,
        mode=mode,
        on_bad=on_bad,
        model=model,
        version=version,
        encoder=encoder,
        batch_size=batch_size,
        resume=resume,
        progress=progress,
    )


async def _stream(database: Any, query: Asked | None) -> AsyncGenerator[TheirRecord, None]:
    """Give records one by one."""
    if query is not None:
        # dataknobs' streams pass over limits and orders, and that of PostgreSQL over all conditions but "="
        for one in await database.search(query):
            yield one
        return
    # dataknobs' types say that this be awaited, which it must not
    async with aclosing(database.stream_read()) as each:
        async for one in each:
            yield one


def _told(reading: Reading, records: Sequence[TheirRecord]) -> Reading:
    return reading if reading.vectors else replace(reading, vectors=vector_fields(records) or None)


def _parts(database: Any, query: Asked | None, rows: int) -> Iterator[list[TheirRecord]]:
    """Give records a batch at a time, of a database of either kind."""
    if not isinstance(database, AsyncDatabase):
        records = iter(database.stream_read() if query is None else database.search(query))
        while some := list(islice(records, rows)):
            yield some
        return
    stream = _stream(database, query)
    try:
        while some := LOOP.run(taken(stream, rows)):
            yield some
    finally:
        LOOP.run(stream.aclose())
