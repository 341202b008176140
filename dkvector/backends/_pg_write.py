"""Writes: binary COPY, in one transaction, so that a reader sees all of a write or nothing.

An empty table is copied into as it is. Rows for a table that has some go to a temporary one first, and from there by
one `INSERT … ON CONFLICT DO UPDATE`. `replace` fills a new table that then takes the other's place, unless grants,
policies or views hang on it: then its rows are swapped within the transaction.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pyarrow as pa
from asyncpg import exceptions as pg

from dkvector._loop import offload
from dkvector.backends import _pg_copy, _pg_ddl
from dkvector.backends._nested import check_json
from dkvector.backends._pg_config import PgConfig
from dkvector.backends._pg_pool import Connections
from dkvector.backends._pg_rows import Wanted
from dkvector.backends._pg_table import Column, Table, read_table
from dkvector.backends._pg_types import to_json
from dkvector.backends._sql import literal, quoted
from dkvector.errors import DuplicateIdError, SchemaError, some
from dkvector.ingest import Batch
from dkvector.requests import Mode, Written
from dkvector.schema import Schema, VectorInfo

CHUNK = 4 << 20  # bytes that are sent at a time
_NAME = r'(?:"(?:[^"]|"")+"|[^\s".]+)'
# a name in quotes may hold any word of the statement
_INDEX = re.compile(rf"(CREATE (?:UNIQUE )?)INDEX {_NAME} ON (?:ONLY )?{_NAME}(?:\.{_NAME})? USING (.*)", re.DOTALL)
INDEX_DEFINITIONS = """
SELECT pg_get_indexdef(i.indexrelid) AS definition, quote_ident(c.relname) AS name,
    obj_description(c.oid, 'pg_class') AS comment
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1::regclass AND NOT i.indisprimary
"""


@dataclass(frozen=True)
class Writer:
    """A write of one batch.

    Args:
        connections: to the server.
        config: of the store.
        batch: the rows.
        mode: what happens with rows of known ids.
        progress: show a bar.
    """

    connections: Connections
    config: PgConfig
    batch: Batch
    mode: Mode
    progress: bool

    async def run(self) -> tuple[Written, Table]:
        """Write, and tell what the table is then."""
        _pg_ddl.check_dimensions(self.batch.schema.vectors)
        await self.connections.create_extension()
        alone = self.mode == "replace"
        while True:
            async with self.connections.transaction() as connection:
                await self._lock(connection, alone=alone)
                table = await read_table(connection, self.config)
                if alone or not self._changes(table):
                    written = await self._write(connection, table)
                    after = await read_table(connection, self.config)
                    break
            alone = True  # it has to be made or changed, which is done by one at a time
        if after is None:  # pragma: no cover - it was written to
            raise AssertionError
        return written, after

    async def _lock(self, connection: Any, *, alone: bool) -> None:
        """Write beside other writers, or wait for them where the table itself is to be changed."""
        shared = "" if alone else "_shared"
        lock = f"SELECT pg_advisory_xact_lock{shared}(hashtextextended($1, 0))"
        await connection.execute(lock, self.config.lock_name)

    def _changes(self, table: Table | None) -> bool:
        return table is None or bool(_pg_ddl.widen(table, self._schema(table).payload))

    def _schema(self, table: Table | None) -> Schema:
        """Give what the table will hold: what it holds, and what the batch adds."""
        schema = self.batch.schema
        schema = replace(schema, id=_pg_ddl.id_categories(schema.id, self.batch.ids))
        if table is not None:
            table.writable()
            schema = table.known.widened(schema)
        return replace(schema, payload=_pg_ddl.with_categories(schema.payload, self.batch))

    async def _write(self, connection: Any, table: Table | None) -> Written:
        if table is None:
            return await self._created(connection, self.config.relation)
        if self.mode == "replace" and table.ours and table.owned and not table.bound:
            return await self._swapped(connection, table)
        for statement in _pg_ddl.widen(table, self._schema(table).payload):
            await connection.execute(statement)
        table = await read_table(connection, self.config) or table
        if self.mode == "replace":
            await connection.execute(f"DELETE FROM {table.sql}")
        # under row-level security a table can look empty that is not
        if not table.restricted and not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table.sql})"):
            with suppress(pg.UniqueViolationError):  # another writer was first
                # within a savepoint: else the error would take the whole transaction with it
                async with connection.transaction():
                    return await self._copied(connection, table, (table.schema, table.name))
        return await self._merged(connection, table)

    async def _created(self, connection: Any, relation: tuple[str | None, str]) -> Written:
        """Make the table, fill it, and only then its key, which is cheaper."""
        sql = ".".join(quoted(part) for part in relation if part is not None)
        schema = self._schema(None)
        # together: each would be a way to the server and back
        await connection.execute("; ".join(_pg_ddl.create_table(sql, schema, self.config.vector.dtype)))
        table = await read_table(connection, replace(self.config, id=None), relation)
        if table is None:
            raise SchemaError(f"{sql} was made, but is not found again")
        written = await self._copied(connection, table, (table.schema, table.name), new=True)
        await connection.execute(_pg_ddl.add_key(sql, schema.id, len(self.batch)))
        return written

    async def _swapped(self, connection: Any, table: Table) -> Written:
        """Fill a new table, give it the other's indexes, and put it in its place."""
        name = _pg_ddl.fresh(table.name)
        definitions = await connection.fetch(INDEX_DEFINITIONS, table.sql)
        written = await self._created(connection, (table.schema, name))
        new = f"{quoted(table.schema)}.{quoted(name)}"
        if {one.field for one in table.indexes} <= {info.name for info in self.batch.schema.vectors}:
            for one in definitions:
                await _copy_index(connection, table, new, one, self.batch.schema.vectors)
        await connection.execute(f"DROP TABLE {table.sql}")
        await connection.execute(f"ALTER TABLE {new} RENAME TO {quoted(table.name)}")
        return written

    async def _merged(self, connection: Any, table: Table) -> Written:
        """Copy to a temporary table, then insert from there."""
        stage = quoted(_pg_ddl.fresh("dkvector"))
        names = ", ".join(quoted(name) for name in self._names(table))
        made = f"CREATE TEMPORARY TABLE {stage} ON COMMIT DROP AS SELECT {names} FROM {table.sql} WITH NO DATA"
        await connection.execute(made)
        # without the quotes, which the driver puts around it itself
        await self._copied(connection, table, (None, stage[1:-1]))
        keys = [quoted(one.field.name) for one in table.keys]
        if self.mode == "insert":
            await self._refuse_known(connection, table, stage, keys)
        sets = [f"{column} = EXCLUDED.{column}" for column in names.split(", ") if column not in keys]
        sets += [f"{quoted(name)} = NULL" for name in self._missing(table)]
        sets += [f"{quoted(table.updated)} = now()"] if table.updated else []
        conflict = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join(sets)}" if self.mode != "insert" else ""
        # in the order of the keys, so that two writers of the same rows wait for each other, and never both; COPY gives
        # an identity the values that it is given, and so does this
        rows = f"OVERRIDING SYSTEM VALUE SELECT {names} FROM {stage} ORDER BY {', '.join(keys)}"
        inserted = await self._inserted(
            connection, table, f"INSERT INTO {table.sql} ({names}) {rows} {conflict}", stage
        )
        batch = self.batch
        return Written(inserted, len(batch) - inserted, batch.dropped, batch.labels)

    async def _inserted(self, connection: Any, table: Table, insert: str, stage: str) -> int:
        """Insert, and count the rows that are new."""
        if table.kind == "p":
            # the server tells no xmax of a partitioned table
            keys = ", ".join(quoted(one.field.name) for one in table.keys)
            known = await connection.fetchval(f"SELECT count(*) FROM {stage} JOIN {table.sql} USING ({keys})")
            await connection.execute(insert)
            return len(self.batch) - int(known)
        # xmax is 0 in a row that is new, and the transaction's number in one that was there
        counted = f"WITH w AS ({insert} RETURNING xmax = 0 AS new) SELECT count(*) FILTER (WHERE new) FROM w"
        return int(await connection.fetchval(counted))

    async def _refuse_known(self, connection: Any, table: Table, stage: str, keys: Sequence[str]) -> None:
        known = f"FROM {stage} JOIN {table.sql} USING ({', '.join(keys)})"
        total = await connection.fetchval(f"SELECT count(*) {known}")
        if total:
            wanted = Wanted(table, (), include_vectors=False)
            found = await connection.fetch(f"SELECT {', '.join(keys)} {known} ORDER BY {', '.join(keys)} LIMIT 6")
            labels = wanted.labels(found, 0).tolist()
            raise DuplicateIdError(f"already in the store: {some(labels, total)}; nothing was written")

    def _names(self, table: Table) -> list[str]:
        """Name the server's columns that the batch fills, in the order in which `_packed` packs them."""
        typed = [one.field.name for one in self._typed(table)]
        return [*typed, *([table.json] if table.json else []), *self.batch.vectors]

    def _typed(self, table: Table) -> list[Column]:
        given = self.batch.payload.column_names
        return [*table.keys, *(one for one in table.columns if one.type is not None and one.field.name in given)]

    def _missing(self, table: Table) -> list[str]:
        """Name the columns of a table of ours that a row which is replaced loses."""
        given = {*self.batch.payload.column_names}
        lost = [one.field.name for one in table.columns if table.ours and one.type and one.field.name not in given]
        return lost + [info.name for info in table.infos if info.name not in self.batch.vectors]

    async def _copied(
        self, connection: Any, table: Table, into: tuple[str | None, str], *, new: bool = False
    ) -> Written:
        """Copy the rows; those of a new table are marked as seen by all, so that nobody has to find that out later."""
        ways = {"schema_name": into[0], "columns": self._names(table), "format": "binary", "freeze": new or None}
        await connection.copy_to_table(into[1], source=self._chunks(table), **ways)
        return Written(len(self.batch), 0, self.batch.dropped, self.batch.labels)

    async def _chunks(self, table: Table) -> AsyncIterator[bytes | memoryview]:
        from tqdm.auto import tqdm  # noqa: PLC0415 - only where it is shown

        width = sum(info.dimensions * 4 for info in self.batch.schema.vectors)
        # 64 bytes of a row are taken to be what is no vector
        size = max(1, CHUNK // (width + 64))
        yield _pg_copy.HEADER
        with tqdm(total=len(self.batch), desc=f"rows to {table.name}", disable=not self.progress, unit="row") as bar:
            for at in range(0, len(self.batch), size):
                yield await offload(self._packed, table, at, at + size)
                bar.update(min(size, len(self.batch) - at))
        yield _pg_copy.TRAILER

    def _packed(self, table: Table, start: int, stop: int) -> memoryview:
        rows = self.batch.payload.slice(start, stop - start)
        ids = self.batch.ids.slice(start, stop - start)
        parts = ids.flatten() if pa.types.is_struct(ids.type) else [ids]
        keys = zip(parts, table.keys, strict=True)
        made = [_pg_copy.cells(part, key.type or "", key.field.name, start) for part, key in keys]
        typed = [(one.field.name, one.type or "") for one in self._typed(table)[len(table.keys) :]]
        made += [_pg_copy.cells(_whole(rows.column(name)), kind, name, start) for name, kind in typed]
        if table.json:
            made.append(_pg_copy.json_cells(self._json(table, rows, self.batch.labels[start:stop])))
        vectors = self.batch.vectors.items()
        made += [_pg_copy.vector_cells(matrix[start:stop], table.vectors[name], start) for name, matrix in vectors]
        return _pg_copy.packed(made, len(ids))

    def _json(self, table: Table, rows: pa.Table, labels: pd.Index) -> list[bytes | None]:
        names = [one.field.name for one in table.columns if one.type is None]
        names = [name for name in names if name in rows.column_names]
        for name in names:
            check_json(name, rows.column(name), labels)
        return to_json(rows.select(names).to_pylist()) if names else [None] * len(labels)


def resized(definition: str, info: VectorInfo) -> str:
    """Give an index on compressed vectors the dimensions that their field has now.

    Example:
        >>> resized("hnsw (((v)::halfvec(384)) halfvec_l2_ops)", VectorInfo("v", 3))
        'hnsw (((v)::halfvec(3)) halfvec_l2_ops)'
    """
    column = re.escape(info.name.replace('"', '""'))
    return re.sub(rf'(\("?{column}"?\)+::(?:halfvec|bit)\()\d+', rf"\g<1>{info.dimensions}", definition)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    made = column.combine_chunks()
    return pa.concat_arrays(made.chunks) if isinstance(made, pa.ChunkedArray) else made


async def _copy_index(connection: Any, table: Table, new: str, index: Any, vectors: Sequence[VectorInfo]) -> None:
    """Give a new table an index as the old one has it, unless a column of it is gone."""
    found = _INDEX.fullmatch(index["definition"])
    if found is None:  # pragma: no cover - the server writes no other
        raise AssertionError(index["definition"])
    start, how = found.groups()
    for info in vectors:
        how = resized(how, info)
    name = _pg_ddl.fresh(table.name)
    with suppress(pg.UndefinedColumnError):
        async with connection.transaction():
            await connection.execute(f"{start}INDEX {quoted(name)} ON {new} USING {how}")
            if index["comment"]:
                schema = quoted(table.schema)
                await connection.execute(f"COMMENT ON INDEX {schema}.{quoted(name)} IS {literal(index['comment'])}")
