import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dkvector as dkv
from dkvector.testing import naive_distance

METRICS = list(dkv.DistanceMetric)
VECTORS = np.float32([[1, 0], [0.9, 0.1], [0, 1], [-1, 0], [0.8, 0.3], [0.1, 2]])
NEAREST = [0, 1, 4, 5, 2, 3]  # positions, from [1, 0], under cosine: worked out by hand
EAST = [1.0, 0.0]


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "word": pd.Series(list("uvwxyz"), dtype="str"),
            "n": pd.array([0, 1, None, 3, 4, 5], "Int64"),
            "kind": pd.Categorical(list("aabbab")),
            "v": pd.array(list(VECTORS), dtype="vector[2]"),
        }
    )


# Which frames and Series have vectors, and which column it is


@pytest.mark.parametrize(
    "values",
    [
        pd.array(list(VECTORS), dtype="vector[2]"),
        list(VECTORS),
        VECTORS.tolist(),
        [tuple(row) for row in VECTORS.tolist()],
        [str(row) for row in VECTORS.tolist()],
        pd.array(VECTORS.tolist(), dtype=pd.ArrowDtype(pa.list_(pa.float32(), 2))),
        pd.array(VECTORS.tolist(), dtype=pd.ArrowDtype(pa.list_(pa.float64()))),
    ],
    ids=["vector", "arrays", "lists", "tuples", "text", "fixed lists", "lists of Arrow"],
)
def test_every_form_of_vector_column_is_found(values):
    frame = pd.DataFrame({"n": range(6), "v": values})
    assert (frame.vec.column(), frame.vec.fields, frame.v.vec.dimensions) == ("v", {"v": 2}, 2)
    assert frame.vec.search(EAST, k=6).index.tolist() == NEAREST


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"a": [1], "b": [None], "c": [True]}),
        pd.DataFrame({"a": [["x", "y"]]}),
        pd.DataFrame({"e_0": [1.0]}),
        pd.DataFrame({"v": [[1.0, 2.0]]}).iloc[:0],
    ],
    ids=["empty", "plain", "lists of text", "one number", "no rows"],
)
def test_frames_and_series_without_vectors_have_no_vec(frame):
    assert not hasattr(frame, "vec")
    assert not any(hasattr(frame[name], "vec") for name in frame)
    with pytest.raises(AttributeError, match=r"no column of this frame holds vectors.*vector\[d\]"):
        _ = frame.vec


def test_several_vector_columns_are_an_error_that_names_them(frame):
    frame["other"] = [[0.0, 1.0, float(i)] for i in range(6)]
    assert frame.vec.fields == {"v": 2, "other": 3}
    with pytest.raises(dkv.SchemaError, match="'v', 'other' with on="):
        frame.vec.search(EAST)
    assert frame.vec.search(EAST, on="v").index.tolist() == NEAREST
    assert frame.vec.search([0, 1, 5], on="other", k=1).columns.tolist() == [
        "rank",
        "score",
        "distance",
        "word",
        "n",
        "kind",
    ]
    with pytest.raises(dkv.NotFoundError, match="no vector column 'othr'; did you mean 'other'"):
        frame.vec.search(EAST, on="othr")


@pytest.mark.parametrize("call", [lambda vec: vec.search(EAST), lambda vec: vec.fields, lambda vec: vec.field()])
def test_two_columns_of_one_name_are_refused_where_they_are_meant(frame, call):
    with pytest.raises(dkv.SchemaError, match="several columns are called 'v'"):
        call(pd.concat([frame, frame[["v"]]], axis=1).vec)


def test_two_payload_columns_of_one_name_are_refused_unless_left_out(frame):
    twice = pd.concat([frame, frame[["word"]]], axis=1)
    with pytest.raises(dkv.SchemaError, match="several columns are called 'word'"):
        twice.vec.search(EAST)
    with pytest.raises(dkv.SchemaError, match="several columns are called 'word'"):
        twice.vec.search(EAST, columns=["n"], where="word == 'u'")
    assert twice.vec.search(EAST, columns=["n"]).index.tolist() == NEAREST


def test_the_accessor_is_made_without_reading_a_vector(monkeypatch):
    frame = pd.DataFrame({"v": list(VECTORS)})

    def never(*_: object, **__: object):
        raise AssertionError("a column was converted")

    monkeypatch.setattr("dkvector.vectors.parse", never)
    assert frame.vec.column() == "v"
    assert hasattr(frame.v, "vec")
    with pytest.raises(AssertionError, match="a column was converted"):
        frame.vec.search(EAST)


def test_the_accessor_keeps_nothing_of_an_earlier_search(frame):
    accessor = frame.vec
    assert accessor.search(EAST, k=1).index.tolist() == [0]
    frame["v"] = pd.array(list(VECTORS[::-1]), dtype="vector[2]")
    assert accessor.search(EAST, k=1).index.tolist() == [5]


def run(code):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this Python, our code


def test_registering_again_warns_of_nothing():
    out = run("import importlib, dkvector, dkvector.accessor as a; importlib.reload(a); print(a.register())")
    assert (out.stdout, out.stderr) == ("vec\n", "")


