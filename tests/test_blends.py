"""Blends against the formula written out, on frames and on stores."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dkvector as dkv
from dkvector.metrics import DistanceMetric
from dkvector.testing import naive_distance, sample_frame, sample_queries
from dkvector.testing.naive import naive_max, naive_mean, naive_rrf
from dkvector.testing.oracle import naive_search

METRICS = list(DistanceMetric)


@st.composite
def worlds(draw):
    """Rows with ties (whole numbers), and labels of rows to be like and unlike."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, like, unlike = draw(st.integers(3, 25)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    matrix = rng.integers(-3, 4, (rows, 3)).astype(np.float32)
    matrix[~matrix.any(axis=1)] = 1
    labels = [f"r{at:02}" for at in range(rows)]
    frame = pd.DataFrame({"n": range(rows), "embedding": list(matrix)}, index=labels)
    named = rng.permutation(labels)[: like + unlike].tolist()
    return frame, named[:like], named[like:], draw(st.integers(1, rows + 2))


def vectors(frame, labels):
    return np.stack([*frame.embedding[labels], np.zeros(3, np.float32)])[:-1]


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=50)
@given(world=worlds())
def test_the_nearest_example_counts_and_nearer_ones_push_away(metric, world):
    frame, like, unlike, k = world
    found = frame.vec.search(dkv.Blend(like=like, unlike=unlike, combine="max"), k=k, metric=metric)
    expected = naive_max(
        frame, vectors(frame, like), vectors(frame, unlike), k=len(frame), metric=metric, own=like + unlike
    )
    limits = np.array([distance for _, distance in expected])[: len(found)]
    assert len(found) == pytest.approx(min(k, len(expected)), abs=_doubtful(frame, like, unlike, metric))
    if len(found) == min(k, len(expected)):
        np.testing.assert_allclose(found["distance"], limits, atol=2e-5)


def _doubtful(frame, like, unlike, metric):
    """Count rows as near to an example as to a counterexample, but for rounding."""
    near, away = (
        [
            min((naive_distance(one, row, metric) for one in vectors(frame, some)), default=np.inf)
            for row in frame.embedding
        ]
        for some in (like, unlike)
    )
    return sum(abs(one - other) < 1e-5 for one, other in zip(near, away, strict=True))


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=50)
@given(world=worlds(), away=st.floats(0, 3), seed=st.integers(0, 1000))
def test_a_mean_is_the_formula(metric, world, away, seed):
    frame, like, unlike, k = world
    weights = np.random.default_rng(seed).uniform(0.1, 5, len(like)).tolist()
    made = naive_mean(vectors(frame, like), vectors(frame, unlike), metric, weights, away)
    if np.linalg.norm(made) < 1e-3:
        return
    blend = dkv.Blend(like=like, unlike=unlike, combine=weights, away=away)
    found = frame.vec.search(blend, k=k, metric=metric)
    expected = naive_search(frame.drop(like + unlike), made, k, metric)
    np.testing.assert_allclose(found["distance"], [distance for _, distance in expected], rtol=1e-3, atol=1e-4)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), size=st.integers(1, 4), k=st.integers(1, 12))
def test_ranks_are_fused(seed, size, k):
    frame, queries = sample_frame(20), sample_queries(size, seed=seed)
    found = frame.vec.search(dkv.Blend(queries, combine="rrf"), k=k)
    legs = [[label for label, _ in naive_search(frame, one, 100, DistanceMetric.COSINE)] for one in queries]
    assert found.index.tolist() == [label for label, _ in naive_rrf(legs, k)]


@pytest.mark.parametrize("metric", METRICS)
def test_the_mean_of_the_scores_orders_like_the_score_of_the_mean(metric):
    frame, queries = sample_frame(60), sample_queries(3)
    found = frame.vec.search(dkv.Blend(queries), k=60, metric=metric)
    parts = [frame.vec.search(one, k=60, metric=metric) for one in queries]
    column, sign, power = ("distance", 1, 2) if metric == "euclidean" else ("score", -1, 1)
    means = sum(one[column].reindex(found.index).astype(float) ** power for one in parts) * sign
    assert (np.diff(means) > -1e-4).all()


def test_examples_by_hand():
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]]}, index=list("abcd"))
    both = frame.vec.search(dkv.Blend(like=["a", "b"]), k=2)
    assert both.index.tolist() == ["c", "d"]
    assert both["score"].tolist() == pytest.approx([1, 0], abs=1e-6)
    away = frame.vec.search(dkv.Blend(like="a", unlike="b", away=1), k=1)  # 2 · (1, 0) - (0, 1)
    assert away.index.tolist() == ["d"]
    assert away["score"].iloc[0] == pytest.approx(3 / np.sqrt(10))


