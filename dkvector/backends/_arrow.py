"""Filters over Arrow columns: one rule per node, exact and safe for null and NaN."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dkvector._scalars import Scalar, timestamp
from dkvector._tree import And, Compare, Filter, Ids, IsIn, IsNull, Op, Or, TextMatch
from dkvector.errors import FilterError

Mask = NDArray[np.bool_]
Column = Any  # pa.Array | pa.ChunkedArray: pyarrow has no types

_COMPARE = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
_DAY = 86_400


def mask(  # noqa: PLR0911 - one rule for each node
    where: Filter,
    column: Callable[[str], Column],
    length: int,
    ids: Callable[[tuple[Scalar, ...]], Mask] | None = None,
) -> Mask:
    """Tell which rows satisfy a filter.

    Args:
        where: the filter.
        column: gives a column by its name, a `pa.Array` or `pa.ChunkedArray` of ``length`` rows.
        length: how many rows there are.
        ids: tells which rows have one of these ids; None where rows have none.

    Returns:
        One boolean per row.

    Raises:
        FilterError: a value that doesn't fit its column's type, or a column of a type that has no order.

    Example:
        >>> from dkvector.filters import col
        >>> mask(~(col("a") > 1), {"a": pa.array([1, 2, None])}.get, 3)
        array([ True, False, False])
    """
    match where:
        case Compare(name, op, value):
            return _rows(column(name), lambda values: _compare(name, values, op, value))
        case IsIn(name, accepted, negated):
            return _rows(column(name), lambda values: _isin(name, values, accepted, negated=negated))
        case TextMatch(name):
            return _rows(column(name), lambda values: _match(values, where))
        case IsNull(name, negated):
            present = _rows(column(name), _present)
            return present if negated else ~present
        case Ids(accepted, negated):
            if ids is None:
                raise FilterError("rows have no ids here: use a filter over columns in place of a boolean Series")
            return ids(accepted) ^ negated
        case And(terms):
            return _fold(np.logical_and, np.ones(length, bool), (mask(term, column, length, ids) for term in terms))
        case Or(terms):
            return _fold(np.logical_or, np.zeros(length, bool), (mask(term, column, length, ids) for term in terms))
    raise FilterError(f"no rule over Arrow columns for {type(where).__name__}: {where!r}")


def _fold(join: np.ufunc, start: Mask, masks: Iterable[Mask]) -> Mask:
    for rows in masks:
        join(start, rows, out=start)
    return start


def _rows(column: Column, test: Callable[[Column], Mask]) -> Mask:
    """Test every row; of a dictionary column only the dictionary."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    if not pa.types.is_dictionary(column.type):
        return test(column)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return np.concatenate([np.zeros(0, bool), *(_looked_up(chunk, test) for chunk in chunks)])


def _looked_up(chunk: Column, test: Callable[[Column], Mask]) -> Mask:
    hits = test(chunk.dictionary)
    # nothing to look up in: not even the place 0 that nulls get below
    if not len(hits):
        return np.zeros(len(chunk), bool)
    indices = chunk.indices.fill_null(0).to_numpy() if chunk.indices.null_count else chunk.indices.to_numpy()
    wanted = np.flatnonzero(hits)
    # one hit is the rule, and to compare is cheaper than to look up
    found: Mask = indices == wanted[0] if len(wanted) == 1 else hits[indices]
    return found & _true(chunk.indices.is_valid()) if chunk.indices.null_count else found


def _true(answers: Column) -> Mask:
    """Give an Arrow boolean column as NumPy's, null as False."""
    if answers.null_count:
        answers = pc.fill_null(answers, fill_value=False)
    chunks = answers.chunks if isinstance(answers, pa.ChunkedArray) else [answers]
    return _bits(chunks[0]) if len(chunks) == 1 else np.concatenate([np.zeros(0, bool), *map(_bits, chunks)])


def _bits(answers: Column) -> Mask:
    """Unpack the bits by hand: five times as fast as `to_numpy`, which is most of the time of a comparison."""
    if not len(answers):
        return np.zeros(0, bool)
    packed = np.frombuffer(answers.buffers()[1], np.uint8)
    stop = answers.offset + len(answers)
    return np.unpackbits(packed, count=stop, bitorder="little")[answers.offset :].view(np.bool_)


