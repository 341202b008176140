"""The three metrics, and distance ↔ score: the only place where either is converted.

===============  =======================================  ===================
metric           distance (smaller is nearer)             score (larger is better)
===============  =======================================  ===================
``cosine``       1 - cos θ, in [0, 2]                     cos θ
``euclidean``    ‖q - v‖₂ (not squared)                   1 / (1 + distance)
``dot_product``  -q·v                                     q·v
===============  =======================================  ===================
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from dkvector.errors import UnsupportedError

Floats = NDArray[np.float32]

_ALIASES = {
    "cosine_similarity": "cosine",
    "angular": "cosine",
    "l2": "euclidean",
    "l2_norm": "euclidean",
    "ip": "dot_product",
    "dot": "dot_product",
    "inner_product": "dot_product",
    "max_inner_product": "dot_product",
}


class DistanceMetric(StrEnum):
    """How near two vectors are.

    Example:
        >>> DistanceMetric.of("l2")
        <DistanceMetric.EUCLIDEAN: 'euclidean'>
    """

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"
    DOT_PRODUCT = "dot_product"

    @classmethod
    def of(cls, metric: DistanceMetric | str) -> DistanceMetric:
        """Read a metric from its name or one of its usual aliases.

        Args:
            metric: a metric, its name, or an alias such as ``"l2"`` or ``"ip"``.

        Returns:
            The metric.

        Raises:
            UnsupportedError: no such metric; nothing is ever replaced by another silently.
        """
        name = str(metric).lower()
        try:
            return cls(_ALIASES.get(name, name))
        except ValueError:
            raise UnsupportedError.lacking("dkvector", "metric", metric, cls) from None


def score(distance: Floats, metric: DistanceMetric) -> Floats:
    """Turn distances into scores.

    Args:
        distance: distances of any shape, float32.
        metric: the metric they were measured in.

    Returns:
        Scores of the same shape, float32; the larger the better.

    Example:
        >>> score(np.float32([0.0, 1.0]), DistanceMetric.EUCLIDEAN)
        array([1. , 0.5], dtype=float32)
    """
    one = np.float32(1)
    match metric:
        case DistanceMetric.COSINE:
            return one - distance
        case DistanceMetric.EUCLIDEAN:
            return one / (one + distance)
        case DistanceMetric.DOT_PRODUCT:
            return -distance


def distance(score: Floats, metric: DistanceMetric) -> Floats:
    """Turn scores back into distances, the inverse of `score`.

    Args:
        score: scores of any shape, float32.
        metric: the metric they were measured in.

    Returns:
        Distances of the same shape, float32; the smaller the nearer.

    Example:
        >>> distance(np.float32([1.0, 0.5]), DistanceMetric.EUCLIDEAN)
        array([0., 1.], dtype=float32)
    """
    one = np.float32(1)
    match metric:
        case DistanceMetric.COSINE:
            return one - score
        case DistanceMetric.EUCLIDEAN:
            return one / score - one
        case DistanceMetric.DOT_PRODUCT:
            return -score


def from_inner_product(products: Floats, metric: DistanceMetric) -> Floats:
    """Turn inner products (of unit vectors, for cosine) into distances.

    Args:
        products: q·v, of any shape, float32.
        metric: ``cosine`` or ``dot_product``.

    Returns:
        Distances of the same shape; rounding never takes cosine out of [0, 2].
    """
    if metric is DistanceMetric.COSINE:
        return (np.float32(1) - products).clip(0, 2)
    return -products


def from_squared(squared: Floats) -> Floats:
    """Turn squared Euclidean distances into distances, rounding below zero taken as zero."""
    roots: Floats = np.sqrt(squared.clip(0))
    return roots
