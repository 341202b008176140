"""True neighbours equal those of a few lines of NumPy, whatever rows they come from, and are kept by their content."""

import errno
import hashlib
import os
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import dataset, parquet

import dkvector as dkv
from dkvector.evaluation import cache as caching
from dkvector.evaluation import fingerprint, ground, sources
from dkvector.evaluation.asked import read_asked

DIGITS = dkv.datasets.load_digits()
WORDS = dkv.datasets.load_wordnet().drop(columns="lemmas").head(3000)
SENTENCES = dkv.datasets.load_wordnet_queries().head(60)


def naive(matrix, queries, metric):
    """All distances `(q, n)` in double precision."""
    matrix, queries = matrix.astype("f8"), queries.astype("f8")
    if metric == "euclidean":
        return np.sqrt(((queries[:, None] - matrix[None]) ** 2).sum(axis=2))
    dots = queries @ matrix.T
    if metric == "cosine":
        return 1 - dots / np.linalg.norm(matrix, axis=1) / np.linalg.norm(queries, axis=1)[:, None]
    return -dots


def matrix_of(column):
    return np.stack(column.tolist()).astype("f4")


def check(truth, distances, k):
    """The distances are the k smallest of those given, and each row has the distance it is said to have."""
    at = 0
    for row, count in zip(distances, truth.counts, strict=True):
        nearest = np.sort(row)[:k]
        nearest = nearest[np.isfinite(nearest)]
        assert count == len(nearest)
        found = slice(at, at + count)
        np.testing.assert_allclose(truth.distances[found], nearest, rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(row[truth.positions[found]], nearest, rtol=1e-5, atol=2e-6)
        assert len(set(truth.positions[found])) == count
        at += count


@pytest.fixture(params=["frame", "files", "table", "store"])
def words(request, tmp_path):
    """The same rows from everywhere, in chunks that are smaller than they are."""
    if request.param == "frame":
        return WORDS
    if request.param == "store":
        return WORDS.vec.push("exact")
    for part in range(3):
        dkv.to_parquet(WORDS.iloc[part * 1000 : (part + 1) * 1000], tmp_path / f"{part}.parquet")
    return tmp_path if request.param == "files" else dataset.dataset(tmp_path).to_table()


@pytest.mark.usefixtures("engine")
def test_rows_from_everywhere_have_the_same_neighbours(words, monkeypatch):
    monkeypatch.setattr("dkvector.evaluation.sources.ROWS", 700)
    truth = dkv.ground_truth(words, SENTENCES, 7, cache=False)
    distances = naive(matrix_of(WORDS["embedding"]), matrix_of(SENTENCES["embedding"]), "cosine")
    check(truth, distances, 7)
    assert truth.labels.tolist() == WORDS.index[truth.positions].tolist()
    assert (truth.rows, truth.matching, truth.k) == (3000, 3000, 7)


def test_a_filter_is_applied_before_neighbours_are_taken(words, monkeypatch):
    monkeypatch.setattr("dkvector.evaluation.sources.ROWS", 700)
    keep = (WORDS["depth"] > 6).to_numpy() & (WORDS["pos"] == "noun").to_numpy()
    truth = dkv.ground_truth(words, SENTENCES, 5, where="depth > 6 and pos == 'noun'", cache=False)
    distances = naive(matrix_of(WORDS["embedding"]), matrix_of(SENTENCES["embedding"]), "cosine")
    check(truth, np.where(keep, distances, np.inf), 5)
    assert truth.matching == keep.sum()


def test_where_fewer_rows_match_than_k_there_are_fewer_neighbours():
    truth = dkv.ground_truth(WORDS, SENTENCES, 50, where=dkv.col("name").isin(WORDS.index[:3].tolist()), cache=False)
    assert truth.counts.tolist() == [3] * 60
    none = dkv.ground_truth(WORDS, SENTENCES, 50, where="depth > 99", cache=False)
    assert (none.counts.sum(), none.kth.max(), len(none.to_frame())) == (0, -np.inf, 0)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot_product"])
@pytest.mark.usefixtures("engine")
def test_a_query_that_is_a_row_is_no_neighbour_of_its_own(metric):
    twice = pd.concat([DIGITS, DIGITS.head(50).set_axis(range(5000, 5050))])  # duplicates stay
    queries = twice.iloc[::60]
    truth = dkv.ground_truth(twice, queries, 6, metric=metric, cache=False)
    distances = naive(matrix_of(twice["embedding"]), matrix_of(queries["embedding"]), metric)
    own = np.arange(len(twice))[::60]
    distances[np.arange(len(queries)), own] = np.inf
    check(truth, distances, 6)
    assert truth.own.tolist() == own.tolist()


def test_the_row_itself_is_left_out_also_where_it_comes_in_a_later_chunk(monkeypatch):
    monkeypatch.setattr("dkvector.evaluation.sources.ROWS", 500)
    store = WORDS.vec.push("exact")
    queries = WORDS.iloc[[3, 1400, 2999]]
    truth = dkv.ground_truth(store, queries, 4, cache=False)
    assert truth.own.tolist() == [3, 1400, 2999]
    assert not (truth.positions == np.repeat(truth.own, 4)).any()
    distances = naive(matrix_of(WORDS["embedding"]), matrix_of(queries["embedding"]), "cosine")
    distances[np.arange(3), truth.own] = np.inf
    check(truth, distances, 4)


def test_a_label_alone_does_not_make_a_query_a_row():
    queries = matrix_of(DIGITS["embedding"])[:5] + 1
    assert dkv.ground_truth(DIGITS, queries, 3, metric="euclidean", cache=False).own.tolist() == [-1] * 5
    by_label = dkv.ground_truth(DIGITS, queries, 3, metric="euclidean", exclude_self=True, cache=False)
    assert by_label.own.tolist() == [0, 1, 2, 3, 4]
    kept = dkv.ground_truth(DIGITS, DIGITS.head(5), 1, metric="euclidean", exclude_self=False, cache=False)
    assert kept.labels.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(dkv.SchemaError, match="no label of a query is the label of a row"):
        dkv.ground_truth(WORDS, SENTENCES, 3, exclude_self=True, cache=False)


def test_fewer_neighbours_are_the_first_of_more():
    many = dkv.ground_truth(WORDS, SENTENCES, 9, cache=False)
    few = dkv.ground_truth(WORDS, SENTENCES, 4, cache=False)
    pd.testing.assert_frame_equal(many.at(4).to_frame(), few.to_frame())
    np.testing.assert_array_equal(many.at(4).kth, few.kth)
    with pytest.raises(dkv.SchemaError, match="the 9 nearest rows of each query, not the 10 nearest"):
        many.at(10)


def test_it_is_what_the_frame_itself_answers():
    truth = dkv.ground_truth(WORDS, SENTENCES["embedding"], 5, cache=False)
    pd.testing.assert_frame_equal(truth.to_frame(), WORDS.vec.search(SENTENCES["embedding"], 5, columns=[]))


@pytest.fixture
def counted(monkeypatch):
    """Count how often neighbours are really looked for."""
    calls = []
    found = ground._found
    monkeypatch.setattr(ground, "_found", lambda *args: calls.append(1) or found(*args))
    return calls


def test_neighbours_are_kept_by_the_content_of_all_that_they_depend_on(words, tmp_path_factory, counted):
    kept = tmp_path_factory.mktemp("kept")

    def ask(data=words, queries=SENTENCES, k=5, **more):
        return dkv.ground_truth(data, queries, k, cache=kept, **more)

    first, again = ask(), ask()
    assert (len(counted), first.cached, again.cached) == (1, False, True)
    pd.testing.assert_frame_equal(first.to_frame(), again.to_frame())
    assert (again.own.tolist(), again.matching, again.rows) == (first.own.tolist(), 3000, 3000)
    ask(k=6)
    ask(where="depth > 3")
    ask(where="depth > 4")
    ask(metric="euclidean")
    ask(queries=SENTENCES.head(59))
    assert len(counted) == 6
    changed = WORDS.assign(embedding=dkv.VectorArray(matrix_of(WORDS["embedding"]) * np.float32(1.5)))
    assert not ask(data=changed).cached
    assert not ask(data=WORDS.rename(index={WORDS.index[0]: "other"})).cached


def test_a_frame_whose_filter_matches_other_rows_is_other_content(tmp_path):
    keep = (WORDS["depth"] > 4).rename("keep")
    other = keep.copy()
    other.iloc[0] = not other.iloc[0]
    first = dkv.ground_truth(WORDS, SENTENCES, 5, where=keep, cache=tmp_path)
    assert not dkv.ground_truth(WORDS, SENTENCES, 5, where=other, cache=tmp_path).cached
    assert dkv.ground_truth(WORDS, SENTENCES, 5, where=keep.copy(), cache=tmp_path).cached
    deeper = WORDS.assign(depth=WORDS["depth"] + 1)
    assert not dkv.ground_truth(WORDS, SENTENCES, 5, where="depth > 4", cache=tmp_path).cached
    assert not dkv.ground_truth(deeper, SENTENCES, 5, where="depth > 4", cache=tmp_path).cached
    assert first.matching == int(keep.sum())


def test_what_a_dataset_makes_of_its_files_is_content_too(tmp_path):
    for place in ("year=1", "year=2"):
        (tmp_path / "rows" / place).mkdir(parents=True)
        dkv.to_parquet(
            WORDS.head(100) if place == "year=1" else WORDS.tail(200), tmp_path / "rows" / place / "a.parquet"
        )

    def ask(where=None, only=None):
        data = dataset.dataset(tmp_path / "rows", partitioning="hive")
        data = data if only is None else data.filter(only)
        truth = dkv.ground_truth(data, SENTENCES, 5, where=where, cache=tmp_path / "kept")
        return truth.rows, truth.matching, truth.cached

    depth, year = dataset.field("depth"), dataset.field("year")
    assert ask()[::2] == (300, False)
    assert ask()[::2] == (300, True)
    for only in (year == 1, year == 2, depth > 4):
        rows, _, cached = ask(only=only)
        assert rows < 300
        assert not cached
        assert ask(only=only) == (rows, rows, True)
    assert ask("year == 2") == (300, 200, False)
    (tmp_path / "rows" / "year=2").rename(tmp_path / "rows" / "year=3")
    assert ask("year == 2") == (300, 0, False)


def test_files_are_hashed_a_few_pieces_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "PIECE", 1 << 16)
    monkeypatch.setattr(fingerprint, "cpu_count", lambda: 2)
    for part in range(3):
        dkv.to_parquet(WORDS, tmp_path / f"{part}.parquet")
    size = (tmp_path / "0.parquet").stat().st_size
    source = sources.read_source(tmp_path)
    held, sha256, before = [], hashlib.sha256, pa.total_allocated_bytes()

    def weighed(*data):
        held.append(pa.total_allocated_bytes() - before + tracemalloc.get_traced_memory()[0])
        return sha256(*data)

    monkeypatch.setattr(hashlib, "sha256", weighed)
    tracemalloc.start()
    try:
        first = source.key
    finally:
        tracemalloc.stop()
    assert size > 40 * fingerprint.PIECE
    assert len(held) > 3 * 40
    assert max(held) < 8 * fingerprint.PIECE
    # the last byte of the last file counts too
    with (tmp_path / "2.parquet").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"0")
    assert source.key != first