def test_another_holder_of_the_name_is_left_alone_with_one_warning():
    code = """
import pandas as pd, warnings
pd.api.extensions.register_dataframe_accessor("vec")(type("Theirs", (), {"__init__": lambda self, frame: None}))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    import dkvector
frame = pd.DataFrame({"v": [[1.0, 2.0]]})
print([str(one.message) for one in told])
print(type(frame.vec).__name__, frame.dkvec.column(), frame.v.dkvec.dimensions)
"""
    out = run(code)
    assert out.stdout.splitlines() == ["['another package holds df.vec; dkvector is at df.dkvec']", "Theirs v 2"]


# Search


@pytest.mark.parametrize("metric", METRICS)
def test_search_finds_the_nearest_with_their_distances(metric):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"v": list(rng.standard_normal((200, 8)).astype("f4"))})
    query = rng.standard_normal(8).astype("f4")
    expected = sorted((naive_distance(query, row, metric), label) for label, row in frame.v.items())[:7]
    found = frame.vec.search(query, k=7, metric=metric)
    assert found.index.tolist() == [label for _, label in expected]
    np.testing.assert_allclose(found.distance, [distance for distance, _ in expected], atol=1e-5)


def test_one_query_gives_rank_score_distance_and_the_payload(frame):
    found = frame.vec.search([2, 0], k=3)
    expected = pd.DataFrame(
        {
            "rank": [1, 2, 3],
            "score": np.float32([1, 0.9 / np.hypot(0.9, 0.1), 0.8 / np.hypot(0.8, 0.3)]),
            "distance": np.float32([0, 1 - 0.9 / np.hypot(0.9, 0.1), 1 - 0.8 / np.hypot(0.8, 0.3)]),
            "word": pd.Series(["u", "v", "y"], dtype="str").array,
            "n": pd.array([0, 1, 4], "Int64"),
            "kind": pd.Categorical(["a", "a", "a"], categories=["a", "b"]),
        },
        index=[0, 1, 4],
    )
    pd.testing.assert_frame_equal(found, expected, atol=1e-6, rtol=0)


def test_many_queries_are_all_answered_under_their_labels(frame):
    queries = pd.Series([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], index=["east", "north", "west"])
    found = frame.vec.search(queries, k=2)
    assert found["query"].tolist() == ["east", "east", "north", "north", "west", "west"]
    assert found.index.tolist() == [0, 1, 2, 5, 3, 2]
    assert found["rank"].tolist() == [1, 2] * 3


@pytest.mark.parametrize(
    ("queries", "labels"),
    [
        (np.float32([[1, 0], [0, 1]]), [0, 1]),
        (np.float64([[1, 0], [0, 1]]), [0, 1]),
        (np.asfortranarray([[1, 0], [0, 1]]), [0, 1]),
        ([[1, 0], [0, 1]], [0, 1]),
        ([np.float32([1, 0]), np.float32([0, 1])], [0, 1]),
        (pd.Series(["[1, 0]", "[0, 1]"], index=[7, 8]), [7, 8]),
        (pd.Series(pd.array([[1, 0], [0, 1]], dtype="vector[2]"), index=["value", "b"]), ["value", "b"]),
        (pd.array([[1, 0], [0, 1]], dtype="vector[2]"), [0, 1]),
        (pa.array([[1.0, 0.0], [0.0, 1.0]]), [0, 1]),
        (dkv.VectorField([[1, 0], [0, 1]]), [0, 1]),
    ],
    ids=["f4", "f8", "fortran", "lists", "arrays", "text", "vector", "array", "arrow", "field"],
)
def test_queries_come_in_every_form(frame, queries, labels):
    found = frame.vec.search(queries, k=1)
    assert (found["query"].tolist(), found.index.tolist()) == (labels, [0, 2])


@pytest.mark.parametrize(
    "query", [[1, 0], (1, 0), np.array([1, 0]), pd.Series([1.0, 0.0], index=["x", "y"]), dkv.VectorField([1, 0])]
)
def test_one_query_comes_in_every_form(frame, query):
    assert frame.vec.search(query, k=1).columns[0] == "rank"
    assert frame.vec.search(query, k=1).index.tolist() == [0]


def test_labels_of_a_multiindex_are_labels_of_queries(frame):
    queries = frame.v.iloc[[0, 2]].set_axis(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]))
    assert frame.vec.search(queries, k=1)["query"].tolist() == [("a", 1), ("b", 2)]


def test_like_a_row_finds_the_others(frame):
    assert frame.vec.search(like=0, k=2).index.tolist() == [1, 4]
    many = frame.vec.search(like=[3, 0], k=2)
    assert (many["query"].tolist(), many.index.tolist()) == ([3, 3, 0, 0], [2, 5, 1, 4])


def test_like_an_interval_is_one_row(frame):
    bins = pd.interval_range(0, len(frame))
    assert frame.set_axis(bins).vec.search(like=bins[0], k=1).index.tolist() == [bins[1]]


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, 1, 2, 2], pd.MultiIndex.from_product([[1, 2, 3], list("ab")]), pd.interval_range(0, 6)],
    ids=["twice", "levels", "intervals"],
)
def test_truths_as_objects_are_taken_by_place_as_others_are(frame, labels):
    wanted = pd.Series([True, None, False, True, np.nan, False], dtype=object)
    found = frame.set_axis(labels).vec.search([1, 0], where=wanted.set_axis(labels), k=9)
    assert sorted(found.n) == sorted(frame.n[[0, 3]])


