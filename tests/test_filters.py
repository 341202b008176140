"""The filter tree, `col`, and the forms of `where`."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvector.errors import FilterError
from dkvector.filters import (
    And,
    Compare,
    Filter,
    Ids,
    IsIn,
    IsNull,
    Or,
    TextMatch,
    as_filter,
    check_columns,
    col,
    parse,
)

ZONES = [ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")]  # Berlin was 53 minutes and 28 seconds off
SCALARS = st.one_of(
    st.text(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    st.booleans(),
    st.dates(),
    st.datetimes(),
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.sampled_from(ZONES)),  # noqa: DTZ001 - bounds are naive
    st.decimals(allow_nan=False, min_value=-(10**30), max_value=10**30),
    st.uuids(),
)
NAMES = st.one_of(
    st.sampled_from(["a", "my col", "class", "ids", "str", "`", "a`b", "", "ﬁ", "_c0_", "True"]), st.text()
)
LEAVES = st.one_of(
    st.builds(Compare, NAMES, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), SCALARS),
    st.builds(IsIn, NAMES, st.lists(SCALARS, max_size=3).map(tuple), st.booleans()),
    st.builds(IsNull, NAMES, st.booleans()),
    st.builds(TextMatch, NAMES, st.sampled_from(["like", "contains", "startswith"]), st.text(), st.booleans()),
    st.builds(Ids, st.lists(st.text() | st.integers(), max_size=3).map(tuple), st.booleans()),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda terms: And(tuple(terms))),
        st.lists(inner, max_size=3).map(lambda terms: Or(tuple(terms))),
        inner.map(lambda one: ~one),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(FILTERS)
def test_text_reads_back_to_the_same_tree(where):
    again = parse(str(where))
    assert again == where
    assert repr(again) == repr(where)  # 1 == 1.0 == True, but not in a filter


@settings(max_examples=300, deadline=None)
@given(FILTERS)
def test_json_reads_back_to_the_same_tree(where):
    again = Filter.from_dict(json.loads(json.dumps(where.to_dict(), allow_nan=False)))
    assert again == where
    assert repr(again) == repr(where)


@settings(max_examples=100, deadline=None)
@given(FILTERS)
def test_not_is_its_own_inverse(where):
    assert ~~where == where


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        (col("a") == 1, "a == 1"),
        (col("a") != "x", "a != 'x'"),
        (col("a") < 1.5, "a < 1.5"),
        (col("a") <= -1, "a <= -1"),
        (col("a") > float("-inf"), "a > -1e999"),
        (3 < col("a"), "a > 3"),  # noqa: SIM300 - the literal on the left is what is tested
        (np.int64(3) >= col("a"), "a <= 3"),
        (col("a").isin(np.array([1, 2])), "a in [1, 2]"),
        (~col("a").isin([]), "a not in []"),
        (col("a").between(1, 2), "a >= 1 and a <= 2"),
        (~col("a").between(1, 2), "a < 1 or a > 2"),
        (col("a").is_null(), "a.isna()"),
        (~col("a").is_null(), "a.notna()"),
        (col("a").not_null(), "a.notna()"),
        (col("my col").like("x%"), "`my col`.like('x%')"),
        (~col("a").contains("b"), "not a.str.contains('b')"),
        (col("a").contains("b."), "a.str.contains('b.', regex=False)"),
        (col("a").startswith("b."), "a.str.startswith('b.')"),
        (~((col("a") > 1) & (col("b") == 2) | (col("c") < 3)), "(a <= 1 or b != 2) and c >= 3"),
        (col("a") == date(2024, 1, 31), "a == date('2024-01-31')"),
        (col("a") == datetime(2024, 1, 31), "a == Timestamp('2024-01-31T00:00:00')"),  # noqa: DTZ001 - naive on purpose
        (~Ids((1, "b")), "not ids([1, 'b'])"),
        (And(()), "True"),
        (~And(()), "False"),
        (Or((col("a") > 1,)), "a > 1 or False"),
    ],
)
def test_every_form_as_text(where, shown):
    assert str(where) == shown
    assert repr(where) == f"<Filter: {shown}>"


def test_junctions_are_flat():
    a, b, c, d = (col(name) > 0 for name in "abcd")
    assert ((a & b) & (c & d)).terms == (a, b, c, d)
    assert (a | (b | (c & d))).terms == (a, b, c & d)
    assert And((a, Or((b,)))).terms == (a, Or((b,)))


def test_columns_are_those_that_are_read():
    where = (col("a") > 1) & (col("b").is_null() | ~col("c").like("x") | Ids((1,)))
    assert where.columns() == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int16(3), 3),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),  # noqa: FBT003 - the value under test
        (np.str_("x"), "x"),
        (np.datetime64("2024-01-01T00:00:00.000000001"), pd.Timestamp("2024-01-01T00:00:00.000000001")),
        (Decimal("Infinity"), float("inf")),
        (UUID(int=7), UUID(int=7)),
        (2**200, 2**200),
    ],
)
def test_values_become_plain_python(value, plain):
    [stored] = {(col("a") == value).value}
    assert stored == plain
    assert type(stored) is type(plain)


def test_a_time_keeps_its_zone():
    when = pd.Timestamp("2024-01-01 12:00:00.000000001", tz="Europe/Berlin")
    assert (col("a") > when).value.tz == when.tz


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.nan, pd.NA, pd.NaT, np.datetime64("NaT", "ns"), Decimal("NaN"), Decimal("sNaN")]
)
@pytest.mark.parametrize(
    "build", [lambda v: col("a") == v, lambda v: col("a") > v, lambda v: col("a").isin([1, v]), lambda v: Ids((v,))]
)
def test_a_missing_value_points_to_is_null(missing, build):
    with pytest.raises(FilterError, match=r"missing value.*is_null"):
        build(missing)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: col("a") == col("b"), "columns are compared with values"),
        (lambda: col("a") == [1], "can't hold .* of type list"),
        (lambda: col("a") == np.array([1, 2]), "can't hold .* of type ndarray"),
        (lambda: col("a") == b"x", "can't hold .* of type bytes"),
        (lambda: col("a") == "\ud800", "not Unicode"),
        (lambda: col("a") == 1 << 5000, "5,001 bits"),
        (lambda: col("a") == Decimal("1E+500"), "past what any column holds"),
        (lambda: col("a") > np.datetime64("20000-01-01"), "year 20000"),
        (lambda: col("a") > datetime(1, 1, 1, tzinfo=ZONES[0]), "year 0|not a time"),
        (lambda: col("a").isin("abc"), "list of values"),
        (lambda: col("a").isin({"b": 1}.items()), "can't hold .* of type tuple"),
        (lambda: col(0), "expected text, got 0"),
        (lambda: col("a").like(3), "expected text, got 3"),
        (lambda: (col("a") > 1) & "b > 2", "combine filters, not str"),
        (lambda: Compare("a", "=", 1), "no comparison '='; there are: ==, !=, <, "),
        (lambda: TextMatch("a", "startwith", "x"), "did you mean 'startswith'"),
        (lambda: Filter.from_dict({"filter": "Comparee"}), "did you mean 'Compare'"),
        (lambda: Filter.from_dict({"filter": "Compare", "column": "a"}), "is not a filter"),
        (
            lambda: Filter.from_dict({"filter": "Compare", "column": "a", "op": "==", "value": {"os": "rm"}}),
            "not a value",
        ),
    ],
)
def test_refusals(build, message):
    with pytest.raises(FilterError, match=message):
        build()


def test_filters_and_columns_have_no_truth_value():
    with pytest.raises(TypeError, match=r"combine filters with & \| ~"):
        assert bool(col("a") > 1)
    with pytest.raises(TypeError, match="no truth value"):
        assert not col("a")


def test_where_may_be_nothing_a_filter_or_its_text():
    where = col("a") > 1
    assert as_filter(None) is None
    assert as_filter(where) is where
    assert as_filter("a > 1") == where


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"a": 1}, col("a") == 1),
        ({"a": 1, "b": None}, (col("a") == 1) & col("b").is_null()),
        ({"a": [1, 2]}, col("a").isin([1, 2])),
        ({"a": np.array([1, 2])}, col("a").isin([1, 2])),
        ({"a": pd.Series([1, 2])}, col("a").isin([1, 2])),
        ({"a": pd.array([1, 2])}, col("a").isin([1, 2])),
        ({"a": np.array(1)}, None),
        ({"a": "> 1"}, col("a") == "> 1"),
        ({"a": {"$gt": 1}}, None),
        ({"a": [1, None]}, None),
        ({}, And(())),
    ],
)
def test_a_dict_means_equalities_and_never_operators(where, expected):
    if expected is None:
        with pytest.raises(FilterError):
            as_filter(where)
    else:
        assert as_filter(where) == expected


@pytest.mark.parametrize("dtype", ["boolean", object, "bool[pyarrow]"])
def test_a_boolean_series_means_its_true_labels(dtype):
    mask = pd.Series([True, None, False, True], index=["a", "b", "c", "d"], dtype=dtype)
    assert as_filter(mask) == Ids(("a", "d"))


def test_a_plain_boolean_series_and_its_numpy_labels():
    where = as_filter(pd.Series([True, False, True], index=np.array([5, 6, 7])))
    assert where == Ids((5, 7))
    assert {type(label) for label in where.values} == {int}  # noqa: PD011 - no DataFrame


def test_other_series_are_refused():
    with pytest.raises(FilterError, match="must be boolean, this one is int64"):
        as_filter(pd.Series([1, 0]))
    with pytest.raises(FilterError, match=r"both True and False: 'a' \(1 row\)"):
        as_filter(pd.Series([True, False, True], index=["a", "a", "b"]))


def test_a_boolean_array_needs_an_index():
    with pytest.raises(FilterError, match="use a boolean Series"):
        as_filter(np.array([True, False]))
    with pytest.raises(FilterError, match="use a boolean Series"):
        as_filter([True, False], index=pd.Index(["a", "b", "c"]))
    assert as_filter([False, True], index=pd.Index(["a", "b"])) == Ids(("b",))


def test_anything_with_a_where_filter():
    class Carrier:
        where_filter = col("a") > 1

    assert as_filter(Carrier()) == (col("a") > 1)
    with pytest.raises(FilterError, match="where can't be int: use a text"):
        as_filter(3)


def test_unknown_columns_are_named_with_the_nearest():
    check_columns(col("depth") > 1, ["depth", "pos"])
    with pytest.raises(FilterError, match="no column 'dept'; did you mean 'depth'"):
        check_columns((col("pos") == "x") & ~(col("dept") > 1), ["depth", "pos"])
