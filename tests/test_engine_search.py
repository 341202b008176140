"""Searches in both engines: the numbers, compressed fields, many at once, and hits that are never missing unseen."""

import secrets

import numpy as np
import pandas as pd
import pytest
from clouds import DIMENSIONS, clustered
from engines.asking import asked

import dkvector as dkv
from dkvector.backends import _engine_reader, _engine_search
from dkvector.backends._engine_search import Search

COSINE, EUCLIDEAN, DOT = dkv.DistanceMetric
ROWS = 1200


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "u": rng.random(ROWS),
            "kind": pd.Categorical(rng.choice(["a", "b", "c"], ROWS)),
            "when": pd.Timestamp("2024-05-01", tz="Europe/Paris") + pd.to_timedelta(np.arange(ROWS), "h"),
            "n": pd.array(np.where(np.arange(ROWS) % 7, np.arange(ROWS), None), "Int64"),
            "text": pd.array([f"word{i % 50} and more" for i in range(ROWS)], "str"),
            "flag": rng.random(ROWS) < 0.5,
            "v": dkv.VectorArray(clustered(ROWS)),
        },
        index=pd.Index([f"id {i:04}" for i in range(ROWS)], name="key"),
    )


@pytest.fixture(scope="module")
def queries():
    return clustered(20, seed=1)


@pytest.fixture
def target(engine_url):
    name = f"search-{secrets.token_hex(4)}"
    yield {"backend": engine_url.partition("+")[0].partition(":")[0], "url": engine_url, "index": name}
    with dkv.connect(engine_url, table=name) as store:
        store.drop()


@pytest.fixture(scope="module")
def store(engine_url, frame):
    with frame.vec.push(engine_url, table=f"search-{secrets.token_hex(4)}", index="hnsw") as store:
        yield store
        store.drop()


def http(url):
    return "http:" + url.partition(":")[2]


@pytest.fixture
def sent(store, monkeypatch):
    """Tell what is sent: path and body."""
    requests, send = [], store.store._wire.send

    async def watched(method, path, body=None, **knobs: object):
        requests.append((path, body))
        return await send(method, path, body, **knobs)

    monkeypatch.setattr(store.store._wire, "send", watched)
    return requests


# Numbers

OPENSEARCH = [dkv.HNSW(m=24, ef_construction=80), dkv.HNSW(quantization="int8"), dkv.Flat()]


@pytest.mark.parametrize("metric", [COSINE, EUCLIDEAN, DOT], ids=str)
@pytest.mark.parametrize(
    ("spec", "floor"),
    [
        (dkv.HNSW(m=24, ef_construction=80), 0.97),
        (dkv.HNSW(quantization="int8"), 0.95),
        (dkv.HNSW(quantization="int4"), 0.9),
        (dkv.HNSW(quantization="binary"), 0.85),
        (dkv.Flat(), 1.0),
        (dkv.Flat(quantization="int8"), 0.95),
        (dkv.Flat(quantization="binary"), 0.85),
    ],
    ids=str,
)
def test_recall_and_distances_of_every_index(frame, queries, target, metric, spec, floor):
    if target["backend"] == "opensearch" and spec not in OPENSEARCH:
        with pytest.raises(dkv.UnsupportedError, match=r"opensearch has no .*it has int8|HNSW can be"):
            frame[["v"]].vec.push(target, index=spec, metric=metric)
        return
    with frame[["v"]].vec.push(target, index=spec, metric=metric) as store:
        assert store.indexes() == {"v": spec}
        found = store.search(queries, k=10, tuning={"exact": False})
        assert store.last.plan.startswith(spec.kind) or spec == dkv.Flat()
        kth = frame.vec.search(queries, 10, metric=metric).groupby("query")["distance"].max()
        assert (found["distance"] <= found["query"].map(kth) + 1e-5).mean() >= floor
        for at, query in enumerate(queries):
            mine = found[found["query"] == at]
            exact = frame.loc[mine.index].vec.search(query, k=10, metric=metric)["distance"]
            np.testing.assert_allclose(mine["distance"], exact.loc[mine.index], rtol=1e-5, atol=1e-5)
    with dkv.connect(target) as again:
        assert (again.indexes(), again.schema.vectors[0].metric) == ({"v": spec}, metric)


