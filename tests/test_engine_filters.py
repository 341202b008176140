"""Filters on both search engines, against the independent meaning and the borders that Arrow's filters are held to."""

import itertools
import math
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from test_arrow_filters import BORDERS, PAIRS, TYPES, VALUES

import dkvector as dkv
from dkvector.filters import Filter, as_filter, col
from dkvector.ingest import Reading

LONG = "x" * 11_000  # past what Lucene takes as one term


def pushed(url, table):
    store = dkv.connect(url, table=f"test-{uuid.uuid4().hex[:12]}")
    store.upsert(table, reading=Reading(vectors=("v",)))
    return store


def vectors(rows):
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ones(2 * rows, np.float32)), 2)


def found(store, where):
    return sorted(key for frame in store.scan(where, columns=[]) for key in frame.index)


@pytest.fixture(scope="module")
def rows():
    """Rows in which every value meets many others."""
    cycles = {name: itertools.cycle([*values, None]) for name, values in VALUES.items()}
    made = [{name: next(cycle) for name, cycle in cycles.items()} for _ in range(150)]
    for row in made:
        row["x"] = None if row["x"] is not None and math.isinf(row["x"]) else row["x"]
    return made


@pytest.fixture(scope="module")
def drawn(engine_url, rows):
    columns = {}
    for name, kind in TYPES.items():
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        made = pa.array([row[name] for row in rows], plain)
        columns[name] = made.dictionary_encode() if plain is not kind else made
    with pushed(engine_url, pa.table({"id": range(len(rows)), **columns, "v": vectors(len(rows))})) as store:
        yield store
        store.drop()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=PAIRS)
def test_the_rows_that_the_filter_means(drawn, rows, pair):
    where, meaning = pair
    expected = [at for at, row in enumerate(rows) if meaning(row) is True]
    assert found(drawn, where) == expected
    assert drawn.count(where) == len(expected)


def storable(values):
    """Leave out infinity, which search engines have not; give an array."""
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays([pa.array([], values.type), *values.chunks])
    if values.type == pa.string_view():
        values = values.cast(pa.large_string())
    if values.type == pa.float32():
        values = pa.array([None if one is None or math.isinf(one) else one for one in values.to_pylist()], pa.float32())
    return values


def renamed(data, name):
    """Let a filter look at a column of another name."""
    if isinstance(data, dict):
        return {key: name if key == "column" else renamed(one, name) for key, one in data.items()}
    return [renamed(one, name) for one in data] if isinstance(data, list) else data


@pytest.fixture(scope="module")
def borders(engine_url):
    columns = {}
    for at, (_, values, _) in enumerate(BORDERS):
        made = storable(values)
        columns[f"a{at}"] = made.take(pa.array([row if row < len(made) else None for row in range(5)], pa.int32()))
    with pushed(engine_url, pa.table({"id": range(5), **columns, "v": vectors(5)})) as store:
        yield store
        store.drop()


@pytest.mark.parametrize("at", range(len(BORDERS)), ids=[str(one[0]) for one in BORDERS])
def test_types_and_borders(borders, at):
    where, values, expected = BORDERS[at]
    read = Filter.from_dict(renamed(as_filter(where).to_dict(), f"a{at}"))
    kept = storable(values)
    shown = [
        row for row in found(borders, read) if row < len(values) and (kept[row].is_valid or not values[row].is_valid)
    ]
    wanted = [row for row, hit in enumerate(expected) if hit and (kept[row].is_valid or not values[row].is_valid)]
    assert shown == wanted


@pytest.fixture
def store(engine_url):
    frame = pd.DataFrame(
        {
            "s": ["a*b", "a?b", "a\\b", "axb", None, "A*B"],
            "long": ["short", LONG, None, "", "other", "short"],
            "v": list(np.eye(6, dtype=np.float32)),
        },
        index=[3, 1, 2, 4, 6, 5],
    )
    with dkv.connect(engine_url, table=f"test-{uuid.uuid4().hex[:12]}") as store:
        store.upsert(frame)
        yield store
        store.drop()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (col("s") == "a*b", [3]),
        (col("s").contains("*"), [3, 5]),
        (col("s").startswith("a?"), [1]),
        (col("s").like("a\\%"), [2]),
        (col("s").like("a_b"), [1, 2, 3, 4]),
        (~col("s").like("a_b"), [5]),
        ("index > 2 and index <= 4", [3, 4]),
        ("ids([1, 2.0, 'a', 7])", [1, 2]),
        ("not ids([1, 2])", [3, 4, 5, 6]),
        (col("s").isin(["axb"] * 3 + [f"{n}" for n in range(120_000)]), [4]),
        (col("long").is_null(), [2]),
        (col("long").not_null(), [1, 3, 4, 5, 6]),
        (col("long") == "short", [3, 5]),
        (col("long") != "short", [1, 4, 6]),
        (~col("long").isin(["", "short"]), [1, 6]),
    ],
    ids=lambda one: str(one)[:40],
)
def test_patterns_ids_and_long_texts(store, where, expected):
    if isinstance(where, str):
        where = where.replace("index", store.schema.id.name)
    assert found(store, where) == expected


HUGE = "b" * 40_000  # past what Lucene takes in a question


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (col("s") == HUGE, []),
        (col("s") != HUGE, [1, 2, 3, 4, 5]),
        (col("s").isin([HUGE, "axb"]), [4]),
        (~col("s").isin([HUGE, "axb"]), [1, 2, 3, 5]),
        (col("s") < HUGE, [1, 2, 3, 4, 5]),
        (col("s") >= HUGE, []),
        (col("s").startswith(HUGE), []),
        (col("s").contains(HUGE), []),
        (col("s").like(HUGE), []),
        (~col("s").like(HUGE), [1, 2, 3, 4, 5]),
    ],
    ids=lambda one: str(one)[:40],
)
def test_a_question_may_be_longer_than_any_text(store, where, expected):
    assert found(store, where) == expected


@pytest.mark.parametrize(
    "where", [col("long") > "a", col("long").like("x%"), ~col("long").contains("y"), col("long") == LONG], ids=str
)
def test_texts_too_long_to_be_compared_are_never_guessed(store, where):
    with pytest.raises(dkv.FilterError, match=r"texts of more than 10,922 characters.*keyword_search"):
        store.count(where)
