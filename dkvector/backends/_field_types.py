"""Arrow's types in a search engine: how a column is mapped, written as JSON and read back, and what filters look at.

Filters must mean on the engine what they mean elsewhere, so what an engine rounds or orders by other rules — times
finer than a millisecond, decimals, unsigned 64-bit numbers — is also, or only, kept as text of one width, which
sorts as the values do.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dkvector.backends._nested import check_json
from dkvector.errors import SchemaError, some

# the usual context rounds to 28 digits, of which Arrow's decimals have up to 76
_WIDE = Context(prec=100)
LONGEST = 10_922  # UTF-16 units of an exact text: Lucene takes 32,766 bytes, and a unit has up to three
_FINE = {"us", "ns"}  # units that the engines' dates cut

Values = list[Any]


def units(text: str) -> int:
    """Count a text as the engines do, in UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def _same(values: pa.Array) -> Values:
    listed: Values = values.to_pylist()
    return listed


@dataclass(frozen=True)
class FieldType:
    """How a column of one type is kept.

    Attributes:
        mapping: the field's mapping; None where it needs none.
        searched: what to add to the field's path to find its exact value; None where filters can't look at it.
        encode: Arrow values → JSON values, None where missing.
        decode: JSON values → Arrow values.
        literal: a value as `_arrow.cut` gives it → a JSON value to compare with.
        coarse: what to add to the path to find a value cut to milliseconds, where that is kept too.
    """

    mapping: Mapping[str, Any] | None
    decode: Callable[[Sequence[Any]], pa.Array]
    encode: Callable[[pa.Array], Values] = _same
    searched: str | None = ""
    literal: Callable[[Any], Any] = field(default=lambda value: value)
    coarse: str | None = None


@lru_cache(maxsize=256)
def field_type(kind: pa.DataType) -> FieldType:  # noqa: PLR0911, C901 - one rule for each type
    """Find how a column of an Arrow type is kept."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _extension(kind)
    if types.is_dictionary(kind):
        inner = field_type(kind.value_type)
        return FieldType(
            inner.mapping, inner.decode, lambda values: inner.encode(_plain(values)), inner.searched, inner.literal
        )
    if types.is_null(kind):
        return FieldType(None, lambda values: pa.nulls(len(values)), searched=None)
    if types.is_boolean(kind):
        return FieldType({"type": "boolean"}, lambda values: pa.array(values, kind))
    if types.is_uint64(kind):
        # `long` is signed; 20 digits hold every unsigned 64-bit number
        return _padded(kind, 20, 0, int, lambda number: number)
    if types.is_integer(kind):
        return FieldType({"type": "long"}, lambda values: pa.array(values, kind))
    if types.is_floating(kind):
        return FieldType({"type": "double"}, lambda values: pa.array(values, pa.float64()).cast(kind), _present)
    if types.is_decimal(kind):
        return _decimal(kind)
    if types.is_timestamp(kind) or types.is_date(kind):
        return _time(kind)
    if types.is_time(kind) or types.is_duration(kind):
        count = pa.int32() if types.is_time32(kind) else pa.int64()
        return FieldType(
            {"type": "long"},
            lambda values: pa.array(values, count).cast(kind),
            lambda values: _same(values.cast(count)),
        )
    if types.is_string(kind) or types.is_large_string(kind):
        return FieldType(_TEXT, lambda values: pa.array(values, kind), searched=".keyword")
    return _binary(kind) if _is_binary(kind) else _whole(kind)


_TEXT = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": LONGEST}}}


def _plain(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if isinstance(values, pa.DictionaryArray) else values.cast(values.type.value_type)


def _extension(kind: pa.BaseExtensionType) -> FieldType:
    inner = field_type(kind.storage_type)
    return FieldType(
        inner.mapping,
        lambda values: pa.ExtensionArray.from_storage(kind, inner.decode(values)),
        lambda values: inner.encode(values.storage),
        inner.searched,
        inner.literal,
        inner.coarse,
    )


def _present(values: pa.Array) -> Values:
    """Give floats, NaN as missing."""
    return [None if value is None or value != value else value for value in values.to_pylist()]  # noqa: PLR0124 - NaN


def _padded(
    kind: pa.DataType, width: int, bias: int, count: Callable[[Any], int], back: Callable[[int], Any]
) -> FieldType:
    """Keep whole numbers as text of one width, none of it negative."""

    def text(value: Any) -> str | None:
        return None if value is None else f"{count(value) + bias:0{width}}"

    def decode(values: Sequence[Any]) -> pa.Array:
        return pa.array([None if one is None else back(int(one) - bias) for one in values], kind)

    return FieldType({"type": "keyword"}, decode, lambda values: [text(one) for one in values.to_pylist()], "", text)


def _decimal(kind: pa.DataType) -> FieldType:
    def count(value: Decimal) -> int:
        return int(value.scaleb(kind.scale, context=_WIDE))

    bias = 10**kind.precision
    return _padded(
        kind, kind.precision + 1, bias, count, lambda number: Decimal(number).scaleb(-kind.scale, context=_WIDE)
    )


def _time(kind: pa.DataType) -> FieldType:
    """Keep dates and times as ISO text in UTC."""
    fine = pa.types.is_timestamp(kind) and kind.unit in _FINE
    mapping: dict[str, Any] = {"type": "date", "format": "strict_date_optional_time_nanos||strict_date_optional_time"}
    if fine:
        mapping = {"type": "date", "fields": {"exact": {"type": "keyword"}}}
    count = pa.int32() if pa.types.is_date32(kind) else pa.int64()

    def literal(value: int) -> Any:
        return _iso(pa.array([value], count).cast(kind))[0]

    return FieldType(
        mapping, lambda values: _from_iso(values, kind), _iso, ".exact" if fine else "", literal, "" if fine else None
    )


def _iso(values: pa.Array) -> Values:
    kind = values.type
    if pa.types.is_date32(kind):
        return _same(values.cast(pa.string()))
    plain = values.cast(pa.timestamp("ms") if pa.types.is_date64(kind) else pa.timestamp(kind.unit))
    texts = plain.cast(pa.string())
    return _same(pc.binary_join_element_wise(pc.replace_substring(texts, " ", "T"), pa.scalar("Z"), ""))


def _from_iso(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_date32(kind):
        return pa.array(values, pa.string()).cast(kind)
    unit = "ms" if pa.types.is_date64(kind) else kind.unit
    bare = pa.array([None if one is None else one.removesuffix("Z") for one in values], pa.string())
    return bare.cast(pa.timestamp(unit)).cast(kind)


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _binary(kind: pa.DataType) -> FieldType:
    def decode(values: Sequence[Any]) -> pa.Array:
        return pa.array([None if one is None else base64.b64decode(one) for one in values], kind)

    def encode(values: pa.Array) -> Values:
        return [None if one is None else base64.b64encode(one).decode() for one in values.to_pylist()]

    if kind == pa.binary(16):  # a UUID: base64 of one length, which is only compared for equality
        return FieldType({"type": "keyword"}, decode, encode, "", lambda value: base64.b64encode(value).decode())
    # with doc values, by which `exists` finds it
    return FieldType({"type": "binary", "doc_values": True}, decode, encode)


def _whole(kind: pa.DataType) -> FieldType:
    """Keep lists, structs and what else there is as JSON that the engine stores and doesn't look at."""
    if _is_json(kind):
        return FieldType(_STORED, lambda values: pa.array(values, kind), searched=None)
    return FieldType(
        _STORED,
        lambda values: pa.array([_walked(one, kind, _back) for one in values], kind),
        lambda values: [_walked(one, kind, _there) for one in values.to_pylist()],
        None,
    )


