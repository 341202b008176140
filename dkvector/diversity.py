"""Answers that do not say the same thing twice: maximal marginal relevance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dkvector.errors import SchemaError, VectorError
from dkvector.metrics import DistanceMetric, Floats, from_inner_product, score

Positions = NDArray[np.intp]


def mmr(
    query: ArrayLike,
    vectors: ArrayLike,
    k: int,
    *,
    balance: float = 0.5,
    metric: DistanceMetric | str = DistanceMetric.COSINE,
) -> Positions:
    """Choose k vectors near the query and far from each other, one after the other.

    Each choice is the vector with the largest balance · score(query, v) - (1 - balance) · max score(chosen, v), of
    equal ones the first. Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents
    and producing summaries", SIGIR 1998. Takes time in k·n·d and memory in n·d.

    Args:
        query: `(d,)`.
        vectors: `(n, d)`, the candidates: what a search found.
        k: how many; all of them where there are fewer.
        balance: in [0, 1]: 1 looks at the query alone, 0 (after the first) at the others alone.
        metric: by whose score nearness is measured.

    Returns:
        Positions of the chosen, `(min(k, n),)`, in the order of choice.

    Raises:
        SchemaError: a balance outside [0, 1], a negative k.
        VectorError: candidates of another length than the query.

    Example:
        >>> mmr([1, 0], [[1, 0.1], [1, 0.11], [0.7, -0.7]], k=2).tolist()
        [0, 2]
    """
    if not 0 <= balance <= 1:
        raise SchemaError(f"balance must be in [0, 1], not {balance!r}")
    if k < 0:
        raise SchemaError(f"k must not be negative: {k!r}")
    by = DistanceMetric.of(metric)
    asked, rows = _directions(np.asarray(query, np.float32), by), _directions(np.asarray(vectors, np.float32), by)
    if not len(rows):
        return np.empty(0, np.intp)
    if rows.shape[1:] != asked.shape:
        raise VectorError.wrong_dimensions(rows.shape[-1], len(asked), "a candidate")
    return chosen_of(_scores(rows, asked, by), rows, k, balance, by)


def chosen_of(relevance: Floats, vectors: Floats, k: int, balance: float, metric: DistanceMetric) -> Positions:
    """Choose like `mmr`, by scores `(n,)` that a search gave its rows already."""
    rows, k = _directions(vectors, metric), min(k, len(vectors))
    chosen = np.empty(k, np.intp)
    gain = relevance.copy()  # nothing is chosen yet that could be repeated
    likeness = np.full(len(rows), -np.inf, np.float32)
    for place in range(k):
        best = chosen[place] = int(gain.argmax())
        likeness = np.maximum(likeness, _scores(rows, rows[best], metric))
        gain = balance * relevance - (1 - balance) * likeness
        gain[chosen[: place + 1]] = -np.inf
    return chosen


def _directions(vectors: Floats, metric: DistanceMetric) -> Floats:
    if metric is not DistanceMetric.COSINE:
        return vectors
    # a vector without direction stays zero, and does not become NaN
    lengths: Any = np.linalg.norm(vectors, axis=-1, keepdims=True)  # float32, whatever the stubs of NumPy 2.5 say
    made: Floats = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return made


def _scores(rows: Floats, to: Floats, metric: DistanceMetric) -> Floats:
    if metric is DistanceMetric.EUCLIDEAN:
        return score(np.linalg.norm(rows - to, axis=1), metric)
    return score(from_inner_product(rows @ to, metric), metric)
