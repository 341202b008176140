"""A small write is one record of the folder's log: durable by one flush, seen by readers, and never half there."""

import os
import shutil
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_folder import full_disk, manifest, named, names, opened, rows

from dkvector.backends import _disk, _journal, _log
from dkvector.errors import BackendUnavailableError, DuplicateIdError, SchemaError
from dkvector.indexes import HNSW, IVF, Flat
from dkvector.registry import connect

SPECS = [Flat(), HNSW(m=8), IVF(lists=4)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "rows"


@pytest.fixture
def store(folder):
    """A store whose small writes go to a log: two have begun it."""
    with opened(folder) as store:
        store.upsert(rows(*range(200), x=range(200)))
        for one in (200, 201):
            store.upsert(rows(one, x=[one]))
        assert manifest(folder)["log"]
        yield store


def log_of(folder):
    return folder / manifest(folder)["log"]["file"]


def left_by_a_kill(folder):
    """What the disk holds if the writer is killed now."""
    copy = folder.with_name(f"killed-{len(list(folder.parent.iterdir()))}")
    shutil.copytree(folder, copy)
    return copy


def content(folder_or_store):
    if not hasattr(folder_or_store, "to_frame"):
        with opened(folder_or_store) as store:
            return store.to_frame()
    return folder_or_store.to_frame()


def xs(folder_or_store):
    return content(folder_or_store).x.to_dict()


def record_ends(folder):
    """Where the records end, seals and all."""
    data = log_of(folder).read_bytes()
    salt = manifest(folder)["log"]["salt"]
    return [one.end for one in _log._whole(memoryview(data), salt, _log.HEAD.size) if one.seal]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_a_small_write_is_one_flush_and_no_new_file(folder, spec, monkeypatch):
    flushed, write = [], _disk.write_flushed
    with opened(folder) as store:
        store.upsert(rows(*range(200)))
        store.build_index(spec)
        store.upsert(rows(5))
        assert manifest(folder)["log"] is None  # one alone is a commit like any other
        store.upsert(rows(6))
        files, text = names(folder), (folder / "manifest.json").read_bytes()
        monkeypatch.setattr(_disk, "write_flushed", lambda *args: (flushed.append(args), write(*args)))
        monkeypatch.setattr(_disk, "flush", full_disk)
        for at in range(10):
            frame = rows(at, 300 + at)
            assert store.upsert(frame).replaced == 1
            assert all(one in store.search(frame.v.loc[one], 30).index for one in frame.index)
            assert store.delete([100 + at, 999]) == 1
        assert len(flushed) == 20
        assert (names(folder), (folder / "manifest.json").read_bytes()) == (files, text)
        pd.testing.assert_frame_equal(content(left_by_a_kill(folder)), store.to_frame())
        monkeypatch.undo()  # to close


def test_every_small_write_is_there_after_a_kill_and_for_a_reader(store, folder):
    with opened(folder) as reader:
        for at in range(30):
            store.upsert(rows(at, x=[-at])) if at % 3 else store.delete([at, at + 50])
            assert reader.refresh() is True
            assert reader.refresh() is False
            assert xs(reader) == xs(store) == xs(left_by_a_kill(folder))
        assert store.count() == 202 - 20 + reader.count("x < 0") - reader.count("x < 0")
        assert store.delete(where="x < 0 and x > -9") == 6
        assert reader.refresh() is True
        assert reader.verify().loc[log_of(folder).name, ["kind", "rows"]].tolist() == ["log", 20]
        assert sorted(reader.verify().index) == sorted(names(folder) - {"lock", "manifest.json"})


PAYLOADS = {
    "text": ["a", None],
    "mixed": pd.Categorical(["y", None], ["x", "y", "z"]),
    "time": pd.to_datetime(["2024-01-01", None]).tz_localize("UTC"),
    "n": pd.array([1, None], "Int64"),
    "lists": [[1, 2], None],
    "arrow": pd.array([{"a": 1}, None], pd.ArrowDtype(pa.struct([("a", pa.int64())]))),
}


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([1, 2], name="key"),
        pd.Index(["ä", "b"]),
        pd.to_datetime(["2024-01-01", "2024-01-02"]),
        pd.CategoricalIndex(["u", "v"]),
        pd.Index([b"1", b"2"]),
        pd.Index([0.5, 1.0]),
    ],
    ids=lambda index: str(index.dtype),
)
def test_what_goes_through_the_log_comes_back_with_its_types(folder, index, monkeypatch):
    monkeypatch.setattr("dkvector.backends._local.DEAD_SHARE", 2)
    frame = pd.DataFrame(PAYLOADS, index=index).assign(v=[np.float32([1, 2]), np.float32([3, 4])])
    with opened(folder) as store:
        for at in (0, 1, 0, 1, 0):
            store.upsert(frame.iloc[[at]])
        assert store.store._journal.behind
        assert store.count() == 2
        expected = frame.iloc[[1, 0]].drop(columns="v")
        for one in (store, opened(left_by_a_kill(folder))):
            pd.testing.assert_frame_equal(one.to_frame().drop(columns="v"), expected, check_freq=False)
            assert np.stack(one.get(index).assign(v=one.to_frame().v).v).tolist() == [[1, 2], [3, 4]]
    pd.testing.assert_frame_equal(content(folder).drop(columns="v"), expected, check_freq=False)


