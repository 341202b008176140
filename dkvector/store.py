"""The one abstraction: a named collection of rows with vectors, in some backend.

`AsyncVectorStore` adds the record-level interface to the primitives, once for all backends.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from operator import itemgetter
from typing import Any

import pandas as pd

from dkvector.counts import as_count
from dkvector.errors import NotFoundError, SchemaError, UnsupportedError
from dkvector.fields import VectorField
from dkvector.indexes import Tuning, as_spec
from dkvector.ingest import Reading
from dkvector.loading import tried
from dkvector.metrics import DistanceMetric
from dkvector.operations import Scored
from dkvector.primitives import Primitives
from dkvector.query import Query, VectorQuery
from dkvector.reasons import Case, WhyNot
from dkvector.records import Record, table_to_records
from dkvector.requests import Search, Written
from dkvector.schema import Schema
from dkvector.streams import batches


class AsyncVectorStore(Primitives):
    """A named collection of rows with vectors, in some backend."""

    _gives_vectors: bool = True  # records come with their vectors; a view may withhold them

    async def engine(self) -> str:
        """Name what searches, with its version: what a measurement belongs to."""
        return self.name

    async def why_not(
        self,
        row: Any,
        query: Any = None,
        k: int = 10,
        *,
        text: Any = None,
        like: Any = None,
        field: str | None = None,
        where: Any = None,
        metric: DistanceMetric | str | None = None,
        tuning: Tuning | Mapping[str, Any] | None = None,
    ) -> WhyNot:
        """Find out why a search does not give a row.

        Args:
            row: the label of the row that was expected.
            query: and all else as `search` takes it; one query only.
            k: neighbours.
            text: instead of a query, a text for the store's encoder.
            like: instead of a query, the label of a row.
            field: the vector field, where there are several.
            where: the filter.
            metric: what to measure by.
            tuning: search-time knobs.

        Returns:
            The reason: it is not stored, or has no vector; which part of the filter it does not satisfy; how far it is
            from the k nearest; or that the index misses it, and with which knobs it does not.

        Raises:
            SchemaError: several queries.
        """
        knobs = self.tuning if tuning is None else tuning
        return await Case(self, row, Search(query, k, text, like, field, where, metric, knobs)).reason()

    async def refresh(self) -> bool:
        """See what others have committed since; a store that keeps no snapshot sees it anyway.

        Returns:
            Whether there was anything new to see.

        Raises:
            SchemaError: a file of the newest commit is damaged: names it; the snapshot stays as it was.
        """
        # which raises where the store was closed
        _ = self.empty
        return False

    async def verify(self, *, progress: bool | None = None) -> pd.DataFrame:  # noqa: ARG002 - for stores with files
        """Compare every file of the newest commit with its checksum; opening reads large ones only in part.

        Args:
            progress: show a bar; None shows one when there is much to read.

        Returns:
            A frame indexed by file: kind, rows, bytes, crc32; all of them whole.

        Raises:
            SchemaError: names every file that is missing or damaged.
            UnsupportedError: the store keeps no files of its own.
        """
        raise UnsupportedError(f"{self.name} keeps no files of its own: there is nothing to verify")

    async def index_vectors(
        self,
        records: Sequence[Record],
        vector_field: str,
        index_params: Mapping[str, Any] | None = None,
    ) -> bool:
        """Write records and make their vectors searchable."""
        if missing := [record.id or record for record in records if vector_field not in record.fields]:
            raise SchemaError(f"no field {vector_field!r} in {missing[:5]} ({len(missing):,} records)")
        await self.upsert(records)
        if index_params is not None:
            await self.build_index(as_spec(index_params), field=vector_field)
        return True

    async def search_similar(
        self,
        query_vector: Any,
        k: int = 10,
        metric: DistanceMetric | str | None = None,
        filter: Any = None,  # noqa: A002 - the interface's own word
    ) -> Scored:
        """Find the k records nearest to one vector, best first."""
        hits = await self.search(query_vector, k, where=filter, metric=metric, include_vectors=self._gives_vectors)
        # the id is the first column, whatever it is called
        records = table_to_records(hits.rows, hits.rows.column_names[0])
        return list(zip(records, hits.scores.tolist(), strict=True))

    async def update_vector(self, id: Any, vector_field: str, new_vector: Any) -> bool:  # noqa: A002
        """Replace one vector of one record; False where there is no such record."""
        record = await self._record(id, include_vectors=True)
        if record is None:
            return False
        info = self.known.vector(vector_field)
        record.fields[info.name] = VectorField(new_vector, info.dimensions)
        return await self.update(id, record)

    async def delete_from_index(self, ids: Sequence[Any]) -> bool:
        """Remove records; True where any of them was there."""
        return await self.delete(ids) > 0

    async def create(self, record: Record) -> Any:
        """Write a new record.

        Returns:
            Its id.

        Raises:
            DuplicateIdError: its id is taken.
        """
        written = await self.upsert([record], mode="insert")
        return written.ids[0]

    async def read(self, id: Any) -> Record | None:  # noqa: A002 - the interface's own word
        """Give a record by its id, vectors included; None where there is none."""
        return await self._record(id, include_vectors=self._gives_vectors)

    async def _record(self, id: Any, *, include_vectors: bool) -> Record | None:  # noqa: A002
        if self.empty:
            return None
        try:
            table = await self.get([id], include_vectors=include_vectors)
        except NotFoundError:
            return None
        return table_to_records(table, table.column_names[0])[0]

    async def update(self, id: Any, record: Record) -> bool:  # noqa: A002 - the interface's own word
        """Replace a record; False where there is none of that id."""
        if await self._record(id, include_vectors=False) is None:
            return False
        # under the id that was asked for, whatever the record says of itself
        await self.upsert([Record(record.fields, id=id, metadata=record.metadata)])
        return True

    async def find(self, query: Query | VectorQuery) -> list[Record]:
        """Answer a record-level query, by similarity where it has a vector.

        Args:
            query: filters, order, limits and fields; or a vector query.

        Returns:
            The records; of a vector query the nearest first, with score and distance in their metadata.

        Raises:
            NotFoundError: fields that there are not.
        """
        if isinstance(query, VectorQuery):
            return await self._similar(query)
        if query.vector_query is None and not query.order:
            return [record async for record in self.stream_read(query)]
        fields = _wanted(query, self.schema)
        if query.vector_query is not None:
            found = await self._similar(query.vector_query)
        else:
            # what is to be sorted has to be read whole
            found = [record async for record in self.stream_read(Query(query.where_filter))]
        return [_only(record, fields) for record in _arranged(found, query)]

    async def _similar(self, query: VectorQuery) -> list[Record]:
        hits = await self.search(
            query.vector,
            query.k,
            field=query.vector_field,
            where=query.filter,
            metric=query.metric,
            include_vectors=self._gives_vectors,
        )
        records = table_to_records(hits.rows, hits.rows.column_names[0])
        if query.include_scores:
            for record, score, distance in zip(records, hits.scores.tolist(), hits.distances.tolist(), strict=True):
                record.metadata |= {"score": score, "distance": distance}
        return records

    async def stream_read(self, query: Query | None = None, batch_size: int = 1000) -> AsyncGenerator[Record, None]:
        """Give the records of a query one by one, holding one batch in memory; all of them where it has an order."""
        asked = query if isinstance(query, Query) else Query()
        if asked.order or asked.vector_query is not None:
            for record in await self.find(asked):
                yield record
            return
        fields, at = _wanted(asked, self.schema), 0
        batches = self.scan(where=query, batch_size=batch_size, include_vectors=self._gives_vectors)
        async with aclosing(batches) as each:
            async for batch in each:
                for record in table_to_records(batch, batch.column_names[0]):
                    if asked.limit_value is not None and at >= asked.offset_value + asked.limit_value:
                        return
                    if at >= asked.offset_value:
                        yield _only(record, fields)
                    at += 1

    async def stream_write(
        self,
        source: Any,
        batch_size: int = 1000,
        *,
        id: str | None = None,  # noqa: A002 - the field's own word
        reading: Reading | None = None,
    ) -> int:
        """Write rows as they come, batch by batch; the source is drawn no further than the batch being written.

        Args:
            source: an iterator, awaited or not, of records, DataFrames, Arrow tables or batches; or an Arrow reader.
            batch_size: rows that are held in memory and written at a time.
            id: the column of the ids, of frames and tables; the index that pandas wrote, or else "id", by default.
            reading: which columns, metric and model.

        Returns:
            How many were written.

        Raises:
            VectorError: vectors that can't be used; the batches before theirs are stored.
            SchemaError: rows that don't fit; likewise.
            PartialWriteError: rows that the engine did not take, after all others were written.
        """
        done, failed = Written(0), dict[Any, str]()
        async with self._while_loading():
            async for rows in batches(source, as_count(batch_size, "batch_size"), id=id):
                written, lost = await tried(self.upsert(rows, reading=reading, progress=False))
                done = done.and_then(written)
                failed |= lost
        if failed:
            raise done.partial(failed)
        return done.inserted + done.replaced


def _wanted(query: Query, known: Schema | None) -> Sequence[str] | None:
    """Check the names of the fields that a query wants; None is all of them."""
    if query.columns is None or known is None:
        return None
    names = [*known.payload.names, *(info.name for info in known.vectors)]
    if absent := [name for name in query.columns if name not in names]:
        raise NotFoundError.of("field", absent[0], names)
    return query.columns


def _only(record: Record, fields: Sequence[str] | None) -> Record:
    """Leave out the fields that are not wanted."""
    if fields is None:
        return record
    return Record({name: record.fields[name] for name in fields if name in record.fields}, record.id, record.metadata)


def _arranged(records: list[Record], query: Query) -> list[Record]:
    """Apply a query's order, offset and limit; records that miss the value come last.

    Raises:
        SchemaError: a column of values that can't be compared, such as structs.
    """
    # sorting keeps the order of equals: the column that counts most comes last
    for column, ascending in reversed(query.order):
        present = [one for one in records if one.get(column) is not None]
        missing = [one for one in records if one.get(column) is None]
        try:
            records = [*sorted(present, key=itemgetter(column), reverse=not ascending), *missing]
        except (TypeError, ValueError) as exc:
            raise SchemaError(f"the values of column {column!r} have no order: sort by another column") from exc
    stop = None if query.limit_value is None else query.offset_value + query.limit_value
    return records[query.offset_value : stop]
