"""Rank fusion: several answers to one question, each ranked its own way, become one ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.counts import as_count
from dkvector.errors import SchemaError, hint
from dkvector.metrics import Floats

Normalisation = Literal["minmax", "zscore", "none"]
Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class RRF:
    """Reciprocal rank fusion: a row gets Σ weight / (k + rank), over the legs that found it.

    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods",
    SIGIR 2009. Only ranks count, so that legs whose scores mean nothing to each other can be fused.

    Args:
        k: how little the first ranks stand out, above -1.
        weights: of the legs, vectors first, in the order of the fields, then words; not negative, not all zero. None
            weighs them alike.
        window: rows that each leg gives; k of the search where that is more.

    Example:
        >>> RRF(k=10)
        RRF(k=10, weights=None, window=100)
    """

    k: float = 60
    weights: tuple[float, ...] | None = None
    window: int = 100

    def __post_init__(self) -> None:
        if not self.k > -1:
            raise SchemaError(f"k of RRF must be above -1, not {self.k!r}")
        if self.weights is not None:
            check_weights(self.weights)
        as_count(self.window, "window")

    def weights_of(self, legs: int) -> tuple[float, ...]:
        """Give the weight of each leg."""
        return (1.0,) * legs if self.weights is None else self.weights

    def values(self, leg: Leg) -> Doubles:
        """Give what each row of a leg adds, before its weight."""
        return 1 / (self.k + np.arange(1, len(leg.scores) + 1))

    def absent(self, values: Doubles) -> float:  # noqa: ARG002 - the interface of a fusion
        """Give what a row adds that a leg has not found."""
        return 0


@dataclass(frozen=True)
class Weighted:
    """A weighted sum of scores: alpha · vector + (1 - alpha) · text, or Σ alpha_i · leg_i.

    A row that a leg has not found counts there as the worst that it did find; with "none" as zero, which is what
    no common word and a right angle score.

    Args:
        alpha: the weight of the first of two legs, which is the vector's, in [0, 1]; or one for each leg: not negative,
            not all zero.
        normalise: "minmax" brings each leg to [0, 1], "zscore" to mean 0 and standard deviation 1, "none" takes the
            scores as they are. A leg whose scores are all equal gives 1 under "minmax", 0 under "zscore".
        window: rows that each leg gives; k of the search where that is more.

    Example:
        >>> Weighted(0.7)
        Weighted(alpha=0.7, normalise='minmax', window=100)
    """

    alpha: float | tuple[float, ...] = 0.5
    normalise: Normalisation = "minmax"
    window: int = 100

    def __post_init__(self) -> None:
        if isinstance(self.alpha, tuple):
            check_weights(self.alpha)
        elif not 0 <= self.alpha <= 1:
            raise SchemaError(f"alpha must be in [0, 1], not {self.alpha!r}")
        if self.normalise not in get_args(Normalisation):
            raise SchemaError(f"no normalisation {self.normalise!r}; {hint(self.normalise, get_args(Normalisation))}")
        as_count(self.window, "window")

    def weights_of(self, legs: int) -> tuple[float, ...]:  # noqa: ARG002 - the interface of a fusion
        """Give the weight of each leg."""
        return self.alpha if isinstance(self.alpha, tuple) else (self.alpha, 1 - self.alpha)

    def values(self, leg: Leg) -> Doubles:
        """Give what each row of a leg adds, before its weight."""
        scores = leg.scores.astype(np.float64)
        if self.normalise == "none" or not len(scores):
            return scores
        if self.normalise == "zscore":
            low, width, flat = scores.mean(), scores.std(), 0.0
        else:
            low, width, flat = scores.min(), np.ptp(scores), 1.0
        brought: Doubles = (scores - low) / width if width > 0 else np.full(len(scores), flat)
        return brought

    def absent(self, values: Doubles) -> float:
        """Give what a row adds that a leg has not found."""
        return 0 if self.normalise in {"none", "minmax"} else float(values.min(initial=0))


Fusion = RRF | Weighted


@dataclass(frozen=True)
class Leg:
    """One ranking of rows.

    Attributes:
        ids: `(h,)` labels, best first, each once.
        scores: `(h,)` float32, larger is better.
    """

    ids: pd.Index
    scores: Floats


@dataclass(frozen=True)
class Aligned:
    """Every row that a leg found, once, and what each leg says of it.

    Attributes:
        ids: `(h,)` labels.
        added: `(legs, h)` what each leg adds, before its weight.
        ranks: `(legs, h)` from 1, 0 where a leg has not found the row.
        of_legs: `(legs, h)` float32 scores of the legs, NaN where a leg has not found the row.
    """

    ids: pd.Index
    added: Doubles
    ranks: Counts
    of_legs: Floats

    def fused(self, weights: Sequence[float], k: int) -> Fused:
        """Give the k rows with the largest weighted sum."""
        total = np.asarray(weights, np.float64) @ self.added
        kept = _best(self.ids, total)[:k]
        return Fused(self.ids.take(kept), total[kept], self.ranks[:, kept], self.of_legs[:, kept])


@dataclass(frozen=True)
class Fused:
    """One ranking out of several.

    Attributes:
        ids: `(h,)` labels, best first, ties by id.
        scores: `(h,)` float64 of the fusion, larger is better.
        ranks: `(legs, h)` from 1, 0 where a leg has not found the row.
        of_legs: `(legs, h)` float32 scores of the legs, NaN where a leg has not found the row.
    """

    ids: pd.Index
    scores: Doubles
    ranks: Counts
    of_legs: Floats

    def among(self, ids: pd.Index) -> Fused:
        """Leave out rows that are not among these."""
        there = np.asarray(self.ids.isin(ids), bool)
        if there.all():
            return self
        return Fused(self.ids[there], self.scores[there], self.ranks[:, there], self.of_legs[:, there])


def fuse(legs: Sequence[Leg], fusion: Fusion, k: int) -> Fused:
    """Fuse rankings into one; every row that a leg found takes part.

    Args:
        legs: the rankings.
        fusion: how; it has a weight for each leg.
        k: rows to keep.

    Returns:
        The k best rows.

    Raises:
        SchemaError: as many legs as weights are needed.

    Example:
        >>> vector = Leg(pd.Index(["a", "b"]), np.float32([0.9, 0.8]))
        >>> text = Leg(pd.Index(["b", "c"]), np.float32([7, 3]))
        >>> fuse([vector, text], RRF(), k=3).ids.tolist()
        ['b', 'a', 'c']
    """
    weights = fusion.weights_of(len(legs))
    if len(legs) != len(weights):
        raise SchemaError(f"{len(legs)} rankings, but {len(weights)} weights in {fusion!r}")
    return aligned(legs, fusion).fused(weights, k)


def aligned(legs: Sequence[Leg], fusion: Fusion) -> Aligned:
    """Put rankings beside each other, a column for each row that any of them found."""
    ids = legs[0].ids
    for leg in legs[1:]:
        ids = ids.append(leg.ids)
    ids = ids.unique()
    added = np.zeros((len(legs), len(ids)))
    ranks = np.zeros((len(legs), len(ids)), np.int64)
    scores = np.full((len(legs), len(ids)), np.nan, np.float32)
    for at, leg in enumerate(legs):
        values, place = fusion.values(leg), ids.get_indexer(leg.ids)
        added[at] = fusion.absent(values)
        added[at, place], ranks[at, place], scores[at, place] = values, np.arange(1, len(place) + 1), leg.scores
    return Aligned(ids, added, ranks, scores)


def _best(ids: pd.Index, total: Doubles) -> NDArray[np.intp]:
    by_id = np.argsort(ids, kind="stable")
    # Sums of the same parts in another order differ in the last digits, and are a tie nevertheless.
    return by_id[np.argsort(-np.round(total[by_id], 12), kind="stable")]


def check_weights(weights: Sequence[float]) -> None:
    """Refuse weights that are negative, or all zero."""
    if not all(0 <= weight < np.inf for weight in weights) or not any(weights):
        raise SchemaError(f"weights must not be negative, and not all zero: {weights!r}")
