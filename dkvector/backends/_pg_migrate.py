"""Vector fields for a table that had none: a new column, its vectors page by page, what is known of it, its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pandas as pd

from dkvector.backends import _pg_ddl
from dkvector.backends._pg_config import PgConfig
from dkvector.backends._pg_copy import vector_cells
from dkvector.backends._pg_pool import Connections
from dkvector.backends._pg_table import VECTORS, Table, read_table
from dkvector.backends._sql import quoted
from dkvector.errors import SchemaError
from dkvector.filling import Backfill, Page
from dkvector.metrics import Floats
from dkvector.migration import Infos
from dkvector.schema import VectorInfo
from dkvector.versions import check_whole


async def add_vector_field(connections: Connections, table: Table, info: VectorInfo) -> None:
    """Add a column for vectors; adding one that is empty rewrites no row."""
    table.writable()
    if info.dtype not in VECTORS.values():
        raise SchemaError(f"vectors are kept as float32 or float16, not as {info.dtype!r}")
    _pg_ddl.check_names([info.name])
    _pg_ddl.check_dimensions([info])
    async with connections.transaction() as connection:
        await connection.execute(f"ALTER TABLE {table.sql} ADD COLUMN {_pg_ddl.vector_column(info, info.dtype)}")
        await connection.execute(_pg_ddl.on_column(table.sql, info.name, _pg_ddl.vector_comment(info)))


async def drop_vector_fields(connections: Connections, table: Table, names: Sequence[str]) -> None:
    """Drop columns, and the indexes on them."""
    table.writable()
    gone = ", ".join(f"DROP COLUMN {quoted(name)}" for name in names)
    async with connections.transaction() as connection:
        await connection.execute(f"ALTER TABLE {table.sql} {gone}")


async def redescribe(
    connections: Connections, config: PgConfig, change: Callable[[Infos], Infos], whole: str | None
) -> None:
    """Change what is known of the vector columns, one after another who does: see `Migration._redescribe`."""
    async with connections.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", config.lock_name)
        # anew, under the lock: what another has described meanwhile is kept
        table = await read_table(connection, config)
        if table is None:
            raise SchemaError(f"the table {config.table!r} is no longer there")
        if whole is not None:
            # no row comes in that lacks it, before the others know
            await connection.execute(f"LOCK TABLE {table.sql} IN SHARE ROW EXCLUSIVE MODE")
            check_whole(whole, await connection.fetchval(_lacking_one(table, whole)))
        for before, after in zip(table.infos, change(table.infos), strict=True):
            if _pg_ddl.vector_comment(before) != _pg_ddl.vector_comment(after):
                comment = _pg_ddl.on_column(table.sql, after.name, _pg_ddl.vector_comment(after))
                await connection.execute(comment)
            if after.partial and not before.partial:
                await connection.execute(f"ALTER TABLE {table.sql} ALTER COLUMN {quoted(after.name)} DROP NOT NULL")


def _lacking_one(table: Table, name: str) -> str:
    return f"SELECT count(*) FROM {table.sql} WHERE {quoted(name)} IS NULL"


async def count_lacking(connections: Connections, table: Table, name: str) -> int:
    """Count the rows that lack a vector."""
    return int((await connections.fetch(_lacking_one(table, name)))[0][0])


async def lacking(connections: Connections, table: Table, request: Backfill) -> AsyncIterator[Page]:
    """Give the rows that lack their vector and have a text to make it of, in the order of their keys."""
    table.writable()
    width, last = len(table.keys), None
    while records := await _batch(connections, table, request, last):
        keys = [record[:width] for record in records]
        yield Page(pd.RangeIndex(len(keys)), [record[width] for record in records], keys)
        last = keys[-1]


async def _batch(connections: Connections, table: Table, request: Backfill, last: Any) -> list[Any]:
    """Read the keys and texts of the next rows."""
    statement = table.statement()
    some_text = " OR ".join(f"{table.column(name).select} <> ''" for name in request.text)
    where = f"{quoted(request.info.name)} IS NULL AND ({some_text}) AND {statement.where(request.where)}"
    parameters, after = statement.parameters, ""
    keys = ", ".join(quoted(one.field.name) for one in table.keys)
    if last is not None:
        places = [f"${len(parameters) + at + 1}::{one.type}" for at, one in enumerate(table.keys)]
        # behind the last key, not by an offset: rows that were filled meanwhile are no longer among them
        after = f" AND ({keys}) > ({', '.join(places)})"
        parameters = [*parameters, *last]
    text = _joined(table, request)
    sql = f"SELECT {keys}, {text} FROM {table.sql} WHERE {where}{after} ORDER BY {keys} LIMIT {request.batch_size}"
    return await connections.fetch(sql, *parameters)


def _joined(table: Table, request: Backfill) -> str:
    """Write the expression for the text of a row."""
    return f"concat_ws(E'\\n', {', '.join(table.column(name).select for name in request.text)})"


async def fill(connections: Connections, table: Table, request: Backfill, page: Page, made: Floats) -> int:
    """Write vectors by key, in a transaction; a row that has one by now, or another text, keeps what it has."""
    kind, field = table.vectors[request.info.name], quoted(request.info.name)
    taken = [one.field.name for one in (*table.keys, *table.columns)]
    vector, text, *names = [quoted(_pg_ddl.free(name, taken)) for name in ("vector", "text", *_numbered(table))]
    lists = [f"${at + 3}::{one.type}[]" for at, one in enumerate(table.keys)]
    same = " AND ".join(f"t.{quoted(one.field.name)} = s.{name}" for one, name in zip(table.keys, names, strict=True))
    source = f"unnest($1::{kind}[], $2::text[], {', '.join(lists)}) AS s({', '.join([vector, text, *names])})"
    stamp = f", {quoted(table.updated)} = now()" if table.updated else ""
    still = f"{same} AND t.{field} IS NULL AND {_joined(table, request)} = s.{text}"
    sql = f"UPDATE {table.sql} t SET {field} = s.{vector}{stamp} FROM {source} WHERE {still}"
    cells = [row.tobytes() for row in vector_cells(made, kind).body]
    columns = [list(one) for one in zip(*page.token, strict=True)]
    async with connections.transaction() as connection:
        done = await connection.execute(sql, cells, list(page.texts), *columns)
    return int(done.split()[-1])


def _numbered(table: Table) -> list[str]:
    return [f"k{at}" for at in range(len(table.keys))]
