"""The rows of a matrix as values: their text, their content as keys, their sums by group. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[Any]
Mask = NDArray[np.bool_]

_SHOWN = 3  # numbers of a vector that a repr shows
_BLOCK = 512  # rows summed at a time: they stay in the cache while they turn into float64


def short(row: Matrix) -> str:
    """Shorten a vector to a line: its first numbers, its dimensions, its norm.

    Example:
        >>> short(np.float32([0.6, 0, 0.8, 0]))
        '[0.60, 0.00, 0.80, … ×4] ‖1.00‖'
    """  # noqa: RUF002 -- the sign of dimensions
    numbers = [f"{number:z.2f}" for number in row[:_SHOWN].tolist()]
    rest = [f"… ×{len(row)}"] if len(row) > _SHOWN else []  # noqa: RUF001 -- the same
    norm = float(np.linalg.norm(row.astype(np.float64)))
    return f"[{', '.join(numbers + rest)}] ‖{norm:.2f}‖"


def text(row: Matrix) -> str:
    """Write a vector in full, as JSON and pgvector do; reading it back gives the same bits.

    Example:
        >>> text(np.float32([0.1, -2]))
        '[0.1,-2.0]'
    """
    # NumPy writes the shortest text of each number's own precision
    return f"[{','.join(map(str, row))}]"


def keys(matrix: Matrix, mask: Mask) -> NDArray[np.object_]:
    """Turn rows into hashable values: equal vectors into equal bytes, missing ones into None.

    Args:
        matrix: (n, d) floats.
        mask: (n,), True where the row is missing.

    Returns:
        (n,) objects, each the d numbers as bytes; -0.0 gives the bytes of 0.0.

    Example:
        >>> one, other = keys(np.float32([[0.0, 1.0], [-0.0, 1.0]]), np.array([False, False]))
        >>> one == other
        True
    """
    # adding zero turns -0.0, whose bytes differ, into 0.0
    rows = np.ascontiguousarray(matrix + matrix.dtype.type(0))
    values = np.empty(len(rows), dtype=object)
    values[:] = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))[:, 0].tolist()
    values[mask] = None
    return values


def from_keys(values: Sequence[bytes | None], dimensions: int, element: np.dtype[Any]) -> tuple[Matrix, Mask]:
    """Turn the bytes of `keys` back into rows.

    Args:
        values: what `keys` gave.
        dimensions: d.
        element: the dtype of the numbers.

    Returns:
        The (n, d) matrix and the (n,) mask, True where a row is missing.

    Example:
        >>> from_keys(keys(np.float32([[1, 2]]), np.array([False])), 2, np.dtype("float32"))
        (array([[1., 2.]], dtype=float32), array([False]))
    """
    mask = np.fromiter((value is None for value in values), dtype=bool, count=len(values))
    blank = bytes(dimensions * element.itemsize)
    # over bytes NumPy's array would be read-only
    joined = bytearray().join(blank if value is None else value for value in values)
    return np.frombuffer(joined, dtype=element).reshape(-1, dimensions), mask


def group_sums(matrix: Matrix, ids: NDArray[np.intp], groups: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Add up the rows of each group.

    Args:
        matrix: (n, d) floats.
        ids: (n,) the group of each row, below `groups`; negative leaves the row out.
        groups: how many groups there are.

    Returns:
        The (groups, d) sums, accumulated in float64, and the (groups,) counts of rows.

    Example:
        >>> group_sums(np.float32([[1, 2], [3, 4], [5, 6]]), np.array([1, -1, 1]), 2)
        (array([[0., 0.], [6., 8.]]), array([0, 2]))
    """
    sums = np.zeros((groups, matrix.shape[1]))
    # by group, so that each stands once in a block: += adds to a repeated place only once
    order = np.argsort(ids, kind="stable")[np.count_nonzero(ids < 0) :]
    for start in range(0, len(order), _BLOCK):
        rows = order[start : start + _BLOCK]
        group = ids[rows]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        sums[group[starts]] += np.add.reduceat(matrix[rows], starts, axis=0, dtype=np.float64)
    return sums, np.bincount(ids[order], minlength=groups)
