"""Columns whose values say less about their type than the store knows: empty lists, dicts without a key, few digits."""

from __future__ import annotations

import pyarrow as pa

_LISTS = (pa.types.is_list, pa.types.is_large_list)


def widened(field: pa.Field, values: pa.Array, known: pa.Schema) -> tuple[pa.Field, pa.Array]:
    """Give a column the type that a store has for it, where that loses nothing.

    Args:
        field: of the column.
        values: the column.
        known: the payload of the store.

    Returns:
        The field and the values, of the store's type; as they were where they don't fit it.

    Example:
        >>> known = pa.schema([pa.field("tags", pa.list_(pa.large_string()))])
        >>> widened(pa.field("tags", pa.list_(pa.null())), pa.array([[]]), known)[1].type
        ListType(list<item: large_string>)
    """
    at = known.get_field_index(field.name)
    if at < 0 or known.field(at).type == field.type:
        return field, values
    kind = known.field(at).type
    if _has_no_categories(values) and pa.types.is_dictionary(kind):
        none = pa.array([], kind.value_type)
        made = pa.DictionaryArray.from_arrays(values.indices.cast(kind.index_type), none, ordered=kind.ordered)
        return field.with_type(kind), made
    # a column of nothing but missing values has no type, and needs none
    if pa.types.is_null(field.type) or not _fits(field.type, kind):
        return field, values
    try:
        return field.with_type(kind), values.cast(kind)
    except pa.ArrowException:  # keys in another order, to an older Arrow
        return field, values


def _has_no_categories(values: pa.Array) -> bool:
    return isinstance(values, pa.DictionaryArray) and not len(values.dictionary)


def _fits(kind: pa.DataType, into: pa.DataType) -> bool:
    """Tell whether every value of a type is one of another: more digits, more keys, or a type for what is inside."""
    if kind == into or pa.types.is_null(kind):
        return True
    if any(is_list(kind) and is_list(into) for is_list in _LISTS):
        return _fits(kind.value_type, into.value_type)
    if pa.types.is_struct(kind) and pa.types.is_struct(into):
        places = [into.get_field_index(one.name) for one in kind]
        return all(at >= 0 and _fits(one.type, into.field(at).type) for one, at in zip(kind, places, strict=True))
    if pa.types.is_decimal128(kind) and pa.types.is_decimal128(into):
        return bool(kind.scale <= into.scale and kind.precision - kind.scale <= into.precision - into.scale)
    return False