def test_texts_are_part_of_a_blend():
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]}, index=list("abc"))

    def encoder(texts):
        return [[1.0, 0.0] if text == "east" else [0.0, 1.0] for text in texts]

    blend = dkv.Blend([0.0, 1.0], text="east")
    assert frame.vec.search(blend, k=1, encoder=encoder).index.tolist() == ["c"]
    with frame.vec.push("exact", encoder=encoder) as store:
        assert store.search(blend, k=1).index.tolist() == ["c"]
        assert store.search([blend, dkv.Blend(text=["north", "east"])], k=1).index.tolist() == ["c", "c"]
    with pytest.raises(dkv.SchemaError, match="needs an encoder"):
        frame.vec.search(blend)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (dkv.Blend, "a blend takes vectors"),
        (lambda: dkv.Blend(unlike="a"), "a blend takes vectors"),
        (lambda: dkv.Blend(like="a", combine="median"), "no way to combine"),
        (lambda: dkv.Blend(like="a", unlike="b", combine="rrf"), "takes no unlike"),
        (lambda: dkv.Blend(like="a", away=-1), "at least 0"),
        (lambda: dkv.Blend(like="a", away=float("nan")), "at least 0"),
    ],
)
def test_blends_that_make_no_sense_are_refused(make, says):
    with pytest.raises(dkv.SchemaError, match=says):
        make()


@pytest.mark.parametrize(
    "asked",
    [
        {"query": sample_queries(1)[0], "fusion": dkv.RRF(weights=(3, 1))},
        {"query": sample_queries(2), "fusion": dkv.Weighted((0.2, 0.8))},
        {"query": {"other": sample_queries(1)[0], "embedding": sample_queries(1, seed=4)[0]}, "on": None},
        {"like": ["id 0003", "id 0009"]},
        {"query": dkv.Blend(like=["id 0003", "id 0009"], combine="max")},
    ],
    ids=["one", "many", "dict", "like", "blend"],
)
def test_several_columns_of_a_frame_are_searched_like_fields_of_a_store(asked):
    frame = sample_frame(120).assign(other=list(np.random.default_rng(5).standard_normal((120, 16))))
    asked = {"k": 5, "where": "x > -1", "columns": ["n"], "on": ["embedding", "other"]} | asked
    found = frame.vec.search(**asked)
    with frame.vec.push("exact") as store:
        asked["queries"], asked["field"] = asked.pop("query", None), asked.pop("on")
        pd.testing.assert_frame_equal(found, store.search(**asked), rtol=1e-5)


def test_rows_that_are_bad_in_one_of_several_columns_are_left_out():
    good, bad = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], [[1.0, 0.0], [np.nan, 0.0], [0.0, 1.0]]
    frame = pd.DataFrame({"v": good, "w": bad}, index=list("abc"))
    with pytest.raises(dkv.VectorError, match="'b'"):
        frame.vec.search([1.0, 0.0], on=["v", "w"])
    assert frame.vec.search([1.0, 0.0], on=["v", "w"], on_bad="drop").index.tolist() == ["a", "c"]
    assert frame.vec.search([1.0, 0.0], on=["v"]).index.tolist() == ["a", "b", "c"]
    with pytest.raises(dkv.NotFoundError, match="nope"):
        frame.vec.search([1.0, 0.0], on=["v", "nope"])


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_words_beside_a_blend_make_a_hybrid_search(combine):
    frame = sample_frame(50)
    blend = dkv.Blend(like=["id 0010", "id 0020"], combine=combine)
    with frame.vec.push("exact") as store:
        found = store.search(blend, text="plain", text_on="name", k=8)
        near, words = store.search(blend, k=100), store.keyword_search("plain", on="name", k=100)
        expected = naive_rrf([near.index.tolist(), words.index.tolist()], 8)
        assert found.index.tolist() == [label for label, _ in expected]
        assert found["vector_score"].dropna().tolist() == near["score"].reindex(found.index).dropna().tolist()
        with pytest.raises(dkv.SchemaError, match="fused ranking already"):
            store.search(dkv.Blend(like=["id 0010"], combine="rrf"), text="plain")


def test_ties_between_the_vectors_of_a_blend_come_by_id():
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]}, index=["b", "a"])
    with frame.vec.push("exact") as store:
        found = store.search(dkv.Blend([[1.0, 0.0], [0.0, 1.0]], combine="max"), k=2)
        assert found.index.tolist() == ["a", "b"]
        assert found["distance"].tolist() == [0, 0]


def test_no_more_than_k_come_where_the_filter_bars_the_examples_already():
    frame = sample_frame(100)
    with frame.vec.push("exact") as store:
        for asked in ({"like": "id 0001"}, {"queries": dkv.Blend(like=["id 0001", "id 0002"], unlike="id 0004")}):
            found = store.search(**asked, k=3, where="n > 50")
            assert found["rank"].tolist() == [1, 2, 3]
            assert (found["n"] > 50).all()


def test_each_vector_of_a_blend_is_verified():
    frame = sample_frame(200)
    with frame.vec.push("faiss", index="hnsw") as store:
        store.search(dkv.Blend(sample_queries(3), like="id 0003", combine="max"), verify=1.0)
        assert store.verified.queries == 4
        assert store.verified.recall > 0.9
        store.search(like=["id 0003", "id 0004"], k=3, verify=1.0)
        assert store.verified.queries == 6


def test_rows_of_one_label_are_told_apart_on_a_frame():
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]}, index=["a", "a", "b"])
    found = frame.vec.search(dkv.Blend([[1.0, 0.0], [0.0, 1.0]], combine="max"), k=3)
    assert found.index.tolist() == ["a", "b", "a"]
    assert frame.vec.search(dkv.Blend(like="b"), k=3).index.tolist() == ["a", "a"]
