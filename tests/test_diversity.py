"""Maximal marginal relevance, against the formula written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dkvector as dkv
from dkvector.diversity import mmr
from dkvector.metrics import DistanceMetric


def similar(one, other, metric):
    match metric:
        case "cosine":
            return one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
        case "euclidean":
            return 1 / (1 + np.linalg.norm(one - other))
        case "dot_product":
            return one @ other


def naive(query, vectors, k, balance, metric):
    """The gain of every choice, and the choices, in double precision."""
    left, chosen = list(range(len(vectors))), []
    while left and len(chosen) < k:
        near = {
            at: balance * similar(query, vectors[at], metric)
            - (1 - balance) * max(similar(vectors[at], vectors[other], metric) for other in chosen)
            if chosen
            else similar(query, vectors[at], metric)
            for at in left
        }
        chosen.append(max(left, key=near.get))
        left.remove(chosen[-1])
    return chosen


@pytest.mark.parametrize("metric", list(DistanceMetric))
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), k=st.integers(0, 14), balance=st.floats(0, 1))
def test_choices_are_those_of_the_formula(metric, seed, n, k, balance):
    rng = np.random.default_rng(seed)
    query, vectors = rng.standard_normal(5), rng.standard_normal((n, 5))
    chosen = mmr(query, vectors, k, balance=balance, metric=metric)
    assert chosen.tolist() == naive(query, vectors, k, balance, metric)


def test_the_second_choice_is_not_the_firsts_twin():
    vectors = [[1, 0.1], [1, 0.11], [0.7, -0.7]]
    assert mmr([1, 0], vectors, 2).tolist() == [0, 2]
    assert mmr([1, 0], vectors, 3, balance=1).tolist() == [0, 1, 2]


def test_of_equal_ones_the_first_is_taken_and_none_twice():
    assert mmr([1, 0], np.ones((3, 2)), 5).tolist() == [0, 1, 2]


def test_nothing_to_choose_from_gives_nothing():
    assert mmr([1, 0], np.empty((0, 2)), 3).tolist() == []


def test_bad_knobs_are_refused():
    with pytest.raises(dkv.SchemaError, match="balance must be in"):
        mmr([1, 0], [[1, 0]], 1, balance=1.5)
    with pytest.raises(dkv.SchemaError, match="negative"):
        mmr([1, 0], [[1, 0]], -1)
    with pytest.raises(dkv.VectorError, match="3 dimensions, expected 2"):
        mmr([1, 0], [[1, 0, 0]], 1)
