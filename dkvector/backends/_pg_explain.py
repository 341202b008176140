"""What a search did, and what the server's own plan for it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from dkvector.backends._pg_search import FORCE, Search
from dkvector.compiled import Statement
from dkvector.results import Explanation, Hits

SHOWN = 5  # numbers of a vector that are shown


def told(made: Search, found: Hits, *, rows: float, matching: int | None) -> Explanation:
    """Tell what a search did.

    Args:
        made: the search.
        found: its hits.
        rows: in the table, about.
        matching: rows that satisfy the filter, where that was counted.
    """
    request = made.request
    asked = len(request.queries) * min(request.k, request.k if matching is None else matching)
    return Explanation(
        backend="pgvector",
        field=request.info.name,
        metric=request.metric.value,
        plan=made.plan.name,
        k=request.k,
        queries=len(request.queries),
        rows=max(0, round(rows)),
        matching=matching if request.where is not None else None,
        returned=len(found.distances),
        shortfall=0 if matching is None else max(0, asked - len(found.distances)),
        native=made.native,
    )


def compiled(made: Search) -> Statement:
    """Tell what would be sent."""
    first = made.request.queries[0] if made.single else made.request.queries
    sql = f"{FORCE};\n{made.sql}" if made.plan.forced else made.sql
    return Statement(made.plan.name, sql, (first, *made.parameters))


async def verified(connection: Any, made: Search, explained: Explanation) -> Explanation:
    """Have the server explain the statement, and believe the server about the index."""
    if not len(made.request.queries):
        return explained
    first = made.vectors[0] if made.single else made.vectors[:1]
    async with connection.transaction(readonly=True):
        if made.plan.forced:
            await connection.execute(FORCE)
        # no timing: a look at the clock for every row can take longer than the search
        ways = "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, FORMAT JSON) "
        answer = await connection.fetchval(ways + made.sql, first, *made.parameters)
    plan = orjson.loads(answer)[0]["Plan"]
    used = [name for name in _scans(plan, "Index Name") if made.plan.index and name == made.plan.index.name]
    native = dict(explained.native)
    native["parameters"] = [f"vector[{made.request.info.dimensions}]", *made.parameters]
    native["server"] = "\n            ".join(_lines(plan))
    name = explained.plan
    if made.plan.index is not None and not used:
        name = f"exact: the server did not use the index {made.plan.index.name!r}"
        native["index"] = "none used: the server reads every row that matches"
    return replace(explained, plan=name, native=native)


def _scans(plan: dict[str, Any], key: str) -> list[str]:
    inner = [name for one in plan.get("Plans", ()) for name in _scans(one, key)]
    return ([plan[key]] if key in plan else []) + inner


def _lines(plan: dict[str, Any], depth: int = 0) -> list[str]:
    """Write the server's plan: each node with what it scans, and how many rows it gave."""
    what = [plan["Node Type"], *(f"{word} {plan[key]}" for key, word in _SCANNED.items() if key in plan)]
    rows = plan.get("Actual Rows", 0) * plan.get("Actual Loops", 1)
    removed = plan.get("Rows Removed by Filter")
    line = (
        "  " * depth + f"{' '.join(what)} ({rows:,.0f} rows" + (f", {removed:,.0f} filtered out)" if removed else ")")
    )
    return [line, *(inner for one in plan.get("Plans", ()) for inner in _lines(one, depth + 1))]


_SCANNED = {"Index Name": "by", "Relation Name": "on"}
