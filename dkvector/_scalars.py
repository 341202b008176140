"""The values a filter may hold: plain Python, none of them missing, written as text and as JSON and read back."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import MAXYEAR, MINYEAR, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from dkvector.errors import FilterError

Scalar = str | int | float | bool | date | datetime | Decimal | UUID

_MAX_BITS = 4096  # far past any column, well short of Python's own limit on printing integers
_MAX_EXPONENT = 400  # past the range of float64; keeps 1E+999999999 from filling the memory
_ISO = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d(:?\d\d.*)?)?)?", re.ASCII)


def scalar(value: object) -> Scalar:
    """Turn a value into the plain Python value that a filter holds.

    Args:
        value: a str, bool, int, float, Decimal, date, datetime, UUID, or the NumPy or pandas form of one.

    Returns:
        The value as exactly one of these types; times become `pandas.Timestamp`, which keeps zone and nanoseconds.

    Raises:
        FilterError: the value is missing, out of range, or of another type.

    Example:
        >>> scalar(np.int16(3)), scalar(np.datetime64("2024-01-01"))
        (3, Timestamp('2024-01-01 00:00:00'))
    """
    # a long list of ids, several times as fast as by way of pandas
    if type(value) in {int, str}:
        return _PLAIN[type(value)](value)
    if _is_missing(value):
        raise FilterError(f"{value!r} is a missing value, which equals nothing: use is_null(), in a text .isna()")
    # item() of a datetime64 in nanoseconds is a bare integer
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    for kind, plain in _PLAIN.items():
        if isinstance(value, kind):
            return plain(value)
    raise FilterError(
        f"a filter can't hold {_short(value)} of type {type(value).__name__}; "
        "it holds text, numbers, booleans, dates, times and UUIDs"
    )


def timestamp(text: str) -> pd.Timestamp:
    """Read a date or time written as ISO 8601, so that no backend guesses which number is the month.

    Args:
        text: such as ``"2024-01-31"`` or ``"2024-01-31T12:00:00+00:00"``.

    Returns:
        The time; without a zone unless the text has one.

    Raises:
        FilterError: the text is not such a date.

    Example:
        >>> timestamp("2024-01-31 12:00")
        Timestamp('2024-01-31 12:00:00')
    """
    try:
        # pandas alone reads "1/2/2024", "now" and much else
        if _ISO.fullmatch(text):
            return pd.Timestamp(text)
    except (ValueError, OverflowError):
        pass
    raise FilterError(f"{_short(text)} is not a date: write '2024-01-31' or '2024-01-31T12:00:00'")


def write(value: Scalar) -> str:
    """Write a value as the string form of filters has it; `read` and Python's own literals turn it back."""
    if isinstance(value, float) and math.isinf(value):
        # Python has no literal for infinity, but reads a number past float64 as one
        return "1e999" if value > 0 else "-1e999"
    tag = type(value).__name__
    return f"{tag}({_as_text(value)!r})" if tag in READERS else repr(value)


def encode(value: Scalar) -> Any:
    """Turn a value into JSON: itself, or ``{type: text}`` for what JSON has no type for."""
    tag = type(value).__name__
    # JSON has no infinity
    if tag in READERS or (isinstance(value, float) and not math.isfinite(value)):
        return {tag: _as_text(value)}
    return value


def decode(data: Any) -> Any:
    """Turn the JSON of `encode` back into the value."""
    if not isinstance(data, dict):
        return data
    if len(data) == 1:
        [(tag, text)] = data.items()
        return float(text) if tag == "float" else read(tag, text)
    raise FilterError(f"{_short(data)} is not a value of a filter")


def read(tag: str, text: object) -> Scalar:
    """Read the text of a value whose type is named by ``tag``, such as ``"Decimal"``."""
    if tag not in READERS or not isinstance(text, str):
        raise FilterError(f"{tag}({_short(text)}) is not a value; known are {', '.join(READERS)}, each of one text")
    try:
        return scalar(READERS[tag](text))
    # a ValueError itself, which says more than the words below
    except FilterError:
        raise
    except (ValueError, ArithmeticError) as error:
        raise FilterError(f"{tag}({_short(text)}) is not a value: {error}") from error


READERS: dict[str, Callable[[str], Scalar]] = {
    "Timestamp": timestamp,
    "date": date.fromisoformat,
    "Decimal": Decimal,
    "UUID": UUID,
}


def _as_text(value: Scalar) -> str:
    if isinstance(value, pd.Timestamp) and (offset := value.utcoffset()) and offset.seconds % 60:
        # the offsets of old local times have seconds, which ISO 8601 has not
        value = value.tz_convert("UTC")
    return value.isoformat() if isinstance(value, date) else str(value)


def _short(value: object, most: int = 80) -> str:
    shown = repr(value)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _is_missing(value: object) -> bool:
    if isinstance(value, Decimal):  # a signalling NaN must not meet pd.isna, which compares it
        return value.is_nan()
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))  # type: ignore[call-overload]


def text(value: str) -> str:
    """Check that text can be written as UTF-8, and drop any subclass such as an Enum.

    Args:
        value: any text, or a value of another type, which is refused.

    Returns:
        The same text, of type str.

    Raises:
        FilterError: not a str, or with half of a surrogate pair, which no column can hold.
    """
    if not isinstance(value, str):
        raise FilterError(f"expected text, got {_short(value)} of type {type(value).__name__}")
    try:
        return value.encode().decode()
    except UnicodeEncodeError as error:
        raise FilterError(f"{_short(value)} is not Unicode text: {error.reason}") from error


def _integer(value: int) -> int:
    if value.bit_length() > _MAX_BITS:
        raise FilterError(f"an integer of {value.bit_length():,} bits is past what any column holds")
    return int(value)


def _decimal(value: Decimal) -> Decimal | float:
    if value.is_infinite():
        return float(value)
    # zero stays zero whatever its exponent
    if not -_MAX_EXPONENT < int(value.as_tuple().exponent) <= value.adjusted() < _MAX_EXPONENT and value:
        raise FilterError(f"{_short(value)} is past what any column holds")
    return Decimal(value)


def _time(value: datetime | np.datetime64) -> pd.Timestamp:
    try:
        stamp = pd.Timestamp(value)
        # in UTC, as a column keeps it: there the first hours of year 1 may lie in year 0
        year = (stamp if stamp.tzinfo is None else stamp.tz_convert("UTC")).year
    except (ValueError, OverflowError) as error:
        raise FilterError(f"{value!r} is not a time that a column holds: {error}") from error
    if not MINYEAR <= year <= MAXYEAR:  # pandas can't even print such a time
        raise FilterError(f"a time in the year {year} (UTC) is past what a column holds: {MINYEAR} to {MAXYEAR}")
    return stamp


# In this order: bool is an int, a datetime is a date.
_PLAIN: dict[type, Callable[[Any], Scalar]] = {
    bool: bool,
    str: text,
    int: _integer,
    float: float,
    np.datetime64: _time,
    datetime: _time,
    date: lambda value: date(value.year, value.month, value.day),
    Decimal: _decimal,
    UUID: lambda value: UUID(int=value.int),
}
