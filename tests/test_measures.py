"""Figures of merit equal those of a few plain lines, and their intervals hold what they promise."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkvector.evaluation import measures
from dkvector.evaluation.judged import read_relevances
from dkvector.evaluation.measures import Answers, Relevances
from dkvector.evaluation.truth import Truth
from dkvector.metrics import DistanceMetric


def truth_of(*distances, k=3):
    """The k nearest rows by these distances of every row from each query, which may be infinite."""
    order = [np.argsort(row, kind="stable")[:k] for row in distances]
    order = [found[np.isfinite(np.asarray(row)[found])] for row, found in zip(distances, order, strict=True)]
    counts = np.array([len(found) for found in order])
    near = [np.asarray(row)[found] for row, found in zip(distances, order, strict=True)]
    labels, flat = pd.RangeIndex(len(distances)), np.concatenate(order)
    own = np.full(len(distances), -1)
    distance = np.concatenate(near).astype("f4")
    metric, rows = DistanceMetric.EUCLIDEAN, len(distances[0])
    return Truth(pd.Index(flat), flat, distance, counts, k, metric, labels, own, rows, rows)


def answers_of(distances, *found):
    """What was found for each query; a row of -1 is not there."""
    query = np.repeat(np.arange(len(found)), [len(rows) for rows in found])
    row = np.array([one for rows in found for one in rows], np.intp)
    far = [np.inf if one < 0 else distances[at][one] for at, one in zip(query, row, strict=True)]
    return Answers(query, row, np.array(far, "f4"), len(found))


def recall(distances, found, k=3):
    slack = np.zeros(len(found), "f4")
    return measures.recall(answers_of(distances, *found), truth_of(*distances, k=k), slack).tolist()


@pytest.mark.parametrize(
    ("distances", "found", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 1, 2], 1.0),
        ([0.1, 0.2, 0.3, 0.4], [2, 1, 0], 1.0),
        ([0.1, 0.2, 0.3, 0.4], [0, 1, 3], 2 / 3),
        ([0.1, 0.2, 0.3, 0.4], [3], 0.0),
        ([0.1, 0.2, 0.3, 0.4], [], 0.0),
        ([0.1, 0.2, 0.2, 0.2, 0.2], [0, 3, 4], 1.0),  # ties at the third place: any of them will do
        ([0.1, 0.2, 0.2, 0.2, 0.2], [3, 4, 1], 1.0),  # even all of them, in place of the first
        ([0.2, 0.2, 0.2, 0.2, 0.2], [4, 4, 4], 1 / 3),  # but a row counts once
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 2], 1.0),  # which leaves room for what comes after it
        ([0.1, 0.2, 0.3, 0.4], [3, 3, 0, 1, 2], 2 / 3),  # but not for more than k
        ([0.1, 0.2, np.inf, np.inf], [0, 1], 1.0),  # fewer rows match than k: all there are is all there is
        ([0.1, 0.2, np.inf, np.inf], [0, -1, -1], 0.5),
        ([0.1, np.inf, np.inf, np.inf], [1, 2, 3], 0.0),
        ([0.1, 0.2, 0.3, 0.4], [-1, -1, 0], 1 / 3),
        ([0.1, 0.2, 0.3, 0.4], [-1, -1, -1, 0], 0.0),  # rows that are not there take places too
    ],
)
def test_recall_of_one_query(distances, found, expected):
    assert recall([distances], [found]) == pytest.approx([expected])


def test_recall_is_unknown_where_no_row_matches():
    both = recall([[np.inf, np.inf], [0.1, 0.2]], [[], [0, 1]], k=2)
    assert np.isnan(both[0])
    assert both[1] == 1.0
    assert measures.mean(np.array(both)) == 1.0
    assert np.isnan(measures.mean(np.array([np.nan])))


def test_slack_takes_rounding_beyond_the_kth_and_no_more():
    found, truth = answers_of([[0.1, 0.2, 0.3]], [0, 2]), truth_of([0.1, 0.2, 0.3], k=2)
    assert measures.recall(found, truth, np.float32([0.09])).tolist() == [0.5]
    assert measures.recall(found, truth, np.float32([0.11])).tolist() == [1.0]


distances = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@given(distances, st.data(), st.integers(1, 6))
def test_recall_equals_counting_by_hand(row, data, k):
    found = data.draw(st.lists(st.integers(0, len(row) - 1), max_size=8))
    want = min(k, len(row))
    kth = sorted(row)[want - 1]
    once = list(dict.fromkeys(found))[:k]
    good = sum(row[one] <= kth for one in once)
    assert recall([[float(one) for one in row]], [found], k=k) == [pytest.approx(min(good, want) / want)]


def judged(*right, rows=10):
    pairs = [(query, row, gain) for query, found in enumerate(right) for row, gain in found.items()]
    query, row, gain = (np.array(part) for part in zip(*pairs, strict=True))
    return Relevances(query.astype(np.intp), row.astype(np.intp), gain.astype("f8"), len(right), rows)


FLAT = [[float(one) for one in range(10)]] * 4


def test_mrr_ndcg_and_recall_of_relevant_rows():
    known = judged({3: 1}, {1: 1, 2: 1}, {}, {5: 3, 6: 1})
    found = answers_of(FLAT, [0, 3, 1], [1, 9, 2], [0, 1, 2], [6, 0, 5])
    np.testing.assert_allclose(known.mrr(found, 3), [1 / 2, 1, np.nan, 1])
    np.testing.assert_allclose(known.recall(found, 3), [1, 1, np.nan, 1])
    np.testing.assert_allclose(known.recall(found, 1), [0, 0.5, np.nan, 0.5])
    log = np.log2([2, 3, 4])
    best = [1 / log[0], 1 / log[0] + 1 / log[1], np.nan, 3 / log[0] + 1 / log[1]]
    got = [1 / log[1], 1 / log[0] + 1 / log[2], np.nan, 1 / log[0] + 3 / log[2]]
    np.testing.assert_allclose(known.ndcg(found, 3), np.array(got) / best)


def test_what_is_not_found_gains_nothing_and_more_relevant_rows_than_k_are_no_fault():
    known = judged({3: 1}, dict.fromkeys(range(8), 1))
    found = answers_of(FLAT, [0, 1], [0, 1])
    assert known.mrr(found, 2).tolist() == [0, 1]
    assert known.ndcg(found, 2).tolist() == [0, 1]
    assert known.recall(found, 2).tolist() == [0, 0.25]


def test_a_relevant_row_that_comes_twice_gains_once():
    known, found = judged({3: 1, 4: 1}), answers_of(FLAT, [3, 3, 3])
    assert known.recall(found, 3).tolist() == [0.5]
    assert known.ndcg(found, 3)[0] == pytest.approx(1 / (1 + 1 / np.log2(3)))


@pytest.mark.parametrize(
    "twice",
    [
        pd.DataFrame({"query": ["q", "q", "q", "r"], "row": ["b", "b", "a", "c"], "gain": [1, 2, 1, 1]}),
        pd.DataFrame({"query": ["q", "q", "q", "r"], "row": ["b", "a", "b", "c"], "gain": [2, 1, 1, 1]}),
    ],
)
def test_a_pair_that_is_judged_twice_counts_once_by_its_largest_gain(twice):
    once = read_relevances({"q": {"b": 2, "a": 1}, "r": "c"}, pd.Index(["q", "r"]), pd.Index(list("abc")))
    both = read_relevances(twice, pd.Index(["q", "r"]), pd.Index(list("abc")))
    assert both.counts.tolist() == [2, 1]
    found = answers_of([[0.0] * 3] * 2, [1, 2], [0, 2])
    for figure in (Relevances.recall, Relevances.ndcg, Relevances.mrr):
        assert figure(both, found, 2).tolist() == figure(once, found, 2).tolist()
    assert both.recall(found, 2).tolist() == [0.5, 1]


def test_ndcg_is_that_of_scikit_learn():
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(0)
    gains = rng.integers(0, 4, (20, 10)) + np.eye(20, 10)  # none without a gain
    order = np.argsort(rng.random((20, 10)))
    scores = np.empty((20, 10))
    np.put_along_axis(scores, order, np.arange(10, 0, -1.0)[None].repeat(20, 0), axis=1)
    known = judged(*({one: gain for one, gain in enumerate(row) if gain} for row in gains))
    found = answers_of([FLAT[0]] * 20, *order.tolist())
    expected = [ndcg_score(gains[[at]], scores[[at]], k=5) for at in range(20) if gains[at].any()]
    got = known.ndcg(found, 5)
    np.testing.assert_allclose(got[~np.isnan(got)], expected)


def test_the_interval_holds_the_mean_as_often_as_it_promises():
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(200):
        values = rng.beta(8, 2, 150)
        low, high = measures.interval(values, seed)
        held += low <= 0.8 <= high
    assert 180 <= held <= 199


def test_the_interval_is_seeded_narrows_with_more_queries_and_leaves_out_what_is_unknown():
    values = np.random.default_rng(0).beta(8, 2, 400)
    one = measures.interval(values, 3)
    assert one == measures.interval(np.append(values, np.nan), 3)
    assert one != measures.interval(values, 4)
    few = measures.interval(values[:50], 3)
    assert few[1] - few[0] > 2 * (one[1] - one[0])
    assert all(np.isnan(measures.interval(np.array([np.nan]))))


def test_the_interval_of_very_many_queries_takes_little():
    values = np.random.default_rng(0).binomial(10, 0.9, 300_000) / 10
    tracemalloc.start()
    low, high = measures.interval(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * values.nbytes
    # as by the normal distribution
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=2e-4)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(len(values)), rel=0.1)


def test_a_mean_of_further_queries_hardly_falls_below_the_lower_bound():
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(400):
        values, again = rng.beta(8, 2, 120), rng.beta(8, 2, 60)
        missed += again.mean() < measures.lower_bound(values, 60, 1.645)
    assert 8 <= missed <= 35  # one in twenty is 20
    assert measures.lower_bound(np.array([1.0]), 10, 2.0) == -np.inf
