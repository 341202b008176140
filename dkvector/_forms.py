"""Every form that a vector column has, to one float32 matrix, each by the fastest way that was measured for it.

A loop over rows stands only where rows are Python objects; there is none over numbers, except in the last resort that
finds out which rows can't be read.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector.errors import VectorError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

JOINED = 512  # rows of bytes joined at a time: they stay in the cache, and the matrix keeps NumPy's large pages
_EMPTY_TEXT = {"", "null", "nan", "none", "na", "<na>"}
_LONGEST_EMPTY = 64  # blanks and all; longer texts are not looked into
_DTYPE_NDIM = attrgetter("dtype", "ndim")
_NO_NUMBERS = (TypeError, ValueError, OverflowError, struct.error)


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


def parse(column: Any, dimensions: int | None = None) -> Parsed:
    """Read a vector column of any form.

    Args:
        column: Series, Index, Arrow array, ndarray or sequence of vectors.
        dimensions: how long each vector is; what most rows have by default.

    Returns:
        The matrix, and which rows are missing or bad.

    Raises:
        VectorError: a column that does not hold vectors at all, or whose vectors all are of another length.
    """
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return _from_arrow(column, dimensions)
    values = column.array if isinstance(column, pd.Series | pd.Index) else column
    if hasattr(values, "__arrow_array__") and not isinstance(values.dtype, np.dtype):
        return _from_arrow(pa.array(values), dimensions)
    if isinstance(values, list | tuple):
        return _from_objects(list(values), dimensions)
    return _from_array(_filled(values), dimensions)


def _filled(values: Any) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "fiu":
        return values.astype(np.float64).filled(np.nan)  # what lies under the mask is no number
    return np.asarray(values)


def _from_array(array: NDArray[Any], dimensions: int | None) -> Parsed:
    if array.ndim == 1 and array.dtype.kind in "OUT":
        return _from_objects(array.tolist(), dimensions)
    if array.ndim != 2:  # noqa: PLR2004 - rows of numbers
        what = f"shape {array.shape} and type {array.dtype}"
        raise VectorError(f"vectors must be the rows of a 2-D array, or of a column of lists; this one has {what}")
    if array.dtype == object:
        return _from_objects(list(array), dimensions)
    if array.dtype.kind not in "fiu":
        raise VectorError(f"vectors must be real numbers, these are {array.dtype}")
    _check_length(array.shape[1], dimensions)
    return Parsed(_float32(array))


def _check_length(got: int, expected: int | None) -> None:
    if got == 0:
        raise VectorError("these vectors are empty; a vector has at least one number")
    if expected not in {None, got}:
        raise VectorError.wrong_dimensions(got, int(expected or 0), "every vector")


def _float32(array: NDArray[Any]) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found with the other infinities
        return np.ascontiguousarray(array, np.float32)


# ---- Arrow


def is_text(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type is one of its strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _from_arrow(column: pa.Array | pa.ChunkedArray, dimensions: int | None) -> Parsed:
    kind = getattr(column.type, "storage_type", column.type)  # an extension type lays its own name over another
    if is_text(kind):
        return _from_objects(column.to_pylist(), dimensions)
    if pa.types.is_null(kind):
        return _nothing(len(column), dimensions)
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise VectorError(f"a column of {kind} holds no vectors")
    if not _numeric(kind.value_type):
        raise VectorError(f"vectors must be real numbers, these are lists of {kind.value_type}")
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    chunks = [chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk for chunk in chunks]
    if pa.types.is_fixed_size_list(kind):
        _check_length(kind.list_size, dimensions)
        return _joined([_from_lists(chunk, kind.list_size) for chunk in chunks], kind.list_size)
    lengths = [chunk.value_lengths().fill_null(-1).to_numpy() for chunk in chunks]
    width = _usual(lengths, dimensions)
    return _joined([_from_lists(*each, width) for each in zip(chunks, lengths, strict=True)], width)
