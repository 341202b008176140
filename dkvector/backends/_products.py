"""Inner products of queries with rows: by BLAS, unless an engine has a faster way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dkvector.metrics import Floats


def multiplied(queries: Floats, rows: Floats, space: Floats) -> Floats:
    """Inner products `(q, r)` of queries `(q, d)` with rows `(r, d)`, in space for as many."""
    # rows by queries, not queries by rows: BLAS takes a third less for small batches
    return np.matmul(rows, queries.T, out=space.reshape(-1, len(queries))).T


def gathered(queries: Floats, matrix: Floats, rows: NDArray[np.intp]) -> Floats:
    """Inner products `(q, r)` of queries `(q, d)` with some rows of a matrix `(n, d)`."""
    return queries @ matrix[rows].T


@dataclass(frozen=True)
class Products:
    """How inner products `(q, r)` are made, where an engine has a faster way than BLAS.

    Attributes:
        whole: with every row of a matrix, in space that is given.
        some: with some of its rows, by position.
    """

    whole: Callable[[Floats, Floats, Floats], Floats] = multiplied
    some: Callable[[Floats, Floats, NDArray[np.intp]], Floats] = gathered


PLAIN = Products()
