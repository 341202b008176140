"""Columns of Python objects — arrays, lists, text — to one float32 matrix.

A loop over rows stands only here, where rows are Python objects; there is none over numbers, except in the last
resort that finds out which rows can't be read.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector._parsed import Floats, Mask, Parsed, check_length, float32, nothing, spread, width_of
from dkvector.errors import VectorError

Reader = Callable[[Sequence[Any]], Floats | None]

JOINED = 512  # rows of bytes joined at a time: they stay in the cache, and the matrix keeps NumPy's large pages
LINES = 256  # rows of text read at a time, for the same reason
LONGEST_EMPTY = 64  # blanks and all; longer texts are not looked into
SHOWN = 60  # characters of a bad row that a message shows
_EMPTY_TEXT = {"", "null", "nan", "none", "na", "<na>"}
_TRUTHS = {bool, np.bool_}  # which struct would take for 0 and 1
_DTYPE_NDIM = attrgetter("dtype", "ndim")
_NO_NUMBERS = (TypeError, ValueError, OverflowError, struct.error)


def from_objects(values: list[Any], dimensions: int | None) -> Parsed:
    """Read rows that are Python objects, all alike or not."""
    present = (value for value in values if not is_missing(value))
    if (first := next(present, None)) is None:
        return nothing(len(values), dimensions)
    # the first value that can be read decides: junk in the first row must not condemn the column
    read = next(filter(None, map(_reader, chain([first], present))), None)
    if read is None:
        raise VectorError(f"a column of {type(first).__name__} holds no vectors")
    missing = None
    # most columns lack nothing: gaps are looked for only where reading all at once fails
    if (whole := read(values)) is None:
        missing = np.fromiter(map(is_missing, values), np.bool_, len(values))
        there = [value for value, gone in zip(values, missing, strict=True) if not gone]
        if not missing.any() or (whole := read(there)) is None:
            return _in_parts(values, missing, _halved(read, there), dimensions)
    check_length(whole.shape[1], dimensions)
    return Parsed(whole) if missing is None else Parsed(spread(whole, missing), missing)


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
        # converted on the way: np.stack and then astype takes nearly twenty times as long
        return np.concatenate(values, dtype=np.float32, casting="unsafe").reshape(shape)


def _joined_bytes(values: Sequence[Any], shape: tuple[int, int]) -> Floats:
    matrix = np.empty(shape, np.float32)
    for at in range(0, len(values), JOINED):
        block = b"".join(values[at : at + JOINED])
        matrix[at : at + JOINED] = np.frombuffer(block, np.float32).reshape(-1, shape[1])
    return matrix


def _lists(values: Sequence[Any]) -> Floats | None:
    matrix = _packed(values)
    return None if matrix is None or _hold_truths(values, matrix) else matrix


def _packed(values: Sequence[Any]) -> Floats | None:
    first = values[0]
    if not set(map(type, values)) <= {list, tuple} or not first:
        return None
    # struct packs a row of Python floats faster than NumPy or Arrow convert it: 817 ms against 1,182 for 200k of 384
    row = struct.Struct(f"={len(first)}f")
    matrix = np.empty((len(values), len(first)), np.float32)
    space = matrix.data.cast("B")
    try:
        for at, value in zip(range(0, space.nbytes, row.size), values, strict=True):
            row.pack_into(space, at, *value)
    except _NO_NUMBERS:
        return None
    return matrix


def _hold_truths(values: Sequence[Any], matrix: Floats) -> bool:
    """Tell whether True or False stands among the numbers: struct takes them for 1 and 0."""
    for at in range(0, len(matrix), LINES):
        block = matrix[at : at + LINES]
        # to look at the type of every number takes longer than to pack it
        suspect = np.flatnonzero(((block == 0) | (block == 1)).any(axis=1))
        if any(has_truths(values[at + row]) for row in suspect.tolist()):
            return True
    return False


def has_truths(value: Any) -> bool:
    """Tell whether True or False stands in a list, or in lists in it: beside numbers NumPy takes them for such."""
    if not isinstance(value, list | tuple):
        return False
    kinds = set(map(type, value))
    return bool(_TRUTHS & kinds) or bool(kinds & {list, tuple} and any(map(has_truths, value)))


def _texts(values: Sequence[Any]) -> Floats | None:
    """Read "[0.1, 0.2]", JSON, and NumPy's "[0.1 0.2]"."""
    read = _json(values)
    return _csv(values) if read is None else read


def _json(values: Sequence[Any]) -> Floats | None:
    import orjson  # noqa: PLC0415 - few need it, and `import dkvector` must stay cheap

    if any("u" in text or "s" in text for text in values if isinstance(text, str)):
        # true or false, which struct would take for 1 and 0; one letter is found ten times faster
        return None
    # NumPy prints blanks between numbers: with commas in their place it is JSON
    read = orjson.loads if "," in str(values[0]) else lambda text: orjson.loads(f"[{_inside(text)}]")
    try:
        parts = [_packed(list(map(read, values[at : at + LINES]))) for at in range(0, len(values), LINES)]
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
            # row by row: one that is too long and one that is too short would still add up to whole rows
            if {row.count(",") for row in rows} != {width - 1}:
                return None
            matrix[at : at + LINES] = _numbers(",".join(rows)).reshape(len(rows), width)
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
    # to the CSV reader a line break would end a number
    return inside if "\n" not in inside and "\r" not in inside else " ".join(inside.split())


def _numbers(text: str) -> Floats:
    """Read numbers set apart by commas as a CSV file of one column, for numbers that JSON does not know."""
    from pyarrow import csv  # noqa: PLC0415 - few need it, and `import dkvector` must stay cheap

    # by default "nan" would be read as missing; here it is a number, and "NA" an error
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
    width = width_of(lengths, dimensions) if lengths else dimensions or 0
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
    return float32(row) if row.dtype.kind in "fiu" else None


def _listed(value: Sequence[Any]) -> Floats | None:
    """Read a row with None in it, or with numbers past float32."""
    if not value or has_truths(value):
        return None
    numbers = [np.nan if one is None or one is pd.NA else one for one in value]
    try:
        return float32(np.frombuffer(struct.pack(f"={len(numbers)}d", *numbers)))
    except _NO_NUMBERS:
        return None


def _shown(value: Any) -> str:
    """Describe a row that can't be read."""
    text = " ".join(repr(value).split())
    text = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}, {text}"
    return type(value).__name__ + (f" of length {len(value)}, " if hasattr(value, "__len__") else " ") + text