@pytest.mark.parametrize("k", [1, 3, 50])
def test_like_a_row_never_finds_itself_among_its_duplicates(k):
    frame = pd.DataFrame({"v": [[1.0, 0.0]] * 8 + [[0.0, 1.0]]}, index=list("abcdefghi"))
    found = frame.vec.search(like=frame.index[:8].tolist(), k=k)
    assert not (found["query"] == found.index).any()
    assert (found.groupby("query").size() == min(k, 8)).all()


def test_like_keeps_to_the_filter_also_where_the_row_does_not(frame):
    assert frame.vec.search(like=0, k=2, where="kind == 'b'").index.tolist() == [5, 2]
    assert frame.vec.search(like=0, k=2, where="kind == 'a'").index.tolist() == [1, 4]


@pytest.mark.parametrize(
    ("like", "error", "message"),
    [
        ("z", dkv.NotFoundError, "no row 'z' to search like"),
        (["a", "z"], dkv.NotFoundError, "no row 'z'"),
        ("b", dkv.SchemaError, "several rows are called b"),
    ],
)
def test_like_no_row_or_several_is_an_error(frame, like, error, message):
    with pytest.raises(error, match=message):
        frame.set_axis(list("abbcde")).vec.search(like=like)


def test_a_query_or_like_is_wanted_and_not_both(frame):
    for arguments in ({}, {"query": EAST, "like": 0}):
        with pytest.raises(dkv.SchemaError, match="takes a query vector"):
            frame.vec.search(**arguments)


@pytest.mark.parametrize(
    "where",
    [
        "n >= 3 and kind == 'b'",
        (dkv.col("n") >= 3) & (dkv.col("kind") == "b"),
        {"n": [3, 4, 5], "kind": "b"},
        dkv.Query().filter("n", ">=", 3).filter("kind", "=", "b"),
        lambda frame: (frame.n >= 3) & (frame.kind == "b"),
        lambda frame: ((frame.n >= 3) & (frame.kind == "b")).sample(frac=1, random_state=1),
    ],
    ids=["text", "col", "dict", "Query", "Series", "shuffled Series"],
)
def test_a_filter_comes_in_every_form_and_before_the_neighbours(frame, where):
    found = frame.vec.search(EAST, k=2, where=where(frame) if callable(where) else where)
    assert found.index.tolist() == [5, 3]


def test_a_boolean_series_of_other_rows_is_refused(frame):
    with pytest.raises(dkv.FilterError, match="own index"):
        frame.vec.search(EAST, where=(frame.n > 1).iloc[1:])
    with pytest.raises(dkv.FilterError, match="no labels"):
        frame.vec.search(EAST, where=[True] * 6)


def test_a_filter_reads_the_index_by_its_name_and_columns_first(frame):
    named = frame.set_axis(pd.Index(list("abcdef"), name="label"))
    assert named.vec.search(EAST, where="label in ['c', 'd']").index.tolist() == ["c", "d"]
    clash = frame.set_axis(pd.Index(list("zyxwvu"), name="word"))
    assert clash.vec.search(EAST, where="word == 'u'").index.tolist() == ["z"]


def test_an_unknown_column_in_a_filter_is_an_error(frame):
    with pytest.raises(dkv.FilterError, match="no column 'wrd'; did you mean 'word'"):
        frame.vec.search(EAST, where="wrd == 'u'")


INDEXES = {
    "shuffled": [3, 1, 5, 0, 2, 4],
    "from one": range(1, 7),
    "text": list("fedcba"),
    "dates": pd.date_range("2024-03-01", periods=6, freq="MS", name="month"),
    "multi": pd.MultiIndex.from_product([["a", "b"], [3, 1, 2]], names=["x", "y"]),
    "floats": [0.5, -1.0, 2.0, 9.0, 3.0, 7.0],
    "categories": pd.CategoricalIndex(list("fedcba")),
    "periods": pd.period_range("2024-01", periods=6, freq="M"),
}


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_labels_are_labels_whatever_the_index(frame, index):
    frame.index = index if isinstance(index, pd.Index) else pd.Index(index)
    found = frame.vec.search(EAST, k=6)
    expected = frame.index[NEAREST]
    pd.testing.assert_frame_equal(pd.DataFrame(index=found.index), pd.DataFrame(index=expected), check_freq=False)
    assert found.word.tolist() == frame.word.iloc[NEAREST].tolist()
    assert frame.vec.search(like=frame.index[4], k=1).word.tolist() == ["v"]
    masked = frame.vec.search(EAST, k=9, where=(frame.kind == "b").sample(frac=1, random_state=3))
    assert masked.word.tolist() == ["z", "w", "x"]


