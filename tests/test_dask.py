"""`ddf.vec`: the frame that `df.vec` gives, by partitions, and a push that can be interrupted."""

import pickle
import warnings

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import servers
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

import dkvector as dkv
import dkvector.interop.dask as interop


@pytest.fixture(scope="module")
def words():
    frame = dkv.datasets.load_wordnet().head(600)[["gloss", "pos", "depth", "embedding"]]
    copies = frame.iloc[:5].set_axis([f"copy {at}" for at in range(5)])  # in another partition than what they copy
    whole = pd.concat([frame, copies]).rename_axis("name")
    return dd.from_pandas(whole, npartitions=1, sort=False).compute()  # with the dtype that Dask gives to text


@pytest.fixture(scope="module")
def parts(words):
    return dd.from_pandas(words, npartitions=7, sort=False)


def sequential(call):
    with dask.config.set(scheduler="sync"):
        return call()


SEARCHES = [
    {"k": 3},
    {"k": 50, "metric": "euclidean"},
    {"k": 5, "metric": "dot_product", "columns": ["pos"]},
    {"k": 5, "where": "pos == 'noun' and depth > 4"},
    {"k": 5, "where": dkv.col("depth") > 8, "columns": ["gloss"]},
    {"k": 5, "where": {"name": ["entity.n.01", "copy 2"]}, "columns": []},
    {"k": 2000, "include_vectors": True},
    {"k": 5, "where": "depth > 1000"},
]


@pytest.mark.parametrize("asked", SEARCHES, ids=str)
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_partitions_give_the_frame_that_the_whole_gives(words, parts, asked, many):
    queries = words["embedding"].iloc[[2, 300, 2]]
    query = queries if many else queries.iloc[0]
    assert_frame_equal(parts.vec.search(query, **asked), words.vec.search(query, **asked))


@pytest.mark.parametrize("like", ["copy 3", ["copy 3", "entity.n.01"]], ids=["one", "many"])
def test_rows_like_a_row_are_not_itself(words, parts, like):
    asked = {"like": like, "k": 4, "where": "depth >= 0"}
    assert_frame_equal(parts.vec.search(**asked), words.vec.search(**asked))
    assert "copy 3" not in parts.vec.search(like="copy 3", k=1).index
    with pytest.raises(dkv.NotFoundError, match="no row 'nobody' to search like"):
        parts.vec.search(like="nobody")
    with pytest.raises(dkv.SchemaError, match=r"several rows are called copy 3"):
        dd.concat([parts, parts]).vec.search(like="copy 3")


def test_text_is_embedded_and_a_query_brings_its_own_knobs(words, parts):
    encoder = lambda texts: [words["embedding"].iloc[len(text)] for text in texts]  # noqa: E731
    asked = {"text": ["abc", "abcd"], "encoder": encoder, "k": 2}
    assert_frame_equal(parts.vec.search(**asked), words.vec.search(**asked))
    query = dkv.VectorQuery(words["embedding"].iloc[0], k=2, metric="euclidean", filter=dkv.Query().where("depth > 2"))
    assert_frame_equal(parts.vec.search(query), words.vec.search(query))


def test_a_boolean_series_of_labels_is_a_filter(words, parts):
    where = (words["depth"] > 6) & (words["pos"] == "noun")
    query = words["embedding"].iloc[0]
    assert_frame_equal(parts.vec.search(query, where=where), words.vec.search(query, where=where))
    with pytest.raises(dkv.SchemaError, match=r"ddf\[series\]"):
        parts.vec.search(query, where=parts["depth"] > 6)
    filtered = parts[parts["depth"] > 6].vec.search(query, k=3)
    assert_frame_equal(filtered, words[words["depth"] > 6].vec.search(query, k=3))


def test_nothing_is_computed_before_it_is_asked_for(parts, words):
    seen = []

    def noticed(part):
        seen.append(len(part))
        return part

    lazy = parts.map_partitions(noticed, meta=parts._meta).vec.search(words["embedding"].iloc[0], k=1, compute=False)
    assert seen == []
    assert_frame_equal(lazy.compute(), words.vec.search(words["embedding"].iloc[0], k=1))
    assert sum(seen) == len(words)


