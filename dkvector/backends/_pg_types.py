"""Arrow types and the server's: which column keeps which values, and values that came back as Arrow has them.

Times travel as whole microseconds since 2000, dates as days, as the server counts them: no range is lost, no zone
guessed. A column whose type the server has not is kept in one JSONB column, as JSON that reads back as it was.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pyarrow as pa

from dkvector.errors import some

EPOCH_US, EPOCH_DAYS = 946_684_800_000_000, 10_957  # of 2000, since 1970
NEVER, NO_DAY = {2**63 - 1, -(2**63)}, {2**31 - 1, -(2**31)}  # infinity, which no dtype has, among times, and dates
DIGITS = 38  # of a decimal that Arrow keeps in 128 bits, and 76 in 256

_PLAIN = {
    pa.bool_(): "boolean",
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.uint8(): "smallint",
    pa.int32(): "integer",
    pa.uint16(): "integer",
    pa.int64(): "bigint",
    pa.uint32(): "bigint",
    pa.uint64(): "numeric(20,0)",
    pa.float16(): "real",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.large_string(): "text",
    pa.binary(): "bytea",
    pa.large_binary(): "bytea",
}
_FOUND = {  # columns that were there before us: the server's type → Arrow's
    "bool": pa.bool_(),
    "int2": pa.int64(),  # the width of whole numbers is the table's business, not a frame's
    "int4": pa.int64(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.large_string(),
    "varchar": pa.large_string(),
    "bytea": pa.large_binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "time": pa.time64("us"),
    "interval": pa.duration("us"),
    "uuid": pa.uuid(),
}


class MisfitError(Exception):
    """Values that the server's type can't hold: what is wrong, the positions, and the way out."""

    def at(self, place: Callable[[int], int]) -> MisfitError:
        """Tell of the rows that values belong to."""
        what, positions, way_out = self.args
        return MisfitError(what, list(dict.fromkeys(map(place, positions))), way_out)

    def __str__(self) -> str:
        return f"{self.args[0]} at positions {some(self.args[1])}{self.args[2]}"


def sql_type(kind: pa.DataType) -> str | None:  # noqa: PLR0911 - one rule for each type
    """Choose the server's type for an Arrow type; None where it has none, and JSON must do.

    Example:
        >>> sql_type(pa.list_(pa.int64()))
        'bigint[]'
    """
    types = pa.types
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind == pa.uuid():
        return "uuid"
    if isinstance(kind, pa.BaseExtensionType):
        return sql_type(kind.storage_type)
    if types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})" if kind.scale >= 0 else None
    if types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp without time zone"
    if types.is_dictionary(kind):
        return sql_type(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        inner = _PLAIN.get(kind.value_type)
        return None if inner in {None, "numeric(20,0)"} else f"{inner}[]"
    ways = {types.is_date: "date", types.is_time: "time without time zone", types.is_duration: "interval"}
    ways[types.is_fixed_size_binary] = "bytea"
    return next((name for is_one, name in ways.items() if is_one(kind)), None)


def found_type(name: str, modifier: int) -> pa.DataType | None:
    """Choose the Arrow type of a column that was there before us; None where its text must do.

    Args:
        name: the type's own name, an array's with an underscore before it.
        modifier: its `atttypmod`.
    """
    if name == "numeric" and modifier >= 0:
        # a scale below 0, which PostgreSQL 15 has, comes out past every precision here
        precision, scale = (modifier - 4) >> 16 & 0xFFFF, (modifier - 4) & 0x7FF
        return pa.decimal128(precision, scale) if scale <= precision <= DIGITS else None
    if name.startswith("_"):
        inner = _FOUND.get(name[1:])
        return pa.list_(inner) if inner in _PLAIN else None
    return _FOUND.get(name)


def to_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:  # noqa: PLR0911 - one rule for each type
    """Turn values that the driver gave into Arrow.

    Args:
        values: Python values; times, dates and durations as counts; JSON as text.
        kind: the Arrow type they are wanted in.
    """
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        values = [None if value is None else value.bytes for value in values] if kind == pa.uuid() else values
        return pa.ExtensionArray.from_storage(kind, to_array(values, kind.storage_type))
    if types.is_timestamp(kind):
        micros = pa.array(_since_1970(values, EPOCH_US, NEVER), pa.int64())
        return micros.cast(pa.timestamp("us", kind.tz)).cast(kind)
    if types.is_date(kind):
        days = pa.array(_since_1970(values, EPOCH_DAYS, NO_DAY), pa.int32())
        return days.cast(pa.date32()).cast(kind)
    if types.is_time(kind) or types.is_duration(kind):
        micros = pa.array(values, pa.int64())
        return micros.cast(pa.time64("us") if types.is_time(kind) else pa.duration("us")).cast(kind)
    if types.is_decimal(kind) or kind == pa.uint64():
        return pa.array([None if value is None or value.is_nan() else value for value in values]).cast(kind)
    if types.is_float16(kind):
        return pa.array(values, pa.float32()).cast(kind)
    return pa.array(values, kind)


def _since_1970(counts: Sequence[int | None], epoch: int, never: set[int]) -> list[int | None]:
    return [None if count is None or count in never else count + epoch for count in counts]


def from_json(texts: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    """Turn JSON into Arrow, as `to_json` wrote it."""
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, from_json(texts, kind.storage_type))
    made = pa.array([None if text is None else _read(orjson.loads(text), kind) for text in texts], kind)
    if pa.types.is_struct(kind):
        # an extension type may look at the parts of what is missing
        return pa.StructArray.from_arrays(made.flatten(), fields=list(kind), mask=made.is_null())
    return made


def to_json(rows: Sequence[dict[str, Any]]) -> list[bytes | None]:
    """Write rows of values as JSON objects; None for a row without any value."""
    kept = ({name: value for name, value in row.items() if value is not None} for row in rows)
    return [orjson.dumps(row, default=_plain, option=_OPTIONS) if row else None for row in kept]


_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, date | datetime | np.datetime64):
        return str(value)
    if isinstance(value, tuple | set):
        return list(value)
    if isinstance(value, Decimal | UUID):
        return str(value)
    return str(value)


def _read(value: Any, kind: pa.DataType) -> Any:  # noqa: PLR0911 - one rule for each type
    """Read one JSON value as what `to_pylist` had given."""
    types = pa.types
    if value is None:
        return None
    if types.is_struct(kind):
        return {one.name: _read(value.get(one.name), one.type) for one in kind}
    if types.is_map(kind):
        return [(_read(key, kind.key_type), _read(one, kind.item_type)) for key, one in value]
    if types.is_nested(kind):
        return [_read(one, kind.value_type) for one in value]
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return base64.b64decode(value)
    if types.is_time(kind):
        return time.fromisoformat(value)
    if types.is_duration(kind):
        return _nanoseconds(value) // _NANOSECONDS[kind.unit]
    if types.is_interval(kind):
        return tuple(value)
    if types.is_temporal(kind) or types.is_decimal(kind):
        return pa.scalar(value).cast(kind).as_py()
    return value


_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DURATION = re.compile(r"(?:(-?\d+) days?,? \+?)?(\d+):(\d\d):(\d\d)(?:\.(\d+))?")


def _nanoseconds(text: str) -> int:
    """Read a duration as Python or pandas prints it: days, which may be negative, and a time that is added to them.

    Example:
        >>> _nanoseconds("-1 day, 23:59:59.000001") / 1e9
        -0.999999
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[:4])
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return whole * 10**9 + int((found[5] or "").ljust(9, "0"))