def test_a_store_is_held_in_memory_chunk_by_chunk_also_where_its_answer_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ROWS", 100)
    rows = pd.concat([WORDS, WORDS.set_axis(WORDS.index + " again")])
    whole = len(rows) * 384 * 4
    with rows.vec.push("exact", columns=[]) as store:
        dkv.ground_truth(store, SENTENCES, 5, cache=False)
        tracemalloc.start()
        try:
            first = dkv.ground_truth(store, SENTENCES, 5, cache=tmp_path)
            again = dkv.ground_truth(store, SENTENCES, 5, cache=tmp_path)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert (first.cached, again.cached) == (False, True)
    assert peak < 0.5 * whole


def test_rows_that_change_while_they_are_read_are_kept_as_what_they_became(tmp_path):
    one, other = (sources.Chunk(0, matrix_of(part["embedding"]), part[[]]) for part in (WORDS.head(50), WORDS.tail(50)))
    asked = read_asked(SENTENCES, 384, dkv.DistanceMetric.COSINE)
    wanted = ground.Wanted(3, dkv.DistanceMetric.COSINE)

    class Changing:
        key = None
        read = iter([one, other])

        def chunks(self, _columns, _metric):
            yield next(self.read)

    found = ground.truth_of(Changing(), asked, wanted, tmp_path)
    assert set(found.labels) <= set(other.labels)
    before = ground.truth_of(sources.Held(one), asked, wanted, tmp_path)
    assert not before.cached
    assert set(before.labels) <= set(one.labels)
    after = ground.truth_of(sources.Held(other), asked, wanted, tmp_path)
    assert after.cached
    assert after.labels.equals(found.labels)