def _present(values: Column) -> Mask:
    nan_is_null = pa.types.is_floating(values.type)
    return ~_true(pc.is_null(_computable(values) if nan_is_null else values, nan_is_null=nan_is_null))


def _computable(values: Column) -> Column:
    """Cast to a type that Arrow compares: times and dates to their counts, half floats to float32, views to text."""
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date64(kind):
        return values.cast(pa.int64())
    if pa.types.is_date32(kind):
        return values.cast(pa.int32())
    if pa.types.is_float16(kind):
        return values.cast(pa.float32())
    return values.cast(pa.large_string()) if kind == pa.string_view() else values


def _compare(name: str, values: Column, op: Op, value: Scalar) -> Mask:
    if pa.types.is_null(values.type):
        return np.zeros(len(values), bool)
    if pa.types.is_boolean(values.type) and op not in {"==", "!="}:
        raise FilterError(f"column {name!r} is boolean, which has no order: use == or !=, not {op}")
    found = cut(name, values.type, op, value)
    if isinstance(found, bool):  # no value of this type lies on the other side
        return _present(values) if found else np.zeros(len(values), bool)
    op, scalar = found
    values = _computable(values)
    rows = _true(_COMPARE[op](values, scalar))
    # to Arrow NaN differs from every number; here it is missing, and satisfies nothing
    return rows & _present(values) if op == "!=" and pa.types.is_floating(values.type) else rows


def _isin(name: str, values: Column, accepted: tuple[Scalar, ...], *, negated: bool) -> Mask:
    if pa.types.is_null(values.type):
        return np.zeros(len(values), bool)
    _refuse_nested(name, values.type)
    cuts = [cut(name, values.type, "==", value) for value in accepted]
    wanted = [one[1].as_py() for one in cuts if not isinstance(one, bool)]
    # is_in tells the two zeros apart, which are equal everywhere else
    wanted += [-0.0, 0.0] if pa.types.is_floating(values.type) and 0.0 in wanted else []
    plain = _computable(values)
    found = _true(pc.is_in(plain, value_set=pa.array(wanted, plain.type)))
    return _present(values) & ~found if negated else found


def _match(values: Column, where: TextMatch) -> Mask:
    if pa.types.is_null(values.type):
        return np.zeros(len(values), bool)
    if not _is_text(values.type):
        raise FilterError(f"column {where.column!r} is {values.type}, not text: {where.kind} matches text only")
    values = _computable(values)
    match where.kind:
        case "contains":
            found = pc.match_substring(values, where.text)
        case "startswith":
            found = pc.starts_with(values, where.text)
        case "like":
            found = _like(values, where.text)
    return _true(pc.invert(found) if where.negated else found)


def _like(values: Column, pattern: str) -> Column:
    """Match by a regular expression of our own: Arrow's `match_like` reads a backslash as an escape."""
    if "%" not in pattern and "_" not in pattern:
        return pc.equal(values, pa.scalar(pattern, values.type))
    wild = {"%": ".*", "_": "."}
    # a % at an end is the anchor left out there
    body = "".join(wild.get(part) or re.escape(part) for part in re.split("([%_])", pattern.strip("%")))
    start = "" if pattern.startswith("%") else r"\A"
    end = "" if pattern.endswith("%") else r"\z"
    # (?s): wildcards stand for line breaks too
    return pc.match_substring_regex(values, f"(?s){start}{body}{end}")


def _is_text(kind: Any) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or bool(kind == pa.string_view())


def _refuse_nested(name: str, kind: Any) -> None:
    if pa.types.is_nested(kind):
        raise FilterError(f"column {name!r} is {kind}, which is only tested with is_null()")


def cut(name: str, kind: Any, op: Op, value: Scalar) -> tuple[Op, Any] | bool:  # noqa: PLR0911 - one rule for each type
    """Find the comparison within the column's own type that says the same.

    Returns:
        The operator and the Arrow scalar to compare with; or True or False where that is the answer for every value.
    """
    _refuse_nested(name, kind)
    types = pa.types
    # to Python True is a number, and would find the rows that hold 1
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if types.is_integer(kind) and number:
        low, high = _limits(kind)
        return _on_grid(op, value, low, high, lambda count: pa.scalar(count, kind))
    if types.is_floating(kind) and number:
        return _among_floats(op, value, np.dtype(kind.to_pandas_dtype()))
    if types.is_decimal(kind) and number:
        return _among_decimals(op, value, kind)
    if types.is_timestamp(kind) or types.is_date(kind):
        count = _count(name, kind, value)
        plain = pa.int32() if types.is_date32(kind) else pa.int64()
        return _on_grid(op, count, *_limits(plain), lambda count: pa.scalar(count, plain))
    if types.is_boolean(kind) and isinstance(value, bool):
        return op, pa.scalar(value)
    if _is_text(kind) and isinstance(value, str | UUID):
        return op, pa.scalar(str(value), pa.large_string() if kind == pa.string_view() else kind)
    if kind == pa.binary(16) and isinstance(value, UUID):
        return op, pa.scalar(value.bytes, kind)
    raise _misfit(name, kind, value)


