"""Where a store's columns are in the documents of an index, and what the mapping's `_meta` must remember of them."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dkvector._scalars import Scalar
from dkvector.backends._field_types import LONGEST, FieldType, field_type, units
from dkvector.backends._querydsl import PRESENT, Query, Target, compiled
from dkvector.errors import FilterError, SchemaError
from dkvector.filters import Filter
from dkvector.indexes import IndexSpec, as_spec, spec_dict
from dkvector.metrics import DistanceMetric
from dkvector.schema import Schema, VectorInfo

META = "dkvector"
VERSION = 1
ID, CREATED, UPDATED = "id", "created_at", "updated_at"
LENGTHS = "%lengths"  # an object of ours: vector field → its length, where the engine takes it for one
MOST_CATEGORIES = 10_000  # of a column, that are remembered with their order
_SAFE = re.compile(r"[^\W_][\w \-]*")

VectorMapping = Callable[[VectorInfo, Any], dict[str, Any]]


def path_of(name: str) -> str:
    """Choose the field of a column: its own name, but for what an engine would read as a path, a pattern or its own.

    Example:
        >>> path_of("depth"), path_of("a.b"), path_of("id")
        ('depth', 'a%2Eb', '%69d')
    """
    if name in {ID, CREATED, UPDATED}:
        return f"{_percent(name[0])}{name[1:]}"
    if _SAFE.fullmatch(name) and not name.endswith(" "):
        return name
    kept = [one if one.isalnum() or (one == "_" and at) else _percent(one) for at, one in enumerate(name)]
    return "".join(kept) or "%"


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


@dataclass(frozen=True)
class Layout:
    """Where everything is.

    Attributes:
        schema: what the store holds.
        paths: column or vector field → field of the index.
        specs: vector field → the index it has.
        natives: vector field → the engine's word for how it measures.
        id_field: the field that holds ids as values; None where they are only the documents' names.
        categories: column → its categories, in order.
        limits: column → characters of the longest text that can be compared, where there may be longer ones.
        types: column → how it is kept, where that does not follow from its Arrow type.
        ours: the index was made by dkvector.
    """

    schema: Schema
    paths: Mapping[str, str]
    specs: Mapping[str, IndexSpec]
    natives: Mapping[str, str]
    id_field: str | None = ID
    categories: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    types: Mapping[str, FieldType] = field(default_factory=dict)
    ours: bool = True

    @classmethod
    def of(cls, schema: Schema, specs: Mapping[str, IndexSpec], natives: Mapping[str, str]) -> Layout:
        """Lay out a new index."""
        names = [*schema.payload.names, *(info.name for info in schema.vectors)]
        return cls(schema, {name: path_of(name) for name in names}, specs, natives)

    def widened(self, schema: Schema) -> Layout:
        """Take in new columns."""
        new = {name: path_of(name) for name in schema.payload.names if name not in self.paths}
        return replace(self, schema=schema, paths={**self.paths, **new})

    def joined(self, other: Layout) -> Layout:
        """Take in what another layout of the same index has gained; fields of vectors are as they are here."""
        schema = self.schema.widened(replace(other.schema, vectors=self.schema.vectors))
        known = {name: [*self.categories.get(name, ()), *other.categories.get(name, ())] for name in other.categories}
        merged = {name: list(dict.fromkeys(values))[:MOST_CATEGORIES] for name, values in known.items()}
        limits = {**self.limits, **other.limits}
        return replace(self.widened(schema), categories={**self.categories, **merged}, limits=limits)

    def length_of(self, name: str) -> str:
        """Find the field that holds the length of a vector which the engine takes for one."""
        return f"{LENGTHS}.{self.paths[name]}"

    def type(self, name: str) -> FieldType:
        """Tell how a column is kept."""
        return self.types.get(name) or field_type(self.schema.payload.field(name).type)

    def target(self, name: str) -> Target:
        """Find a column for a filter; a payload column of the ids' name goes first, as in pandas."""
        if name in self.schema.payload.names:
            kind = self.schema.payload.field(name).type
            return Target(self.paths[name], kind, self.type(name), self.limits.get(name), self.ours)
        if self.id_field is None:
            raise FilterError(f"{name!r} are the documents' names, which have no order: filter by a boolean Series")
        kind = self.schema.id.type
        return Target(self.id_field, kind, id_type(kind))

    def query(self, where: Filter) -> Query:
        """Compile a filter."""
        return compiled(where, self.target, lambda ids: given(ids, self.schema.id.type))

    def to_meta(self) -> dict[str, Any]:
        """Give what the mapping can't tell, for its `_meta`."""
        # as Arrow writes a schema: JSON has no words for zones, decimals and the dtypes of pandas
        columns = pa.schema([self.schema.id, *self.schema.payload])
        return {
            META: {
                "version": VERSION,
                "columns": base64.b64encode(columns.serialize()).decode(),
                "vectors": [info.to_dict() for info in self.schema.vectors],
                "specs": {name: spec_dict(spec) for name, spec in self.specs.items()},
                "natives": dict(self.natives),
                "paths": dict(self.paths),
                "categories": {name: list(values) for name, values in self.categories.items()},
                "limits": dict(self.limits),
            }
        }

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Layout:
        """Read what `to_meta` gave.

        Raises:
            SchemaError: it was written by a newer dkvector.
        """
        if meta["version"] != VERSION:
            raise SchemaError(f"the index was written by a dkvector of layout {meta['version']}: upgrade this one")
        columns = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(meta["columns"])))
        vectors = tuple(VectorInfo.from_dict(one) for one in meta["vectors"])
        return cls(
            Schema(columns.field(0), vectors, pa.schema([columns.field(i) for i in range(1, len(columns))])),
            meta["paths"],
            {name: as_spec(spec) for name, spec in meta["specs"].items()},
            meta["natives"],
            categories=meta["categories"],
            limits=meta["limits"],
        )

    def mapping(self, vector: VectorMapping, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Give the properties of columns and vector fields; of all that there are, by default.

        Args:
            vector: maps a vector field.
            names: payload columns only.
        """
        kept = self.schema.payload.names if names is None else names
        types = {self.paths[name]: self.type(name).mapping for name in kept}
        properties: dict[str, Any] = {path: dict(mapping) for path, mapping in types.items() if mapping is not None}
        if names is not None:
            return properties
        properties |= {self.paths[info.name]: vector(info, self) for info in self.schema.vectors}
        cosine = [info.name for info in self.schema.vectors if info.metric is DistanceMetric.COSINE]
        properties |= {self.length_of(name): {"type": "double", "index": False} for name in cosine}
        keyword = {"type": "keyword"}
        ids = dict(id_type(self.schema.id.type).mapping or keyword)
        return properties | {ID: ids, CREATED: {"type": "date"}, UPDATED: {"type": "date"}, PRESENT: keyword}


def id_type(kind: pa.DataType) -> FieldType:
    """Tell how ids are kept as values: like a column, but that text is never analysed."""
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        return FieldType({"type": "keyword"}, lambda values: pa.array(values, kind))
    return field_type(kind)


def id_texts(ids: pa.Array) -> list[str]:
    """Turn ids into names of documents."""
    return [one if isinstance(one, str) else str(one) for one in id_type(ids.type).encode(ids)]


def ids_of(texts: Sequence[str], kind: pa.DataType) -> pa.Array:
    """Turn names of documents back into ids."""
    if pa.types.is_boolean(kind):
        return pa.array([text == "True" for text in texts], kind)
    values: Sequence[Any] = texts
    if pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
        values = [int(text) for text in texts]
    elif pa.types.is_floating(kind):
        values = [float(text) for text in texts]
    elif pa.types.is_time(kind) or pa.types.is_duration(kind):
        values = [int(text) for text in texts]
    return id_type(kind).decode(values)


def given(ids: Sequence[Scalar], kind: pa.DataType) -> list[str]:
    """Turn the ids of a filter or a call into names of documents, but for those that no row can have."""
    if pa.types.is_large_string(kind):
        return [one for one in ids if isinstance(one, str)]
    index = pd.Index(list(ids))
    try:
        return id_texts(_array(index, kind))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # one misfit must not hide the ids beside it
        one_by_one = (_one(value, kind) for value in index)
        return [text for texts in one_by_one for text in texts]


def _array(index: pd.Index, kind: pa.DataType) -> pa.Array:
    plain = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    # the cast below makes them 0 and 1, and would find those rows
    if pa.types.is_integer(plain) and index.dtype == bool:
        raise TypeError("truth is no number")
    made = pa.array(index, from_pandas=True) if len(index) else pa.array([], plain)
    made = made if made.type == plain else made.cast(plain)
    if made.null_count:
        raise ValueError("a missing id")
    return pa.ExtensionArray.from_storage(kind, made) if plain is not kind else made


def _one(value: Any, kind: pa.DataType) -> list[str]:
    try:
        return id_texts(_array(pd.Index([value]), kind))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return []


def limits_after(layout: Layout, payload: pa.Table) -> dict[str, int]:
    """Tell which text columns hold texts too long to be compared, once some rows are written."""
    new = {name: LONGEST for name in payload.column_names if any(map(_has_longer, payload.column(name).chunks))}
    return {**layout.limits, **new}


def _has_longer(values: pa.Array) -> bool:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary
    if not (pa.types.is_large_string(values.type) or pa.types.is_string(values.type)):
        return False
    long = values.filter(pc.greater(pc.binary_length(values), LONGEST))  # bytes are never fewer than units
    return any(units(text) > LONGEST for text in long.to_pylist())
