"""Any vector column to a float32 matrix `(n, d)`, and all validation of input."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fnmatch import translate
from numbers import Number
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector._cells import has_truths, is_missing
from dkvector._forms import filled, parse
from dkvector._parsed import Floats, Mask, Parsed
from dkvector.errors import VectorError
from dkvector.metrics import DistanceMetric
from dkvector.norms import MOST, TINY, squared_norms

_NO_QUERIES = (str, bytes, Mapping, AbstractSet, pd.DataFrame)
WAY_OUT = 'on_bad="drop" leaves them out'


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


@dataclass(frozen=True)
class Fault:
    """What is wrong, with which rows `(n,)`, and more to say about it."""

    what: str
    rows: Mask
    more: str = ""


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
        raise _error(_unreadable(parsed, parsed.bad), labels_of(column, labels), name)
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
    # where no row can be read at all nothing tells the dimensions, and dropping would leave no column
    if on_bad != "drop" or not parsed.matrix.shape[1]:
        raise _error(faults[0], labels_of(column, labels), name, way_out if parsed.matrix.shape[1] else "")
    kept = np.flatnonzero(~np.logical_or.reduce([fault.rows for fault in faults]))
    return Vectors(parsed.matrix[kept], kept)


def _parsed(column: Any, dimensions: int | None, name: str) -> Parsed:
    try:
        return parse(column, dimensions)
    except VectorError as exc:
        raise VectorError(f"{name!r}: {exc}") from None


def _error(fault: Fault, labels: Any, name: str, way_out: str = "") -> VectorError:
    advice = "; ".join(part for part in (fault.more, way_out) if part)
    some = _some(labels, fault.rows)
    return VectorError.at_rows(f"{fault.what} in {name!r}", some, total=int(fault.rows.sum()), way_out=advice)


def _unreadable(parsed: Parsed, rows: Mask) -> Fault:
    width = parsed.matrix.shape[1]
    what = f"not a vector of {width} dimensions" if width else "not a vector of numbers"
    return Fault(what, rows, f"the first: {parsed.found}")


def _faults(parsed: Parsed, metric: DistanceMetric | None) -> list[Fault]:
    faults = [] if parsed.missing is None else [Fault("vector missing", parsed.missing)]
    faults += [] if parsed.bad is None else [_unreadable(parsed, parsed.bad)]
    squared = squared_norms(parsed.matrix)
    # false where anything is NaN
    if len(squared) and squared.min() > TINY and squared.max() < MOST:
        return faults
    faults += [Fault("NaN or infinity", rows)] if (rows := _not_finite(parsed.matrix, squared)).any() else []
    if metric is DistanceMetric.COSINE and (zero := squared == 0).any():
        zero[zero] = ~parsed.matrix[zero].any(axis=1)  # squares of tiny numbers round to zero
        faults += [Fault("zero vector, which has no direction under cosine,", zero)] if zero.any() else []
    return faults if metric is None else [*faults, *_immeasurable(parsed.matrix, squared, metric)]


def _immeasurable(matrix: Floats, squared: Floats, metric: DistanceMetric) -> list[Fault]:
    """Find rows whose distances float32 can't hold: they would be lost from every answer, silently."""
    odd = squared > (MOST if metric is DistanceMetric.EUCLIDEAN else np.finfo(np.float32).max)
    if metric is DistanceMetric.COSINE:
        # looked for only where some are so short: the comparison with zero reads all numbers again
        odd |= (squared < TINY) & (matrix != 0).any(axis=1) if (squared < TINY).any() else False
    # rows that hold infinity are told of as such already
    odd[odd] = np.isfinite(matrix[odd]).all(axis=1)
    return [Fault("vector too long or too short to be measured in float32", odd, "scale it")] if odd.any() else []


def _not_finite(matrix: Floats, squared: Floats) -> Mask:
    """Find rows with NaN or infinity; the square of a large number overflows without being one."""
    suspect: Mask = ~np.isfinite(squared)
    if suspect.any():
        suspect[suspect] = ~np.isfinite(matrix[suspect]).all(axis=1)
    return suspect


