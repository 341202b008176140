"""`df.vec.cluster`: k-means by Faiss, spherical under cosine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from dkvector.backends._knn import MUCH, nearest
from dkvector.backends._topk import Block, Positions
from dkvector.errors import MissingExtraError, SchemaError
from dkvector.metrics import DistanceMetric, Floats
from dkvector.verbs._ground import Ground, whole

GAIN = 1e-6  # of the objective: an iteration that gains less is the last


def cluster(rows: Ground, k: int, *, seed: int, iterations: int, progress: bool | None) -> Positions:
    """Cut the rows into k clusters.

    Args:
        rows: the frame.
        k: how many.
        seed: of the rows that are the first centroids.
        iterations: at most.
        progress: show a bar.

    Returns:
        The cluster of each row, `(n,)`; 0 is the largest.
    """
    if whole(k, "k") > len(rows):
        raise SchemaError(f"{k} clusters of {len(rows)} rows: k must be at most the number of rows")
    vectors = rows.directions
    centroids = _centroids(_kmeans(vectors, k, rows.metric, seed), vectors, whole(iterations, "iterations"), progress)
    labels = nearest(Block(0, centroids), vectors, 1, DistanceMetric.EUCLIDEAN).positions
    sizes = np.bincount(labels, minlength=k)
    places = np.empty(k, np.intp)
    places[np.argsort(-sizes, kind="stable")] = np.arange(k)
    return places[labels]


def _centroids(means: Any, vectors: Floats, iterations: int, progress: bool | None) -> Floats:
    """Let Faiss better the centroids step by step, from all rows and not the sample that it would take."""
    centroids, before = None, np.inf
    show = vectors.size * means.k * iterations >= MUCH if progress is None else progress
    for _ in tqdm(range(iterations), desc="k-means", unit=" iterations", disable=not show):
        now = float(means.train(vectors, init_centroids=centroids))
        centroids = means.centroids
        if abs(now - before) <= GAIN * abs(now):
            break
        before = now
    return np.ascontiguousarray(centroids)


def _kmeans(vectors: Floats, k: int, metric: DistanceMetric, seed: int) -> Any:
    try:
        import faiss  # noqa: PLC0415 - the engine is optional
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("faiss-cpu", "faiss") from exc
    every = {"niter": 1, "min_points_per_centroid": 1, "max_points_per_centroid": len(vectors)}
    if spread := getattr(faiss, "ClusteringInitMethod_KMEANS_PLUS_PLUS", None):  # not in Faiss before 1.14
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
