"""Records: one row as named fields, and whole lists of them as Arrow tables and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pyarrow as pa

from dkvector.columns import called
from dkvector.errors import NotFoundError, SchemaError, VectorError
from dkvector.fields import Field, FieldType, VectorField, is_vector

ID = "id"
_NUMBERS = {FieldType.INTEGER, FieldType.FLOAT}


class Record:
    """One row: named fields, an id, and metadata.

    Args:
        data: name → value or `Field`; a plain 1-D float array becomes a `VectorField`.
        id: what the row is called; a store gives it one if left out.
        metadata: anything JSON-able that belongs to the record.

    Example:
        >>> record = Record({"title": "Document 1", "embedding": VectorField([1.0, 0.0])}, id="a")
        >>> record["title"], record.fields["embedding"].dimensions
        ('Document 1', 2)
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        id: str | int | None = None,  # noqa: A002 - the name is part of the contract
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.fields: dict[str, Field] = {name: _field(value) for name, value in data.items()}
        # ids are told apart by their type, and a number of NumPy is no int
        self.id = id.item() if isinstance(id, np.generic) else id
        self.metadata: dict[str, Any] = dict(metadata or {})

    def __getitem__(self, name: str) -> Any:
        try:
            return self.fields[name].value
        except KeyError:
            raise NotFoundError.of("field", name, self.fields) from None

    def __contains__(self, name: object) -> bool:
        return name in self.fields

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def get(self, name: str, default: Any = None) -> Any:
        """Give a field's value, or the default where there is no such field."""
        return self.fields[name].value if name in self.fields else default

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return (self.id, self.metadata, self.fields) == (other.id, other.metadata, other.fields)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name!r}: {field!r}" for name, field in self.fields.items())
        return f"Record({{{shown}}}, id={self.id!r}{f', metadata={self.metadata!r}' if self.metadata else ''})"

    def to_dict(self) -> dict[str, Any]:
        """Turn the record into JSON-able data; `Record.from_dict` turns it back."""
        fields = {name: field.to_dict() for name, field in self.fields.items()}
        return {"id": self.id, "fields": fields, "metadata": self.metadata}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """Build the record that `to_dict` wrote.

        Args:
            data: the mapping, as written or after a trip through JSON.

        Returns:
            An equal record.

        Raises:
            SchemaError: the mapping is not a record's.
        """
        if not isinstance(data.get("fields"), Mapping):
            raise SchemaError(f"a record's mapping has 'id', 'fields' and 'metadata', this one has {sorted(data)}")
        fields = {name: Field.from_dict(field) for name, field in data["fields"].items()}
        return cls(fields, data.get("id"), data.get("metadata"))


def _field(value: Any) -> Field:
    if isinstance(value, Field):
        return value
    return VectorField(value) if is_vector(value) else Field(value)


def records_to_table(records: Sequence[Record], vector_fields: Sequence[str] | None = None) -> pa.Table:
    """Turn records into an Arrow table.

    Args:
        records: the records; one without an id gets a random one (32 hexadecimal digits).
        vector_fields: the fields that are vectors, which every record must have; if left out, each field that is a
            vector in any record.

    Returns:
        Column ``id`` first; vectors as fixed-size lists of float32; the other fields with the type Arrow infers, null
        where a record lacks the field.

    Raises:
        SchemaError: values of different types in one field; a field called ``id``.
        VectorError: records without their vector, or with vectors of different dimensions.

    Example:
        >>> records_to_table([Record({"n": 1, "v": [1.0, 2.0]}, id="a")], ["v"]).column_names
        ['id', 'n', 'v']
    """
    names = list(dict.fromkeys([*(name for record in records for name in record), *(vector_fields or ())]))
    if not records:
        return pa.table({ID: _ids(records)})  # nobody knows the fields, nor their dimensions
    if ID in names:
        raise SchemaError("a field can't be called 'id', the name of the ids' own column: give it as Record(…, id=…)")
    if vector_fields is None:
        vector_fields = [name for name in names if any(_is_vector_in(record, name) for record in records)]
    columns = {ID: _ids(records)}
    for name in names:
        columns[name] = (_vectors if name in vector_fields else _values)(records, name)
    return pa.table(columns)


def _is_vector_in(record: Record, name: str) -> bool:
    return isinstance(record.fields.get(name), VectorField)


def _label(records: Sequence[Record], at: int) -> str | int:
    """Name a record by its id, or where it has none by its place."""
    given = records[at].id
    return f"record number {at}" if given is None else given


def _ids(records: Sequence[Record]) -> pa.Array:
    ids: list[Any] = [uuid4().hex if record.id is None else record.id for record in records]
    kinds = {type(one).__name__ for one in ids}
    if kinds == {"tuple"}:
        return _tuples(ids)
    if not kinds <= {"str"} and not kinds <= {"int"}:
        raise SchemaError(f"ids must all be text or all be integers, these are {' and '.join(sorted(kinds))}")
    try:
        return pa.array(ids, pa.int64() if kinds == {"int"} else pa.string())
    except OverflowError as error:
        raise SchemaError(f"ids must fit in 64 bits: {error}") from error


