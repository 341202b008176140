"""Damage is refused by name, readers follow the writer, and the format is what docs/format.md says."""

import json
import multiprocessing
import os
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_folder import fill, in_a_process, manifest, named, names, opened, rows

from dkvector.backends import _checks, _dead, _disk, _faiss_sound, _faiss_upkeep, _journal, _log
from dkvector.backends._checks import Trust
from dkvector.backends._faiss_nodes import inside
from dkvector.backends._manifest import FORMAT, Manifest, Stored
from dkvector.errors import BackendUnavailableError, SchemaError, UnsupportedError
from dkvector.indexes import HNSW, IVF, Flat, Tuning
from dkvector.registry import connect
from dkvector.testing import sample_frame

ROOT = Path(__file__).parents[1]
OLD = Path(__file__).parent / "data"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "rows"


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.unlink()  # as a copy does: what is mapped stays as it is
    path.write_bytes(data)


def filled(folder, spec=None):
    """Two row files, a mask, and an index where one is wanted."""
    frame = sample_frame()
    fill(folder, frame, spec)
    with opened(folder) as store:
        store.delete(frame.index[:3])
    return frame


@pytest.fixture
def masked(monkeypatch):
    monkeypatch.setattr(_dead, "LOOSE", 0)


@pytest.fixture
def unread(monkeypatch):
    """Every file is a large one, of which opening compares nothing."""
    monkeypatch.setattr(_checks, "READ", 0)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("kind", ["rows", "dead"])
@pytest.mark.usefixtures("masked")
def test_a_flipped_byte_is_refused_by_name(folder, kind, share):
    filled(folder)
    (path,) = folder.glob(f"{kind}-*")
    flip(path, int(path.stat().st_size * share))
    with pytest.raises(SchemaError, match=f"{path.name} is damaged: its bytes have another checksum"):
        opened(folder)


def test_a_flipped_byte_of_the_manifest_is_refused(folder):
    filled(folder)
    path = folder / "manifest.json"
    text = path.read_text("utf-8")
    path.write_text(text.replace('"generation": 2', '"generation": 3'), "utf-8")
    with pytest.raises(SchemaError, match=r"manifest\.json is damaged: its checksum is another"):
        opened(folder)
    path.write_text(" ".join(text.split()), "utf-8")  # white space says nothing
    with opened(folder) as store:
        assert len(store) == 297


def test_a_lost_manifest_is_no_empty_store(folder):
    frame = filled(folder)
    (folder / "manifest.json").rename(folder / "kept.json")
    before = names(folder)
    with pytest.raises(SchemaError, match=r"manifest\.json is missing: there are rows"):
        opened(folder)
    assert names(folder) == before
    (folder / "kept.json").rename(folder / "manifest.json")
    with opened(folder) as store:
        assert sorted(store.to_frame().index) == sorted(frame.index[3:])


