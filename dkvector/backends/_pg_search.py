"""Searches: a plan as SQL, many queries over the pool beside each other, records as hits.

The search-time settings are made by the statement itself, for itself (`set_config(…, true)` is `SET LOCAL`): the
server evaluates them before the scan begins, and a search is one round trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dkvector.backends._pg_copy import halved
from dkvector.backends._pg_indexes import compared, indexed, operator
from dkvector.backends._pg_plan import Plan
from dkvector.backends._pg_rows import Records, Wanted
from dkvector.backends._pg_table import Table
from dkvector.backends._sql import literal, quoted
from dkvector.metrics import DistanceMetric, Floats
from dkvector.requests import Request
from dkvector.results import Hits, TableSource

QUERY = quoted("dkvector query")  # a name that no table of anybody has
TOGETHER = 32  # queries of one statement
FORCE = "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off"


@dataclass(frozen=True)
class Search:
    """A search as SQL.

    Args:
        request: what is asked.
        table: where.
        plan: how.
        wanted: what is given of each hit.
        sql: the statement; `$1` is an array of query vectors, or the one.
        parameters: those after the first.
        native: what `explain` tells of it.
    """

    request: Request
    table: Table
    plan: Plan
    wanted: Wanted
    sql: str
    parameters: tuple[Any, ...]
    native: Mapping[str, Any]

    def of(self, request: Request) -> Search:
        """Give the same search for other queries."""
        return Search(request, self.table, self.plan, self.wanted, self.sql, self.parameters, self.native)

    @property
    def vectors(self) -> list[bytes]:
        """The queries, as the server has vectors."""
        queries, kind = self.request.queries, self.table.vectors[self.request.info.name]
        halves = kind == "halfvec" or (self.plan.index is not None and self.plan.index.spec.quantization == "float16")
        if halves and self.request.metric is DistanceMetric.COSINE:
            queries = levelled(queries)
        return encoded(queries, kind)

    async def run(self, connection: Any, vectors: Sequence[bytes]) -> list[Any]:
        """Answer some of the queries over one connection."""
        first = vectors[0] if self.single else list(vectors)
        if not self.plan.forced:
            return list(await connection.fetch(self.sql, first, *self.parameters))
        async with connection.transaction(readonly=True):
            await connection.execute(FORCE)
            return list(await connection.fetch(self.sql, first, *self.parameters))

    @property
    def single(self) -> bool:
        """Whether one query is asked."""
        return len(self.request.queries) == 1


def levelled(queries: Floats) -> Floats:
    """Bring the largest number of each query between 1 and 2, which float16 holds, by a power of two: exactly.

    Example:
        >>> levelled(np.float32([[3e-9, 0], [-1e6, 5e5]])).round(4)
        array([[ 1.6106,  0.    ],
               [-1.9073,  0.9537]], dtype=float32)
    """
    _, exponents = np.frexp(np.abs(queries).max(axis=1))
    scaled: Floats = np.ldexp(queries, (1 - exponents)[:, None])
    return scaled


def encoded(queries: Floats, kind: str) -> list[bytes]:
    """Write query vectors as the server has them: dimensions, a spare word, big-endian numbers."""
    head = queries.shape[1].to_bytes(2) + b"\0\0"
    numbers = queries.astype(">f4") if kind == "vector" else halved(queries).astype(">f2")
    return [head + row.tobytes() for row in numbers]


def search(request: Request, table: Table, plan: Plan) -> Search:
    """Write the statement of a search."""
    wanted = Wanted(table, request.columns, include_vectors=request.include_vectors)
    statement = table.statement()
    kind = table.vectors[request.info.name]
    single = len(request.queries) == 1
    statement.bind(None, kind)  # the query, or all of them
    query = f"$1::{kind}" if single else f"{QUERY}.v"
    conditions = [_settings(plan), statement.where(request.where), f"{quoted(request.info.name)} IS NOT NULL"]
    where = " AND ".join(one for one in conditions if one not in {"", "TRUE"})
    sql = _nearest(request, table, plan, wanted, where, query)
    if not single:
        many = f"unnest($1::{kind}[]) WITH ORDINALITY {QUERY}(v, i)"
        sql = f"SELECT {QUERY}.i, h.* FROM {many} CROSS JOIN LATERAL ({sql}) h"
    return Search(request, table, plan, wanted, sql, tuple(statement.parameters[1:]), _told(plan, sql))


def _told(plan: Plan, sql: str) -> dict[str, Any]:
    settings = ", ".join(f"{name} = {value}" for name, value in plan.settings.items())
    index = "none used: every row that matches is compared" if plan.index is None else plan.index.name
    return {"index": index} | ({"settings": settings} if settings else {}) | {"SQL": sql}


def _nearest(request: Request, table: Table, plan: Plan, wanted: Wanted, where: str, query: str) -> str:  # noqa: PLR0917
    """Write the statement that finds the neighbours of one query."""
    column, k = quoted(request.info.name), int(request.k)
    distance = f"{column} {operator(None, request.metric)} {query}"
    aliased = [f"{sql} AS {name}" for sql, name in zip(wanted.select, wanted.names(), strict=True)]
    keys = ", ".join(one.test.ordered for one in table.keys)
    if plan.index is None:
        # the addition hides the distance from any index
        order = f"({distance}) + 0, {keys}"
        selected = ", ".join([f"{distance} AS distance", *aliased])
        return f"SELECT {selected} FROM {table.sql} WHERE {where} ORDER BY {order} LIMIT {k}"
    spec = plan.index.spec
    way = operator(spec, request.metric)
    order = f"{indexed(request.info.name, spec, request.info)} {way} {compared(query, spec, request.info)}"
    # by the distance alone: with the keys beside it no index would serve, and ties are for `hits` to order
    if plan.candidates is None:
        selected = ", ".join([f"{distance} AS distance", *aliased])
        return f"SELECT {selected} FROM {table.sql} WHERE {where} ORDER BY {order} LIMIT {k}"
    inside = ", ".join([*aliased, f"{column} AS v"])
    candidates = f"SELECT {inside} FROM {table.sql} WHERE {where} ORDER BY {order} LIMIT {int(plan.candidates)}"
    selected = ", ".join([f"v {operator(None, request.metric)} {query} AS distance", *wanted.names()])
    return f"SELECT {selected} FROM ({candidates}) x ORDER BY distance LIMIT {k}"


def _settings(plan: Plan) -> str:
    """Make the settings a condition that the server evaluates once, before the scan."""
    if not plan.settings:
        return ""
    made = ", ".join(f"set_config({literal(name)}, {literal(value)}, true)" for name, value in plan.settings.items())
    return f"(SELECT ARRAY[{made}]) IS NOT NULL"


async def answered(found: Search, fetch: Any, workers: int) -> list[tuple[int, list[Any]]]:
    """Answer all queries, some of them together in one statement, and several statements beside each other.

    Args:
        found: the search.
        fetch: runs work on a connection.
        workers: statements beside each other.

    Returns:
        For each statement the number of its first query, and its records.
    """
    vectors = found.vectors
    size = max(1, min(TOGETHER, -(-len(vectors) // workers)))
    if len(vectors) <= size:
        return [(0, await fetch(lambda connection: found.run(connection, vectors)))]
    starts = iter(range(0, len(vectors), size))
    parts: list[tuple[int, list[Any]]] = []

    async def work() -> None:
        # one iterator for all: whoever is done takes the next
        for start in starts:
            some = vectors[start : start + size]
            parts.append((start, await fetch(lambda connection, some=some: found.run(connection, some))))

    tasks = [asyncio.ensure_future(work()) for _ in range(min(workers, -(-len(vectors) // size)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        # where one fails, the others would go on for nobody
        for task in tasks:
            task.cancel()
    return sorted(parts, key=itemgetter(0))


def hits(found: Search, parts: Sequence[tuple[int, Sequence[Any]]]) -> Hits:
    """Turn records into hits: nearest first, ties by id."""
    request = found.request
    at = 0 if found.single else 1  # of the distance, after the number of the query
    flat = parts[0][1] if len(parts) == 1 else [record for _, part in parts for record in part]
    distances = np.fromiter((record[at] for record in flat), np.float32, len(flat))
    if found.single and _rising(distances):
        counts = np.array([len(flat)], np.intp)
        return Hits(Records(found.wanted, flat, 1), distances, counts, request.metric, request.labels)
    queries = np.zeros(len(flat), np.intp)
    if not found.single:
        queries[:] = [start + record[0] - 1 for start, part in parts for record in part]
    rows = found.wanted.rows(flat, at + 1)
    if flat and (order := _order(queries, distances, rows)) is not None:
        rows, distances, queries = rows.take(pa.array(order)), distances[order], queries[order]
    counts = np.bincount(queries, minlength=len(request.queries)).astype(np.intp)
    return Hits(TableSource(rows), distances, counts, request.metric, request.labels)


def _rising(distances: Floats) -> bool:
    """Tell whether each distance is more than the one before it: no two rows are as near, and none is missing."""
    return bool((distances[:1] == distances[:1]).all() and (distances[1:] > distances[:-1]).all())


def _order(queries: Any, distances: Floats, rows: pa.Table) -> Any:
    """Give the order by query, distance and id; None where it is kept, and no two of a query are as near."""
    same = np.diff(queries) == 0
    step = np.diff(distances)
    # the cosine with a vector of zeros, which a table of others may hold: no neighbour
    missing = np.isnan(distances)
    if not missing.any() and (np.diff(queries) >= 0).all() and (step[same] > 0).all():
        return None
    keys: dict[str, Any] = {"q": queries, "d": distances}
    ids = rows.column(0)
    parts = ids.combine_chunks().flatten() if pa.types.is_struct(ids.type) else [ids]
    keys |= {f"i{at}": _sortable(part) for at, part in enumerate(parts)}
    order = pc.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in keys]).to_numpy()
    return order[~missing[order]]


def _sortable(values: Any) -> Any:
    return values.cast(values.type.storage_type) if isinstance(values.type, pa.BaseExtensionType) else values


async def estimate(connection: Any, table: Table, request: Request) -> float:
    """Ask the server how many rows it thinks satisfy the filter, and may be seen by this user."""
    statement = table.statement()
    where = statement.where(request.where)
    sql = f"EXPLAIN (FORMAT JSON) SELECT FROM {table.sql} WHERE {where}"
    told = orjson.loads(await connection.fetchval(sql, *statement.parameters))
    return float(told[0]["Plan"]["Plan Rows"])
