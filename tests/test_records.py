"""Fields, records, and tables of them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dkvector.errors import NotFoundError, SchemaError, VectorError
from dkvector.fields import Field, FieldType, VectorField
from dkvector.records import Record, records_to_table, table_to_records

NAIVE = datetime(2024, 1, 1, 12)  # noqa: DTZ001 - naive on purpose


def test_vector_field_validation():
    vector = np.random.rand(768)
    field = VectorField(vector, dimensions=768)
    assert field.dimensions == 768
    assert field.type == FieldType.VECTOR
    with pytest.raises(ValueError, match="has 512 dimensions, expected 768"):
        VectorField(np.random.rand(512), dimensions=768)


@pytest.mark.parametrize(
    "value", [[1, 2.5], (1, 2.5), np.array([1, 2.5]), np.array([1, 0, 2.5, 0])[::2], np.float16([1, 2.5])]
)
def test_a_vector_is_float32_in_one_piece(value):
    field = VectorField(value)
    assert field.value.dtype == np.float32
    assert field.value.flags.c_contiguous
    assert field.value.tolist() == [1.0, 2.5]
    assert field.dimensions == 2


def test_one_vector_is_copied_and_a_column_is_viewed():
    one, many = np.ones(3, np.float32), np.ones((2, 3), np.float32)
    assert not np.shares_memory(VectorField(one).value, one)
    assert np.shares_memory(VectorField(many).value, many)
    assert VectorField(many).dimensions == 3
    one[0] = 5  # the caller's arrays stay writable
    many[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        VectorField(many).value[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        VectorField(one).value[0] = 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, float("nan"), 2.0, float("inf")], r"not finite .* at 2 components: 1, 3$"),
        ([1e300], "not finite .* at 1 components: 0"),
        (np.array([[1.0], [np.nan], [2.0], [-np.inf]]), r"not finite .* at 1, 3 \(2 rows\)"),
        ([[1.0], [1.0, 2.0]], "rows of one length"),
        (["1", "2"], "wants numbers"),
        ([True, False], "wants numbers, not bool"),
        ([1.0, True], "wants numbers, not bool"),
        ([[1.0, 2.0], [1.0, np.True_]], "wants numbers, not bool"),
        ([1j], "wants numbers, not complex128"),
        (3.5, r"shape \(d,\) or \(n, d\), not \(\)"),
        ([], r"not \(0,\)"),
        (np.zeros((2, 2, 2)), r"not \(2, 2, 2\)"),
        (None, "wants numbers, not object"),
    ],
)
def test_bad_vectors_are_refused(value, message):
    with pytest.raises(VectorError, match=message):
        VectorField(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x", FieldType.STRING),
        (UUID(int=1), FieldType.STRING),
        (True, FieldType.BOOLEAN),
        (np.True_, FieldType.BOOLEAN),
        (3, FieldType.INTEGER),
        (np.int8(3), FieldType.INTEGER),
        (0.5, FieldType.FLOAT),
        (Decimal("0.5"), FieldType.FLOAT),
        (date(2024, 1, 1), FieldType.DATETIME),
        (NAIVE, FieldType.DATETIME),
        (np.datetime64("2024-01-01"), FieldType.DATETIME),
        (b"x", FieldType.BINARY),
        ({"a": 1}, FieldType.JSON),
        ([1.0], FieldType.JSON),
        (np.array([1, 2]), FieldType.JSON),
        (None, FieldType.JSON),
        (np.array([1.0]), FieldType.VECTOR),
    ],
)
def test_types_are_inferred(value, kind):
    assert FieldType.of(value) == kind


def test_an_odd_value_is_refused():
    with pytest.raises(SchemaError, match="can't hold a value of type object"):
        Field(object())


@pytest.mark.parametrize(
    "field",
    [
        Field("x", FieldType.TEXT, {"language": "en"}),
        Field(3),
        Field(2**70),
        Field(float("-inf")),
        Field(Decimal("0.10")),
        Field(True),  # noqa: FBT003 - the value under test
        Field(date(2024, 1, 1)),
        Field(NAIVE),
        Field(datetime(2024, 1, 1, tzinfo=UTC)),
        Field(pd.Timestamp("2024-01-01 00:00:00.000000001")),
        Field(UUID(int=1)),
        Field(b"\x00\xff"),
        Field(None, FieldType.BINARY),
        Field({"UUID": "not one", "n": [1, None]}),
        VectorField([0.1, 2.0], metadata={"model": "m"}),
        VectorField([[0.1, 2.0], [3.0, 4.0]]),
    ],
)
def test_fields_survive_json(field):
    again = Field.from_dict(json.loads(json.dumps(field.to_dict(), allow_nan=False)))
    assert again == field
    assert type(again) is type(field)


@pytest.mark.parametrize(
    "data", [{}, {"type": "string"}, {"type": "odd", "value": 1}, {"type": "float", "value": {"os": "x"}}]
)
def test_other_mappings_are_no_fields(data):
    with pytest.raises(SchemaError, match="is not a field"):
        Field.from_dict(data)


def test_fields_differ_by_value_type_and_metadata():
    assert Field("a") == Field("a")
    assert Field("a") != Field("b")
    assert Field("a") != Field("a", FieldType.TEXT)
    assert Field("a") != Field("a", metadata={"k": 1})
    assert VectorField([1.0, 2.0]) == VectorField([1, 2])
    assert VectorField([1.0, 2.0]) != VectorField([1.0, 2.5])
    assert VectorField([1.0]) != Field([1.0])


def test_reprs_are_short():
    assert repr(VectorField(np.ones(768))) == "VectorField([1, 1, 1, …], dimensions=768)"
    assert repr(VectorField(np.ones((2, 2)))) == "VectorField([1, 1, 1, …], 2 rows, dimensions=2)"
    assert repr(Field("x" * 500)) == "Field('" + "x" * 58 + "…, FieldType.STRING)"


def test_a_record_as_the_seed_writes_it():
    record = Record({"title": "Document 1", "embedding": VectorField(np.random.rand(128), 128)}, id="d1")
    assert record["title"] == "Document 1"
    assert record.fields["embedding"].dimensions == 128
    assert record.get("nothing", 3) == 3
    assert "title" in record
    assert list(record) == ["title", "embedding"]
    record.fields["other"] = VectorField([1.0])
    assert record["other"].tolist() == [1.0]
    with pytest.raises(KeyError, match="no field 'titel'; did you mean 'title'"):
        record["titel"]


def test_plain_values_become_fields():
    record = Record({"v": np.array([1.0, 2.0]), "n": np.int64(3), "l": [1.0, 2.0], "nothing": pd.NA})
    assert isinstance(record.fields["v"], VectorField)
    assert type(record["n"]) is int
    assert record.fields["l"] == Field([1.0, 2.0], FieldType.JSON)
    assert record["nothing"] is None


def test_records_survive_json_and_compare():
    record = Record({"t": "x", "v": VectorField([1.0, 2.0])}, id=7, metadata={"source": "s"})
    assert Record.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    assert record != Record({"t": "x", "v": VectorField([1.0, 2.5])}, id=7, metadata={"source": "s"})
    assert record != Record({"t": "x", "v": VectorField([1.0, 2.0])}, id=8, metadata={"source": "s"})
    with pytest.raises(SchemaError, match="'id', 'fields' and 'metadata'"):
        Record.from_dict({"t": "x"})


RECORDS = [
    Record({"s": "a", "n": 1, "v": VectorField([1.0, 2.0]), "when": NAIVE}, id="x"),
    Record({"s": None, "n": 2.5, "v": VectorField([3.0, 4.0]), "tags": ["p", "q"]}, id="y"),
]


def test_records_become_a_table():
    table = records_to_table(RECORDS)
    assert table.schema == pa.schema(
        {
            "id": pa.string(),
            "s": pa.string(),
            "n": pa.float64(),
            "v": pa.list_(pa.float32(), 2),
            "when": pa.timestamp("us"),
            "tags": pa.list_(pa.string()),
        }
    )
    assert table.to_pylist() == [
        {"id": "x", "s": "a", "n": 1.0, "v": [1.0, 2.0], "when": NAIVE, "tags": None},
        {"id": "y", "s": None, "n": 2.5, "v": [3.0, 4.0], "when": None, "tags": ["p", "q"]},
    ]


def test_a_table_becomes_records_again():
    table = records_to_table(RECORDS)
    again = table_to_records(table)
    assert [record.id for record in again] == ["x", "y"]
    assert again[0].fields["v"] == VectorField([1.0, 2.0])
    assert again[1]["tags"] == ["p", "q"]
    assert again[0]["tags"] is None
    assert records_to_table(again) == table


def test_vectors_of_a_table_may_be_null_sliced_or_half():
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(np.float16([0, 0, 1, 2, 5, 6, 3, 4])), 2, mask=pa.array([False, False, True, False])
    )
    table = pa.table({"key": [0, 1, 2, 3], "v": vectors}).slice(1)
    found = table_to_records(table, id_column="key")
    assert [record.id for record in found] == [1, 2, 3]
    assert found[0]["v"].tolist() == [1.0, 2.0]
    assert found[1].fields["v"] == Field(None, FieldType.VECTOR)
    assert found[2]["v"].tolist() == [3.0, 4.0]
    with pytest.raises(NotFoundError, match="no column 'id'"):
        table_to_records(table)


def test_records_without_an_id_get_one():
    first, second = records_to_table([Record({"n": 1}), Record({"n": 2})])["id"].to_pylist()
    assert UUID(hex=first).version == 4
    assert first != second


def test_integer_ids_stay_integers():
    assert records_to_table([Record({}, id=np.int32(5)), Record({}, id=6)])["id"].to_pylist() == [5, 6]
    with pytest.raises(SchemaError, match="all be text or all be integers, these are int and str"):
        records_to_table([Record({}, id=5), Record({}, id="a")])


def test_no_records_make_an_empty_table():
    assert records_to_table([], ["v"]).to_pylist() == []


def test_nanoseconds_are_kept():
    fine = pd.Timestamp("2024-01-01 00:00:00.000000001")
    zoned = fine.tz_localize("Europe/Berlin")
    table = records_to_table([Record({"a": fine, "b": zoned}, id=1), Record({"a": pd.NaT, "b": None}, id=2)])
    assert table["a"].to_pylist() == [fine, None]
    assert table["b"].to_pylist() == [zoned, None]


def test_missing_values_become_null():
    table = records_to_table([Record({"s": "a", "x": 0.5}, id=1), Record({"s": float("nan"), "x": float("nan")}, id=2)])
    assert table.to_pylist() == [{"id": 1, "s": "a", "x": 0.5}, {"id": 2, "s": None, "x": None}]


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (1, "b", r"field 'f' is 1 \(int\) in 'x' and 'b' \(str\) in 'y'"),
        ("a", b"b", "give it one type"),
        (1.5, True, r"1.5 \(float\) in 'x' and True \(bool\)"),
        (date(2024, 1, 1), NAIVE, "give it one type"),
        (NAIVE, NAIVE.replace(tzinfo=UTC), "give it one type"),
        ([1], {"a": 1}, "give it one type"),
        ([1], ["a"], "no common Arrow type"),
        (2**70, 1, "no common Arrow type"),
    ],
)
def test_mixed_types_name_field_and_records(one, other, message):
    with pytest.raises(SchemaError, match=message):
        records_to_table([Record({"f": one}, id="x"), Record({"f": None}), Record({"f": other}, id="y")])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [Record({"v": [1.0]}, id="x"), Record({}, id="y"), Record({"v": None})],
            r"no vector 'v' at 'y', 'record number 2' \(2 rows\)",
        ),
        (
            [Record({"v": [1.0]}, id="x"), Record({"v": [1.0, 2.0]}, id="y")],
            r"'v' has 1 dimensions in 'x', others at 'y'",
        ),
        ([Record({"v": ["a"]}, id="x")], "'v' of 'x': a vector field wants numbers"),
        ([Record({"v": np.ones((2, 2))}, id="x")], "'v' of 'x' is a whole column"),
    ],
)
def test_bad_vectors_name_the_records(records, message):
    with pytest.raises(VectorError, match=message):
        records_to_table(records, ["v"])


def test_a_vector_in_one_record_is_wanted_in_all():
    with pytest.raises(VectorError, match="no vector 'v' at 'y'"):
        records_to_table([Record({"v": VectorField([1.0])}, id="x"), Record({}, id="y")])


def test_a_field_called_id_is_refused():
    with pytest.raises(SchemaError, match=r"give it as Record\(…, id=…\)"):
        records_to_table([Record({"id": 3})])
