"""Rows in PostgreSQL's binary COPY format, packed by NumPy and Arrow: no loop in Python over rows of vectors.

A field is a 32-bit length, -1 for null, and as many bytes, all big-endian; a row is a 16-bit count and its fields.
Source: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dkvector.backends._pg_types import EPOCH_DAYS, EPOCH_US, MisfitError
from dkvector.errors import SchemaError, VectorError, some
from dkvector.metrics import Floats

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_SIZED = re.compile(r"(?<!numeric)\(\d+\)")
Bytes = NDArray[np.uint8]
Half = Literal["vector", "halfvec"]

# the server's numbers of its types, the same in every database
_ELEMENTS = {"boolean": 16, "bytea": 17, "bigint": 20, "smallint": 21, "integer": 23, "text": 25, "real": 700}
_ELEMENTS["double precision"] = 701


@dataclass(frozen=True)
class Cells:
    """A column of encoded fields.

    Attributes:
        sizes: `(n,)` bytes of each field, -1 for null.
        body: the bytes: `(n, w)` where every field has w, else an Arrow large binary array with nothing for null.
    """

    sizes: NDArray[np.int64]
    body: Any


def packed(columns: Sequence[Cells], count: int) -> memoryview:
    """Pack columns to rows.

    Args:
        columns: encoded columns of `count` fields each.
        count: of the rows.

    Returns:
        The rows, without the header and the trailer of the format.
    """
    parts: list[list[Bytes]] = [[_big(np.full(count, len(columns)), ">i2")]]
    joined: list[Any] = []
    # neighbours of one width are glued as bytes; where a column has others, Arrow joins row by row
    for one in columns:
        parts[-1].append(_big(one.sizes, ">i4"))
        if isinstance(one.body, np.ndarray):
            parts[-1].append(one.body)
        else:
            joined += [_glued(parts.pop()), one.body]
            parts.append([])
    if not joined:
        return memoryview(np.concatenate(parts[0], axis=1).reshape(-1).data)
    joined += [_glued(parts[-1])] if parts[-1] else []
    rows = _join(*joined)
    offsets = np.frombuffer(rows.buffers()[1], np.int64)[rows.offset : rows.offset + count + 1]
    return memoryview(rows.buffers()[2])[offsets[0] : offsets[-1]]


def _join(*parts: Any) -> Any:
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))


def _big(values: NDArray[Any], dtype: str) -> Bytes:
    return np.ascontiguousarray(values, dtype=dtype)[:, None].view(np.uint8)


def _glued(parts: Sequence[Bytes]) -> Any:
    return _as_binary(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))


def _as_binary(matrix: Bytes) -> Any:
    count, width = matrix.shape
    return _binary(np.arange(count + 1) * width, np.ascontiguousarray(matrix))


def _binary(offsets: NDArray[Any], data: Any) -> Any:
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, dtype=np.int64)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def vector_cells(matrix: Floats, kind: str, first: int = 0) -> Cells:
    """Encode vectors as the type `vector` (float32) or `halfvec` (float16): dimensions, a spare word, the numbers.

    Args:
        matrix: `(n, d)` float32.
        kind: the server's type.
        first: position of the first of them among all that are written, for errors.

    Raises:
        VectorError: numbers that float16 can't hold; names the positions.
    """
    rows, dimensions = matrix.shape
    width = 4 if kind == "vector" else 2
    made = np.empty((rows, 4 + dimensions * width), np.uint8)
    made[:, :4] = np.frombuffer(np.array([dimensions, 0], ">i2").tobytes(), np.uint8)
    # assigned as whole numbers, so that bytes are swapped on the way into their place, and nothing is converted
    numbers = made[:, 4:].view(">u4" if width == 4 else ">u2")  # noqa: PLR2004 - bytes of a float32
    if kind == "vector":
        numbers[...] = np.ascontiguousarray(matrix, np.float32).view(np.uint32)
    else:
        numbers[...] = halved(matrix, first).view(np.uint16)
    return Cells(np.full(rows, made.shape[1]), made)


def halved(matrix: Floats, first: int = 0) -> NDArray[np.float16]:
    """Round to float16.

    Raises:
        VectorError: numbers that are too large for it.
    """
    with np.errstate(over="ignore"):
        half = matrix.astype(np.float16)
    if bad := (first + np.flatnonzero(~np.isfinite(half).all(axis=1))).tolist():
        raise VectorError(f"numbers past 65,504, which float16 can't hold, at positions {some(bad)}")
    return half


def vectors_of(cells: Sequence[bytes], kind: str) -> Floats:
    """Read vectors back from what the server sent.

    Returns:
        `(n, d)` float32.
    """
    raw = np.frombuffer(b"".join(cells), np.uint8).reshape(len(cells), -1)[:, 4:]
    numbers: Floats = raw.view(">f4" if kind == "vector" else ">f2").astype(np.float32)
    return numbers


def cells(array: pa.Array, sql: str, name: str, first: int = 0) -> Cells:
    """Encode a payload column.

    Args:
        array: the column, or a part of it.
        sql: the server's type.
        name: of the column, for errors.
        first: position of the part's first row, for errors.

    Raises:
        SchemaError: values that the server's type can't hold; names the rows.
    """
    try:
        return _cells(array, sql, name)
    except MisfitError as exc:
        raise SchemaError(str(exc.at(lambda row: first + row))) from None
    except pa.ArrowInvalid as exc:
        raise SchemaError(f"{name!r} does not fit a column of type {sql}: {exc}") from exc


def _cells(array: pa.Array, sql: str, name: str) -> Cells:
    sql = _SIZED.sub("", sql).replace("character varying", "text")
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if sql.endswith("[]"):
        return _list_cells(array, sql.removesuffix("[]"), name)
    if sql in {"text", "bytea"}:
        return _text_cells(array, sql, name)
    if sql == "uuid":
        return _fixed(array, np.frombuffer(array.buffers()[1], np.uint8).reshape(-1, 16)[array.offset :][: len(array)])
    if sql.startswith("numeric"):
        return _encoded(array, _numeric)
    if sql == "jsonb":
        return json_cells([None if text is None else text.encode() for text in array.to_pylist()])
    if sql not in _NUMBERS:
        raise SchemaError(f"{name!r} is of type {sql}, which is only read: leave it out with columns=[…]")
    return _fixed(array, _NUMBERS[sql](array, name))


def json_cells(rows: Sequence[bytes | None]) -> Cells:
    """Encode JSON texts as the type `jsonb`, which begins with its version."""
    return _encoded(pa.array(rows, pa.large_binary()), lambda text: b"\x01" + bytes(text))


def _fixed(array: pa.Array, matrix: Bytes) -> Cells:
    """Encode fields of one width, those of nulls left out."""
    if not array.null_count:
        return Cells(np.full(len(array), matrix.shape[1]), matrix)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    sizes = np.where(valid, matrix.shape[1], 0)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return Cells(np.where(valid, sizes, -1), _binary(offsets, np.ascontiguousarray(matrix[valid])))


def _text_cells(array: pa.Array, sql: str, name: str) -> Cells:
    """Use Arrow's own bytes: only the lengths are made."""
    body = array.cast(pa.large_string() if sql == "text" else pa.large_binary()).cast(pa.large_binary())
    body = body.fill_null(b"") if body.null_count else body
    offsets = np.frombuffer(body.buffers()[1], np.int64)[body.offset :][: len(body) + 1]
    if sql == "text":
        _check_nul(body, offsets, name)
    sizes = np.diff(offsets)
    if array.null_count:
        sizes = np.where(array.is_valid().to_numpy(zero_copy_only=False), sizes, -1)
    return Cells(sizes, body)