def test_a_compressed_field_can_be_asked_for_its_own_rough_numbers(frame, queries, target):
    with frame[["v"]].vec.push(target, index=dkv.HNSW(quantization="int8")) as store:
        rough = store.search(queries, k=10, tuning={"rescore": False})
        true = frame.vec.search(queries, 10, include_vectors=True)
        matrix = np.stack([np.asarray(one) for one in frame["v"].loc[rough.index]])
        asked_by = queries[rough["query"].to_numpy()]
        cosine = (matrix * asked_by).sum(1) / np.linalg.norm(matrix, axis=1) / np.linalg.norm(asked_by, axis=1)
        error = np.abs(rough["distance"] - (1 - cosine))
        assert 1e-5 < error.max() < 0.2  # quantised, and of the same measure
        assert len(rough) == len(true)


@pytest.mark.parametrize("exact", [True, None])
@pytest.mark.parametrize(
    ("k", "where"), [(10, None), (7, "kind == 'b'"), (3, "u > 0.99"), (4, "u > 2"), (ROWS + 5, None)], ids=str
)
def test_the_same_frame_as_the_exact_store(store, frame, queries, k, where, exact):
    ours = store.search(queries, k=k, where=where, tuning={"exact": exact})
    theirs = frame.vec.push("exact").search(queries, k=k, where=where)
    assert ours.dtypes.equals(theirs.dtypes)
    if k > ROWS:  # among so many, two are so near each other that rounding decides
        assert sorted(ours.index) == sorted(theirs.index)
        np.testing.assert_allclose(ours["distance"], theirs["distance"], atol=1e-5)
    elif exact or where is not None:
        assert ours.index.equals(theirs.index)
        np.testing.assert_allclose(ours["distance"], theirs["distance"], atol=1e-5)
        np.testing.assert_allclose(ours["score"], theirs["score"], atol=1e-5)
        pd.testing.assert_frame_equal(
            ours.drop(columns=["distance", "score"]), theirs.drop(columns=["distance", "score"])
        )


LENGTHS = [1.00001, 1.0004, 0.9996, 1.00051, 0.99, 1, 3.0]  # some of which Elasticsearch takes for 1


@pytest.mark.parametrize("spec", [dkv.Flat(), dkv.HNSW(), dkv.HNSW(quantization="int8")], ids=str)
def test_vectors_nearly_of_length_one_are_measured_as_they_are(target, spec):
    """As are all that were rounded once: many models give unit vectors, and files keep them in half precision."""
    one = clustered(1)[0] / np.linalg.norm(clustered(1)[0])
    other = clustered(2)[1] / np.linalg.norm(clustered(2)[1])
    vectors = [(one + 0.01 * at * other) * length for at, length in enumerate(LENGTHS)]
    frame = pd.DataFrame(
        {"v": dkv.VectorArray(np.float32([v / np.linalg.norm(v) * n for v, n in zip(vectors, LENGTHS, strict=True)]))}
    )
    with frame.vec.push(target, index=spec) as store:
        for query in (other, other * 1.0003, other * 7, one):
            ours, theirs = store.search(query, k=7), frame.vec.search(query, 7)
            assert ours.index.tolist() == theirs.index.tolist()
            np.testing.assert_allclose(ours["distance"], theirs["distance"], atol=2e-6)
            if store.supports.other_metric:
                forced = store.search(query, k=7, tuning={"exact": True})["distance"]
                np.testing.assert_allclose(forced, theirs["distance"], atol=2e-6)
        np.testing.assert_array_equal(store.to_frame().sort_index()["v"].vec.to_numpy(), frame["v"].vec.to_numpy())
        moved = frame.iloc[[0]].assign(v=[frame["v"].iloc[3]])
        store.upsert(moved)  # a length that was kept does not outlive its vector
        expected = 1 - float(np.float32(frame["v"].iloc[3]) @ other) / float(np.linalg.norm(frame["v"].iloc[3]))
        assert store.search(other, k=7)["distance"].loc[0] == pytest.approx(expected, abs=2e-6)


