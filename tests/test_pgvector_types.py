"""What a table is made of: a typed column for each column of a frame, and every dtype back as it went in."""

import datetime as dt
import decimal
import uuid

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dkvector as dkv
from dkvector.backends import _pg_write
from dkvector.backends._pg_types import from_json, to_json

VECTORS = [[1.0, 0.0], [0.5, 1.0], [0.0, 1.0]]
COLUMNS = {
    "bool": [True, False, True],
    "boolean": pd.array([True, None, False], "boolean"),
    "int8": np.int8([1, -128, 127]),
    "int64": [2**63 - 1, -(2**63), 0],
    "Int64": pd.array([1, None, 3], "Int64"),
    "uint64": np.uint64([0, 2**64 - 1, 5]),
    "UInt16": pd.array([0, None, 65535], "UInt16"),
    "float32": np.float32([0.1, np.nan, np.inf]),
    "float64": [0.1, np.nan, -1e300],
    "Float64": pd.array([0.1, None, 2.0], "Float64"),
    "str": pd.array(["a", None, "ü\n\t\"'\\"], "str"),
    "string": pd.array(["", None, "x" * 3000], "string"),
    "arrow": pd.array(["a", None, "b"], pd.ArrowDtype(pa.string())),
    "object": pd.array(["a", None, "b"], object),
    "bytes": pd.array([b"\x00\xff", None, b""], object),
    "category": pd.Categorical(["b", None, "a"], categories=["c", "b", "a", "never"]),
    "ordered": pd.Categorical(["lo", "hi", "lo"], categories=["lo", "mid", "hi"], ordered=True),
    "numbers": pd.Categorical([3, 1, 3]),
    "months": pd.Categorical(pd.PeriodIndex(["2024-01", None, "2025-02"], freq="M")),
    "cut": pd.cut([1, np.nan, 5], [0, 1.5, 3, 9]),
    "zones": pd.Categorical(pd.to_datetime(["2024-03-31 02:30", None, "2024-03-31 02:30"]).tz_localize("UTC")),
    "naive": np.array(["2024-01-01T00:00:00.123456", "NaT", "1677-09-22"], "datetime64[us]"),
    "nanos": pd.array(["2024-01-01", None, "2024-06-01"], "datetime64[ns]"),
    "zoned": pd.to_datetime(["2024-03-31 02:30", None, "1900-01-01 00:00"])
    .tz_localize("UTC")
    .tz_convert("Europe/Paris"),
    "far": np.array(["0001-01-01", "9999-12-31T23:59:59", "2262-04-12"], "datetime64[s]"),
    "delta": pd.to_timedelta(["1 day", None, "-3 s"]),
    "date": pd.array([dt.date(2024, 2, 29), None, dt.date(1, 1, 1)], object),
    "time": pd.array([dt.time(23, 59, 59, 999999), None, dt.time(0)], object),
    "decimal": pd.array([decimal.Decimal("12345678901234567890.12"), None, decimal.Decimal("-0.01")], object),
    "uuid": pd.array([uuid.UUID(int=5), None, uuid.UUID(int=2**128 - 1)], object),
    "texts": pd.array([["a", "b"], None, []], object),
    "lists": pd.array([[1, None], None, [3]], object),
    "flags": pd.array([[True], [], [False, True]], object),
    "dicts": pd.array([{"a": 1, "b": [1.5, None]}, None, {"a": 2, "b": []}], object),
    "deep": pd.array([[[1], [2, 3]], None, []], object),
    "times": pd.array([{"t": dt.datetime(2024, 1, 1), "d": decimal.Decimal("1.50")}, None, None], object),  # noqa: DTZ001
    "waits": pd.array([[dt.timedelta(days=-2, seconds=5)], None, [None]], object),
    "clocks": pd.array([{"t": dt.time(1, 2, 3, 4), "d": dt.timedelta(days=400)}, None, None], object),
    "blobs": pd.array([{"b": b"\xff"}, None, {"b": b""}], object),
    "period": pd.array(["2024-01", None, "2025-02"], "period[M]"),
    "interval": pd.arrays.IntervalArray.from_tuples([(0, 1), None, (2, 3)]),
    "nothing": pd.array([None, None, None], object),
}
TYPES = {
    "bool": "boolean",
    "int8": "smallint",
    "int64": "bigint",
    "uint64": "numeric(20,0)",
    "float32": "real",
    "float64": "double precision",
    "str": "text",
    "bytes": "bytea",
    "category": "text",
    "numbers": "bigint",
    "months": "text",
    "cut": "text",
    "naive": "timestamp without time zone",
    "zoned": "timestamp with time zone",
    "delta": "interval",
    "date": "date",
    "time": "time without time zone",
    "decimal": "numeric(22,2)",
    "uuid": "uuid",
    "texts": "text[]",
    "lists": "bigint[]",
    "flags": "boolean[]",
    "period": "bigint",
    "id": "text",
    "data": "jsonb",
    "v": "vector(2)",
    "created_at": "timestamp with time zone",
    "updated_at": "timestamp with time zone",
}


