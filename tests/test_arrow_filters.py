"""Filters over Arrow columns, against an independent meaning in three-valued logic that is drawn with each filter."""

from __future__ import annotations

import math
import operator
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvector.backends import _arrow
from dkvector.backends._arrow import mask
from dkvector.errors import FilterError
from dkvector.filters import And, Filter, Ids, Or, as_filter, col

DAY = datetime(2024, 1, 1)  # noqa: DTZ001 - naive on purpose
BIG = 2**53
WORDS = ["", "a", "b", "ab", "a%b", "a_b", "a\\b", "O'x", 'q"', "😀", "é", "A\nb", "a.*", "b😀"]
VALUES = {
    "n": [-(2**63), -1, 0, 1, 2, BIG, BIG + 1, 2**63 - 1],
    "x": [-1.5, 0.0, -0.0, 2.0, 2.5, float(BIG), math.inf, math.nan],
    "s": WORDS,
    "c": WORDS[:6],
    "b": [True, False],
    "t": [DAY, DAY + timedelta(hours=12), DAY + timedelta(days=1), datetime(1960, 2, 29, 0, 0, 0, 1)],  # noqa: DTZ001
    "d": [date(2024, 1, 1), date(2024, 1, 2), date(1960, 2, 29)],
}
LITERALS = {
    "n": [*VALUES["n"], 0.5, 1.0, float(BIG), -math.inf, 1e300, Decimal("0.5"), Decimal(1), 2**70],
    "x": [*VALUES["x"][:-1], 2, BIG + 1, BIG - 1, 10**400, Decimal("2.5")],
    "s": [*WORDS, "zz"],
    "c": [*WORDS, "zz"],
    "b": [True, False],
    "t": [*VALUES["t"], date(2024, 1, 1), "2024-01-01", "2024-01-01 12:00", DAY + timedelta(microseconds=1)],
    "d": [*VALUES["d"], "2024-01-02", DAY + timedelta(hours=12), "1960-02-29T01:00"],
}
TYPES = {
    "n": pa.int64(),
    "x": pa.float64(),
    "s": pa.string(),
    "c": pa.dictionary(pa.int8(), pa.string()),
    "b": pa.bool_(),
    "t": pa.timestamp("us"),
    "d": pa.date32(),
}
OPS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


def as_time(value):
    """Put dates, times and their text on one line of time."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001


def plain(name, value):
    return as_time(value) if name in {"t", "d"} else value


def missing(value):
    return value is None or value != value  # noqa: PLR0124 - NaN


def alike(text, pattern):
    """Match a like pattern letter by letter."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(alike(text[at:], pattern[1:]) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in {"_", text[0]} and alike(text[1:], pattern[1:])


def on(name, truth):
    """Make the meaning of a leaf: unknown where the value is missing."""
    return lambda row: None if missing(row[name]) else truth(plain(name, row[name]))


def k_not(p):
    return lambda row: None if p(row) is None else not p(row)


def k_and(p, q):
    return lambda row: False if False in (p(row), q(row)) else None if None in (p(row), q(row)) else True


def k_or(p, q):
    return k_not(k_and(k_not(p), k_not(q)))


@st.composite
def leaves(draw):  # noqa: PLR0911 - one for each form
    name = draw(st.sampled_from(sorted(VALUES)))
    kind = draw(st.sampled_from(["compare", "in", "null", "between", "text"]))
    some = st.sampled_from(LITERALS[name])
    if kind == "compare" or (kind == "between" and name == "b") or (kind == "text" and name not in {"s", "c"}):
        op = draw(st.sampled_from(OPS[:2] if name == "b" else OPS))
        value = draw(some)
        return op(col(name), value), on(name, lambda cell: op(cell, plain(name, value)))
    if kind == "in":
        values = draw(st.lists(some, max_size=3))
        return col(name).isin(values), on(name, lambda cell: any(cell == plain(name, value) for value in values))
    if kind == "null":
        return col(name).is_null(), lambda row: missing(row[name])
    if kind == "between":
        low, high = draw(some), draw(some)
        return col(name).between(low, high), on(name, lambda cell: plain(name, low) <= cell <= plain(name, high))
    text = draw(st.text("ab%_\\😀.*\n", max_size=4))
    match draw(st.sampled_from(["like", "contains", "startswith"])):
        case "like":
            return col(name).like(text), on(name, lambda cell: alike(cell, text))
        case "contains":
            return col(name).contains(text), on(name, lambda cell: text in cell)
    return col(name).startswith(text), on(name, lambda cell: cell[: len(text)] == text)


