"""What a column was when it went into a store it is when it comes out; what can't be kept is refused by name."""

import datetime as dt
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.extra import pandas as hpd

import dkvector as dkv
from dkvector.columns import to_arrow, to_index, to_pandas
from dkvector.results import TableSource

ROWS = 4
VECTORS = [[1.0, 0.0], [0.8, 0.2], [0.5, 0.5], [0.0, 1.0]]  # nearest to [1, 0] in this order
TEXT = ["a", None, "", "🙂"]
NUMBERS = {
    **{kind: np.arange(ROWS, dtype=kind) for kind in ("int8", "int16", "int32", "int64")},
    **{kind: np.array([0, np.iinfo(kind).max, 2, 3], kind) for kind in ("uint8", "uint16", "uint32", "uint64")},
    "float16": np.array([1, np.nan, -0.0, 4], "f2"),
    "float32": np.array([1, np.nan, -0.0, np.inf], "f4"),
    "float64": np.array([1, np.nan, -0.0, 5e-324]),
    "Int64": pd.array([1, None, 2**62 + 1, -4], "Int64"),
    "UInt8": pd.array([1, None, 255, 4], "UInt8"),
    "Float32": pd.array([1.5, None, 2.5, 4], "Float32"),
    "bool": np.array([True, False, True, False]),
    "boolean": pd.array([True, None, False, True], "boolean"),
    "decimals": [Decimal("1.10"), None, Decimal("-3.00"), Decimal("4.25")],
    "objects of int": pd.Series([1, 2, 3, 2**40], dtype=object),
    "objects of int and None": pd.Series([1, None, 2**60 + 1, -4], dtype=object),
    "objects of float and None": pd.Series([1.5, None, -0.0, 4.0], dtype=object),
    "objects of bool": pd.Series([True, None, False, True], dtype=object),
}
ZONED = pd.to_datetime(["2024-03-30", None, "2024-04-02", "2024-04-01"]).tz_localize("Asia/Tokyo")
TEXTS = {
    "str": pd.Series(TEXT, dtype="str"),
    "string": pd.Series(TEXT, dtype="string"),
    "string[python]": pd.Series(TEXT, dtype="string[python]"),
    "objects": pd.Series(TEXT, dtype=object),
    "category": pd.Categorical(["a", None, "b", "a"], categories=["z", "b", "a"]),
    "ordered": pd.Categorical(["lo", None, "hi", "lo"], categories=["lo", "mid", "hi"], ordered=True),
    "category of int": pd.Categorical([3, 1, 2, 3]),
    "category of Int64": pd.Categorical(pd.array([3, 1, None, 3], "Int64")),
    "category of string": pd.Categorical(pd.array(["a", None, "b", "a"], "string")),
    "category of Arrow": pd.Categorical(pd.array([3, 1, None, 3], pd.ArrowDtype(pa.int32()))),
    "category of zoned times": pd.Categorical(ZONED),
    "category of periods": pd.Categorical(pd.PeriodIndex(["2024-03", None, "2023-12", "2024-03"], freq="M")),
    "category of weeks": pd.Categorical(pd.period_range("1650-01", periods=ROWS, freq="W-WED")),
    "cut": pd.cut([1, np.nan, 9, 3], [0, 2, 5, 8, 10]),
    "cut in quantiles": pd.qcut([0.1, 1 / 3, 7, 1e300], 2),
    "cut times": pd.cut(pd.date_range("2024-03-30", periods=ROWS, tz="Europe/Paris"), 2),
    "cut spans": pd.cut(pd.to_timedelta([1, 2, 3, 4], unit="ns"), 2),
    "bytes": [b"a", None, b"", b"\xff"],
}
TIMES = {
    **{f"datetime {unit}": pd.date_range("1700", periods=ROWS).as_unit(unit) for unit in ("s", "ms", "us", "ns")},
    "datetime with a zone": pd.DatetimeIndex(["2024-01-01", None, "2024-06-01", "2024-07-01"], tz="Europe/Paris"),
    "datetime ns with a zone": pd.date_range("2024", periods=ROWS, freq="ns", tz="UTC").as_unit("ns"),
    "timedelta": pd.to_timedelta([1, None, 3, 4], unit="h"),
    "timedelta ns": pd.to_timedelta([1, 2, 3, 4], unit="ns"),
    "dates": [dt.date(2024, 1, 1), None, dt.date(1, 1, 1), dt.date(9999, 12, 31)],
    "times of day": [dt.time(1, 2), None, dt.time(3, 4, 5, 6), dt.time(0)],
    "period": pd.period_range("2024-01", periods=ROWS, freq="M"),
    "objects of nanoseconds": pd.Series([pd.Timestamp("2024-01-01 00:00:00.123456789"), pd.NaT] * 2, dtype=object),
}
NESTED = {
    "lists of text": [["a", "b"], [], None, ["c"]],
    "lists of int": [[1, 2], [], None, [3]],
    "structs": [{"a": 1, "b": "x"}, {"a": None, "b": "y"}, None, {"a": 3, "b": None}],
    "lists of structs": [[{"a": [1]}], [], [{"a": []}], None],
    "interval": pd.interval_range(0, ROWS),
    "nothing": pd.Series([None] * ROWS, dtype=object),
    "uuid": [uuid.UUID(int=i) for i in range(ROWS)],
}
ARROW = {
    "int32": (pa.int32(), [1, None, 3, 4]),
    "string": (pa.string(), TEXT),
    "large_string": (pa.large_string(), TEXT),
    "decimal": (pa.decimal128(5, 2), [Decimal("1.25"), None, Decimal(3), Decimal(4)]),
    "timestamp": (pa.timestamp("ms", "UTC"), [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None] * 2),
    "date": (pa.date32(), [dt.date(2024, 1, 1), None] * 2),
    "list": (pa.list_(pa.string()), [["a"], None, [], ["b", "c"]]),
    "struct": (pa.struct([("a", pa.int64())]), [{"a": 1}, None, {"a": None}, {"a": 3}]),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), ["a", None, "b", "a"]),
}
COLUMNS = NUMBERS | TEXTS | TIMES | NESTED
COLUMNS |= {f"Arrow {name}": pd.array(values, pd.ArrowDtype(kind)) for name, (kind, values) in ARROW.items()}


