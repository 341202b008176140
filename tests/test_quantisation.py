"""Indexes over codes: what they find, what they say, what they weigh, and that they stay right as a store changes."""

import faiss
import numpy as np
import pandas as pd
import pytest

import dkvector as dkv
from dkvector.backends import _checks, _faiss_auto, _faiss_build, _faiss_codes, _faiss_sound
from dkvector.backends._faiss_auto import chosen
from dkvector.backends._faiss_codes import CODES, bytes_of
from dkvector.backends._faiss_nodes import inside
from dkvector.backends._topk import Block
from dkvector.indexes import HNSW, IVF, Auto, Flat, Tuning, as_bytes
from dkvector.metrics import DistanceMetric

QUANTISATIONS = [code for code in CODES if code is not None]
KINDS = {"flat": Flat, "ivf": IVF, "hnsw": HNSW}
# Recall@10 on the 20,000 synsets and 200 of the sentences; the uncompressed indexes find 1, 0.95 and 0.97.
FLOORS = {"flat": 0.98, "ivf": 0.93, "hnsw": 0.96}
QUERIES = 200


@pytest.fixture(scope="module")
def data():
    sentences = dkv.datasets.load_wordnet_queries()["embedding"].head(QUERIES)
    return dkv.datasets.load_wordnet()[["depth", "embedding"]], sentences


@pytest.fixture(scope="module")
def store(data):
    with data[0].vec.push("faiss") as store:
        yield store


def recall(found, exact):
    kth = exact.groupby("query")["distance"].max()
    return (found["distance"] <= found["query"].map(kth) + 1e-6).sum() / len(exact)


@pytest.fixture(scope="module")
def truth(data):
    words, sentences = data
    every = {where: words.vec.search(sentences, k=10, where=where, columns=[]) for where in (None, "depth > 6")}
    return lambda where=None: every[where]


