"""Exact nearest neighbours: one blocked product, pruned by the k-th best so far, then measured again without rounding.

The product is BLAS's, block by block, so that temporaries stay small and a batch of queries costs little more than
reading the matrix once. Only entries that beat a query's k-th best so far are looked at twice. The distances that
are returned are computed again from the difference or product of the two vectors themselves: the usual
‖q‖² + ‖v‖² - 2q·v loses half its digits for near neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkvector.backends._products import PLAIN, Products
from dkvector.metrics import DistanceMetric, Floats, from_inner_product, from_squared
from dkvector.norms import squared_norms

Positions = NDArray[np.intp]
Ranks = Callable[[Positions], Positions]

CELLS = 1 << 21  # entries of one block of products: 8 MB
QUERIES = 1024  # queries of one block: enough for BLAS to run at full speed
PAIRS = 1 << 9  # pairs measured at a time, few enough to stay in the processor
TIES = 4096  # candidates beyond k, as near as the k-th but for rounding, at which they are measured before going on
UNIT = 1e-5  # how far a squared norm may be from 1 for the product to be the cosine
SLACK = 4e-6  # rounding of a float32 product, relative to the length of the vectors


@dataclass(frozen=True)
class Block:
    """Rows `start …` of a field: vectors `(n, d)` float32, or what reads some of them."""

    start: int
    matrix: Any

    @cached_property
    def squared(self) -> Floats:
        """Squared norms `(n,)`, computed once."""
        return squared_norms(self.matrix)

    def squared_at(self, rows: Positions, vectors: Floats) -> Floats:
        """Squared norms of some rows, whose vectors are at hand: a few need no look at all the others."""
        return self.squared[rows] if "squared" in self.__dict__ else squared_norms(vectors)

    @cached_property
    def unit(self) -> bool:
        """Whether the product with every row is its cosine already."""
        return bool(np.abs(self.squared - 1).max(initial=0) < UNIT)

    @cached_property
    def longest(self) -> np.float32:
        """The largest norm."""
        return np.float32(np.sqrt(self.squared.max(initial=0)))


@dataclass(frozen=True)
class Nearest:
    """Neighbours of every query, one query after the other, nearest first.

    Attributes:
        positions: `(h,)` rows.
        distances: `(h,)` float32.
        counts: `(q,)` how many of them belong to each query.
    """

    positions: Positions
    distances: Floats
    counts: Positions


@dataclass(frozen=True)
class Piece:
    """Some rows of a block, few enough for one product: all from `start` to `stop`, or `rows` of the block."""

    block: Block
    start: int
    stop: int
    rows: Positions | None

    def dots(self, queries: Floats, products: Products, space: Floats) -> Floats:
        """Inner products `(q, r)` with the queries, in `space` where it fits: fresh memory costs as much as they do."""
        if self.rows is None:
            rows = self.block.matrix[self.start : self.stop]
            return products.whole(queries, rows, space[: len(queries) * len(rows)])
        return products.some(queries, self.block.matrix, self.rows)

    @property
    def squared(self) -> Floats:
        """Squared norms `(r,)`."""
        return self.block.squared[self.start : self.stop] if self.rows is None else self.block.squared[self.rows]

    def positions(self, at: Positions) -> Positions:
        """Rows of the field for columns of the product."""
        return at + (self.block.start + self.start) if self.rows is None else self.rows[at] + self.block.start


def search(
    blocks: Sequence[Block],
    queries: Floats,
    k: int,
    metric: DistanceMetric,
    *,
    rows: Positions | None = None,
    ranks: Ranks | None = None,
    products: Products = PLAIN,
) -> Nearest:
    """Find the k nearest rows of every query, exactly.

    Args:
        blocks: the vectors, by ascending rows.
        queries: `(q, d)` float32.
        k: how many neighbours a query gets, at most.
        metric: the metric.
        rows: the only rows that may be found, ascending; all of them by default.
        ranks: gives the order of rows among ties; the order of rows by default.
        products: makes inner products.

    Returns:
        The neighbours, nearest first, ties by `ranks`.
    """
    parts = []
    norm = max((block.longest for block in blocks), default=np.float32(0))
    longest = max((len(block.matrix) for block in blocks), default=0)
    space = np.empty(min(len(queries), QUERIES) * min(longest, _size(len(queries))), np.float32)
    for i in range(0, len(queries), QUERIES):
        some = queries[i : i + QUERIES]
        best = _Best(some, k, metric, norm)
        for piece in _pieces(blocks, rows, len(some), k):
            best.offer(piece.dots(some, products, space), piece)
            if best.crowded:
                best.keep(measured(blocks, some, best.query, best.row, k=k, metric=metric, ranks=ranks))
        parts.append(measured(blocks, some, best.query, best.row, k=k, metric=metric, ranks=ranks))
    return joined(parts)


def joined(parts: Sequence[Nearest]) -> Nearest:
    """Put the neighbours of consecutive queries behind each other."""
    if len(parts) == 1:
        return parts[0]
    return Nearest(
        np.concatenate([np.empty(0, np.intp), *(part.positions for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.distances for part in parts)]),
        np.concatenate([np.empty(0, np.intp), *(part.counts for part in parts)]),
    )


def measured(
    blocks: Sequence[Block],
    queries: Floats,
    query: Positions,
    row: Positions,
    *,
    k: int,
    metric: DistanceMetric,
    ranks: Ranks | None = None,
) -> Nearest:
    """Measure candidate pairs without the rounding of a blocked product, and keep the k nearest of each query.

    Args:
        blocks: the vectors.
        queries: `(q, d)` float32.
        query: `(c,)` the query of each candidate.
        row: `(c,)` the row of each candidate.
        k: how many to keep for a query.
        metric: the metric.
        ranks: gives the order of rows among ties.

    Returns:
        The neighbours, nearest first, ties by `ranks`.
    """
    distance = np.empty(len(row), np.float32)
    for block in blocks:
        inside = (row >= block.start) & (row < block.start + len(block.matrix))
        at = slice(None) if inside.all() else inside
        distance[at] = pair_distances(block, queries, query[at], row[at] - block.start, metric)
    return best_of(query, row, distance, len(queries), k=k, ranks=ranks)


def best_of(
    query: Positions, row: Positions, distance: Floats, queries: int, *, k: int, ranks: Ranks | None = None
) -> Nearest:
    """Keep the k nearest of each query among candidate pairs, ties by `ranks`."""
    # by position first: ids are sorted only where they decide
    order = np.lexsort((row, distance, query))
    if ranks is not None and _tied(query[order], distance[order]):
        order = np.lexsort((ranks(row), distance, query))
    order = order[_rank(query[order], queries) < k]
    return Nearest(row[order], distance[order], np.bincount(query[order], minlength=queries))


def tied(near: Nearest) -> bool:
    """Tell whether any two neighbours of a query are equally near."""
    if len(near.counts) == 1:
        return bool((near.distances[1:] == near.distances[:-1]).any())
    return _tied(np.repeat(np.arange(len(near.counts)), near.counts), near.distances)


def pair_distances(block: Block, queries: Floats, query: Positions, row: Positions, metric: DistanceMetric) -> Floats:
    """Measure pairs of a query and a row of the block, `(p,)` each, from the two vectors themselves."""
    result = np.empty(len(row), np.float32)
    lengths = np.sqrt(squared_norms(queries))
    for i in range(0, len(row), PAIRS):
        q, r = query[i : i + PAIRS], row[i : i + PAIRS]
        theirs, ours = block.matrix[r], queries[q]
        if metric is DistanceMetric.EUCLIDEAN:
            # in place: indexing by an array has made a copy
            theirs -= ours
            result[i : i + PAIRS] = from_squared(np.einsum("pd,pd->p", theirs, theirs))
            continue
        dots = np.einsum("pd,pd->p", ours, theirs)
        if metric is DistanceMetric.COSINE:
            dots /= lengths[q] * np.sqrt(block.squared_at(r, theirs))
        result[i : i + PAIRS] = from_inner_product(dots, metric)
    return result


def _sorted(query: Positions, key: Floats) -> Positions:
    """Sort by query, then key: as one integer, several times faster than a lexsort."""
    bits = key.view(np.int32)
    # the order of floats as the order of integers
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return np.argsort((query << 32) + ordered)


def _tied(query: Positions, distance: Floats) -> bool:
    return bool(((distance[1:] == distance[:-1]) & (query[1:] == query[:-1])).any())


def _rank(query: Positions, queries: int) -> Positions:
    """Place of each entry among those of its query; entries are sorted by query."""
    starts = np.zeros(queries + 1, np.intp)
    np.cumsum(np.bincount(query, minlength=queries), out=starts[1:])
    return np.arange(len(query)) - starts[query]


def _size(queries: int) -> int:
    return max(1024, CELLS // max(min(queries, QUERIES), 1))


def _pieces(blocks: Sequence[Block], rows: Positions | None, queries: int, k: int) -> Iterator[Piece]:
    """Cut blocks to the size of one product; the first is small, only to find a first k-th best to prune by."""
    size = _size(queries)
    step = min(size, max(1024, 8 * k))
    for block in blocks:
        ends = (block.start, block.start + len(block.matrix))
        inside = None if rows is None else rows[slice(*np.searchsorted(rows, ends))]
        at, length = 0, len(block.matrix) if inside is None else len(inside)
        while at < length:
            to = min(length, at + step)
            yield Piece(block, at, to, None if inside is None else inside[at:to] - block.start)
            at, step = to, size


class _Best:
    """The best candidates of some queries so far, by a key that is smaller for nearer rows."""

    def __init__(self, queries: Floats, k: int, metric: DistanceMetric, longest: np.float32) -> None:
        self.k, self.metric, self.longest = k, metric, longest
        self.lengths = np.sqrt(squared_norms(queries))
        self.limit = np.full(len(queries), np.inf, np.float32)
        self.crowded = False
        self.query = np.empty(0, np.intp)
        self.row = np.empty(0, np.intp)
        self.key = np.empty(0, np.float32)

    def offer(self, dots: Floats, piece: Piece) -> None:
        key = self._keys(dots, piece.squared)
        # the first piece prunes itself, so that not all of it is sorted
        if not len(self.row) and key.shape[1] > self.k:
            self._lower(np.partition(key, self.k - 1)[:, self.k - 1])
        # turned back: in memory the product lies by rows of the block, and is looked through in that order
        at, query = np.divmod(np.flatnonzero((key <= self.limit[:, None]).T), len(key))
        self.query = np.concatenate([self.query, query])
        self.row = np.concatenate([self.row, piece.positions(at)])
        self.key = np.concatenate([self.key, key[query, at]])
        self._trim()

    def _keys(self, dots: Floats, squared: Floats) -> Floats:
        match self.metric:
            case DistanceMetric.COSINE:
                # rows of no length, which other metrics let in, have no direction: NaN is within no limit, so no hit
                with np.errstate(invalid="ignore"):
                    dots /= -np.sqrt(squared)
            case DistanceMetric.DOT_PRODUCT:
                np.negative(dots, out=dots)
            case DistanceMetric.EUCLIDEAN:
                # without ‖q‖², which is the same for all rows of a query
                dots *= -2
                dots += squared
        return dots

    def _lower(self, kth: Floats) -> None:
        """Set the limit a little above the k-th best, so that rounding drops no tie."""
        scale = 1 if self.metric is DistanceMetric.COSINE else self.longest
        slack = self.lengths * scale * SLACK
        if self.metric is DistanceMetric.EUCLIDEAN:
            # both parts of ‖v‖² - 2q·v round
            slack = 2 * slack + self.longest**2 * SLACK
        self.limit = np.minimum(self.limit, kth + slack.astype(np.float32))

    def _trim(self) -> None:
        order = _sorted(self.query, self.key)
        query, key = self.query[order], self.key[order]
        rank = _rank(query, len(self.limit))
        kth = np.full(len(self.limit), np.inf, np.float32)
        kth[query[rank == self.k - 1]] = key[rank == self.k - 1]
        self._lower(kth)
        kept = key <= self.limit[query]
        self.crowded = bool((rank[kept] >= self.k + TIES).any())
        self._take(order[kept])

    def keep(self, near: Nearest) -> None:
        """Keep of the candidates only those that were measured to be the nearest."""
        length = int(self.row.max()) + 1
        wanted = np.repeat(np.arange(len(near.counts)), near.counts) * length + near.positions
        self._take(np.isin(self.query * length + self.row, wanted))

    def _take(self, at: NDArray[Any]) -> None:
        self.query, self.row, self.key = self.query[at], self.row[at], self.key[at]
