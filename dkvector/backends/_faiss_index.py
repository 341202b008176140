"""A Faiss index over the rows of one field: searched with a selector, kept in a file.

The index's own ids are row positions. Under cosine the index holds unit vectors; queries keep their length, which
changes no order, and the distances are divided by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import faiss
import numpy as np

from dkvector.backends import _faiss_codes
from dkvector.backends._faiss_nodes import inside
from dkvector.backends._marks import Mask
from dkvector.backends._plan import Effort
from dkvector.backends._topk import Block, Nearest, Positions
from dkvector.indexes import HNSW, IVF, Flat, IndexSpec
from dkvector.metrics import DistanceMetric, Floats, from_inner_product, from_squared
from dkvector.norms import squared_norms

CHUNK = 1 << 14  # rows added at a time: an interrupt is obeyed, and the bar moves, between chunks
EF_SEARCH = 64  # the usual effort: recall@10 of 0.97 and
PROBES = 48  # 0.97 on the bundled data


Built = Flat | HNSW | IVF  # what has an index of its own: `Flat` where it is quantised


@dataclass(frozen=True)
class FaissIndex:
    """An index over the first `rows` positions of a field.

    Attributes:
        spec: what it is, every "auto" resolved.
        metric: of the field.
        index: Faiss's own object.
        trained: how many rows it was trained on or built from.
    """

    spec: Built
    metric: DistanceMetric
    index: Any
    trained: int

    @property
    def rows(self) -> int:
        """How many positions it covers."""
        return int(self.index.ntotal)

    @property
    def code(self) -> _faiss_codes.Code:
        """How its vectors are compressed."""
        return _faiss_codes.CODES[self.spec.quantization]

    @property
    def selects(self) -> bool:
        """Whether it can be kept to some of its rows; bits in lists can't."""
        return isinstance(self.spec, HNSW) or self.spec.quantization != "binary"

    @property
    def nbytes(self) -> int:
        """Bytes in memory: vectors or codes, links, lists and centres."""
        if isinstance(self.spec, HNSW):
            graph = inside(self.index)
            nodes, kept = graph.hnsw, faiss.downcast_index(graph.storage)
            links = nodes.neighbors.size() * 4 + nodes.offsets.size() * 8 + nodes.levels.size() * 4
            return int(self.rows * (kept.code_size + 8) + links)
        entries = self.rows * (self.index.code_size + 8)
        return int(entries + self.index.nlist * self.index.d * 4)

    def add(self, matrix: Floats) -> None:
        """Append rows `(n, d)`."""
        for at in range(0, len(matrix), CHUNK):
            chunk = engine_space(matrix[at : at + CHUNK], self.metric)
            self.index.add_with_ids(chunk, np.arange(self.rows, self.rows + len(chunk)))

    def search(self, queries: Floats, mask: Mask | None, effort: Effort) -> Nearest:
        """Find neighbours by the index's own numbers; fewer than asked for where it meets no more.

        Args:
            queries: `(q, d)` float32.
            mask: `(n,)` the positions that may be found; None for all.
            effort: how many, and how wide to look.

        Returns:
            The neighbours, nearest first.
        """
        # before the search, which empties the caches
        lengths = np.sqrt(squared_norms(queries)) if self.metric is DistanceMetric.COSINE else None
        return self._nearest(*self.candidates(queries, mask, effort), lengths)

    def candidates(self, queries: Floats, mask: Mask | None, effort: Effort) -> tuple[Floats, Positions]:
        """Give Faiss's own values and positions, both `(q, w)`, -1 where it meets no more: as many as wanted, or all.

        Faiss takes room for as many as it is asked for, whether there are so many rows or not.
        """
        rows = self.rows
        wide = max(min(effort.candidates, rows), 1)
        # a graph gives no more neighbours than it keeps candidates
        params = self._params(mask, min(max(effort.ef_search, wide), max(rows, EF_SEARCH)), effort.probes)
        with one_thread(len(queries) == 1):
            values, positions = self.index.search(np.ascontiguousarray(queries), wide, params=params)
        return values, positions

    def _params(self, mask: Mask | None, ef_search: int, probes: int) -> Any:
        """Give Faiss its parameters; None for the usual ones, which the index holds: reading them costs 30 µs."""
        graph = isinstance(self.spec, HNSW)
        if mask is None and (ef_search == EF_SEARCH if graph else probes == self.index.nprobe):
            return None
        # bits, not a list of ids: 0.02 to 0.6 ms to make at 200k rows, an IDSelectorBatch takes 6 to 36
        selector = None if mask is None else faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        if graph:
            return faiss.SearchParametersHNSW(sel=selector, efSearch=ef_search)
        return faiss.SearchParametersIVF(sel=selector, nprobe=probes)

    def _nearest(self, values: Floats, positions: Positions, lengths: Floats | None) -> Nearest:
        found = positions >= 0
        if lengths is not None:
            # what stands for no neighbour is the largest number there is
            np.divide(values, lengths[:, None], out=values, where=found)
        if found.all():
            counts = np.full(len(found), found.shape[1])
            return Nearest(positions.reshape(-1), self._distances(values.reshape(-1)), counts)
        return Nearest(positions[found], self._distances(values[found]), found.sum(axis=1))

    def _distances(self, values: Floats) -> Floats:
        euclidean = self.metric is DistanceMetric.EUCLIDEAN
        return from_squared(values) if euclidean else from_inner_product(values, self.metric)

    def write(self, path: Path) -> None:
        """Write the index to a file; Faiss's own writer passes over what it can't flush at the end."""
        with path.open("wb") as file:
            faiss.write_index(self.index, faiss.PyCallbackIOWriter(file.write))


