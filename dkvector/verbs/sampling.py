"""`df.vec.sample`: a few rows that stand for all, or any few."""

from __future__ import annotations

import numpy as np

from dkvector.backends._knn import MUCH
from dkvector.backends._topk import Positions
from dkvector.counts import as_count
from dkvector.errors import SchemaError
from dkvector.metrics import Floats
from dkvector.norms import BLOCK, squared_norms
from dkvector.progress import bar
from dkvector.verbs._ground import Ground


def sample(rows: Ground, n: int, *, diverse: bool, seed: int | None, progress: bool | None) -> Positions:
    """Choose rows.

    Args:
        rows: the frame.
        n: how many.
        diverse: far from each other, or by chance.
        seed: of the first row, or of all.
        progress: show a bar.

    Returns:
        Their positions, `(n,)`, in the order in which they were chosen.
    """
    if as_count(n, "n", 0) > len(rows):
        raise SchemaError(f"{n} rows of {len(rows)}: n must be at most the number of rows")
    rng = np.random.default_rng(seed)
    if not diverse or n == 0:
        return rng.choice(len(rows), n, replace=False)
    return farthest_first(rows.directions, n, int(rng.integers(len(rows))), progress=progress)


def farthest_first(vectors: Floats, n: int, first: int, *, progress: bool | None = False) -> Positions:
    """Choose the row farthest from all chosen before, again and again.

    Gonzalez, *Clustering to minimize the maximum intercluster distance*, 1985: no choice of n rows leaves the others
    less than half as far from the nearest of them. Of rows equally far, the first is taken.

    Args:
        vectors: `(n, d)` float32.
        n: how many rows.
        first: the row to begin with.
        progress: show a bar.

    Returns:
        Their positions, in the order in which they were chosen.

    Example:
        >>> farthest_first(np.float32([[0, 0], [1, 0], [9, 0], [4, 0]]), 3, 0)
        array([0, 2, 3])
    """
    chosen = np.full(n, first)
    nearest = np.full(len(vectors), np.inf, np.float32)
    show = vectors.size * n >= MUCH if progress is None else progress
    with bar(n, "sample", unit="rows", show=show) as done:
        for place in range(1, n):
            _approach(nearest, vectors, vectors[chosen[place - 1]])
            nearest[chosen[place - 1]] = -1  # below every distance: no row is taken twice
            chosen[place] = nearest.argmax()
            done(1)
        done(1)
    return chosen


def _approach(nearest: Floats, vectors: Floats, one: Floats) -> None:
    """Lower the squared distances to the nearest chosen row by one more of them, a block at a time."""
    for at in range(0, len(vectors), BLOCK):
        apart = squared_norms(vectors[at : at + BLOCK] - one)
        np.minimum(nearest[at : at + BLOCK], apart, out=nearest[at : at + BLOCK])
