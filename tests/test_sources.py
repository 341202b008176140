"""Rows that come a part at a time: from files, datasets, streams and frames; and pushes of them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import dkvector as dkv
from dkvector import pushing
from dkvector.backends.exact import ExactStore
from dkvector.errors import BackendUnavailableError, PartialWriteError
from dkvector.ingest import Reading
from dkvector.requests import Written
from dkvector.sources import read_source


def rows(count, start=0):
    matrix = np.random.default_rng(start).standard_normal((count, 4)).astype("f4")
    index = pd.Index([f"id {at:03}" for at in range(start, start + count)], name="key")
    group = pd.Categorical(["a", "b"] * (count // 2) + ["a"] * (count % 2))
    return pd.DataFrame({"n": np.arange(count), "group": group, "v": dkv.VectorArray(matrix)}, index=index)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("folder")
    for part in range(3):
        dkv.to_parquet(rows(100, start=100 * part), path / f"{part}.parquet")
    return path


def table(count):
    vectors = pa.FixedSizeListArray.from_arrays(np.arange(4 * count, dtype="f4"), 4)
    return pa.table({"id": pa.array(range(count)), "v": vectors})


WHOLE = pd.concat([rows(100, start=100 * part) for part in range(3)])


@pytest.mark.parametrize("size", [1, 64, 100, 150, 1000])
def test_a_folder_comes_whole_in_parts_of_one_size(folder, size):
    source = read_source(folder, size)
    frames = list(source.frames)
    assert source.total == 300
    assert [len(one) for one in frames] == [size] * (300 // size) + ([300 % size] if 300 % size else [])
    pd.testing.assert_frame_equal(pd.concat(frames), WHOLE)
    assert frames[0]["v"].dtype == "vector[4]"


def test_files_datasets_and_filters(folder):
    files = sorted(map(str, folder.glob("*.parquet")))
    pd.testing.assert_frame_equal(pd.concat(read_source(files, 70).frames), WHOLE)
    pd.testing.assert_frame_equal(pd.concat(read_source(files[1], 70).frames), WHOLE.iloc[100:200])
    dataset = ds.dataset(folder).filter(ds.field("n") < 10)
    source = read_source(dataset, 7)
    assert (source.total, [len(one) for one in source.frames]) == (30, [7, 7, 7, 7, 2])


def test_partitions_of_a_folder_are_a_column(tmp_path):
    for year in (2023, 2024):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(
            table(3).set_column(0, "id", pa.array(range(year, year + 3))), tmp_path / f"year={year}/a.parquet"
        )
    frame = pd.concat(read_source(tmp_path, 10).frames)
    assert frame["year"].tolist() == [2023] * 3 + [2024] * 3


def test_arrow_tables_and_streams():
    assert [one.index.tolist() for one in read_source(table(5), 2).frames] == [[0, 1], [2, 3], [4]]
    stream = table(5).to_reader(max_chunksize=1)
    source = read_source(stream, 3)
    assert (source.total, [len(one) for one in source.frames]) == (None, [3, 2])
    renamed = table(3).rename_columns(["doc", "v"])
    (frame,) = read_source(renamed, 10, id="doc").frames
    assert (frame.index.name, list(frame.columns)) == ("doc", ["v"])


def test_frames_one_after_another_are_read_when_their_turn_comes():
    made = []

    def frames():
        for at in range(3):
            made.append(at)
            yield rows(4, start=4 * at)

    source = read_source(frames(), 3)
    assert made == []
    assert len(next(source.frames)) == 3
    assert made == [0]
    assert [len(one) for one in source.frames] == [1, 3, 1, 3, 1]


def test_an_id_may_be_a_column_though_pandas_wrote_an_index(folder):
    (frame,) = read_source(min(folder.glob("*.parquet")), 1000, id="n").frames
    assert (frame.index.name, frame.index.tolist()) == ("n", list(range(100)))


def test_a_numbering_of_each_file_is_no_id(tmp_path):
    for part in range(2):
        dkv.to_parquet(rows(3).reset_index(drop=True), tmp_path / f"{part}.parquet")
    with pytest.raises(dkv.SchemaError, match="no index that could be ids: name their column by id="):
        read_source(tmp_path, 10)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("no/such/folder", dkv.NotFoundError, "no files there"),
        (b"bytes", dkv.SchemaError, "not from bytes"),
        (7, dkv.SchemaError, "not from int"),
        (pa.table({"a": [1]}), dkv.NotFoundError, "no column 'id'"),
    ],
    ids=str,
)
def test_what_no_rows_can_be_read_from(source, error, message):
    with pytest.raises(error, match=message):
        list(read_source(source, 10).frames)


def test_a_file_that_is_no_parquet(tmp_path):
    (tmp_path / "a.parquet").write_text(json.dumps([1]))
    with pytest.raises(dkv.SchemaError, match=r"not to be read: .*a\.parquet"):
        read_source(tmp_path, 10)


def test_a_file_that_is_damaged_inside(folder, tmp_path):
    whole = min(folder.glob("*.parquet")).read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[:100] + bytes(400) + whole[500:])
    with pytest.raises(dkv.SchemaError, match="not to be read"):
        list(read_source(tmp_path, 10).frames)


# Pushes


def test_a_push_of_a_folder_is_the_push_of_its_frame(folder, tmp_path):
    query = WHOLE["v"].iloc[7]
    with (
        dkv.push(folder, "faiss", path=tmp_path / "one", index="flat", batch_size=70) as one,
        WHOLE.vec.push("faiss", path=tmp_path / "two", index="flat") as other,
    ):
        pd.testing.assert_frame_equal(one.search(query, k=20), other.search(query, k=20))
        assert one.written.inserted == 300
        again = dkv.push(folder, tmp_path / "one", resume=True, batch_size=70)
        assert (again.written.inserted, again.written.skipped, len(again)) == (0, 300, 300)
        again.close()


def test_a_push_reads_what_it_is_told(folder):
    knobs = {"metric": "euclidean", "columns": ["n"], "model": "m", "version": "2", "on": "v"}
    with dkv.push(folder, "exact", **knobs) as store:
        (info,) = store.schema.vectors
        assert (info.metric.value, info.model, info.version) == ("euclidean", "m", "2")
        assert store.schema.payload.names == ["n"]


def test_of_several_columns_an_encoder_need_not_have_made_every_one():
    encoder = dkv.Encoder(lambda texts: [[1.0] * 4 for _ in texts], model="m")
    frame = rows(3)

    def models(source, **more):
        with dkv.push(source, "exact", encoder=encoder, **more) as store:
            pushed = [one.model for one in store.schema.vectors]
        with source.vec.push("exact", encoder=encoder, **more) as store:
            assert [one.model for one in store.schema.vectors] == pushed
        return pushed

    assert models(frame) == ["m"]
    assert models(frame.assign(w=frame["v"])) == [None, None]
    assert models(frame.assign(w=frame["v"]), on="w") == ["m"]
    assert models(frame.assign(w=frame["v"]), model="org/m") == ["org/m", "org/m"]


def test_bad_rows_stop_a_load_by_name_or_are_left_out():
    bad = rows(5, start=5).assign(v=[[1.0] * 4, [np.nan] * 4, [1.0] * 4, [1.0] * 4, [1.0] * 4])
    with dkv.connect("exact") as store:
        with pytest.raises(dkv.VectorError, match="id 006"):
            store.load([rows(5), bad], batch_size=5)
        assert len(store) == 5  # the batches before are stored
        written = store.load([rows(5), bad], batch_size=5, resume=True, reading=dkv.Reading(on_bad="drop"))
        assert (written.inserted, written.skipped, written.dropped) == (4, 5, ("id 006",))


class Picky(ExactStore):
    """Takes all rows but those that it has something against; from some row on the engine is gone."""

    refused, gone = ("id 004", "id 007"), None

    async def _upsert(self, batch, mode, *, progress):
        keep = ~batch.labels.isin(self.refused)
        some = {name: matrix[keep] for name, matrix in batch.vectors.items()}
        taken = replace(batch, ids=batch.ids.filter(keep), vectors=some, payload=batch.payload.filter(keep))
        written = await super()._upsert(taken, mode, progress=progress)
        if keep.all():
            return written
        gone = BackendUnavailableError("gone") if self.gone in batch.labels else None
        raise PartialWriteError(dict.fromkeys(batch.labels[~keep], "odd"), int(keep.sum())) from gone


async def test_a_load_of_which_some_rows_fail_tells_what_became_of_the_others():
    store, frame = await Picky.open({}), rows(10)
    await store.upsert(frame.head(4))
    frame["v"] = list(frame["v"].array.matrix)
    frame.iloc[5, frame.columns.get_loc("v")] = None
    with pytest.raises(PartialWriteError, match=r"3 rows stored; not stored: 'id 004', 'id 007' \(2 rows\)") as caught:
        await store.load(frame, batch_size=10, resume=True, reading=Reading(on_bad="drop"))
    assert (caught.value.stored, caught.value.dropped) == (3, ("id 005",))
    assert store.written == Written(3, dropped=("id 005",), skipped=4)
    assert await store.count() == 7


async def test_a_load_whose_engine_goes_tells_also_of_the_rows_that_failed_before():
    store = await Picky.open({})
    store.gone = "id 007"
    with pytest.raises(PartialWriteError, match=r"7 rows stored; not stored: 'id 004', 'id 007'") as caught:
        await store.load(rows(100), batch_size=3)
    assert isinstance(caught.value.__cause__, BackendUnavailableError)
    assert store.written.inserted == 7


@pytest.mark.parametrize("knobs", [{"batch_size": 0}, {"mode": "replace"}, {"batch_size": 2.5}], ids=str)
def test_a_load_refuses_what_it_can_not_do(knobs):
    with dkv.connect("exact") as store, pytest.raises(dkv.SchemaError):
        store.load(rows(3), **knobs)


def test_a_push_that_fails_closes_its_store(tmp_path):
    with pytest.raises(dkv.UnsupportedError, match="no index 'hnsw'"):
        dkv.push(rows(3), "exact", index="hnsw")
    with pytest.raises(dkv.SchemaError):
        dkv.push(7, "faiss", path=tmp_path / "a")
    dkv.connect(tmp_path / "a").upsert(rows(3))  # nobody holds its lock


def test_a_push_that_is_asked_for_what_is_not_opens_no_store(monkeypatch):
    monkeypatch.setattr(pushing, "connect", lambda *_, **__: pytest.fail("a store was opened"))
    with pytest.raises(dkv.SchemaError, match="hnws"):
        dkv.push(rows(3), "exact", index="hnws")


def test_a_load_shows_how_far_it_is(capsys):
    with dkv.connect("exact") as store:
        store.load(rows(30), batch_size=10, progress=True)
        assert "loading: 100%" in capsys.readouterr().err
        store.load([rows(5)], progress=True)  # nobody knows how many will come
        assert "loading: 5" in capsys.readouterr().err
