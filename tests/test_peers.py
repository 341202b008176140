"""The faults that were reproduced in other vector packages, one test each: what went wrong there goes right here."""

import ast
import asyncio
import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv

KINDS = ["exact", "flat", "hnsw", "ivf"]
LOCAL = {"exact": False}  # search through the index itself, not around it


@pytest.fixture(scope="module")
def words():
    return dkv.datasets.load_wordnet().iloc[::4]


@pytest.fixture(scope="module")
def sentences():
    return dkv.datasets.load_wordnet_queries()["embedding"].iloc[:100]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def push(kind):
    """Push a frame to the store and index under test; it is closed when the test is over."""
    stores = []

    def pushed(frame, **arguments: object):
        target = {"target": "exact"} if kind == "exact" else {"target": "faiss", "index": kind}
        stores.append(frame.vec.push(**target, **arguments))
        return stores[-1]

    yield pushed
    for store in stores:
        store.close()


def random(rows=2000, dimensions=16, seed=0, **columns: object):
    matrix = np.random.default_rng(seed).standard_normal((rows, dimensions)).astype("f4")
    return pd.DataFrame({"n": np.arange(rows), **columns, "v": list(matrix)})


def recall(found, exact):
    """The share of true neighbours found, by distance."""
    kth = exact.groupby("query")["distance"].max()
    return (found["distance"] <= found["query"].map(kth) + 1e-6).sum() / len(exact)


# Filters