@pytest.fixture(params=["exact", "faiss"])
def backend(request):
    return request.param


def frame_of(column):
    return pd.DataFrame({"column": column, "v": pd.array(VECTORS, dtype="vector[2]")}).set_axis(list("abcd"))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_back_as_it_went_in(backend, name):
    frame = frame_of(COLUMNS[name])
    with frame.vec.push(backend) as store:
        pd.testing.assert_frame_equal(store.to_frame(), frame)
        found = store.search([1, 0], k=4)
        pd.testing.assert_series_equal(found["column"], frame["column"])
        pd.testing.assert_series_equal(found["column"], frame.vec.search([1, 0], k=4)["column"])
        assert store.search([1, 0], where="ids(['z'])")["column"].dtype == frame["column"].dtype
        store.upsert(frame.set_axis(list("efgh")))  # a second segment, or a merged one
        pd.testing.assert_frame_equal(store.to_frame().loc[["a", "b", "c", "d"]], frame)


@pytest.mark.parametrize("name", ["lists of text", "lists of int", "structs"])
def test_lists_and_dicts_are_pythons_own(backend, name):
    with frame_of(COLUMNS[name]).vec.push(backend) as store:
        found = store.search([1, 0], k=1)["column"].iloc[0]
        assert (type(found), found) == (type(COLUMNS[name][0]), COLUMNS[name][0])


def test_dicts_of_different_keys_get_them_all(backend):
    with frame_of([{"a": 1}, {"b": "x"}, {}, None]).vec.push(backend) as store:
        assert store.to_frame()["column"].tolist() == [
            {"a": 1, "b": None},
            {"a": None, "b": "x"},
            {"a": None, "b": None},
            None,
        ]


def test_categories_of_two_writes_come_together(backend):
    first, second = (frame_of(pd.Categorical(values)) for values in (["a", "b"] * 2, ["b", "c"] * 2))
    with first.vec.push(backend) as store:
        store.upsert(second.set_axis(list("efgh")))
        assert store.to_frame()["column"].dtype == pd.CategoricalDtype(["a", "b", "c"])
        assert store.to_frame()["column"].tolist() == ["a", "b", "a", "b", "b", "c", "b", "c"]
        assert store.count("column == 'b'") == 4


def test_categories_of_another_kind_stay_texts(backend):
    whole, half = (pd.cut([1, 2, 3, 4], bins) for bins in ([0, 2, 4], [0, 2.5, 4]))
    month, day = (pd.Categorical(pd.PeriodIndex(["2024-01"] * ROWS, freq=freq)) for freq in "MD")
    for first, second in ((whole, half), (day, month)):
        with frame_of(first).vec.push(backend) as store:
            store.upsert(frame_of(second).set_axis(list("efgh")))
            assert store.to_frame()["column"].tolist() == [str(one) for one in [*first, *second]]


