"""How to answer a filtered search: exactly over the matching rows, or through the index with a selector.

A selector inside an index must widen its effort in proportion as rows match less often, or recall falls; that makes
its cost grow while the exact cost falls with the number of matching rows. The cheaper one is taken, by the costs
below. They are orders of magnitude, measured on one core at d = 384; only their ratio matters.
"""

from __future__ import annotations

from dataclasses import dataclass

ROW = 0.25  # µs to compare one query with one row by itself
ROW_OF_BATCH = 0.012  # µs, as part of a matrix product
GATHER = 0.15  # µs to copy a row for the product, shared by the queries of a batch
TEST = 0.002  # µs to ask a selector about one row
HOP = 0.09  # µs of a graph search for one candidate kept, and one link of each
HOP_OF_BATCH = 0.045  # likewise, as one of many queries, which the cores share out
BATCH = 8  # queries from which a product pays
DIMENSIONS = 384  # of the measurements


@dataclass(frozen=True)
class Effort:
    """What a search through the index would take.

    Attributes:
        ef_search: candidates kept, of a graph.
        probes: lists read, of an inverted file.
        candidates: neighbours that the index gives for one query.
        cost: µs for one query.
    """

    ef_search: int = 0
    probes: int = 0
    candidates: int = 0
    cost: float = 0.0


def exact_cost(matching: int, queries: int, dimensions: int) -> float:
    """Estimate an exact search over the matching rows, µs a query."""
    scale = dimensions / DIMENSIONS
    if queries < BATCH:
        return matching * ROW * scale
    return matching * scale * (ROW_OF_BATCH + GATHER / queries)


def graph_effort(ef_search: int, m: int, share: float, dimensions: int, *, queries: int = 1, code: float = 1) -> Effort:
    """Widen a graph search to a share of rows that match.

    Args:
        ef_search: what an unfiltered search would keep.
        m: links of a node.
        share: of the rows that match, above 0.
        dimensions: of the vectors.
        queries: of the batch.
        code: cost of comparing with a code, relative to a full vector.

    Returns:
        The effort and what it costs.

    Example:
        >>> graph_effort(64, 16, 0.5, 384).ef_search
        128
    """
    wide = round(ef_search / share)
    hop = HOP if queries < BATCH else HOP_OF_BATCH
    return Effort(ef_search=wide, cost=wide * m * hop * code * dimensions / DIMENSIONS)


def lists_effort(probes: int, lists: int, rows: int, share: float, dimensions: int, *, code: float = 1) -> Effort:
    """Widen an inverted-file search to a share of rows that match.

    Args:
        probes: what an unfiltered search would read.
        lists: how many there are.
        rows: in all lists.
        share: of the rows that match, above 0.
        dimensions: of the vectors.
        code: cost of comparing with a code, relative to a full vector.

    Returns:
        The effort and what it costs: centres, selector tests, and the matching rows of the lists read.
    """
    wide = min(lists, round(probes / share))
    read = rows * wide / lists
    cost = lists * ROW + read * TEST + read * share * ROW * code
    return Effort(probes=wide, cost=cost * dimensions / DIMENSIONS)
