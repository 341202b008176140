"""What a table is: its columns, key, vectors and indexes, read from the server's catalogue and from our comments.

What the server's types can't tell is kept in comments on the columns, as JSON: the pandas dtype a column came with, its
place in the frame, the metric and model of a vector field. A column without such a comment is read as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dkvector.backends._pg_config import PgConfig
from dkvector.backends._pg_indexes import INDEXES, PgIndex, index_of
from dkvector.backends._pg_types import found_type, sql_type, to_array
from dkvector.backends._sql import SqlColumn, Statement, literal, quoted
from dkvector.errors import NotFoundError, SchemaError
from dkvector.metrics import DistanceMetric
from dkvector.schema import Schema, VectorInfo

_TOLD = {"model", "version", "probes", "of", "turn", "partial"}  # of a vector field, in its comment
OURS = "dkvector"  # the key of our part of a comment
VECTORS = {"vector": "float32", "halfvec": "float16"}

# what others hang on a table, views or foreign keys, depends on it by kind n; its own indexes and defaults do not
RELATION = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text AS kind, obj_description(c.oid, 'pg_class') AS comment,
    pg_has_role(c.relowner, 'USAGE') AS owned, row_security_active(c.oid) AS restricted,
    c.relhastriggers OR c.relrowsecurity OR c.relacl IS NOT NULL OR c.relispartition
    OR EXISTS (SELECT FROM pg_depend d WHERE d.refobjid = c.oid AND d.deptype = 'n') AS bound
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)
"""
# of a partitioned table its partitions hold all
SIZES = """
SELECT sum(pg_table_size(id)), sum(pg_indexes_size(id)), sum(pg_total_relation_size(id))
FROM (SELECT relid FROM pg_partition_tree(to_regclass($1)) UNION SELECT to_regclass($1)) AS o(id)
"""
# datlocprovider is asked for by way of JSON, for servers before 15 have no such column
COLUMNS = """
SELECT a.attnum, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS full_type, t.typname AS type,
    a.atttypmod AS modifier, col_description(a.attrelid, a.attnum) AS comment,
    CASE WHEN l.oid IS NULL THEN true
        WHEN l.collprovider <> 'd' THEN l.collprovider = 'b' OR l.collcollate IN ('C', 'POSIX')
        ELSE (SELECT coalesce(to_jsonb(d) ->> 'datlocprovider' = 'b', false) OR (d.datcollate IN ('C', 'POSIX')
            AND coalesce(to_jsonb(d) ->> 'datlocprovider' = 'c', true))
            FROM pg_database d WHERE d.datname = current_database())
    END AS by_code_point
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


@dataclass(frozen=True)
class Column:
    """A column of rows.

    Args:
        field: its name, Arrow type and the dtype it came with.
        type: the server's type; None where the value is in the JSONB column.
        select: the expression that gives its values.
        test: the same for filters.
        at: its place among the others.
    """

    field: pa.Field
    type: str | None
    select: str
    test: SqlColumn
    at: int = 0


@dataclass(frozen=True)
class Table:
    """A table or view, as it stands.

    Args:
        schema: the schema that it is in.
        name: its name.
        kind: of relation: "r" table, "p" partitioned, "v" view, "m" materialised view, "f" foreign.
        ours: made by this package, which may then change it.
        owned: this user may change it.
        restricted: row-level security applies to this user.
        bound: grants, policies, triggers or views hang on it, so that no other table can take its place.
        keys: the columns that make up the id.
        unique: the server itself keeps the keys unique.
        columns: the payload columns, in order.
        vectors: field → the server's type, "vector" or "halfvec".
        infos: the vector fields.
        json: the column for what has no type of its own.
        updated: the column that tells when a row was written.
        indexes: on vector columns.
    """

    schema: str
    name: str
    kind: str
    ours: bool
    owned: bool
    restricted: bool
    bound: bool
    keys: tuple[Column, ...]
    unique: bool
    columns: tuple[Column, ...]
    vectors: Mapping[str, str]
    infos: tuple[VectorInfo, ...]
    json: str | None = None
    updated: str | None = None
    indexes: tuple[PgIndex, ...] = field(default=())

    @property
    def sql(self) -> str:
        """Its quoted name."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def known(self) -> Schema:
        """What it holds."""
        return Schema(self.id, self.infos, pa.schema([one.field for one in self.columns]))

    @property
    def id(self) -> pa.Field:
        """The id: of several columns a struct, which pandas sees as a MultiIndex."""
        if len(self.keys) == 1:
            return self.keys[0].field
        return pa.field(", ".join(one.field.name for one in self.keys), pa.struct([one.field for one in self.keys]))

    def statement(self) -> Statement:
        """Begin a statement on it."""
        tests = {one.field.name: one.test for one in (*self.columns, *self.keys)}
        return Statement(tests, [one.test for one in self.keys])

    def column(self, name: str) -> Column:
        """Find a column by name."""
        return next(one for one in (*self.columns, *self.keys) if one.field.name == name)

    def writable(self) -> None:
        """Refuse a write that can't tell which row is which.

        Raises:
            SchemaError: a view, or a table without a key.
        """
        if self.kind not in {"r", "p"}:
            raise SchemaError(f"{self.name!r} is a view: rows are written to the table behind it")
        if not self.unique:
            raise SchemaError(f"{self.name!r} has no primary key, so that no row can be replaced: give it one first")


