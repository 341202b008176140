"""Exact neighbours by Faiss, of a batch by its blocked product: its candidates, measured again without rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np

from dkvector.backends import _plan, _topk
from dkvector.backends._faiss_index import one_thread
from dkvector.backends._products import Products, gathered, multiplied
from dkvector.backends._topk import Block, Nearest, Positions, Ranks, joined
from dkvector.metrics import DistanceMetric, Floats, from_inner_product, from_squared
from dkvector.norms import normalize, squared_norms

SPARE = 2  # neighbours asked for beyond k, so that rows as near as the k-th are seen
ONE_BY_ONE = 3  # queries that Faiss's kernel compares on one thread, in less time than BLAS takes on two
CORES = 4  # up to which one of them reads the rows about as fast as all together

Slowly = Callable[[Floats], Nearest]


def many(queries: Floats) -> bool:
    """Tell whether Faiss multiplies matrices for so many queries: below, it goes query by query."""
    return bool(queries.size >= faiss.cvar.distance_compute_blas_threshold)


@dataclass(frozen=True)
class FaissKnn:
    """The rows to search, as Faiss must have them.

    Attributes:
        block: the vectors.
        metric: the metric.
    """

    block: Block
    metric: DistanceMetric

    @cached_property
    def space(self) -> Block:
        """The rows that Faiss compares: under cosine at unit length, since it can't divide by norms."""
        plain = self.metric is not DistanceMetric.COSINE or self.block.unit
        return self.block if plain else Block(self.block.start, normalize(self.block.matrix))

    def nearest(self, queries: Floats, k: int, slowly: Slowly, ranks: Ranks | None = None) -> Nearest:
        """Find the k nearest rows of every query.

        Args:
            queries: `(q, d)` float32.
            k: how many.
            slowly: searches queries with more ties at the k-th place than Faiss gave candidates.
            ranks: gives the order of rows among ties; the order of rows by default.

        Returns:
            The neighbours, nearest first, ties by `ranks`.
        """
        wide = min(k + SPARE, len(self.block.matrix))
        euclidean = self.metric is DistanceMetric.EUCLIDEAN
        kind = faiss.METRIC_L2 if euclidean else faiss.METRIC_INNER_PRODUCT
        values, positions = faiss.knn(queries, self.space.matrix, wide, metric=kind)
        near = self._measured(queries, positions, k, ranks)
        # every row was a candidate: none can be missing
        if wide == len(self.block.matrix):
            return near
        spread = np.abs(values[:, -1] - values[:, min(k, wide) - 1])
        lengths = np.sqrt(squared_norms(queries))
        # a product rounds by the size of its terms: those of ‖q‖² + ‖v‖² - 2q·v, or of q·v
        scale = (lengths + self.space.longest) ** 2 if euclidean else lengths * self.space.longest
        # not more, rather than at most: NaN counts as tied too
        tied = np.flatnonzero(~(spread > 2 * _topk.SLACK * scale))
        return near if not len(tied) else patched(near, tied, slowly(queries[tied]))

    def _measured(self, queries: Floats, positions: Positions, k: int, ranks: Ranks | None) -> Nearest:
        """Measure candidates `(q, w)` again, without the rounding of a product of matrices."""
        distances = pair_distances(queries, self.block, positions, self.metric)
        order = np.argsort(distances, axis=1, kind="stable")
        nearest = np.take_along_axis(distances, order, axis=1)
        tied = np.flatnonzero((nearest[:, 1:] == nearest[:, :-1]).any(axis=1))
        if len(tied):
            rows = positions[tied]
            places = rows if ranks is None else ranks(rows.reshape(-1)).reshape(rows.shape)
            order[tied] = np.lexsort((places, distances[tied]), axis=1)
        rows = np.take_along_axis(positions, order[:, :k], axis=1)
        counts = np.full(len(queries), rows.shape[1])
        return Nearest(rows.reshape(-1), np.ascontiguousarray(nearest[:, :k]).reshape(-1), counts)


def products_for(queries: int) -> Products:
    """Choose what makes the inner products of so many queries."""
    alone = queries <= ONE_BY_ONE and faiss.omp_get_max_threads() <= CORES
    whole = one_by_one if alone else multiplied
    return Products(whole, by_index if queries < _plan.BATCH else gathered)


def one_by_one(queries: Floats, rows: Floats, space: Floats) -> Floats:
    """Inner products `(q, r)` with every row, in one pass through them for each query."""
    out = space.reshape(len(queries), -1)
    for query, products in zip(queries, out, strict=True):
        faiss.fvec_inner_products_ny(*map(faiss.swig_ptr, (products, query, rows)), rows.shape[1], len(rows))
    return out


def by_index(queries: Floats, matrix: Floats, rows: Positions) -> Floats:
    """Inner products `(q, r)` with some rows, without gathering them."""
    with one_thread(len(queries) == 1):
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
    # held by a name: pointers keep no array alive, and the queries may be a copy
    arrays = (out, np.ascontiguousarray(queries), matrix, ids)
    measure(*map(faiss.swig_ptr, arrays), matrix.shape[1], *ids.shape)
    return out


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
