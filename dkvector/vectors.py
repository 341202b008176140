"""Any vector column to a float32 matrix `(n, d)`, and all validation of input."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector._forms import Floats, Mask, Parsed, is_missing, parse
from dkvector.errors import VectorError
from dkvector.metrics import DistanceMetric

BLOCK = 1 << 13  # rows normalised at a time, so that temporaries stay small
WAY_OUT = 'on_bad="drop" leaves them out'
_TEXT = re.compile(r"^\s*\[\s*[-+]?[\d.]\S*?[\s,]+[-+]?[\d.]")


@dataclass(frozen=True)
class Vectors:
    """A validated column.

    Attributes:
        matrix: `(m, d)` float32, C-contiguous, finite.
        rows: `(m,)` positions of the rows kept; None where all were.
    """

    matrix: Floats
    rows: NDArray[np.intp] | None = None

    @property
    def dimensions(self) -> int:
        """How long each vector is."""
        return int(self.matrix.shape[1])


def to_matrix(
    column: Any, *, dimensions: int | None = None, labels: Any = None, name: str = "vector"
) -> tuple[Floats, Mask | None]:
    """Read a vector column of any form, without a look at the numbers.

    Args:
        column: Series, Index, Arrow array, ndarray or sequence of vectors, as numbers or as text.
        dimensions: how long each vector must be.
        labels: of the rows, for messages; a Series brings its own.
        name: of the column, for messages.

    Returns:
        The matrix `(n, d)` float32, zero where missing, and the mask of missing rows, None where there are none.

    Raises:
        VectorError: rows that can't be read or are of another length; names them.

    Example:
        >>> to_matrix(pd.Series(["[1, 2]", None]))[1]
        array([False,  True])
    """
    parsed = _parsed(column, dimensions, name)
    if parsed.bad is not None:
        raise _bad(parsed, parsed.bad, labels_of(column, labels), name)
    return parsed.matrix, parsed.missing


def read_vectors(
    column: Any,
    *,
    dimensions: int | None = None,
    metric: DistanceMetric | None = None,
    on_bad: Literal["raise", "drop"] = "raise",
    labels: Any = None,
    name: str = "vector",
    way_out: str = WAY_OUT,
) -> Vectors:
    """Read and validate a vector column.

    Args:
        column: Series, Index, Arrow array, ndarray or sequence of vectors, as numbers or as text.
        dimensions: how long each vector must be.
        metric: under cosine a vector of no length is an error too.
        on_bad: "drop" leaves bad rows out, "raise" names them.
        labels: of the rows, for messages; a Series brings its own.
        name: of the column, for messages.
        way_out: what to do about bad rows, for messages.

    Returns:
        The vectors, and which rows they are.

    Raises:
        VectorError: missing, ragged, unreadable or not finite rows, and zero vectors under cosine.

    Example:
        >>> read_vectors([[1.0, 2.0], None], on_bad="drop").rows
        array([0])
    """
    parsed = _parsed(column, dimensions, name)
    faults = _faults(parsed, metric)
    if not faults:
        return Vectors(parsed.matrix)
    if on_bad == "raise":
        what, mask = faults[0]
        names = labels_of(column, labels)
        if mask is parsed.bad:
            raise _bad(parsed, mask, names, name, way_out)
        raise VectorError.at_rows(f"{what} in {name!r}", _some(names, mask), total=int(mask.sum()), way_out=way_out)
    kept = np.flatnonzero(~np.logical_or.reduce([mask for _, mask in faults]))
    return Vectors(parsed.matrix[kept], kept)


def _parsed(column: Any, dimensions: int | None, name: str) -> Parsed:
    try:
        return parse(column, dimensions)
    except VectorError as exc:
        raise VectorError(f"{name!r}: {exc}") from None


def _bad(parsed: Parsed, mask: Mask, labels: Any, name: str, way_out: str = WAY_OUT) -> VectorError:
    what = f"not a vector of {parsed.matrix.shape[1]} dimensions in {name!r}"
    return VectorError.at_rows(what, _some(labels, mask), total=int(mask.sum()), way_out=way_out)


def _faults(parsed: Parsed, metric: DistanceMetric | None) -> list[tuple[str, Mask]]:
    faults = [("vector missing", parsed.missing)] if parsed.missing is not None else []
    if parsed.bad is not None:
        faults.append(("not a vector", parsed.bad))
    squared = squared_norms(parsed.matrix)
    faults += [("NaN or infinity", mask)] if (mask := _not_finite(parsed.matrix, squared)).any() else []
    if metric is DistanceMetric.COSINE and (zero := squared == 0).any():
        for _, known in faults:
            zero &= ~known
        if zero.any():
            zero[zero] = ~parsed.matrix[zero].any(axis=1)  # squares of tiny numbers round to zero
            faults += [("zero vector, which has no direction under cosine,", zero)] if zero.any() else []
    return [(what, mask) for what, mask in faults if mask is not None]


def _not_finite(matrix: Floats, squared: Floats) -> Mask:
    """Find rows with NaN or infinity; the square of a large number overflows without being one."""
    suspect: Mask = ~np.isfinite(squared)
    if suspect.any():
        suspect[suspect] = ~np.isfinite(matrix[suspect]).all(axis=1)
    return suspect


def labels_of(column: Any, labels: Any = None) -> Any:
    """Give the labels of a column's rows: given ones, a Series' own, or positions."""
    if labels is not None:
        return labels
    return column.index if isinstance(column, pd.Series) else pd.RangeIndex(len(column))


def _some(labels: Any, mask: Mask) -> list[Any]:
    return [labels[int(at)] for at in np.flatnonzero(mask)[:6]]


def read_queries(
    queries: Any, *, dimensions: int, metric: DistanceMetric | None = None, name: str = "query"
) -> tuple[Floats, bool, pd.Index | None]:
    """Read what is searched for: one vector, or many.

    Args:
        queries: `(d,)` or `(q, d)` numbers, a Series of vectors, an Arrow array, or an object with a `value`.
        dimensions: how long each must be.
        metric: under cosine a query of no length is an error.
        name: for messages.

    Returns:
        The queries `(q, d)` float32, whether it was one vector, and labels of the rows where the input has any.

    Raises:
        VectorError: another length, NaN or infinity, no direction under cosine.

    Example:
        >>> read_queries([1, 2, 3], dimensions=3)[:2]
        (array([[1., 2., 3.]], dtype=float32), True)
    """
    labelled = isinstance(queries, pd.Series | pd.DataFrame)  # whose attributes are its labels
    labels = queries.index if labelled else None
    queries = queries if labelled else getattr(queries, "value", queries)
    single = _is_one(queries)
    if single:
        one = np.asarray(queries)
        if one.dtype.kind not in "fiu":
            raise VectorError(f"{name} must be real numbers, not {one.dtype}")
        queries, labels = one[None, :], None
        if one.shape[0] != dimensions:
            raise VectorError.wrong_dimensions(one.shape[0], dimensions, name)
        if one.dtype == np.float32 and np.isfinite(length := one @ one) and length > 0:
            return np.ascontiguousarray(queries), True, None  # a good query needs no second look
    elif len(queries) == 0:
        return np.empty((0, dimensions), np.float32), False, labels
    read = read_vectors(queries, dimensions=dimensions, metric=metric, labels=labels, name=name, way_out="")
    return read.matrix, single, labels


def _is_one(queries: Any) -> bool:
    """Tell one vector from many: its first element is a number."""
    if isinstance(queries, np.ndarray):
        if queries.ndim not in {1, 2}:
            raise VectorError(f"a query is `(d,)` or `(q, d)`, not of shape {queries.shape}")
        return queries.ndim == 1 and queries.dtype != object
    if isinstance(queries, pd.Series | pd.Index):
        return bool(pd.api.types.is_numeric_dtype(queries.dtype))
    if isinstance(queries, str) or not hasattr(queries, "__len__"):
        raise VectorError(f"a query is a vector, or rows of them, not {type(queries).__name__}")
    return len(queries) > 0 and np.isscalar(queries[0]) and not isinstance(queries[0], str)


def is_vector_column(series: pd.Series) -> bool:
    """Tell from the dtype, or the first value, whether a column holds vectors.

    Example:
        >>> is_vector_column(pd.Series([[0.1, 0.2]])), is_vector_column(pd.Series([["a", "b"]]))
        (True, False)
    """
    dtype = series.dtype
    if getattr(dtype, "dimensions", None) is not None:
        return True
    if isinstance(dtype, pd.ArrowDtype):
        return _holds_vectors(dtype.pyarrow_dtype, series)
    if dtype.kind == "O" or isinstance(dtype, pd.StringDtype):
        return _looks_like_vector(_first(series))
    return False


def _first(series: pd.Series) -> Any:
    for at in range(0, len(series), 64):
        for value in series.iloc[at : at + 64]:
            if not is_missing(value):
                return value
    return None


def _holds_vectors(kind: pa.DataType, series: pd.Series) -> bool:
    if pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return bool(pa.types.is_floating(kind.value_type))
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return is_text and _looks_like_vector(_first(series))


def _looks_like_vector(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "fiu"
    if isinstance(value, str):
        return _TEXT.match(value) is not None
    return isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(one, float) for one in value[:2])


def gather(frame: pd.DataFrame, columns: str | Sequence[str]) -> tuple[list[str], Floats]:
    """Collect one column per dimension.

    Args:
        frame: the frame.
        columns: a pattern such as "emb_*", or the names in order.

    Returns:
        The names in the order of the dimensions (``emb_2`` before ``emb_10``), and the matrix `(n, d)` float32.

    Raises:
        VectorError: fewer than two columns, columns that are not numbers, a number left out, or values missing.

    Example:
        >>> gather(pd.DataFrame({"e_10": [3], "e_9": [2]}), "e_*")[0]
        ['e_9', 'e_10']
    """
    names = _matching(frame, columns) if isinstance(columns, str) else list(columns)
    if absent := [name for name in names if name not in frame.columns]:
        raise VectorError(f"no columns {absent}")
    if len(names) < 2:  # noqa: PLR2004 - one number is no vector
        raise VectorError(f"{columns!r} matches {names or 'no column'}; a vector needs at least two")
    odd = [name for name in names if frame[name].dtype.kind not in "fiu"]
    if odd:
        raise VectorError(f"columns must be numbers; these are not: {odd[:5]}")
    matrix = np.empty((len(frame), len(names)), np.float32)
    for at, name in enumerate(names):
        matrix[:, at] = frame[name].to_numpy(np.float32, na_value=np.nan)
    gone: Mask = np.logical_not(np.isfinite(matrix).all(axis=1))
    if gone.any():
        what = f"NaN or infinity in {columns!r}"
        raise VectorError.at_rows(what, _some(frame.index, gone), total=int(gone.sum()), way_out="dropna() first")
    return names, matrix


def _matching(frame: pd.DataFrame, pattern: str) -> list[str]:
    match = re.compile(translate(pattern)).match
    names = [name for name in frame.columns if isinstance(name, str) and match(name)]
    numbers = {name: int(found[-1]) for name in names if (found := re.findall(r"\d+", name))}
    if len(numbers) < len(names):
        return names
    names.sort(key=numbers.__getitem__)
    at = sorted(numbers.values())
    if gaps := sorted(set(range(at[0], at[-1] + 1)) - set(at)) if at else []:
        raise VectorError(f"{pattern!r} leaves out number {', '.join(map(str, gaps[:5]))}")
    return names


def squared_norms(matrix: Floats) -> Floats:
    """Square and sum each row, `(n,)` float32, in one pass.

    Example:
        >>> squared_norms(np.float32([[3, 4]]))
        array([25.], dtype=float32)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squared: Floats = np.einsum("nd,nd->n", matrix, matrix)
    return squared


def normalize(matrix: Floats) -> Floats:
    """Bring each row to unit length; rows of no length stay as they are.

    Example:
        >>> normalize(np.float32([[3, 4]]))
        array([[0.6, 0.8]], dtype=float32)
    """
    result = np.empty_like(matrix)
    for at in range(0, len(matrix), BLOCK):
        block = matrix[at : at + BLOCK]
        norms = np.sqrt(squared_norms(block))
        norms[norms == 0] = 1
        np.divide(block, norms[:, None], out=result[at : at + BLOCK])
    return result
