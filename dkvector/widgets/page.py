"""A result as the front end shows it: texts and numbers, no HTML."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

SHOWN = 200  # rows that a page shows; all of them are in the frame
LONGEST = 2_000  # characters of a cell
OURS = ("rank", "score", "distance")


def page(
    frame: pd.DataFrame, marked: Collection[Any] = (), mark: str = "", judged: Mapping[Any, bool] | None = None
) -> dict[str, Any]:
    """Turn a result into what the front end draws.

    Args:
        frame: a result.
        marked: labels of rows to mark.
        mark: what they are marked as.
        judged: label → whether the row was judged to be right.

    Returns:
        `columns` (name, whether numbers); `rows` (label, rank, score, bar in [0, 1], distance, mark, judged, cells),
        at most 200; and `total`, how many there are.

    Example:
        >>> found = pd.DataFrame({"rank": [1], "score": [0.5], "distance": [0.5], "word": ["cat"]}, index=["c"])
        >>> page(found)["rows"][0]["cells"]
        ['cat']
    """
    shown = frame.iloc[:SHOWN]
    names = [name for name in shown.columns if name not in OURS]
    cells = [[cell(value) for value in shown[name]] for name in names]
    scores = shown["score"].to_numpy(np.float64) if len(shown) else np.empty(0)
    distances = shown["distance"] if "distance" in shown else [None] * len(shown)
    known, flagged = judged or {}, set(marked)
    rows = [
        {
            "label": cell(label),
            "rank": int(rank),
            "score": f"{score:.4f}",
            "bar": round(bar, 4),
            "distance": "" if distance is None else f"{distance:.4f}",
            "mark": mark if label in flagged else "",
            "judged": known.get(label),
            "cells": list(row),
        }
        for label, rank, score, bar, distance, row in zip(
            shown.index,
            shown["rank"] if len(shown) else [],
            scores.tolist(),
            bars(scores).tolist(),
            distances,
            # of no columns zip would make no rows
            zip(*cells, strict=True) if cells else [()] * len(shown),
            strict=True,
        )
    ]
    columns = [{"name": str(name), "numeric": pd.api.types.is_numeric_dtype(shown[name])} for name in names]
    return {"columns": columns, "rows": rows, "total": len(frame)}


def beyond(frame: pd.DataFrame | None, other: pd.DataFrame | None) -> set[Any]:
    """Give the labels of the rows that the other result has not; none where either is not there."""
    return set() if frame is None or other is None else set(frame.index.difference(other.index, sort=False))


def bars(scores: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Give the length of each score's bar, in [0, 1].

    Scores of cosine and euclidean distance are drawn as they are; fused ones, which are tiny, and dot products by the
    best of them.

    Example:
        >>> bars(np.array([0.9, -0.2])), bars(np.array([40.0, 10.0])), bars(np.array([0.02, 0.01]))
        (array([0.9, 0. ]), array([1.  , 0.25]), array([1. , 0.5]))
    """
    best = scores.max(initial=0.0)
    whole = 1.0 if 0.05 < best <= 1 else best  # noqa: PLR2004 - fused ranks stay below 1/30
    return np.clip(scores / whole, 0, 1) if whole > 0 else np.zeros(len(scores))


def cell(value: Any) -> str:
    """Write a value as a person reads it, at most 2,000 characters of it."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    text = f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
