"""Blends, groups, diverse choices and chance by loops over plain NumPy, which share no code with what they check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dkvector.metrics import DistanceMetric, Floats
from dkvector.testing.oracle import naive_distance, naive_search

Pairs = list[tuple[Any, float]]


def naive_score(distance: float, metric: DistanceMetric) -> float:
    """Turn a distance into a score the obvious way."""
    match metric:
        case DistanceMetric.COSINE:
            return 1 - distance
        case DistanceMetric.EUCLIDEAN:
            return 1 / (1 + distance)
        case DistanceMetric.DOT_PRODUCT:
            return -distance


def naive_mean(
    like: Floats, unlike: Floats, metric: DistanceMetric, weights: Sequence[float] | None = None, away: float = 1.0
) -> Floats:
    """Make one vector of those to be like and those to be unlike, by the formula of `Blend`."""
    weights = [1.0] * len(like) if weights is None else weights
    plus, minus, total = np.zeros(like.shape[1]), np.zeros(like.shape[1]), sum(weights)
    for weight, vector in zip(weights, like.astype(np.float64), strict=True):
        plus += weight * vector / (np.sqrt(vector @ vector) if metric is DistanceMetric.COSINE else 1) / total
    for vector in unlike.astype(np.float64):
        minus += vector / (np.sqrt(vector @ vector) if metric is DistanceMetric.COSINE else 1) / len(unlike)
    made = plus + away * (plus - minus) if len(unlike) else plus
    return np.asarray(made, np.float32)


def naive_max(
    frame: pd.DataFrame, like: Floats, unlike: Floats, *, k: int, metric: DistanceMetric, own: Sequence[Any] = ()
) -> Pairs:
    """Find the rows nearest to any of `like` that are not nearer to one of `unlike`, by a loop over all."""
    found = []
    for label, row in frame.embedding.items():
        near = min(naive_distance(one, row, metric) for one in like)
        if label not in own and not any(naive_distance(one, row, metric) < near for one in unlike):
            found.append((near, label))
    return [(label, near) for near, label in sorted(found)[:k]]


def naive_rrf(rankings: Sequence[Sequence[Any]], k: int, weights: Sequence[float] | None = None) -> Pairs:
    """Fuse rankings by adding weight / (60 + rank) up, ties by label."""
    total: dict[Any, float] = {}
    for weight, ranking in zip(weights or [1.0] * len(rankings), rankings, strict=True):
        for rank, label in enumerate(ranking, 1):
            total[label] = total.get(label, 0) + weight / (60 + rank)
    # sums in another order are a tie nevertheless
    best = sorted(total.items(), key=lambda one: (-round(one[1], 12), one[0]))
    return best[:k]


def naive_groups(frame: pd.DataFrame, query: Floats, k: int, by: str, groups: int) -> list[tuple[int, int, Any]]:
    """Give (number of the group, rank in it, label), by going through all rows from the nearest to the farthest."""
    rows: dict[Any, list[Any]] = {}
    for label, _ in naive_search(frame, query, len(frame), DistanceMetric.COSINE):
        value = frame[by][label]
        if not pd.isna(value):
            rows.setdefault(value, []).append(label)
    return [
        (number, rank, label)
        for number, labels in enumerate(list(rows.values())[:groups], 1)
        for rank, label in enumerate(labels[:k], 1)
    ]


def naive_mmr(
    frame: pd.DataFrame,
    score: Callable[[Any], float],
    labels: Sequence[Any],
    *,
    k: int,
    balance: float,
    metric: DistanceMetric,
) -> list[Any]:
    """Choose labels one by one, each time looking at all that are left."""
    left, chosen = list(labels), list[Any]()
    vectors = frame.embedding

    def gain(label: Any) -> float:
        near = [naive_score(naive_distance(vectors[label], vectors[one], metric), metric) for one in chosen]
        return balance * score(label) - (1 - balance) * max(near) if near else score(label)

    while left and len(chosen) < k:
        chosen.append(max(left, key=gain))
        left.remove(chosen[-1])
    return chosen


def naive_p(frame: pd.DataFrame, distance: float, metric: DistanceMetric) -> float:
    """Count the pairs of rows that are at least as near."""
    matrix = np.stack(frame.embedding.tolist()).astype(np.float64)
    nearer, pairs = 0, 0
    for at in range(len(matrix)):
        for other in range(at):
            # as near but for rounding
            nearer += naive_distance(matrix[at], matrix[other], metric) <= distance + 1e-6 * max(1, abs(distance))
            pairs += 1
    return (nearer + 1) / (pairs + 1)