@pytest.fixture(scope="module")
def frame():
    frame = pd.DataFrame(COLUMNS, index=["x", "y", "z"])
    return frame.assign(v=dkv.VectorArray(np.float32(VECTORS)))


def types_of(sql, table):
    return dict(
        sql(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
            f"WHERE attrelid = '{table}'::regclass AND attnum > 0"
        )
    )


def test_every_dtype_comes_back(frame, postgres_url, table, sql):
    with frame.vec.push(postgres_url, table=table) as store:
        pd.testing.assert_frame_equal(store.to_frame().loc[frame.index], frame)
        pd.testing.assert_frame_equal(store.get(["z", "x"], include_vectors=True), frame.loc[["z", "x"]])
        found = store.search([0.0, 1.0], k=3)
        pd.testing.assert_frame_equal(found.loc[frame.index, [*COLUMNS]], frame[[*COLUMNS]])
    with dkv.connect(postgres_url, table=table) as again:  # another process would know it all too
        pd.testing.assert_frame_equal(again.to_frame().loc[frame.index], frame)
    types = types_of(sql, table)
    assert {name: types.get(name) for name in TYPES} == TYPES
    assert not {"dicts", "deep", "times", "waits", "clocks", "blobs", "interval", "nothing"} & set(types)


LEAVES = {  # type → the largest count that it holds, and Python has
    pa.duration("s"): 86_400 * 999_999_999,
    pa.duration("ms"): 86_400 * 10**3 * 999_999_999,
    pa.duration("us"): 2**63 - 1,
    pa.duration("ns"): 2**63 - 1,
    pa.time64("us"): 86_400 * 10**6 - 1,
    pa.time32("s"): 86_399,
    pa.time32("ms"): 86_399_999,
}


@pytest.mark.parametrize("kind", LEAVES, ids=str)
@given(data=st.data())
def test_times_and_durations_come_back_from_inside_lists_structs_and_maps(kind, data):
    counts = st.integers(0 if pa.types.is_time(kind) else -LEAVES[kind], LEAVES[kind])
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    leaves = pa.array(data.draw(st.lists(counts | st.none(), min_size=1, max_size=4)), width).cast(kind)
    some, keys = leaves.to_pylist(), [str(at) for at in range(len(leaves))]
    for nested, value in (
        (pa.list_(kind), some),
        (pa.struct({"a": kind}), {"a": some[0]}),
        (pa.map_(pa.string(), kind), list(zip(keys, some, strict=True))),
    ):
        (text,) = to_json([{"c": value}])
        written = orjson.dumps(orjson.loads(text)["c"]).decode()
        assert from_json([written, None], nested).to_pylist() == [value, None]


NESTED = {
    "in lists": [[[1.0]], [[np.inf, 1.0]], [[]], [[2.0]], [[-np.inf]]],
    "in structs": [{"a": 1.0}, {"a": np.inf}, None, {"a": None}, {"a": -np.inf}],
    "in intervals": pd.arrays.IntervalArray.from_arrays([0, 1, 2, 3, -np.inf], [1, np.inf, 3, 4, 0.0]),
}


