"""What every reader of vector columns gives, and the checks they share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkvector.errors import VectorError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Parsed:
    """A column as numbers; rows that are missing or bad are zero.

    Attributes:
        matrix: `(n, d)` float32, C-contiguous; d is 0 where no row can be read.
        missing: `(n,)` rows without a vector; None where there is none.
        bad: `(n,)` rows that can't be read, or are of another length; None where there is none.
        found: what the first bad row holds, for messages.
    """

    matrix: Floats
    missing: Mask | None = None
    bad: Mask | None = None
    found: str = ""


def check_length(got: int, expected: int | None) -> None:
    """Refuse vectors that are empty, or of another length than expected."""
    if got == 0:
        raise VectorError("these vectors are empty; a vector has at least one number")
    if expected not in {None, got}:
        raise VectorError.wrong_dimensions(got, int(expected or 0), "every vector")


def float32(array: NDArray[Any]) -> Floats:
    """Give numbers of any type as float32, C-contiguous."""
    # what overflows is found with the other infinities
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(array, np.float32)


def width_of(lengths: Counter[int], dimensions: int | None) -> int:
    """Choose the length that vectors should have, from those there are; the first of equally many."""
    if not lengths:
        return unknown() if dimensions is None else dimensions
    usual = lengths.most_common(1)[0][0]
    # where no row is as long as expected, the whole column is wrong, and naming its rows would help nobody
    if dimensions is None or dimensions not in lengths:
        check_length(usual, dimensions)
    return dimensions or usual


def unknown() -> int:
    """Say that nothing tells the dimensions."""
    raise VectorError("there is no vector to tell the dimensions from; give dimensions=")


def nothing(rows: int, dimensions: int | None) -> Parsed:
    """Give a column whose rows are all missing."""
    width = unknown() if dimensions is None else dimensions
    return Parsed(np.zeros((rows, width), np.float32), np.ones(rows, np.bool_) if rows else None)


def spread(numbers: Floats, left_out: Mask) -> Floats:
    """Put rows back to their places, zeros where a row was left out."""
    matrix = np.zeros((len(left_out), numbers.shape[1]), np.float32)
    matrix[~left_out] = numbers
    return matrix
