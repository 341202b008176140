"""The exact search finds what a loop over all rows finds: the same rows, ties in the same order."""

from itertools import pairwise
from unittest.mock import patch

import faiss
import hypothesis.extra.numpy as arrays
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvector.backends import _topk
from dkvector.backends._topk import Block, search
from dkvector.metrics import DistanceMetric
from dkvector.registry import connect

COSINE, EUCLIDEAN, DOT = DistanceMetric


def every_distance(queries, matrix, metric):
    """Distances `(q, n)` in double precision, from the vectors themselves."""
    q, v = queries.astype(np.float64)[:, None], matrix.astype(np.float64)[None]
    if metric is EUCLIDEAN:
        return np.sqrt(((q - v) ** 2).sum(axis=2))
    dots = (q * v).sum(axis=2)
    return -dots if metric is DOT else 1 - dots / np.sqrt((q**2).sum(axis=2) * (v**2).sum(axis=2))


def naive(queries, matrix, k, metric, *, allowed, order):
    """For each query the k nearest of the allowed rows, ties by their place in `order`."""
    distances = np.round(every_distance(queries, matrix, metric), 12)
    return [sorted(allowed, key=lambda row, one=one: (one[row], order[row]))[:k] for one in distances]


def cut(matrix, at):
    edges = [0, *sorted(at), len(matrix)]
    return [Block(i, matrix[i:j]) for i, j in pairwise(edges)]


def split(near):
    return [part.tolist() for part in np.split(near.positions, np.cumsum(near.counts)[:-1])]


def whole_numbers(rows, dimensions):
    """Small whole numbers make ties; none is the zero vector, which has no direction."""
    drawn = arrays.arrays(np.float32, (rows, dimensions), elements=st.integers(-2, 2))
    return drawn.map(lambda matrix: np.where(matrix.any(axis=1, keepdims=True), matrix, np.float32(1)))


@st.composite
def searches(draw):
    rows, dimensions = draw(st.integers(1, 60)), draw(st.integers(1, 5))
    allowed = draw(st.none() | st.sets(st.integers(0, rows - 1)).map(sorted))
    return {
        "matrix": draw(whole_numbers(rows, dimensions)),
        "queries": draw(st.integers(0, 4).flatmap(lambda count: whole_numbers(count, dimensions))),
        "k": draw(st.integers(1, 70)),
        "cuts": draw(st.sets(st.integers(1, rows), max_size=3)),
        "allowed": None if allowed is None else np.array(allowed, np.intp),
        "order": np.array(draw(st.permutations(range(rows)))),
    }


@pytest.mark.parametrize("metric", [EUCLIDEAN, DOT])
@pytest.mark.parametrize(("together", "ties"), [(1024, 4096), (2, 1)], ids=["at once", "bit by bit"])
@settings(max_examples=150)
@given(case=searches())
def test_rows_and_ties_are_those_of_a_loop(metric, together, ties, case):
    matrix, queries, k, allowed, order = (case[name] for name in ("matrix", "queries", "k", "allowed", "order"))
    with patch.multiple(_topk, QUERIES=together, TIES=ties):
        near = search(cut(matrix, case["cuts"]), queries, k, metric, rows=allowed, ranks=lambda at: order[at])
    rows = range(len(matrix)) if allowed is None else allowed
    expected = naive(queries, matrix, k, metric, allowed=rows, order=order)
    assert (split(near) if len(queries) else []) == expected
    assert near.counts.tolist() == [len(one) for one in expected]
    truth = every_distance(queries, matrix, metric)
    assert near.distances.dtype == np.float32
    np.testing.assert_allclose(
        near.distances, [truth[i, row] for i, one in enumerate(expected) for row in one], rtol=1e-6
    )


@settings(max_examples=150)
@given(case=searches())
def test_cosine_finds_the_distances_of_a_loop(case):
    matrix, queries, k, allowed = (case[name] for name in ("matrix", "queries", "k", "allowed"))
    near = search(cut(matrix, case["cuts"]), queries, k, COSINE, rows=allowed)
    truth = every_distance(queries, matrix, COSINE)
    rows = np.arange(len(matrix)) if allowed is None else allowed
    assert near.counts.tolist() == [min(k, len(rows))] * len(queries)
    found = near.positions.reshape(len(queries), min(k, len(rows)))
    assert all(len(set(one)) == len(one) and set(one) <= set(rows.tolist()) for one in found.tolist())
    distances = near.distances.reshape(found.shape)
    np.testing.assert_allclose(distances, np.take_along_axis(truth, found, 1), atol=1e-6)
    np.testing.assert_allclose(distances, np.sort(truth[:, rows], axis=1)[:, :k], atol=1e-6)