def test_labels_come_back_from_the_cache_with_the_name_and_dtype_of_now(tmp_path):
    rows = WORDS.head(200).reset_index(drop=True)
    for index in (
        rows.index,
        rows.index.rename("row"),
        rows.index.astype("datetime64[ns]"),
        rows.index.astype("int32"),
    ):
        found = dkv.ground_truth(rows.set_axis(index), SENTENCES, 3, cache=tmp_path).to_frame().index
        assert (found.name, found.dtype) == (index.name, index.dtype)
    assert dkv.ground_truth(rows, SENTENCES, 3, cache=tmp_path).cached


def test_a_damaged_file_of_the_cache_is_as_good_as_none(tmp_path, counted):
    dkv.ground_truth(WORDS, SENTENCES, 5, cache=tmp_path)
    (file,) = tmp_path.glob("*.arrow")
    file.write_bytes(file.read_bytes()[:200])
    assert not dkv.ground_truth(WORDS, SENTENCES, 5, cache=tmp_path).cached
    assert dkv.ground_truth(WORDS, SENTENCES, 5, cache=tmp_path).cached
    assert len(counted) == 2


def test_the_users_cache_has_a_limit_and_small_work_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("DKVECTOR_CACHE", str(tmp_path))
    dkv.ground_truth(WORDS, SENTENCES, 5)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(caching, "LEAST", 1)
    dkv.ground_truth(WORDS, SENTENCES, 5)
    (first,) = tmp_path.glob("*.arrow")
    monkeypatch.setattr(caching, "LIMIT", int(first.stat().st_size * 1.5))
    dkv.ground_truth(WORDS, SENTENCES, 6)
    assert len(list(tmp_path.glob("*.arrow"))) == 1
    assert not first.exists()


