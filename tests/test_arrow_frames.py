"""Frames of other libraries, by the Arrow C stream: polars, DuckDB, ibis."""

import datetime as dt

import duckdb
import ibis
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import dkvector as dkv

IDS, VECTORS = ["a", "b", "c"], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
PAYLOAD = {
    "n": [1, None, 3],
    "text": ["x", None, "z"],
    "time": [dt.datetime(2020, 1, 1)] * 3,  # noqa: DTZ001 - of no zone
    "tags": [["p"], ["q", "r"], []],
    "inner": [{"s": "u"}, {"s": "v"}, {"s": None}],
}


def in_polars(vectors):
    frame = pl.DataFrame({"id": IDS, **PAYLOAD, "v": pl.Series(VECTORS, dtype=vectors)})
    return frame.with_columns(kind=pl.Series(["k", "l", "k"], dtype=pl.Categorical), raw=pl.lit(b"\x00\xff"))


def in_duckdb(kind):
    table = pa.table({"id": IDS, **PAYLOAD, "v": VECTORS})
    connection = duckdb.connect()
    connection.register("rows", table)
    return connection.sql(f"SELECT * REPLACE (v::{kind} AS v) FROM rows")


FRAMES = {
    "polars-array": lambda: in_polars(pl.Array(pl.Float32, 2)),
    "polars-list": lambda: in_polars(pl.List(pl.Float64)),
    "duckdb-array": lambda: in_duckdb("FLOAT[2]"),
    "duckdb-list": lambda: in_duckdb("DOUBLE[]"),
    "ibis": lambda: ibis.memtable(pa.table({"id": IDS, **PAYLOAD, "v": VECTORS})),
}


@pytest.fixture(params=FRAMES)
def rows(request):
    return FRAMES[request.param]()


@pytest.mark.parametrize("backend", ["exact", "faiss"])
def test_a_frame_is_written_and_read_as_it_is(rows, backend):
    with dkv.connect(backend) as store:
        assert store.upsert(rows).inserted == 3
        assert [str(one) for one in store.schema.vectors] == ["v vector[2] by cosine"]
        found = store.search([1, 0], k=2, where="n >= 1")
        assert found.index.tolist() == ["a", "c"]
        table = store._run(store.store.get(IDS))
        assert {name: table.column(name).to_pylist() for name in PAYLOAD} == PAYLOAD


def test_a_frame_is_written_to_a_server(postgres_url, table):
    with dkv.connect(postgres_url, table=table) as store:
        store.upsert(FRAMES["polars-array"]())
        assert store.search([0, 1], k=1, where="text.isna() or kind == 'l'", columns=["kind"])["kind"].tolist() == ["l"]


def test_the_column_of_the_ids_is_named():
    rows = in_polars(pl.Array(pl.Float32, 2)).rename({"id": "word"})
    with dkv.connect("exact") as store:
        with pytest.raises(
            dkv.SchemaError, match=r"no column 'id' to take the ids from: name one by id=…, of \['word'"
        ):
            store.upsert(rows)
        store.upsert(rows, reading=dkv.Reading(id="word"))
        assert store.schema.id.name == "word"
        store.upsert(rows.rename({"word": "name"}), reading=dkv.Reading(id="name", columns=("n",)))
        assert store.to_frame().index.tolist() == IDS
        assert (store.written.inserted, store.written.replaced) == (0, 3)


def test_a_dataframes_ids_may_be_in_a_column_too():
    frame = pd.DataFrame({"word": IDS, "v": VECTORS})
    with dkv.connect("exact") as store:
        store.upsert(frame, reading=dkv.Reading(id="word"))
        assert store.to_frame().index.tolist() == IDS
        with pytest.raises(dkv.NotFoundError, match="no column 'wort'; did you mean 'word'"):
            store.upsert(frame, reading=dkv.Reading(id="wort"))


def test_it_becomes_a_frame_with_vec(rows):
    frame = dkv.from_arrow(rows)
    assert frame.vec.search([1, 0], k=2).index.tolist() == ["a", "c"]
    with frame.vec.push("faiss", index="flat", columns=["n", "tags"]) as store:
        assert store.search(like="a", k=1)["n"].tolist() == [3]


def test_a_frame_without_ids_is_numbered():
    frame = dkv.from_arrow(in_polars(pl.Array(pl.Float32, 2)), id=None)
    assert frame.index.equals(pd.RangeIndex(3))
    assert frame["id"].tolist() == IDS


def test_views_of_arrow_in_a_dataframe_are_written_too():
    views = pa.array([["p"], ["q"]], pa.list_(pa.string_view()))
    frame = pd.DataFrame({"v": VECTORS[:2], "tags": pd.arrays.ArrowExtensionArray(pa.chunked_array([views]))})
    with frame.vec.push("exact") as store:
        assert store.search([0, 1], k=1)["tags"].tolist() == [["q"]]


def test_vectors_are_not_copied():
    table = pa.table(pl.DataFrame({"id": range(100), "v": np.ones((100, 4), np.float32)}))
    ours = dkv.from_arrow(table)["v"].array.__arrow_array__().chunk(0)
    assert ours.buffers()[-1].address == table.column("v").chunk(0).buffers()[-1].address


def test_what_is_no_frame_is_refused_with_the_way_out():
    with dkv.connect("exact") as store, pytest.raises(dkv.SchemaError, match=r"not LazyFrame; collect\(\) it"):
        store.upsert(in_polars(pl.Array(pl.Float32, 2)).lazy())
    with pytest.raises(dkv.SchemaError, match="not list"):
        dkv.from_arrow([1, 2])


def test_bad_vectors_are_named():
    rows = pl.DataFrame({"id": IDS, "v": [[1.0, 0.0], [1.0], [float("nan"), 1.0]]})
    with dkv.connect("exact") as store, pytest.raises(dkv.VectorError, match="'b'"):
        store.upsert(rows)
