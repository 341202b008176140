"""Statements that make a table and change it: one typed column for each column of a frame, JSONB for what has none."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa

from dkvector.backends._pg_config import LONGEST
from dkvector.backends._pg_table import CATEGORIES, Table, comment, field_comment
from dkvector.backends._pg_types import sql_type
from dkvector.backends._sql import literal, quoted
from dkvector.errors import SchemaError
from dkvector.ingest import Batch
from dkvector.schema import Schema, VectorInfo

DIMENSIONS = 16_000  # of a vector that pgvector keeps
WORKERS = "max_parallel_maintenance_workers"
SERIAL = 100_000  # rows up to which a key is sorted sooner than workers have started: 6 against 11 ms of 20,000
LISTED = 10_000  # categories that are remembered
# every table has columns of these names already
SYSTEM = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}
TYPES = {"float32": "vector", "float16": "halfvec"}


def check_names(names: Sequence[str]) -> None:
    """Refuse names that the server can't give to a column or a table.

    Raises:
        SchemaError: names them.
    """
    if bad := [name for name in names if not name or "\0" in name or name in SYSTEM]:
        raise SchemaError(f"PostgreSQL can't call anything {bad[:5]}; rename it")
    if long := [name for name in names if len(name.encode()) > LONGEST]:
        raise SchemaError(f"PostgreSQL's names have at most {LONGEST} bytes; rename {long[:5]}")


def check_dimensions(infos: Sequence[VectorInfo]) -> None:
    """Refuse vectors that are too long for the server."""
    for info in infos:
        if info.dimensions > DIMENSIONS:
            raise SchemaError(f"pgvector keeps {DIMENSIONS:,} dimensions, {info.name!r} has {info.dimensions:,}")


def create_table(sql: str, schema: Schema, dtype: str) -> list[str]:
    """Write the statements that make a table for rows of a schema; its primary key comes after the load.

    Args:
        sql: its quoted name.
        schema: of the rows.
        dtype: what vectors are kept as.
    """
    keys = parts(schema.id)
    names = [*(one.name for one in keys), *schema.payload.names, *(info.name for info in schema.vectors)]
    check_names(names)
    check_dimensions(schema.vectors)
    columns = [f"{_typed(one)} NOT NULL" for one in keys]
    columns += [_typed(one) for one in schema.payload if sql_type(one.type) is not None]
    json = free("data", names)
    columns.append(f"{quoted(json)} jsonb")
    columns += [f"{vector_column(info, dtype)} NOT NULL" for info in schema.vectors]
    stamps = [name for name in ("created_at", "updated_at") if name not in names]
    columns += [f"{quoted(name)} timestamp with time zone NOT NULL DEFAULT now()" for name in stamps]
    comments = [f"COMMENT ON TABLE {sql} IS {literal(comment({'made': True}))}"]
    comments += [on_column(sql, one.name, _told(one, 0) | {"id": True}) for one in keys]
    comments += [on_column(sql, info.name, vector_comment(info)) for info in schema.vectors]
    comments += [on_column(sql, name, {"role": name.removesuffix("_at")}) for name in stamps]
    return [f"CREATE TABLE {sql} ({', '.join(columns)})", *comments, *payload_comments(sql, schema.payload, json)]


def add_key(sql: str, id_field: pa.Field, rows: int) -> str:
    """Write the statements that give a filled table its key.

    Args:
        sql: the table.
        id_field: the ids.
        rows: how many are in it.
    """
    keys = ", ".join(quoted(part.name) for part in parts(id_field))
    added = f"ALTER TABLE {sql} ADD PRIMARY KEY ({keys})"
    if rows > SERIAL:
        return added
    return f"SET LOCAL {WORKERS} = 0; {added}; SET LOCAL {WORKERS} TO DEFAULT"


def parts(id_field: pa.Field) -> list[pa.Field]:
    """Give the columns that make up an id."""
    return list(id_field.type) if pa.types.is_struct(id_field.type) else [id_field]


def vector_column(info: VectorInfo, dtype: str) -> str:
    """Write the definition of a vector column."""
    return f"{quoted(info.name)} {TYPES[dtype]}({int(info.dimensions)})"


def _typed(field: pa.Field) -> str:
    kind = sql_type(field.type)
    if kind is None:
        raise SchemaError(f"PostgreSQL has no type for {field.name!r}, which is {field.type}")
    # filters compare by code point: an index of the column only serves them where it is ordered so
    return f"{quoted(field.name)} {kind}{' COLLATE ' + quoted('C') if kind == 'text' else ''}"


def payload_comments(sql: str, payload: pa.Schema, json: str) -> list[str]:
    """Write what the payload columns were, each on its own column, and on the JSONB column what is in it."""
    told = {one.name: _told(one, at + 1) for at, one in enumerate(payload)}
    inside = [told[one.name] | {"name": one.name} for one in payload if sql_type(one.type) is None]
    comments = [on_column(sql, one.name, told[one.name]) for one in payload if sql_type(one.type) is not None]
    return [*comments, on_column(sql, json, {"role": "json", "columns": inside})]


def _told(field: pa.Field, at: int) -> dict[str, Any]:
    metadata = dict(field.metadata or {})
    listed = metadata.pop(CATEGORIES, None)
    told = field_comment(field.with_metadata(metadata), at)
    return told if listed is None else told | {"categories": orjson.loads(listed)}


def vector_comment(info: VectorInfo) -> dict[str, Any]:
    """Tell what the server's type does not: metric, model, version, and which versions there are."""
    told = {name: value for name, value in info.to_dict().items() if name not in {"name", "dimensions", "dtype"}}
    return {name: value for name, value in told.items() if value is not None or name == "turn"}