def test_a_cache_that_can_not_be_written_to_keeps_nothing_at_all(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(pa.ipc.RecordBatchStreamWriter, "write_table", full)
    assert not dkv.ground_truth(WORDS, SENTENCES, 5, cache=tmp_path).cached
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_to_the_cache_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pa.ipc.RecordBatchStreamWriter, "write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dkv.ground_truth(WORDS, SENTENCES, 5, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_in_the_users_cache_goes_with_the_oldest(tmp_path, monkeypatch):
    monkeypatch.setenv("DKVECTOR_CACHE", str(tmp_path))
    monkeypatch.setattr(caching, "LEAST", 1)
    left = tmp_path / "tmpabc.part"
    left.write_bytes(bytes(100))
    os.utime(left, (0, 0))
    dkv.ground_truth(WORDS, SENTENCES, 5)
    assert left.exists()
    monkeypatch.setattr(caching, "LIMIT", 1)
    dkv.ground_truth(WORDS, SENTENCES, 6)
    assert not left.exists()


def lists(vectors, **columns):
    """A table of lists that may be of any length, as most Parquet files have them."""
    return pa.table({"embedding": pa.array(vectors, pa.list_(pa.float32())), **columns})


def test_files_without_rows_and_rows_without_vectors_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ROWS", 50)
    vectors, depth = matrix_of(WORDS["embedding"])[:200].tolist(), WORDS["depth"].to_numpy()[:200]
    rows = lists(vectors, depth=depth)
    parquet.write_table(rows.slice(0, 0), tmp_path / "0.parquet")
    parquet.write_table(rows, tmp_path / "1.parquet")
    truth = dkv.ground_truth(tmp_path, SENTENCES, 3, cache=False)
    assert (truth.rows, truth.counts.tolist()) == (200, [3] * 60)
    deep = dkv.ground_truth(dataset.dataset(tmp_path).filter(dataset.field("depth") > 8), SENTENCES, 3, cache=False)
    assert deep.rows == (depth > 8).sum()
    with pytest.raises(dkv.SchemaError, match="there are no rows"):
        dkv.ground_truth(dataset.dataset(tmp_path).filter(dataset.field("depth") > 99), SENTENCES, 3, cache=False)
    for data in (rows.slice(0, 0), WORDS.head(0)):
        with pytest.raises(dkv.SchemaError, match="there are no rows"):
            dkv.evaluate(data, dkv.Flat(), SENTENCES, cache=False)
    # the first chunk whole, and one row of the third
    lacking = lists([None] * 50 + vectors[50:120] + [None] + vectors[121:])
    found = dkv.ground_truth(lacking, SENTENCES, 3, on_bad="drop", cache=False)
    kept = np.r_[50:120, 121:200]
    distances = naive(matrix_of(WORDS["embedding"])[kept], matrix_of(SENTENCES["embedding"]), "cosine")
    check(found, distances, 3)
    assert found.labels.tolist() == kept[found.positions].tolist()
    for short, message in ((1, r"not a vector of 384 dimensions.*199 \(1 row\)"), (50, "10 dimensions, expected 384")):
        ragged = vectors[:-short] + [one[:10] for one in vectors[-short:]]
        with pytest.raises(dkv.VectorError, match=message):
            dkv.ground_truth(lists(ragged), SENTENCES, 3, cache=False)


def test_bad_rows_are_named_or_left_out():
    bad = WORDS.head(20).assign(embedding=[*WORDS["embedding"].head(19), None])
    with pytest.raises(dkv.VectorError, match=str(WORDS.index[19])):
        dkv.ground_truth(bad, SENTENCES, 3, cache=False)
    assert dkv.ground_truth(bad, SENTENCES, 3, on_bad="drop", cache=False).rows == 19


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([[1.0, 2.0]], dkv.SchemaError, "rows come from a DataFrame, a store"),
        (pa.table({"id": [1], "n": [2]}), dkv.SchemaError, "name the vector column as on="),
    ],
)
def test_what_has_no_rows_with_vectors_is_refused(data, error, message):
    with pytest.raises(error, match=message):
        dkv.ground_truth(data, SENTENCES, 3, cache=False)