@pytest.mark.parametrize("spec", [HNSW(m=8), IVF(lists=4)], ids=lambda spec: spec.kind)
def test_a_flipped_byte_of_an_index_is_told_and_the_index_built_anew(folder, spec):
    frame = filled(folder, spec)
    (path,) = folder.glob("*.index")
    flip(path, path.stat().st_size // 2)
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        store = opened(folder)
    with store:
        assert store.indexes() == {"embedding": Flat()}
        store.upsert(frame.head(1))
        assert store.indexes() == {"embedding": spec}
        store.verify()


@pytest.mark.usefixtures("unread")
def test_what_opening_does_not_read_verify_finds_and_no_copy_keeps(folder):
    frame = filled(folder)
    (path,) = folder.glob("rows-*")
    bulk = manifest(folder)["segments"][0]["bulk"]
    flip(path, bulk[0] + 2)
    with opened(folder) as store:
        with pytest.raises(SchemaError, match=f"{path.name} is damaged: its bytes have another checksum"):
            store.verify()
        before = names(folder)
        for write in (lambda: store.delete(frame.index[:200]), lambda: store.build_index("hnsw")):
            with pytest.raises(SchemaError, match=f"{path.name} is damaged: its bytes have another checksum"):
                write()
        assert names(folder) == before
        store.upsert(frame, mode="replace")  # copies nothing of it, and is the way out
        assert len(store.verify()) == 1


@pytest.mark.usefixtures("unread")
def test_small_rows_are_proved_before_they_are_merged(folder):
    fill(folder, rows(1, 2))
    (path,) = folder.glob("rows-*")
    flip(path, manifest(folder)["segments"][0]["bulk"][0])
    with opened(folder) as store, pytest.raises(SchemaError, match=f"{path.name} is damaged"):
        store.upsert(rows(3, 4))


def test_of_a_large_file_all_but_the_vectors_is_compared(folder, monkeypatch):
    filled(folder)
    stored = manifest(folder)["segments"][0]
    path = folder / stored["file"]
    data = path.read_bytes()
    start, stop = stored["bulk"]
    assert stop - start == 300 * len(sample_frame().embedding.iloc[0]) * 4
    assert stored["rest_crc32"] == zlib.crc32(data[stop:], zlib.crc32(data[:start]))
    monkeypatch.setattr(_checks, "READ", len(data) - 1)
    flip(path, start)
    with opened(folder) as store:
        assert len(store) == 297
    flip(path, start - 1)
    with pytest.raises(SchemaError, match=f"{path.name} is damaged"):
        opened(folder)


@pytest.mark.usefixtures("unread")
def test_a_damaged_index_is_not_extended(folder, monkeypatch):
    monkeypatch.setattr(_faiss_upkeep, "BEHIND", 0)
    frame = filled(folder, HNSW(m=8))
    (path,) = folder.glob("*.index")
    flip(path, path.stat().st_size - 8 * len(frame) - 18)  # of a vector, which leads nowhere
    with opened(folder) as store:
        with pytest.warns(UserWarning, match=f"{path.name} is damaged.*; the index is built anew"):
            store.upsert(frame.head(20).rename("more {}".format))
        store.verify()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("neighbors", "a link leads to no node"),
        ("levels", "a level that there is not"),
        ("offsets", "links of its nodes overlap"),
    ],
)
def test_links_that_lead_nowhere_are_found(part, message, tmp_path):
    import faiss

    graph = faiss.IndexHNSWFlat(8, 4)
    graph.add(np.random.default_rng(0).standard_normal((50, 8)).astype("f4"))
    assert _faiss_sound.sound(graph, tmp_path, 50, 8)
    vector = getattr(graph.hnsw, part)
    faiss.rev_swig_ptr(vector.data(), vector.size())[3] = 1_000_000
    with pytest.raises(SchemaError, match=message):
        _faiss_sound.sound(graph, tmp_path, 50, 8)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (HNSW(m=8), "is damaged: "),  # newer versions of Faiss look at links themselves
        (IVF(lists=4), "is damaged: a list names a row that there is not"),
    ],
)
@pytest.mark.usefixtures("unread")
def test_a_large_index_that_leads_nowhere_is_told_when_opened(folder, spec, message):
    import faiss

    frame = filled(folder, spec)
    (path,) = folder.glob("*.index")
    index = faiss.read_index(str(path))
    harmed = inside(index).hnsw.neighbors.data() if spec.kind == "hnsw" else index.invlists.get_ids(2)
    faiss.rev_swig_ptr(harmed, 2)[:] = 300
    path.unlink()
    faiss.write_index(index, str(path))
    with pytest.warns(UserWarning, match=f"{path.name} {message}.*; every row is compared"):
        store = opened(folder)
    with store:
        assert store.search(frame.embedding.iloc[9], 1).index[0] == frame.index[9]


@pytest.mark.usefixtures("unread")
def test_a_large_row_file_that_leads_nowhere_is_refused_when_opened(folder):
    fill(folder, rows(*range(40), text=[f"text {i}" for i in range(40)]))
    (path,) = folder.glob("rows-*")
    offsets = np.cumsum([0, *(len(f"text {i}") for i in range(40))]).astype("i8").tobytes()
    at = path.read_bytes().index(offsets)
    flip(path, at + 8 * 20 + 2)
    with pytest.raises(SchemaError, match=f"{path.name} is damaged: .*offset"):
        opened(folder)