def test_a_column_left_out_is_null_and_a_new_one_is_a_commit_of_its_own(store, folder):
    store.upsert(rows(300))
    assert store.store._journal.behind
    assert np.isnan(xs(left_by_a_kill(folder))[300])
    before = manifest(folder)["generation"]
    store.upsert(rows(301, y=["new"]))
    assert manifest(folder)["generation"] == before + 1
    assert content(left_by_a_kill(folder)).y.to_dict()[301] == "new"


def test_what_the_caller_changes_later_does_not_reach_the_log(store):
    numbers, vectors = np.array([1.5]), np.ones((1, 4), "f4")
    table = pa.table({"id": [300], "x": pa.array([7]), "v": pa.FixedSizeListArray.from_arrays(pa.array(vectors[0]), 4)})
    store.upsert(table)
    frame = pd.DataFrame({"x": np.array([7])}, index=pd.Index(np.array([301]), copy=False))
    frame["v"] = pd.Series(list(vectors), index=frame.index)
    store.upsert(frame)
    numbers[:] = vectors[:] = 9
    frame.loc[301, "x"] = 9
    assert store.get([300, 301], include_vectors=True).x.tolist() == [7, 7]
    assert np.stack(store.get([300, 301], include_vectors=True).v).tolist() == [[1, 1, 1, 1]] * 2


def test_a_search_keeps_the_rows_that_it_began_with(store):
    store.upsert(rows(300, x=[1]))
    store.upsert(rows(301, x=[1]))
    snapshot = store.store.rows
    store.upsert(rows(300, 302, x=[2, 2]))
    store.delete([301])
    for _ in range(100):
        store.upsert(rows(303, x=[3]))
    assert snapshot.locate(pd.Index([300, 301, 302, 303])).tolist() == [202, 203, -1, -1]
    assert snapshot.take(np.array([202, 203]), ["x"]).column("x").to_pylist() == [1, 1]
    assert snapshot.living == 204


def test_an_insert_of_what_is_in_the_log_is_refused(store):
    store.upsert(rows(300, x=[1]), mode="insert")
    with pytest.raises(DuplicateIdError, match="300"):
        store.upsert(rows(300, x=[2]), mode="insert")
    store.delete([300])
    store.upsert(rows(300, x=[3]), mode="insert")
    assert xs(store)[300] == 3


@pytest.mark.parametrize("end", ["close", "large", "build", "replace", "full"])
def test_the_log_becomes_a_row_file(store, folder, end, monkeypatch):
    for at in range(20):
        store.upsert(rows(at, x=[-at]))
    store.delete([3, 210, 4])
    if end == "close":
        expected = xs(store)
        store.close()
    elif end == "large":
        store.upsert(rows(*range(1000, 1300), x=range(300)))
    elif end == "build":
        store.build_index(HNSW(m=4))
    elif end == "replace":
        store.upsert(rows(1, x=[0]), mode="replace")
    else:
        monkeypatch.setattr(_log, "SIZE", 4096)
        for at in range(900):
            store.upsert(rows(at % 60, x=[at]))
    if end != "close":
        expected = xs(store)
    assert xs(left_by_a_kill(folder)) == expected
    assert names(folder) == named(folder)
    assert bool(manifest(folder)["log"]) == (end == "full")