def test_labels_may_be_double(frame):
    frame.index = [1, 1, 2, 2, 3, 3]
    found = frame.vec.search(EAST, k=6)
    assert (found.index.tolist(), found.word.tolist()) == ([1, 1, 3, 3, 2, 2], list("uvyzwx"))
    assert frame.vec.search(EAST, where=frame.kind == "b").word.tolist() == ["z", "w", "x"]


def test_columns_may_be_called_by_numbers(frame):
    frame.columns = [0, 1, 2, 3]
    found = frame.vec.search(EAST, k=1, where="`1` == 4")
    assert found.columns.tolist() == ["rank", "score", "distance", 0, 1, 2]
    assert (found.index.tolist(), frame.vec.column()) == ([4], 3)


def test_columns_of_our_names_give_way_and_none_is_lost(frame):
    frame = frame.rename(columns={"word": "rank", "n": "rank_"}).assign(score=7, distance=8, query=9)
    one = frame.vec.search(EAST, k=1)
    assert one.columns.tolist() == [
        "rank",
        "score",
        "distance",
        "rank__",
        "rank_",
        "kind",
        "score_",
        "distance_",
        "query",
    ]
    assert one.iloc[0].drop("score").tolist() == [1, 0.0, "u", 0, "a", 7, 8, 9]
    assert frame.vec.search([EAST], k=1).filter(like="query").iloc[0].tolist() == [0, 9]


def test_columns_and_vectors_come_as_asked(frame):
    assert frame.vec.search(EAST, columns=["n"]).columns.tolist()[3:] == ["n"]
    assert frame.vec.search(EAST, columns="word").columns.tolist()[3:] == ["word"]
    assert frame.vec.search(EAST, columns=[]).columns.tolist()[3:] == []
    assert frame.vec.search(EAST, columns=["v"]).columns.tolist()[3:] == ["v"]
    assert frame.vec.search(EAST, include_vectors=True).columns.tolist()[3:] == ["word", "n", "kind", "v"]
    found = frame.vec.search(EAST, columns=["n"], include_vectors=True)
    assert found.columns.tolist()[3:] == ["n", "v"]
    assert np.stack(found.v).tolist() == VECTORS[NEAREST].tolist()
    with pytest.raises(dkv.NotFoundError, match="no column 'wrod'; did you mean 'word'"):
        frame.vec.search(EAST, columns=["wrod"])


def test_objects_stay_objects(frame):
    frame["word"] = pd.Series(list("uvwxyz"), dtype=object)
    assert frame.vec.search(EAST).word.dtype == object


@pytest.mark.parametrize("query", [EAST, [EAST, EAST]], ids=["one", "many"])
@pytest.mark.parametrize("rows", [slice(0, 0), slice(None)], ids=["no rows", "no match"])
def test_an_empty_result_keeps_columns_and_dtypes(frame, query, rows):
    some = frame.vec.search(query)
    none = frame.iloc[rows].vec.search(query, where="n > 99")
    assert len(none) == 0
    pd.testing.assert_series_equal(none.dtypes, some.dtypes)
    assert none.index.dtype == some.index.dtype


def test_no_queries_give_no_rows(frame):
    pd.testing.assert_series_equal(frame.vec.search(frame.v.iloc[:0]).dtypes, frame.vec.search([EAST]).dtypes)


def test_k_beyond_the_rows_gives_them_all(frame):
    assert frame.vec.search([EAST, EAST], k=50).groupby("query").size().tolist() == [6, 6]
    assert len(frame.vec.search(EAST, k=np.int64(50))) == 6


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "3"])
def test_k_must_be_a_count(frame, k):
    with pytest.raises(dkv.SchemaError, match="k must be a whole number of at least 1"):
        frame.vec.search(EAST, k=k)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([1, 2, 3], "query has 3 dimensions, expected 2"),
        ([[1, 2, 3]], "3 dimensions, expected 2"),
        ([[1, 2], [1, 2, 3]], r"not a vector of 2 dimensions in 'query' at 1 \(1 row\)(?!.*on_bad)"),
        ([1, np.nan], r"NaN or infinity in 'query' at 0 \(1 row\)(?!.*on_bad)"),
        ([0, 0], "no direction under cosine"),
        ("dog", "a query is a vector, or rows of them, not str; a text is searched for by text="),
        (3, "not int"),
        (pd.DataFrame([[1, 0]]), "not DataFrame"),
        (np.ones((1, 1, 2)), r"not of shape \(1, 1, 2\)"),
    ],
)
def test_a_query_that_can_not_be_used_says_why(frame, query, message):
    with pytest.raises(dkv.VectorError, match=message):
        frame.vec.search(query)


def test_a_search_changes_nothing_and_leaves_no_attrs(frame):
    before = frame.copy(deep=True)
    found = frame.vec.search(EAST, where="n > 0", include_vectors=True)
    found.loc[:, "word"] = "changed"
    found["v"].array.matrix[:] = 0
    pd.testing.assert_frame_equal(frame, before)
    assert (found.attrs, frame.attrs) == ({}, {})


def test_a_slice_of_a_frame_is_searched_as_it_is(frame):
    part = frame[frame.kind == "b"]
    part.loc[2, "word"] = "other"
    assert part.vec.search(EAST).word.tolist() == ["z", "other", "x"]
    assert frame.iloc[::-2].vec.search(EAST).index.tolist() == [1, 5, 3]
    assert frame.word[2] == "w"