@pytest.mark.parametrize("matching", [10, 200])
def test_a_filter_does_not_starve_a_search(push, matching):
    """dataknobs 1, LangChain, LanceDB, DuckDB: 10 of 2,000 rows match, k is 10, no hit came."""
    frame = random(rare=np.arange(2000) % (2000 // matching) == 3)
    store = push(frame)
    queries = frame.v.iloc[:20]
    found = store.search(queries, k=10, where="rare")
    assert found.groupby("query").size().tolist() == [10] * 20
    assert recall(found, frame.vec.search(queries, k=10, where="rare")) == 1
    assert store.explain(queries, k=10, where="rare").shortfall == 0


def test_what_is_given_back_does_not_switch_the_filter_off(push):
    """dataknobs 2: without metadata in the result, rows came that the filter excludes."""
    frame = random(200)
    for arguments in ({"columns": []}, {"columns": ["n"]}, {"include_vectors": True}):
        found = push(frame).search(frame.v[7], k=10, where="n >= 190", **arguments)
        assert sorted(found.index) == list(range(190, 200))


def test_rows_without_payload_pass_no_filter(push):
    """dataknobs 3: rows of empty metadata passed every filter."""
    frame = random(100)
    store = push(frame.head(50))
    store.upsert(frame.iloc[50:, 1:])
    for where in ("n >= 0", "n != 3", "not n == 3", "n in [1, 2]", "not n in [1, 2]"):
        assert store.search(frame.v[60], k=100, where=where).index.max() < 50
    assert store.count("n.isna()") == 50


@pytest.mark.parametrize("value", ['say "hi"', "O'Neil", "back\\slash", "'; DROP TABLE x --", "%", "", "🙂"])
def test_a_filter_value_is_data(push, value):
    """Values that were glued into SQL text or JSON: quotes ended them."""
    frame = random(20, name=["other"] * 19 + [value])
    for where in ({"name": value}, dkv.col("name") == value, f"name == {value!r}"):
        assert push(frame).search(frame.v[0], where=where).index.tolist() == [19]


# Ids, writes


def test_an_id_is_written_once(push):
    """dataknobs 4: the same id again made five rows of four ids, and an orphan under another id."""
    frame = random(4).set_axis(list("abcd"))
    store = push(frame)
    store.upsert(frame.loc[["b"]].assign(n=99, v=[np.full(16, 9.0)]))
    assert len(store) == 4
    assert sorted(store.search(frame.v["b"], k=10).index) == list("abcd")
    assert store.search(np.ones(16), k=1)[["n"]].to_dict("index") == {"b": {"n": 99}}


def test_adding_a_known_id_is_never_dropped_silently(push):
    """Chroma: `add` of a known id did nothing and said nothing."""
    store = push(random(4))
    with pytest.raises(dkv.DuplicateIdError, match="already in the store: 3"):
        store.upsert(random(2).set_axis([3, 4]), mode="insert")


def test_vectors_come_back(push):
    """dataknobs 7: get_vectors gave (None, None) for ever."""
    frame = random(300)
    store = push(frame)
    for found in (store.get([5, 250], include_vectors=True), store.to_frame().loc[[5, 250]]):
        assert found.v.vec.to_numpy().tolist() == np.stack(frame.v[[5, 250]]).tolist()


def test_rows_can_be_deleted_and_changed_under_every_index(push):
    """dataknobs 8: under HNSW a delete failed half way, and results showed internal numbers."""
    frame = random(300).set_axis([f"row {i}" for i in range(300)])
    store = push(frame)
    assert store.delete(["row 1", "row 2"]) == 2
    store.upsert(frame.loc[["row 3"]].assign(v=[np.full(16, 5.0)]))
    found = store.search(frame.v["row 1"], k=298, tuning=LOCAL)
    assert set(found.index) == set(frame.index) - {"row 1", "row 2"}
    assert store.search(np.ones(16), k=1, tuning=LOCAL).index.tolist() == ["row 3"]


def test_payloads_of_pandas_own_types_are_kept(push):
    """Chroma: pd.NA, np.int64 and Timestamp were refused as metadata."""
    when = pd.Timestamp("2024-02-03 04:05")
    frame = random(2, number=pd.array([np.int64(2**60), pd.NA], "Int64"), when=[when, pd.NaT])
    found = push(frame).to_frame()
    assert (found.number[0], found.number[1] is pd.NA) == (2**60, True)
    assert (found.when[0], found.when[1] is pd.NaT) == (when, True)


# Indexes and their knobs


def test_probes_are_used(words, sentences):
    """dataknobs 5: nprobe reached no index: recall 0.086 whatever it said."""
    exact = words.vec.search(sentences, k=10, columns=[])
    with words.vec.push("faiss", index=dkv.IVF(lists=64), columns=[]) as store:
        found = {n: recall(store.search(sentences, k=10, tuning={"probes": n}), exact) for n in (1, 8, 64)}
    assert found[1] < found[8] < found[64] == 1
    assert found[1] < 0.8


def test_ef_search_is_used(words, sentences):
    """dataknobs 5, for the graph."""
    exact = words.vec.search(sentences, k=10, columns=[])
    with words.vec.push("faiss", index=dkv.HNSW(m=4, ef_construction=16), columns=[]) as store:
        low, high = (recall(store.search(sentences, k=10, tuning={"ef_search": n}), exact) for n in (10, 500))
    assert low < 0.9 < high


def test_recall_holds_under_a_filter(words, sentences):
    """Faiss selectors alone: recall 0.13 to 0.5 where a filter leaves 0.1 to 1 % of the rows."""
    with words.vec.push("faiss", index="hnsw", columns=["lexname", "depth"]) as store:
        for where in ("lexname == 'verb.weather'", "lexname == 'noun.animal'", "depth > 7", "depth > 4"):
            exact = words.vec.search(sentences, k=10, where=where, columns=[])
            found = store.search(sentences, k=10, where=where)
            assert len(found) == len(exact)
            assert recall(found, exact) >= 0.95


@pytest.mark.parametrize("rows", [1, 50, 300])
def test_auto_goes_by_rows_not_by_dimensions(rows):
    """dataknobs 6: 128 dimensions chose an index that 50 rows could not train."""
    frame = random(rows, dimensions=128)
    with frame.vec.push("faiss", index="auto") as store:
        assert store.indexes() == {"v": dkv.Flat()}
        assert store.search(frame.v[0], k=1).index.tolist() == [0]


@pytest.mark.parametrize("dimensions", [2, 30, 65])
def test_no_number_of_dimensions_or_rows_breaks_an_index(push, dimensions):
    """dataknobs 9: 30 dimensions crashed, for m was fixed to 8."""
    frame = random(45, dimensions)
    assert push(frame).search(frame.v[3], k=45, tuning={"exact": False, "probes": 99}).index[0] == 3


def test_knobs_nobody_reads_are_refused():
    """dataknobs 21: quantization="product" was accepted and ignored."""
    with pytest.raises(dkv.SchemaError, match="no quantization 'product'; there are: 'float16', 'int8'"):
        dkv.connect({"backend": "faiss", "quantization": "product"})
    with pytest.raises(dkv.SchemaError, match="no 'quantisation'; did you mean 'quantization'"):
        random(9).vec.push("faiss", index={"kind": "flat", "quantisation": "pq"})
    with random(9).vec.push("faiss") as store, pytest.raises(dkv.SchemaError, match="did you mean 'probes'"):
        store.search(np.ones(16), tuning={"nprobes": 3})


def test_memory_is_measured():
    """dataknobs 22: memory was the raw vectors plus 10 %, whatever the index."""
    frame = random(1000)
    sizes = {}
    for index in ("flat", "ivf", "hnsw"):
        with frame.vec.push("faiss", index=index) as store:
            sizes[index] = store.stats()["index_bytes"]
    assert sizes["flat"] == 0 < 1000 * 16 < sizes["ivf"]
    assert sizes["hnsw"] > 1000 * 2 * 16 * 4  # at least the links of its lowest layer


# Numbers


PAIRS = {"cosine": (0.4, 0.6), "euclidean": (np.sqrt(20), 1 / (1 + np.sqrt(20))), "dot_product": (-15, 15)}


@pytest.mark.parametrize("metric", PAIRS)
def test_scores_are_the_same_whatever_the_store(push, metric):
    """dataknobs 9, 10; LangChain: 0.10 here and 0.25 there for one pair; squared; negative "relevance"."""
    frame = pd.DataFrame({"v": [[3.0, 4.0], [-5.0, 0.0], [0.0, -7.0]]})
    expected = PAIRS[metric]
    for one in (push(frame, metric=metric).search([5, 0], k=3), frame.vec.search([5, 0], k=3, metric=metric)):
        assert one.index[0] == 0
        assert one.loc[0, ["distance", "score"]].tolist() == pytest.approx(expected, abs=1e-6)
        assert one.distance.is_monotonic_increasing
        assert one.score.is_monotonic_decreasing


@pytest.mark.parametrize("metric", ["l1", "manhattan", "hamming", ""])
def test_an_unknown_metric_is_refused(push, metric):
    """dataknobs 11: l1 was taken for L2 without a word, and the order was another."""
    frame = random(9)
    for call in (
        lambda: frame.vec.search(frame.v[0], metric=metric),
        lambda: push(frame).search(frame.v[0], metric=metric),
        lambda: push(frame, metric=metric),
    ):
        with pytest.raises(dkv.UnsupportedError, match=f"no metric '{metric}'; it has cosine, dot_product, euclidean"):
            call()


@pytest.mark.parametrize(
    ("alias", "metric"),
    [("ip", "dot_product"), ("dot", "dot_product"), ("l2", "euclidean"), ("L2", "euclidean"), ("angular", "cosine")],
)
def test_usual_names_of_metrics_work(push, alias, metric):
    """dataknobs 11: aliases that were documented raised."""
    frame = random(50)
    with_alias, with_name = (frame.vec.search(frame.v[3], metric=name) for name in (alias, metric))
    pd.testing.assert_frame_equal(with_alias, with_name)
    assert push(frame, metric=alias).schema.vectors[0].metric == metric


# Vectors that can't be used


@pytest.mark.parametrize("bad", [np.full(16, np.nan), np.full(16, -np.inf), None, np.zeros(16), np.ones(4)], ids=str)
def test_a_bad_vector_is_refused_and_never_ranks(push, bad):
    """dataknobs 12, LangChain, LanceDB: a NaN row was stored and came first; shorter vectors failed at the search."""
    frame = random(20)
    frame["v"] = [*frame.v[:10], bad, *frame.v[11:]]
    with pytest.raises(dkv.VectorError, match=r"at 10 \(1 row\)"):
        push(frame)
    with pytest.raises(dkv.VectorError, match=r"at 10 \(1 row\)"):
        frame.vec.search(np.ones(16))
    store = push(frame, on_bad="drop")
    assert sorted(store.search(np.ones(16), k=20).index) == [i for i in range(20) if i != 10]


def test_a_query_of_nan_is_refused(push):
    """dataknobs 24, Chroma: a NaN query had neighbours, or none, and no error."""
    store = push(random(20))
    with pytest.raises(dkv.VectorError, match="NaN or infinity in 'query'"):
        store.search(np.full(16, np.nan))


def test_a_query_of_another_length_says_so(push):
    """dataknobs 12, LangChain, LanceDB: an empty AssertionError; "there is no vector column in the data"."""
    store = push(random(20))
    with pytest.raises(dkv.VectorError, match="query has 3 dimensions, expected 16"):
        store.search([1, 2, 3])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dimension": 8}, "holds 16 dimensions, the config says 8"),
        ({"metric": "euclidean"}, "measures by cosine, the config says euclidean"),
    ],
)
def test_a_config_that_does_not_fit_what_is_stored_is_refused(tmp_path, config, message):
    """dataknobs 13: accepted when loaded, crashed at the first query."""
    random(20).vec.push("faiss", path=tmp_path / "rows").close()
    with pytest.raises(dkv.SchemaError, match=message):
        dkv.connect({"backend": "faiss", "index_path": tmp_path / "rows", **config})


