"""Filters as SQL on a real server, against the meaning that is drawn with each; and what the compiler writes."""

import asyncio
import itertools
import random
import re
import secrets
from datetime import date
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from test_arrow_filters import PAIRS, TYPES, VALUES

from dkvector._tree import Filter
from dkvector.backends._pg_types import sql_type
from dkvector.backends._sql import SqlColumn, Statement, literal, quoted
from dkvector.backends.pgvector import PgVectorStore
from dkvector.errors import FilterError
from dkvector.filters import as_filter, col
from dkvector.ingest import Reading


def sample(count=400):
    """Rows of every value beside every other, and of none."""
    draw = random.Random(7)  # noqa: S311 - a sample
    rows = [
        {name: draw.choice([None, *values]) if draw.random() < 0.9 else None for name, values in VALUES.items()}
        for _ in range(count)
    ]
    longest = max(map(len, VALUES.values()))
    cycled = [itertools.islice(itertools.cycle(values), longest) for values in VALUES.values()]
    return [*rows, *(dict(zip(VALUES, each, strict=True)) for each in zip(*cycled, strict=True))]


ROWS = sample()


class Filtered:
    """A store with some rows, on a loop of its own: Hypothesis knows none."""

    def __init__(self, url, columns) -> None:
        self.runner = asyncio.Runner()
        self.store = self.run(PgVectorStore.open({"url": url, "table": f"f_{secrets.token_hex(4)}"}))
        count = len(next(iter(columns.values())))
        vectors = pa.FixedSizeListArray.from_arrays(np.ones(count * 2, "f4"), 2)
        self.run(
            self.store.upsert(pa.table({"id": range(count), **columns, "v": vectors}), reading=Reading(vectors=("v",)))
        )

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def ids(self, where):
        async def collect():
            return [one async for batch in self.store.scan(where, columns=[]) for one in batch.column(0).to_pylist()]

        return sorted(self.run(collect()))

    def close(self):
        self.run(self.store.drop())
        self.run(self.store.aclose())
        self.runner.close()


@pytest.fixture(scope="module")
def filtered(postgres_url):
    def column(name):
        return pa.array([row[name] for row in ROWS], TYPES[name].value_type if name == "c" else TYPES[name])

    columns = {name: column(name) for name in VALUES}
    columns["c"] = columns["c"].dictionary_encode()
    made = Filtered(postgres_url, columns)
    yield made
    made.close()


@settings(max_examples=400, deadline=None)
@given(PAIRS)
def test_the_rows_that_the_filter_means(filtered, pair):
    where, meaning = pair
    assert filtered.ids(where) == [at for at, row in enumerate(ROWS) if meaning(row) is True]


BIG = 2**53
T, F = True, False
COLUMNS = {
    "u": pa.array([1, 255, None, 0], pa.uint8()),
    "w": pa.array([2**64 - 1, 0, None, 7], pa.uint64()),
    "f": pa.array([0.1, 16777216.0, np.inf, np.nan], pa.float32()),
    "h": pa.array(np.float16([0.1, 2, np.nan, -1])),
    "e": pa.array([Decimal("0.10"), Decimal("-1.25"), None, Decimal("99.99")]),
    "z": pa.array(
        [pd.Timestamp("2024-01-01", tz="UTC"), None, pd.Timestamp("1969-12-31 23:59:59", tz="UTC"), None]
    ).cast(pa.timestamp("us", "Europe/Berlin")),
    "s": pa.array([1, 2, None, -1]).cast(pa.timestamp("s")),
    "d": pa.array([date(2024, 1, 1), date(2024, 1, 2), None, date(1, 1, 1)], pa.date64()),
    "i": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID(int=n).bytes for n in (5, 6, 7, 8)], pa.binary(16))),
    "l": pa.array([[1.0], None, [], [None, 2.0]]),
    "j": pa.array([{"a": 1}, None, {"a": None}, {"a": 3}]),
    "0": pa.nulls(4),
    'a"; DROP TABLE x; --': pa.array(["x", "y", None, "'"]),
    "$1": pa.array(["$1", "%", "\\", "_"]),
}


