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
        # twice as fast as clip, which tells for a few
        near: Floats = np.minimum(np.maximum(np.float32(1) - products, 0), 2)
        return near
    return -products


def from_squared(squared: Floats) -> Floats:
    """Turn squared Euclidean distances into distances, rounding below zero taken as zero."""
    roots: Floats = np.sqrt(squared.clip(0))
    return roots


def from_engine(scores: Floats, measure: str, lengths: Floats | float = 1.0) -> Floats:
    """Turn the scores of Elasticsearch and OpenSearch into distances.

    Args:
        scores: of any shape, float32, all of them positive.
        measure: how they were made. ``cosine``: (1 + cos θ) / 2; ``dot_product``, of unit vectors: (1 + q·v) / 2;
            ``l2_norm``: 1 / (1 + ‖q - v‖₂²); ``max_inner_product``: 1 + q·v, below zero 1 / (1 - q·v).
        lengths: of the vectors, of the same shape, where the engine took them for unit vectors under ``cosine``.

    Returns:
        Distances of the same shape, float32.

    Example:
        >>> from_engine(np.float32([0.5, 0.75]), "cosine"), from_engine(np.float32([3, 0.5]), "max_inner_product")
        (array([1. , 0.5], dtype=float32), array([-2.,  1.], dtype=float32))
    """
    # in double precision, so that turning scores round adds nothing to their own rounding
    wide = scores.astype(np.float64)
    match measure:
        case "cosine":
            found = (1 - (2 * wide - 1) / lengths).clip(0, 2)
        case "dot_product":
            found = 1 - 2 * wide
        case "l2_norm":
            found = np.sqrt((1 / wide - 1).clip(0))
        case "max_inner_product":
            found = np.where(wide >= 1, 1 - wide, 1 / wide - 1)
        case _:
            raise UnsupportedError.lacking("dkvector", "measure of a search engine", measure, MEASURES)
    return found.astype(np.float32)


MEASURES = ("cosine", "dot_product", "l2_norm", "max_inner_product")


def scale_of(distances: Floats, metric: DistanceMetric) -> float:
    """Tell what the rounding of distances is relative to: 1 for those of angles, the largest of any others.

    Example:
        >>> scale_of(np.float32([0.5, -3]), DistanceMetric.DOT_PRODUCT)
        3.0
    """
    return 1.0 if metric is DistanceMetric.COSINE else float(np.abs(distances).max(initial=0))


def of_pairs(queries: Floats, vectors: Floats, metric: DistanceMetric) -> Floats:
    """Measure pairs of vectors, in double precision.

    Args:
        queries: `(n, d)`.
        vectors: `(n, d)`.
        metric: what to measure by.

    Returns:
        Distances `(n,)` float32; NaN under cosine where one of the two has no length.

    Example:
        >>> of_pairs(np.float32([[1, 0]]), np.float32([[3, 4]]), DistanceMetric.COSINE)
        array([0.4], dtype=float32)
    """
    q, v = queries.astype(np.float64), vectors.astype(np.float64)
    if metric is DistanceMetric.EUCLIDEAN:
        return np.asarray(np.sqrt(((q - v) ** 2).sum(1)), np.float32)
    products = (q * v).sum(1)
    if metric is DistanceMetric.COSINE:
        # of no length: NaN, for there is no angle
        with np.errstate(invalid="ignore"):
            products = (1 - products / np.sqrt((q * q).sum(1) * (v * v).sum(1))).clip(0, 2)
        return np.asarray(products, np.float32)
    return np.asarray(-products, np.float32)
