"""Indexes on vector columns: an index spec as the server builds it, and the server's index as a spec."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dkvector.backends._sql import quoted
from dkvector.errors import UnsupportedError
from dkvector.indexes import HNSW, IVF, Auto, Flat, IndexSpec, Quantization, as_bytes
from dkvector.metrics import DistanceMetric
from dkvector.schema import VectorInfo

SMALL = 10_000  # rows at which `Auto` goes over to a graph
NODE = 300  # bytes of a graph's node, beside its vector: links and the server's own
LEAST = 39  # rows that a list holds at least
LIMITS = {None: 2_000, "float16": 4_000, "binary": 64_000}  # dimensions that pgvector indexes
OPERATORS = {DistanceMetric.COSINE: "<=>", DistanceMetric.EUCLIDEAN: "<->", DistanceMetric.DOT_PRODUCT: "<#>"}
_CLASSES = {DistanceMetric.COSINE: "cosine", DistanceMetric.EUCLIDEAN: "l2", DistanceMetric.DOT_PRODUCT: "ip"}
_METRICS = {f"{kind}_{name}_ops": metric for metric, name in _CLASSES.items() for kind in ("vector", "halfvec")}
# the server tells an expression in its own words: casts and parentheses are not always those that it was given
_COLUMN = re.compile(r'^\(*(?:binary_quantize\()?\(*("(?:[^"]|"")+"|\w+)\)*::')

# a key is what ON CONFLICT takes and what tells all rows apart: checked at once, whole, of columns without nulls
INDEXES = """
SELECT i.indexrelid::regclass::text AS sql, c.relname AS name, m.amname AS method, c.reloptions AS options,
    o.opcname AS class, pg_get_expr(i.indexprs, i.indrelid) AS expression,
    i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
        AND NOT EXISTS (SELECT FROM pg_attribute n WHERE n.attrelid = i.indrelid AND n.attnum = ANY(i.indkey)
            AND NOT n.attnotnull) AS is_key,
    i.indpred IS NOT NULL OR NOT i.indisvalid AS partial,
    ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY k(number, at)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.at) AS columns,
    obj_description(i.indexrelid, 'pg_class') AS comment
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
JOIN pg_opclass o ON o.oid = i.indclass[0] WHERE i.indrelid = $1 ORDER BY i.indisprimary DESC, i.indexrelid
"""


@dataclass(frozen=True)
class PgIndex:
    """An index on a vector column.

    Args:
        name: its name.
        sql: the same, quoted.
        field: the vector column.
        spec: what it is.
        metric: what it measures by; None for bits, whose distance is no metric of ours.
        ours: made by this package.
    """

    name: str
    sql: str
    field: str
    spec: HNSW | IVF
    metric: DistanceMetric | None
    ours: bool


def index_of(row: Any) -> PgIndex | None:
    """Read an index from the catalogue; None where it is none of vectors, or not of all of them."""
    if row["method"] not in {"hnsw", "ivfflat"} or row["partial"]:
        return None
    options = dict(one.split("=") for one in row["options"] or ())
    quantization: Any = None
    if row["expression"] is None:
        field = row["columns"][0]
    else:
        match = _COLUMN.match(row["expression"])
        if match is None:
            return None
        field = match[1][1:-1].replace('""', '"') if match[1].startswith('"') else match[1]
        quantization = "binary" if row["class"].startswith("bit") else "float16"
    if row["method"] == "hnsw":
        spec: HNSW | IVF = HNSW(int(options.get("m", 16)), int(options.get("ef_construction", 64)), quantization)
    else:
        spec = IVF(int(options.get("lists", 100)), quantization)
    ours = (row["comment"] or "") == COMMENT
    return PgIndex(row["name"], row["sql"], field, spec, _METRICS.get(row["class"]), ours)


COMMENT = "made by dkvector"


def resolved(spec: IndexSpec, rows: int, info: VectorInfo) -> Flat | HNSW | IVF:
    """Choose what a spec leaves open, and refuse what the server can't index.

    Args:
        spec: what is wanted.
        rows: how many there are.
        info: the vector field.

    Raises:
        UnsupportedError: too many dimensions, or a compression without an index.

    Example:
        >>> resolved(IVF(), 200_000, VectorInfo("v", 384))
        IVF(lists=894, quantization=None)
    """
    if isinstance(spec, Auto):
        spec = Flat() if rows < SMALL else HNSW(quantization=_fitting(spec, rows, info))
    if isinstance(spec, Flat):
        if spec.quantization is not None:
            raise UnsupportedError("pgvector compresses vectors in an HNSW or IVF index, there is none of kind 'flat'")
        return spec
    if spec.quantization == "binary" and info.metric is not DistanceMetric.COSINE:
        raise UnsupportedError(
            f"pgvector's bits keep the direction of a vector and not its length, and {info.name!r} is searched by "
            f"{info.metric.value!r}: quantization='float16' keeps both"
        )
    most = LIMITS[_kept(spec, info)]
    if info.dimensions > most:
        raise UnsupportedError(
            f"pgvector indexes {most:,} dimensions of this kind, {info.name!r} has {info.dimensions:,}: "
            "quantization='float16' takes 4,000, 'binary' 64,000"
        )
    if isinstance(spec, IVF) and spec.lists == "auto":
        return IVF(max(1, min(round(2 * rows**0.5), rows // LEAST)), spec.quantization)
    return spec


def _fitting(spec: Auto, rows: int, info: VectorInfo) -> Quantization | None:
    """Choose the finest compression that the server indexes, and that takes no more than is allowed.

    Raises:
        UnsupportedError: none takes so little.
    """
    most = float("inf") if spec.memory is None else as_bytes(spec.memory)
    finest: tuple[tuple[Quantization | None, float], ...] = ((None, 4), ("float16", 2), ("binary", 1 / 8))
    if info.metric is not DistanceMetric.COSINE:
        finest = finest[:2]
    for kind, width in finest:
        if info.dimensions <= LIMITS[kind] and rows * (info.dimensions * width + NODE) <= most:
            return kind
    raise UnsupportedError(f"no graph of {rows:,} vectors of {info.dimensions:,} dimensions fits in {spec.memory}")


def _kept(spec: HNSW | IVF, info: VectorInfo) -> Any:
    return spec.quantization or ("float16" if info.dtype == "float16" else None)


def indexed(field: str, spec: HNSW | IVF, info: VectorInfo) -> str:
    """Write the expression that an index of this spec is on; a search must order by the same."""
    column = quoted(field)
    match _kept(spec, info):
        case "binary":
            return f"(binary_quantize({column})::bit({info.dimensions}))"
        case "float16" if info.dtype != "float16":
            return f"({column}::halfvec({info.dimensions}))"
    return column


def compared(parameter: str, spec: HNSW | IVF, info: VectorInfo) -> str:
    """Write a query vector as what such an index compares."""
    match _kept(spec, info):
        case "binary":
            return f"binary_quantize({parameter})::bit({info.dimensions})"
        case "float16" if info.dtype != "float16":
            return f"{parameter}::halfvec({info.dimensions})"
    return parameter


def operator(spec: HNSW | IVF | None, metric: DistanceMetric) -> str:
    """Choose the operator that an index answers."""
    return "<~>" if spec is not None and spec.quantization == "binary" else OPERATORS[metric]


def create_index(table: str, name: str, spec: HNSW | IVF, info: VectorInfo) -> str:
    """Write the statement that builds an index."""
    kind = _kept(spec, info)
    family = f"{'halfvec' if kind == 'float16' else 'vector'}_{_CLASSES[info.metric]}_ops"
    options: Mapping[str, Any] = (
        {"m": spec.m, "ef_construction": spec.ef_construction} if isinstance(spec, HNSW) else {"lists": spec.lists}
    )
    knobs = ", ".join(f"{key} = {int(value)}" for key, value in options.items())
    ops = "bit_hamming_ops" if kind == "binary" else family
    method = "hnsw" if isinstance(spec, HNSW) else "ivfflat"
    return (
        f"CREATE INDEX {quoted(name)} ON {table} USING {method} ({indexed(info.name, spec, info)} {ops}) WITH ({knobs})"
    )