PAIRS = st.recursive(
    leaves(),
    lambda pair: st.one_of(
        st.builds(lambda a, b: (a[0] & b[0], k_and(a[1], b[1])), pair, pair),
        st.builds(lambda a, b: (a[0] | b[0], k_or(a[1], b[1])), pair, pair),
        st.builds(lambda a: (~a[0], k_not(a[1])), pair),
    ),
    max_leaves=6,
)
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | st.sampled_from(values) for name, values in VALUES.items()}), max_size=12
)


def column(rows, name, cut):
    """Make a column of two chunks, each with a dictionary of its own."""
    cells = [row[name] for row in rows]
    kind = TYPES[name].value_type if name == "c" else TYPES[name]
    chunks = [pa.array(part, kind) for part in (cells[:cut], cells[cut:])]
    return pa.chunked_array([chunk.dictionary_encode().cast(TYPES[name]) if name == "c" else chunk for chunk in chunks])


@settings(max_examples=300, deadline=None)
@given(PAIRS, ROWS, st.integers(0, 12))
def test_the_rows_that_the_filter_means(pair, rows, cut):
    where, meaning = pair
    found = mask(where, lambda name: column(rows, name, cut), len(rows))
    assert found.dtype == np.bool_
    assert found.tolist() == [meaning(row) is True for row in rows]


def rows_of(where, values):
    """Filter one column called `a`."""
    return mask(as_filter(where), {"a": values}.__getitem__, len(values)).tolist()


T, F = True, False
AWARE = pa.array([pd.Timestamp("2024-01-01", tz="UTC"), None], pa.timestamp("us", "Europe/Berlin"))
NANOS = pa.array([1, 2, None]).cast(pa.timestamp("ns"))
DECIMALS = pa.array([Decimal("0.10"), Decimal("-1.25"), None])
HALVES = pa.array(np.float16([0.1, 2, np.nan]))
SINGLES = pa.array([0.1, 16777216.0, math.inf], pa.float32())
IDS = pa.array([UUID(int=5).bytes, None], pa.binary(16))
DICTIONARY = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2], pa.uint8()), pa.array(["x", None, "y"]))
LISTS = pa.array([[1.0], None])