def _check_nul(body: Any, offsets: NDArray[Any], name: str) -> None:
    data = np.frombuffer(body.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    if not data.all():
        at = np.unique(np.searchsorted(offsets - offsets[0], np.flatnonzero(data == 0), side="right") - 1).tolist()
        raise MisfitError(f"PostgreSQL's text can't hold the character NUL; {name!r} has it", at, "")


def _encoded(array: pa.Array, encode: Callable[[Any], bytes]) -> Cells:
    made = pa.array([None if value is None else encode(value) for value in array.to_pylist()], pa.large_binary())
    return _text_cells(made, "bytea", "")


def _list_cells(array: pa.Array, element: str, name: str) -> Cells:
    """Encode lists: dimensions, whether nulls are in it, the element's type, its length, then each element a field."""
    lengths = pc.list_value_length(array).fill_null(0).to_numpy().astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    try:
        inner = _cells(array.flatten(), element, name)
    except MisfitError as exc:
        raise exc.at(lambda value: int(np.searchsorted(starts, value, side="right")) - 1) from None
    body = inner.body if not isinstance(inner.body, np.ndarray) else _as_binary(inner.body)
    elements = _join(_as_binary(_big(inner.sizes, ">i4")), body)
    ends = np.frombuffer(elements.buffers()[1], np.int64)[: len(elements) + 1]
    slices = _binary(ends[starts], elements.buffers()[2] or b"")
    head = np.column_stack([lengths > 0, np.zeros_like(lengths), np.full_like(lengths, _ELEMENTS[element])])
    head[:, 1] = _lists_with_nulls(inner.sizes, starts)
    # a list of nothing has no dimension, and so no bounds
    bounds = _fixed(
        pa.array(np.ones(len(lengths)), mask=lengths == 0),
        np.column_stack([lengths, np.ones_like(lengths)]).astype(">i4").view(np.uint8).reshape(-1, 8),
    )
    bounds_body = bounds.body if not isinstance(bounds.body, np.ndarray) else _as_binary(bounds.body)
    heads = _as_binary(np.ascontiguousarray(head, dtype=">i4").view(np.uint8).reshape(-1, 12))
    rows = _join(heads, bounds_body, slices)
    if array.null_count:
        rows = pc.if_else(array.is_valid(), rows, pa.scalar(None, pa.large_binary()))
    return _text_cells(rows, "bytea", name)


def _lists_with_nulls(sizes: NDArray[Any], starts: NDArray[Any]) -> NDArray[Any]:
    nulls = np.concatenate([[0], np.cumsum(sizes < 0)])
    some_null: NDArray[Any] = (nulls[starts[1:]] - nulls[starts[:-1]]) > 0
    return some_null


def _values(array: pa.Array, kind: pa.DataType) -> NDArray[Any]:
    plain = array.cast(kind)
    made: NDArray[Any] = (plain.fill_null(0) if plain.null_count else plain).to_numpy(zero_copy_only=False)
    return made


def _numbers(kind: pa.DataType, dtype: str) -> Callable[[pa.Array, str], Bytes]:
    return lambda array, _name: _big(_values(array, kind), dtype)


def _micros(array: pa.Array, name: str) -> NDArray[Any]:
    """Count microseconds, which is all that the server keeps.

    Raises:
        SchemaError: times that need nanoseconds; names the rows.
    """
    counts = _values(array.cast(pa.int32()) if pa.types.is_time32(array.type) else array, pa.int64())
    unit = array.type.unit
    if unit == "ns":
        if bad := np.flatnonzero(counts % 1000).tolist():
            raise MisfitError(
                f"PostgreSQL keeps microseconds, {name!r} has nanoseconds", bad, "; .dt.floor('us') rounds them"
            )
        counts = counts // 1000
        unit = "us"
    made: NDArray[Any] = counts * {"s": 10**6, "ms": 10**3, "us": 1}[unit]
    return made


def _times(array: pa.Array, name: str) -> Bytes:
    return _big(_micros(array, name) - EPOCH_US, ">i8")


def _days(array: pa.Array, _name: str) -> Bytes:
    return _big(_values(array.cast(pa.date32()).cast(pa.int32()), pa.int64()) - EPOCH_DAYS, ">i4")


def _intervals(array: pa.Array, name: str) -> Bytes:
    # an interval's days and months, which no duration has, are 0
    return np.concatenate([_big(_micros(array, name), ">i8"), np.zeros((len(array), 8), np.uint8)], axis=1)


_NUMBERS: dict[str, Callable[[pa.Array, str], Bytes]] = {
    "boolean": _numbers(pa.uint8(), ">u1"),
    "smallint": _numbers(pa.int16(), ">i2"),
    "integer": _numbers(pa.int32(), ">i4"),
    "bigint": _numbers(pa.int64(), ">i8"),
    "real": _numbers(pa.float32(), ">f4"),
    "double precision": _numbers(pa.float64(), ">f8"),
    "timestamp with time zone": _times,
    "timestamp without time zone": _times,
    "date": _days,
    "time without time zone": lambda array, name: _big(_micros(array, name), ">i8"),
    "interval": _intervals,
}


def _numeric(value: Decimal | float) -> bytes:
    """Encode a decimal: how many digits of base 10,000, the first one's weight, sign, scale, the digits."""
    number = Decimal(str(value))
    if not number.is_finite():
        kind = 0xC000 if number.is_nan() else 0xF000 if number < 0 else 0xD000
        return np.array([0, 0, kind, 0], ">u2").tobytes()
    sign, digits, exponent = number.as_tuple()
    scale = max(0, -int(exponent))
    # groups of four digits begin at the point: the fraction is filled up with zeros
    whole = int("".join(map(str, digits))) * 10 ** max(0, int(exponent)) * 10 ** (-scale % 4)
    groups: list[int] = []
    while whole:
        whole, group = divmod(whole, 10_000)
        groups.insert(0, group)
    weight = len(groups) - 1 - (scale + 3) // 4
    return np.array([len(groups), weight, 0x4000 * sign, scale, *groups], ">i2").tobytes()
