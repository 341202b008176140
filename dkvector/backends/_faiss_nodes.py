"""Where the nodes of a graph lie in memory: beside those that they link to, with a map from there to row positions.

A search goes from node to node, and waits for memory at each. Rows come in any order; laid out as a walk from the entry
meets them, the same graph gives the same answers in about nine tenths of the time.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from dkvector.backends._topk import Positions

STRIP = 256  # bytes of every vector that are moved at a time


def inside(index: Any) -> Any:
    """Give the index that a map is around; one without a map is given itself."""
    index = faiss.downcast_index(index)
    return faiss.downcast_index(index.index) if has_map(index) else index


def has_map(index: Any) -> bool:
    """Tell whether the nodes of a graph can lie in any order; those of older versions are in the order of rows."""
    return isinstance(index, faiss.IndexIDMap)


def row_positions(index: Any) -> Positions:
    """Give the row position of every node, `(n,)`."""
    positions: Positions = faiss.vector_to_array(index.id_map)
    return positions


def lay_out(index: Any) -> None:
    """Move the nodes of a graph to the order of a walk; the row positions in the map around it follow.

    Args:
        index: Faiss's own map around a graph, which no search may be using.
    """
    graph = inside(index)
    order = walk(graph.hnsw)
    reorder(faiss.downcast_index(graph.storage), order)
    graph.hnsw.permute_entries(faiss.swig_ptr(order))
    faiss.copy_array_to_vector(row_positions(index)[order], index.id_map)


def reorder(kept: Any, order: Positions) -> None:
    """Put the vectors or codes of a storage in another order, `(n,)` of their numbers."""
    if not len(order):
        return
    rows = faiss.rev_swig_ptr(kept.codes.data(), kept.codes.size()).reshape(len(order), -1)
    # Faiss's own way holds all of them twice
    for at in range(0, rows.shape[1], STRIP):
        rows[:, at : at + STRIP] = rows[order, at : at + STRIP]


def walk(links: Any) -> Positions:
    """Order the nodes as a walk over the lowest level meets them, breadth first from the entry.

    Args:
        links: Faiss's own HNSW.

    Returns:
        The nodes `(n,)`; those that no link leads to come last.
    """
    table, starts = viewed(links.neighbors), viewed(links.offsets)[:-1].astype(np.int64)
    width = np.arange(faiss.vector_to_array(links.cum_nneighbor_per_level)[1])
    unseen = np.ones(len(starts), bool)
    front = np.array([links.entry_point])[: len(starts)].astype(np.int64)
    fronts = []
    while len(front):
        unseen[front] = False
        fronts.append(front)
        to = table[starts[front][:, None] + width].ravel()
        # -1 is a link that is free
        to = to[to >= 0]
        to, first = np.unique(to[unseen[to]], return_index=True)
        # in the order they are met: neighbours of one node stay together
        front = to[np.argsort(first)].astype(np.int64)
    return np.concatenate([*fronts, np.flatnonzero(unseen)])


def viewed(vector: Any) -> NDArray[Any]:
    """View the numbers of one of Faiss's vectors, without a copy; of none it has no address."""
    return faiss.rev_swig_ptr(vector.data(), vector.size()) if vector.size() else np.zeros(0, np.int64)
