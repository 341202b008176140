"""Every form that a vector column has, to one float32 matrix, each by the fastest way that was measured for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector._cells import from_objects
from dkvector._parsed import Mask, Parsed, check_length, float32, nothing, spread, width_of
from dkvector.errors import VectorError


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
    values: Any = column.array if isinstance(column, pd.Series | pd.Index) else column
    if getattr(getattr(values, "dtype", None), "dimensions", None) is not None and not values.missing.any():
        return _from_array(values.matrix, dimensions)  # a `vector[d]` column, seen as it is
    # an extension array of pandas, a `vector[d]` with rows missing among them
    if hasattr(values, "__arrow_array__") and not isinstance(values.dtype, np.dtype):
        return _from_arrow(pa.array(values), dimensions)
    if isinstance(values, list | tuple):
        return from_objects(list(values), dimensions)
    return _from_array(filled(values), dimensions)


def filled(values: Any) -> NDArray[Any]:
    """Give an array, NaN where a mask hides what is there."""
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "fiu":
        # what lies under the mask is no number
        values = np.ma.filled(values.astype(np.float64), np.nan)
    return np.asarray(values)


def _from_array(array: NDArray[Any], dimensions: int | None) -> Parsed:
    if array.ndim == 1 and array.dtype.kind in "OUT":
        return from_objects(array.tolist(), dimensions)
    if array.ndim != 2:  # noqa: PLR2004 - rows of numbers
        what = f"shape {array.shape} and type {array.dtype}"
        raise VectorError(f"vectors must be the rows of a 2-D array, or of a column of lists; this one has {what}")
    if array.dtype == object:
        return from_objects(list(array), dimensions)
    if array.dtype.kind not in "fiu":
        raise VectorError(f"vectors must be real numbers, these are {array.dtype}")
    check_length(array.shape[1], dimensions)
    return Parsed(float32(array))


def is_text(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type is one of its strings, or a dictionary of them."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _from_arrow(column: pa.Array | pa.ChunkedArray, dimensions: int | None) -> Parsed:
    # an extension type lays its own name over another
    kind = getattr(column.type, "storage_type", column.type)
    if is_text(kind):
        return from_objects(column.to_pylist(), dimensions)
    if pa.types.is_null(kind):
        return nothing(len(column), dimensions)
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise VectorError(f"a column of {kind} holds no vectors")
    if not _numeric(kind.value_type):
        raise VectorError(f"vectors must be real numbers, these are lists of {kind.value_type}")
    # a column of no rows may have no chunk either
    chunks = (column.chunks or [pa.array([], column.type)]) if isinstance(column, pa.ChunkedArray) else [column]
    chunks = [chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk for chunk in chunks]
    if pa.types.is_fixed_size_list(kind):
        check_length(kind.list_size, dimensions)
        return _joined([_from_lists(chunk, None, kind.list_size) for chunk in chunks])
    lengths = [_lengths(chunk) for chunk in chunks]
    width = _usual(lengths[0] if len(lengths) == 1 else np.concatenate(lengths), dimensions)
    return _joined([_from_lists(*each, width) for each in zip(chunks, lengths, strict=True)])


def _numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind))


def _lengths(column: pa.Array) -> NDArray[np.int64]:
    """Give the length of each list; -1 stands for a missing one."""
    lengths = column.value_lengths()
    numbers: NDArray[np.int64] = (lengths.fill_null(-1) if lengths.null_count else lengths).to_numpy()
    return numbers


def _usual(lengths: NDArray[np.int64], dimensions: int | None) -> int:
    """Tell how long most rows of a list column are."""
    # where all are alike, as nearly always, one row tells and none has to be counted
    alike = len(lengths) > 0 and bool((lengths == lengths[0]).all())
    known = lengths[:1] if alike else lengths
    return width_of(Counter(known[known >= 0].tolist()), dimensions)


def _from_lists(column: pa.Array, lengths: NDArray[np.int64] | None, width: int) -> Parsed:
    missing = np.asarray(column.is_null()) if column.null_count else None
    bad, found = None, ""
    left_out = missing
    if lengths is not None and (other := lengths != width).any():
        bad = other & (lengths >= 0)
        if bad.any():
            found, left_out = f"list of length {lengths[bad.argmax()]}", other
            column = column.filter(pa.array(~other))
    # flatten() minds slices and leaves missing rows out; .values does neither
    numbers = float32(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)
    return Parsed(numbers if left_out is None else spread(numbers, left_out), missing, bad if found else None, found)


def _joined(parts: Sequence[Parsed]) -> Parsed:
    if len(parts) == 1:
        return parts[0]
    matrix = np.concatenate([part.matrix for part in parts])
    sizes = [len(part.matrix) for part in parts]
    missing, bad = (_stacked(masks, sizes) for masks in zip(*((part.missing, part.bad) for part in parts), strict=True))
    return Parsed(matrix, missing, bad, next((part.found for part in parts if part.found), ""))


def _stacked(masks: Iterable[Mask | None], sizes: Iterable[int]) -> Mask | None:
    whole = [np.zeros(size, np.bool_) if mask is None else mask for mask, size in zip(masks, sizes, strict=True)]
    mask = np.concatenate(whole)
    return mask if mask.any() else None
