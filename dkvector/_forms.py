"""Every form that a vector column has, to one float32 matrix, each by the fastest way that was measured for it.

A loop over rows stands only where rows are Python objects; there is none over numbers, except in the last resort that
finds out which rows can't be read.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector.errors import VectorError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Reader = Callable[[Sequence[Any]], Floats | None]

JOINED = 512  # rows of bytes joined at a time: they stay in the cache, and the matrix keeps NumPy's large pages
LINES = 256  # rows of text read at a time, for the same reason
LONGEST_EMPTY = 64  # blanks and all; longer texts are not looked into
SHOWN = 60  # characters of a bad row that a message shows
_EMPTY_TEXT = {"", "null", "nan", "none", "na", "<na>"}
_TRUTHS = {bool, np.bool_}  # which struct would take for 0 and 1
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
        values = np.ma.filled(values.astype(np.float64), np.nan)  # what lies under the mask is no number
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
    chunks = (column.chunks or [pa.array([], column.type)]) if isinstance(column, pa.ChunkedArray) else [column]
    chunks = [chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk for chunk in chunks]
    if pa.types.is_fixed_size_list(kind):
        _check_length(kind.list_size, dimensions)
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
    alike = len(lengths) > 0 and bool((lengths == lengths[0]).all())
    known = lengths[:1] if alike else lengths
    return _width(Counter(known[known >= 0].tolist()), dimensions)


def _width(lengths: Counter[int], dimensions: int | None) -> int:
    """Choose the length that vectors should have, from those there are; the first of equally many."""
    if not lengths:
        return _unknown() if dimensions is None else dimensions
    usual = lengths.most_common(1)[0][0]
    if dimensions is None or dimensions not in lengths:
        _check_length(usual, dimensions)
    return dimensions or usual


def _unknown() -> int:
    raise VectorError("there is no vector to tell the dimensions from; give dimensions=")


def _nothing(rows: int, dimensions: int | None) -> Parsed:
    width = _unknown() if dimensions is None else dimensions
    return Parsed(np.zeros((rows, width), np.float32), np.ones(rows, np.bool_) if rows else None)


def _from_lists(column: pa.Array, lengths: NDArray[np.int64] | None, width: int) -> Parsed:
    missing = np.asarray(column.is_null()) if column.null_count else None
    bad, found = None, ""
    left_out = missing
    if lengths is not None and (other := lengths != width).any():
        bad = other & (lengths >= 0)
        if bad.any():
            found, left_out = f"list of length {lengths[bad.argmax()]}", other
            column = column.filter(pa.array(~other))
    numbers = _float32(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)
    return Parsed(numbers if left_out is None else _spread(numbers, left_out), missing, bad if found else None, found)


def _spread(numbers: Floats, left_out: Mask) -> Floats:
    matrix = np.zeros((len(left_out), numbers.shape[1]), np.float32)
    matrix[~left_out] = numbers
    return matrix


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


# ---- Python objects


def _from_objects(values: list[Any], dimensions: int | None) -> Parsed:
    present = (value for value in values if not is_missing(value))
    if (first := next(present, None)) is None:
        return _nothing(len(values), dimensions)
    read = next(filter(None, map(_reader, chain([first], present))), None)
    if read is None:
        raise VectorError(f"a column of {type(first).__name__} holds no vectors")
    missing = None
    if (whole := read(values)) is None:
        missing = np.fromiter(map(is_missing, values), np.bool_, len(values))
        there = [value for value, gone in zip(values, missing, strict=True) if not gone]
        if not missing.any() or (whole := read(there)) is None:
            return _in_parts(values, missing, _halved(read, there), dimensions)
    _check_length(whole.shape[1], dimensions)
    return Parsed(whole) if missing is None else Parsed(_spread(whole, missing), missing)


def _reader(value: Any) -> Reader | None:
    """Choose a way to read rows that are all like this one; the way gives None where they are not."""
    if isinstance(value, str):
        return _texts
    if isinstance(value, list | tuple):
        return _lists
    return _arrays if hasattr(value, "__array__") and np.ndim(value) else None


def _arrays(values: Sequence[Any]) -> Floats | None:
    try:
        kinds = set(map(_DTYPE_NDIM, values))
        widths = set(map(len, values))
    except (AttributeError, TypeError):
        return None
    if len(widths) != 1 or 0 in widths or any(ndim != 1 or dtype.kind not in "fiu" for dtype, ndim in kinds):
        return None
    shape = len(values), widths.pop()
    if kinds == {(np.dtype(np.float32), 1)}:
        try:
            return _joined_bytes(values, shape)
        except TypeError:  # rows that are not contiguous
            pass
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate(values, dtype=np.float32, casting="unsafe").reshape(shape)


def _joined_bytes(values: Sequence[Any], shape: tuple[int, int]) -> Floats:
    matrix = np.empty(shape, np.float32)
    for at in range(0, len(values), JOINED):
        block = b"".join(values[at : at + JOINED])
        matrix[at : at + JOINED] = np.frombuffer(block, np.float32).reshape(-1, shape[1])
    return matrix


def _lists(values: Sequence[Any]) -> Floats | None:
    first = values[0]
    if not set(map(type, values)) <= {list, tuple} or not first or _TRUTHS & set(map(type, first)):
        return None
    row = struct.Struct(f"={len(first)}f")
    matrix = np.empty((len(values), len(first)), np.float32)
    space = matrix.data.cast("B")
    try:
        for at, value in zip(range(0, space.nbytes, row.size), values, strict=True):
            row.pack_into(space, at, *value)
    except _NO_NUMBERS:
        return None
    return matrix


def _texts(values: Sequence[Any]) -> Floats | None:
    """Read "[0.1, 0.2]", JSON, and NumPy's "[0.1 0.2]"."""
    read = _json(values)
    return _csv(values) if read is None else read


