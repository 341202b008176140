"""Sample rows, and their neighbours by a loop over plain NumPy which shares no code with any backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dkvector.metrics import DistanceMetric, Floats
from dkvector.results import Hits

DIMENSIONS = 16
# what SQL, LIKE, JSON and the query languages have a meaning for
NAMES = [
    "plain",
    "O'Neil",
    'say "hi"',
    "emoji 🙂",
    "back\\slash",
    "per%cent",
    "under_score",
    "ünï",
    "",
    "; DROP TABLE x --",
]


def naive_distance(query: Floats, vector: Floats, metric: DistanceMetric) -> float:
    """Measure one pair the obvious way, in double precision."""
    q, v = query.astype(np.float64), vector.astype(np.float64)
    match metric:
        case DistanceMetric.COSINE:
            return float(1 - q @ v / (np.sqrt(q @ q) * np.sqrt(v @ v)))
        case DistanceMetric.EUCLIDEAN:
            return float(np.sqrt(((q - v) ** 2).sum()))
        case DistanceMetric.DOT_PRODUCT:
            return float(-(q @ v))


def naive_search(
    frame: pd.DataFrame, query: Floats, k: int, metric: DistanceMetric, *, field: str = "embedding"
) -> list[tuple[Any, float]]:
    """Find the k nearest rows by a loop over all; ties by label."""
    pairs = [(naive_distance(query, row, metric), label) for label, row in frame[field].items()]
    return [(label, distance) for distance, label in sorted(pairs)[:k]]


def sample_frame(rows: int = 300, *, seed: int = 0, ids: str = "text") -> pd.DataFrame:
    """Make rows whose vectors are not of unit length, with missing payload values and one duplicate vector.

    Args:
        rows: how many.
        seed: of the generator.
        ids: "text" or "number".

    Returns:
        The frame: `n` Int64 with missing values, `x` float, `name` text, `flag` bool, `when` timestamps, `embedding`.
    """
    rng = np.random.default_rng(seed)
    # of different lengths, as at unit length every metric gives the same order
    matrix = rng.standard_normal((rows, DIMENSIONS)).astype(np.float32) * rng.uniform(0.2, 3, (rows, 1)).astype("f4")
    if rows > 7:
        matrix[7] = matrix[3]
    # numbers that no store could take for places of rows
    labels: Any = [f"id {i:04}" for i in range(rows)] if ids == "text" else np.arange(rows) * 10 + 5
    return pd.DataFrame(
        {
            "n": pd.array([None if i % 11 == 0 else i for i in range(rows)], dtype="Int64"),
            "x": rng.standard_normal(rows),
            "name": pd.Series([NAMES[i % len(NAMES)] for i in range(rows)], dtype="str").array,
            "flag": rng.random(rows) < 0.3,
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(rows), unit="h"),
            "embedding": list(matrix),
        },
        index=pd.Index(labels, name="key"),
    )


def sample_queries(count: int = 20, *, seed: int = 1) -> Floats:
    """Make queries `(count, 16)` float32."""
    return np.random.default_rng(seed).standard_normal((count, DIMENSIONS)).astype(np.float32)


def recall(hits: Hits, frame: pd.DataFrame, queries: Floats, k: int, metric: DistanceMetric) -> float:
    """Measure recall@k by distance, so that ties do no harm: by our own, and each row once, whatever the store says."""
    found, at, vectors = 0, 0, frame.embedding
    for query, count in zip(queries, hits.counts, strict=True):
        kth = naive_search(frame, query, k, metric)[-1][1]
        mine = [label for label in hits.ids[at : at + count].unique()[:k] if label in vectors.index]
        far = [naive_distance(query, vectors[label], metric) for label in mine]
        found += sum(one <= kth + 1e-4 * max(1, abs(kth)) for one in far)
        at += count
    return found / (len(queries) * min(k, len(frame)))