BORDERS = [
    ("a == 1", pa.array([1, 255], pa.uint8()), [T, F]),
    ("a < 300", pa.array([1, 255], pa.uint8()), [T, T]),
    ("a >= -1 and a != 1e9", pa.array([1, None], pa.uint8()), [T, F]),
    ("a in [300, 255.0, 1.5]", pa.array([1, 255], pa.uint8()), [F, T]),
    ("a == 9007199254740992.0", pa.array([BIG, BIG + 1]), [T, F]),
    ("a > 9007199254740992.0", pa.array([BIG, BIG + 1]), [F, T]),
    ("a == 9007199254740993", pa.array([float(BIG)]), [F]),
    ("a < 9007199254740993", pa.array([float(BIG), float(BIG + 2)]), [T, F]),
    ("a in [9007199254740993]", pa.array([float(BIG)]), [F]),
    ("a in [0]", pa.array([0.0, -0.0, 1.0]), [T, T, F]),
    ("a != 3", pa.array([1.5, math.nan, None, 3.0]), [T, F, F, F]),
    ("not a == 3", pa.array([1.5, math.nan]).dictionary_encode(), [T, F]),
    ("a not in [3]", pa.array([1.5, math.nan, None, 3.0]), [T, F, F, F]),
    ("not (a <= 1 and a != 3)", pa.array([1.5, math.nan, None, 0.5]), [T, F, F, F]),
    ("a == 0.1", HALVES, [T, F, F]),
    ("a in [0.1]", HALVES, [T, F, F]),
    ("a.isna()", HALVES, [F, F, T]),
    ("a == 0.1", SINGLES, [T, F, F]),
    ("a == 16777217", SINGLES, [F, F, F]),
    ("a < 16777217", SINGLES, [T, T, F]),
    ("a < 1e300", SINGLES, [T, T, F]),
    ("a == 1e300", SINGLES, [F, F, F]),
    ("a == 1e999", SINGLES, [F, F, T]),
    ("a == 0.1", DECIMALS, [T, F, F]),
    ("a < 0.105", DECIMALS, [T, T, F]),
    ("a <= -1.255", DECIMALS, [F, F, F]),
    ("a > -1.255", DECIMALS, [T, T, F]),
    ("a in [0.10, 0.105]", DECIMALS, [T, F, F]),
    ("a != 1e300", DECIMALS, [T, T, F]),
    ("a < 1e999", DECIMALS, [T, T, F]),
    (col("a") == 10**38 - 1, pa.array([Decimal(10**38 - 1)], pa.decimal128(38, 0)), [T]),
    ("a != 'x'", DICTIONARY, [F, F, F, T]),
    ("a in ['x', 'y']", DICTIONARY, [T, F, F, T]),
    ("a.isna()", DICTIONARY, [F, T, T, F]),
    ("a == 'x'", pa.chunked_array([], DICTIONARY.type), []),
    ("a == 'x'", pa.array([None, None], pa.dictionary(pa.int8(), pa.string())), [F, F]),
    ("a > 1.5", pa.array([1, 2, None]).dictionary_encode(), [F, T, F]),
    ("a == 'x'", pa.chunked_array([], pa.string()), []),
    ("a == 'x'", pa.array(["w", "x", None, "x"], pa.string_view()).slice(1), [T, F, T]),
    ("a.like('x%')", pa.array(["xy", None, "yx"], pa.string_view()), [T, F, F]),
    ("a in ['x']", pa.array(["x", None], pa.string_view()), [T, F]),
    ("a == 'x'", pa.array(["x", None], pa.large_string()), [T, F]),
    ("a < '\uff5a'", pa.array(["z", "😀", "\uff41"]), [T, F, T]),  # by code point, not by UTF-16 unit
    ("a == '2024-01-01T00:00:00+00:00'", AWARE, [T, F]),
    ("a == '2024-01-01T01:00:00+01:00'", AWARE, [T, F]),
    ("a > '1970-01-01T00:00:00.000000001'", NANOS, [F, T, F]),
    ("a <= '1970-01-01T00:00:00.000000001'", pa.array([0, 1], pa.timestamp("us")), [T, F]),
    ("a >= '2024-01-01 12:00'", pa.array([date(2024, 1, 1), date(2024, 1, 2)], pa.date64()), [F, T]),
    ("a != '9999-12-31'", NANOS, [T, T, F]),
    (col("a") == UUID(int=5), IDS, [T, F]),
    (col("a") == UUID(int=5), pa.ExtensionArray.from_storage(pa.uuid(), IDS), [T, F]),
    (col("a") == UUID(int=5), pa.array([str(UUID(int=5)), "x"]), [T, F]),
    ("a.isna()", LISTS, [F, T]),
    ("a.notna()", pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)), [T, F]),
    ("a == 1 or a.like('x') or a in [1]", pa.nulls(2), [F, F]),
    ("a.isna()", pa.nulls(2), [T, T]),
    ("a", pa.array([True, False, None]), [T, F, F]),
    ("not a", pa.array([True, False, None]), [F, T, F]),
    (r"a.like('100\\%')", pa.array(["100\\", "100%", "100\\%"]), [T, F, T]),
    ("a.like('%b')", pa.array(["A\nb", "b", "ba"]), [T, T, F]),
    ("a.like('A%b')", pa.array(["A\nb", "Ab", "A"]), [T, T, F]),
    ("a.like('%a%')", pa.array(["xax", "a", "A", None]), [T, T, F, F]),
    ("a.like('%')", pa.array(["", "a", None]), [T, T, F]),
    ("a.like('')", pa.array(["", "a", None]), [T, F, F]),
    (And(()), pa.array([1, None]), [T, T]),
    (Or(()), pa.array([1, None]), [F, F]),
]