class one_thread:  # noqa: N801 - reads as a word: `with one_thread(when)`
    """A single query is faster, and steadier, on one thread; a batch takes them all."""

    def __init__(self, when: bool) -> None:
        self._when = when

    def __enter__(self) -> None:
        if self._when:
            # a setting of the calling thread alone
            self._before = faiss.omp_get_max_threads()
            faiss.omp_set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        if self._when:
            faiss.omp_set_num_threads(self._before)


def has_index(spec: IndexSpec) -> TypeGuard[Built]:
    """Tell whether a spec needs an index beside the rows."""
    return isinstance(spec, HNSW | IVF) or (isinstance(spec, Flat) and spec.quantization is not None)


def read(path: Path, spec: IndexSpec, metric: DistanceMetric, *, trained: int) -> FaissIndex:
    """Map an index file into memory."""
    if not has_index(spec):
        raise TypeError(f"a {spec.kind} index has no file")
    mapped = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    return FaissIndex(spec, metric, with_usual_effort(mapped, spec), trained)


def tail(blocks: Sequence[Block], covered: int) -> list[Block]:
    """Give the rows behind the first `covered` ones."""
    return [
        block if block.start >= covered else Block(covered, block.matrix[covered - block.start :])
        for block in blocks
        if block.start + len(block.matrix) > covered
    ]


def lists_of(spec: Flat | IVF) -> int:
    """Count the lists of a resolved spec: codes without lists are one."""
    return int(spec.lists) if isinstance(spec, IVF) else 1


def with_usual_effort(index: Any, spec: Built) -> Any:
    if isinstance(spec, HNSW):
        inside(index).hnsw.efSearch = EF_SEARCH
    else:
        index.nprobe = min(PROBES, index.nlist)
    return index


def engine_space(matrix: Floats, metric: DistanceMetric) -> Floats:
    """Give what Faiss is to compare: unit vectors under cosine."""
    if metric is not DistanceMetric.COSINE:
        return np.ascontiguousarray(matrix)
    norms: Floats = np.sqrt(squared_norms(matrix))
    # a row that lacks its vector has zeros here: it keeps its position, and no search may find it
    norms[norms == 0] = 1
    unit: Floats = matrix / norms[:, None]
    return unit
