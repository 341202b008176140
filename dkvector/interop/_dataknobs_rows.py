"""dataknobs' records in the rows of a store and back: values in typed columns, what has no type of its own as JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from dkvector.errors import SchemaError, VectorError
from dkvector.fields import Field, FieldType, VectorField
from dkvector.interop._extra import needs
from dkvector.records import ID, Record, records_to_table

with needs("dataknobs-data", "dataknobs"):
    from dataknobs_data import Field as TheirField
    from dataknobs_data import FieldType as TheirType
    from dataknobs_data import Record as TheirRecord
    from dataknobs_data import VectorField as TheirVector

JSON = "{}"  # after the name of a column that holds lists and dicts, as JSON
METADATA = "_metadata"
_KNOWN = {one.value for one in FieldType}


def from_dataknobs(record: TheirRecord) -> Record:
    """Turn a record of dataknobs into one of ours.

    A field "id" that only repeats the record's id is left out; a sparse vector becomes JSON.

    Args:
        record: with its storage id, or else its own, as id.

    Returns:
        Values, types and metadata of all fields; vectors validated.

    Raises:
        VectorError: a vector that is none: ragged, not finite.

    Example:
        >>> from_dataknobs(TheirRecord({"title": "one", "embedding": TheirVector([1.0, 0.0])}, id="a"))["title"]
        'one'
    """
    try:
        fields = {name: _ours(one) for name, one in record.fields.items() if not _repeats(name, one, record)}
    except VectorError as exc:
        raise VectorError(f"record {record.id!r}: {exc}") from exc
    return Record(fields, record.id, record.metadata)


def _repeats(name: str, field: TheirField, record: TheirRecord) -> bool:
    return name == ID and str(field.value) == record.id


def _ours(field: TheirField) -> Field:
    if field.type is TheirType.VECTOR and field.value is not None:
        return VectorField(field.value, metadata=field.metadata)
    kind = FieldType.JSON if field.type is None or field.type.value not in _KNOWN else FieldType(field.type.value)
    return Field(field.value, kind, field.metadata)


def to_dataknobs(record: Record) -> TheirRecord:
    """Turn a record of ours into one of dataknobs.

    Args:
        record: a record; a number that is its id becomes text.

    Returns:
        Values, types and metadata of all fields; of a vector also the model, where its metadata tell.

    Raises:
        SchemaError: a vector field that holds a whole column.

    Example:
        >>> theirs = to_dataknobs(Record({"n": 1, "v": VectorField([1.0, 0.0], metadata={"model": {"name": "m"}})}, 7))
        >>> theirs.id, theirs["n"], theirs.fields["v"].model_name
        ('7', 1, 'm')
    """
    fields = {name: _theirs(name, one) for name, one in record.fields.items()}
    return TheirRecord(fields, dict(record.metadata), storage_id=None if record.id is None else str(record.id))


def _theirs(name: str, field: Field) -> TheirField:
    if not isinstance(field, VectorField):
        return TheirField(name, field.value, TheirType(field.type.value), dict(field.metadata))
    if field.value.ndim != 1:
        raise SchemaError(f"{name!r} is a whole column; a record of dataknobs holds one vector")
    told = dict(field.metadata)
    model = told.get("model")
    named = model if isinstance(model, Mapping) else {"name": model}
    return TheirVector(
        # ours can't be written to
        field.value.copy(),
        name,
        source_field=told.get("source_field"),
        model_name=named.get("name"),
        model_version=named.get("version"),
        metadata=told,
    )


def row(record: TheirRecord, id: str | None = None) -> Record:  # noqa: A002 - the record's own word
    """Give what of a record goes into the columns of a store.

    Args:
        record: dataknobs' record.
        id: what it is called, in place of its own id.

    Returns:
        Single values as they are, vectors as lists; lists, dicts and the record's metadata as JSON; what is None left
        out, for a missing value and none are the same to a store.

    Raises:
        SchemaError: a field "id" other than the id, one that JSON can't tell, a name that columns of ours have.
    """
    called = record.id if id is None else id
    found: dict[str, Any] = {}
    for name, field in record.fields.items():
        if name == METADATA or name.endswith(JSON):
            raise SchemaError(f"record {called!r} has a field {name!r}, a name that the store's own columns have")
        if name == ID and str(field.value) != called:
            raise SchemaError(f"record {called!r} has a field 'id' of another value, {field.value!r}: rename the field")
        if field.value is not None and name != ID:
            found |= _column(name, field)
    if record.metadata:
        found[METADATA] = as_json(record.metadata)
    return Record(found, called)


def _column(name: str, field: TheirField) -> dict[str, Any]:
    if field.type is TheirType.VECTOR:
        return {name: VectorField(field.value)}
    if isinstance(field.value, list | tuple | dict):
        return {name + JSON: as_json(field.value)}
    return {name: field.value}


def as_json(value: Any) -> str:
    """Write lists and dicts as text; equal ones as equal text.

    Raises:
        SchemaError: what JSON can't tell.
    """
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError) as exc:
        raise SchemaError(f"{value!r} can't be kept as JSON: {exc}") from exc


def back(record: Record, models: Mapping[str, Mapping[str, Any]]) -> TheirRecord:
    """Make a record of dataknobs of a row.

    Args:
        record: the row.
        models: vector field → name and version of the model that made it, where known.
    """
    fields, metadata = {}, {}
    for name, field in record.fields.items():
        if field.value is None:
            continue
        if name == METADATA:
            metadata = json.loads(field.value)
        elif name.endswith(JSON):
            fields[name.removesuffix(JSON)] = Field(json.loads(field.value), FieldType.JSON)
        elif isinstance(field, VectorField):
            fields[name] = VectorField(field.value, metadata={"model": dict(models.get(name, {}))})
        else:
            fields[name] = _timed(field)
    return to_dataknobs(Record(fields, record.id, metadata))


def _timed(field: Field) -> Field:
    """Give times as Python has them."""
    value = field.value
    return Field(value.to_pydatetime()) if isinstance(value, datetime) and hasattr(value, "to_pydatetime") else field


def vector_fields(records: Sequence[TheirRecord]) -> tuple[str, ...]:
    """Name the fields that hold vectors: of JSON such as "[0.5, 0.7]" nothing else tells that it is none."""
    found = (name for one in records for name, field in one.fields.items() if field.type is TheirType.VECTOR)
    return tuple(dict.fromkeys(found))


def as_table(records: Sequence[TheirRecord]) -> pa.Table:
    """Give records as a table in which a vector may be missing, so that whoever reads it may say what becomes of it."""
    return records_to_table([_loose(row(record)) for record in records], [])


def _loose(record: Record) -> Record:
    loose = {name: one.value.tolist() if isinstance(one, VectorField) else one for name, one in record.fields.items()}
    return Record(loose, record.id)


async def taken(records: AsyncIterator[TheirRecord], rows: int) -> list[TheirRecord]:
    """Take the next records of a stream; none are left where there are none."""
    some: list[TheirRecord] = []
    while len(some) < rows and (one := await anext(records, None)) is not None:
        some.append(one)
    return some