def _tuples(ids: Sequence[tuple[Any, ...]]) -> pa.Array:
    """Turn ids of several parts into a struct; how the parts are called is the store's to say."""
    if len({len(one) for one in ids}) > 1:
        raise SchemaError("ids must all have as many parts")
    arrays = [pa.array([one[at] for one in ids]) for at in range(len(ids[0]))]
    fields = [called(pa.field(str(at), array.type), None) for at, array in enumerate(arrays)]
    return pa.StructArray.from_arrays(arrays, fields=fields)


def _vectors(records: Sequence[Record], name: str) -> pa.Array:
    missing = [_label(records, at) for at, record in enumerate(records) if record.get(name) is None]
    if missing:
        raise VectorError.at_rows(
            f"no vector {name!r}", missing, way_out="leave these records out, or embed them first"
        )
    vectors = [_one_vector(records, at, name) for at in range(len(records))]
    dimensions = len(vectors[0])
    other = [_label(records, at) for at, vector in enumerate(vectors) if len(vector) != dimensions]
    if other:
        what = f"{name!r} has {dimensions} dimensions in {_label(records, 0)!r}, others"
        raise VectorError.at_rows(what, other, way_out="one field holds the vectors of one model")
    return pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(vectors)), dimensions)


def _one_vector(records: Sequence[Record], at: int, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    field = records[at].fields[name]
    try:
        vector = field.value if isinstance(field, VectorField) else VectorField(field.value).value
    except VectorError as error:
        raise VectorError(f"{name!r} of {_label(records, at)!r}: {error}") from error
    if vector.ndim != 1:
        raise VectorError(f"{name!r} of {_label(records, at)!r} is a whole column; a record holds one vector")
    return vector


def _values(records: Sequence[Record], name: str) -> pa.Array:
    values = [str(value) if isinstance(value, UUID) else value for value in (record.get(name) for record in records)]
    kinds = {at: _kind(value) for at, value in enumerate(values) if value is not None and value == value}  # noqa: PLR0124 - NaN is missing
    for at, kind in kinds.items():
        first = next(iter(kinds))
        if kind != kinds[first]:
            raise _mixed(records, name, first, at)
    try:
        return pa.array(values, _nanoseconds(values), from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise SchemaError(f"field {name!r} has no common Arrow type: {error}; give it one type") from error


def _nanoseconds(values: Sequence[Any]) -> pa.DataType | None:
    """Choose the type for times finer than Arrow's inference keeps; None where it keeps them."""
    fine = next((value for value in values if getattr(value, "nanosecond", 0)), None)
    return None if fine is None else pa.timestamp("ns", "UTC" if fine.tzinfo is not None else None)


def _kind(value: object) -> object:
    """Tell apart what Arrow would mix silently: text and bytes, dates and times, zones and none, lists and dicts."""
    kind = FieldType.of(value)
    if isinstance(value, datetime):
        return kind, value.tzinfo is not None
    if isinstance(value, date):
        return kind, "date"
    return "number" if kind in _NUMBERS else (kind, isinstance(value, dict))


def _mixed(records: Sequence[Record], name: str, first: int, other: int) -> SchemaError:
    one, two = records[first][name], records[other][name]
    return SchemaError(
        f"field {name!r} is {one!r} ({type(one).__name__}) in {_label(records, first)!r} "
        f"and {two!r} ({type(two).__name__}) in {_label(records, other)!r}: give it one type"
    )


def table_to_records(table: pa.Table, id_column: str = ID) -> list[Record]:
    """Turn an Arrow table into records.

    Args:
        table: the rows; fixed-size lists of floats are taken for vectors.
        id_column: the column that holds the ids.

    Returns:
        One record per row; a null becomes a field whose value is None.

    Raises:
        NotFoundError: the table has no such column.

    Example:
        >>> table_to_records(pa.table({"id": ["a"], "n": [1]}))
        [Record({'n': Field(1, FieldType.INTEGER)}, id='a')]
    """
    if id_column not in table.column_names:
        raise NotFoundError.of("column", id_column, table.column_names)
    names = [name for name in table.column_names if name != id_column]
    columns = [_fields(table.column(name)) for name in names]
    ids = table.column(id_column).to_pylist()
    if pa.types.is_struct(table.schema.field(id_column).type):
        ids = [tuple(one.values()) for one in ids]
    return [Record(dict(zip(names, row, strict=True)), one) for one, *row in zip(ids, *columns, strict=True)]


def _fields(column: pa.ChunkedArray) -> list[Field]:
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    if not (pa.types.is_fixed_size_list(column.type) and pa.types.is_floating(column.type.value_type)):
        return [Field(value) for value in column.to_pylist()]
    # flatten() leaves out what hides under missing rows: each vector that is there takes the next numbers
    present = column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
    vectors = iter(present)
    return [
        VectorField(next(vectors)) if there else Field(None, FieldType.VECTOR)
        for there in column.is_valid().to_pylist()
    ]
