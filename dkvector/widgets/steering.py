"""A query moved towards rows and away from others: relevance feedback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dkvector.blocking import VectorStore
from dkvector.encoders import needed
from dkvector.metrics import DistanceMetric, Floats
from dkvector.norms import normalize
from dkvector.requests import as_ids, check_one
from dkvector.schema import VectorInfo
from dkvector.vectors import read_queries, to_matrix


def steered(
    store: VectorStore,
    query: Any = None,
    *,
    text: str | None = None,
    like: Any = None,
    more: Sequence[Any] = (),
    less: Sequence[Any] = (),
    field: str | None = None,
    weight: float = 0.5,
) -> Floats:
    """Move a query towards rows that are wanted, and away from rows that are not.

    The query q becomes q + weight · (mean of `more` - q) - weight · (mean of `less` - q), directions under cosine:
    Rocchio's feedback (in Salton, "The SMART Retrieval System", 1971), written so that it doesn't depend on the origin.

    Args:
        store: holds the rows.
        query: a vector `(d,)`.
        text: instead of it, a text that the store's encoder embeds.
        like: instead of it, the label of a row.
        more: labels of rows to move towards.
        less: labels of rows to move away from.
        field: the vector field, where there are several.
        weight: how far.

    Returns:
        The query `(d,)` float32.

    Raises:
        NotFoundError: a row that is not there.
        SchemaError: not exactly one of query, text and like; text without an encoder.
        VectorError: a query that can't be used.

    Example:
        >>> frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]}, index=["x", "y"])
        >>> with frame.vec.push("exact", metric="euclidean") as store:
        ...     steered(store, [0.5, 0.5], less=["x"])
        array([0.25, 0.75], dtype=float32)
    """
    check_one(query, text, like)
    info = store.store.known.vector(field)
    asked = _asked(store, info, query, text, like)
    moved = asked.copy()
    for labels, sign in ((more, weight), (less, -weight)):
        if len(labels):
            moved += sign * (_vectors(store, info, labels).mean(axis=0) - asked)
    return moved.astype(np.float32)


def _asked(store: VectorStore, info: VectorInfo, query: Any, text: str | None, like: Any) -> Floats:
    if like is not None:
        own: Floats = _vectors(store, info, [like])[0]
        return own
    if text is not None:
        encoder = needed(store.encoder, "connect(…, encoder=…) or store.encoder = …")
        encoder.check_field(info)
        query = encoder.encode([text])[0]
    matrix, _, _ = read_queries(query, dimensions=info.dimensions, metric=info.metric)
    asked: Floats = _measured(matrix, info)[0]
    return asked


def _vectors(store: VectorStore, info: VectorInfo, labels: Sequence[Any]) -> Floats:
    ids = as_ids(pd.Index(list(labels), tupleize_cols=False))
    rows = store.get(ids, [], include_vectors=True)
    return _measured(to_matrix(rows[info.name])[0], info)


def _measured(matrix: Floats, info: VectorInfo) -> Floats:
    """Take directions where only they count."""
    return normalize(matrix) if info.metric is DistanceMetric.COSINE else matrix
