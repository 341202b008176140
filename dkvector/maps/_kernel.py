"""One epoch of UMAP's stochastic gradient descent, compiled; imported only where numba is installed.

The algorithm is that of McInnes, Healy and Melville, *UMAP*, 2018, section 4.2. Its two coefficients depend on the
squared distance alone and cost a power each; here they are read from a table, whose places are the leading bits of
the distance as a float. Nothing that it finds is as fine as the steps of the table, below 0.4 %.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from dkvector.metrics import Floats

SHIFT = 15  # bits of a float32 that are left out: 8 of the 23 of its fraction stay
LEAST, MOST = 2.0**-24, 2.0**14  # squared distances that the table spans
CLIP = 4.0  # of a step along an axis
NEAR = 0.001  # keeps the push between points that coincide finite


def tables(a: float, b: float) -> Floats:
    """Tabulate the pull and the push at a squared distance, `(2, t)`, with 1 / (1 + a·d^b) as the likeness.

    Example:
        >>> tables(1.577, 0.895).shape
        (2, 9728)
    """
    places = np.arange(_place(LEAST), _place(MOST), dtype=np.int32)
    # the middle of each step
    middle = ((places << SHIFT) + (1 << (SHIFT - 1))).view(np.float32).astype(np.float64)
    fall = a * middle**b + 1
    pull = -2 * a * b * middle ** (b - 1) / fall
    push = 2 * b / ((NEAR + middle) * fall)
    return np.stack([pull, push]).astype(np.float32)


def _place(squared: float) -> int:
    return int(np.float32(squared).view(np.int32)) >> SHIFT


FIRST = _place(LEAST)


def epoch(  # noqa: PLR0917 - numba takes arguments by their places
    points: Floats,
    edges: NDArray[np.int32],
    every: Floats,
    due: Floats,
    coefficients: Floats,
    state: NDArray[np.uint32],
    now: int,
    alpha: float,
    negatives: int,
) -> None:
    """Move the points once along the edges that are due, and away from others by chance; the arrays are changed.

    Args:
        points: `(n, 2)` float32.
        edges: `(e, 2)` rows of the points that each edge pulls together.
        every: `(e,)` epochs from one use of an edge to the next.
        due: `(e,)` epoch in which each edge is next used.
        coefficients: `(2, t)` see `tables`.
        state: `(1,)` of the random numbers, not zero.
        now: the number of this epoch.
        alpha: the length of a step.
        negatives: points that one is pushed from at each use of an edge.
    """
    rows, top, clip, step = points.shape[0], np.int32(coefficients.shape[1] - 1), np.float32(CLIP), np.float32(alpha)
    seed = state[0]
    for edge in range(edges.shape[0]):
        if due[edge] > now:
            continue
        due[edge] += every[edge]
        one, other = edges[edge, 0], edges[edge, 1]
        x, y = points[one, 0], points[one, 1]
        across, up = x - points[other, 0], y - points[other, 1]
        bits = np.float32(across * across + up * up).view(np.int32)
        pull = coefficients[0, min(max((bits >> np.int32(SHIFT)) - np.int32(FIRST), np.int32(0)), top)]
        right, high = step * min(max(pull * across, -clip), clip), step * min(max(pull * up, -clip), clip)
        x, y = x + right, y + high
        points[other, 0] -= right
        points[other, 1] -= high
        for _ in range(negatives):
            seed ^= np.uint32(seed << np.uint32(13))  # Marsaglia, Xorshift RNGs, 2003
            seed ^= np.uint32(seed >> np.uint32(17))
            seed ^= np.uint32(seed << np.uint32(5))
            # a number below rows without a division (Lemire, Fast random integer generation in an interval, 2019)
            far = np.int64((np.uint64(seed) * np.uint64(rows)) >> np.uint64(32))
            if far == one:
                continue
            across, up = x - points[far, 0], y - points[far, 1]
            bits = np.float32(across * across + up * up).view(np.int32)
            push = coefficients[1, min(max((bits >> np.int32(SHIFT)) - np.int32(FIRST), np.int32(0)), top)]
            x += step * min(max(push * across, -clip), clip)
            y += step * min(max(push * up, -clip), clip)
        points[one, 0] = x
        points[one, 1] = y
    state[0] = seed


# without Python's lock, so that other threads of the kernel go on
compiled: Any = numba.njit(fastmath=True, error_model="numpy", nogil=True)(epoch)