def test_vectors_of_others_are_measured_again_where_the_engine_may_round(target, engine_url):
    field = {"type": "dense_vector", "dims": 2, "index": True, "similarity": "cosine"}
    settings = {}
    if target["backend"] == "opensearch":
        method = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"}
        field, settings = {"type": "knn_vector", "dimension": 2, "method": method}, {"knn": True}
    body = {"settings": settings, "mappings": {"properties": {"v": field}}}
    asked(http(engine_url), f"/{target['index']}", body, "PUT")
    asked(http(engine_url), f"/{target['index']}/_doc/a?refresh=true", {"v": [1.0004, 0]}, "PUT")
    with dkv.connect(target) as store:
        assert store.search([1.0, 0], k=1)["distance"].tolist() == [pytest.approx(0, abs=1e-6)]
        assert store.search([1.0, 1], k=1)["distance"].tolist() == [pytest.approx(1 - np.sqrt(0.5), abs=1e-6)]


def test_another_metric_than_the_field_s_is_compared_in_full_or_refused(store, frame, queries):
    if not store.supports.other_metric:
        with pytest.raises(dkv.UnsupportedError, match="can't search it by 'euclidean'"):
            store.search(queries[0], metric="euclidean")
        return
    for metric in ("euclidean", "dot_product"):
        ours = store.search(queries, k=5, metric=metric)
        theirs = frame.vec.search(queries, 5, metric=metric)
        assert ours.index.tolist() == theirs.index.tolist()
        np.testing.assert_allclose(ours["distance"], theirs["distance"], rtol=1e-5, atol=1e-5)
        assert store.last.plan.startswith("exact")


def test_many_queries_are_those_alone_and_few_requests(store, queries, sent):
    many = np.tile(queries, (7, 1))  # 140
    together = store.search(many, k=5, columns=[], where="flag == True")
    assert [path for path, _ in sent] == ["/_msearch"] * -(-140 // _engine_reader.TOGETHER)
    for at in (0, 64, 139):
        alone = store.search(many[at], k=5, columns=[], where="flag == True")
        mine = together[together["query"] == at]
        assert mine.index.tolist() == alone.index.tolist()
        np.testing.assert_array_equal(mine["distance"], alone["distance"])


def test_an_exact_search_of_more_than_one_answer_holds(target):
    """More rows than the engines give at once: they are compared here, page by page."""
    rows = 10_400
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"n": np.arange(rows), "v": dkv.VectorArray(rng.standard_normal((rows, 4)).astype("f4"))})
    with frame.vec.push(target, index="flat") as store:
        query = rng.standard_normal(4).astype("f4")
        ours, theirs = store.search(query, k=10_200), frame.vec.search(query, 10_200)
        assert store.last.plan == "exact, over fetched vectors"
        assert ours.index.tolist() == theirs.index.tolist()
        np.testing.assert_allclose(ours["distance"], theirs["distance"], atol=1e-5)
        batches = list(store.scan(batch_size=7_000))
        assert [len(one) for one in batches] == [7_000, 3_400]
        assert sorted(key for one in batches for key in one.index) == list(range(rows))
        assert len(store.to_frame()) == store.count() == rows
        assert len(store.delete(where="n >= 100") and store.to_frame()) == 100


# Never fewer in silence


class Starved(Search):
    """A search whose index finds one row of every query, whatever it is asked for."""

    tried = ()

    async def _hits(self, queries, k, candidates):
        type(self).tried = (*self.tried, candidates)
        return [one[:1] for one in await super()._hits(queries, k, candidates)]