@pytest.mark.parametrize("values", NESTED.values(), ids=NESTED)
def test_infinity_that_json_would_lose_is_refused(postgres_url, table, values):
    frame = pd.DataFrame({"c": values, "v": [[1.0, 0.0]] * 5})
    frame.index = list("abcde")
    with dkv.connect(postgres_url, table=table) as store:
        with pytest.raises(dkv.SchemaError, match=r"'c' holds infinity in its lists.*at 'b', 'e' \(2 rows\)"):
            store.upsert(frame)
        store.upsert(frame.drop(index=["b", "e"]))
        assert store.count() == 3


def test_the_table_is_one_that_other_programs_can_use(frame, postgres_url, table, sql):
    frame[["texts", "dicts", "date", "v"]].vec.push(postgres_url, table=table).close()
    ((texts, data, day, vector, created),) = sql(
        f"SELECT texts, data::text, date::text, v::text, created_at < now() FROM {table} WHERE id = 'x'"
    )
    assert (texts, day, vector, created) == (["a", "b"], "2024-02-29", "[1,0]", True)
    assert data == '{"dicts": {"a": 1, "b": [1.5, null]}}'
    assert sql(f"SELECT data FROM {table} WHERE id = 'y'") == [(None,)]


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(["b", "a", "c"]),
        pd.Index([3, 1, 2], name="key"),
        pd.RangeIndex(3),
        pd.Index([3, 1, 2], dtype="uint64", name="n"),
        pd.Index(pd.array([3, 1, 2], "Int16")),
        pd.Index([0.5, -1.0, 2.0], dtype="float32"),
        pd.Index(pd.array(["a", "b", "c"], "string[pyarrow]")),
        pd.CategoricalIndex(["a", "c", "b"], name="cat"),
        pd.DatetimeIndex(["2024-05-01", "2024-05-02", "2024-05-03"], tz="Europe/Paris", name="at"),
        pd.Index([dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 3)]),
        pd.Index([uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)]),
        pd.Index([decimal.Decimal("1.10"), decimal.Decimal("2.20"), decimal.Decimal("3.30")]),
        pd.Index([b"a", b"\x00", b""]),
        pd.to_timedelta(["1 s", "2 s", "3 s"]),
        pd.Index(["x'; DROP TABLE t; --", '"', "\\"], name='na"me'),
    ],
    ids=lambda index: f"{index.dtype} {index.name}",
)
def test_row_labels_come_back_with_their_dtype(postgres_url, table, index):
    frame = pd.DataFrame({"n": [1, 2, 3], "v": VECTORS}, index=index)
    with frame.vec.push(postgres_url, table=table) as store:
        found = store.search([0.0, 1.0], k=3)
        expected = index[[2, 1, 0]]
        if isinstance(index, pd.RangeIndex):
            expected = pd.Index(expected.to_numpy())
        pd.testing.assert_index_equal(found.index, expected, exact="equiv")
        assert store.get(index[:2])["n"].tolist() == [1, 2]
        if not isinstance(index[0], bytes | dt.timedelta):  # which no filter holds
            assert store.count(pd.Series([True, False, True], index)) == 2
        assert store.upsert(frame.iloc[:2]).replaced == 2
        assert store.delete(index[1:]) == 2


def test_categories_grow(postgres_url, table):
    frame = pd.DataFrame({"c": pd.Categorical(["a", "b"]), "v": VECTORS[:2]}, index=["x", "y"])
    with frame.vec.push(postgres_url, table=table) as store:
        store.upsert(frame.assign(c=pd.Categorical(["z", "a"])).set_axis(["p", "q"]))
        found = store.to_frame()
    assert found["c"].cat.categories.tolist() == ["a", "b", "z"]
    assert found["c"].to_dict() == {"x": "a", "y": "b", "p": "z", "q": "a"}


def test_names_that_the_table_needs_give_way(postgres_url, table, sql):
    frame = pd.DataFrame(
        {"data": ["d"], "created_at": [1], "updated_at": ["u"], "id": [7], "v": [[1.0, 2]]}, index=["x"]
    )
    with frame.vec.push(postgres_url, table=table) as store:
        pd.testing.assert_frame_equal(store.to_frame().drop(columns="v"), frame.drop(columns="v"))
    types = types_of(sql, table)
    assert (types["data"], types["data_"], types["created_at"], types["id_"]) == ("text", "jsonb", "bigint", "text")


