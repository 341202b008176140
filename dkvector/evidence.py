"""How near random pairs of a store's rows are: what tells whether a hit is a match, or chance."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector._loop import offload
from dkvector.columns import to_index
from dkvector.errors import SchemaError
from dkvector.filters import Filter
from dkvector.metrics import DistanceMetric, Floats, from_inner_product, from_squared, scale_of
from dkvector.operations import VectorOperations
from dkvector.refinements import Evidence
from dkvector.requests import Request
from dkvector.results import Hits
from dkvector.vectors import to_matrix

Values = NDArray[np.float64]
BLOCK = 512  # rows whose distances to all others are measured at once
KEPT = 8  # samples that are kept
ROUNDING = 1e-6  # of the scale of distances, by which those of engines in float32 are off
PAGE = 1 << 16  # ids that are read at a time
_ODD = 0x9E3779B97F4A7C15  # the golden ratio in 64 bits, as splitmix64 has it


@dataclass(frozen=True)
class Chance:
    """How near pairs of rows are that have nothing to do with each other.

    Attributes:
        pairs: `(m,)` float32 distances of random pairs, ascending.
        slack: by which rounding may take a distance below that of a pair which is as near.
    """

    pairs: Floats
    slack: float = 0.0

    def p_values(self, distances: Floats, tries: Any = 1) -> Values:
        """Tell how likely the nearest of some random pairs is at least as near, `(h,)`; see `Evidence`.

        Args:
            distances: `(h,)` of hits.
            tries: vectors of the query that each hit belongs to, or one number for all.

        Example:
            >>> Chance(np.float32([0.1, 0.2, 0.3])).p_values(np.float32([0.05, 0.2, 9]))
            array([0.25, 0.75, 1.  ])
        """
        nearer = np.searchsorted(self.pairs, distances + np.float32(self.slack), side="right")
        single: Values = (nearer + 1) / (len(self.pairs) + 1)
        # 1 - (1 - p)^tries by logarithms, as a power would lose a small p; p stays below 1, whose complement has none
        return -np.expm1(tries * np.log1p(-np.minimum(single, 1 - 1e-16))) if np.any(np.not_equal(tries, 1)) else single


def chance_of(matrix: Floats, metric: DistanceMetric) -> Chance:
    """Measure all pairs of different rows of a sample, `(n, d)`.

    Raises:
        SchemaError: fewer than two rows.

    Example:
        >>> chance_of(np.float32([[0, 0], [3, 4], [0, 1]]), DistanceMetric.EUCLIDEAN).pairs.round(2)
        array([1.  , 4.24, 5.  ], dtype=float32)
    """
    wide = _widened(matrix, metric)
    if len(wide) < 2:  # noqa: PLR2004 - a pair
        raise SchemaError("evidence needs random pairs, and there are not two rows with vectors")
    squared: Any = np.vecdot(wide, wide)
    parts = []
    for at in range(0, len(wide) - 1, BLOCK):
        rows = np.arange(at, min(at + BLOCK, len(wide)))
        # each pair once: earlier rows have met all later ones
        dots: Any = wide[rows] @ wide[at:].T
        if metric is DistanceMetric.EUCLIDEAN:
            far = from_squared(squared[rows, None] + squared[None, at:] - 2 * dots)
        else:
            far = from_inner_product(dots, metric)
        parts.append(far[np.triu(np.ones(far.shape, bool), 1)].astype(np.float32))
    pairs = np.sort(np.concatenate(parts))
    return Chance(pairs, ROUNDING * scale_of(pairs[[0, -1]], metric))


def _widened(matrix: Floats, metric: DistanceMetric) -> Values:
    """Make a sample ready for products."""
    # in single precision ‖q‖² + ‖v‖² - 2q·v leaves copies apart, and of rows far from the origin hardly a digit
    wide: Values = matrix.astype(np.float64)
    if metric is DistanceMetric.COSINE:
        lengths: Values = np.sqrt(np.vecdot(wide, wide))
        # rows of no length, which a store of another metric may hold, are at no angle to any other
        there = lengths > 0
        wide = wide[there] / lengths[there, None]
    return wide


def drawn(ids: pd.Index, sample: int, seed: int) -> pd.Index:
    """Draw ids, by their hashes: the same ones whatever order they come in.

    Example:
        >>> drawn(pd.Index(list("abcdef")), 2, 0).equals(drawn(pd.Index(list("fedcba")), 2, 0))
        True
    """
    if len(ids) <= sample:
        return ids
    return ids.take(np.argsort(_hashes(ids, seed), kind="stable")[:sample])


def _hashes(ids: pd.Index, seed: int) -> NDArray[np.uint64]:
    """Hash ids with a seed; splitmix64 spreads what pandas' own hash leaves close together."""
    plain = pd.util.hash_pandas_object(ids, index=False).to_numpy(np.uint64)
    mixed: Any = plain + np.uint64((seed + 1) * _ODD % 2**64)
    for shift, odd in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(odd)
    hashes: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return hashes


