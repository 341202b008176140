"""The planner takes the cheaper way, says which, and never at the cost of a row."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkvector.backends import _plan
from dkvector.backends._plan import exact_cost, graph_effort, lists_effort
from dkvector.filters import col
from dkvector.indexes import HNSW, IVF, Flat, Tuning
from dkvector.metrics import DistanceMetric
from dkvector.registry import connect
from dkvector.testing import naive_search

ROWS, DIMENSIONS = 3000, 8
SPECS = [HNSW(m=4), IVF(lists=40)]
counts = st.integers(1, 10**7)
shares = st.floats(1e-6, 1)


@given(st.tuples(counts, counts).map(sorted), st.integers(1, 1000), st.integers(1, 4096))
def test_more_matching_rows_cost_more_exactly(matching, queries, dimensions):
    few, many = (exact_cost(count, queries, dimensions) for count in matching)
    assert 0 < few <= many


@given(st.tuples(shares, shares).map(sorted), st.integers(1, 1000), st.integers(2, 64))
def test_a_graph_must_look_wider_for_rarer_rows(pair, ef_search, m):
    rare, common = (graph_effort(ef_search, m, share, 384) for share in pair)
    assert rare.ef_search >= common.ef_search >= ef_search
    assert rare.cost >= common.cost > 0


@given(st.tuples(shares, shares).map(sorted), st.integers(1, 100), st.integers(1, 5000))
def test_lists_must_be_read_in_number_for_rarer_rows(pair, probes, lists):
    rare, common = (lists_effort(min(probes, lists), lists, 10**6, share, 384) for share in pair)
    assert lists >= rare.probes >= common.probes >= min(probes, lists)


def test_costs_by_hand():
    assert exact_cost(1000, 1, 384) == pytest.approx(250)
    assert exact_cost(1000, 1, 768) == pytest.approx(500)
    assert exact_cost(1000, 100, 384) == pytest.approx(13.5)
    assert graph_effort(64, 16, 0.5, 384) == _plan.Effort(ef_search=128, cost=pytest.approx(184.32))
    assert graph_effort(64, 16, 0.5, 384, queries=100).cost == pytest.approx(92.16)
    effort = lists_effort(8, 100, 10_000, 0.25, 384)
    assert (effort.probes, effort.cost) == (32, pytest.approx(25 + 6.4 + 200))


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((ROWS, DIMENSIONS)).astype("f4")
    return pd.DataFrame({"n": rng.permutation(ROWS), "v": list(vectors)})


@pytest.fixture(scope="module", params=SPECS, ids=lambda spec: spec.kind)
def store(request, frame):
    with connect("faiss") as store:
        store.upsert(frame)
        store.build_index(request.param)
        yield store


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(3).standard_normal((12, DIMENSIONS)).astype("f4")


def kind(store):
    return store.indexes()["v"].kind


def test_an_index_that_was_built_is_searched(store, queries):
    assert store.explain(queries).plan == kind(store)
    assert store.explain(queries, tuning=Tuning(exact=False)).plan == kind(store)


def test_exact_is_exact(store, frame, queries):
    told = store.explain(queries, tuning=Tuning(exact=True), where="n < 1500")
    assert (told.plan, told.matching, told.shortfall) == ("exact over 1,500 candidates", 1500, 0)
    found = store.search(queries[0], k=20, tuning={"exact": True}, where="n < 1500")
    expected = naive_search(frame[frame.n < 1500], queries[0], 20, DistanceMetric.COSINE, field="v")
    assert found.index.tolist() == [label for label, _ in expected]


def test_few_matching_rows_are_compared_one_by_one(store, queries):
    told = store.explain(queries[0], k=5, where="n < 40")
    assert (told.plan, told.returned, told.native) == ("exact over 40 candidates", 5, {})


def test_a_filter_is_taken_into_the_index_when_told_to(store, queries):
    told = store.explain(queries, k=5, where="n < 1500", tuning=Tuning(exact=False, ef_search=50, probes=5))
    assert told.plan == f"{kind(store)} with a selector"
    wide = {"hnsw": {"ef_search": 100}, "ivf": {"probes": 10}}[kind(store)]
    assert {name: told.native[name] for name in wide} == wide
    assert str(told.matching) in str(told).replace(",", "")


def test_the_cheaper_way_is_taken(store, queries, monkeypatch):
    where, tuning = "n < 1500", Tuning()
    monkeypatch.setattr(_plan, "exact_cost", lambda *_: 1e9)
    assert store.explain(queries, where=where, tuning=tuning).plan == f"{kind(store)} with a selector"
    monkeypatch.setattr(_plan, "exact_cost", lambda *_: 0.0)
    assert store.explain(queries, where=where, tuning=tuning).plan == "exact over 1,500 candidates"


@pytest.fixture
def costly(monkeypatch):
    """Make comparing rows seem dear, so that the index is asked, and comes short."""
    monkeypatch.setattr(_plan, "exact_cost", lambda *_: 1e9)


@pytest.mark.usefixtures("costly")
@pytest.mark.parametrize(("below", "k"), [(b, k) for b in (1, 30, 300, 2900, ROWS) for k in (1, 10, 200)])
def test_k_rows_come_however_little_the_index_looks(store, frame, queries, below, k):
    tuning = Tuning(ef_search=1, probes=1)
    found = store.search(queries, k=k, where=col("n") < below, tuning=tuning)
    assert found["query"].value_counts().tolist() == [min(k, below)] * len(queries)
    assert (frame.n[found.index] < below).all()
    assert not found.reset_index().duplicated(["index", "query"]).any()
    assert store.last.shortfall == 0


def test_queries_that_came_short_are_completed_exactly(store, frame, queries, monkeypatch):
    monkeypatch.setattr(_plan, "exact_cost", lambda *_: 1e9)
    monkeypatch.setattr(_plan, "lists_effort", lambda *_, **__: _plan.Effort(probes=1))
    monkeypatch.setattr(_plan, "graph_effort", lambda *_, **__: _plan.Effort(ef_search=1))
    found = store.search(queries, k=60, where="n < 70")
    assert store.last.native["completed"] == "12 queries exactly"
    for i, query in enumerate(queries):
        expected = naive_search(frame[frame.n < 70], query, 60, DistanceMetric.COSINE, field="v")
        assert found.index[found["query"] == i].tolist() == [label for label, _ in expected]


def test_a_shortfall_that_was_asked_for_is_told(store, queries, monkeypatch):
    monkeypatch.setattr(_plan, "lists_effort", lambda *_, **__: _plan.Effort(probes=1))
    monkeypatch.setattr(_plan, "graph_effort", lambda *_, **__: _plan.Effort(ef_search=1))
    told = store.explain(queries, k=60, where="n < 70", tuning=Tuning(exact=False))
    assert told.shortfall == 12 * 60 - told.returned > 0
    assert f"{told.shortfall:,} short" in str(told)
    assert "completed" not in told.native


def test_rows_behind_the_index_are_found(store, queries):
    added = pd.DataFrame({"n": [5000, 5001], "v": [queries[0], queries[0] * 2]}, index=[90_000, 90_001])
    store.upsert(added)
    try:
        for tuning in (None, Tuning(exact=False), Tuning(exact=True)):
            assert sorted(store.search(queries[0], k=2, tuning=tuning).index) == [90_000, 90_001]
            assert store.search(queries[0], k=9, where="n == 5001", tuning=tuning).index.tolist() == [90_001]
    finally:
        store.delete([90_000, 90_001])


def test_without_an_index_every_row_is_compared(frame, queries):
    with connect("faiss") as store:
        store.upsert(frame)
        assert store.build_index(Flat()) == Flat()
        for tuning in (None, Tuning(exact=False)):
            assert store.explain(queries, tuning=tuning).plan == "exact"
