"""What is committed to a folder is there again, whatever happened to who wrote it."""

import gc
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dkvector
from dkvector.backends import _disk
from dkvector.backends._folder import Folder
from dkvector.errors import BackendUnavailableError, SchemaError
from dkvector.indexes import HNSW, IVF, Flat, Tuning
from dkvector.registry import connect
from dkvector.testing import sample_frame, sample_queries

SPECS = [Flat(), HNSW(m=8), IVF(lists=4)]
MANIFEST = "manifest.json"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "rows"


def opened(folder):
    return connect("faiss", path=folder)


def fill(folder, frame=None, spec=None):
    with opened(folder) as store:
        store.upsert(sample_frame() if frame is None else frame)
        if spec is not None:
            store.build_index(spec)


def manifest(folder):
    return json.loads((folder / MANIFEST).read_text("utf-8"))


def named(folder):
    """Files that belong in a folder at rest."""
    read = manifest(folder)
    others = [read[key] for key in ("dead", "log") if read[key]]
    return {MANIFEST, "lock", *(one["file"] for one in [*read["segments"], *read["indexes"].values(), *others])}


def names(folder):
    return {path.name for path in folder.iterdir()}


def rows(*ids: int, **payload: object):
    vectors = list(np.random.default_rng(len(ids)).standard_normal((len(ids), 4)).astype("f4"))
    return pd.DataFrame({**payload, "v": vectors}, index=list(ids))


def in_a_process(code, *args: object, stdin=False):
    """Start Python with the store's imports and a pipe to read from."""
    start = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, args)]
    pipe = subprocess.PIPE if stdin else None
    return subprocess.Popen(start, stdout=subprocess.PIPE, stdin=pipe, text=True)  # noqa: S603 - our own code


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_a_store_opened_again_is_the_same(folder, spec, monkeypatch):
    frame, queries = sample_frame(), sample_queries(5)
    tuning = Tuning(exact=False)
    with opened(folder) as store:
        store.upsert(frame)
        store.build_index(spec)
        store.delete(frame.index[::9])
        found = store.search(queries, k=10, where="x > 0", tuning=tuning)
        everything, specs, stats = store.to_frame(), store.indexes(), store.stats()
    monkeypatch.setattr("dkvector.backends._faiss_build.build", None)  # nothing is built by opening
    with opened(folder) as store:
        pd.testing.assert_frame_equal(store.to_frame(), everything)
        pd.testing.assert_frame_equal(store.search(queries, k=10, where="x > 0", tuning=tuning), found)
        assert store.indexes() == specs == {"embedding": spec}
        pd.testing.assert_series_equal(store.stats(), stats)
    kept = frame.drop(frame.index[::9])
    pd.testing.assert_frame_equal(everything.drop(columns="embedding"), kept.drop(columns="embedding"))
    np.testing.assert_array_equal(np.stack(everything.embedding), np.stack(kept.embedding))


def test_vectors_are_mapped_not_read(folder):
    fill(folder)
    with opened(folder) as store:
        matrix = store.store.rows.segments[0].vectors["embedding"]
        assert (matrix.flags.writeable, matrix.flags.owndata) == (False, False)
        maps = Path("/proc/self/maps").read_text("utf-8")
        assert str(folder / "rows-000001.arrow") in maps


def test_a_store_of_no_rows_opens_again(folder):
    with opened(folder) as store:
        store.upsert(rows(1, 2, x=["a", "b"]))
        store.delete([1, 2])
    with opened(folder) as store:
        assert (len(store), len(store.search(np.ones(4), k=3))) == (0, 0)
        store.upsert(rows(3, x=["c"]))
        assert store.to_frame().x.to_dict() == {3: "c"}


def test_only_one_writes_and_others_read_on(folder):
    fill(folder, rows(1, 2, 3))
    with opened(folder) as writer, opened(folder) as reader:
        writer.upsert(rows(4, 5))
        with pytest.raises(BackendUnavailableError, match=str(folder)):
            reader.upsert(rows(6))
        for i in range(10, 20):  # the reader's files are replaced under it
            writer.upsert(rows(i))
        writer.delete([1, 2])
        assert sorted(reader.search(np.ones(4), k=99).index) == [1, 2, 3]
        with opened(folder) as later:
            assert sorted(later.to_frame().index) == [3, 4, 5, *range(10, 20)]


