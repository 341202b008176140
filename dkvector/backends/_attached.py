"""An index that others made, as a store: its vector fields and columns, read from its mapping and left as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa

from dkvector.backends._dialect import Dialect, Known
from dkvector.backends._field_types import FieldType, field_type
from dkvector.backends._layout import Layout
from dkvector.errors import SchemaError
from dkvector.schema import Schema

_DATA = "data."  # the object that the records of the design were kept in
_TYPES = {
    "long": pa.int64(),
    "integer": pa.int64(),
    "short": pa.int64(),
    "byte": pa.int64(),
    "double": pa.float64(),
    "float": pa.float64(),
    "half_float": pa.float64(),
    "boolean": pa.bool_(),
}
_DATE = pa.timestamp("ms", "UTC")
_EXACT = {"keyword", "constant_keyword", "wildcard"}
_TEXT = pa.large_string()
_MILLISECONDS = re.compile(r"(?!-?\d{4}$)-?\d+(\.\d+)?")  # four digits are a year


def attached(name: str, mappings: Mapping[str, Any], dialect: Dialect) -> Layout:
    """Lay out an index that others made.

    Args:
        name: of the store.
        mappings: of the index.
        dialect: of the engine.

    Raises:
        SchemaError: it has no vector field that can be searched.
    """
    fields = list(_fields(mappings.get("properties") or {}, ""))
    names = _names([path for path, _ in fields])
    vectors: dict[str, Known] = {}
    types: dict[str, FieldType] = {}
    limits: dict[str, int] = {}
    payload: list[pa.Field] = []
    for path, mapping in fields:
        column = names[path]
        known = dialect.known(column, mapping)
        if known is not None:
            vectors[column] = known
        # vectors that can't be searched, and second names of other fields, are no columns
        elif mapping.get("type") not in {"dense_vector", "knn_vector", "alias"}:
            kind, types[column], limit = _column(mapping)
            payload.append(pa.field(column, kind))
            limits |= {} if limit is None else {column: limit}
    if not vectors:
        raise SchemaError(f"the index {name!r} has no vector field among {sorted(names.values())}")
    return Layout(
        Schema(pa.field(_free(names.values()), _TEXT), tuple(one.info for one in vectors.values()), pa.schema(payload)),
        {column: path for path, column in names.items()},
        {column: one.spec for column, one in vectors.items()},
        {column: one.measure for column, one in vectors.items()},
        id_field=None,
        types=types,
        limits=limits,
        ours=False,
    )


def _fields(properties: Mapping[str, Any], above: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Walk the fields of a mapping, but for those inside nested documents."""
    for name, mapping in properties.items():
        inner = mapping.get("properties")
        if inner and mapping.get("type", "object") == "object":
            yield from _fields(inner, f"{above}{name}.")
        else:
            yield f"{above}{name}", mapping


def _names(paths: Sequence[str]) -> dict[str, str]:
    """Call the fields below `data` by their own names, where no other field has them."""
    taken = {path for path in paths if not path.startswith(_DATA)}
    short = {path: path.removeprefix(_DATA) for path in paths if path.startswith(_DATA)}
    return {path: short[path] if short.get(path) and short[path] not in taken else path for path in paths}


def _free(names: Any) -> str:
    name = "id"
    while name in names:
        name = f"_{name}"
    return name


def _column(mapping: Mapping[str, Any]) -> tuple[pa.DataType, FieldType, int | None]:
    """Tell a field's Arrow type, how it is kept, and how long a text is compared."""
    word = mapping.get("type", "object")
    looked = mapping.get("index", True) is not False and mapping.get("doc_values", True) is not False
    if word in _TYPES and looked:
        return _TYPES[word], field_type(_TYPES[word]), None
    # documents give dates as they were written: only the forms of the default format can be read
    if word == "date" and looked and "format" not in mapping:
        return _DATE, replace(field_type(_DATE), decode=_dates), None
    if word in _EXACT and looked:
        return _TEXT, FieldType(dict(mapping), _texts), mapping.get("ignore_above")
    if word in {"text", "match_only_text"}:
        return _analysed(mapping)
    return _TEXT, FieldType(dict(mapping), _jsons, _from_jsons, searched=None), None


def _analysed(mapping: Mapping[str, Any]) -> tuple[pa.DataType, FieldType, int | None]:
    """Find the exact texts of an analysed field, where it has them beside it."""
    for name, inner in (mapping.get("fields") or {}).items():
        if inner.get("type") in _EXACT:
            return _TEXT, FieldType(dict(mapping), _texts, searched=f".{name}"), inner.get("ignore_above")
    return _TEXT, FieldType(dict(mapping), _texts, searched=None), None


def _texts(values: Sequence[Any]) -> pa.Array:
    """Give texts; where a document has several, or an object, as JSON."""
    return pa.array(
        [one if one is None or isinstance(one, str) else orjson.dumps(one).decode() for one in values], _TEXT
    )


def _jsons(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if one is None else orjson.dumps(one).decode() for one in values], _TEXT)


def _from_jsons(values: pa.Array) -> list[Any]:
    return [None if one is None else orjson.loads(one) for one in values.to_pylist()]


def _dates(values: Sequence[Any]) -> pa.Array:
    """Read dates in the two forms that a field takes by default: ISO 8601, or milliseconds since 1970."""
    return pa.array(pd.Series([_date(one) for one in values], dtype="datetime64[ms, UTC]"), _DATE)


def _date(value: Any) -> pd.Timestamp | None:
    if isinstance(value, str) and not _MILLISECONDS.fullmatch(value):
        return pd.to_datetime(value, utc=True, format="ISO8601")
    # a document may hold milliseconds as a number or as text, with parts of them or without
    return None if value is None else pd.to_datetime(int(float(value)), utc=True, unit="ms")
