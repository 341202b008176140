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
Places = NDArray[np.intp]


class Marks(NamedTuple):
    """What is drawn, and what is said of it."""

    drawn: Any
    told: str


def places_of(index: pd.Index, labels: Sequence[Any]) -> Places:
    """Find rows by their labels, -1 where there is none; a part of a label names no row.

    Example:
        >>> pairs = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
        >>> places_of(pairs, [("a", 2), "a", ("a",)])
        array([ 1, -1, -1])
    """
    if not isinstance(index, pd.MultiIndex):
        return index.get_indexer(pd.Index(labels, tupleize_cols=False))
    found = np.full(len(labels), -1)
    # pandas fails on tuples of another length
    whole = [at for at, one in enumerate(labels) if isinstance(one, tuple) and len(one) == index.nlevels]
    if whole:
        found[whole] = index.get_indexer(pd.MultiIndex.from_tuples([labels[at] for at in whole]))
    return found


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
    places = places_of(index, labels)
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
    ends = np.stack([places_of(index, lost.index.tolist()), places_of(index, lost["query"].tolist())]).T
    ends = ends[(ends >= 0).all(axis=1)]
    ends = ends[shown[ends].all(axis=1)].astype(np.int32)
    told = f"{len(ends):,} missed edges"
    if len(ends) > EDGES:
        ends = ends[np.sort(np.random.default_rng(0).choice(len(ends), EDGES, replace=False))]
        told = f"{EDGES:,} of {told}"
    return Marks(np.ascontiguousarray(ends).tobytes(), told)