def _limits(kind: Any) -> tuple[int, int]:
    info = np.iinfo(kind.to_pandas_dtype())
    return int(info.min), int(info.max)


def _on_grid(op: Op, value: Any, low: int, high: int, make: Callable[[int], Any]) -> tuple[Op, Any] | bool:
    """Compare whole numbers exactly with any number; Python compares int, float and Decimal without rounding."""
    if value > high:
        return op in {"<", "<=", "!="}
    if value < low:
        return op in {">", ">=", "!="}
    whole = math.floor(value)
    if whole == value:
        return op, make(whole)
    if op in {"==", "!="}:
        return op == "!="
    return ("<=" if op in {"<", "<="} else ">"), make(whole)


def _among_floats(op: Op, value: Any, dtype: np.dtype[Any]) -> tuple[Op, Any] | bool:
    """Compare floats: with a float as NumPy does, in the column's precision; with an integer exactly."""
    nearest = _nearest(value, dtype)
    scalar = pa.scalar(nearest, pa.float64() if dtype == np.float64 else pa.float32())
    rounded = not isinstance(value, int) and math.isfinite(nearest)
    if rounded or nearest == value:
        return op, scalar
    if op in {"==", "!="}:
        return op == "!="
    # no float of this type lies between the value and the nearest one
    below = op in {"<", "<="}
    if nearest > value:
        return ("<" if below else ">="), scalar
    return ("<=" if below else ">"), scalar


def _nearest(value: Any, dtype: np.dtype[Any]) -> float:
    try:
        with np.errstate(over="ignore"):
            return float(dtype.type(float(value)))
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _among_decimals(op: Op, value: Any, kind: Any) -> tuple[Op, Any] | bool:
    """Compare decimals as the whole numbers that they store; a float is taken as it is written."""
    bound = 10**kind.precision - 1
    if isinstance(value, float) and math.isinf(value):
        return _on_grid(op, value, -bound, bound, lambda count: count)
    count = Fraction(str(value)) * Fraction(10) ** kind.scale
    return _on_grid(op, count, -bound, bound, lambda number: _decimal_scalar(number, kind))


def _decimal_scalar(count: int, kind: Any) -> Any:
    # by its digits: arithmetic would round to the 28 of Decimal's usual context
    digits = tuple(map(int, str(abs(count))))
    return pa.scalar(Decimal((int(count < 0), digits, -kind.scale)), kind)


def _count(name: str, kind: Any, value: Scalar) -> Fraction:
    """Count a time in the column's own unit, exactly."""
    if not isinstance(value, str | date):
        raise _misfit(name, kind, value)
    stamp = timestamp(value) if isinstance(value, str) else pd.Timestamp(value)
    zone = getattr(kind, "tz", None)
    if zone and stamp.tzinfo is None:
        raise FilterError(
            f"column {name!r} has time zone {zone}, {str(value)!r} has none: "
            f"write it with one, such as '{stamp.isoformat()}+00:00'"
        )
    if stamp.tzinfo is not None and not zone:
        raise FilterError(f"column {name!r} has no time zone, {str(value)!r} has one: write it without")
    # a float has no nanoseconds to spare at the times of today
    seconds = Fraction(int(stamp.to_datetime64().astype(np.int64)), _UNITS[stamp.unit])
    if pa.types.is_date32(kind):
        return seconds / _DAY
    return seconds * _UNITS["ms" if pa.types.is_date64(kind) else kind.unit]


def _misfit(name: str, kind: Any, value: Scalar) -> FilterError:
    return FilterError(f"column {name!r} is {kind}, which can't be compared with {value!r} ({type(value).__name__})")