def test_intervals_are_filtered_by_their_text(backend):
    with frame_of(COLUMNS["cut"]).vec.push(backend) as store:
        assert store.search([1, 0], where="column == '(0, 2]'").index.tolist() == ["a"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "a", 2.5, None], "'a'"),
        (["a", 1.0, "b", "c"], "float"),
        (["a", b"a", None, "b"], "text and bytes"),
        ([dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, 5, tzinfo=dt.UTC), None, None], "dates and times"),
        ([pd.Timestamp(2024, 1, 1), pd.Timestamp(2024, 1, 1, tz="UTC"), None, None], "zone"),
        ([dt.timedelta(1), 1, None, None], "mixes"),
        ([[1], ["a"], None, None], "'a'"),
        ([{"a": 1}, "x", None, None], "struct"),
        ([object()] * ROWS, "object"),
        ([2**70] * ROWS, "too large"),
        (np.arange(ROWS) + 1j, "type"),
        (pd.Categorical(pd.Index([(1, 2), (3, 4)] * 2, tupleize_cols=False)), "its categories are list"),
        (pd.Categorical(pd.PeriodIndex([pd.Period("0001-01-01", freq="Q-NOV")] * ROWS)), "their text"),
    ],
    ids=["number and text", "text and number", "text and bytes", "dates and times", "zones", "spans and numbers",
         "lists", "dict and text", "objects", "big numbers", "complex", "tuples", "old quarters"],
)  # fmt: skip
def test_columns_of_mixed_or_strange_values_are_refused_by_name(backend, values, message):
    frame = frame_of(pd.Series(values, dtype=object if isinstance(values, list) else None))
    with pytest.raises(
        dkv.SchemaError, match=rf"column 'column' can't be stored.*{message}.*leave it out with columns="
    ):
        frame.vec.push(backend)
    with frame.vec.push(backend, columns=[]) as store:
        assert len(store) == ROWS


LESS = {
    "empty lists": ([["a"], ["b", "c"], None, []], [], []),
    "lists of nothing": ([[1], [], None, [2]], [None], [None]),
    "fewer keys": ([{"a": 1, "b": "x"}, None, {"a": 2}, {}], {"b": "y"}, {"a": None, "b": "y"}),
    "keys in another order": ([{"a": 1, "b": "x"}, None, {"a": 2}, {}], {"b": "y", "a": 3}, {"a": 3, "b": "y"}),
    "lists of fewer keys": ([[{"a": [1], "b": "x"}], None, [], [None]], [{"a": []}], [{"a": [], "b": None}]),
    "fewer digits": ([Decimal("10.25"), None, Decimal(3), Decimal(-4)], Decimal("0.5"), Decimal("0.50")),
}


@pytest.mark.parametrize("name", LESS)
def test_rows_whose_types_say_less_fit_the_store(backend, name):
    first, value, expected = LESS[name]
    with frame_of(pd.Series(first, dtype=object)).vec.push(backend) as store:
        kind = store.schema.payload.field("column").type
        one = frame_of(pd.Series([value] * ROWS, dtype=object)).iloc[[1]]
        store.upsert(one)
        store.upsert(store.get(["b"], include_vectors=True))
        assert store.get(["b"])["column"].iloc[0] == expected
        assert store.schema.payload.field("column").type == kind
        assert not len(one.vec.diff(store).changed)


def test_categories_of_no_row_fit_the_store(backend):
    with frame_of(pd.Categorical([3, 1, 2, 3])).vec.push(backend) as store:
        none = pd.Categorical([None] * ROWS, categories=pd.Index([], dtype=float))
        store.upsert(frame_of(none).iloc[:1])
        assert store.count("column.isna()") == 1
        assert store.to_frame()["column"].dtype == pd.CategoricalDtype([1, 2, 3])


@pytest.mark.parametrize(
    ("first", "second"),
    [([{"a": 1}], {"b": 1}), ([["a"]], [1]), ([Decimal("0.25")], Decimal("10.5")), ([["a"]], {}), ([1], 1.5)],
    ids=["another key", "other lists", "more digits", "lists and dicts", "fractions"],
)
def test_rows_of_another_type_are_refused(backend, first, second):
    with frame_of(pd.Series(first * ROWS, dtype=object)).vec.push(backend) as store:
        with pytest.raises(dkv.SchemaError, match="cast it first"):
            store.upsert(frame_of(pd.Series([second] * ROWS, dtype=object)))
        assert store.get(["a"])["column"].iloc[0] == first[0]