async def read_table(
    connection: Any, config: PgConfig, relation_name: tuple[str | None, str] | None = None
) -> Table | None:
    """Read what a table is; None where there is none.

    Raises:
        SchemaError: nothing tells its rows apart.
    """
    schema, name = relation_name or config.relation
    full = quoted(name) if schema is None else f"{quoted(schema)}.{quoted(name)}"
    relation = await connection.fetchrow(RELATION, full)
    if relation is None:
        return None
    columns = await connection.fetch(COLUMNS, relation["oid"])
    indexes = await connection.fetch(INDEXES, relation["oid"])
    unsized = {}
    for one in columns:
        if one["type"] in VECTORS and one["modifier"] < 0:
            # a column that is plain `vector` does not tell its dimensions: one of its rows does
            sized = (
                f"SELECT vector_dims({quoted(one['name'])}) FROM {full} WHERE {quoted(one['name'])} IS NOT NULL LIMIT 1"
            )
            unsized[one["name"]] = await connection.fetchval(sized)
    return _table(relation, columns, indexes, config, unsized)


def _table(
    relation: Any, columns: Sequence[Any], indexes: Sequence[Any], config: PgConfig, unsized: Mapping[str, int | None]
) -> Table:
    told = {one["name"]: read_comment(one["comment"]) for one in columns}
    found = [index_of(one) for one in indexes]
    vectors = {
        one["name"]: one["type"]
        for one in columns
        if one["type"] in VECTORS and unsized.get(one["name"], 1) is not None
    }
    names, unique = _key_names(relation["relname"], columns, indexes, told, config)
    plain = [one for one in columns if one["type"] not in VECTORS and told[one["name"]].get("role") is None]
    made = {one["name"]: _column(one, told[one["name"]]) for one in plain}
    roles = {told[name]["role"]: name for name in told if "role" in told[name]}
    json = roles.get("json")
    inside = [] if json is None else [_inside(json, one) for one in told[json].get("columns", ())]
    payload = [one for name, one in made.items() if name not in names] + inside
    specs = tuple(one for one in found if one is not None)
    return Table(
        relation["nspname"],
        relation["relname"],
        relation["kind"],
        read_comment(relation["comment"]).get("made", False),
        relation["owned"],
        relation["restricted"],
        relation["bound"],
        tuple(made[name] for name in names),
        unique,
        tuple(sorted(payload, key=lambda one: one.at)),
        vectors,
        tuple(_info(one, told[one["name"]], specs, config, unsized) for one in columns if one["name"] in vectors),
        json,
        roles.get("updated"),
        specs,
    )


def _key_names(
    table: str, columns: Sequence[Any], indexes: Sequence[Any], told: Mapping[str, Any], config: PgConfig
) -> tuple[list[str], bool]:
    """Choose what tells rows apart: the primary key, another unique one, the column that is named, or one called id."""
    unique = [one["columns"] for one in indexes if one["is_key"]]  # the primary key first
    names = [one["name"] for one in columns]
    if config.id is not None:
        if config.id not in names:
            raise NotFoundError.of("column", config.id, names)
        return [config.id], [config.id] in unique
    if unique:
        return list(unique[0]), True
    marked = [name for name in names if told[name].get("id")]
    if marked or "id" in names:
        return marked or ["id"], False
    raise SchemaError(f"{table!r} has no primary key: name the column that tells its rows apart, as in {{'id': …}}")