def judged(hits: Hits, request: Request, knob: Evidence, chance: Chance, matching: int) -> Hits:
    """Add the columns of evidence to hits, and leave out those with too little of it."""
    tries = 1 if request.blend is None else request.blend.sizes[hits.of_query]
    p = chance.p_values(hits.distances, tries)
    hits = replace(hits, extra={**hits.extra, "p_value": p, "e_value": p * matching})
    good = np.ones(len(p), bool)
    good &= p <= (np.inf if knob.max_p is None else knob.max_p)
    good &= p * matching <= (np.inf if knob.max_e is None else knob.max_e)
    return hits if good.all() else hits.taken(np.flatnonzero(good))


@dataclass
class _Kept:
    """A sample, and the state of the store that it was drawn from."""

    rows: int
    state: Any
    chance: Chance


@dataclass
class Sampler:
    """Draws rows of a store, and remembers how near they are while the store stays as it is."""

    kept: dict[tuple[Any, ...], _Kept] = field(default_factory=dict)


class Evident(VectorOperations):
    """What a store has of it."""

    _sampler: Sampler | None = None

    @abstractmethod
    def _state_now(self) -> Any:
        """Give what is another object once rows were written by this store."""

    @abstractmethod
    async def _count(self, where: Filter | None) -> int: ...

    @abstractmethod
    def _scan(
        self, where: Filter | None, columns: Sequence[str], batch_size: int, *, include_vectors: bool
    ) -> AsyncIterator[pa.Table]: ...

    @abstractmethod
    async def _get(self, ids: pd.Index, columns: Sequence[str], *, include_vectors: bool) -> pa.Table: ...

    async def _chance(self, request: Request, knob: Evidence) -> tuple[Chance, int]:
        """Give the distances of random pairs, and the number of rows that a search may find."""
        rows, state = await self._count(None), self._state_now()
        sampler = self._sampler = self._sampler or Sampler()
        key = (request.info.name, request.metric, knob.sample, knob.seed)
        known = sampler.kept.get(key)
        # the state tells of writes by this store, the count of those by others
        if known is None or known.rows != rows or known.state is not state:
            chance = await offload(chance_of, await self._drawn(request, knob), request.metric)
            while len(sampler.kept) >= KEPT:
                sampler.kept.pop(next(iter(sampler.kept)))
            sampler.kept[key] = known = _Kept(rows, state, chance)
        matching = rows if request.where is None else await self._count(request.where)
        return known.chance, matching

    async def _drawn(self, request: Request, knob: Evidence) -> Floats:
        """Read all ids, and the vectors of those that are drawn."""
        ids: pd.Index | None = None
        async for page in self._scan(None, [], PAGE, include_vectors=False):
            some = to_index(page.column(0), page.schema.field(0))
            # a page at a time: the smallest hashes of all are among those kept and those of the page
            ids = drawn(some if ids is None else ids.append(some), knob.sample, knob.seed)
        if ids is None:
            return np.empty((0, request.info.dimensions), np.float32)
        table = await self._get(ids, [], include_vectors=True)
        matrix, missing = to_matrix(table.column(request.info.name))
        return matrix if missing is None else matrix[~missing]