@pytest.mark.usefixtures("unread")
def test_a_column_that_is_called_otherwise_is_refused(folder):
    fill(folder, rows(1, 2, text=["a", "b"]))
    (path,) = folder.glob("rows-*")
    flip(path, path.read_bytes().rindex(b"text"))
    with pytest.raises(SchemaError, match=f"{path.name} is damaged: the schema at its start"):
        opened(folder)


def test_lists_that_name_no_row_are_found(tmp_path):
    import faiss

    index = faiss.index_factory(8, "IVF2,Flat")
    index.cp.min_points_per_centroid = 1
    matrix = np.random.default_rng(0).standard_normal((50, 8)).astype("f4")
    index.train(matrix)
    index.add(matrix)
    assert _faiss_sound.sound(index, tmp_path, 50, 8)
    for rows_there, dimensions in ((49, 8), (50, 9)):
        with pytest.raises(SchemaError, match="50 rows of 8 dimensions"):
            _faiss_sound.sound(index, tmp_path, rows_there, dimensions)
    faiss.rev_swig_ptr(index.invlists.get_ids(1), 2)[1] = 50
    with pytest.raises(SchemaError, match="names a row that there is not"):
        _faiss_sound.sound(index, tmp_path, 50, 8)
    assert not _faiss_sound.sound(faiss.IndexFlatL2(8), tmp_path, 50, 8)


def test_the_smallest_files_are_read_first():
    files = [Stored("c", 1, 50, 0, bulk=(10, 40), rest_crc32=0), Stored("a", 1, 10, 0), Stored("b", 1, 30, 0)]
    assert Trust.of(files, 90) == Trust(frozenset("abc"), frozenset())
    assert Trust.of(files, 89) == Trust(frozenset("ab"), frozenset("c"))
    assert Trust.of(files, 40) == Trust(frozenset("ab"), frozenset())
    assert Trust.of(files, 39) == Trust(frozenset("a"), frozenset("c"))


@pytest.mark.usefixtures("masked")
def test_verify_lists_every_file_or_names_each_that_is_not_whole(folder):
    filled(folder, HNSW(m=8))
    with opened(folder) as store:
        told = store.verify()
        assert told.index.tolist() == sorted(names(folder) - {"lock", "manifest.json"})
        assert told.kind.tolist() == ["dead rows", "index", "rows"]
        assert told.crc32.tolist() == [zlib.crc32((folder / name).read_bytes()) for name in told.index]
        assert told.bytes.tolist() == [(folder / name).stat().st_size for name in told.index]
        dead, index, _ = told.index
        (folder / dead).unlink()
        flip(folder / index, 5)
        with pytest.raises(SchemaError, match=rf"{index} is damaged: .*build_index\(\)[\s\S]*{dead} is missing"):
            store.verify()


def test_a_store_in_memory_has_nothing_to_verify_and_nothing_new():
    with connect("exact") as store:
        store.upsert(rows(1))
        assert store.refresh() is False
        with pytest.raises(UnsupportedError, match="exact keeps no files"):
            store.verify()


def test_a_reader_follows_the_writer(folder):
    fill(folder, rows(*range(100)), HNSW(m=4))
    with opened(folder) as writer, opened(folder) as reader:
        assert reader.refresh() is False
        labels, index = reader.store.rows.segments[0], reader.store.rows.indexes["v"]
        writer.upsert(rows(200, 201))
        writer.delete([0])
        assert len(reader) == 100
        assert reader.refresh() is True
        assert reader.refresh() is False
        pd.testing.assert_frame_equal(reader.to_frame(), writer.to_frame())
        assert reader.store.rows.segments[0] is labels  # what is mapped is not mapped again
        assert reader.store.rows.indexes["v"] is index
        writer.upsert(rows(7, 8, x=[1, 2]), mode="replace")
        assert reader.refresh() is True
        assert reader.to_frame().x.to_dict() == {7: 1, 8: 2}
        writer.drop()
        assert reader.refresh() is True
        assert len(reader) == 0
        writer.upsert(rows(7, 8))
        assert reader.refresh() is True
        assert sorted(reader.to_frame().index) == [7, 8]
    with pytest.raises(BackendUnavailableError, match="was closed"):
        reader.refresh()