def test_the_next_writer_starts_from_the_last_commit(folder):
    first, second = opened(folder), opened(folder)
    first.upsert(rows(1, 2, x=["a", "b"]))
    first.close()
    second.upsert(rows(2, 3, y=[0.5, 1.5]))  # it was opened when the folder was empty
    expected = {"x": {1: "a", 2: None, 3: None}, "y": {1: None, 2: 0.5, 3: 1.5}}
    frame = second.to_frame(include_vectors=False).astype(object)
    assert frame.where(frame.notna(), None).to_dict() == expected
    second.close()


def test_the_next_writer_must_fit_what_was_written_meanwhile(folder):
    first, second = opened(folder), opened(folder)
    first.upsert(rows(1, 2))
    first.close()
    with second, pytest.raises(SchemaError, match="dimensions 4, these vectors have 3"):
        second.upsert(pd.DataFrame({"v": [[1.0, 2.0, 3.0]]}, index=[9]))
    with opened(folder) as store:
        assert sorted(store.to_frame().index) == [1, 2]


def test_a_folder_made_anew_is_not_mistaken_for_the_old(folder):
    fill(folder, rows(1))
    second = opened(folder)
    with opened(folder) as first:
        first.drop()
        first.upsert(rows(7, 8))  # generation 1 again
    second.upsert(rows(9))
    assert sorted(second.to_frame().index) == [7, 8, 9]
    second.close()
    with opened(folder) as store:
        assert sorted(store.to_frame().index) == [7, 8, 9]


def test_a_dropped_folder_is_seen_as_empty_by_the_next_writer(folder):
    fill(folder, rows(1))
    second = opened(folder)
    with opened(folder) as first:
        first.drop()
    second.upsert(rows(9))
    second.close()
    with opened(folder) as store:
        assert sorted(store.to_frame().index) == [9]


def test_replace_by_a_late_writer_takes_a_generation_of_its_own(folder):
    fill(folder, rows(1))
    late, reader = opened(folder), None
    with opened(folder) as first:
        first.upsert(rows(2, 3))
        reader = opened(folder)
    late.upsert(rows(4, 5, 6, 7), mode="replace")
    assert manifest(folder)["generation"] == 3
    assert sorted(reader.to_frame().index) == [1, 2, 3]
    late.close()
    reader.close()


def test_close_lets_another_write_and_writes_no_more(folder):
    first = opened(folder)
    first.upsert(rows(1))
    first.close()
    with opened(folder) as second:
        second.upsert(rows(2))
    with pytest.raises(BackendUnavailableError, match="was closed"):
        first.upsert(rows(3))
    with opened(folder) as store:
        assert sorted(store.to_frame().index) == [1, 2]


def test_a_forgotten_store_locks_nobody_out(folder):
    first = opened(folder)
    first.upsert(rows(1))
    del first
    gc.collect()
    with opened(folder) as second:
        second.upsert(rows(2))
        assert len(second) == 2


def test_the_lock_goes_with_its_process(folder):
    writer = in_a_process(
        """
        import sys, time, pandas as pd, dkvector
        store = dkvector.connect("faiss", path=sys.argv[1])
        store.upsert(pd.DataFrame({"v": [[1.0, 2.0, 3.0, 4.0]]}, index=[1]))
        print("written", flush=True)
        time.sleep(60)
        """,
        folder,
    )
    with writer:
        assert writer.stdout.readline() == "written\n"
        with opened(folder) as store:
            with pytest.raises(BackendUnavailableError, match="another store is writing"):
                store.upsert(rows(2))
            writer.kill()
            writer.wait()
            store.upsert(rows(2))
            assert len(store) == 2


WRITER = """
    import sys, numpy as np, pandas as pd, dkvector
    store = dkvector.connect("faiss", path=sys.argv[1])
    rng, last = np.random.default_rng(0), int(sys.argv[2])
    for generation in range(last, last + 1000):
        vectors = list(rng.standard_normal((20, 8)).astype("f4"))
        ids = np.arange(20) + generation * 10  # half of the rows replace the ones of the commit before
        store.upsert(pd.DataFrame({"generation": generation, "v": vectors}, index=ids))
        if generation % 5 == 2:
            store.build_index("hnsw" if generation % 2 else "flat")
        print(generation, flush=True)
    """