def test_vectors_of_another_model_are_refused(push):
    """A swap of models of the same dimension: recall 0, and no error anywhere."""
    frame = random(20)
    store = push(frame, model="minilm", version="2")
    for reading in (dkv.Reading(model="e5"), dkv.Reading(model="minilm", version="3")):
        with pytest.raises(dkv.SchemaError, match="a store of their own"):
            store.upsert(frame, reading=reading)
    store.upsert(frame, reading=dkv.Reading(model="minilm", version="2"))


def test_nothing_is_pickled(tmp_path):
    """dataknobs 13, LangChain: an index was a pickle, which runs what it holds."""
    random(300).vec.push("faiss", path=tmp_path / "plain.pkl", index="hnsw").close()
    files = sorted((tmp_path / "plain.pkl").iterdir())
    assert {file.suffix for file in files} == {".arrow", ".index", ".json", ""}
    assert json.loads((tmp_path / "plain.pkl" / "manifest.json").read_text())["format"] == 3
    with dkv.connect(tmp_path / "plain.pkl") as store:
        assert len(store) == 300
    for file in Path(dkv.__file__).parent.rglob("*.py"):
        names = {
            name.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert not names & {"pickle", "cloudpickle", "dill", "marshal", "shelve"}, file


# Input


def test_all_queries_of_an_array_are_answered(push):
    """dataknobs 14: of four queries the first was answered, silently."""
    frame = random(100, dimensions=32)
    found = push(frame).search(np.stack(frame.v[[7, 3, 50, 99]]), k=1)
    assert (found["query"].tolist(), found.index.tolist()) == ([0, 1, 2, 3], [7, 3, 50, 99])


@pytest.mark.parametrize(
    "form",
    [list, pd.Series, np.float64, np.float16, lambda q: np.repeat(q, 2)[::2], np.asfortranarray],
    ids=["list", "Series", "float64", "float16", "strided", "fortran"],
)
def test_a_query_of_any_form_is_answered(push, form):
    """dataknobs 15: lists and Series failed; Faiss, graphrag: float64 and strided arrays crashed or worse."""
    frame = random(100)
    assert push(frame).search(form(frame.v[42]), k=1).index.tolist() == [42]


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
def test_a_matrix_of_any_layout_is_stored(push, dtype):
    """Faiss #461, #1941: float64 or Fortran order gave wrong rows or none."""
    matrix = np.asfortranarray(np.stack(random(100).v).astype(dtype))
    frame = pd.DataFrame({"v": list(matrix)})
    assert push(frame).search(matrix[[42, 7]], k=1).index.tolist() == [42, 7]


def test_a_search_touches_the_ids_of_its_hits_only():
    """dataknobs 16: every query turned the whole map of ids round: 1.3 ms where Faiss took 0.16."""
    frame = random(20_000, dimensions=8).set_axis([f"row {i}" for i in range(20_000)])
    with frame.vec.push("faiss", index="ivf", columns=[]) as store:
        store.search(np.ones(8), k=5)  # what a first search keeps for the others
        tracemalloc.start()
        store.search(np.ones(8), k=5)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 20_000 * 4  # bytes: not half a pointer for each id


# Frames


def test_records_keep_vectors_and_labels(push):
    """dataknobs 17: vectors became JSON and no row was stored; labels 10, 20 became text; Int64 became object."""
    frame = random(3, count=pd.array([1, None, 3], "Int64")).set_axis([10, 20, 30])
    store = push(frame.head(1))
    assert store.index_vectors(frame.vec.to_records(), "v")
    found = store.to_frame()
    assert (len(store), found.index.tolist(), found.index.dtype) == (3, [10, 20, 30], np.int64)
    assert (str(found["count"].dtype), found["count"][20] is pd.NA) == ("Int64", True)
    assert found.v.vec.to_numpy().tolist() == np.stack(frame.v).tolist()


def test_a_query_with_a_vector_searches(push):
    """dataknobs 19: search() ignored the vector of a query, and gave rows in the order of storage."""
    frame = random(100).rename(columns={"v": "embedding"})
    query = dkv.Query().filter("n", ">=", 50).with_vector_search(frame.embedding[70], k=3)
    expected = frame.vec.search(frame.embedding[70], k=3, where="n >= 50")
    found = push(frame).find(query)
    assert [record.id for record in found] == expected.index.tolist()
    assert [record.metadata["score"] for record in found] == pytest.approx(expected.score.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    "index", [[f"s{i}" for i in range(50)], range(1, 51), np.random.default_rng(1).permutation(50)]
)
def test_labels_are_not_positions(push, index):
    """LanceDB dropped the index; LOTUS took labels for positions: wrong rows, or an endless loop for text."""
    frame = random(50).set_axis(pd.Index(index, name="key"))
    for found in (push(frame).search(frame.v, k=1), frame.vec.search(frame.v, k=1)):
        assert found.index.tolist() == found["query"].tolist() == list(index)
        assert (found.n.tolist(), found.index.name) == (list(range(50)), "key")


def test_a_vector_column_may_have_any_name(push):
    """LanceDB: only a column called `vector` was found."""
    frame = random(20).rename(columns={"v": "emb of text"})
    assert push(frame).search(frame["emb of text"][4], k=1).index.tolist() == [4]


def test_vectors_of_a_csv_file_are_vectors():
    """pandas writes vectors to CSV as text, and reads text."""
    frame = random(20).assign(v=lambda rows: [row.tolist() for row in rows.v])
    again = pd.read_csv(io.StringIO(frame.to_csv()), index_col=0)
    assert isinstance(again.v[0], str)
    pd.testing.assert_frame_equal(again.vec.search(again.v, k=3), frame.vec.search(frame.v, k=3))


def test_results_can_be_put_together(push):
    """pandas copies attrs at every step, and an array in them makes concat fail: there is nothing in ours."""
    frame = random(50)
    parts = [push(frame).search(frame.v[i], k=2) for i in range(3)]
    both = pd.concat(parts).join(frame[["v"]]).sort_values("score")
    assert (len(both), both.attrs) == (6, {})


async def test_blocking_calls_work_where_a_loop_runs(push):
    """embedding-atlas, haystack, autolabel: "cannot be called from a running event loop": that is every notebook."""
    assert asyncio.get_running_loop().is_running()
    frame = random(50)
    store = push(frame)
    assert store.search(frame.v[7], k=1).index.tolist() == [7]
    assert store.find(dkv.Query().filter("n", "=", 3))[0].id == 3
