"""Every form that a vector column has, to one float32 matrix, each by the fastest way that was measured for it.

A loop over rows stands only where rows are Python objects; there is none over numbers, except in the last resort that
finds out which rows can't be read.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector.errors import VectorError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_EMPTY_TEXT = {"", "null", "nan", "none", "na", "<na>"}
_CHAR_SHAPE = attrgetter("dtype.char", "shape")


@dataclass(frozen=True)
class Parsed:
    """A column as numbers; rows that are missing or bad are zero.

    Attributes:
        matrix: `(n, d)` float32, C-contiguous.
        missing: `(n,)` rows without a vector; None where there is none.
        bad: `(n,)` rows that can't be read, or are of another length; None where there is none.
    """

    matrix: Floats
    missing: Mask | None = None
    bad: Mask | None = None


def parse(column: Any, dimensions: int | None = None) -> Parsed:
    """Read a vector column of any form.

    Args:
        column: Series, Index, Arrow array, ndarray or sequence of vectors.
        dimensions: how long each vector is; what most rows have by default.

    Returns:
        The matrix, and which rows are missing or bad.

    Raises:
        VectorError: a column that does not hold vectors at all.
    """
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return _from_arrow(column, dimensions)
    values = getattr(column, "array", column)
    if hasattr(values, "__arrow_array__") and not isinstance(values.dtype, np.dtype):
        return _from_arrow(pa.array(values), dimensions)
    array = values if isinstance(values, list | tuple) else np.asarray(values)
    if isinstance(array, np.ndarray) and array.dtype != object and array.ndim > 1:
        return _from_array(array, dimensions)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "OUT":
        raise VectorError(f"a column of {array.dtype} holds no vectors")
    return _from_objects(array if isinstance(array, list) else list(array), dimensions)


def _from_array(array: NDArray[Any], dimensions: int | None) -> Parsed:
    if array.ndim != 2:  # noqa: PLR2004 - rows of numbers
        raise VectorError(f"vectors must be the rows of a 2-D array, this one has shape {array.shape}")
    _check_kind(array.dtype)
    _check_length(array.shape[1], dimensions)
    return Parsed(_float32(array))


def _check_kind(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "fiu":
        raise VectorError(f"vectors must be real numbers, these are {dtype}")


def _check_length(got: int, expected: int | None) -> None:
    if expected not in {None, got}:
        raise VectorError.wrong_dimensions(got, int(expected or 0), "every vector")


def _float32(array: NDArray[Any]) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found with the other infinities
        return np.ascontiguousarray(array, np.float32)


def _from_arrow(column: pa.Array | pa.ChunkedArray, dimensions: int | None) -> Parsed:
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        _check_length(kind.list_size, dimensions)
        return _from_lists(column, kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _from_lists(column, _usual_length(column, dimensions))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _from_text(column.to_pylist(), dimensions)
    if pa.types.is_null(kind):
        return _nothing(len(column), dimensions)
    raise VectorError(f"a column of {kind} holds no vectors")


def _usual_length(column: pa.Array, dimensions: int | None) -> int:
    if dimensions is not None:
        return dimensions
    lengths = column.value_lengths().drop_null().to_numpy()
    return int(np.bincount(lengths).argmax()) if len(lengths) else _unknown()


def _unknown() -> int:
    raise VectorError("there is no vector to tell the dimensions from; give dimensions=")


def _nothing(rows: int, dimensions: int | None) -> Parsed:
    width = _unknown() if dimensions is None else dimensions
    return Parsed(np.zeros((rows, width), np.float32), np.ones(rows, np.bool_) if rows else None)


def _from_lists(column: pa.Array, width: int) -> Parsed:
    if pa.types.is_nested(column.type.value_type) or not _numeric(column.type.value_type):
        raise VectorError(f"vectors must be real numbers, these are lists of {column.type.value_type}")
    missing = np.asarray(column.is_null()) if column.null_count else None
    bad = _other_length(column, width, missing)
    left_out = missing if bad is None else bad if missing is None else missing | bad
    if left_out is not None:
        column = column.filter(pa.array(~left_out))
    numbers = _float32(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), width)
    return Parsed(numbers if left_out is None else _spread(numbers, left_out), missing, bad)


def _numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind))


def _other_length(column: pa.Array, width: int, missing: Mask | None) -> Mask | None:
    if pa.types.is_fixed_size_list(column.type):
        return None
    lengths = column.value_lengths().fill_null(width).to_numpy(zero_copy_only=False)
    bad: Mask = lengths != width
    if missing is not None:
        bad &= ~missing
    return bad if bad.any() else None


def _spread(numbers: Floats, left_out: Mask) -> Floats:
    matrix = np.zeros((len(left_out), numbers.shape[1]), np.float32)
    matrix[~left_out] = numbers
    return matrix


def _from_objects(values: list[Any], dimensions: int | None) -> Parsed:
    first = next((value for value in values if not is_missing(value)), None)
    if first is None:
        return _nothing(len(values), dimensions)
    reader = _reader(first)
    if dimensions is None or isinstance(first, str) or len(first) == dimensions:
        if (whole := reader(values)) is not None:
            _check_length(whole.shape[1], dimensions)
            return Parsed(whole)
        missing = np.fromiter(map(is_missing, values), np.bool_, len(values))
        if missing.any():
            present = [value for value, gone in zip(values, missing, strict=True) if not gone]
            if (whole := reader(present)) is not None:
                _check_length(whole.shape[1], dimensions)
                return Parsed(_spread(whole, missing), missing)
    return _row_by_row(values, dimensions)


def _reader(first: Any) -> Callable[[Sequence[Any]], Floats | None]:
    """Choose a way to read rows that are all like the first; it gives None where they are not."""
    if isinstance(first, str):
        return _texts
    if isinstance(first, np.ndarray):
        return _arrays
    if isinstance(first, list | tuple):
        return _lists
    raise VectorError(f"a column of {type(first).__name__} holds no vectors")


def _arrays(values: Sequence[Any]) -> Floats | None:
    try:
        kinds = set(map(_CHAR_SHAPE, values))
    except AttributeError:
        return None
    shapes = {shape for _, shape in kinds}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 1 or any(char not in "efdbBhHiIlLqQ" for char, _ in kinds):
        return None
    if kinds == {("f", shape)}:
        try:
            return np.frombuffer(bytearray().join(values), np.float32).reshape(len(values), *shape)
        except BufferError:  # rows that are slices of columns
            return np.concatenate(values).reshape(len(values), *shape)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate(values, dtype=np.float32, casting="unsafe").reshape(len(values), *shape)


def _lists(values: Sequence[Any]) -> Floats | None:
    try:
        width = set(map(len, values))
        if len(width) != 1:
            return None
        row = struct.Struct(f"={(size := width.pop())}f")
        space = bytearray(row.size * len(values))
        for at, value in enumerate(values):
            row.pack_into(space, at * row.size, *value)
    except (TypeError, struct.error, OverflowError):
        return None
    return np.frombuffer(space, np.float32).reshape(len(values), size)


def _from_text(values: list[Any], dimensions: int | None) -> Parsed:
    return _from_objects(values, dimensions)


def _texts(values: Sequence[Any]) -> Floats | None:
    """Read "[0.1, 0.2]", JSON, and NumPy's "[0.1 0.2]" as the rows of one CSV file, which Arrow reads fastest."""
    from pyarrow import csv  # noqa: PLC0415 - few need it, and `import dkvector` must stay cheap

    try:
        rows = [value.strip().removeprefix("[").removesuffix("]").strip() for value in values]
    except AttributeError:
        return None
    if not all(rows):
        return None
    if any("," not in row for row in rows[:1]) or any("\n" in row for row in rows):
        rows = [",".join(row.replace(",", " ").split()) for row in rows]
    width = rows[0].count(",") + 1
    names = [str(i) for i in range(width)]
    size = max(1 << 20, 4 * max(map(len, rows)))
    try:
        table = csv.read_csv(
            pa.py_buffer("\n".join(rows).encode()),
            read_options=csv.ReadOptions(column_names=names, block_size=size),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float64()), null_values=[]),
        )
    except pa.ArrowInvalid:
        return None
    if len(table) != len(rows):
        return None
    matrix = np.empty((len(rows), width), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for at, column in enumerate(table.columns):
            matrix[:, at] = column.to_numpy()
    return matrix


def is_missing(value: Any) -> bool:
    """Tell whether a cell holds nothing at all."""
    if value is None or value is pd.NA:
        return True
    if isinstance(value, float):
        return value != value  # noqa: PLR0124 - the definition of NaN
    return isinstance(value, str) and value.strip().lower() in _EMPTY_TEXT


def _row_by_row(values: list[Any], dimensions: int | None) -> Parsed:
    """The last resort: find out which rows can't be read."""
    rows = [None if is_missing(value) else _row(value) for value in values]
    missing = np.fromiter(map(is_missing, values), np.bool_, len(values))
    lengths = Counter(len(row) for row in rows if row is not None)
    if not lengths:
        shown = next(value for value in values if not is_missing(value))
        raise VectorError(f"no row can be read as a vector; the first is {str(shown)[:60]!r}")
    width = dimensions or lengths.most_common(1)[0][0]
    if dimensions is not None and dimensions not in lengths:
        _check_length(lengths.most_common(1)[0][0], dimensions)
    matrix = np.zeros((len(values), width), np.float32)
    bad = np.zeros(len(values), np.bool_)
    for at, row in enumerate(rows):
        if row is not None and len(row) == width:
            matrix[at] = row
        else:
            bad[at] = not missing[at]
    return Parsed(matrix, missing if missing.any() else None, bad if bad.any() else None)


def _row(value: Any) -> Floats | None:
    if isinstance(value, str):
        whole = _texts([value])
        return None if whole is None else whole[0]
    try:
        row = np.asarray(value)
        if row.dtype == object:
            row = np.array([np.nan if is_missing(one) else one for one in value], np.float64)
    except (TypeError, ValueError):
        return None
    return _float32(row) if row.ndim == 1 and row.dtype.kind in "fiu" else None