def killed_writer(folder, first, wait):
    """Write until killed, and give the last commit that was told."""
    told = first - 1
    with in_a_process(WRITER, folder, first) as writer:
        told = int(writer.stdout.readline())
        time.sleep(wait)
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:
            told = int(line) if line.endswith("\n") else told
    return told


def test_a_kill_leaves_the_last_commit(folder):
    moments = random.Random(3)  # noqa: S311 - a moment to be killed at is no secret
    generation = 0
    for _ in range(6):
        told = killed_writer(folder, generation, moments.uniform(0, 0.08))
        with opened(folder) as store:
            frame = store.to_frame()
            last = int(frame.generation.max())
            assert last in {told, told + 1}  # a commit may have been made that could not be told any more
            expected = {i: min(i // 10, last) for i in range(10 * last + 20)}
            assert frame.generation.to_dict() == expected
            for row in (0, 10 * last + 19):
                hit = store.search(frame.v[row], k=1, tuning=Tuning(exact=True))
                assert hit.index.tolist() == [row]
            found = store.search(frame.v[5], k=len(expected))
            assert sorted(found.index) == sorted(expected)
        generation = last + 1
    fill(folder, pd.DataFrame({"generation": 0, "v": [np.ones(8)]}, index=[0]))
    assert names(folder) == named(folder)


def test_leftovers_of_a_killed_write_go_with_the_next_commit(folder):
    fill(folder, rows(1))
    left = ["rows-000002.arrow", "dead-000002.bits", "index0-000002.index", MANIFEST + ".new"]
    for name in left:
        (folder / name).write_bytes(b"half")
    with opened(folder) as store:
        assert store.count() == 1
        assert names(folder) >= set(left)  # a reader removes nothing: the writer may be at it
        store.upsert(rows(2))
    assert names(folder) == named(folder)
    with opened(folder) as store:
        assert sorted(store.to_frame().index) == [1, 2]


@pytest.mark.parametrize("damage", ["short", "gone"])
@pytest.mark.parametrize("kind", ["segment", "dead"])
def test_damaged_rows_are_refused_by_name(folder, damage, kind, monkeypatch):
    monkeypatch.setattr("dkvector.backends._dead.LOOSE", 0)  # every dead row has its bit in the mask
    with opened(folder) as store:
        store.upsert(rows(*range(40)))
        store.delete([3])
    file = manifest(folder)["dead"]["file"] if kind == "dead" else manifest(folder)["segments"][0]["file"]
    path = folder / file
    if damage == "short":
        os.truncate(path, path.stat().st_size - 3)
    else:
        path.unlink()
    with pytest.raises(SchemaError, match=f"{file} is {'damaged' if damage == 'short' else 'missing'}"):
        opened(folder)


@pytest.mark.parametrize("damage", ["gone", "short", "nonsense"])
@pytest.mark.parametrize("spec", SPECS[1:], ids=lambda spec: spec.kind)
def test_a_lost_index_is_told_done_without_and_built_again(folder, damage, spec):
    fill(folder, spec=spec)
    (path,) = folder.glob("*.index")
    if damage == "gone":
        path.unlink()
    elif damage == "short":
        os.truncate(path, 100)
    else:
        path.write_bytes(b"x" * path.stat().st_size)
    frame, query = sample_frame(), sample_queries(1)[0]
    with pytest.warns(UserWarning, match="every row is compared until the next write"):
        store = opened(folder)
    with store:
        assert store.indexes() == {"embedding": Flat()}
        found = store.search(query, k=10)
        store.upsert(frame.head(1))
        assert store.indexes() == {"embedding": spec}
        assert store.search(query, k=10, tuning=Tuning(exact=True)).index.tolist() == found.index.tolist()
    with opened(folder) as store:
        assert store.indexes() == {"embedding": spec}
        assert store.explain(query, tuning=Tuning(exact=False)).plan == f"{spec.kind} with a selector"
    assert names(folder) == named(folder)


def test_a_lost_index_is_built_again_on_demand(folder):
    fill(folder, spec=HNSW())
    next(folder.glob("*.index")).unlink()
    with pytest.warns(UserWarning, match="build_index"):
        store = opened(folder)
    with store:
        assert store.build_index(HNSW()) == HNSW()
        assert store.explain(sample_queries(1)[0]).plan == "hnsw"


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"format": 99}', "another version"), ('{"generation": 1}', "another version"), ('{"format": 1', "is damaged")],
)
def test_a_manifest_it_can_not_read_is_refused(folder, text, message):
    fill(folder, rows(1))
    (folder / MANIFEST).write_text(text, "utf-8")
    with pytest.raises(SchemaError, match=f"{folder}.*{message}"):
        opened(folder)


def test_nothing_is_pickled(folder):
    for path in Path(dkvector.__file__).parent.rglob("*.py"):
        source = path.read_text("utf-8")
        assert "import pickle" not in source, path
        assert "from pickle" not in source, path
    fill(folder, sample_frame().assign(name=pd.Categorical(["a"] * 300)), HNSW())
    assert len(names(folder)) == 4
    for path in folder.iterdir():
        with pytest.raises((pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError)):
            pickle.loads(path.read_bytes())  # noqa: S301 - that it can't be loaded is the point


def full_disk(*_: object):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("part", ["publish", "write", "segment", "_flush", "manifest"])
@pytest.mark.parametrize("change", ["upsert", "delete", "replace", "build_index"])
def test_a_write_that_fails_changes_nothing(folder, part, change, monkeypatch):
    monkeypatch.setattr("dkvector.backends._dead.LOOSE", 0)  # a delete writes a mask
    with opened(folder) as store:
        store.upsert(rows(*range(20), x=range(20)))
        store.build_index(HNSW())
        before, files, query = store.to_frame(), names(folder), np.ones(4)
        found = store.search(query, k=5)
        changes = {
            "upsert": lambda: store.upsert(rows(3, 30, 31, x=[1, 2, 3])),
            "delete": lambda: store.delete([4]),
            "replace": lambda: store.upsert(rows(50, y=["other"]), mode="replace"),
            "build_index": lambda: store.build_index(IVF(lists=2)),
        }
        with monkeypatch.context() as broken:
            broken.setattr(*failing(part, change))
            with pytest.raises(BackendUnavailableError, match=f"{folder} failed, .*stands: No space left") as raised:
                changes[change]()
            assert isinstance(raised.value.__cause__, OSError)
        assert names(folder) == files
        pd.testing.assert_frame_equal(store.to_frame(), before)
        pd.testing.assert_frame_equal(store.search(query, k=5), found)
        assert store.indexes() == {"v": HNSW()}
        with opened(folder) as reader:
            pd.testing.assert_frame_equal(reader.to_frame(), before)
        changes[change]()  # and the same write works when the disk does
        assert names(folder) == named(folder)
        now = store.to_frame()
    with opened(folder) as reader:
        pd.testing.assert_frame_equal(reader.to_frame(), now)
    assert not now.equals(before) or change == "build_index"


def failing(part, change):
    """Say what to break: the last step, the first file, the one after it, the flush, the manifest's text."""
    if part == "publish":
        return Folder, "publish", full_disk
    if part == "_flush":
        return "dkvector.backends._disk.flush", full_disk
    if part == "manifest":
        return "dkvector.backends._folder.Manifest.to_json", full_disk
    fill_file, calls = Folder._fill, []
    nth = 1 if part == "write" or change in {"delete", "build_index"} else 2

    def partly(self, path, fill):
        calls.append(path)
        return fill_file(self, path, half(fill) if len(calls) == nth else fill)

    return Folder, "_fill", partly


def half(fill):
    def fails(path):
        fill(path)
        os.truncate(path, 10)
        full_disk()

    return fails


def test_a_failure_after_the_commit_does_not_lose_it(folder, monkeypatch):
    """Once the manifest is renamed the rows are in, whatever is told of it: the next write starts from them."""
    fill(folder, rows(1))
    flush = _disk.flush

    def no_directory(path):
        if path.is_dir():
            full_disk()
        flush(path)

    with opened(folder) as store:
        with monkeypatch.context() as broken:
            broken.setattr(_disk, "flush", no_directory)
            with pytest.raises(BackendUnavailableError, match="No space left"):
                store.upsert(rows(2))
        store.upsert(rows(3))
        assert sorted(store.to_frame().index) == [1, 2, 3]
    assert names(folder) == named(folder)


def test_what_can_not_be_removed_does_not_fail_a_commit(folder, monkeypatch):
    fill(folder, rows(1))
    with opened(folder) as store:
        with monkeypatch.context() as broken:
            broken.setattr(Path, "unlink", full_disk_but_for_leftovers)
            store.upsert(rows(2))
        assert sorted(store.to_frame().index) == [1, 2]
        assert names(folder) == named(folder) | {"rows-000001.arrow"}
    with opened(folder) as store:
        store.delete([1])
    assert names(folder) == named(folder)


def full_disk_but_for_leftovers(path, *, missing_ok=False):
    if path.exists() or not missing_ok:
        full_disk()


@pytest.mark.parametrize(
    ("config", "message"),
    [({"dimension": 5}, "holds 4 dimensions, the config says 5"), ({"metric": "euclidean"}, "measures by cosine")],
)
def test_a_config_that_contradicts_the_folder_is_refused(folder, config, message):
    fill(folder, rows(1))
    with pytest.raises(SchemaError, match=message):
        connect({"backend": "faiss", "index_path": str(folder), **config})
    with connect({"backend": "faiss", "index_path": str(folder), "dimension": 4, "metric": "cosine"}) as store:
        assert len(store) == 1


def test_a_temporary_folder_goes_with_close():
    store = connect("faiss")
    path = store.store.path
    store.upsert(rows(1))
    assert names(path) == named(path)
    store.close()
    assert not path.exists()
    store.close()


def test_a_temporary_folder_goes_with_its_store():
    store = connect("faiss")
    path = store.store.path
    store.upsert(rows(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del store
        gc.collect()
    assert not path.exists()


def test_drop_removes_what_is_ours_and_nothing_else(folder):
    fill(folder, rows(1), HNSW())
    foreign = {"notes.txt", "my-data.arrow", "other.index", "rows-old.arrow", "b-ook.bits"}
    for name in foreign:
        (folder / name).write_text("mine", "utf-8")
    with opened(folder) as store:
        store.upsert(rows(2))
        assert names(folder) == named(folder) | foreign
        store.drop()
        assert names(folder) == foreign
        assert len(store) == 0


def test_drop_removes_an_empty_folder(folder):
    fill(folder, rows(1))
    with opened(folder) as store:
        store.drop()
        assert not folder.exists()
        store.upsert(rows(2))
        assert sorted(store.to_frame().index) == [2]


@pytest.mark.parametrize("name", ["with a space", "ünï 🙂", "per%20cent#?"])
def test_folders_of_any_name(tmp_path, name):
    folder = tmp_path / name
    fill(folder, rows(1, 2), HNSW())
    with connect(folder) as store:
        assert (len(store), store.explain(np.ones(4)).plan) == (2, "hnsw")
        assert store.store.path == folder


def test_every_way_to_name_a_folder(folder):
    fill(folder, rows(1, 2))
    for target in (folder, str(folder), f"faiss://{folder}", {"backend": "faiss", "index_path": str(folder)}):
        with connect(target) as store:
            assert (store.name, len(store)) == ("faiss", 2)


def test_ids_may_be_called_as_a_column_is(folder):
    """Names are ours to keep apart: ids called as the vectors, and a column called `id` beside ids of no name."""
    fill(folder, rows(1, 2, x=["a", "b"]).rename_axis("v"))
    with opened(folder) as store:
        assert store.get([2]).x.tolist() == ["b"]
        store.upsert(rows(5, 6, id=[60, 50]), mode="replace")
    with opened(folder) as store:
        assert store.search(np.ones(4), where="id == 50").index.tolist() == [6]


def test_a_column_that_was_empty_takes_a_type_later(folder):
    with opened(folder) as store:
        store.upsert(rows(1, x=[None]))
        store.upsert(rows(2, x=["text"]))
        store.upsert(rows(3, x=[None]))
        assert store.count("x == 'text'") == 1
    with opened(folder) as store:
        assert store.to_frame().x.notna().tolist() == [False, True, False]