def labels_of(column: Any, labels: Any = None) -> Any:
    """Give the labels of a column's rows: given ones, a Series' own, or positions."""
    if labels is not None:
        return labels.array if isinstance(labels, pd.Series) else labels
    return column.index if isinstance(column, pd.Series | pd.DataFrame) else pd.RangeIndex(len(column))


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
    if not isinstance(queries, pd.Series | pd.DataFrame):  # whose attributes are its labels
        queries = getattr(queries, "value", queries)
    if _is_one(queries):
        return _one(queries, dimensions, metric, name), True, None
    labels = queries.index if isinstance(queries, pd.Series) else None
    if len(queries) == 0:
        return np.empty((0, dimensions), np.float32), False, labels
    read = read_vectors(queries, dimensions=dimensions, metric=metric, name=name, way_out="")
    return read.matrix, False, labels


def _is_one(queries: Any) -> bool:
    """Tell one vector from many: its first element is a number."""
    if isinstance(queries, _NO_QUERIES) or not hasattr(queries, "__len__"):
        way_out = "; a text is searched for by text=" if isinstance(queries, str) else ""
        raise VectorError(f"a query is a vector, or rows of them, not {type(queries).__name__}{way_out}")
    if getattr(queries, "ndim", 1) not in {1, 2}:
        raise VectorError(f"a query is `(d,)` or `(q, d)`, not of shape {queries.shape}")
    if isinstance(queries, pd.Series | pd.Index) and pd.api.types.is_numeric_dtype(queries.dtype):
        return True
    if isinstance(queries, np.ndarray) and queries.dtype != object:
        return queries.ndim == 1
    first = next(iter(queries), None)
    return isinstance(first.as_py() if isinstance(first, pa.Scalar) else first, Number | np.bool_)


def _one(query: Any, dimensions: int, metric: DistanceMetric | None, name: str) -> Floats:
    one = np.asarray(query) if type(query) is not np.ma.MaskedArray else filled(query)
    if one.dtype == object:  # None or pd.NA among the numbers
        query = one.tolist()
        one = np.array([np.nan if is_missing(number) else number for number in query])
    kind = np.dtype(bool) if has_truths(query) else one.dtype
    if kind.kind not in "fiu":
        raise VectorError(f"{name} must be real numbers, not {kind}")
    if len(one) != dimensions:
        raise VectorError.wrong_dimensions(len(one), dimensions, name)
    with np.errstate(over="ignore", invalid="ignore"):
        # other types are converted by the long way, and may overflow there
        squared = one @ one if one.dtype == np.float32 else 0
    if TINY < squared < MOST:
        return np.ascontiguousarray(one)[None, :]  # a good query needs no second look
    return read_vectors(one[None, :], metric=metric, name=name, way_out="").matrix


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
        raise VectorError(f"no columns {absent[:5]}")
    if len(names) < 2:  # noqa: PLR2004 - one number is no vector
        raise VectorError(f"{columns!r} matches {names or 'no column'}; a vector needs at least two")
    chosen = frame[names]
    if chosen.shape[1] != len(names) or len(set(names)) < len(names):
        raise VectorError(f"columns that occur twice: {[name for name, n in Counter(chosen).items() if n > 1][:5]}")
    if odd := [name for name, dtype in chosen.dtypes.items() if dtype.kind not in "fiu"]:
        raise VectorError(f"columns must be numbers; these are not: {odd[:5]}")
    with np.errstate(over="ignore"):  # what overflows is found with the other infinities
        matrix: Floats = np.ascontiguousarray(chosen.to_numpy(np.float32, na_value=np.nan))
    gone = _not_finite(matrix, squared_norms(matrix))
    if gone.any():
        raise _error(Fault("NaN or infinity", gone), frame.index, str(columns), "dropna() first")
    return names, matrix


def _matching(frame: pd.DataFrame, pattern: str) -> list[str]:
    """Choose columns by a pattern, in the order of the last number in their names where they have one."""
    match = re.compile(translate(pattern)).match
    names = [name for name in frame.columns if isinstance(name, str) and match(name)]
    numbers = {name: int(found[-1]) for name in names if (found := re.findall(r"\d+", name))}
    if not numbers:
        return names
    if odd := [name for name in names if name not in numbers]:
        raise VectorError(f"{pattern!r} matches columns without a number too: {odd[:5]}; list the columns instead")
    at = sorted(set(numbers.values()))
    if len(at) < len(numbers):
        raise VectorError(f"{pattern!r} matches a number twice: {names[:5]}; list the columns instead")
    if gaps := sorted(set(range(at[0], at[-1])) - set(at)):
        raise VectorError(f"{pattern!r} leaves out number {', '.join(map(str, gaps[:5]))}")
    return sorted(names, key=numbers.__getitem__)