def test_a_reader_keeps_what_it_has_when_the_newest_commit_is_damaged(folder):
    fill(folder, rows(1, 2))
    with opened(folder) as reader:
        fill(folder, rows(3, 4))
        (path,) = folder.glob("rows-*")
        flip(path, 700)
        with pytest.raises(SchemaError, match=path.name):
            reader.refresh()
        assert sorted(reader.to_frame().index) == [1, 2]


def test_a_commit_that_can_not_be_read_is_not_written_over(folder):
    fill(folder, rows(1, 2))
    with opened(folder) as late:
        fill(folder, rows(3, 4))
        (path,) = folder.glob("rows-*")
        flip(path, 700)
        for _ in range(2):
            with pytest.raises(SchemaError, match=f"{path.name} is damaged"):
                late.upsert(rows(5))
        flip(path, 700)
        late.upsert(rows(5))
        assert sorted(late.to_frame().index) == [1, 2, 3, 4, 5]


def test_a_full_disk_can_be_dropped_from(folder, monkeypatch):
    fill(folder, rows(1, 2), HNSW(m=4))
    with opened(folder) as store:
        with monkeypatch.context() as broken:
            broken.setattr(_disk, "write", _no_room)
            store.drop()
        assert not folder.exists()
        store.upsert(rows(3))
        assert sorted(store.to_frame().index) == [3]


def test_a_drop_that_fails_can_be_done_again(folder, monkeypatch):
    fill(folder, rows(1, 2))
    with opened(folder) as store:
        with monkeypatch.context() as broken:
            broken.setattr(Path, "unlink", _no_room)
            broken.setattr(_disk, "write", _no_room)
            with pytest.raises(BackendUnavailableError, match="No space left"):
                store.drop()
        store.upsert(rows(3))
        assert sorted(store.to_frame().index) == [1, 2, 3]
        store.drop()
        assert not folder.exists()


def _no_room(*_: object, **__: object):
    raise OSError(28, "No space left on device")


READER = """
    import sys, dkvector
    store = dkvector.connect("faiss", path=sys.argv[1])
    for line in sys.stdin:
        if line == "refresh\\n":
            print(store.refresh(), flush=True)
        print(sorted(store.search([1, 0, 0, 0], 99, tuning={"exact": False}).index), flush=True)
    """


def test_a_reader_in_another_process_keeps_files_that_are_gone(folder):
    fill(folder, rows(*range(20)), HNSW(m=4))
    with in_a_process(READER, folder, stdin=True) as reader, opened(folder) as writer:

        def asks(what):
            reader.stdin.write(f"{what}\n")
            reader.stdin.flush()
            return reader.stdout.readline().strip()

        assert asks("search") == str(list(range(20)))
        old = names(folder)
        writer.upsert(rows(1, 2, 3), mode="replace")
        assert not {name for name in old if name.startswith(("rows", "index"))} & names(folder)
        assert asks("search") == str(list(range(20)))
        assert asks("refresh") == "True"
        assert reader.stdout.readline().strip() == "[1, 2, 3]"
        reader.stdin.close()
        assert reader.wait(20) == 0


CHURN = """
    import sys, pandas as pd, dkvector
    store = dkvector.connect("faiss", path=sys.argv[1])
    for stamp in range(1_000_000):
        store.upsert(pd.DataFrame({"stamp": stamp, "v": [[1.0, stamp]] * 5}, index=range(5)), mode="replace")
        if stamp == 3:
            print("begun", flush=True)
    """


def test_opening_and_following_under_a_sweep(folder):
    with in_a_process(CHURN, folder) as writer:
        try:
            assert writer.stdout.readline() == "begun\n"
            last, changes, follower = -1, 0, opened(folder)
            for _ in range(150):
                changes += follower.refresh()
                with opened(folder) as store:
                    for each in (follower, store):
                        frame = each.to_frame()
                        assert frame.index.tolist() == list(range(5))
                        assert set(frame.stamp) == {frame.stamp[0]}
                        assert np.stack(frame.v)[:, 1].tolist() == frame.stamp.tolist()
                    assert follower.to_frame().stamp[0] <= store.to_frame().stamp[0]
                    assert store.to_frame().stamp[0] >= last
                    last = store.to_frame().stamp[0]
            assert changes > 10
        finally:
            writer.kill()