def test_a_wide_frame_keeps_all_its_columns():
    numbers = np.arange(300.0).reshape(3, 100)
    frame = pd.DataFrame(numbers, columns=[f"c{i}x" for i in range(100)]).assign(v=[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = frame.vec.search(EAST, k=1)
    assert found.iloc[0, 3:].tolist() == numbers[0].tolist()


# Rows whose vectors can't be used

BAD = {
    "missing": (None, "vector missing"),
    "nan": ([np.nan, 1.0], "NaN or infinity"),
    "short": ([1.0], "not a vector of 2 dimensions"),
    "zero": ([0.0, 0.0], "zero vector"),
}


@pytest.fixture(params=BAD)
def bad(request):
    value, message = BAD[request.param]
    return pd.DataFrame({"n": range(4), "v": [[1.0, 0.0], value, [0.0, 1.0], [0.6, 0.8]]}, index=list("abcd")), message


def test_bad_vectors_are_an_error_that_names_the_row_and_the_way_out(bad):
    frame, message = bad
    with pytest.raises(dkv.VectorError, match=rf"{message}.* at 'b' \(1 row\);.* on_bad=\"drop\" leaves them out"):
        frame.vec.search(EAST)
    assert frame.vec.search(EAST, on_bad="drop").index.tolist() == ["a", "d", "c"]
    assert frame.vec.search(EAST, on_bad="drop", where=frame.n > 0).index.tolist() == ["d", "c"]
    assert frame.vec.search(like="d", on_bad="drop").index.tolist() == ["c", "a"]


def test_a_series_with_bad_vectors_says_how_to_leave_them_out(bad):
    frame, message = bad
    series = frame.v
    calls = [lambda s: s.vec.normalize().index, lambda s: s.vec.similarity(EAST).index]
    for call in calls:
        with pytest.raises(
            dkv.VectorError, match=rf"{message}.* at 'b' \(1 row\);.* s\[s.vec.norms > 0\] leaves them out"
        ):
            call(series)
        assert call(series[series.vec.norms > 0]).tolist() == ["a", "c", "d"]


def test_at_most_five_bad_rows_are_named_and_all_are_counted():
    frame = pd.DataFrame({"v": [[1.0, 0.0], *[None] * 8]}, index=list("abcdefghi"))
    with pytest.raises(dkv.VectorError, match=r"at 'b', 'c', 'd', 'e', 'f', … \(8 rows\)"):
        frame.vec.search(EAST)


# Series


def test_series_give_their_matrix_norms_and_unit_vectors():
    series = pd.Series([[3.0, 4.0], [0.0, 2.0]], index=["a", "b"], name="v")
    assert (series.vec.to_numpy().tolist(), series.vec.to_numpy().dtype) == ([[3, 4], [0, 2]], np.float32)
    pd.testing.assert_series_equal(series.vec.norms, pd.Series(np.float32([5, 2]), index=["a", "b"], name="v"))
    unit = series.vec.normalize()
    assert (str(unit.dtype), unit.index.tolist(), unit.name) == ("vector[2]", ["a", "b"], "v")
    np.testing.assert_allclose(unit.vec.to_numpy(), [[0.6, 0.8], [0, 1]], rtol=1e-6)


def test_norms_of_missing_unreadable_and_zero_vectors():
    series = pd.Series([[3.0, 4.0], None, [1.0], [np.inf, 0.0], [0.0, 0.0]])
    assert series.vec.norms.fillna(-1).tolist() == [5, -1, -1, -1, 0]


@pytest.mark.parametrize("metric", METRICS)
def test_similarity_is_the_score_of_a_search(metric):
    rng = np.random.default_rng(5)
    series = pd.Series(list(rng.standard_normal((30, 8)).astype("f4")), index=range(30, 0, -1), name="v")
    query = rng.standard_normal(8)
    scores = series.vec.similarity(query, metric)
    found = series.to_frame().vec.search(query, k=30, metric=metric)
    pd.testing.assert_series_equal(scores.loc[found.index], found.score, atol=1e-6, rtol=1e-5)
    many = series.vec.similarity(pd.Series([query, -query], index=["there", "back"]), metric)
    assert (many.columns.tolist(), many.index.tolist()) == (["there", "back"], series.index.tolist())
    np.testing.assert_allclose(many["there"], scores, rtol=1e-5, atol=1e-6)


# Fields, records, gathering


def test_a_whole_column_as_a_field(frame):
    field = frame.vec.field()
    assert (field.dimensions, field.value.shape, field.metadata) == (2, (6, 2), {"name": "v"})
    frame["v"] = [*VECTORS.tolist()[:5], None]
    assert frame.vec.field(on_bad="drop").value.shape == (5, 2)
    with pytest.raises(dkv.VectorError, match=r"at 5 \(1 row\)"):
        frame.vec.field()


def test_rows_as_records(frame):
    records = frame.set_axis(list("abcdef")).vec.to_records()
    assert [record.id for record in records] == list("abcdef")
    assert (records[1]["word"], records[1]["n"], records[2]["n"]) == ("v", 1, None)
    assert records[1].fields["v"].value.tolist() == VECTORS[1].tolist()
    assert records[0].fields["v"].dimensions == 2


def test_records_of_bad_rows_say_how_to_leave_them_out(frame):
    frame["v"] = [[1.0, 0.0], None, [1.0], [1.0, 2.0], [np.nan, 0.0], [0.0, 1.0]]
    with pytest.raises(dkv.VectorError, match=r"df\[df\['v'\].vec.norms > 0\] leaves them out"):
        frame.vec.to_records()
    assert [record.id for record in frame[frame["v"].vec.norms > 0].vec.to_records()] == [0, 3, 5]


def test_records_of_columns_called_by_numbers_have_text_for_names(frame):
    frame.columns = [0, 1, 2, 3]
    assert list(frame.vec.to_records()[0]) == ["0", "1", "2", "3"]


def test_gather_takes_dimensions_in_their_natural_order():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((3, 12)).astype("f4")
    names = [f"emb_{i}" for i in range(12)]
    frame = pd.DataFrame(matrix, columns=names)[sorted(names)].assign(word=list("abc"))
    before = frame.copy()
    found = frame.vec.gather("emb_*", into="embedding")
    assert (found.columns.tolist(), str(found.embedding.dtype)) == (["word", "embedding"], "vector[12]")
    assert found.embedding.vec.to_numpy().tolist() == matrix.tolist()
    pd.testing.assert_frame_equal(frame, before)
    with pytest.raises(dkv.VectorError, match="leaves out number 4"):
        frame.drop(columns="emb_4").vec.gather("emb_*", into="embedding")
    with pytest.raises(dkv.SchemaError, match="a column 'word' already"):
        frame.vec.gather("emb_*", into="word")
    with pytest.raises(dkv.SchemaError, match=r"gather\(\) them first"):
        frame.vec.search(EAST)


@given(st.data())
def test_search_is_the_sorted_list_of_distances(data):
    """Any rows, any labels, any filter: what comes is the head of what a loop would sort."""
    rows = data.draw(st.integers(1, 12))
    numbers = st.integers(-3, 3).map(float)
    vectors = data.draw(st.lists(st.tuples(numbers, numbers).map(list), min_size=rows, max_size=rows))
    labels = data.draw(st.lists(st.integers(0, 20), min_size=rows, max_size=rows))
    keep = data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    query = np.float32(data.draw(st.tuples(numbers, numbers)))
    k = data.draw(st.integers(1, 14))
    frame = pd.DataFrame({"at": range(rows), "keep": keep, "v": vectors}, index=labels)
    found = frame.vec.search(query, k, metric="euclidean", where="keep")
    pairs = sorted(
        (np.float32(np.sqrt(np.float32(((query - v) ** 2).sum()))), at) for at, v in enumerate(vectors) if keep[at]
    )
    assert found["at"].tolist() == [at for _, at in pairs[:k]]
    assert found.index.tolist() == [labels[at] for _, at in pairs[:k]]
    assert found.distance.tolist() == [float(distance) for distance, _ in pairs[:k]]


# Push


@pytest.fixture(params=["exact", "faiss", "folder"])
def target(request, tmp_path):
    """What `push` takes, as keyword arguments."""
    return {"target": "faiss", "path": tmp_path / "rows"} if request.param == "folder" else {"target": request.param}


@pytest.mark.parametrize("metric", METRICS)
def test_a_store_answers_as_the_frame_does(frame, target, metric):
    frame.index = pd.Index(list("abcdef"), name="key")
    queries = pd.Series([[1.0, 0.1], [-0.2, 1.0]], index=["one", "two"])
    with frame.vec.push(**target, metric=metric) as store:
        for query in (queries, queries["one"]):
            for where in (None, "kind == 'a'", frame.n > 2, "n > 99"):
                ours = frame.vec.search(query, k=3, where=where, metric=metric)
                pd.testing.assert_frame_equal(store.search(query, k=3, where=where), ours, atol=1e-5)
        ours = frame.vec.search(queries, columns=["n"], include_vectors=True, metric=metric)
        pd.testing.assert_frame_equal(store.search(queries, columns=["n"], include_vectors=True), ours, atol=1e-5)


def test_push_gives_an_open_store_of_all_rows(frame, target):
    with frame.vec.push(**target, metric="l2", model="mini", version="2") as store:
        assert (len(store), store.name) == (6, target["target"])
        (info,) = store.schema.vectors
        assert (info.name, info.dimensions, info.metric, info.model, info.version) == ("v", 2, "euclidean", "mini", "2")
        pd.testing.assert_frame_equal(store.to_frame(), frame, check_index_type=False)
        pd.testing.assert_frame_equal(store.to_frame(where="n > 3"), frame[frame.n > 3], check_index_type=False)
        assert store.to_frame(where="n > 99").dtypes.equals(frame.dtypes)


def test_push_to_a_path_stays(frame, tmp_path):
    frame.vec.push("faiss", path=tmp_path / "rows").close()
    with dkv.connect(tmp_path / "rows") as store:
        assert store.search(EAST, k=2).word.tolist() == ["u", "v"]


def test_a_store_that_was_closed_says_so_and_loses_nothing(frame, tmp_path):
    store = frame.vec.push("faiss", path=tmp_path / "rows")
    store.close()
    asked = (lambda: store.search(EAST), lambda: len(store), store.to_frame, store.stats)
    calls = (*asked, lambda: store.upsert(frame.head(1)), store.drop)
    for call in calls:
        with pytest.raises(dkv.BackendUnavailableError, match="was closed; open it again"):
            call()
    with dkv.connect(tmp_path / "rows") as again:
        assert len(again) == 6


@pytest.mark.parametrize("index", ["hnsw", "ivf", dkv.HNSW(m=8), {"kind": "ivf", "lists": 2}], ids=str)
def test_push_builds_an_index(frame, index):
    with frame.vec.push("faiss", index=index) as store:
        kind = index if isinstance(index, str) else index["kind"] if isinstance(index, dict) else index.kind
        assert store.indexes()["v"].kind == kind
        assert store.search(EAST, k=6, tuning={"exact": False, "probes": 2}).index.tolist() == NEAREST


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"index": "hsnw"}, dkv.SchemaError, "did you mean 'hnsw'"),
        ({"index": {"kind": "hnsw", "n": 3}}, dkv.SchemaError, "HNSW has no 'n'"),
        ({"index": {"kind": "flat", "quantization": "in8"}}, dkv.SchemaError, "did you mean 'int8'"),
        ({"metric": "l1"}, dkv.UnsupportedError, "no metric 'l1'"),
        ({"mode": "append"}, dkv.SchemaError, "no mode 'append'"),
        ({"columns": ["wrd"]}, dkv.NotFoundError, "did you mean 'word'"),
        ({"on": "vv"}, dkv.NotFoundError, "no column 'vv'"),
        ({"on": "word"}, dkv.VectorError, "'word'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_push_that_can_not_be_leaves_nothing_behind(frame, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        frame.vec.push("faiss", path=tmp_path / "rows", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_bad_rows_leave_nothing_behind(frame, tmp_path, target):
    frame["v"] = [*VECTORS[:4].tolist(), None, [np.nan, 1.0]]
    with pytest.raises(dkv.VectorError, match=r"vector missing in 'v' at 4 \(1 row\); on_bad=\"drop\""):
        frame.vec.push(**target)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_were_dropped_are_told(frame, target):
    frame["v"] = [*VECTORS[:4].tolist(), None, [np.nan, 1.0]]
    with frame.vec.push(**target, on_bad="drop") as store:
        assert (store.written.inserted, store.written.replaced, store.written.dropped) == (4, 0, (4, 5))
        store.upsert(frame.head(2))
        assert (store.written.inserted, store.written.replaced, store.written.dropped) == (0, 2, ())
        assert store.to_frame().word.tolist() == frame.word[store.to_frame().index].tolist()


def test_push_chooses_columns_and_vectors(frame):
    frame["other"] = [[0.0, 1.0, float(i)] for i in range(6)]
    for columns, names in ((None, ["word", "n", "kind"]), (["n"], ["n"]), ("word", ["word"]), ([], [])):
        with frame.vec.push("exact", columns=columns) as store:
            assert store.schema.payload.names == names
            assert [info.name for info in store.schema.vectors] == ["v", "other"]
    with frame.vec.push("exact", on="other", columns=["n"]) as store:
        assert [info.name for info in store.schema.vectors] == ["other"]
        assert store.search([0, 1, 5], k=1).index.tolist() == [5]


@pytest.mark.parametrize("target", ["exact", "faiss"])
@pytest.mark.parametrize("columns", [["n", "n"], ["n", "v"], ["v", "n", "v"]])
def test_push_takes_a_column_once_and_vectors_as_vectors(frame, target, columns):
    with frame.vec.push(target, columns=columns) as store:
        assert store.schema.payload.names == ["n"]
        assert store.to_frame(include_vectors=True).columns.tolist() == ["n", "v"]
        assert store.search(EAST, k=1, where="n == 0", include_vectors=True).columns.tolist()[3:] == ["n", "v"]


def test_push_modes(frame, tmp_path):
    def push(rows, mode):
        with rows.vec.push("faiss", path=tmp_path / "rows", mode=mode) as store:
            return store.to_frame().word.to_dict()

    assert push(frame.head(2), "insert") == {0: "u", 1: "v"}
    assert push(frame.iloc[1:3].assign(word="new"), "upsert") == {0: "u", 1: "new", 2: "new"}
    with pytest.raises(dkv.DuplicateIdError, match=r"already in the store: 2 \(1 row\)"):
        push(frame.iloc[2:4], "insert")
    assert push(frame.iloc[3:4], "replace") == {3: "x"}


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (pd.MultiIndex.from_product([[1, 2], [1, 2, 3]]), dkv.SchemaError, r"MultiIndex: reset_index\(\)"),
        ([0, 0, 1, 2, 3, 3], dkv.DuplicateIdError, r"ids given more than once: 0, 3"),
        ([0, 1, 2, 3, 4, np.nan], dkv.SchemaError, r"ids must not be missing; they are at rows 5 \(1 row\)"),
        (pd.Index([1, "a", 2, 3, 4, 5], dtype=object), dkv.SchemaError, "the index can't be stored"),
        (pd.Index(range(6), name=7), dkv.SchemaError, "the name of the index must be text"),
        (pd.Index([(i, i) for i in range(6)], tupleize_cols=False), dkv.SchemaError, "ids must be single values"),
    ],
    ids=["multi", "double", "missing", "mixed", "number for a name", "tuples"],
)
def test_an_index_that_is_no_id_is_refused_with_a_way_out(frame, target, index, error, message):
    with pytest.raises(error, match=message):
        frame.set_axis(index).vec.push(**target)


