"""`df.vec.duplicates` and `df.vec.drop_duplicates`: rows that say the same, found by the nearness of their vectors.

A row is *kept* unless a row kept before it is as near as the threshold. So no two kept rows are near each other, and
each row that is dropped is near one that is kept. Groups are not transitive: chains of neighbours, which join
everything at a low threshold, don't form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector import frames
from dkvector.backends._knn import batches, nearest
from dkvector.backends._topk import SLACK, Block, Nearest, Positions, pair_distances
from dkvector.columns import kept
from dkvector.errors import SchemaError
from dkvector.metrics import DistanceMetric, Floats, distance, score
from dkvector.norms import squared_norms
from dkvector.results import framed, free
from dkvector.verbs._ground import Ground

Keep = Literal["first", "last", False]

TOGETHER = 1024  # rows of which every pair is looked at: a megabyte of answers
ROUNDING = 1e-6  # of a distance in float32: a vector's cosine with itself may be less than 1 by as much


def duplicates(
    rows: Ground, threshold: float, columns: Sequence[Any], *, last: bool, progress: bool | None
) -> pd.DataFrame:
    """Give the groups of near-duplicates.

    Args:
        rows: the frame.
        threshold: the least score of a near-duplicate.
        columns: columns to give.
        last: begin at the end of the frame.
        progress: show a bar.

    Returns:
        A row for each member of a group of at least two, the kept one first.
    """
    leads = leaders(rows, threshold, last=last, progress=progress)
    followers = np.setdiff1d(np.arange(len(rows)), leads)
    near = nearest(Block(0, rows.matrix[leads]), rows.matrix[followers], 1, rows.metric, progress=progress)
    followed = leads[near.positions]
    groups = np.unique(followed)
    positions = np.concatenate([groups, followers])
    lead = np.concatenate([groups, followed])
    distances = np.concatenate([np.full(len(groups), np.nan, np.float32), near.distances])
    order = np.lexsort((positions, positions != lead, lead))
    return _framed(rows, positions[order], lead[order], distances[order], columns)


def _framed(
    rows: Ground, positions: Positions, lead: Positions, distances: Floats, columns: Sequence[Any]
) -> pd.DataFrame:
    ours: dict[Any, Any] = {
        "group": np.unique(lead, return_inverse=True)[1].astype(np.int64),
        "kept": positions == lead,
        "score": score(distances, rows.metric),
        "distance": distances,
    }
    taken = {*ours, *columns}
    payload = rows.take(columns, positions)
    named = {free(name, taken) if name in ours else name: values for name, values in payload.items()}
    return framed({name: kept(values) for name, values in (ours | named).items()}, rows.frame.index.take(positions))


def drop_duplicates(rows: Ground, threshold: float, *, keep: Keep, progress: bool | None) -> pd.DataFrame:
    """Give the frame without near-duplicates, in its own order."""
    if keep:
        return rows.frame.iloc[leaders(rows, threshold, last=keep == "last", progress=progress)]
    near = rows.neighbors(1, progress)
    close = near.distances <= radius(threshold, rows.metric)
    alone = np.ones(len(rows), np.bool_)
    alone[np.repeat(np.arange(len(rows)), near.counts)[close]] = False
    return rows.frame.iloc[np.flatnonzero(alone)]


def leaders(rows: Ground, threshold: float, *, last: bool, progress: bool | None) -> Positions:
    """Choose the rows to keep, one after the other: those that no row kept before is near.

    Args:
        rows: the frame.
        threshold: the least score of a near-duplicate.
        last: begin at the end of the frame.
        progress: show a bar.

    Returns:
        Their positions, ascending.
    """
    matrix = rows.directions[::-1] if last else rows.directions
    limit = radius(threshold, rows.metric)
    # room for all rows: what is never written to takes no memory
    chosen, count = np.empty_like(rows.matrix), 0
    positions = [np.empty(0, np.intp)]
    for at in batches(len(matrix), matrix.size // 2, progress, label="duplicates", size=TOGETHER):
        some = np.ascontiguousarray(matrix[at])
        fresh = np.flatnonzero(~_near(chosen[:count], some, rows.metric, limit))
        fresh = fresh[_greedy(some[fresh], rows.metric, limit)]
        chosen[count : count + len(fresh)] = some[fresh]
        count += len(fresh)
        positions.append(fresh + at.start)
    found = np.concatenate(positions)
    return np.sort(len(matrix) - 1 - found) if last else found


def _near(chosen: Floats, some: Floats, metric: DistanceMetric, limit: float) -> NDArray[np.bool_]:
    """Tell which vectors are near one of those chosen."""
    if not len(chosen):
        return np.zeros(len(some), np.bool_)
    near: Nearest = nearest(Block(0, chosen), some, 1, metric)
    close: NDArray[np.bool_] = near.distances <= limit
    return close


def _greedy(some: Floats, metric: DistanceMetric, limit: float) -> Positions:
    """Choose among few vectors: each that is near none chosen before."""
    earlier = _close(some, metric, limit)
    taken = np.ones(len(some), np.bool_)
    for at in np.flatnonzero(earlier.any(axis=1)):
        taken[at] = not (earlier[at] & taken).any()
    return np.flatnonzero(taken)


def _close(some: Floats, metric: DistanceMetric, limit: float) -> NDArray[np.bool_]:
    """Tell which of few vectors `(m, d)` are near which before them, `(m, m)`."""
    if metric is DistanceMetric.COSINE:
        close: NDArray[np.bool_] = np.tril(frames.distances(some, some, metric) <= limit, -1)
        return close
    squared = squared_norms(some)
    apart = squared[:, None] + squared - 2 * (some @ some.T)
    maybe = np.tril(apart <= limit**2 + 4 * SLACK * (squared[:, None] + squared), -1)
    # the product rounds: those few that may be near are measured pair by pair
    one, other = np.nonzero(maybe)
    maybe[one, other] = pair_distances(Block(0, some), some, one, other, metric) <= limit
    return maybe


def radius(threshold: float, metric: DistanceMetric) -> float:
    """Give the greatest distance of a near-duplicate, with room for the rounding of float32.

    Raises:
        SchemaError: a threshold that is no score.

    Example:
        >>> round(radius(0.95, DistanceMetric.COSINE), 4)
        0.05
    """
    if not isinstance(threshold, int | float | np.number) or not 0 < threshold <= 1:
        raise SchemaError(f"threshold is a score, above 0 and up to 1, not {threshold!r}")
    exact = float(distance(np.float64(threshold), metric))  # type: ignore[arg-type]
    return exact + ROUNDING * (1 if metric is DistanceMetric.COSINE else exact)
