"""Queries and vector queries."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from dkvector.errors import FilterError, UnsupportedError, VectorError
from dkvector.filters import as_filter, col
from dkvector.metrics import DistanceMetric
from dkvector.query import Operator, Query, VectorQuery

NOUNS = Query().filter("pos", "=", "noun").filter("depth", Operator.GT, 4)


def test_each_step_gives_a_new_query():
    start = Query()
    full = start.filter("a", ">", 1).sort("b", ascending=False).sort("c").limit(10).offset(5).select("a", "b")
    assert start == Query()
    assert full == Query(col("a") > 1, (("b", False), ("c", True)), 10, 5, ("a", "b"))
    with pytest.raises(FrozenInstanceError):
        full.limit_value = 3


def test_conditions_add_up():
    assert NOUNS.where_filter == (col("pos") == "noun") & (col("depth") > 4)
    assert NOUNS.where("n < 3").where(None).where_filter == NOUNS.where_filter & (col("n") < 3)
    assert as_filter(NOUNS) == NOUNS.where_filter
    assert as_filter(Query()) is None


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("=", 1, col("a") == 1),
        ("==", 1, col("a") == 1),
        ("!=", 1, col("a") != 1),
        ("<>", 1, col("a") != 1),
        (">", 1, col("a") > 1),
        (">=", 1, col("a") >= 1),
        ("<", 1, col("a") < 1),
        ("<=", 1, col("a") <= 1),
        ("in", [1, 2], col("a").isin([1, 2])),
        ("NOT IN", [1, 2], ~col("a").isin([1, 2])),
        ("like", "x%", col("a").like("x%")),
        ("not_like", "x%", ~col("a").like("x%")),
        ("contains", "x", col("a").contains("x")),
        ("startswith", "x", col("a").startswith("x")),
        ("exists", None, col("a").not_null()),
        ("not_exists", None, col("a").is_null()),
        ("between", (1, 2), (col("a") >= 1) & (col("a") <= 2)),
        ("not_between", [1, 2], (col("a") < 1) | (col("a") > 2)),
    ],
)
def test_every_operator(operator, value, expected):
    assert Query().filter("a", operator, value).where_filter == expected
    assert Operator.of(operator).filter("a", value) == expected


def test_no_operator_is_left_out():
    for operator in Operator:
        value = None if "exists" in operator.value else ("x", "y") if "in" in operator.value.split("_") else "x"
        value = ("x", "y") if "between" in operator.value else value
        assert operator.filter("a", value).columns() == {"a"}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Query().filter("a", "betwen", (1, 2)), "no operator 'betwen'; did you mean 'between'"),
        (lambda: Query().filter("a", "between", 3), "takes a pair"),
        (lambda: Query().filter("a", "exists", 3), "takes no value"),
        (lambda: Query().filter("a", "=", None), "missing value"),
        (lambda: Query().limit(-1), "limit must be a whole number of at least 0, not -1"),
        (lambda: Query().limit(None), "limit must be a whole number of at least 0, not None"),
        (lambda: Query().limit(2.0), "limit must be a whole number of at least 0, not 2.0"),
        (lambda: Query().offset(1.5), "offset must be a whole number"),
        (lambda: VectorQuery(np.ones(2), k=0), "k must be a whole number of at least 1, not 0"),
        (lambda: Query.from_dict({"limit": -1}), "limit must be a whole number of at least 0, not -1"),
        (lambda: Query(offset_value=-1), "offset must be a whole number of at least 0, not -1"),
        (lambda: VectorQuery(np.ones(2), k=True), "k must be a whole number of at least 1, not True"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(FilterError, match=message):
        build()


def test_a_vector_search_takes_the_conditions_and_not_itself():
    query = NOUNS.sort("depth").limit(3).with_vector_search([1, 2], field="v", k=4, metric="l2")
    assert query.vector_query == VectorQuery(np.float32([1, 2]), "v", 4, DistanceMetric.EUCLIDEAN, NOUNS)
    assert query.vector_query.filter.vector_query is None
    assert query.where_filter == NOUNS.where_filter
    assert Query().with_vector_search([1.0]).vector_query.filter is None


def test_a_condition_added_after_the_vector_search_counts_in_it():
    after = Query().with_vector_search([1.0]).filter("pos", "=", "noun").filter("depth", ">", 4)
    before = NOUNS.with_vector_search([1.0])
    assert after == before


def test_the_seeds_keys():
    query = NOUNS.with_vector_search(np.array([1.0, 2.0]), k=3)
    assert query.vector_query.to_dict() == {
        "vector": [1.0, 2.0],
        "vector_field": "embedding",
        "k": 3,
        "metric": "cosine",
        "filter": NOUNS.to_dict(),
        "include_scores": True,
    }
    assert VectorQuery(np.ones(1)).to_dict()["filter"] is None


def test_queries_survive_json():
    query = (
        NOUNS.where(col("x").is_null() | ~col("y").isin([1, 2]))
        .sort("b", ascending=False)
        .limit(10)
        .offset(5)
        .select("a")
        .with_vector_search([0.1, 2.0], metric="dot_product")
    )
    again = Query.from_dict(json.loads(json.dumps(query.to_dict())))
    assert again == query
    assert hash(again) == hash(query)
    assert Query.from_dict(json.loads(json.dumps(Query().to_dict()))) == Query()
    assert VectorQuery.from_dict(json.loads(json.dumps(query.vector_query.to_dict()))) == query.vector_query


def test_vector_queries_differ_by_vector_and_the_rest():
    query = VectorQuery(np.ones(2))
    assert query == VectorQuery(np.ones(2, np.float16))
    assert query != VectorQuery(np.zeros(2))
    assert query != VectorQuery(np.ones(2), k=3)
    assert query != VectorQuery(np.ones(2), include_scores=False)


@pytest.mark.parametrize("vector", [[1.0, float("nan")], [[1.0, 2.0]], "text", []])
def test_a_query_takes_one_finite_vector(vector):
    with pytest.raises(VectorError):
        VectorQuery(vector)


def test_an_unknown_metric_is_refused():
    with pytest.raises(UnsupportedError, match="no metric 'cosinus'"):
        VectorQuery(np.ones(2), metric="cosinus")