@pytest.fixture(scope="module")
def typed(postgres_url):
    made = Filtered(postgres_url, COLUMNS)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("u == 1", [T, F, F, F]),
        ("u < 300 and u >= -1 and u != 1e9", [T, T, F, T]),
        ("u in [300, 255.0, 1.5]", [F, T, F, F]),
        ("w == 18446744073709551615", [T, F, F, F]),
        ("w < 18446744073709551615.5", [T, T, F, T]),
        ("f == 0.1", [T, F, F, F]),
        ("f == 16777217", [F, F, F, F]),
        ("f > 0 and f < 1e300", [T, T, F, F]),
        ("f != 3", [T, T, T, F]),
        ("f not in [3]", [T, T, T, F]),
        ("f.isna()", [F, F, F, T]),
        ("h in [0.1, 2]", [T, T, F, F]),
        ("h.notna()", [T, T, F, T]),
        ("e == 0.1", [T, F, F, F]),
        ("e > -1.255 and e < 0.105", [T, T, F, F]),
        ("e in [0.10, 0.105, 99.99]", [T, F, F, T]),
        ("z == '2024-01-01T01:00:00+01:00'", [T, F, F, F]),
        ("z < '1970-01-01T00:00:00+00:00'", [F, F, T, F]),
        ("s > '1970-01-01T00:00:01.5'", [F, T, F, F]),
        ("s <= '1969-12-31T23:59:59'", [F, F, F, T]),
        ("d >= '2024-01-01 12:00'", [F, T, F, F]),
        ("d < '1900-01-01'", [F, F, F, T]),
        (col("i") == UUID(int=5), [T, F, F, F]),
        (col("i").isin([UUID(int=6), UUID(int=9)]), [F, T, F, F]),
        (col("i") > str(UUID(int=6)), [F, F, T, T]),
        ("l.isna()", [F, T, F, F]),
        ("j.notna()", [T, F, T, T]),
        ("`0`.isna()", [T, T, T, T]),
        ("`0` == 1 or `0`.like('x') or `0` in [1]", [F, F, F, F]),
        (col('a"; DROP TABLE x; --') == "x", [T, F, F, F]),
        (col('a"; DROP TABLE x; --').contains("'"), [F, F, F, T]),
        (col("$1") == "$1", [T, F, F, F]),
        (col("$1").like("\\"), [F, F, T, F]),
        (col("$1").like("_"), [F, T, T, T]),
        (col("$1").contains("%"), [F, T, F, F]),
        (col("$1") == "a\0b", [F, F, F, F]),
        (col("$1") != "a\0b", [T, T, T, T]),
        (col("$1") > "%\0", [F, F, T, T]),
        (col("$1") <= "$1\0zz", [T, F, F, F]),
        (~col("$1").contains("\0"), [T, T, T, T]),
        (col("$1").isin(["%\0", "_"]), [F, F, F, T]),
        (pd.Series([True, False, True], [0, 1, 9]), [T, F, F, F]),
        (pd.Series([True], ["a"]), [F, F, F, F]),
        ({}, [T, T, T, T]),
    ],
    ids=str,
)
def test_every_type_means_the_same(typed, where, expected):
    assert typed.ids(where) == [at for at, kept in enumerate(expected) if kept]


@pytest.mark.parametrize("where", ["l == 1", "j == 'x'", "u == 'x'", "z == '2024-01-01'", "e.like('x')", "l.like('x')"])
def test_what_does_not_fit_is_refused(typed, where):
    with pytest.raises(FilterError):
        typed.ids(where)


# The compiler alone


def compiled(where, kind=None, *, by_code_point=True):
    kind = pa.int64() if kind is None else kind
    column = SqlColumn(quoted("a"), kind, sql_type(kind) or "jsonb", by_code_point)
    statement = Statement({"a": column}, [column])
    return statement.where(as_filter(where)), statement.parameters


@pytest.mark.parametrize(
    ("where", "kind", "sql", "parameters"),
    [
        ("a == 1", pa.int64(), '"a" = $1::bigint', [1]),
        ("a > 1.5", pa.int64(), '"a" > $1::bigint', [1]),
        ("a in [1, 1.5]", pa.int64(), '"a" = ANY($1::bigint[])', [[1]]),
        ("a < 1", pa.float64(), '"a" < $1::double precision', [1.0]),
        ("a > 1", pa.float64(), '("a" > $1::double precision AND "a" <> \'NaN\')', [1.0]),
        ("a == 'x' or a.isna()", pa.string(), '(FALSE OR "a" = $1::text OR NOT "a" IS NOT NULL)', ["x"]),
        ("a == 1e30", pa.int64(), "FALSE", []),
        ("a < 1e30", pa.int64(), '"a" IS NOT NULL', []),
        ("a.like('x_%')", pa.string(), "\"a\" LIKE $1::text ESCAPE ''", ["x_%"]),
    ],
    ids=str,
)
def test_sql(where, kind, sql, parameters):
    assert compiled(where, kind) == (sql, parameters)


def test_text_that_is_not_ordered_by_code_point_is_told_to_be():
    assert compiled("a < 'x'", pa.string(), by_code_point=False)[0] == '"a" COLLATE "C" < $1::text'
    assert compiled("a == 'x'", pa.string(), by_code_point=False)[0] == '"a" = $1::text'


@given(PAIRS)
def test_no_value_is_ever_in_the_text_of_a_statement(pair):
    where, _ = pair
    columns = {name: SqlColumn(quoted(name), kind, sql_type(kind)) for name, kind in TYPES.items()}
    text = Statement(columns, []).where(where)
    left = re.sub(r'"[nxscbtd]"|\$\d+::[a-z ]+(\[\])?|\'NaN\'|ESCAPE \'\'|COLLATE "C"', "", text)
    words = {"AND", "OR", "NOT", "IS", "NULL", "TRUE", "FALSE", "ANY", "ALL", "LIKE", "strpos"}
    assert set(re.findall(r"[^\s()=<>,^@]+", left)) <= words | {"0"}


def test_a_node_without_a_rule_is_refused():
    class Odd(Filter):
        __invert__ = columns = None

        def __str__(self) -> str:
            return "odd"

    with pytest.raises(FilterError, match="no SQL rule for Odd"):
        compiled(Odd())


def test_quoting():
    assert (quoted('a"b'), literal("a'\\b")) == ('"a""b"', "E'a''\\\\b'")