def test_a_write_too_large_for_a_log_does_not_begin_one(folder):
    with opened(folder) as store:
        for at in range(4):
            store.upsert(rows(at, text=["long" * 100_000]))
            assert content(left_by_a_kill(folder)).text.str.len().tolist() == [400_000] * (at + 1)
        assert manifest(folder)["log"] is None


def test_the_rows_that_died_in_a_log_stay_dead_in_its_row_file(store, folder, monkeypatch):
    for loose in (1000, 0):
        monkeypatch.setattr("dkvector.backends._dead.LOOSE", loose)
        for at in range(3):
            store.upsert(rows(400, 401, x=[at, at]))
        store.delete([401])
        store.build_index(Flat())
        assert 401 not in xs(left_by_a_kill(folder))
        for one in (500, 501):
            store.upsert(rows(one, x=[one]))


def torn(folder, start, stop, data):
    copy = left_by_a_kill(folder)
    with log_of(copy).open("r+b") as file:
        file.seek(start)
        file.write(data[:0] if start >= stop else data[: stop - start])
    return copy


def test_the_torn_end_of_a_killed_write_is_cut_at_every_byte(store, folder):
    store.upsert(rows(300, x=[1]))
    before, (start,) = xs(store), record_ends(folder)
    store.upsert(rows(301, x=[2]))
    whole, stop = log_of(folder).read_bytes(), record_ends(folder)[-1] - _log.FRAME.size
    for at in [*range(start, start + 60), *range(start + 60, stop - 8, 37)]:
        copy = torn(folder, at, stop + _log.FRAME.size, bytes(stop + _log.FRAME.size - at))
        assert xs(copy) == before, at
    copy = torn(folder, start + 50, stop + _log.FRAME.size, os.urandom(4096))  # a page of something else
    with opened(copy) as again:
        assert xs(again) == before
        again.upsert(rows(302, x=[3]))
        assert xs(again) == before | {302: 3}
        assert names(copy) == named(copy)
    copy = torn(folder, stop, stop + _log.FRAME.size, bytes(_log.FRAME.size))  # flushed, and killed before the seal
    assert xs(copy) == before | {301: 2}
    assert log_of(folder).read_bytes() == whole


def test_a_record_that_was_flushed_and_damaged_is_refused_by_name(store, folder):
    for at in range(3):
        store.upsert(rows(300 + at, x=[at]))
    start = _log.HEAD.size
    for end in (ends := record_ends(folder)):
        for place in (start, start + 9, start + 13, start + 20, (start + end) // 2, end - _log.FRAME.size - 9):
            copy = left_by_a_kill(folder)
            path = log_of(copy)
            data = bytearray(path.read_bytes())
            data[place] ^= 64
            path.write_bytes(data)
            with pytest.raises(SchemaError, match=f"{path} is damaged: a record that was flushed is not whole"):
                opened(copy)
        start = end
    assert len(ends) == 3
    with opened(folder) as reader:
        store.upsert(rows(400, x=[0]))
        with log_of(folder).open("r+b") as file:
            file.seek(_log.HEAD.size + 40)
            file.write(b"no")
        for ask in (reader.refresh, reader.verify):
            with pytest.raises(SchemaError, match=r"log-.*\.wal is damaged"):
                ask()
        assert 400 not in xs(reader)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: os.truncate(path, 1 << 16), "is damaged: 65,536 bytes, the manifest says 524,288"),
        (lambda path: path.unlink(), "is missing: the manifest names it"),
        (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), "is damaged: its head has another checksum"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "is damaged: 524,289 bytes"),
    ],
    ids=["cut", "gone", "head", "longer"],
)
def test_a_log_that_is_not_whole_is_refused(store, folder, harm, message):
    store.upsert(rows(300, x=[1]))
    copy = left_by_a_kill(folder)
    harm(log_of(copy))
    with pytest.raises(SchemaError, match=message):
        opened(copy)