def _json(values: Sequence[Any]) -> Floats | None:
    import orjson  # noqa: PLC0415 - few need it, and `import dkvector` must stay cheap

    try:
        parts = [_lists(list(map(orjson.loads, values[at : at + LINES]))) for at in range(0, len(values), LINES)]
    except (AttributeError, TypeError, ValueError):  # NumPy's "1." and "nan" are not JSON
        return None
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts) or len({part.shape[1] for part in whole}) > 1:
        return None
    return np.concatenate(whole)


def _csv(values: Sequence[Any]) -> Floats | None:
    try:
        width = _inside(values[0]).count(",") + 1
        matrix = np.empty((len(values), width), np.float32)
        for at in range(0, len(values), LINES):
            rows = list(map(_inside, values[at : at + LINES]))
            if {row.count(",") for row in rows} != {width - 1}:
                return None
            matrix[at : at + LINES] = _numbers(",".join(rows)).reshape(-1, width)
    except (AttributeError, TypeError, ValueError):
        return None
    return matrix


def _inside(text: str) -> str:
    """Give the numbers of one row, set apart by commas."""
    text = text.strip()
    if text[:1] != "[" or text[-1:] != "]":
        raise ValueError(text)
    inside = text[1:-1]
    if "," not in inside:
        return ",".join(inside.split())
    return inside if "\n" not in inside and "\r" not in inside else " ".join(inside.split())


def _numbers(text: str) -> Floats:
    """Read numbers set apart by commas as a CSV file of one column, for numbers that JSON does not know."""
    from pyarrow import csv  # noqa: PLC0415 - few need it, and `import dkvector` must stay cheap

    table = csv.read_csv(
        pa.py_buffer(text.replace(",", "\n").encode()),
        read_options=csv.ReadOptions(column_names=["n"], use_threads=False),
        parse_options=csv.ParseOptions(quote_char=False),
        convert_options=csv.ConvertOptions(column_types={"n": pa.float32()}, null_values=[]),
    )
    numbers: Floats = table.column(0).to_numpy()
    return numbers


def is_missing(value: Any) -> bool:
    """Tell whether a cell holds nothing at all."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, float | np.floating):
        return bool(value != value)  # noqa: PLR0124 - the definition of NaN
    return isinstance(value, str) and len(value) <= LONGEST_EMPTY and value.strip().lower() in _EMPTY_TEXT


# ---- the last resort: find out which rows can't be read


def _in_parts(values: list[Any], missing: Mask, there: list[Floats | None], dimensions: int | None) -> Parsed:
    rows = iter(there)
    found = [None if gone else next(rows) for gone in missing]
    lengths = Counter(len(row) for row in found if row is not None)
    width = _width(lengths, dimensions) if lengths else dimensions or 0
    matrix = np.zeros((len(values), width), np.float32)
    good = np.fromiter((row is not None and len(row) == width for row in found), np.bool_, len(found))
    for at in np.flatnonzero(good):
        matrix[at] = found[at]
    bad: Mask = ~(good | missing)
    shown = _shown(values[bad.argmax()]) if bad.any() else ""
    return Parsed(matrix, missing if missing.any() else None, bad if bad.any() else None, shown)


def _halved(read: Reader, values: list[Any]) -> list[Floats | None]:
    """Read rows together where they are alike, else each half by itself: a few bad rows cost little."""
    if len(values) == 1:
        return [_row(values[0])]
    if (whole := read(values)) is not None:
        return list(whole)
    half = len(values) // 2
    return _halved(read, values[:half]) + _halved(read, values[half:])


def _row(value: Any) -> Floats | None:
    if isinstance(value, str):
        whole = _texts([value])
        return None if whole is None else whole[0]
    if isinstance(value, list | tuple):
        return _listed(value)
    row = np.asarray(value) if hasattr(value, "__array__") else np.asarray(None)
    if row.ndim != 1 or not row.size:
        return None
    if row.dtype == object:
        return _listed(row.tolist())
    return _float32(row) if row.dtype.kind in "fiu" else None


def _listed(value: Sequence[Any]) -> Floats | None:
    """Read a row with None in it, or with numbers past float32."""
    if not value or _TRUTHS & set(map(type, value)):
        return None
    numbers = [np.nan if one is None or one is pd.NA else one for one in value]
    try:
        return _float32(np.frombuffer(struct.pack(f"={len(numbers)}d", *numbers)))
    except _NO_NUMBERS:
        return None


def _shown(value: Any) -> str:
    """Describe a row that can't be read."""
    text = " ".join(repr(value).split())
    text = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}, {text}"
    return type(value).__name__ + (f" of length {len(value)}, " if hasattr(value, "__len__") else " ") + text
