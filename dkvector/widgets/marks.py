"""What lies over the points of a map: rings round rows, with their names, and the edges that an index misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.widgets.page import cell

NAMES, RINGS = 12, 500  # rows that are named, and ringed, at most
EDGES = 20_000  # that are drawn at most

Shown = NDArray[np.bool_]


class Marks(NamedTuple):
    """What is drawn, and what is said of it."""

    drawn: Any
    told: str


def rings(index: pd.Index, labels: Sequence[Any], shown: Shown) -> Marks:
    """Find the places of the rows to ring, the first of them with their names.

    Args:
        index: of the map.
        labels: of the rows.
        shown: `(n,)` whether a row is to be seen.

    Returns:
        A list of (place, name or "").

    Example:
        >>> rings(pd.Index(["a", "b"]), ["b", "elsewhere"], np.array([True, True]))
        Marks(drawn=[(1, 'b')], told='1 of 2 highlighted')
    """
    places = index.get_indexer(pd.Index(labels, tupleize_cols=False))
    there = [(int(at), label) for at, label in zip(places, labels, strict=True) if at >= 0 and shown[at]]
    count = f"{len(there):,}" if len(there) == len(places) else f"{len(there):,} of {len(places):,}"
    drawn = [(at, cell(label) if i < NAMES else "") for i, (at, label) in enumerate(there[:RINGS])]
    return Marks(drawn, f"{count} highlighted" if len(places) else "")


def edges(index: pd.Index, missed: pd.DataFrame | None, shown: Shown) -> Marks:
    """Find the edges that are not found and have both ends on the map.

    Args:
        index: of the map.
        missed: edges as `ann_edges` gives them.
        shown: `(n,)` whether a row is to be seen.

    Returns:
        Pairs of places, int32, as bytes.
    """
    if missed is None:
        return Marks(b"", "")
    lost = missed[~missed["found"].to_numpy(bool)]
    ends = np.stack([index.get_indexer(lost.index), index.get_indexer(pd.Index(lost["query"]))]).T
    ends = ends[(ends >= 0).all(axis=1)]
    ends = ends[shown[ends].all(axis=1)].astype(np.int32)
    told = f"{len(ends):,} missed edges"
    if len(ends) > EDGES:
        ends = ends[np.sort(np.random.default_rng(0).choice(len(ends), EDGES, replace=False))]
        told = f"{EDGES:,} of {told}"
    return Marks(np.ascontiguousarray(ends).tobytes(), told)