def test_the_log_of_another_commit_is_refused(store, folder, tmp_path):
    store.upsert(rows(300, x=[1]))
    with opened(tmp_path / "other") as other:
        other.upsert(rows(*range(200), x=range(200)))
        for one in (200, 201, 202):
            other.upsert(rows(one, x=[one]))
        copy = left_by_a_kill(folder)
        assert log_of(copy).name == log_of(tmp_path / "other").name
        shutil.copy(log_of(tmp_path / "other"), log_of(copy))
    with pytest.raises(SchemaError, match="it is the log of another commit"):
        opened(copy)


def test_records_of_another_order_or_of_no_rows_are_refused(tmp_path):
    def written(*records: object):
        path = tmp_path / "log"
        log = _log.LogFile("log", 4096, 7)
        _log.begin(path, log, 1)
        data = bytearray(path.read_bytes())
        at = _log.HEAD.size
        for number, count, died, seal in records:
            head = struct.pack("<QIIIIII", 7, 0, number, count, len(died), 0, seal)
            body = np.array(died, "<i8").tobytes()
            crc = _log.zlib.crc32(head[12:] + body)
            record = head[:8] + struct.pack("<I", crc) + head[12:] + body
            data[at : at + len(record)] = record
            at += len(record)
        path.write_bytes(data)
        return _log.read(path, log)

    assert written((0, 0, [3], 0), (0, 0, [], 1), (1, 0, [4], 0)).died.tolist() == [3, 4]
    with pytest.raises(SchemaError, match="record 2 where 1 should be"):
        written((0, 0, [3], 0), (2, 0, [4], 0))
    with pytest.raises(SchemaError, match="5 rows, its records tell of 0"):
        written((0, 5, [3], 0))


def test_a_log_that_tells_of_rows_that_there_are_not_is_refused(store, folder):
    store.store._journal.note(store.store.rows, np.array([5000]), None)
    with pytest.raises(SchemaError, match="tells of rows that there are not"):
        opened(left_by_a_kill(folder))
    store.store._journal.pause()


def test_pages_read_at_different_times_are_read_again(store, folder, monkeypatch):
    for at in range(3):
        store.upsert(rows(300 + at, x=[at]))
    path, whole, (_, end, _) = log_of(folder), log_of(folder).read_bytes(), record_ends(folder)
    first, calls = bytearray(whole), []
    first[_log.HEAD.size : end - 500] = bytes(end - 500 - _log.HEAD.size)  # the first page is from before

    def read(asked):
        calls.append(asked)
        return bytes(first) if len(calls) == 1 else whole

    monkeypatch.setattr(_log, "_bytes", read)
    assert _log.read(path, _log.LogFile(**manifest(folder)["log"])).rows == 3
    assert len(calls) == 2