def _column(row: Any, told: Mapping[str, Any]) -> Column:
    """Read a column: as our comment tells, if that still fits, or as the server's type does."""
    name, at = row["name"], told.get("at", row["attnum"])
    kept = read_field(told.get("field"), name)
    if kept is not None and _same_type(sql_type(kept.type), row["full_type"]):
        field = with_categories(kept, told)
        return Column(field, row["full_type"], quoted(name), _test(quoted(name), field, row), at)
    kind = found_type(row["type"], row["modifier"])
    if kind is None:  # its text says all that there is to say
        field = pa.field(name, pa.float64() if row["type"] == "numeric" else pa.large_string())
        cast = "double precision" if row["type"] == "numeric" else "text"
        sql = f"{quoted(name)}::{cast}"
        return Column(field, row["full_type"], sql, SqlColumn(sql, field.type, cast, row["type"] == "numeric"), at)
    field = pa.field(name, kind)
    return Column(field, row["full_type"], quoted(name), _test(quoted(name), field, row), at)


def _test(sql: str, field: pa.Field, row: Any) -> SqlColumn:
    return SqlColumn(sql, field.type, row["full_type"], row["by_code_point"])


def _same_type(ours: str | None, theirs: str) -> bool:
    return ours is not None and ours.replace(" ", "") == theirs.replace(" ", "")


def _inside(json: str, told: Mapping[str, Any]) -> Column:
    """Describe a column whose values are in the JSONB column."""
    field = read_field(told["field"], told["name"])
    if field is None:
        raise SchemaError(f"the comment on {json!r} is damaged: it does not tell what {told['name']!r} is")
    sql = f"({quoted(json)} -> {literal(told['name'])})"
    return Column(field, None, sql, SqlColumn(sql, field.type, "jsonb"), told["at"])


def _info(
    row: Any, told: Mapping[str, Any], indexes: Sequence[PgIndex], config: PgConfig, unsized: Mapping[str, int | None]
) -> VectorInfo:
    """Describe a vector field: its metric is what our comment says, what its index measures by, or the config."""
    indexed = [one.metric for one in indexes if one.field == row["name"] and one.metric is not None]
    promised = config.promised_metric or DistanceMetric.COSINE
    metric = DistanceMetric(told["metric"]) if "metric" in told else indexed[0] if indexed else promised
    size = row["modifier"] if row["modifier"] > 0 else unsized[row["name"]]
    dtype = VECTORS[row["type"]]
    values = {name: value for name, value in told.items() if name in _TOLD}
    own = {"name": row["name"], "dimensions": int(size or 0), "metric": metric.value, "dtype": dtype}
    return VectorInfo.from_dict(values | own)


def read_comment(comment: str | None) -> dict[str, Any]:
    """Read our part of a comment; nothing where it is somebody's prose."""
    try:
        told = orjson.loads(comment or "{}")
        return dict(told[OURS]) if isinstance(told, dict) and OURS in told else {}
    except ValueError:
        return {}


def comment(told: Mapping[str, Any]) -> str:
    """Write our part of a comment."""
    return orjson.dumps({OURS: told}).decode()


def field_comment(field: pa.Field, at: int) -> dict[str, Any]:
    """Tell what a payload column was: its dtype for people, all of it for us, and its categories."""
    dtype = (field.metadata or {}).get(b"pandas", b"").decode()
    return {"pandas": dtype, "field": _written(field), "at": at}


def _written(field: pa.Field) -> str:
    return base64.b64encode(pa.schema([field]).serialize()).decode()


def read_field(written: str | None, name: str) -> pa.Field | None:
    """Read a field from a comment, under the name that its column has by now."""
    if written is None:
        return None
    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(written))).field(0).with_name(name)
    except (ValueError, pa.ArrowException):
        return None


CATEGORIES = b"dkvector:categories"


def with_categories(field: pa.Field, told: Mapping[str, Any]) -> pa.Field:
    """Remember the categories of a column, as its comment lists them."""
    if "categories" not in told:
        return field
    return field.with_metadata({**(field.metadata or {}), CATEGORIES: orjson.dumps(told["categories"])})


def categorised(values: Sequence[Any], field: pa.Field) -> pa.Array:
    """Turn text into a dictionary array of the categories that its column is known to have, in their order."""
    plain = to_array(values, field.type.value_type)
    listed = (field.metadata or {}).get(CATEGORIES)
    known = pa.array(orjson.loads(listed) if listed else [], field.type.value_type)
    met = pc.unique(plain.drop_null())
    every = pa.concat_arrays([known, met.filter(pc.invert(pc.is_in(met, value_set=known)))])
    indices = pc.index_in(plain, value_set=every).cast(pa.int32())
    return pa.DictionaryArray.from_arrays(indices, every, ordered=field.type.ordered)
