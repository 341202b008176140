"""Places for rows beside their neighbours on a map that stays as it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dkvector.backends._topk import Nearest
from dkvector.metrics import Floats
from dkvector.norms import BLOCK

Doubles = NDArray[np.float64]

NEIGHBOURS = 5
STEPS = 20  # towards the median
TINY = 1e-6  # a distance below which a row is a copy


def between(near: Nearest, points: Floats) -> Floats:
    """Place each row at the weighted spatial median of its neighbours; a copy of a row comes to lie on it.

    The median stays in the cluster of most neighbours where the mean would fall between clusters: half of the 20,000
    WordNet rows placed among the other half have a trustworthiness of 0.89 by the median, as good as all laid out
    together, and of 0.83 by the mean. Found by Weiszfeld's steps (*Tohoku Mathematical Journal* 43, 1937).

    Args:
        near: the same number of neighbours for each of `q` rows.
        points: `(m, 2)` where the neighbours are.

    Returns:
        The places, `(q, 2)` float32.

    Example:
        >>> near = Nearest(np.array([0, 1, 2]), np.float32([0.2, 0.2, 0.2]), np.array([3]))
        >>> between(near, np.float32([[0, 0], [0, 0], [9, 9]])).round(2) + 0
        array([[0., 0.]], dtype=float32)
    """
    rows = len(near.counts)
    others = near.positions.reshape(rows, -1)
    weights = 1 / (np.maximum(near.distances.reshape(rows, -1), 0).astype(np.float64) + TINY)
    found = np.empty((rows, 2), np.float32)
    for at in range(0, rows, BLOCK):
        found[at : at + BLOCK] = _median(points[others[at : at + BLOCK]].astype(np.float64), weights[at : at + BLOCK])
    return found


def _median(points: Doubles, weights: Doubles) -> Doubles:
    """Find the point of the least weighted sum of distances to `(q, k, 2)` points, `(q, 2)`."""
    middle = _mean(points, weights)
    extent = np.ptp(points, axis=1).max(axis=1, keepdims=True)
    for _ in range(STEPS):
        middle = _mean(points, weights / (_apart(points, middle[:, None]) + TINY * extent + 1e-12))
    # Where the median is one of the points themselves, the steps only crawl towards it.
    sums = np.stack([(weights * _apart(points, one[:, None])).sum(axis=1) for one in points.swapaxes(0, 1)], axis=1)
    best = sums.argmin(axis=1)
    at_one = sums.min(axis=1) <= (weights * _apart(points, middle[:, None])).sum(axis=1)
    return np.where(at_one[:, None], points[np.arange(len(points)), best], middle)


def _apart(points: Doubles, others: Doubles) -> Doubles:
    found: Doubles = np.sqrt(((points - others) ** 2).sum(axis=-1))
    return found


def _mean(points: Doubles, weights: Doubles) -> Doubles:
    found: Doubles = (weights[:, :, None] * points).sum(axis=1) / weights.sum(axis=1, keepdims=True)
    return found
