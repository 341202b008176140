"""`df.vec.cluster`: k-means by Faiss, spherical under cosine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dkvector.backends._knn import MUCH, nearest
from dkvector.backends._topk import Block, Positions
from dkvector.counts import as_count
from dkvector.errors import MissingExtraError, SchemaError
from dkvector.metrics import DistanceMetric, Floats
from dkvector.progress import bar
from dkvector.verbs._ground import Ground

GAIN = 1e-6  # of the objective: an iteration that gains less is the last


@dataclass(frozen=True)
class Effort:
    """How hard the best clusters are looked for.

    Attributes:
        seed: of the rows that are the first centroids.
        restarts: how often it begins anew; the tightest clusters count.
        iterations: of each, at most.
    """

    seed: int
    restarts: int
    iterations: int

    def __post_init__(self) -> None:
        as_count(self.restarts, "restarts")
        as_count(self.iterations, "iterations")


def cluster(rows: Ground, k: int, effort: Effort, *, progress: bool | None) -> Positions:
    """Cut the rows into k clusters.

    Args:
        rows: the frame.
        k: how many.
        effort: how hard to look.
        progress: show a bar.

    Returns:
        The cluster of each row, `(n,)`; 0 is the largest.
    """
    if as_count(k, "k") > len(rows):
        raise SchemaError(f"{k} clusters of {len(rows)} rows: k must be at most the number of rows")
    vectors = rows.directions
    steps = effort.restarts * effort.iterations
    show = vectors.size * k * steps >= MUCH if progress is None else progress
    with bar(steps, "k-means", unit="iterations", show=show) as done:
        seeds = np.random.default_rng(effort.seed).integers(2**31, size=effort.restarts).tolist()
        runs = [_run(_kmeans(vectors, k, rows.metric, seed), vectors, effort.iterations, done) for seed in seeds]
    centroids = max(runs, key=lambda run: run[0])[1]
    # under cosine both are of unit length, where either metric has the same order
    labels = nearest(Block(0, centroids), vectors, 1, DistanceMetric.EUCLIDEAN).positions
    places = np.empty(k, np.intp)
    places[np.argsort(-np.bincount(labels, minlength=k), kind="stable")] = np.arange(k)
    return places[labels]


def _run(means: Any, vectors: Floats, iterations: int, done: Callable[[int], object]) -> tuple[float, Floats]:
    """Let Faiss better the centroids step by step, from all rows and not the sample that it would take.

    Returns:
        How tight the clusters are, the larger the better, and the centroids `(k, d)`.
    """
    centroids, before = None, np.inf
    for step in range(iterations):
        now = float(means.train(vectors, init_centroids=centroids))
        centroids = means.centroids
        done(1)
        if abs(now - before) <= GAIN * abs(now):
            done(iterations - step - 1)
            break
        before = now
    # Faiss's objective is a sum of cosines where means are spherical, of squared distances elsewhere
    return now if means.cp.spherical else -now, np.ascontiguousarray(centroids)


def _kmeans(vectors: Floats, k: int, metric: DistanceMetric, seed: int) -> Any:
    try:
        import faiss  # noqa: PLC0415 - the engine is optional
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("faiss-cpu", "faiss") from exc
    every = {"niter": 1, "min_points_per_centroid": 1, "max_points_per_centroid": len(vectors)}
    # not in Faiss before 1.14
    if spread := getattr(faiss, "ClusteringInitMethod_KMEANS_PLUS_PLUS", None):
        every["init_method"] = spread
    spherical = metric is DistanceMetric.COSINE
    return faiss.Kmeans(vectors.shape[1], k, spherical=spherical, seed=seed, **every)


def as_series(frame: pd.DataFrame, rows: Ground, labels: Positions, *, missing: bool) -> pd.Series:
    """Give a label to each row of the whole frame; where some may be `missing`, in a dtype that has such values."""
    if not missing:
        return pd.Series(labels.astype(np.int64), index=frame.index, name="cluster")
    every = pd.array([pd.NA] * len(frame), dtype="Int64")
    every[slice(None) if rows.kept is None else rows.kept] = labels
    return pd.Series(every, index=frame.index, name="cluster")