def test_hits_that_the_index_misses_are_found_by_comparing(store, frame, queries, monkeypatch):
    monkeypatch.setattr("dkvector.backends._search_engine.Search", Starved)
    Starved.tried = ()
    found = store.search(queries[:3], k=5, where="kind == 'a'")
    assert found.groupby("query").size().tolist() == [5, 5, 5]
    theirs = frame.vec.search(queries[:3], 5, where="kind == 'a'")
    assert found.index.tolist() == theirs.index.tolist()
    assert (store.last.plan, store.last.shortfall) == ("exact, over fetched vectors of the matching rows", 0)
    first, again = Starved.tried
    assert again >= 10 * first or again == 10_000  # once more, and wider


def test_a_shortfall_that_remains_is_told(store, queries, monkeypatch):
    monkeypatch.setattr("dkvector.backends._search_engine.Search", Starved)
    monkeypatch.setattr(_engine_search, "MOST", 50)  # too many match to be compared
    found = store.search(queries[:3], k=5)
    assert len(found) == 3
    assert store.last.shortfall == 12
    told = store.explain(queries[:3], k=5)
    assert (told.shortfall, told.returned, told.rows) == (12, 3, ROWS)
    assert "12 short" in str(told)


def test_few_candidates_still_fill_k_under_a_filter(store, frame, queries):
    for share in (0.5, 0.1, 0.01, 0.002):
        where = dkv.col("u") < share
        expected = min(10, int((frame["u"] < share).sum()))
        found = store.search(queries, k=10, where=where, tuning={"candidates": 10})
        assert found.groupby("query").size().tolist() == [expected] * len(queries)
        assert (frame.loc[found.index, "u"] < share).all()


# What is told


def test_explain_tells_what_was_asked(store, queries, frame):
    told = store.explain(queries[0], k=5, where="kind == 'a' and u < 0.5", tuning={"ef_search": 300})
    matching = int(((frame["kind"] == "a") & (frame["u"] < 0.5)).sum())
    assert (told.backend, told.rows, told.matching, told.returned) == (store.name, ROWS, matching, 5)
    assert told.plan == "hnsw index, filtered inside"
    shown = str(told.native["dsl"])
    assert "'kind.keyword': {'value': 'a'}" in shown
    assert "300" in shown
    assert len(shown) < 1000  # no vector
    exact = store.explain(queries[0], k=5, tuning={"exact": True})
    assert exact.plan.startswith("exact")
    assert (exact.matching, exact.shortfall) in {(None, 0), (ROWS, 0)}


def test_a_store_shows_its_index_and_no_credentials(engine_url, store):
    again = dkv.connect(engine_url, table=store.store._index)
    text, page = repr(again), again._repr_html_()
    assert text == f"<{type(again.store).__name__}: v vector[64] by cosine; 6 payload columns>"
    assert "hnsw m=16" in page
    assert again.store._index in page
    assert engine_url.partition("//")[2] in page
    again.close()


def test_stats_are_the_server_s(store, engine_url):
    stats = store.stats()
    told = asked(http(engine_url), f"/{store.store._index}/_stats/store")["_all"]["primaries"]["store"]
    assert stats["rows"] == ROWS
    assert stats["vector_bytes"] == ROWS * DIMENSIONS * 4
    assert stats["disk_bytes"] == pytest.approx(told["size_in_bytes"], rel=0.3)


# Words


def test_words_are_looked_for_as_the_index_was_told_to(target, frame):
    words = frame.head(3).assign(text=["Red_Fox", "red fox", "fox, red: FOX"])[["text", "v"]]
    with words.vec.push(target | {"analyzer": "whitespace"}) as store:
        assert store.keyword_search("fox").index.tolist() == ["id 0001"]
        assert store.keyword_search("red:").index.tolist() == ["id 0002"]
    with words.vec.push(target | {"analyzer": "standard"}, mode="replace") as store:
        assert store.keyword_search("fox").index.tolist() == ["id 0002", "id 0001"]
        marked = store.keyword_search("fox", highlight=True)["highlight"]
        assert marked.loc["id 0001"] == "red <em>fox</em>"
