"""One search of the Faiss store: exactly, or through the index, whichever the plan says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from dkvector.backends import _plan, _topk
from dkvector.backends._faiss_index import EF_SEARCH, PROBES, FaissIndex, one_thread, tail
from dkvector.backends._local import Candidates, Found
from dkvector.backends._plan import Effort
from dkvector.backends._rows import Mask, Rows
from dkvector.backends._topk import Block, Nearest, Positions, joined
from dkvector.indexes import HNSW, Tuning
from dkvector.metrics import DistanceMetric, Floats, from_inner_product, from_squared
from dkvector.requests import Request
from dkvector.vectors import squared_norms

SPARE = 2  # neighbours asked for beyond k, so that rows as near as the k-th are seen
UNIT = 1e-5  # how far a squared norm may be from 1 for the product to be the cosine


@dataclass(frozen=True)
class Search:
    """A search over one snapshot.

    Attributes:
        rows: the snapshot.
        request: what is asked.
        candidates: the rows that may be found.
    """

    rows: Rows
    request: Request
    candidates: Candidates

    @property
    def blocks(self) -> list[Block]:
        """The vectors of the field."""
        return self.rows.blocks(self.request.info.name)

    def exactly(self, queries: Floats) -> Nearest:
        """Compare every candidate."""
        request, blocks = self.request, self.blocks
        if self.candidates.mask is None and len(blocks) == 1 and _faiss_is_faster(queries, blocks[0], request):
            return self._by_faiss(queries, blocks[0])
        return _topk.search(
            blocks,
            queries,
            request.k,
            request.metric,
            rows=self.candidates.positions,
            ranks=self.rows.ranks,
            products=by_index if len(queries) < _plan.BATCH else _topk.gathered,
        )

    def _by_faiss(self, queries: Floats, block: Block) -> Nearest:
        """Let Faiss take the candidates, and measure them; queries with more ties than it gave are searched again."""
        request = self.request
        wide = min(request.k + SPARE, len(block.matrix))
        euclidean = request.metric is DistanceMetric.EUCLIDEAN
        kind = faiss.METRIC_L2 if euclidean else faiss.METRIC_INNER_PRODUCT
        values, positions = faiss.knn(queries, block.matrix, wide, metric=kind)
        near = self._measured(queries, block, positions)
        if wide == len(block.matrix):
            return near
        spread = np.abs(values[:, -1] - values[:, min(request.k, wide) - 1])
        lengths = np.sqrt(squared_norms(queries))
        scale = (lengths + block.longest) ** 2 if euclidean else lengths * block.longest
        tied = np.flatnonzero(spread <= 2 * _topk.SLACK * scale)
        return near if not len(tied) else patched(near, tied, self._slowly(queries[tied]))

    def _measured(self, queries: Floats, block: Block, positions: Positions) -> Nearest:
        """Measure candidates `(q, w)` again, without the rounding of a product of matrices."""
        k, distances = self.request.k, pair_distances(queries, block, positions, self.request.metric)
        order = np.argsort(distances, axis=1, kind="stable")
        nearest = np.take_along_axis(distances, order, axis=1)
        if (nearest[:, 1:] == nearest[:, :-1]).any():
            query = np.repeat(np.arange(len(queries)), positions.shape[1])
            flat = positions.reshape(-1), distances.reshape(-1)
            return _topk.best_of(query, *flat, len(queries), k=k, ranks=self.rows.ranks)
        rows = np.take_along_axis(positions, order, axis=1)[:, :k]
        counts = np.full(len(queries), rows.shape[1])
        return Nearest(rows.reshape(-1), np.ascontiguousarray(nearest[:, :k]).reshape(-1), counts)

    def _slowly(self, queries: Floats) -> Nearest:
        return _topk.search(self.blocks, queries, self.request.k, self.request.metric, ranks=self.rows.ranks)

    def through(self, index: FaissIndex, effort: Effort) -> Nearest:
        """Search the index, and compare the rows that it does not cover yet."""
        request, rows = self.request, self.rows
        near = index.search(
            request.queries,
            request.k,
            self._covered(index),
            ef_search=effort.ef_search,
            probes=effort.probes,
        )
        if behind := tail(self.blocks, index.rows):
            among = self.candidates.positions
            rest = _topk.search(behind, request.queries, request.k, request.metric, rows=among, ranks=rows.ranks)
            near = merged([near, rest], request.k, rows)
        elif _topk.tied(near):
            near = merged([near], request.k, rows)
        return near

    def _covered(self, index: FaissIndex) -> Mask | None:
        return None if self.candidates.mask is None else self.candidates.mask[: index.rows]


def nearest(rows: Rows, index: FaissIndex | None, request: Request, candidates: Candidates) -> Found:
    """Answer a search.

    Args:
        rows: the snapshot.
        index: of the field; None where it is flat.
        request: what is asked.
        candidates: the rows that may be found.

    Returns:
        The neighbours: as many as asked for wherever so many rows match.
    """
    search = Search(rows, request, candidates)
    among = "" if candidates.mask is None else f" over {candidates.count:,} candidates"
    if index is None or request.tuning.exact:
        return Found(search.exactly(request.queries), "exact" + among, {})
    effort = effort_of(index, request.tuning, request.k, candidates, rows)
    if request.tuning.exact is None and _exact_is_cheaper(candidates, effort, request):
        return Found(search.exactly(request.queries), "exact" + among, {})
    near = search.through(index, effort)
    short = np.flatnonzero(near.counts < min(request.k, candidates.count))
    if len(short) and request.tuning.exact is None:
        near = patched(near, short, search.exactly(request.queries[short]))
    return Found(near, index.spec.kind + (" with a selector" if among else ""), _native(index, effort, len(short)))


def effort_of(index: FaissIndex, tuning: Tuning, k: int, candidates: Candidates, rows: Rows) -> Effort:
    """Say how wide the index must be searched for the share of rows that match."""
    share = max(candidates.count, 1) / max(rows.total, 1)
    dimensions = int(index.index.d)
    if isinstance(index.spec, HNSW):
        return _plan.graph_effort(max(tuning.ef_search or EF_SEARCH, k), index.spec.m, share, dimensions)
    probes = tuning.probes or PROBES
    return _plan.lists_effort(min(probes, index.index.nlist), index.index.nlist, index.rows, share, dimensions)


def _exact_is_cheaper(candidates: Candidates, effort: Effort, request: Request) -> bool:
    if candidates.mask is None:
        return False  # who built an index wants it searched
    exact = _plan.exact_cost(candidates.count, len(request.queries), request.info.dimensions)
    return candidates.count <= request.k or exact <= effort.cost


def _native(index: FaissIndex, effort: Effort, short: int) -> dict[str, object]:
    knob = {"ef_search": effort.ef_search} if isinstance(index.spec, HNSW) else {"probes": effort.probes}
    return {"index": index.spec, **knob} | ({"completed": f"{short:,} queries exactly"} if short else {})


def _faiss_is_faster(queries: Floats, block: Block, request: Request) -> bool:
    """Faiss's own product wins from the batch size on where it uses BLAS; it can't divide by norms."""
    if queries.size < faiss.cvar.distance_compute_blas_threshold:
        return False
    return request.metric is not DistanceMetric.COSINE or bool(np.abs(block.squared - 1).max() < UNIT)


def by_index(queries: Floats, matrix: Floats, rows: Positions) -> Floats:
    """Inner products `(q, r)` with some rows, without gathering them."""
    with one_thread(len(queries)):
        return _measured_at(faiss.fvec_inner_products_by_idx, queries, matrix, np.tile(rows, (len(queries), 1)))


def pair_distances(queries: Floats, block: Block, positions: Positions, metric: DistanceMetric) -> Floats:
    """Measure each query against rows of its own, `(q, w)`; the block is the field's first."""
    if metric is DistanceMetric.EUCLIDEAN:
        return from_squared(_measured_at(faiss.fvec_L2sqr_by_idx, queries, block.matrix, positions))
    dots = _measured_at(faiss.fvec_inner_products_by_idx, queries, block.matrix, positions)
    if metric is DistanceMetric.COSINE:
        dots /= np.sqrt(block.squared[positions]) * np.sqrt(squared_norms(queries))[:, None]
    return from_inner_product(dots, metric)