@pytest.mark.parametrize(("where", "values", "expected"), BORDERS)
def test_types_and_borders(where, values, expected):
    assert rows_of(where, values) == expected


@pytest.mark.parametrize(
    ("where", "values", "message"),
    [
        ("a > 3", pa.array(["x"]), "column 'a' is string, which can't be compared with 3 .int"),
        ("a > 3", pa.array(["x"]).dictionary_encode(), "column 'a' is string, which can't be compared with 3"),
        ("a > 'x'", pa.array([1]), "column 'a' is int64, which can't be compared with 'x' .str"),
        ("a in [1, 'x']", pa.array([1]), "int64, which can't be compared with 'x'"),
        ("a == True", pa.array([1]), "int64, which can't be compared with True .bool"),
        ("a == 1", pa.array([True]), "bool, which can't be compared with 1 .int"),
        ("a > False", pa.array([True]), "boolean, which has no order"),
        ("a == 1", pa.array([date(2024, 1, 1)]), "date32.*can't be compared with 1"),
        ("a == 'soon'", NANOS, "'soon' is not a date: write '2024-01-31'"),
        ("a == '01/02/2024'", NANOS, "is not a date"),
        ("a > '2024-01-01'", AWARE, r"has time zone Europe/Berlin.*such as '2024-01-01T00:00:00\+00:00'"),
        ("a > '2024-01-01T00:00:00+00:00'", NANOS, "no time zone.*write it without"),
        ("a == 1", LISTS, "column 'a' is list.*only tested with is_null"),
        ("a in [1]", LISTS, "column 'a' is list.*only tested with is_null"),
        ("a in []", LISTS, "column 'a' is list.*only tested with is_null"),
        ("a.like('x')", LISTS, "not text: like matches text only"),
        ("a.str.contains('x')", pa.array([1]), "column 'a' is int64, not text: contains"),
        ("a == 'x'", pa.array([b"x"]), "column 'a' is binary"),
        ("a == 'x'", pa.array([timedelta(1)]), "column 'a' is duration"),
    ],
)
def test_a_misfit_names_column_type_and_value(where, values, message):
    with pytest.raises(FilterError, match=message):
        rows_of(where, values)


def test_answers_may_be_a_slice():
    answers = pa.array([True, False, True, None, True]).slice(1)
    assert _arrow._true(answers).tolist() == [False, True, False, True]
    assert _arrow._true(pa.array([True, False]).slice(1)).tolist() == [False]


def test_ids_come_from_the_caller():
    labels = np.array(["a", "b", "c"])
    where = as_filter(pd.Series([True, False, True], index=["a", "b", "z"]))

    def ids(values):
        return np.isin(labels, values)

    assert mask(where, lambda _: None, 3, ids).tolist() == [True, False, False]
    assert mask(~where, lambda _: None, 3, ids).tolist() == [False, True, True]
    with pytest.raises(FilterError, match="no ids here"):
        mask(Ids(("a",)), lambda _: None, 3)


def test_an_unknown_node_is_named():
    class Odd(Filter):
        def __invert__(self) -> Filter:
            return self

        def __str__(self) -> str:
            return "odd"

        def columns(self):
            return frozenset()

    with pytest.raises(FilterError, match="no rule over Arrow columns for Odd"):
        mask(Odd(), lambda _: None, 3)