def test_a_second_writer_is_told_who_writes(folder):
    with opened(folder) as first, opened(folder) as second:
        first.upsert(rows(1))
        with pytest.raises(BackendUnavailableError, match=rf"writing to {folder} \(this very process\); close it"):
            second.upsert(rows(2))
        (folder / "lock").write_text("4242\n", "utf-8")  # as another process would sign
        with pytest.raises(BackendUnavailableError, match=rf"writing to {folder} \(process 4242\); close it first"):
            second.upsert(rows(2))
        first.close()
        second.upsert(rows(2))
        assert (folder / "lock").read_text("utf-8") == f"{os.getpid()}\n"


def write_in_a_fork(store, told):
    try:
        store.upsert(rows(2))
        told.put("written")
    except BackendUnavailableError as exc:
        told.put(str(exc))
    store.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_neither_writes_nor_takes_the_lock_or_the_folder_along(folder):
    forks = multiprocessing.get_context("fork")
    told = forks.Queue()
    with opened(folder) as store, connect("faiss") as temporary:
        for each in (store, temporary):
            each.upsert(rows(1))
            child = forks.Process(target=write_in_a_fork, args=(each, told))
            child.start()
            assert f"process {os.getpid()}" in told.get(timeout=20)
            child.join(20)
            assert child.exitcode == 0
            each.upsert(rows(3))
            assert sorted(each.to_frame().index) == [1, 3]
        with opened(folder) as second, pytest.raises(BackendUnavailableError, match="another store is writing"):
            second.upsert(rows(4))


def test_a_folder_that_can_not_be_is_told(tmp_path):
    (tmp_path / "file").write_text("mine", "utf-8")
    with pytest.raises(BackendUnavailableError, match="file can't be read: Not a directory"):
        opened(tmp_path / "file")
    assert (tmp_path / "file").read_text("utf-8") == "mine"


def test_a_commit_counts_when_all_of_it_is_durable(folder, monkeypatch):
    fill(folder, rows(*range(20)), HNSW(m=4))
    steps, flush, rename, unlink = [], _disk.flush, Path.replace, Path.unlink

    def step(name, do):
        def recorded(path, *args: object, **knobs: object):
            if path.exists():
                steps.append((name, path.name))
            return do(path, *args, **knobs)

        return recorded

    with opened(folder) as store:
        monkeypatch.setattr(_disk, "flush", step("flush", flush))
        monkeypatch.setattr(Path, "replace", step("rename", rename))
        monkeypatch.setattr(Path, "unlink", step("remove", unlink))
        store.upsert(rows(1), mode="replace")
    new = {("flush", name) for name in ("rows-000003.arrow", "index0-000003.index", "manifest.json.new")}
    assert set(steps[:3]) == new
    assert steps[3:5] == [("rename", "manifest.json.new"), ("flush", "rows")]
    assert set(steps[5:]) == {("remove", "rows-000001.arrow"), ("remove", "index0-000002.index")}


@pytest.mark.parametrize("spec", [Flat(), HNSW(m=8), IVF(lists=4)], ids=lambda spec: spec.kind)
def test_one_row_more_writes_one_small_file(folder, spec, monkeypatch):
    """Whatever the store's size: a row file, and the manifest; two flushes after one another, of files and folder."""
    frame = filled(folder, spec)
    flushed = []
    flush = _disk.flush
    monkeypatch.setattr(_disk, "flush", lambda path: (flushed.append(path.name), flush(path)))
    for times in range(3):
        with opened(folder) as store:  # the second write of a store would begin a log
            store.upsert(frame.iloc[[0]] if times else frame.iloc[[5]])
            written = f"rows-{manifest(folder)['generation']:06}.arrow"
            assert sorted(flushed) == sorted([written, "manifest.json.new", "rows"])
            flushed.clear()
    with opened(folder) as store:
        assert store.count() == 298
    assert manifest(folder)["dead"] is None
    sizes = [path.stat().st_size for path in folder.glob("rows-*")]
    assert min(sizes) < max(sizes) / 10