def _measured_at(measure: Callable[..., None], queries: Floats, matrix: Floats, rows: Positions) -> Floats:
    """Call one of Faiss's kernels that compare each query with the rows `(q, w)` named for it."""
    ids = np.ascontiguousarray(rows, np.int64)
    out = np.empty(ids.shape, np.float32)
    arrays = (out, np.ascontiguousarray(queries), matrix, ids)
    measure(*map(faiss.swig_ptr, arrays), matrix.shape[1], *ids.shape)
    return out


def merged(parts: Sequence[Nearest], k: int, rows: Rows) -> Nearest:
    """Put answers to the same queries together, and keep the k nearest of each; ties by id."""
    query = np.concatenate([np.repeat(np.arange(len(part.counts)), part.counts) for part in parts])
    row = np.concatenate([part.positions for part in parts])
    distance = np.concatenate([part.distances for part in parts])
    return _topk.best_of(query, row, distance, len(parts[0].counts), k=k, ranks=rows.ranks)


def patched(near: Nearest, at: Positions, better: Nearest) -> Nearest:
    """Replace the answers of some queries."""
    parts = _split(near)
    for i, part in zip(at, _split(better), strict=True):
        parts[i] = part
    return joined(parts)


def _split(near: Nearest) -> list[Nearest]:
    cuts = np.cumsum(near.counts)[:-1]
    pairs = zip(np.split(near.positions, cuts), np.split(near.distances, cuts), strict=True)
    return [Nearest(row, distance, np.array([len(row)])) for row, distance in pairs]