def test_a_column_without_values_gets_its_type_later(postgres_url, table, sql):
    frame = pd.DataFrame({"n": pd.array([None], object), "v": [[1.0, 2]]}, index=["x"])
    with frame.vec.push(postgres_url, table=table) as store:
        store.upsert(pd.DataFrame({"n": pd.array([5], "Int64"), "v": [[1.0, 2]]}, index=["y"]))
        assert store.count("n == 5") == 1
        assert store.to_frame()["n"].isna().to_dict() == {"x": True, "y": False}
    assert types_of(sql, table)["n"] == "bigint"


def test_times_that_look_like_an_infinite_date_come_back(postgres_url, table):
    """2**31 - 1 microseconds after 2000, and as many before: of days that would be infinity."""
    moments = pd.to_datetime(["2000-01-01 00:35:47.483647", "1999-12-31 23:24:12.516352"], format="ISO8601")
    frame = pd.DataFrame({"t": moments, "v": VECTORS[:2]}, index=["a", "b"])
    with frame.vec.push(postgres_url, table=table) as store:
        assert store.get(["a", "b"])["t"].tolist() == frame["t"].tolist()


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [("int8", "300"), ("Int8", "300"), ("uint16", "-1"), ("datetime64[ns]", "'9999-12-31'")],
)
def test_values_of_others_that_a_column_was_not_made_for_are_named(postgres_url, table, sql, kind, wrong):
    values = pd.array(["2024-01-01"] if kind.startswith("date") else [1], dtype=kind)
    frame = pd.DataFrame({"c": values, "n": [5], "v": VECTORS[:1]}, index=["a"])
    with frame.vec.push(postgres_url, table=table) as store:
        sql(f"UPDATE {table} SET c = {wrong}")
        for ask in (lambda: store.search([1.0, 0.0], k=1), store.to_frame, lambda: store.get(["a"])):
            with pytest.raises(dkv.SchemaError, match=r"'c' holds values that are not .*columns=.*COMMENT ON COLUMN"):
                ask()
        assert store.search([1.0, 0.0], k=1, columns=["n"])["n"].tolist() == [5]
        sql(f"COMMENT ON COLUMN {table}.c IS NULL")
        store.refresh()
        assert str(store.get(["a"])["c"].iloc[0]).removesuffix(" 00:00:00") == wrong.strip("'")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["fine", "a\0b"], r"'c' has it at positions 1 \(1 row\)"),
        (pd.array(["2024-01-01 00:00:00.000000001", "2024-01-01"], "datetime64[ns]"), r"positions 0 \(1 row\).*floor"),
    ],
    ids=["NUL", "nanoseconds"],
)
def test_values_that_the_server_can_not_keep_are_refused(postgres_url, table, values, message, sql):
    frame = pd.DataFrame({"c": values, "v": VECTORS[:2]})
    with pytest.raises(dkv.SchemaError, match=message):
        frame.vec.push(postgres_url, table=table)
    assert sql(f"SELECT to_regclass('{table}')") == [(None,)]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("x" * 64, "63 bytes"),
        ("ü" * 32, "63 bytes"),
        ("ctid", "can't call anything"),
        ("", "can't call"),
        ("a\0", "can't"),
    ],
)
def test_names_that_the_server_can_not_give_are_refused(postgres_url, table, column, message):
    with pytest.raises(dkv.SchemaError, match=message):
        pd.DataFrame({column: [1], "v": [[1.0, 2]]}).vec.push(postgres_url, table=table)