def test_columns_that_nobody_asks_for_are_not_read(words, parts):
    near = interop.Nearest("embedding", 1, dkv.DistanceMetric.COSINE, "depth > 1", ("pos",), "raise")
    read = [list(part.compute()) for part in parts.vec._parts(near)]
    assert read == [["pos", "depth", "embedding"]] * 7
    asked = {"k": 2, "where": "depth > 1", "columns": ["pos"]}
    query = words["embedding"].iloc[0]
    assert_frame_equal(parts.vec.search(query, **asked), words.vec.search(query, **asked))


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # Dask's own, of pandas 3.1
@pytest.mark.parametrize("form", ["ours", "pandas", "lists"])
def test_files_are_searched_and_pushed_as_they_are(words, form, tmp_path):
    lists = words.assign(embedding=words["embedding"].map(np.ndarray.tolist))
    for at in range(2):
        half = (lists if form == "lists" else words).iloc[at * 300 :][:300]
        path = tmp_path / f"{at}.parquet"
        dkv.to_parquet(half, path) if form == "ours" else half.to_parquet(path)
    parts = dd.read_parquet(tmp_path)
    asked = {"k": 3, "where": "pos == 'noun'", "columns": ["gloss", "depth"]}
    query = words["embedding"].iloc[7]
    assert_frame_equal(parts.vec.search(query, **asked), parts.compute().vec.search(query, **asked))
    with parts.vec.push("exact") as store:
        assert store.to_frame(columns=[]).index.tolist() == words.index.tolist()[:600]
        assert store.schema.vector().dimensions == 384


def test_text_that_dask_made_of_lists_is_read(words):
    lists = pd.DataFrame({"v": words["embedding"].head(20).map(np.ndarray.tolist)})
    parts = dd.from_pandas(lists, npartitions=3, sort=False)
    assert parts.dtypes["v"] == "string"
    found = parts.vec.search(words["embedding"].iloc[3], k=2)
    assert_frame_equal(found, lists.vec.search(words["embedding"].iloc[3], k=2), check_index_type=False)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 6), st.integers(1, 40), st.data())
def test_ties_stay_in_the_order_of_the_frame_however_it_is_cut(kinds, cuts, k, data):
    grid = np.array([[1, 0], [0, 1], [1, 1], [-1, 0]], np.float32)
    frame = pd.DataFrame({"n": range(len(kinds)), "v": dkv.VectorArray(grid[kinds])})
    frame.index = pd.Index(data.draw(st.permutations(range(len(kinds)))), name="id")
    parts = dd.from_pandas(frame, npartitions=cuts, sort=False)
    found = sequential(lambda: parts.vec.search(grid[:2], k=k))
    assert_frame_equal(found, frame.vec.search(grid[:2], k=k))


def test_partitions_without_rows_are_passed_over(words, parts):
    some = parts[parts["gloss"] == words["gloss"].iloc[-1]]
    assert_frame_equal(
        some.vec.search(words["embedding"].iloc[0], k=3),
        words.iloc[[4, -1]].vec.search(words["embedding"].iloc[0], k=3),
    )
    none = parts[parts["depth"] > 1000]
    assert_frame_equal(
        none.vec.search(words["embedding"].iloc[0]), words.vec.search(words["embedding"].iloc[0], where="depth > 1000")
    )


def test_categories_of_their_own_are_put_together():
    frames = [
        pd.DataFrame({"c": pd.Categorical(["a"]), "v": dkv.VectorArray([[1.0, 0.0]])}, index=[0]),
        pd.DataFrame({"c": pd.Categorical(["b"]), "v": dkv.VectorArray([[1.0, 0.1]])}, index=[1]),
    ]
    meta = frames[0].iloc[:0].assign(c=pd.Categorical([], categories=["__UNKNOWN_CATEGORIES__"]))
    parts = dd.from_delayed([dask.delayed(one) for one in frames], meta=meta, verify_meta=False)
    found = parts.vec.search([1.0, 0.0], k=2)
    assert found["c"].tolist() == ["a", "b"]
    assert found["c"].dtype == pd.CategoricalDtype(["a", "b"])


def test_bad_vectors_are_named_or_left_out():
    frame = pd.DataFrame({"v": dkv.VectorArray(np.float32([[1, 0], [0, 0], [0, 1]]))}, index=["a", "b", "c"])
    parts = dd.from_pandas(frame, npartitions=3)
    with pytest.raises(dkv.VectorError, match="'b'"):
        parts.vec.search([1.0, 0.0])
    assert parts.vec.search([1.0, 0.0], on_bad="drop").index.tolist() == ["a", "c"]
    with pytest.raises(dkv.VectorError, match="has 3 dimensions, expected 2"):
        parts.vec.search([1.0, 0.0, 0.0])
    with pytest.raises(dkv.FilterError, match="no column 'nobody'"):
        parts.vec.search([1.0, 0.0], where="nobody == 1")
    with pytest.raises(dkv.SchemaError, match=r"ddf\.vec\.push"):
        parts.vec.search([1.0, 0.0], text="a")


