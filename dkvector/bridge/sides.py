"""The data side of a bridge: records in any store of ours, or in a database of dataknobs-data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from importlib import import_module
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd

from dkvector._tree import And, Compare, Filter, Ids, IsIn, IsNull
from dkvector.backends._arrow import mask
from dkvector.columns import to_index
from dkvector.errors import MissingExtraError, SchemaError
from dkvector.fields import Field, VectorField
from dkvector.filters import as_filter
from dkvector.query import Operator
from dkvector.records import Record, records_to_table, table_to_records
from dkvector.store import AsyncVectorStore

BATCH = 1000  # records read at a time
VECTORS = "dkvector_vectors"  # of a record's metadata: which of its lists of numbers are vectors
_SIGNS = {"==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class DataSide(ABC):
    """Where the records are: what it says is true, and the vectors follow it."""

    def key(self, id: Any) -> Any:  # noqa: A002 - the interface's own word
        """Give an id as this side has it, which is what the vectors go by too."""
        return id

    @abstractmethod
    async def write(self, record: Record) -> None:
        """Write a record by its id, in place of one that was there."""

    @abstractmethod
    async def read(self, ids: Sequence[Any]) -> dict[Any, Record]:
        """Give records by id; those that are not there are left out."""

    @abstractmethod
    async def delete(self, id: Any) -> bool:  # noqa: A002 - the interface's own word
        """Remove a record; False where there was none."""

    @abstractmethod
    def scan(self, where: Any = None) -> AsyncGenerator[list[Record], None]:
        """Give the records that satisfy a filter, batch by batch."""

    @abstractmethod
    async def ids(self, where: Any) -> list[Any]:
        """Give the ids of the records that satisfy a filter."""

    @abstractmethod
    async def count(self, where: Any) -> int:
        """Count the records that satisfy a filter; where that takes a look at each, it is as dear as `ids`."""

    @abstractmethod
    async def among(self, records: Sequence[Record], where: Any) -> set[Any]:
        """Tell which of some records satisfy a filter, by their ids."""

    @abstractmethod
    def filter(self, where: Any) -> Filter | None:
        """Read a filter as a vector store takes it; None where that can't be said in its words."""


def data_side(backend: Any) -> DataSide:
    """Take any backend as the data side.

    Args:
        backend: an `AsyncVectorStore`, or a database of dataknobs-data: what has its `read`, `upsert`, `delete`,
            `search` and `all`.

    Raises:
        SchemaError: something else.
    """
    if isinstance(backend, DataSide):
        return backend
    if isinstance(backend, AsyncVectorStore):
        return StoreSide(backend)
    needed = ("read", "upsert", "delete", "search", "all")
    if missing := [name for name in needed if not callable(getattr(backend, name, None))]:
        raise SchemaError(
            f"the data backend must be an AsyncVectorStore or an AsyncDatabase of dataknobs-data; "
            f"{type(backend).__name__} has no {', '.join(missing)}"
        )
    return DatabaseSide(backend)


class StoreSide(DataSide):
    """Records in a store of ours, with their vectors."""

    def __init__(self, store: AsyncVectorStore) -> None:
        self.store = store

    async def write(self, record: Record) -> None:
        """Write a record by its id."""
        await self.store.upsert([record])

    async def read(self, ids: Sequence[Any]) -> dict[Any, Record]:
        """Give records by id."""
        if self.store.empty or not len(ids):
            return {}
        return {one.id: one async for batch in self.scan(Ids(tuple(ids))) for one in batch}

    async def delete(self, id: Any) -> bool:  # noqa: A002
        """Remove a record."""
        return await self.store.delete([id]) > 0

    async def scan(self, where: Any = None) -> AsyncGenerator[list[Record], None]:
        """Give the records that satisfy a filter."""
        async with aclosing(self.store.scan(where, batch_size=BATCH, include_vectors=True)) as each:
            async for rows in each:
                yield table_to_records(rows, rows.column_names[0])

    async def ids(self, where: Any) -> list[Any]:
        """Give the ids of the records that satisfy a filter."""
        found: list[Any] = []
        async for rows in self.store.scan(where, [], 1 << 16):
            found += to_index(rows.column(0), rows.schema.field(0)).tolist()
        return found

    async def count(self, where: Any) -> int:
        """Count the records that satisfy a filter."""
        return await self.store.count(where)

    async def among(self, records: Sequence[Record], where: Any) -> set[Any]:
        """Tell which of some records satisfy a filter."""
        named = Ids(tuple(one.id for one in records if one.id is not None))
        wanted = as_filter(where)
        return set(await self.ids(named if wanted is None else named & wanted))

    def filter(self, where: Any) -> Filter | None:
        """Read a filter."""
        return as_filter(where)