def test_vectors_that_are_too_long_are_refused(postgres_url, table):
    frame = pd.DataFrame({"v": dkv.VectorArray(np.ones((1, 16_001), "f4"))})
    with pytest.raises(dkv.SchemaError, match="pgvector keeps 16,000 dimensions, 'v' has 16,001"):
        frame.vec.push(postgres_url, table=table)
    longest = pd.DataFrame({"v": dkv.VectorArray(np.ones((1, 16_000), "f4"))})
    with longest.vec.push(postgres_url, table=table) as store:
        assert store.search(np.ones(16_000), k=1)["distance"].tolist() == pytest.approx([0], abs=1e-6)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_without_a_place_are_refused(postgres_url, table, number):
    with pytest.raises(dkv.VectorError, match="'b'"):
        pd.DataFrame({"v": [[1.0, 0], [number, 1]]}, index=["a", "b"]).vec.push(postgres_url, table=table)


def test_vectors_are_bits_of_float32(postgres_url, table):
    matrix = np.random.default_rng(0).standard_normal((50, 7)).astype("f4") * np.float32(
        [1e-3, 1e-2, 0.1, 1, 10, 100, 1e3]
    )
    frame = pd.DataFrame({"v": dkv.VectorArray(matrix)})
    with frame.vec.push(postgres_url, table=table) as store:
        np.testing.assert_array_equal(np.stack(store.to_frame().loc[frame.index, "v"]), matrix)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"c": [*["a"] * 7, "\0", "b"]}, r"'c' has it at positions 7 \(1 row\)"),
        ({"c": [*[["a", "b"]] * 7, ["a", "b\0", "\0"], []]}, r"'c' has it at positions 7 \(1 row\)"),
        ({"c": pd.array([*["2024-01-01"] * 8, "2024-01-01 00:00:00.000000001"], "datetime64[ns]")}, "positions 8"),
        ({"v": [*[[1.0, 2.0]] * 8, [1.0, 1e6]]}, r"float16 can't hold, at positions 8 \(1 row\)"),
    ],
    ids=["text", "list", "time", "vector"],
)
def test_rows_past_the_first_part_of_a_write_are_named_by_their_own_positions(
    postgres_url, table, monkeypatch, column, message
):
    monkeypatch.setattr(_pg_write, "CHUNK", 200)  # two or three rows
    frame = pd.DataFrame({"v": [[1.0, 2.0]] * 9} | column)
    config = {"backend": "pgvector", "url": postgres_url, "table": table, "vector": {"dtype": "float16"}}
    with pytest.raises((dkv.SchemaError, dkv.VectorError), match=message):
        frame.vec.push(config)


def test_half_vectors(postgres_url, table, sql):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"v": dkv.VectorArray(rng.standard_normal((200, 8)).astype("f4"))})
    config = {"backend": "pgvector", "url": postgres_url, "table": table, "vector": {"dtype": "float16"}}
    with frame.vec.push(config, index="hnsw") as store:
        assert store.schema.vectors[0].dtype == "float16"
        query = rng.standard_normal(8).astype("f4")
        ours, exact = store.search(query, k=10), frame.vec.search(query, k=10)
        np.testing.assert_allclose(ours["distance"], exact["distance"], atol=1e-3)
        np.testing.assert_array_equal(store.get([3], include_vectors=True)["v"].iloc[0], np.float16(frame["v"].iloc[3]))
        with pytest.raises(dkv.VectorError, match=r"65,504.* at positions 1 \(1 row\)"):
            store.upsert(pd.DataFrame({"v": [[1.0] * 8, [1e6] * 8]}))
    assert types_of(sql, table)["v"] == "halfvec(8)"


@pytest.mark.parametrize("quantization", [None, "float16", "binary"])
@pytest.mark.parametrize("field", ["v", 'a "b" (c)'])
def test_vectors_of_other_dimensions_come_into_place_with_their_index(postgres_url, table, quantization, field):
    rng, spec = np.random.default_rng(0), dkv.HNSW(m=5, quantization=quantization)
    before, after = (pd.DataFrame({field: list(rng.standard_normal((50, size)).astype("f4"))}) for size in (8, 4))
    with before.vec.push(postgres_url, table=table, index=spec) as store:
        store.upsert(after, mode="replace")
        assert store.indexes() == {field: spec}
        found = store.search(after[field].iloc[7], k=1, tuning={"exact": False})
        assert found.index.tolist() == [7]
        assert "hnsw" in store.last.plan