INDEXES = {
    "int8": pd.Index([3, 1, 2, 9], dtype="int8", name="key"),
    "uint64": pd.Index([2**64 - 1, 1, 2, 9], dtype="uint64"),
    "Int64": pd.Index([3, 1, 2, 9], dtype="Int64"),
    "float": pd.Index([0.5, -1, 2, 1e300]),
    "str": pd.Index(["b", "a", "", "🙂"], dtype="str", name="key"),
    "string": pd.Index(["b", "a", "", "🙂"], dtype="string"),
    "objects": pd.Index(["b", "a", "", "🙂"], dtype=object),
    "category": pd.CategoricalIndex(["b", "a", "d", "c"], name="key"),
    "datetime": pd.DatetimeIndex(["2024-03-01", "2023-01-01", "1999-01-01", "2050-01-01"], name="when"),
    "zone": pd.DatetimeIndex(["2024-03-01", "2023-01-01", "1999-01-01", "2050-01-01"], tz="Asia/Tokyo"),
    "timedelta": pd.TimedeltaIndex(["3h", "1h", "2h", "9h"]),
    "period": pd.PeriodIndex(["2024-03", "2023-01", "1999-01", "2050-01"], freq="M"),
    "dates": pd.Index([dt.date(2024, 1, i) for i in (4, 2, 3, 1)]),
    "Arrow": pd.Index(["b", "a", "d", "c"], dtype=pd.ArrowDtype(pa.string())),
    "called rank": pd.Index(["b", "a", "d", "c"], name="rank"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_labels_come_back_as_they_went_in(backend, name):
    index = INDEXES[name]
    frame = frame_of(range(ROWS)).set_axis(index)
    with frame.vec.push(backend) as store:
        pd.testing.assert_index_equal(store.to_frame().index, index)
        pd.testing.assert_index_equal(store.search([1, 0], k=4).index, index)
        assert store.get(index[[2, 0]])["column"].tolist() == [2, 0]
        assert store.upsert(frame.iloc[1:3].assign(column=9)).replaced == 2
        assert store.delete(index[:1]) == 1
        assert sorted(store.to_frame()["column"]) == [3, 9, 9]


def test_a_dtype_whose_package_is_not_here_gives_the_values():
    field = pa.field("a", pa.int64(), metadata={b"pandas": b"somebodys[own]"})
    assert to_pandas(pa.array([1, 2]), field).tolist() == [1, 2]


def test_columns_without_a_remembered_dtype_are_what_pandas_makes_of_them():
    source = TableSource(pa.table({"id": [7, 8], "text": ["a", None], "number": [1.5, None]}))
    assert source.columns()["text"].dtype == pd.Series(["a"]).dtype
    assert np.isnan(source.columns()["number"][1])
    assert source.labels().tolist() == [7, 8]


def test_an_index_without_a_name_stays_without(backend):
    with frame_of(range(ROWS)).vec.push(backend) as store:
        assert (store.to_frame().index.name, store.schema.id.name) == (None, "id")


FRAMES = hpd.data_frames(
    [
        hpd.column("int", dtype=np.int64),
        hpd.column("small", dtype=np.int8),
        hpd.column("float", elements=st.floats(), dtype=np.float64),
        hpd.column("single", elements=st.floats(width=32), dtype=np.float32),
        hpd.column("text", elements=st.text(st.characters(codec="utf-8"), max_size=4), dtype=object),
        hpd.column("flag", dtype=np.bool_),
        hpd.column("when", elements=hnp.from_dtype(np.dtype("M8[ns]"))),
    ],
    index=hpd.indexes(dtype=np.int64, unique=True, min_size=1, max_size=6),
)


@settings(max_examples=40)
@given(FRAMES, st.sampled_from(["str", "string", "object", "category"]), st.integers(0, 6))
def test_any_frame_comes_back_as_it_went_in(frame, text, cut):
    frame = frame.astype({"text": text}).assign(v=pd.array([[1.0, float(i)] for i in range(len(frame))], "vector[2]"))
    with frame.iloc[:cut].vec.push("exact") if cut else frame.vec.push("exact") as store:
        store.upsert(frame)
        if text == "category":  # a store's categories come in the order in which they were met
            frame["text"], stored = frame["text"].astype("str"), store.to_frame().astype({"text": "str"})
        else:
            stored = store.to_frame()
        pd.testing.assert_frame_equal(stored.loc[frame.index], frame)


@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=1, max_size=5, unique=True))
def test_text_and_arrow_there_and_back(values):
    field, array = to_arrow(pd.Series(values, dtype=object), "text")
    assert to_pandas(array, field).tolist() == values
    assert to_index(array, field).tolist() == values


@pytest.mark.parametrize("values", [[1.5, True], [1.5, None, np.False_], [True, 1.5], [1, True]], ids=str)
def test_truths_beside_numbers_are_no_numbers(values):
    with pytest.raises(dkv.SchemaError, match="column 'mixed' can't be stored"):
        to_arrow(pd.Series(values, dtype=object), "mixed")


def test_objects_are_looked_at_whatever_their_dtype_tells_beside():
    told = np.dtype(object, metadata={"vlen": str})  # as h5py reads texts
    assert np.dtype(object) is not told
    mixed = pd.Series(np.array([b"x", "y"], dtype=told), name="mixed")
    with pytest.raises(dkv.SchemaError, match="mixes text and bytes"):
        to_arrow(mixed, "mixed")
