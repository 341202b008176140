"""Figures of merit: pure functions of arrays, one value for each query, and the spread of their mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dkvector.backends._topk import Positions
from dkvector.evaluation.truth import Truth
from dkvector.metrics import Floats

Values = NDArray[np.float64]

RESAMPLES = 1_000  # of the bootstrap
LEVEL = 0.95  # of its interval


@dataclass(frozen=True)
class Answers:
    """Rows that were found for each query, one query after the other, nearest first.

    Attributes:
        query: `(h,)` which query, ascending.
        row: `(h,)` place of the row among all; -1 for a row that is not there, or that the filter forbids.
        distance: `(h,)` float32, measured on the full vectors whatever the engine says.
        queries: how many queries.
    """

    query: Positions
    row: Positions
    distance: Floats
    queries: int

    def first(self, k: int) -> Answers:
        """Give the first k of each query, and of a row that comes twice only the first."""
        pair = self.query * (int(self.row.max(initial=0)) + 1) + self.row
        # those that are no row are all different
        pair = np.where(self.row < 0, -1 - np.arange(len(pair)), pair)
        # back in the order of the ranks
        once = np.sort(np.unique(pair, return_index=True)[1])
        query = self.query[once]
        once = once[_place(query, self.queries) < k]
        return Answers(self.query[once], self.row[once], self.distance[once], self.queries)


def _place(query: Positions, queries: int) -> Positions:
    """Count from 0 within each query."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(query, minlength=queries))])
    place: Positions = np.arange(len(query)) - starts[query]
    return place


def recall(found: Answers, truth: Truth, slack: Floats) -> Values:
    """Count the share of the k nearest rows that was found, by distance: rows as near as the k-th are as good as it.

    Where fewer than k rows match, the share is of those that do; a row that comes twice counts once (as in
    ann-benchmarks: Aumüller, Bernhardsson and Faithfull, *ANN-Benchmarks*, Information Systems 87, 2020).

    Args:
        found: what was found, at least k of each query where there were as many.
        truth: the k nearest.
        slack: `(q,)` by which rounding may take a distance beyond the k-th.

    Returns:
        Recall of each query, `(q,)`; NaN where no row matches.
    """
    near = found.first(truth.k)
    good = (near.row >= 0) & (near.distance <= (truth.kth + slack)[near.query])
    hits = np.bincount(near.query[good], minlength=found.queries)
    share = np.minimum(hits, truth.counts) / np.maximum(truth.counts, 1)
    return np.where(truth.counts > 0, share, np.nan)


@dataclass(frozen=True)
class Relevances:
    """Rows that answer a query by somebody's judgement.

    Attributes:
        query: `(r,)` which query.
        row: `(r,)` which row.
        gain: `(r,)` how relevant, above 0.
        queries: how many queries.
        rows: how many rows there are in all.
    """

    query: Positions
    row: Positions
    gain: Values
    queries: int
    rows: int

    @property
    def counts(self) -> Positions:
        """Relevant rows of each query, `(q,)`."""
        counts: Positions = np.bincount(self.query, minlength=self.queries)
        return counts

    def gains(self, found: Answers) -> Values:
        """Give the gain of each row found, `(h,)`; 0 where it is not relevant."""
        keys = self.query * self.rows + self.row
        order = np.argsort(keys)
        wanted = found.query * self.rows + found.row
        at = np.minimum(np.searchsorted(keys, wanted, sorter=order), max(len(keys) - 1, 0))
        if not len(keys):
            return np.zeros(len(wanted))
        # -1 gives the key of the last row of the query before
        same = (keys[order[at]] == wanted) & (found.row >= 0)
        return np.where(same, self.gain[order[at]], 0.0)

    def _known(self, values: Values) -> Values:
        return np.where(self.counts > 0, values, np.nan)

    def recall(self, found: Answers, k: int) -> Values:
        """Count the share of the relevant rows that is among the k found, `(q,)`; NaN where none is relevant."""
        near = found.first(k)
        hits = np.bincount(near.query[self.gains(near) > 0], minlength=self.queries)
        return self._known(hits / np.maximum(self.counts, 1))

    def mrr(self, found: Answers, k: int) -> Values:
        """Give one divided by the rank of the first relevant row, `(q,)`; 0 where none is found (TREC-8, 1999)."""
        near = found.first(k)
        good = self.gains(near) > 0
        first = np.full(self.queries, np.inf)
        np.minimum.at(first, near.query[good], _place(near.query, self.queries)[good] + 1.0)
        return self._known(1 / first)

    def ndcg(self, found: Answers, k: int) -> Values:
        """Give the gain found, discounted by log2 of the rank plus one, as a share of the best possible, `(q,)`.

        Järvelin and Kekäläinen, *Cumulated gain-based evaluation of IR techniques*, TOIS 20 (2002).
        """
        near = found.first(k)
        got = self._discounted(near.query, self.gains(near))
        order = np.lexsort((-self.gain, self.query))
        query, gain = self.query[order], self.gain[order]
        kept = _place(query, self.queries) < k
        best = self._discounted(query[kept], gain[kept])
        return self._known(got / np.where(best > 0, best, 1))

    def _discounted(self, query: Positions, gain: Values) -> Values:
        weights = gain / np.log2(_place(query, self.queries) + 2)
        return np.asarray(np.bincount(query, weights=weights, minlength=self.queries), np.float64)


def mean(values: Values) -> float:
    """Take the mean of what is known; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def interval(values: Values, seed: int = 0, level: float = LEVEL) -> tuple[float, float]:
    """Give the percentile bootstrap interval of a mean: the queries are drawn again and again from themselves.

    Efron and Tibshirani, *An Introduction to the Bootstrap*, chapter 13 (1993).

    Args:
        values: one of each query; NaN is left out.
        seed: of the drawing.
        level: share of the means that lie inside.

    Returns:
        The lower and the upper end; NaN where nothing is known.

    Example:
        >>> interval(np.array([1.0, 1.0, 0.5, 0.9]))
        (0.6..., 1.0)
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    # a recall has few values: drawing how often each one comes takes no array of all the queries for every resample
    some, counts = np.unique(known, return_counts=True)
    times = rng.multinomial(len(known), counts / len(known), size=RESAMPLES)
    means = times @ some / len(known)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def lower_bound(values: Values, again: int, z: float) -> float:
    """Give what the mean of `again` further queries will hardly fall below: prediction, not only estimation.

    The means of two samples differ by s·√(1/n + 1/m) in standard deviation; z of those are taken off.

    Args:
        values: one of each of n queries.
        again: how many further queries, m.
        z: standard deviations; 2.33 is missed once in a hundred times.

    Example:
        >>> round(lower_bound(np.array([1.0, 0.9, 1.0, 0.9]), 100, 2.0), 3)
        0.891
    """
    known = values[~np.isnan(values)]
    if len(known) < 2:  # noqa: PLR2004 - of one there is no spread
        return float("-inf")
    spread = float(known.std(ddof=1)) * np.sqrt(1 / len(known) + 1 / max(again, 1))
    return float(known.mean() - z * spread)
