"""How to answer a search: through an index, or exactly over the rows that match, whichever is right and cheaper.

A graph keeps at most 1,000 candidates, and a filter leaves its share of them: where it leaves too few for the recall
of an unfiltered search, the matching rows are compared one by one. Costs are orders of magnitude, measured at d = 384.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dkvector.backends._pg_indexes import PgIndex
from dkvector.indexes import HNSW, IVF
from dkvector.requests import Request

EF = 100  # candidates of a graph search, unless more neighbours are wanted
PROBES = 8  # lists that are read, unless there are many
WIDEST = 1_000  # that pgvector keeps
ROW = 1.3  # µs to read and compare a row
CANDIDATE = 22.0  # µs of a graph search for a candidate that is kept
START = 2_400.0  # µs of a graph search before that
PATIENT = 200_000  # rows that are compared one by one rather than starve a search
DIMENSIONS = 384  # of the measurements
FACTORS = {"float16": 2, "binary": 20}  # candidates of a compressed index for each neighbour, to measure again
SCANNED = 20_000  # tuples at which an iterative scan gives up by default


@dataclass(frozen=True)
class Plan:
    """How a search is answered.

    Args:
        name: in words.
        index: the index that is used; None compares every row that matches.
        settings: of the server, for this statement.
        candidates: neighbours that the index gives, to be measured again; None where its own distances are right.
        forced: the index is used whatever the server thinks.
    """

    name: str
    index: PgIndex | None = None
    settings: dict[str, str] = field(default_factory=dict)
    candidates: int | None = None
    forced: bool = False


def chosen(request: Request, index: PgIndex | None, rows: float, matching: float | None) -> Plan:
    """Choose how to answer a search.

    Args:
        request: the search.
        index: of the field and the metric; None where there is none.
        rows: in the table, about.
        matching: rows that satisfy the filter and that this user may see, about; None where there is no filter.

    Returns:
        The plan.
    """
    if index is None:
        return Plan("exact: there is no index for it" if matching is None else "exact over the matching rows")
    if request.tuning.exact:
        return Plan("exact")
    share = 1.0 if matching is None else min(1.0, max(matching, 1.0) / max(rows, 1.0))
    plan = _indexed(request, index, share, rows)
    if request.tuning.exact is None and matching is not None and _starved(request, index, matching, share):
        return Plan("exact over the matching rows")
    return plan


def _starved(request: Request, index: PgIndex, matching: float, share: float) -> bool:
    """Tell whether comparing the matching rows is cheaper than the index, or the only way to find enough of them."""
    exact = matching * ROW * request.info.dimensions / DIMENSIONS
    if isinstance(index.spec, IVF):
        lists = float(index.spec.lists) if index.spec.lists != "auto" else 1.0
        probes = _probes(request, lists) / share
        return probes > lists / 2 or exact < matching / share * probes / lists * ROW
    wide = _ef(request, _wanted(request, index)) / share
    # past this an iterative scan still fills k, but found .73 to .94 of the neighbours of 1 % of 200k rows, in
    # 18 ms and more; to compare those rows took 3
    if wide > WIDEST and matching <= PATIENT:
        return True
    return exact < START + CANDIDATE * min(wide, WIDEST)


def _indexed(request: Request, index: PgIndex, share: float, rows: float) -> Plan:
    wanted = _wanted(request, index)
    candidates = wanted if index.spec.quantization is not None else None
    forced = request.tuning.exact is False
    if isinstance(index.spec, HNSW):
        wide = round(min(WIDEST, _ef(request, wanted) / share))
        scanned = max(SCANNED, round(20 * wide / share))
        settings = {
            "hnsw.ef_search": str(wide),
            "hnsw.iterative_scan": "strict_order",
            "hnsw.max_scan_tuples": str(min(scanned, 2**31 - 1)),
        }
        return Plan("hnsw", index, settings, candidates, forced)
    lists = index.spec.lists if index.spec.lists != "auto" else 1
    probes = min(lists, max(1, round(_probes(request, lists) / share)))
    # lists know no strict order; hits are put in order here in any case
    settings = {"ivfflat.probes": str(probes), "ivfflat.iterative_scan": "relaxed_order"}
    settings["ivfflat.max_probes"] = str(max(lists, probes) if rows else probes)
    return Plan("ivf", index, settings, candidates, forced)


def _wanted(request: Request, index: PgIndex) -> int:
    """Count the neighbours that the index is asked for: more than k where they are measured again."""
    factor = FACTORS.get(index.spec.quantization or "", 1) if request.tuning.rescore else 1
    return request.tuning.candidates or max(request.k * factor, request.k + 10 if factor > 1 else request.k)


def _ef(request: Request, wanted: int) -> float:
    return max(request.tuning.ef_search or max(EF, 2 * request.k), wanted)


def _probes(request: Request, lists: float) -> float:
    return request.tuning.probes or min(lists, max(PROBES, lists**0.5))