def test_without_ranks_ties_come_by_row():
    near = search(cut(np.ones((6, 2), np.float32), [2]), np.ones((1, 2), np.float32), 4, EUCLIDEAN)
    assert near.positions.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("metric", list(DistanceMetric))
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_odd_cuts_lose_nothing(metric, share):
    rng = np.random.default_rng(4)
    matrix = rng.standard_normal((5000, 16)).astype(np.float32)
    queries = rng.standard_normal((23, 16)).astype(np.float32)
    rows = np.flatnonzero(rng.random(5000) < share)
    with patch.multiple(_topk, QUERIES=7, CELLS=1, PAIRS=13):
        near = search(cut(matrix, [1, 1025, 1026, 4999]), queries, 20, metric, rows=None if share == 1 else rows)
    expected = rows[np.argsort(every_distance(queries, matrix[rows], metric), axis=1)[:, :20]]
    np.testing.assert_array_equal(near.positions.reshape(23, 20), expected)


@pytest.mark.parametrize("metric", list(DistanceMetric))
@pytest.mark.parametrize("copies", [3000, 6000], ids=["few enough to carry", "more than are carried"])
def test_ties_beyond_all_measure_come_by_rank(metric, copies):
    rng = np.random.default_rng(5)
    matrix = rng.standard_normal((copies + 500, 8)).astype(np.float32)
    matrix[250:-250] = matrix[250]
    order = rng.permutation(len(matrix))
    blocks = cut(matrix, [1000, 2500])
    near = search(blocks, matrix[250:251] * 2, 9, metric, ranks=lambda at: order[at])
    truth = every_distance(matrix[250:251] * 2, matrix, metric)[0]
    best = np.lexsort((order, np.round(truth, 6)))[:9]
    assert near.positions.tolist() == best.tolist()


@pytest.mark.parametrize("offset", [30, 1000, 10_000])
def test_a_far_crowd_keeps_its_digits(offset):
    """‖q‖² + ‖v‖² - 2q·v would be off by more than the distances themselves."""
    rng = np.random.default_rng(6)
    matrix = (offset + rng.standard_normal((8000, 4))).astype(np.float32)
    queries = (offset + rng.standard_normal((5, 4))).astype(np.float32)
    near = search(cut(matrix, [3000]), queries, 10, EUCLIDEAN)
    truth = np.sort(every_distance(queries, matrix, EUCLIDEAN), axis=1)[:, :10]
    np.testing.assert_allclose(near.distances.reshape(5, 10), truth, rtol=1e-5)


@pytest.mark.parametrize("offset", [300, 1000])
def test_a_far_crowd_keeps_its_digits_in_faiss(offset, monkeypatch):
    monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 20)
    rng = np.random.default_rng(0)
    matrix = (offset + rng.standard_normal((10_000, 8))).astype(np.float32)
    queries = (offset + rng.standard_normal((100, 8))).astype(np.float32)
    with connect({"backend": "faiss", "metric": "euclidean"}) as store:
        store.upsert(pd.DataFrame({"v": list(matrix)}))
        found = store.search(queries, k=10)
    truth = np.sort(every_distance(queries, matrix, EUCLIDEAN), axis=1)[:, :10]
    np.testing.assert_allclose(found.distance.to_numpy().reshape(100, 10), truth, rtol=1e-5)


@pytest.mark.parametrize("metric", list(DistanceMetric))
def test_norms_of_every_size(metric):
    rng = np.random.default_rng(7)
    sizes = 10.0 ** np.linspace(-9, 9, 3000)
    matrix = (rng.standard_normal((3000, 8)) * sizes[:, None]).astype(np.float32)
    queries = (rng.standard_normal((3, 8)) * np.array([[1e-6], [1], [1e6]])).astype(np.float32)
    near = search(cut(matrix, [1000, 2000]), queries, 15, metric)
    truth = every_distance(queries, matrix, metric)
    own = np.take_along_axis(truth, near.positions.reshape(3, 15), axis=1)
    best = np.sort(truth, axis=1)[:, :15]
    np.testing.assert_allclose(own, best, rtol=1e-5, atol=1e-6 if metric is COSINE else 0)
    np.testing.assert_allclose(near.distances.reshape(3, 15), best, rtol=1e-5, atol=1e-6 if metric is COSINE else 0)


def test_no_rows_and_no_queries():
    some = np.ones((2, 3), np.float32)
    assert search([], some, 5, DOT).counts.tolist() == [0, 0]
    assert search(cut(some, []), some, 5, DOT, rows=np.empty(0, np.intp)).counts.tolist() == [0, 0]
    assert search(cut(some, []), np.empty((0, 3), np.float32), 5, DOT).counts.tolist() == []