def test_few_dead_rows_are_listed_many_have_a_mask(folder, monkeypatch):
    monkeypatch.setattr(_dead, "LOOSE", 10)
    monkeypatch.setattr("dkvector.backends._local.DEAD_SHARE", 2)
    expected = set(range(40))
    fill(folder, rows(*range(40)))
    for doomed in ([3], [4, 5], range(10, 18), [20], range(21, 40), [6]):
        with opened(folder) as store:
            store.delete(list(doomed))
            expected -= set(doomed)
            kept = manifest(folder)
            assert len(kept["buried"]) <= 10
        with opened(folder) as store:
            assert set(store.to_frame().index) == expected
    assert kept["dead"]["rows"] == 40
    assert kept["buried"] == [6]
    assert names(folder) == named(folder)


def old_folder(folder, version):
    """A folder of 160 rows of an earlier format: some replaced, some deleted, an index of the first 120."""
    shutil.copytree(OLD / f"format-{version}", folder)
    assert manifest(folder)["format"] == version
    return {i: int(i >= 100) for i in range(140) if i not in {3, 5, 139}}


def check_old(store, expected):
    frame = store.to_frame()
    assert frame.stamp.to_dict() == expected
    assert (frame.index.name, frame.kind.dtype, frame.name.loc[100]) == ("key", "category", "row 100")
    vectors = [np.cos(np.arange(1, 5) * (i + 1) * (stamp + 1)) for i, stamp in expected.items()]
    np.testing.assert_allclose(np.stack(frame.v), vectors, rtol=1e-6)
    hits = store.search(frame.v.loc[7], 3, tuning=Tuning(exact=False))
    assert hits.index[0] == 7
    assert store.indexes() == {"v": HNSW(m=4, ef_construction=64)}


@pytest.mark.parametrize("version", [1, 2])
def test_a_folder_of_an_earlier_format_opens_and_is_written_on(folder, version):
    expected = old_folder(folder, version)
    with opened(folder) as store:
        check_old(store, expected)
        assert len(store.verify()) == 4
    assert manifest(folder)["format"] == version  # reading changes nothing
    with opened(folder) as store:
        store.delete([7, 8])
        store.upsert(store.to_frame().loc[[9]].assign(stamp=5))
    assert manifest(folder)["format"] == FORMAT
    with opened(folder) as store:
        assert store.to_frame().stamp.to_dict() == {i: s for i, s in expected.items() if i not in {7, 8}} | {9: 5}
        store.verify()
    assert names(folder) == named(folder)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["rows-000001.arrow", "dead-000004.bits"])
def test_damage_to_a_folder_of_an_earlier_format_is_refused(folder, name, version):
    old_folder(folder, version)
    flip(folder / name, 15)
    with pytest.raises(SchemaError, match=f"{name} is damaged"):
        opened(folder)


def keys(value, at=""):
    """Every key of nested JSON, as a path."""
    if isinstance(value, dict):
        return {f"{at}.{key}" for key in value} | {
            one for key, each in value.items() for one in keys(each, f"{at}.{key}")
        }
    return {one for each in value for one in keys(each, f"{at}[]")} if isinstance(value, list) else set()


@pytest.mark.usefixtures("masked")
def test_the_documented_manifest_is_the_real_one(folder):
    text = (ROOT / "docs" / "format.md").read_text("utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    documented = json.loads(example)
    vectors = list(np.eye(40, 4, dtype="f4") + 1)
    with opened(folder) as store:
        store.upsert(pd.DataFrame({"embedding": vectors}, index=range(40)))
        store.build_index(HNSW(m=16))
        store.delete([3])
    real = manifest(folder)
    assert keys(documented | {"log": None}) == keys(real)
    assert documented["format"] == real["format"] == FORMAT
    assert Manifest.from_json(example.encode(), folder).generation == documented["generation"]
    with opened(folder) as store:
        for at in range(3):
            store.upsert(pd.DataFrame({"embedding": vectors[:1]}, index=[at]))
        assert keys(json.loads(example)["log"]) == keys(manifest(folder)["log"])
    sizes = [
        f"{_checks.READ >> 20} MiB",
        f"{_checks.ENDS >> 10} KiB",
        f"{_log.SIZE >> 10} KiB",
        f"{_journal.LIGHT >> 10} KiB",
    ]
    for constant in (*sizes, "1,000 positions", f"{_journal.FEW} rows", f"| head | {len(_log.MAGIC)}"):
        assert constant in text