@pytest.mark.parametrize("part", ["nothing", "half", "all", "seal"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "^C"])
def test_a_record_that_fails_changes_nothing(store, folder, part, error, monkeypatch):
    store.upsert(rows(300, x=[1]))
    before, files, write = xs(store), names(folder), _disk.write_flushed

    def fails(handle, data, at):
        size = {"nothing": 0, "half": len(data) // 2, "all": len(data), "seal": 16}[part]
        write(handle, data[:size], at)
        broken.undo()  # it is erased when the disk is better
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(_disk, "write_at" if part == "seal" else "write_flushed", fails)
        with pytest.raises(BackendUnavailableError if isinstance(error, OSError) else KeyboardInterrupt):
            store.upsert(rows(300, 301, x=[2, 2]))
    assert xs(store) == xs(left_by_a_kill(folder)) == before
    assert names(folder) == files
    store.upsert(rows(300, 301, x=[3, 3]))
    assert xs(store) == xs(left_by_a_kill(folder)) == before | {300: 3, 301: 3}
    assert names(folder) == named(folder)


def test_a_record_that_can_not_be_erased_is_seen_by_the_next_write(store, folder, monkeypatch):
    """Its failure was told, though it is there: writing it again is safe, as with any commit."""
    write = _disk.write_flushed

    def fails(*args: object):
        write(*args)
        full_disk()

    with monkeypatch.context() as broken:
        broken.setattr(_disk, "write_flushed", fails)
        broken.setattr(_disk, "erase", lambda *_: None)
        with pytest.raises(BackendUnavailableError, match="stands: No space left"):
            store.upsert(rows(300, x=[2]))
    assert 300 not in xs(store)
    store.upsert(rows(301, x=[3]))
    assert (xs(store)[300], xs(store)[301]) == (2, 3)
    assert xs(left_by_a_kill(folder)) == xs(store)


def test_without_room_for_a_log_every_write_is_a_commit(folder, monkeypatch):
    monkeypatch.setattr(_log, "begin", full_disk)
    with opened(folder) as store:
        for at in range(5):
            store.upsert(rows(at, x=[at]))
            assert manifest(folder)["generation"] == at + 1
            assert names(folder) == named(folder)
    assert xs(folder) == {at: at for at in range(5)}


def test_a_log_that_can_not_be_folded_at_the_end_stays(store, folder, monkeypatch):
    store.upsert(rows(300, x=[1]))
    with monkeypatch.context() as broken:
        broken.setattr("dkvector.backends._folder.Manifest.to_json", full_disk)
        store.close()
    assert manifest(folder)["log"]
    assert xs(folder)[300] == 1


def test_closing_builds_no_index(folder, monkeypatch):
    monkeypatch.setattr("dkvector.backends._faiss_upkeep.BEHIND", 5)
    monkeypatch.setattr("dkvector.backends._faiss_upkeep.BEHIND_SHARE", 0)
    with opened(folder) as store:
        store.upsert(rows(*range(100)))
        store.build_index(HNSW(m=4))
        for at in range(100, 120):
            store.upsert(rows(at))
        monkeypatch.setattr("dkvector.backends._faiss_build.extended", None)
    with opened(folder) as store:
        assert (store.count(), store.indexes()) == (120, {"v": HNSW(m=4)})


def test_a_temporary_store_has_a_log_too():
    with connect("faiss") as store:
        for at in range(20):
            store.upsert(rows(at % 7, x=[at]))
        assert store.store._journal.behind
        assert xs(store) == {at % 7: at for at in range(13, 20)}


def test_the_next_writer_goes_on_where_a_killed_one_was(store, folder):
    store.upsert(rows(300, x=[1]))
    copy = left_by_a_kill(folder)
    with opened(copy) as late:
        expected = xs(store)
        for at in range(5):
            late.upsert(rows(300 + at, x=[-at]))
            expected |= {300 + at: -at}
            assert xs(late) == xs(left_by_a_kill(copy)) == expected
    assert names(copy) == named(copy)


@settings(max_examples=25, deadline=None)
@given(
    writes=st.lists(
        st.tuples(st.lists(st.integers(0, 30), min_size=1, max_size=4, unique=True), st.booleans()), max_size=30
    )
)
def test_any_small_writes_are_there_after_a_kill(tmp_path_factory, writes):
    folder = tmp_path_factory.mktemp("log") / "rows"
    model = dict.fromkeys(range(20), -1)
    with opened(folder) as store:
        store.upsert(rows(*range(20), x=[-1] * 20))
        for at, (ids, upsert) in enumerate(writes):
            if upsert:
                store.upsert(rows(*ids, x=[at] * len(ids)))
                model |= dict.fromkeys(ids, at)
            else:
                store.delete(ids)
                model = {one: x for one, x in model.items() if one not in ids}
        assert xs(store) == xs(left_by_a_kill(folder)) == model
    assert xs(folder) == model


def test_what_is_small_is_bounded(store, folder):
    few = _journal.FEW
    before = manifest(folder)["generation"]
    store.upsert(rows(*range(1000, 1000 + few), x=range(few)))
    store.delete([3, 1000])
    assert manifest(folder)["generation"] == before
    store.upsert(rows(*range(2000, 2001 + few), x=range(few + 1)))
    assert manifest(folder)["generation"] == before + 1
    store.delete(list(range(2000, 2001 + few)))
    assert manifest(folder)["generation"] == before + 2