@pytest.mark.parametrize("name", ["id", "word", "v"])
def test_a_column_of_the_name_of_the_ids_stays_a_column(frame, target, name):
    """A frame often has a column `id` beside its range index, or `set_index(drop=False)`."""
    frame["id"] = [30, 40, 50, 60, 70, 80]
    frame.index = pd.RangeIndex(6, name=None if name == "id" else name)
    with frame.vec.push(**target) as store:
        pd.testing.assert_frame_equal(store.to_frame()[frame.columns], frame, check_index_type=False)
        assert store.search(EAST, where="id in [0, 60]").index.tolist() == [3]
        assert store.search(EAST, where="word == 'x'").index.tolist() == [3]
        assert store.get([3])["id"].tolist() == [60]
        assert [(one.id, one["id"], one["word"]) for one in store.find(dkv.Query().filter("id", "=", 60))] == [
            (3, 60, "x")
        ]


def test_column_names_must_be_text_and_differ(frame):
    with pytest.raises(dkv.SchemaError, match=r"column names must be text; rename \[0\]"):
        frame.rename(columns={"n": 0}).vec.push("exact")
    with pytest.raises(dkv.SchemaError, match=r"column names must differ; these don't: \['word'\]"):
        frame.rename(columns={"kind": "word"}).vec.push("exact")


