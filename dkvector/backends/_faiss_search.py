"""One search of the Faiss store: exactly, or through the index, whichever the plan says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

import faiss
import numpy as np

from dkvector.backends import _plan, _topk
from dkvector.backends._faiss_index import EF_SEARCH, PROBES, FaissIndex, one_thread, tail
from dkvector.backends._local import Candidates, Found
from dkvector.backends._plan import Effort
from dkvector.backends._rows import Mask, Rows
from dkvector.backends._topk import Block, Nearest, Positions, joined
from dkvector.errors import UnsupportedError
from dkvector.indexes import HNSW, IVF, Tuning
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
        near = self._measured(queries, positions)
        if wide == len(block.matrix):
            return near
        spread = np.abs(values[:, -1] - values[:, min(request.k, wide) - 1])
        lengths = np.sqrt(squared_norms(queries))
        scale = (lengths + block.longest) ** 2 if euclidean else lengths * block.longest
        tied = np.flatnonzero(spread <= 2 * _topk.SLACK * scale)
        return near if not len(tied) else patched(near, tied, self._slowly(queries[tied]))

    def _measured(self, queries: Floats, positions: Positions) -> Nearest:
        """Measure candidates `(q, w)` against the full vectors, and keep the k nearest; -1 stands for none."""
        k, distances = self.request.k, pair_distances(queries, self.blocks, positions, self.request.metric)
        order = np.argsort(distances, axis=1, kind="stable")
        nearest = np.take_along_axis(distances, order, axis=1)
        there = np.isfinite(nearest)
        if ((nearest[:, 1:] == nearest[:, :-1]) & there[:, 1:]).any():
            query, at = np.nonzero(np.isfinite(distances))
            flat = positions[query, at], distances[query, at]
            return _topk.best_of(query, *flat, len(queries), k=k, ranks=self.rows.ranks)
        rows, kept = np.take_along_axis(positions, order, axis=1)[:, :k], there[:, :k]
        return Nearest(rows[kept], nearest[:, :k][kept], kept.sum(axis=1))

    def _slowly(self, queries: Floats) -> Nearest:
        return _topk.search(self.blocks, queries, self.request.k, self.request.metric, ranks=self.rows.ranks)

    def through(self, index: FaissIndex, effort: Effort) -> Nearest:
        """Search the index, and compare the rows that it does not cover yet."""
        request, rows = self.request, self.rows
        mask = None if self.candidates.mask is None else self.candidates.mask[: index.rows]
        if index.spec.quantization is not None and request.tuning.rescore:
            near = self._measured(request.queries, self._coded(index, mask, effort))
        else:
            near = index.search(request.queries, mask, effort)
        if behind := tail(self.blocks, index.rows):
            among = self.candidates.positions
            rest = _topk.search(behind, request.queries, request.k, request.metric, rows=among, ranks=rows.ranks)
            near = merged([near, rest], request.k, rows)
        elif _topk.tied(near):
            near = merged([near], request.k, rows)
        return near

    def _coded(self, index: FaissIndex, mask: Mask | None, effort: Effort) -> Positions:
        """Give the candidates of an index of codes, `(q, w)`."""
        if mask is None or index.selects:
            return index.candidates(self.request.queries, mask, effort)[1]
        positions = index.candidates(self.request.queries, None, effort)[1]
        return np.where((positions >= 0) & mask[positions], positions, -1)


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
    return Found(near, _plan_of(index, request, selector=bool(among)), _native(index, effort, len(short)))


def effort_of(index: FaissIndex, tuning: Tuning, k: int, candidates: Candidates, rows: Rows) -> Effort:
    """Say how wide the index must be searched for the share of rows that match."""
    share = max(candidates.count, 1) / max(rows.total, 1)
    wide = _widened(index, tuning, k, share)
    dimensions, spec = int(index.index.d), index.spec
    if isinstance(spec, HNSW):
        ef_search = max(tuning.ef_search or EF_SEARCH, wide)
        effort = _plan.graph_effort(ef_search, spec.m, share, dimensions, code=index.code.graph)
    else:
        lists = index.index.nlist
        probes = min(tuning.probes or PROBES, lists)
        effort = _plan.lists_effort(probes, lists, index.rows, share, dimensions, code=index.code.lists)
    again = 0 if wide == k else _plan.exact_cost(wide, 1, dimensions)
    return replace(effort, candidates=wide, cost=effort.cost + again)


def _widened(index: FaissIndex, tuning: Tuning, k: int, share: float) -> int:
    """Count the neighbours that the index is asked for: more than k where they are measured again."""
    quantization = index.spec.quantization
    if quantization is None:
        return k
    if not tuning.rescore:
        if quantization == "binary":
            raise UnsupportedError("a binary index counts bits, which are no distance: leave rescore=True")
        return k
    wide = max(tuning.candidates or k * index.code.widen, k)
    return min(wide if index.selects else ceil(wide / share), max(index.rows, k))


def _exact_is_cheaper(candidates: Candidates, effort: Effort, request: Request) -> bool:
    if candidates.mask is None:
        return False  # who built an index wants it searched
    exact = _plan.exact_cost(candidates.count, len(request.queries), request.info.dimensions)
    return candidates.count <= request.k or exact <= effort.cost


def _plan_of(index: FaissIndex, request: Request, *, selector: bool) -> str:
    spec = index.spec
    coded = "" if spec.quantization is None else f" of {spec.quantization}"
    rescored = ", rescored" if coded and request.tuning.rescore else ""
    return spec.kind + coded + (" with a selector" if selector else "") + rescored


def _native(index: FaissIndex, effort: Effort, short: int) -> dict[str, object]:
    knobs: dict[str, object] = {"index": index.spec}
    if isinstance(index.spec, HNSW):
        knobs["ef_search"] = effort.ef_search
    elif isinstance(index.spec, IVF):
        knobs["probes"] = effort.probes
    if index.spec.quantization is not None:
        knobs["candidates"] = effort.candidates
    return knobs | ({"completed": f"{short:,} queries exactly"} if short else {})


def _faiss_is_faster(queries: Floats, block: Block, request: Request) -> bool:
    """Faiss's own product wins from the batch size on where it uses BLAS; it can't divide by norms."""
    if queries.size < faiss.cvar.distance_compute_blas_threshold:
        return False
    return request.metric is not DistanceMetric.COSINE or bool(np.abs(block.squared - 1).max() < UNIT)


def by_index(queries: Floats, matrix: Floats, rows: Positions) -> Floats:
    """Inner products `(q, r)` with some rows, without gathering them."""
    with one_thread(len(queries)):
        return _measured_at(faiss.fvec_inner_products_by_idx, queries, matrix, np.tile(rows, (len(queries), 1)))


def pair_distances(queries: Floats, blocks: Sequence[Block], positions: Positions, metric: DistanceMetric) -> Floats:
    """Measure each query against rows of its own, `(q, w)`; infinitely far where a position is -1."""
    result = np.full(positions.shape, np.inf, np.float32)
    for block in blocks:
        inside = (positions >= block.start) & (positions < block.start + len(block.matrix))
        if inside.any():
            at = np.where(inside, positions - block.start, -1)
            result[inside] = _within(queries, block, at, metric)[inside]
    return result


def _within(queries: Floats, block: Block, rows: Positions, metric: DistanceMetric) -> Floats:
    if metric is DistanceMetric.EUCLIDEAN:
        return from_squared(_measured_at(faiss.fvec_L2sqr_by_idx, queries, block.matrix, rows))
    dots = _measured_at(faiss.fvec_inner_products_by_idx, queries, block.matrix, rows)
    if metric is DistanceMetric.COSINE:
        dots /= np.sqrt(block.squared_at(rows)) * np.sqrt(squared_norms(queries))[:, None]
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