@pytest.mark.parametrize("backend", ["exact", "faiss", "pgvector"])
@pytest.mark.parametrize("parallel", [1, 3])
def test_a_store_gets_every_row(words, parts, backend, parallel, request, tmp_path):
    table = {}
    if backend == "pgvector":
        servers.need_postgres()
        backend, table = request.getfixturevalue("postgres_url"), {"table": request.getfixturevalue("table")}
    path = {"path": tmp_path / "words"} if backend == "faiss" else {}
    with parts.vec.push(backend, **table, **path, index="flat", parallel=parallel, model="m", columns=["pos"]) as store:
        assert store.written.inserted == len(words)
        assert store.schema.vector().model == "m"
        found = store.search(words["embedding"].iloc[9], k=3, where="pos == 'noun'")
        assert (
            found.index.tolist()
            == words.vec.search(words["embedding"].iloc[9], k=3, where="pos == 'noun'").index.tolist()
        )


def test_few_partitions_are_held_at_once(parts):
    computed = []

    def counted(part):
        computed.append(len(part))
        return part

    pushed = interop.DaskVecAccessor(parts.map_partitions(counted, meta=parts._meta))._written(2, anew=False)
    assert [len(computed) for _ in pushed] == [2, 2, 4, 4, 6, 6, 7]


def test_a_push_that_was_interrupted_goes_on(words, parts, tmp_path):
    def broken(part):
        if "copy 4" in part.index:
            raise KeyboardInterrupt
        return part

    with pytest.raises(KeyboardInterrupt):
        sequential(lambda: parts.map_partitions(broken, meta=parts._meta).vec.push("faiss", path=tmp_path / "words"))
    with dkv.connect(tmp_path / "words") as half:
        there = half.count()
    assert 0 < there < len(words)
    with parts.vec.push("faiss", path=tmp_path / "words", resume=True) as store:
        assert (store.written.inserted, store.written.skipped) == (len(words) - there, there)
        assert store.to_frame(columns=[]).index.tolist() == words.index.tolist()


def numbered(named=None):
    halves = [
        pd.DataFrame(
            {"key": [at, at + 10], "v": dkv.VectorArray([[1.0, at], [0.0, 1.0]])}, index=pd.RangeIndex(2, name=named)
        )
        for at in (1, 2)
    ]
    return dd.from_delayed([dask.delayed(one) for one in halves], meta=halves[0].iloc[:0])


def test_numbers_that_begin_anew_in_every_partition_are_no_ids():
    with dkv.connect("exact") as store:
        with pytest.raises(dkv.SchemaError, match=r"number their rows anew \(0 to 1 again\).*id=…"):
            numbered().vec.push("exact")
        assert store.count() == 0
    with numbered().vec.push("exact", id="key") as store:
        assert sorted(store.to_frame(columns=[]).index) == [1, 2, 11, 12]
    with pytest.raises(dkv.DuplicateIdError):
        numbered("key").vec.push("exact", mode="insert")


def test_plain_numbers_of_a_frame_are_ids():
    frame = pd.DataFrame({"v": dkv.VectorArray(np.eye(6, dtype=np.float32))})
    for parts in (dd.from_pandas(frame, npartitions=3), dd.from_pandas(frame, npartitions=3, sort=False)):
        with parts.vec.push("exact") as store:
            assert store.to_frame().index.tolist() == list(range(6))


def test_dask_knows_the_type(parts):
    assert parts._meta_nonempty["embedding"].dtype == "vector[384]"
    assert parts.map_partitions(len).compute().sum() == 605
    assert parts["embedding"].dtype == "vector[384]"


def test_the_accessor_is_registered_once_and_gives_way(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert interop.register() == "vec"
    monkeypatch.setattr(dd.DataFrame, "vec", property(lambda self: self), raising=False)
    with pytest.warns(UserWarning, match=r"another package holds ddf.vec; dkvector is at ddf.dkvec"):
        assert interop.register() == "dkvec"
    assert isinstance(dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1).dkvec, interop.DaskVecAccessor)
    del dd.DataFrame.dkvec


def test_the_accessor_pickles(words, parts):
    again = pickle.loads(pickle.dumps(parts.vec))  # noqa: S301 - our own
    query = words["embedding"].iloc[0]
    assert_frame_equal(again.search(query, k=2), words.vec.search(query, k=2))


def test_processes_of_a_cluster_do_the_same(words, parts, tmp_path):
    from distributed import Client, LocalCluster

    quiet = {"distributed.admin.large-graph-warning-threshold": "1GB"}
    with (
        dask.config.set(quiet),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        queries = words["embedding"].iloc[:3]
        found = parts.vec.search(queries, k=4, where="depth > 2")
        assert_frame_equal(found, words.vec.search(queries, k=4, where="depth > 2"))
        assert_frame_equal(parts.vec.search(like="copy 1", k=2), words.vec.search(like="copy 1", k=2))
        lazy = client.compute(parts.vec.search(queries, k=1, compute=False)).result()
        assert_frame_equal(lazy, words.vec.search(queries, k=1))
        with parts.vec.push("faiss", path=tmp_path / "words", parallel=2) as store:
            assert store.count() == len(words)
        with pytest.raises(dkv.FilterError, match="no column"):
            parts.vec.search(queries, where="nobody == 1")
