"""Exact search that Faiss answers, for one query and for very many: the same rows as ours, also among ties."""

import faiss
import numpy as np
import pandas as pd
import pytest

from dkvector.backends import _faiss_knn, _topk
from dkvector.backends._faiss_knn import ONE_BY_ONE, FaissKnn, many
from dkvector.backends._topk import Block
from dkvector.indexes import Flat
from dkvector.metrics import DistanceMetric

DIMENSIONS, TWINS = 8, 30
MANY = 16_000  # queries of so many dimensions, for which Faiss multiplies matrices


@pytest.fixture(scope="module")
def frame():
    """Fifty unit vectors, thirty of them the same; ids fall as positions rise."""
    vectors = np.random.default_rng(0).standard_normal((50, DIMENSIONS)).astype("f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[10 : 10 + TWINS] = vectors[10]
    return pd.DataFrame({"v": list(vectors)}, index=[f"r{99 - i:02d}" for i in range(len(vectors))])


@pytest.mark.parametrize("metric", list(DistanceMetric))
@pytest.mark.parametrize("count", [1, ONE_BY_ONE, ONE_BY_ONE + 1, MANY])
def test_of_more_ties_than_places_the_first_ids_come(frame, metric, count):
    twin = np.float32(frame.v.iloc[10])
    assert many(np.tile(twin, (count, 1))) == (count == MANY)
    with frame.vec.push("faiss", index=Flat(), metric=metric) as store:
        found = store.search(np.tile(twin, (count, 1)), k=5)
    assert found.index.tolist() == ["r60", "r61", "r62", "r63", "r64"] * count


@pytest.mark.parametrize("metric", list(DistanceMetric))
@pytest.mark.parametrize("k", [1, 7, 50, 80])
def test_one_query_finds_what_ours_finds(metric, k):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((60, DIMENSIONS)).astype("f4")
    block, query = Block(0, rows), rng.standard_normal((1, DIMENSIONS)).astype("f4")
    ours = _topk.search([block], query, k, metric)
    theirs = FaissKnn(block, metric).nearest(query, k, lambda _: pytest.fail("nothing is tied"))
    assert theirs.positions.tolist() == ours.positions.tolist()
    np.testing.assert_allclose(theirs.distances, ours.distances, atol=1e-6)


def test_the_threads_are_as_before(frame):
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(before + 1)
    try:
        with frame.vec.push("faiss", index=Flat()) as store:
            store.search(frame.v.iloc[0])
        assert faiss.omp_get_max_threads() == before + 1
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize(("scale", "asked"), [(1, True), (3, False)])
def test_faiss_is_asked_where_its_product_is_the_cosine(frame, monkeypatch, scale, asked):
    calls = []
    knn = _faiss_knn.faiss.knn
    monkeypatch.setattr(_faiss_knn.faiss, "knn", lambda *args, **kinds: calls.append(1) or knn(*args, **kinds))
    vectors = [scale * one for one in frame.v]
    with frame.assign(v=vectors).vec.push("faiss", index=Flat()) as store:
        found = store.search(frame.v.iloc[0], k=1)
    assert (found.index.tolist(), bool(calls)) == (["r99"], asked)
