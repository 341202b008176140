"""Whatever pandas hands to a vector column → a matrix of the column's dtype."""

from __future__ import annotations

import json
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector._cells import has_truths
from dkvector._vector_rows import Mask, Matrix
from dkvector.errors import VectorError
from dkvector.vectors import to_matrix


def is_missing(value: object) -> bool:
    """Tell whether a value stands for a missing vector: None, pd.NA, NaN or NaT.

    Example:
        >>> is_missing(pd.NA), is_missing(np.zeros(3))
        (True, False)
    """
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)  # noqa: PLR0124 -- NaN


def is_vector(value: object) -> bool:
    """Tell one vector from a column of them: numbers are a vector, rows are a column.

    Example:
        >>> is_vector([1, 2]), is_vector([[1, 2]]), is_vector("[1, 2]")
        (True, False, True)
    """
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and isinstance(value[0], Real)
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return isinstance(value, str) or (kind in "fiu" and getattr(value, "ndim", 0) == 1 and kind != "")


def parse(values: Iterable[Any], dimensions: int | None, element: np.dtype[Any]) -> tuple[Matrix, Mask]:
    """Read rows given as ndarrays, lists, texts such as ``"[0.1, 0.2]"`` or missing values.

    Args:
        values: one vector or missing value per row; or a 2-D array, one vector per row.
        dimensions: the d that every row must have; None takes that of the first row.
        element: the dtype of the numbers.

    Returns:
        The (n, d) matrix and the (n,) mask, True where a row is missing.

    Raises:
        VectorError: rows that are no vectors of numbers, or of other lengths: they are named.

    Example:
        >>> parse(["[1, 2]", None], 2, np.dtype("float32"))
        (array([[1., 2.], [0., 0.]], dtype=float32), array([False,  True]))
    """
    if element != np.float64:
        found, missing = to_matrix(values, dimensions=dimensions, name="column")
        return found.astype(element, copy=False), np.zeros(len(found), dtype=bool) if missing is None else missing
    return _parse_doubles(values, dimensions)


def unprint(text: Any) -> Any:
    """Read what `to_csv` writes of an array: numbers between blanks, which it cuts short past a thousand.

    Example:
        >>> unprint("[0.5 1. ]")
        '[0.5,1.0]'
    """
    if is_missing(text) or "," in text:
        return text
    if "..." in text:
        raise VectorError("the file holds vectors cut short by to_csv; write frame.astype({column: str}) instead")
    return f"[{','.join(np.array(text.strip('[] ').split(), dtype=float).astype(str))}]"


def _parse_doubles(values: Iterable[Any], dimensions: int | None) -> tuple[Matrix, Mask]:
    """Read rows without rounding them to float32."""
    rows = [None if is_missing(value) else _vector(value, at) for at, value in enumerate(values)]
    mask = np.fromiter((row is None for row in rows), dtype=bool, count=len(rows))
    present = [row for row in rows if row is not None]
    dimensions = _length(present) if dimensions is None else dimensions
    wrong = [at for at, row in enumerate(rows) if row is not None and len(row) != dimensions]
    if wrong:
        raise VectorError.at_rows(f"vectors have other than {dimensions} dimensions", wrong)
    if not present:
        return np.zeros((len(rows), dimensions)), mask
    found = np.concatenate(present, dtype=np.float64).reshape(-1, dimensions)
    matrix = np.zeros((len(rows), dimensions))
    matrix[~mask] = found
    return matrix, mask


def _vector(value: Any, at: int) -> Matrix:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as exc:
            raise VectorError.at_rows("text that is not a vector such as '[0.1, 0.2]'", [at]) from exc
    try:
        row = np.asarray(value.to_pylist() if isinstance(value, pa.Array) else value)
    except ValueError as exc:
        raise VectorError.at_rows("a value that is not a vector", [at]) from exc
    if row.ndim != 1 or (row.dtype.kind not in "fiu" and len(row)) or has_truths(value):
        raise VectorError.at_rows("a value that is not a vector of numbers", [at])
    return row


def _length(rows: list[Matrix]) -> int:
    if not rows:
        raise VectorError('the dimensions can\'t be read from no vectors; name them: "vector[384]"')
    return len(rows[0])