def on_column(sql: str, column: str, told: dict[str, Any]) -> str:
    """Write a comment on a column."""
    return f"COMMENT ON COLUMN {sql}.{quoted(column)} IS {literal(comment(told))}"


def widen(table: Table, payload: pa.Schema) -> list[str]:
    """Write the statements that give a table of ours the columns it lacks, and what is known of them.

    Raises:
        SchemaError: a table that was there before us.
    """
    there = {one.field.name: one for one in table.columns}
    known = pa.schema([one.field for one in table.columns])
    if payload.equals(known, check_metadata=True):
        return []
    # a column that held nothing but nulls waited in the JSONB column for its type
    new = [one for one in payload if one.name not in there or (there[one.name].type is None and sql_type(one.type))]
    if new and not (table.ours and table.json is not None):
        raise SchemaError(
            f"{table.name!r} has no columns {[one.name for one in new]}, and was there before: add them to it, or "
            "leave them out with columns=[…]"
        )
    if not table.ours or table.json is None:
        return []
    check_names([one.name for one in new])
    typed = [one for one in new if sql_type(one.type) is not None]
    added = [f"ALTER TABLE {table.sql} ADD COLUMN {_typed(one)}" for one in typed]
    return [*added, *payload_comments(table.sql, payload, table.json)]


def with_categories(payload: pa.Schema, batch: Batch) -> pa.Schema:
    """Remember the categories of a batch beside those that are known."""
    given = batch.payload.column_names
    return pa.schema([categories(one, batch.payload[one.name]) if one.name in given else one for one in payload])


def id_categories(field: pa.Field, ids: pa.Array) -> pa.Field:
    """Remember the categories of ids in their field, or in those of their parts."""
    if not pa.types.is_struct(field.type):
        return categories(field, pa.chunked_array([ids]))
    columns = zip(field.type, ids.flatten(), strict=True)
    return field.with_type(pa.struct([categories(part, pa.chunked_array([one])) for part, one in columns]))


def categories(field: pa.Field, values: pa.ChunkedArray) -> pa.Field:
    """Remember the categories of a column in its field, beside those that it knows."""
    if not pa.types.is_dictionary(field.type):
        return field
    column = values.unify_dictionaries()
    listed = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
    before = orjson.loads((field.metadata or {}).get(CATEGORIES, b"[]"))
    every = list(dict.fromkeys([*before, *listed]))
    if len(every) > LISTED or not all(isinstance(one, str | int | bool) for one in every):
        return field
    return field.with_metadata({**(field.metadata or {}), CATEGORIES: orjson.dumps(every)})


def free(name: str, taken: Sequence[str]) -> str:
    """Find a name that is not taken."""
    while name in taken:
        name += "_"
    return name


def fresh(stem: str) -> str:
    """Make a name that nobody has: the stem, cut where it must be, and six random digits."""
    return f"{stem.encode()[: LONGEST - 8].decode(errors='ignore')}_{secrets.token_hex(3)}"
