"""Exact search with Faiss, for one query and for very many: the same rows as ours, also among ties."""

import faiss
import numpy as np
import pandas as pd
import pytest

from dkvector.backends import _topk
from dkvector.backends._faiss_knn import ONE_BY_ONE, FaissKnn, many, one_by_one, products_for
from dkvector.backends._products import multiplied
from dkvector.backends._topk import Block
from dkvector.indexes import IVF, Flat
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
def test_faiss_finds_what_ours_finds(metric, k):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((60, DIMENSIONS)).astype("f4")
    block, query = Block(0, rows), rng.standard_normal((1, DIMENSIONS)).astype("f4")
    ours = _topk.search([block], query, k, metric)
    by_batch = FaissKnn(block, metric).nearest(query, k, lambda _: pytest.fail("nothing is tied"))
    alone = _topk.search([block], query, k, metric, products=products_for(1))
    for theirs in (by_batch, alone):
        assert theirs.positions.tolist() == ours.positions.tolist()
        np.testing.assert_allclose(theirs.distances, ours.distances, atol=1e-6)


@pytest.mark.parametrize("queries", [1, 2, ONE_BY_ONE])
def test_products_one_by_one(queries):
    rng = np.random.default_rng(2)
    some, rows = (rng.standard_normal((count, DIMENSIONS)).astype("f4") for count in (queries, 33))
    space = np.empty(queries * 33, np.float32)
    np.testing.assert_allclose(one_by_one(some, rows, space), some @ rows.T, atol=1e-5)
    np.testing.assert_allclose(multiplied(some, rows, space), some @ rows.T, atol=1e-5)


@pytest.mark.parametrize(("queries", "threads", "alone"), [(1, 2, True), (3, 4, True), (4, 2, False), (1, 5, False)])
def test_few_queries_are_compared_one_by_one_where_cores_are_few(monkeypatch, queries, threads, alone):
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: threads)
    assert (products_for(queries).whole is one_by_one) == alone


def test_the_threads_are_as_before(frame):
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(before + 1)
    try:
        with frame.vec.push("faiss", index=IVF(lists=2)) as store:
            store.search(frame.v.iloc[0])
        assert faiss.omp_get_max_threads() == before + 1
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize(("scale", "asked"), [(1, True), (3, False)])
def test_a_batch_is_given_to_faiss_where_its_product_is_the_cosine(frame, monkeypatch, scale, asked):
    calls = []
    knn = faiss.knn
    monkeypatch.setattr(faiss, "knn", lambda *args, **kinds: calls.append(1) or knn(*args, **kinds))
    vectors = [scale * one for one in frame.v]
    with frame.assign(v=vectors).vec.push("faiss", index=Flat()) as store:
        found = store.search(np.tile(frame.v.iloc[0], (MANY, 1)), k=1)
    assert (set(found.index), bool(calls)) == ({"r99"}, asked)
