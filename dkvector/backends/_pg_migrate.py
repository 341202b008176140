"""Vector fields for a table that had none: a new column, and its vectors batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dkvector._loop import offload
from dkvector.backends import _pg_ddl
from dkvector.backends._pg_copy import vector_cells
from dkvector.backends._pg_pool import Connections
from dkvector.backends._pg_table import VECTORS, Table
from dkvector.backends._sql import quoted
from dkvector.errors import SchemaError
from dkvector.metrics import Floats
from dkvector.requests import Backfill
from dkvector.schema import VectorInfo


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


def _lacking(table: Table, request: Backfill) -> tuple[str, list[Any]]:
    """Write the condition that a row lacks its vector, and has a text to make it of."""
    statement = table.statement()
    some_text = " OR ".join(f"{table.column(name).select} <> ''" for name in request.text)
    where = f"{quoted(request.info.name)} IS NULL AND ({some_text}) AND {statement.where(request.where)}"
    return where, statement.parameters


async def lacking(connections: Connections, table: Table, request: Backfill) -> int:
    """Count the rows that lack their vector."""
    where, parameters = _lacking(table, request)
    return int((await connections.fetch(f"SELECT count(*) FROM {table.sql} WHERE {where}", *parameters))[0][0])


async def backfill(
    connections: Connections, table: Table, request: Backfill, encode: Callable[[list[str]], Floats], *, bar: int | None
) -> int:
    """Encode and write the rows that lack their vector, each batch in a transaction of its own.

    Args:
        connections: to the server.
        table: the table.
        request: what to fill, of what.
        encode: texts → vectors.
        bar: rows that a bar shows; None for none.

    Returns:
        How many rows were filled.
    """
    from tqdm.auto import tqdm  # noqa: PLC0415 - only where it is shown

    table.writable()
    filled, last = 0, None
    with tqdm(total=bar, desc=f"vectors of {request.info.name}", disable=bar is None, unit="row") as shown:
        while records := await _batch(connections, table, request, last):
            width = len(table.keys)
            made = await offload(encode, [record[width] for record in records])
            filled += await _write(connections, table, request, [record[:width] for record in records], made)
            last = records[-1][:width]
            shown.update(len(records))
    return filled


async def _batch(connections: Connections, table: Table, request: Backfill, last: Any) -> list[Any]:
    """Read the keys and texts of the next rows, in the order of their keys."""
    where, parameters = _lacking(table, request)
    keys = ", ".join(quoted(one.field.name) for one in table.keys)
    after = ""
    if last is not None:
        places = [f"${len(parameters) + at + 1}::{one.type}" for at, one in enumerate(table.keys)]
        after = f" AND ({keys}) > ({', '.join(places)})"
        parameters = [*parameters, *last]
    text = f"concat_ws(E'\\n', {', '.join(table.column(name).select for name in request.text)})"
    sql = f"SELECT {keys}, {text} FROM {table.sql} WHERE {where}{after} ORDER BY {keys} LIMIT {request.batch_size}"
    return await connections.fetch(sql, *parameters)


async def _write(connections: Connections, table: Table, request: Backfill, keys: list[Any], made: Floats) -> int:
    """Write vectors by key; a row that has got one meanwhile keeps it."""
    kind = table.vectors[request.info.name]
    field = quoted(request.info.name)
    cells = vector_cells(made, kind).body
    names = [f"k{at}" for at in range(len(table.keys))]
    lists = [f"${at + 2}::{one.type}[]" for at, one in enumerate(table.keys)]
    same = " AND ".join(f"t.{quoted(one.field.name)} = s.{name}" for one, name in zip(table.keys, names, strict=True))
    source = f"unnest($1::{kind}[], {', '.join(lists)}) AS s(v, {', '.join(names)})"
    stamp = f", {quoted(table.updated)} = now()" if table.updated else ""
    sql = f"UPDATE {table.sql} t SET {field} = s.v{stamp} FROM {source} WHERE {same} AND t.{field} IS NULL"
    columns = [list(one) for one in zip(*keys, strict=True)]
    async with connections.transaction() as connection:
        done = await connection.execute(sql, [row.tobytes() for row in cells], *columns)
    return int(done.split()[-1])
