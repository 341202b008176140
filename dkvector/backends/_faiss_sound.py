"""Whether a mapped index file can be searched without leaving its buffers.

A large index file is not compared with its checksum when it is opened. Its numbers can be any, but a link or an id
that points nowhere would lead Faiss, or us, out of memory: those are looked at, which takes milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from dkvector.backends._faiss_nodes import has_map, inside, row_positions, viewed
from dkvector.errors import SchemaError

Whole = NDArray[Any]
PACKED = (faiss.IndexIVFFastScan, faiss.IndexIVFSpectralHash)  # small enough to be compared in full


def sound(index: Any, path: Path, rows: int, dimensions: int) -> bool:
    """Look at the structure of an index.

    Args:
        index: Faiss's own object, as read from a file.
        path: of the file, for messages.
        rows: how many positions there are.
        dimensions: of the vectors.

    Returns:
        True where it can be searched; False for a kind whose structure is not known here.

    Raises:
        SchemaError: it points outside of what there is.
    """
    if index.d != dimensions or not 0 <= index.ntotal <= rows:
        raise _damaged(path, f"{index.ntotal:,} rows of {index.d} dimensions; there are {rows:,} of {dimensions}")
    index = faiss.downcast_index(index)
    if has_map(index):
        _check_map(index, path)
        index = inside(index)
    if isinstance(index, faiss.IndexHNSW):
        _check_graph(index, path)
        _check_tables(faiss.downcast_index(index.storage), path)
    elif isinstance(index, faiss.IndexIVF) and not isinstance(index, PACKED):
        _check_lists(index, path)
        _check_tables(index, path)
    else:
        return False
    return True


def _check_map(index: Any, path: Path) -> None:
    """Every node is another row, and every row has a node."""
    positions, rows = row_positions(index), int(index.ntotal)
    if len(positions) != rows or index.index.ntotal != rows or index.index.d != index.d:
        raise _damaged(path, "its map has not as many entries as its nodes")
    named = np.zeros(rows, bool)
    named[positions[(positions >= 0) & (positions < rows)]] = True
    if not named.all():
        raise _damaged(path, "its map does not name each row once")


def _check_graph(index: Any, path: Path) -> None:
    """Every link names a node, every node has the links of its level."""
    graph, rows = index.hnsw, int(index.ntotal)
    links, levels = viewed(graph.neighbors), viewed(graph.levels)
    # signed: where unsigned numbers fall, their differences wrap around to large ones
    offsets = viewed(graph.offsets).astype(np.int64)
    per_level = faiss.vector_to_array(graph.cum_nneighbor_per_level).astype(np.int64)
    if not rows == index.storage.ntotal == len(levels) == len(offsets) - 1 or index.storage.d != index.d:
        raise _damaged(path, "its nodes are not as many as its rows")
    if not rows:
        return
    # Faiss counts the levels of a node from 1, those of the graph from 0
    highest = int(levels.max())
    if levels.min() < 1 or highest >= len(per_level) or graph.max_level != highest - 1:
        raise _damaged(path, "a node has a level that there is not")
    if per_level[0] or (np.diff(per_level) < 0).any() or offsets[0] or offsets[-1] != len(links):
        raise _damaged(path, "its links are not as many as its levels take")
    if (np.diff(offsets) != per_level[levels]).any():
        raise _damaged(path, "the links of its nodes overlap")
    # -1 is a link that is free
    if links.min() < -1 or links.max() >= rows or not 0 <= graph.entry_point < rows:
        raise _damaged(path, "a link leads to no node")
    _check_higher(levels, offsets, links, per_level, path)
    if levels[graph.entry_point] != highest:
        raise _damaged(path, "the search would begin below the top")


def _check_higher(levels: Whole, offsets: Whole, links: Whole, per_level: Whole, path: Path) -> None:
    """On the levels above the ground, of which few nodes have any, a link must lead to a node of that level."""
    for level in range(1, int(levels.max())):
        nodes = np.flatnonzero(levels > level)
        width = per_level[level + 1] - per_level[level]
        to = links[(offsets[nodes] + per_level[level])[:, None] + np.arange(width)]
        if (levels[to[to >= 0]] <= level).any():
            raise _damaged(path, "a link leads to a node below its level")


def _check_lists(index: Any, path: Path) -> None:
    """Every list names rows that there are, and all lists together as many as the index has."""
    lists, centres, rows = index.invlists, index.quantizer, int(index.ntotal)
    if not lists.nlist == index.nlist == centres.ntotal or lists.code_size != index.code_size or centres.d != index.d:
        raise _damaged(path, "its lists are not as many as its centres")
    total = 0
    for at in range(index.nlist):
        size = lists.list_size(at)
        total += size
        if size:
            ids = faiss.rev_swig_ptr(lists.get_ids(at), size)
            if ids.min() < 0 or ids.max() >= rows:
                raise _damaged(path, "a list names a row that there is not")
    if total != rows:
        raise _damaged(path, f"its lists hold {total:,} rows of {rows:,}")


def _check_tables(codes: Any, path: Path) -> None:
    """The tables that codes are read by are as long as their kind takes."""
    kinds, size = faiss.ScalarQuantizer, int(codes.d)
    scalar, product, centre = (getattr(codes, name, None) for name in ("sq", "pq", "center"))
    if scalar is not None:
        lengths = {kinds.QT_fp16: (2 * size, 0), kinds.QT_8bit: (size, 2 * size)}
        known = lengths.get(scalar.qtype, ((size + 7) // 8, 3))
        if (codes.code_size, scalar.code_size, scalar.trained.size(), scalar.d) != (known[0], *known, size):
            raise _damaged(path, "its codes are not as long as their kind takes")
    if product is not None and (product.M * product.dsub, product.centroids.size()) != (size, size * product.ksub):
        raise _damaged(path, "its tables of centres are not as long as its parts take")
    if centre is not None and centre.size() != size:
        raise _damaged(path, "its centre has other dimensions")


def _damaged(path: Path, why: str) -> SchemaError:
    return SchemaError(f"{path} is damaged: {why}")