_STORED = {"type": "object", "enabled": False}


def _is_json(kind: pa.DataType) -> bool:
    """Tell whether JSON has this type and all inside it."""
    if pa.types.is_struct(kind):
        return all(_is_json(one.type) for one in kind)
    if _is_list(kind):
        return _is_json(kind.value_type)
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or kind == pa.bool_())


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _walked(value: Any, kind: pa.DataType, leaf: Callable[[Any, pa.DataType], Any]) -> Any:
    """Turn the leaves of a nested value into JSON, or back."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {one.name: _walked(value.get(one.name), one.type, leaf) for one in kind}
    if _is_list(kind):
        return [_walked(one, kind.value_type, leaf) for one in value]
    if pa.types.is_map(kind):
        return [(_walked(key, kind.key_type, leaf), _walked(one, kind.item_type, leaf)) for key, one in value]
    return leaf(value, kind)


def _there(value: Any, kind: pa.DataType) -> Any:
    return field_type(kind).encode(pa.array([value], kind))[0]


def _back(value: Any, kind: pa.DataType) -> Any:
    return field_type(kind).decode([value])[0].as_py()


def check_fits(name: str, values: pa.Array, labels: pd.Index) -> None:
    """Refuse values that the engines can't hold, before anything is written.

    Args:
        name: the column's name.
        values: its values.
        labels: `(n,)` ids of the rows.

    Raises:
        SchemaError: names the column and the rows.
    """
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    kind = values.type
    if pa.types.is_nested(kind):
        check_json(name, values, labels)
        return
    if pa.types.is_floating(kind):
        bad, what = pc.is_inf(values.cast(pa.float64())), "infinity, which search engines can't hold"
    elif (pa.types.is_timestamp(kind) or pa.types.is_date(kind)) and len(values):
        # the engines' years have four digits; days can be compared whatever the unit of the column
        days = pc.cast(values, pa.date32(), safe=False).cast(pa.int32())
        bad, what = (
            pc.invert(pc.and_(pc.greater_equal(days, _FIRST), pc.less_equal(days, _LAST))),
            "years not of 1 to 9999",
        )
    else:
        return
    bad = pc.fill_null(bad, fill_value=False)
    if pc.any(bad).as_py():
        raise SchemaError(
            f"column {name!r} holds {what}, at {some(labels[bad.to_numpy(zero_copy_only=False)])}; leave them or it out"
        )


_FIRST, _LAST = -719_162, 2_932_896  # days from 1970 to the first of year 1, and to the last of 9999