@pytest.mark.parametrize("form", [list, lambda matrix: pd.array(matrix, dtype="vector[2]")], ids=["arrays", "vector"])
def test_changing_the_frame_does_not_change_the_store(target, form):
    matrix, numbers = VECTORS.copy(), np.arange(6.0)
    frame = pd.DataFrame({"n": numbers, "v": form(matrix)}, copy=False)
    with frame.vec.push(**target) as store:
        before = store.to_frame()
        matrix[:], numbers[:] = 7, 7
        frame.loc[:, "n"] = 8
        if form is not list:
            frame["v"].array.matrix[:] = 9
        pd.testing.assert_frame_equal(store.to_frame(), before)
        assert before.n.tolist() == list(range(6))
        assert store.search(EAST, k=6).index.tolist() == NEAREST


CHANGES = {
    "word": "new",
    "n": 7,
    "x": 0.5,
    "flag": False,
    "when": pd.Timestamp("2021-02-03"),
    "span": pd.Timedelta("3h"),
    "kind": "b",
    "thing": "object",
    "v": np.float32([7, 7]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_results_can_be_changed_and_the_store_is_not(frame, target, name):
    frame = frame.assign(x=1.5, flag=True, when=pd.Timestamp("2020-01-01"), span=pd.Timedelta("1h"))
    frame["thing"] = pd.Series(["a"] * 6, dtype=object)
    with frame.vec.push(**target) as store:
        before = store.to_frame()
        results = [
            store.to_frame(),
            store.get([0, 1], include_vectors=True),
            next(store.scan(include_vectors=True)),
            store.search(EAST, include_vectors=True),
            frame.vec.search(EAST, include_vectors=True),
        ]
        for found in results:
            found.at[0, name] = CHANGES[name]  # noqa: PD008 - .loc would spread a vector
            assert str(found[name][0]) == str(CHANGES[name])
        pd.testing.assert_frame_equal(store.to_frame(), before)
        assert str(before[name][0]) == str(frame[name][0]) != str(CHANGES[name])


@pytest.mark.parametrize("values", [[1.5, 2.5], [1, 2]])
def test_a_column_that_is_alone_in_its_dtype_can_be_changed_too(target, values):
    frame = pd.DataFrame({"x": values, "v": [np.float32([1, 0]), np.float32([0, 1])]}, index=["a", "b"])
    with frame.vec.push(**target) as store:
        for found in (store.to_frame(), store.get(["a"]), next(store.scan()), store.search([1, 0])):
            found.loc["a", "x"] = 7
            assert found.loc["a", "x"] == 7
        assert store.to_frame()["x"].tolist() == values


def test_bars_are_shown_when_asked(capfd):
    frame = pd.DataFrame({"v": list(np.random.default_rng(0).standard_normal((400, 4)).astype("f4"))})
    frame.vec.push("faiss", index="hnsw", progress=False).close()
    assert capfd.readouterr().err == ""
    frame.vec.push("faiss", index="hnsw").close()
    assert capfd.readouterr().err == ""
    frame.vec.push("faiss", index="hnsw", progress=True).close()
    assert "400/400" in capfd.readouterr().err.replace(",", "")
