"""Lengths of vectors, in float32 and without a copy of the matrix."""

from __future__ import annotations

import numpy as np

from dkvector._parsed import Floats

TINY = 1e-30  # squares below have lost digits
MOST = float(np.finfo(np.float32).max) / 8  # squares up to which ‖q - v‖² and its parts can't overflow
BLOCK = 1 << 13  # rows normalised at a time, so that temporaries stay small


def squared_norms(matrix: Floats) -> Floats:
    """Square and sum each row, `(n,)` float32, in one pass.

    Example:
        >>> squared_norms(np.float32([[3, 4]]))
        array([25.], dtype=float32)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squared: Floats = np.vecdot(matrix, matrix)
    return squared


def normalize(matrix: Floats) -> Floats:
    """Bring each row to unit length; rows of no length stay as they are.

    Example:
        >>> normalize(np.float32([[3, 4]]))
        array([[0.6, 0.8]], dtype=float32)
    """
    result = np.empty_like(matrix)
    for at in range(0, len(matrix), BLOCK):
        block, out = matrix[at : at + BLOCK], result[at : at + BLOCK]
        squared = squared_norms(block)
        # nearly all rows at once; those few whose squares have lost digits or overflowed are made anew
        np.divide(block, _lengths(squared), out=out)
        odd = ~((squared > TINY) & (squared < np.inf))
        if odd.any():
            out[odd] = _unit(block[odd])
    return result


def _unit(rows: Floats) -> Floats:
    """Normalise rows whose squares round to zero or overflow: bring them near one first."""
    largest: Floats = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    near: Floats = np.divide(rows, np.where(largest == 0, 1, largest), dtype=np.float32)
    unit: Floats = near / _lengths(squared_norms(near))
    return unit


def _lengths(squared: Floats) -> Floats:
    """Give lengths as a column to divide by; 1 where there is none."""
    lengths: Floats = np.sqrt(np.where(squared == 0, 1, squared))[:, None]
    return lengths