class DatabaseSide(DataSide):
    """Records in a database of dataknobs-data, with their vectors as lists of numbers."""

    def __init__(self, database: Any) -> None:
        self.database = database

    def key(self, id: Any) -> str:  # noqa: A002
        """Give an id as text: these databases know no others."""
        return str(id)

    async def write(self, record: Record) -> None:
        """Write a record by its id."""
        values = {name: _plain(field.value) for name, field in record.fields.items()}
        vectors = [name for name, field in record.fields.items() if isinstance(field, VectorField)]
        theirs = _theirs("Record")(values, metadata=record.metadata | {VECTORS: vectors})
        await self.database.upsert(self.key(record.id), theirs)

    async def read(self, ids: Sequence[Any]) -> dict[Any, Record]:
        """Give records by id, one by one: some databases know no other way."""
        found = {one: await self.database.read(self.key(one)) for one in ids}
        return {one: _ours(record, one) for one, record in found.items() if record is not None}

    async def delete(self, id: Any) -> bool:  # noqa: A002
        """Remove a record."""
        return bool(await self.database.delete(self.key(id)))

    async def scan(self, where: Any = None) -> AsyncGenerator[list[Record], None]:
        """Give the records that satisfy a filter: the database looks as far as its words go, and we at the rest."""
        # all at once: their `stream_read` pages past what is deleted meanwhile, which would look orphaned to `repair`,
        # and on PostgreSQL and Elasticsearch passes over all conditions but "="
        if _is_theirs(where):
            yield [_ours(one) for one in await self.database.search(where)]
            return
        wanted = as_filter(where)
        if wanted is None:
            yield [_ours(one) for one in await self.database.all()]
            return
        found = [_ours(one) for one in await self.database.search(_query(wanted))]
        yield _satisfying(found, wanted)

    async def ids(self, where: Any) -> list[Any]:
        """Give the ids of the records that satisfy a filter."""
        return [one.id async for batch in self.scan(where) for one in batch]

    async def count(self, where: Any) -> int:
        """Count the records that satisfy a filter."""
        return len(await self.ids(where))

    async def among(self, records: Sequence[Record], where: Any) -> set[Any]:
        """Tell which of some records satisfy a filter."""
        wanted = self.filter(where)
        if wanted is None:
            return set(await self.ids(where))
        return {one.id for one in _satisfying(list(records), wanted)}

    def filter(self, where: Any) -> Filter | None:
        """Read a filter, also one in the database's own words as far as ours have them."""
        if not _is_theirs(where):
            return as_filter(where)
        # but for like, whose case is each database's own
        known = {one.value for one in Operator} - {"like", "not_like"}
        terms = [(one.field, one.operator.value, one.value) for one in getattr(where, "filters", ())]
        if not hasattr(where, "filters") or any(operator not in known for _, operator, _ in terms):
            return None
        filters = tuple(Operator.of(operator).filter(field, value) for field, operator, value in terms)
        return And(filters) if filters else None


def _theirs(name: str) -> Any:
    try:
        return getattr(import_module("dataknobs_data"), name)
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("dataknobs-data", "dataknobs") from exc


def _is_theirs(where: Any) -> bool:
    # by name, as the package need not be there
    return type(where).__module__.startswith("dataknobs_data")


def _ours(record: Any, id: Any = None) -> Record:  # noqa: A002
    from dkvector.interop._dataknobs_rows import from_dataknobs  # noqa: PLC0415 - an extra

    made = from_dataknobs(record)
    metadata = dict(made.metadata)
    # as we write them; those that others wrote are vectors already
    lists = [name for name in metadata.pop(VECTORS, ()) if made.get(name) is not None]
    vectors = {name: VectorField(np.asarray(made[name], np.float32)) for name in lists}
    return Record({**made.fields, **vectors}, made.id if id is None else id, metadata)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _query(where: Filter) -> Any:
    """Write a query of theirs that finds at least what a filter of ours does: the terms that mean the same in both."""
    made, terms = _theirs("Filter"), where.terms if isinstance(where, And) else (where,)
    operators, found = _theirs("Operator"), []
    for term in terms:
        match term:
            case Compare(name, op, value) if op in {"==", "!="} and isinstance(value, str | int | float):
                found.append(made(name, operators(_SIGNS[op]), value))
            # not texts, whose order is each database's own
            case Compare(name, op, value) if isinstance(value, int | float) and not isinstance(value, bool):
                found.append(made(name, operators(_SIGNS[op]), value))
            case IsIn(name, values, negated=False) if all(isinstance(one, str | int) for one in values):
                found.append(made(name, operators("in"), list(values)))
            case IsNull(name, negated=negated):
                found.append(made(name, operators("exists" if negated else "not_exists")))
    return _theirs("Query")(filters=found)


def _satisfying(records: list[Record], where: Filter) -> list[Record]:
    """Look at every record ourselves: what a filter means is the same on every backend."""
    if not records:
        return []
    missing = [name for name in where.columns() if not any(name in one for one in records)]
    plain = [Record({n: f for n, f in one.fields.items() if not isinstance(f, VectorField)}, one.id) for one in records]
    # one null makes a column of what no record has, which the filter may ask for
    plain[0].fields |= {name: Field(None) for name in missing}
    table = records_to_table(plain, [])
    labels = pd.Index([one.id for one in records])
    kept = mask(where, table.column, len(table), lambda ids: labels.isin(list(ids)))
    return [one for one, keep in zip(records, kept, strict=True) if keep]


def with_id(record: Record, side: DataSide) -> Record:
    """Give a record a name, before it is written anywhere: so a write that failed can be done again."""
    return Record(record.fields, uuid4().hex if record.id is None else side.key(record.id), record.metadata)
