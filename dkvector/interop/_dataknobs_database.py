"""The part of dataknobs' `AsyncDatabase` that asks for no vectors, over a store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from operator import itemgetter
from typing import Any, Literal

import numpy as np

from dkvector.errors import SchemaError, UnsupportedError
from dkvector.filters import Ids
from dkvector.ingest import Reading
from dkvector.interop._dataknobs_query import Reader, leaves
from dkvector.interop._dataknobs_rows import back, row, vector_fields
from dkvector.interop._documents import keys
from dkvector.interop._extra import needs
from dkvector.metrics import DistanceMetric
from dkvector.query import Query
from dkvector.records import ID, Record
from dkvector.store import AsyncVectorStore
from dkvector.vector_info import VectorInfo

with needs("dataknobs-data", "dataknobs"):
    from dataknobs_data import AsyncDatabase, ComplexQuery
    from dataknobs_data import Query as TheirQuery
    from dataknobs_data import Record as TheirRecord
    from dataknobs_data import VectorField as TheirVector
    from dataknobs_data.query import VectorQuery as TheirVectorQuery
    from dataknobs_data.schema import DatabaseSchema
    from dataknobs_data.streaming import AsyncStreamingMixin, StreamConfig, StreamResult

Asked = TheirQuery | ComplexQuery


# what every database of theirs can do from 0.11 on, said under this name
_CONDITIONAL = "conditional_write"


class RecordDatabase(AsyncDatabase, AsyncStreamingMixin):
    """Records of a store, as dataknobs reads and writes them."""

    SUPPORTED_CAPABILITIES = frozenset(
        one for one in getattr(AsyncDatabase, "SUPPORTED_CAPABILITIES", ()) if one != _CONDITIONAL
    )

    def __init__(self, store: AsyncVectorStore, schema: DatabaseSchema | None = None) -> None:
        super().__init__({}, schema)
        self.store = store

    def _key(self, id: str) -> Any:  # noqa: A002 - the interface's own word
        return id if self.store.empty else keys(self.store.schema, [id]).to_pylist()[0]

    def _back(self, record: Record) -> TheirRecord:
        infos = self.store.known.vectors
        return back(record, {one.name: {"name": one.model, "version": one.version} for one in infos if one.model})

    async def _reader(self, query: Asked | None) -> Reader:
        """Get what conditions by regular expression look at, and read the query."""
        known, values = self.store.known, dict[str, set[Any]]()
        asked = {one.field for one in leaves(query) if one.operator.value == "regex"} & {*known.payload.names}
        for name in asked:
            values[name] = {
                one async for part in self.store.scan(columns=[name]) for one in part.column(name).to_pylist()
            }
        return Reader(known, values)

    async def _where(self, query: Asked | None) -> Any:
        return None if query is None else (await self._reader(query)).where(query)

    async def create(self, record: TheirRecord) -> str:
        """Write a new record, and give its id; one that is taken is refused."""
        return (await self.create_batch([record]))[0]

    async def create_batch(self, records: list[TheirRecord], *, _tx: Any = None) -> list[str]:
        """Write new records, all of them or none, and give their ids."""
        return await self._write(records, "insert")

    async def upsert_batch(self, records: list[TheirRecord], *, _tx: Any = None) -> list[str]:
        """Write records whether their ids are known or not, together; of several with one id the last counts."""
        keys = [at if one.id is None else str(one.id) for at, one in enumerate(records)]
        last = dict(zip(keys, records, strict=True))
        ids = dict(zip(last, await self._write([*last.values()], "upsert"), strict=True))
        return [ids[key] for key in keys]

    async def _write(self, records: Sequence[TheirRecord], mode: Literal["insert", "upsert"]) -> list[str]:
        if not records:
            return []
        rows = [row(one) for one in records]
        made = [Record(one.fields, one.id if one.id is None else self._key(str(one.id))) for one in rows]
        written = await self.store.upsert(made, mode=mode, reading=self._reading(records))
        return [str(one) for one in written.ids]

    def _reading(self, records: Sequence[TheirRecord]) -> Reading:
        """Tell which fields are vectors, and of each the model that made it, where that is known."""
        known = () if self.store.empty else self.store.known.vectors
        metrics = {info.name: info.metric for info in known}
        infos = tuple(
            VectorInfo(name, size, metrics.get(name, self.store.metric or DistanceMetric.COSINE), "float32", *made)
            for name, (size, made) in _models(records).items()
        )
        return Reading(vector_fields(records) or None, infos=infos)

    async def upsert(
        self,
        id_or_record: str | TheirRecord,
        record: TheirRecord | None = None,
        *,
        expected_version: str | None = None,
    ) -> str:
        """Write a record whether its id is known or not: `upsert(id, record)` or `upsert(record)`."""
        _check_unconditional(expected_version)
        if isinstance(id_or_record, str):
            if record is None:
                raise ValueError("upsert(id, record) takes a record")
            # the caller's record keeps the id it has
            record = record.copy(deep=True)
            record.storage_id = id_or_record
        else:
            record = id_or_record
        return (await self._write([record], "upsert"))[0]

    async def update(self, id: str, record: TheirRecord, *, expected_version: str | None = None) -> bool:  # noqa: A002 - the interface's own word
        """Replace a record; False where there is none of that id."""
        _check_unconditional(expected_version)
        there = await self.exists(id)
        if there:
            await self.upsert(id, record)
        return there

    async def read(self, id: str) -> TheirRecord | None:  # noqa: A002 - the interface's own word
        """Give a record; None where there is none of that id."""
        return (await self.read_batch([id]))[0]

    async def read_batch(self, ids: list[str]) -> list[TheirRecord | None]:
        """Give records in the order of the ids; None where there is none."""
        found = {one.id: one async for one in self._scanned(self._ids(ids), len(ids))} if ids else {}
        return [found.get(one) for one in ids]

    def _ids(self, ids: Sequence[str]) -> Ids:
        return Ids(tuple(self._key(one) for one in ids))

    async def exists(self, id: str) -> bool:  # noqa: A002 - the interface's own word
        """Tell whether there is a record of that id."""
        return await self.store.count(self._ids([id])) > 0

    async def delete(self, id: str, *, expected_version: str | None = None) -> bool:  # noqa: A002 - the interface's own word
        """Delete a record; False where there is none of that id."""
        _check_unconditional(expected_version)
        return (await self.delete_batch([id]))[0]

    async def delete_batch(self, ids: list[str], *, _tx: Any = None) -> list[bool]:
        """Delete records, and tell of each whether it was there."""
        there = [one is not None for one in await self.read_batch(ids)]
        if any(there):
            await self.store.delete([self._key(one) for one in ids])
        return there

    async def clear(self) -> int:
        """Delete all records, and tell how many there were."""
        count = await self._count_all()
        if not self.store.empty:
            await self.store.drop()
        return count

    async def _count_all(self) -> int:
        return await self.store.count()

    async def count(self, query: Asked | None = None) -> int:
        """Count the records that a query gives."""
        if query is None or self.store.empty:
            return await self._count_all()
        if query.vector_query is not None or query.limit_value is not None or query.offset_value:
            return len(await self.search(query))
        return await self.store.count(await self._where(query))

    async def close(self) -> None:
        """Close the store."""
        await self.store.aclose()

    async def search(self, query: Asked) -> list[TheirRecord]:
        """Give the records of a query: by conditions alone, or the nearest of those that satisfy them.

        Args:
            query: simple or complex. Records that lack what they are sorted by come last.

        Raises:
            UnsupportedError: a metric that the field is not searched by; conditions on what is inside of JSON.
            FilterError: values that don't go with a field's type or the operator.
        """
        if self.store.empty:
            return []
        wanted = query.limit_value
        stop = None if wanted is None else wanted + (query.offset_value or 0)
        if query.vector_query is not None:
            found = await self._nearest(query.vector_query, query)
        else:
            # what is to be sorted has to be read whole
            every = None if query.sort_specs else stop
            found = [one async for one in self._scanned(await self._where(query), 1000, every)]
        found = _sorted(found, query)[query.offset_value or 0 : stop]
        return [one.project(query.fields) for one in found] if query.fields else found

    async def _nearest(self, asked: TheirVectorQuery, query: Asked) -> list[TheirRecord]:
        """Give the records nearest to a vector, of those that satisfy a query."""
        raise NotImplementedError

    async def _scanned(self, where: Any, batch_size: int, stop: int | None = None) -> AsyncGenerator[TheirRecord, None]:
        """Give records as they come, at most so many."""
        given = 0
        # left before its end where only so many are wanted: then its cursor is let go
        async with aclosing(self.store.stream_read(Query(where), batch_size)) as each:
            async for record in each:
                if given == stop:
                    return
                given += 1
                yield self._back(record)

    async def stream_read(  # type: ignore[override, misc]  # an async generator, as theirs are, which say "async def" too
        self, query: Asked | None = None, config: StreamConfig | None = None
    ) -> AsyncIterator[TheirRecord]:
        """Give the records of a query one by one, holding one batch of them where it is conditions alone."""
        arranged = query is not None and (query.sort_specs or query.vector_query or query.limit_value is not None)
        if query is not None and (arranged or query.offset_value or query.fields):
            for record in await self.search(query):
                yield record
        elif not self.store.empty:
            size = (config or StreamConfig()).batch_size
            async with aclosing(self._scanned(await self._where(query), size)) as each:
                async for record in each:
                    yield record

    async def stream_write(
        self, records: AsyncIterator[TheirRecord], config: StreamConfig | None = None
    ) -> StreamResult:
        """Write new records batch by batch; of a batch that is refused, each record by itself."""
        return await self._default_stream_write(records, config)


def _models(records: Sequence[TheirRecord]) -> dict[str, tuple[int, tuple[str, str | None]]]:
    """Tell of each field whose model is named how long its vectors are, the model, and its version.

    Raises:
        SchemaError: vectors of several models in one field.
    """
    sizes: dict[str, int] = {}
    models: dict[str, set[tuple[str, str | None]]] = {}
    for record in records:
        for name, field in record.fields.items():
            if isinstance(field, TheirVector) and field.model_name:
                sizes[name] = np.size(field.value)
                models.setdefault(name, set()).add((field.model_name, field.model_version))
    if mixed := [name for name, one in models.items() if len(one) > 1]:
        raise SchemaError(f"vectors of several models in one field: {mixed}")
    return {name: (sizes[name], one.pop()) for name, one in models.items()}


def _sorted(records: list[TheirRecord], query: Asked) -> list[TheirRecord]:
    """Sort by the fields of a query; records that lack one come last."""
    # the first field last: sorting is stable
    for spec in reversed(query.sort_specs):
        values = [(record.id if spec.field == ID else record.get_value(spec.field), record) for record in records]
        present = [one for one in values if one[0] is not None]
        present.sort(key=itemgetter(0), reverse=spec.order.value == "desc")
        records = [record for _, record in present] + [record for value, record in values if value is None]
    return records


def _check_unconditional(version: str | None) -> None:
    if version is not None:
        raise UnsupportedError(
            "a store can't write on condition that a record is as it was read, so another's change could be lost: "
            "leave expected_version out"
        )