@pytest.mark.parametrize("quantization", QUANTISATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_codes_find_the_neighbours_and_tell_their_true_distances(data, store, truth, kind, quantization):
    words, sentences = data
    spec = store.build_index(KINDS[kind](quantization=quantization), progress=False)
    found = store.search(sentences, columns=[])
    assert recall(found, truth()) >= FLOORS[kind]
    some = found.groupby("query").head(1)
    true = words.loc[some.index, "embedding"].vec.to_numpy().astype("f8")
    queries = sentences.loc[some["query"]].vec.to_numpy().astype("f8")
    cosine = (true * queries).sum(1) / np.linalg.norm(true, axis=1) / np.linalg.norm(queries, axis=1)
    np.testing.assert_allclose(some["distance"], 1 - cosine, atol=1e-6)
    matching = store.search(sentences, columns=["depth"], where="depth > 6", tuning=Tuning(exact=False))
    assert (matching["depth"] > 6).all()
    assert recall(matching, truth("depth > 6")) >= FLOORS[kind]
    told = store.last
    assert told.plan.startswith(f"{kind} of {quantization}")
    assert told.plan.endswith("rescored")
    assert told.native["candidates"] >= 10 * CODES[quantization].widen
    assert store.stats()["index_bytes"] == pytest.approx(bytes_of(spec, 20_000, 384), rel=0.35)


@pytest.fixture(scope="module")
def clusters():
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((40, 24))
    return (centres[rng.integers(0, 40, 9000)] + 0.6 * rng.standard_normal((9000, 24))).astype("f4")


@pytest.mark.parametrize("metric", list(DistanceMetric))
@pytest.mark.parametrize("quantization", ["float16", "int8"])
@pytest.mark.parametrize("kind", KINDS)
def test_without_rescoring_the_numbers_are_the_codes_own(clusters, kind, quantization, metric):
    frame = pd.DataFrame({"v": list(clusters[:2000])})
    with frame.vec.push("faiss", metric=metric, index={"kind": kind, "quantization": quantization}) as store:
        queries = clusters[:50] * 1.5
        own = store.search(queries, k=5, tuning=Tuning(rescore=False, probes=100))
        assert store.last.plan == f"{kind} of {quantization}"
        true = frame.vec.search(queries, k=5, metric=metric)
    spread = np.abs(true["distance"]).max()
    np.testing.assert_allclose(own["distance"], true["distance"], atol=0.02 * spread)
    assert (own["distance"].to_numpy() != true["distance"].to_numpy()).any()


def test_bits_are_no_distance(data):
    words, sentences = data
    with words.head(100).vec.push("faiss", index=Flat(quantization="binary")) as store:
        with pytest.raises(dkv.UnsupportedError, match="rescore=True"):
            store.search(sentences, tuning={"rescore": False})
        assert len(store.search(sentences.iloc[0], k=3)) == 3


def test_more_candidates_find_more(clusters):
    frame = pd.DataFrame({"v": list(clusters)})
    queries = clusters[::50] + 0.5
    exact = frame.vec.search(queries, k=10)
    with frame.vec.push("faiss", index=Flat(quantization="binary"), progress=False) as store:
        few, many = (
            recall(store.search(queries, k=10, tuning={"candidates": candidates}), exact) for candidates in (10, 3000)
        )
        assert store.last.native["candidates"] == 3000
    assert few < 0.5
    assert many > 0.99


@pytest.mark.parametrize("quantization", QUANTISATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_index_of_codes_grows_shrinks_and_comes_back(clusters, tmp_path, kind, quantization):
    frame = pd.DataFrame({"v": list(clusters)}, index=[f"r{i}" for i in range(len(clusters))])
    spec = {"kind": kind, "quantization": quantization} | ({"lists": 8} if kind == "ivf" else {})
    path = tmp_path / "rows"
    queries, tuning = clusters[6000::60], Tuning(exact=False, probes=8, candidates=600, ef_search=600)
    with frame.head(5000).vec.push("faiss", path=path, index=spec, progress=False) as store:
        store.upsert(frame.iloc[5000:], progress=False)  # more than an index may lack: it is extended
        assert store.store.rows.indexes["v"].rows == 9000
        assert recall(store.search(queries, k=10, tuning=tuning), frame.vec.search(queries, k=10)) > 0.95
        gone = [f"r{i}" for i in range(0, 9000, 7)]
        store.delete(gone)
        left = frame.drop(index=gone)
        found = store.search(queries, k=10, tuning=tuning)
        assert recall(found, left.vec.search(queries, k=10)) > 0.95
        assert not found.index.isin(gone).any()
    with dkv.connect(path) as store:
        assert store.indexes()["v"].quantization == quantization
        pd.testing.assert_frame_equal(store.search(queries, k=10, tuning=tuning), found)


@pytest.fixture(scope="module")
def shifted():
    """Rows that come cluster by cluster, so that the first say little of the others, and what a store finds of them."""
    rng = np.random.default_rng(11)
    centres = np.repeat(rng.standard_normal((40, 24)), 175, axis=0)
    rows = (centres + 0.5 * rng.standard_normal((7000, 24))).astype("f4")
    frame, queries = pd.DataFrame({"v": list(rows)}), rows[::50] + rng.standard_normal((140, 24)).astype("f4") * 0.1
    exact = frame.vec.search(queries, k=10)
    return frame, lambda store: recall(store.search(queries, k=10, columns=[]), exact)


@pytest.mark.parametrize("quantization", QUANTISATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_index_that_grew_finds_as_much_as_one_of_all_rows(shifted, tmp_path, kind, quantization):
    frame, right = shifted
    spec = KINDS[kind](quantization=quantization)
    with frame.vec.push("faiss", index=spec, progress=False) as store:
        fresh = right(store)
    for first, second in ((30, 4600), (4900, 4950)):
        path = tmp_path / str(first)
        with frame.head(first).vec.push("faiss", path=path, index=spec, progress=False) as store:
            for start, stop in ((first, second), (second, 7000)):
                store.upsert(frame.iloc[start:stop], progress=False)
            assert store.store.rows.indexes["v"].rows == 7000
            grown = right(store)
        assert grown >= fresh - 0.02, first
        with dkv.connect(path) as store:
            assert right(store) == grown


@pytest.fixture(scope="module")
def away():
    """Two crowds of rows, far from each other, and one between them."""
    rng = np.random.default_rng(3)
    return [pd.DataFrame({"v": list(rng.standard_normal((24_000, 12)).astype("f4") + at)}) for at in (0, 9, 4.5)]


def state(store):
    index = store.store.rows.indexes["v"]
    return index.rows, index.trained


@pytest.mark.parametrize("quantization", ["int8", "pq", "rabitq", "binary"])
@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_codes_are_trained_anew_for_rows_they_do_not_fit_and_only_then(away, kind, quantization):
    here, there, _ = away
    spec = {"kind": kind, "quantization": quantization, **({"lists": 20} if kind == "ivf" else {})}
    quick = kind == "flat" and quantization != "pq"
    with here.head(22_000).vec.push("faiss", index=spec, metric="euclidean", progress=False) as store:
        store.upsert(here.iloc[22_000:], progress=False)
        assert state(store) == (22_000, 22_000)  # few enough to be compared one by one
        store.upsert(here.head(100).set_index(pd.RangeIndex(24_000, 24_100)), progress=False)
        assert state(store) == (24_100, 22_000)  # like the others
        store.upsert(there.head(2100).set_index(pd.RangeIndex(30_000, 32_100)), progress=False)
        # lists and parts take long to find: rows that don't fit are compared one by one until they are a tenth
        assert state(store) == ((26_200, 26_200) if quick else (24_100, 22_000))
        if quantization == "int8" or not quick:  # one bit tells such crowds badly, whatever it was trained on
            found = store.search(there["v"].head(50).vec.to_numpy(), k=1)
            assert list(found.index) == list(range(30_000, 30_050))
        store.upsert(there.iloc[2100:2800].set_index(pd.RangeIndex(32_100, 32_800)), progress=False)
        assert state(store) == ((26_200, 26_200) if quick else (26_900, 26_900))


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_codes_are_trained_anew_once_a_third_of_the_rows_is_newer(kind):
    """Rows that crowd together: the old codes lose no more of them, but tell them no longer apart."""
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((9000, 16)) @ rng.standard_normal((16, 48)) * 0.5
    rows = (rows + np.linspace(0, 4, 9000)[:, None] * rng.standard_normal(48)).astype("f4")
    frame, spec = pd.DataFrame({"v": list(rows)}), {"kind": kind, "quantization": "rabitq"}
    queries = rows[8900::10]
    exact = frame.vec.search(queries, k=10)
    with frame.vec.push("faiss", index=spec, progress=False) as store:
        fresh = recall(store.search(queries, k=10), exact)
    with frame.head(3000).vec.push("faiss", index=spec, progress=False) as store:
        store.upsert(frame.iloc[3000:], progress=False)
        assert state(store) == (9000, 9000)
        assert recall(store.search(queries, k=10), exact) >= fresh - 0.02


def test_codes_at_the_nodes_of_a_graph_are_trained_anew_and_its_links_stay(away, monkeypatch):
    here, there, between = away
    builds = []
    build = _faiss_build.build
    monkeypatch.setattr(_faiss_build, "build", lambda *args, **told: builds.append(1) or build(*args, **told))
    spec = HNSW(quantization="int8")
    with here.head(2000).vec.push("faiss", index=spec, metric="euclidean", progress=False) as store:
        store.upsert(there.head(2100).set_index(pd.RangeIndex(30_000, 32_100)), progress=False)
        assert state(store) == (4100, 4100)
        store.upsert(between.head(2100).set_index(pd.RangeIndex(60_000, 62_100)), progress=False)
        assert state(store) == (6200, 6200)
        for name, (crowd, start) in {"here": (here, 0), "there": (there, 30_000), "between": (between, 60_000)}.items():
            found = store.search(crowd["v"].head(50).vec.to_numpy(), k=1)
            assert list(found.index) == list(range(start, start + 50)), name
    assert len(builds) == 1


def test_many_small_writes_do_not_train_codes_each_time(away, monkeypatch):
    here, there, _ = away
    builds = []
    build = _faiss_build.build
    monkeypatch.setattr(_faiss_build, "build", lambda *args, **told: builds.append(1) or build(*args, **told))
    with here.head(3000).vec.push("faiss", index=Flat("int8"), metric="euclidean", progress=False) as store:
        for start in range(0, 6000, 100):
            store.upsert(there.iloc[start : start + 100].set_index(pd.RangeIndex(start, start + 100) + 30_000))
        assert len(builds) <= 3
        assert len(store) == 9000


@pytest.mark.parametrize("quantization", QUANTISATIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "dimensions"), [(1, 3), (5, 1), (15, 7), (17, 8), (40, 33)])
def test_few_rows_and_odd_dimensions(kind, quantization, rows, dimensions):
    matrix = np.random.default_rng(rows).standard_normal((rows, dimensions)).astype("f4")
    frame = pd.DataFrame({"v": list(matrix)})
    with frame.vec.push("faiss", index={"kind": kind, "quantization": quantization}) as store:
        found = store.search(matrix[0], k=rows)
        assert store.last.shortfall == 0
        pd.testing.assert_frame_equal(found, frame.vec.search(matrix[0], k=rows), atol=1e-6)


def test_config_keys():
    config = {"backend": "faiss", "index_type": "IVF", "ivf_nlist": 3, "quantization": "int8"}
    with dkv.connect(config) as store:
        store.upsert(pd.DataFrame({"v": list(np.eye(9, dtype="f4"))}))
        assert store.indexes() == {"v": IVF(lists=3, quantization="int8")}
    with dkv.connect({"backend": "faiss", "quantization": "float16"}) as store:
        store.upsert(pd.DataFrame({"v": list(np.eye(9, dtype="f4"))}))
        assert store.indexes() == {"v": Flat(quantization="float16")}


@pytest.mark.parametrize("spec", [Flat, IVF, HNSW])
def test_an_unknown_quantization_is_refused(spec):
    with pytest.raises(dkv.SchemaError, match="no quantization 'int16'; did you mean 'int8'"):
        spec(quantization="int16")


@pytest.mark.parametrize(
    ("spec", "rows", "expected"),
    [
        (Auto(), 9_999, Flat()),
        (Auto(), 10_000, IVF(lists=200)),
        (Auto(), 99_999, IVF(lists=632)),
        (Auto(), 100_000, IVF(lists=632, quantization="float16")),
        (Auto(memory="20MB"), 20_000, IVF(lists=283, quantization="float16")),
        (Auto(memory="10MB"), 20_000, IVF(lists=283, quantization="int8")),
        (Auto(memory="3MB"), 20_000, IVF(lists=283, quantization="pq")),
        (Auto(memory=1), 20_000, IVF(lists=283, quantization="rabitq")),
        (Auto(memory="3GB"), 2_000_000, HNSW(m=32, quantization="float16")),
        (Auto(memory="1GB"), 2_000_000, HNSW(m=32, quantization="pq")),
        (Auto(memory="400MB"), 4_000_000, IVF(lists=4000, quantization="rabitq")),
        (Auto(recall=0.99, memory="1GB"), 20_000, HNSW(m=32)),
        (Auto(recall=1), 5_000_000, Flat()),
        (IVF(lists=7), 100, IVF(lists=7)),
    ],
)
def test_auto_chooses_by_rows_recall_and_memory(spec, rows, expected):
    assert chosen(spec, rows, 384) == expected


def test_auto_without_a_limit_takes_half_of_what_is_free(monkeypatch):
    monkeypatch.setattr(_faiss_auto, "_available", lambda: 8_000_000)
    assert chosen(Auto(), 20_000, 384) == IVF(lists=283, quantization="pq")


@pytest.mark.parametrize("bad", ["", "2 parsecs", "-1", 0, True, "0GB", None])
def test_a_size_that_is_none_is_refused(bad):
    with pytest.raises(dkv.SchemaError, match=r"size of memory"):
        as_bytes(bad)


def test_a_faiss_that_is_too_old_is_told(monkeypatch):
    monkeypatch.delattr(_faiss_codes.faiss, "IndexIVFRaBitQ")
    frame = pd.DataFrame({"v": list(np.eye(9, dtype="f4"))})
    with pytest.raises(dkv.UnsupportedError, match=r"has no IndexIVFRaBitQ, .*upgrade faiss-cpu"):
        frame.vec.push("faiss", index=IVF(quantization="rabitq"))


@pytest.mark.parametrize("quantization", QUANTISATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_large_index_of_codes_is_opened_by_a_look_at_its_structure(
    clusters, tmp_path, monkeypatch, kind, quantization
):
    frame = pd.DataFrame({"v": list(clusters)})
    with frame.vec.push("faiss", path=tmp_path / "rows", index={"kind": kind, "quantization": quantization}) as store:
        found = store.search(clusters[:20])
    monkeypatch.setattr(_checks, "READ", 0)
    with dkv.connect(tmp_path / "rows") as store:  # a false alarm would be a warning, and an error here
        assert store.indexes()["v"].quantization == quantization
        pd.testing.assert_frame_equal(store.search(clusters[:20]), found)


@pytest.mark.parametrize(
    ("spec", "damage"),
    [
        (IVF(lists=4, quantization="int8"), lambda index: index.sq.trained.resize(3)),
        (IVF(lists=4, quantization="float16"), lambda index: setattr(index.sq, "qtype", 0)),
        (HNSW(quantization="binary"), lambda index: index.sq.trained.resize(2)),
        (HNSW(quantization="pq"), lambda index: index.pq.centroids.resize(8)),
        (HNSW(quantization="rabitq"), lambda index: index.center.resize(8)),
    ],
    ids=lambda value: f"{value.kind}-{value.quantization}" if hasattr(value, "kind") else "",
)
def test_tables_of_another_length_are_damage(clusters, spec, damage):
    index = _faiss_build.build(spec, [Block(0, clusters[:500])], DistanceMetric.COSINE, progress=False).index
    assert _faiss_sound.sound(index, "file", 500, 24)
    damage(faiss.downcast_index(inside(index).storage) if spec.kind == "hnsw" else index)
    with pytest.raises(dkv.SchemaError, match="file is damaged: its"):
        _faiss_sound.sound(index, "file", 500, 24)
