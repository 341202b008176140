"""Every form of a vector column comes out as the same matrix, and what is wrong is told with its rows."""

import json
import re
import warnings
from array import array

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dkvector import fields
from dkvector._cells import is_missing
from dkvector._forms import parse
from dkvector.detect import is_vector_column
from dkvector.dtype import VectorArray
from dkvector.errors import VectorError
from dkvector.metrics import DistanceMetric
from dkvector.norms import normalize, squared_norms
from dkvector.vectors import gather, labels_of, read_queries, read_vectors, to_matrix

COSINE = DistanceMetric.COSINE
ROWS = [[0.5, -1.25, 3.0], [0.0, 2.0, 1e-3], [7.0, 0.125, -4.0]]
MATRIX = np.array(ROWS, np.float32)
WHOLE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def objects(rows, index=None):
    """An object Series whose cells are just these."""
    cells = np.empty(len(rows), object)
    for at, row in enumerate(rows):
        cells[at] = row
    return pd.Series(cells, dtype=object, index=index)


def text_of(row):
    return "[" + ", ".join(map(str, row)) + "]"


def numpy_text(row, width=75):
    with np.printoptions(threshold=10**6, floatmode="unique", linewidth=width):
        return str(np.asarray(row, np.float32))


def fixed(matrix):
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


def strided(row):
    return np.repeat(np.float32(row), 2)[::2]


FORMS = {
    "float32 ndarrays": lambda rows: objects([np.float32(row) for row in rows]),
    "float64 ndarrays": lambda rows: objects([np.float64(row) for row in rows]),
    "ndarrays of both": lambda rows: objects([np.array(row, "fd"[at % 2]) for at, row in enumerate(rows)]),
    "big-endian ndarrays": lambda rows: objects([np.array(row, ">f4") for row in rows]),
    "non-contiguous ndarrays": lambda rows: objects([strided(row) for row in rows]),
    "reversed ndarrays": lambda rows: objects([np.float32(row[::-1])[::-1] for row in rows]),
    "object ndarrays": lambda rows: objects([np.array(row, object) for row in rows]),
    "Series": lambda rows: objects([pd.Series(row, dtype="float32") for row in rows]),
    "lists": lambda rows: pd.Series([np.float64(row).tolist() for row in rows]),
    "tuples": lambda rows: [tuple(np.float64(row).tolist()) for row in rows],
    "lists of NumPy numbers": lambda rows: objects([list(np.float32(row)) for row in rows]),
    "list of ndarrays": lambda rows: [np.float32(row) for row in rows],
    "lists and ndarrays": lambda rows: objects(
        [list(row) if at % 2 else np.float32(row) for at, row in enumerate(rows)]
    ),
    "lists and texts": lambda rows: objects([text_of(row) if at % 2 else list(row) for at, row in enumerate(rows)]),
    "float32 matrix": np.float32,
    "float64 matrix": np.float64,
    "Fortran order": lambda rows: np.asfortranarray(np.float32(rows)),
    "object matrix": lambda rows: np.array(rows, object),
    "frame": lambda rows: pd.DataFrame(np.float64(rows)),
    "Arrow fixed-size list of floats": lambda rows: fixed(np.float32(rows)),
    "Arrow fixed-size list of doubles": lambda rows: fixed(np.float64(rows)),
    "Arrow list of floats": lambda rows: pa.array(list(np.float32(rows)), pa.list_(pa.float32())),
    "Arrow list of doubles": lambda rows: pa.array(list(np.float64(rows)), pa.list_(pa.float64())),
    "Arrow large list": lambda rows: pa.array(list(np.float32(rows)), pa.large_list(pa.float32())),
    "Arrow sliced": lambda rows: fixed(np.float32([rows[-1], *rows, rows[0]])).slice(1, len(rows)),
    "Arrow list sliced": lambda rows: pa.array([[9.0], *np.float32(rows).tolist(), None])[1:-1],
    "Arrow chunks": lambda rows: pa.chunked_array([fixed(np.float32(rows[:1])), fixed(np.float32(rows[1:]))]),
    "Arrow list chunks": lambda rows: pa.chunked_array(
        [pa.array(np.float32(rows[:1]).tolist()), pa.array([], pa.list_(pa.float64())), pa.array(list(rows[1:]))],
        type=pa.list_(pa.float64()),
    ),
    "Arrow tensor": lambda rows: pa.FixedShapeTensorArray.from_numpy_ndarray(np.float32(rows)),
    "ArrowDtype": lambda rows: pd.Series(pd.arrays.ArrowExtensionArray(fixed(np.float32(rows)))),
    "vector[d]": lambda rows: pd.Series(VectorArray(np.float32(rows))),
    "Index": lambda rows: pd.Index(VectorArray(np.float32(rows))),
    "vector[d, float64]": lambda rows: pd.Series(VectorArray(np.float64(rows))),
    "object texts": lambda rows: objects([text_of(row) for row in rows]),
    "str texts": lambda rows: pd.Series([text_of(row) for row in rows], dtype="str"),
    "Arrow texts": lambda rows: pa.array([text_of(row) for row in rows]),
    "Arrow large texts": lambda rows: pa.array([text_of(row) for row in rows], pa.large_string()),
    "Arrow dictionary of texts": lambda rows: pa.array([text_of(row) for row in rows]).dictionary_encode(),
    "NumPy texts": lambda rows: np.array([text_of(row) for row in rows]),
    "JSON with newlines": lambda rows: [json.dumps(list(map(float, row)), indent=2) + "\r\n" for row in rows],
    "exponents": lambda rows: ["[" + ",".join(f"{number:.9E}" for number in row) + "]" for row in rows],
    "NumPy's text": lambda rows: [numpy_text(row) for row in rows],
    "NumPy's text on many lines": lambda rows: [numpy_text(row, 12) for row in rows],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_matrix(form):
    matrix, missing = to_matrix(FORMS[form](ROWS), dimensions=3)
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    assert matrix.tolist() == MATRIX.tolist()
    assert missing is None


@given(
    form=st.sampled_from(sorted(FORMS)),
    drawn=arrays.arrays(
        np.float32,
        st.tuples(st.integers(2, 5), st.integers(2, 9)),
        elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
    ),
)
def test_a_random_matrix_comes_back_as_it_was(form, drawn):
    matrix, missing = to_matrix(FORMS[form](drawn.tolist()))
    np.testing.assert_array_equal(matrix, drawn)
    assert missing is None


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "int64", "uint64", "float16", "float64", "longdouble", ">f8"]
)
@pytest.mark.parametrize("form", [np.asarray, lambda matrix: objects(list(matrix)), np.asfortranarray])
def test_numbers_of_any_type_become_float32(dtype, form):
    matrix, _ = to_matrix(form(np.array(WHOLE, dtype)))
    assert matrix.dtype == np.float32
    assert matrix.tolist() == WHOLE


@pytest.mark.parametrize(
    "value", [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.uint8(), pa.int64()], ids=str
)
@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, lambda value: pa.list_(value, 3)])
@pytest.mark.parametrize(
    "wrapped", [lambda column: column, lambda column: pd.Series(pd.arrays.ArrowExtensionArray(column))]
)
def test_arrow_lists_of_any_number(value, kind, wrapped):
    column = pa.array([WHOLE[2], WHOLE[0], None, WHOLE[1]], kind(value)).slice(1)
    matrix, missing = to_matrix(wrapped(column))
    assert matrix.tolist() == [WHOLE[0], [0, 0, 0], WHOLE[1]]
    assert missing.tolist() == [False, True, False]


def test_a_float16_column():
    assert to_matrix(pd.Series(WHOLE).astype("vector[3, float16]"))[0].tolist() == WHOLE


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("[ 1.  2.]", [1, 2]),
        ("[1.e+00 2.e-03]", [1, 0.002]),
        ("[-1 +2]", [-1, 2]),
        (" [1,2] ", [1, 2]),
        ("[1e2,\r\n\t-.5E-1\n]", [100, -0.05]),
        ("[16777217, 0.1]", [16777216, 0.1]),
    ],
)
def test_texts(text, row):
    assert to_matrix(objects([text]))[0].tolist() == [np.float32(row).tolist()]


@pytest.mark.parametrize(
    "text",
    [
        "[0.1 0.2 ... 0.9]",
        "[0.1, 0.2, ..., 0.9]",
        "[1, 2, 3",
        "[1, 2, 34",
        "1, 2, 3]",
        "[1, 2, three]",
        "[1 2, 3, 4]",
        "[1\n2,,3]",
        "[1\r2,,3]",
        "[1,null,3]",
        '["1","2","3"]',
        "[1,,2,3]",
        "[1, , 3]",
        "[1, 2, 3,]",
        '["1", "2", "3"]',
        "[[1, 2, 3]]",
        "[1, 2], [3]",
        "[true, false, true]",
        "[0x10, 2, 3]",
        "[1\r2\r\r, 3]",
        '{"a": 1}',
        "[]",
        "hello",
    ],
)
@pytest.mark.parametrize("good", [[], ["[7, 8, 9]"] * 3], ids=["alone", "among good ones"])
def test_a_text_that_is_no_vector_is_named_never_guessed(text, good):
    with pytest.raises(
        VectorError, match=r"^not a vector of (numbers|3 dimensions) in 'e' at 'odd' \(1 row\); the first: str"
    ):
        read_vectors(pd.Series([text, *good], index=["odd", *range(len(good))]), name="e")


@pytest.mark.parametrize(
    ("texts", "bad"),
    [
        (["[1,]", "[,2]"], "at 0, 1"),
        (["[1,]", "[2,3]", "[4,5]"], "at 0"),
        (["[,2,3]", "[4,,6]", "[7,8,]", "[1,2,3]"], "at 0, 1, 2"),
        (["[nan,]", "[,2]", "[3,4]"], "at 0, 1"),
    ],
)
def test_gaps_in_several_texts_never_add_up_to_a_row(texts, bad):
    with pytest.raises(VectorError, match=rf"^not a vector of .* in 'vector' {bad} \("):
        to_matrix(texts)


def naive(text):
    """What a text says, number by number; None where that is no vector of numbers."""
    text = text.strip()
    if len(text) < 2 or text[0] != "[" or text[-1] != "]":
        return None
    inside = text[1:-1]
    try:
        return [float(part) for part in (inside.split(",") if "," in inside else inside.split())]
    except ValueError:
        return None


# a place in the texts of all rows, how much is cut there, and what is put in its stead
MANGLED = st.tuples(
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 3),
    st.sampled_from(["", *'[], \n\r\t.-e17#;"\\', "nan", "null", "true"]),
)


@given(
    rows=st.lists(st.lists(st.sampled_from(["1", "-2.5", "3e2", "nan", ""]), min_size=2, max_size=2), min_size=1),
    mark=st.sampled_from([",", ", ", " "]),
    edits=st.lists(MANGLED, max_size=4),
)
def test_mangled_texts_are_read_as_they_stand_or_named(rows, mark, edits):
    texts = [f"[{mark.join(row)}]" for row in rows]
    for place, cut, piece in edits:
        row, within = divmod(place * len(texts), 1)
        text = texts[int(row)]
        at = int(within * (len(text) + 1))
        texts[int(row)] = text[:at] + piece + text[at + cut :]
    # with one good row all others are told by their places
    read = parse([*texts, "[1,2]"], 2)
    said = [naive(text) for text in texts]
    gone = [is_missing(text) for text in texts]
    bad = [not away and (row is None or len(row) != 2) for away, row in zip(gone, said, strict=True)]
    assert [[] if mask is None else np.flatnonzero(mask).tolist() for mask in (read.missing, read.bad)] == [
        np.flatnonzero(gone).tolist(),
        np.flatnonzero(bad).tolist(),
    ]
    for at, row in enumerate(said):
        if not (gone[at] or bad[at]):
            np.testing.assert_array_equal(read.matrix[at], np.float32(row))


# ---- missing and bad rows


@pytest.mark.parametrize(
    "gone", [None, np.nan, np.float32("nan"), pd.NA, pd.NaT, "", "null", " NaN ", "None", "<NA>"], ids=repr
)
@pytest.mark.parametrize(
    "there", [[1.0, 2.0], (1, 2), np.float32([1, 2]), np.array([1, 2]), "[1, 2]", "[1. 2.]"], ids=repr
)
def test_missing_rows(gone, there):
    matrix, missing = to_matrix(objects([gone, there, gone]))
    assert matrix.tolist() == [[0, 0], [1, 2], [0, 0]]
    assert missing.tolist() == [True, False, True]


def test_text_of_one_number_can_be_missing_too():
    matrix, missing = to_matrix(["[1]", "nan", "[nan]"])
    assert missing.tolist() == [False, True, False]
    assert np.isnan(matrix[2, 0])


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["[1, 2]", None, "[3, 4]"], dtype="str"),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array(["[1, 2]", None, "[3, 4]"]))),
        pa.chunked_array([[[1.0, 2.0], None], [[3.0, 4.0]]]),
        pa.chunked_array([[[1.0, 2.0]], [None, [3.0, 4.0]]], pa.list_(pa.float32(), 2)),
        pd.Series([[1, 2], None, [3, 4]]).astype("vector[2]"),
    ],
)
def test_missing_rows_of_typed_columns(column):
    matrix, missing = to_matrix(column)
    assert matrix.tolist() == [[1, 2], [0, 0], [3, 4]]
    assert missing.tolist() == [False, True, False]


def test_values_under_a_missing_list_are_not_read():
    column = pa.ListArray.from_arrays(
        pa.array([0, 2, 4, 6]), pa.array([1.0, 2, 8, 8, 3, 4]), mask=pa.array([False, True, False])
    )
    assert to_matrix(column)[0].tolist() == [[1, 2], [0, 0], [3, 4]]


@pytest.mark.parametrize("hole", [None, np.nan, pd.NA, np.inf], ids=repr)
@pytest.mark.parametrize("form", [list, tuple, lambda row: np.array(row, object)])
def test_a_hole_inside_a_vector_is_not_a_missing_vector(hole, form):
    column = objects([form([1.0, 2.0]), form([hole, 2.0]), form([3, 4])])
    assert to_matrix(column)[1] is None
    with pytest.raises(VectorError, match=r"NaN or infinity in 'vector' at 1 \(1 row\)"):
        read_vectors(column)


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.list_(pa.float64(), 2), pa.large_list(pa.int8()), pa.list_(pa.float16(), 2)],
    ids=str,
)
def test_a_hole_inside_an_arrow_list(kind):
    column = pa.array([[1, 2], [1, None]], kind)
    assert to_matrix(column)[1] is None
    with pytest.raises(VectorError, match=r"NaN or infinity in 'vector' at 1 \(1 row\)"):
        read_vectors(column)


def test_what_lies_under_a_mask_is_no_number():
    masked = np.ma.masked_array([[1, 2], [3, 4]], [[False, False], [False, True]])
    with pytest.raises(VectorError, match=r"NaN or infinity in 'vector' at 1 \(1 row\)"):
        read_vectors(masked)
    for query in (masked[1], masked.astype("f4")[1]):
        with pytest.raises(VectorError, match="NaN or infinity in 'query'"):
            read_queries(query, dimensions=2)
    assert read_queries(masked[0], dimensions=2)[0].tolist() == [[1, 2]]


LABELS = {
    "strings": (list("abcdefgh"), "'b', 'd', 'f', 'h' (4 rows)"),
    "ints": ([10, 20, 30, 40, 50, 60, 70, 80], "20, 40, 60, 80 (4 rows)"),
    "dates": (pd.date_range("2024-01-01", periods=8), "Timestamp('2024-01-02 00:00:00')"),
    "duplicates": (["a"] * 8, "'a', 'a', 'a', 'a' (4 rows)"),
    "pairs": (
        pd.MultiIndex.from_product([list("xy"), list("abcd")]),
        "('x', 'b'), ('x', 'd'), ('y', 'b'), ('y', 'd') (4 rows)",
    ),
}


@pytest.mark.parametrize(("labels", "shown"), LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("bad", [None, [1.0], [np.nan, 1.0], "[1, 2"], ids=repr)
def test_labels_of_bad_rows_are_named(labels, shown, bad):
    with pytest.raises(VectorError, match=re.escape(f" at {shown}")):
        read_vectors(objects([[1.0, 2.0], bad] * 4, index=labels))


@pytest.mark.parametrize("bad", [None, [1.0], [np.nan, 1.0]], ids=repr)
def test_only_five_labels_are_shown(bad):
    with pytest.raises(VectorError, match=re.escape(" at 9, 10, 11, 12, 13, … (7 rows)")):
        read_vectors(objects([[1.0, 2.0]] * 9 + [bad] * 7))


def test_labels_can_be_given():
    labels = pd.Series(["a", "b"], index=[1, 0])
    with pytest.raises(VectorError, match="at 'b'"):
        read_vectors([[1.0], None], labels=labels)
    assert labels_of(pd.Series([1, 2], index=["x", "y"])).tolist() == ["x", "y"]
    assert list(labels_of([7, 8])) == [0, 1]


COLUMNS = {
    "lists": [[1.0, 2.0], None, [3.0], [4.0, 5.0], [np.nan, 1.0], [0.0, 0.0]],
    "ndarrays": [np.float32([1, 2]), None, np.float32([3]), np.array([4, 5]), np.float64([np.nan, 1]), np.zeros(2)],
    "texts": ["[1, 2]", "", "[3]", "[4, 5]", "[nan, 1]", "[0, 0]"],
}


@pytest.mark.parametrize(
    "column", [*map(objects, COLUMNS.values()), pa.array(COLUMNS["lists"]), pa.array(COLUMNS["texts"])]
)
def test_dropping_keeps_the_good_rows(column):
    read = read_vectors(column, metric=COSINE, on_bad="drop")
    assert read.rows.tolist() == [0, 3]
    assert read.matrix.tolist() == [[1, 2], [4, 5]]
    assert read.dimensions == 2
    plain = read_vectors(column, on_bad="drop")
    assert plain.rows.tolist() == [0, 3, 5]


def test_dropping_from_chunks():
    column = pa.chunked_array([[[1.0, 2.0], [9.0]], [None, [3.0, 4.0]], [[5.0, 6.0]]])
    read = read_vectors(column, on_bad="drop")
    assert read.rows.tolist() == [0, 3, 4]
    assert read.matrix.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_nothing_dropped_is_told_by_none():
    assert read_vectors(ROWS, on_bad="drop").rows is None


@pytest.mark.parametrize("form", [list, np.array, text_of])
@pytest.mark.parametrize("many", [1, 40])
def test_ragged_rows_are_named(form, many):
    rows = [[1.0, 2.0]] * many + [[1.0, 2.0, 3.0], [1.0]] + [[3.0, 4.0]] * many
    with pytest.raises(
        VectorError, match=rf"not a vector of 2 dimensions in 'vector' at {many}, {many + 1} \(2 rows\)"
    ):
        to_matrix(objects([form(row) for row in rows]))


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64())], ids=str)
def test_ragged_arrow_rows_are_named(kind):
    column = pa.array([[1, 2, 3], None, [1, 2], [], [3, 4]], kind)
    with pytest.raises(
        VectorError, match=r"not a vector of 2 dimensions in 'vector' at 0, 3 \(2 rows\); the first: list of length 3"
    ):
        to_matrix(column)


def test_lists_of_nothing_but_holes():
    with pytest.raises(VectorError, match=r"NaN or infinity in 'vector' at 0 \(1 row\)"):
        read_vectors(pa.array([[None, None]]))


@pytest.mark.parametrize("form", sorted(FORMS))
def test_all_rows_of_another_length(form):
    with pytest.raises(VectorError, match=r"^'e': every vector has 3 dimensions, expected 4$"):
        read_vectors(FORMS[form](ROWS), dimensions=4, name="e", on_bad="drop")


@pytest.mark.parametrize("column", [[[1.0], [1.0, 2.0], [3.0, 4.0]], pa.array([[1.0], [1.0, 2.0], [3.0, 4.0]])])
def test_the_length_that_is_asked_for_counts_not_the_usual_one(column):
    read = read_vectors(column, dimensions=1, on_bad="drop")
    assert read.rows.tolist() == [0]
    assert read.matrix.tolist() == [[1]]


# ---- numbers


def test_past_float32_is_not_finite():
    for column in ([[1.0, 2.0], [1e39, 1.0]], np.array([[1, 2], [1e39, 1]]), ["[1, 2]", "[1e39, 1]"]):
        with pytest.raises(VectorError, match=r"NaN or infinity in 'vector' at 1 \(1 row\)"):
            read_vectors(column)
    with pytest.raises(VectorError, match=r"NaN or infinity in 'vector' at 1 \(1 row\)"):
        read_vectors(objects([np.array([1.0, 2]), np.array([1e39, 1])]))


@pytest.mark.parametrize("row", [[3e38, 3e38], [1e-30, 0], [1e-45, 1e-45]])
def test_large_and_tiny_vectors_are_vectors(row):
    assert read_vectors(np.float32([[1, 2], row])).rows is None


@pytest.mark.parametrize(
    ("row", "metrics"),
    [
        ([3e38, 3e38], list(DistanceMetric)),
        ([1.5e19, 0], [DistanceMetric.EUCLIDEAN]),
        ([1e-30, 0], [COSINE]),
        ([1e-45, 1e-45], [COSINE]),
    ],
)
def test_vectors_that_float32_can_not_measure_are_refused_by_name(row, metrics):
    for metric in metrics:
        with pytest.raises(VectorError, match=r"too long or too short .* at 1 \(1 row\); scale it"):
            read_vectors(np.float32([[1, 2], row]), metric=metric)
        with pytest.raises(VectorError, match="too long or too short"):
            read_queries(np.float32(row), dimensions=2, metric=metric)


@pytest.mark.parametrize(
    ("length", "metric"), [(6e18, DistanceMetric.EUCLIDEAN), (1.5e19, DistanceMetric.DOT_PRODUCT), (1.5e19, COSINE)]
)
def test_the_longest_vectors_are_measured_alike_everywhere(length, metric):
    frame = pd.DataFrame({"v": list(np.float32([[length, 0], [-length, 0], [0, length], [1, 1]]))})
    expected = frame.vec.search([length, 0], k=4, metric=metric)
    assert sorted(expected.index) == [0, 1, 2, 3]
    assert np.isfinite(expected.distance).all()
    for backend in ("exact", "faiss"):
        with frame.vec.push(backend, metric=metric) as store:
            pd.testing.assert_frame_equal(store.search([length, 0], k=4), expected)


def test_a_zero_vector_has_no_direction():
    zeros = np.float32([[1, 2], [0, -0.0], [1e-30, 0]])
    assert read_vectors(zeros, metric=DistanceMetric.EUCLIDEAN).rows is None
    with pytest.raises(
        VectorError, match=r"zero vector, which has no direction under cosine, in 'e' at 1 \(1 row\); on_bad"
    ):
        read_vectors(zeros, metric=COSINE, name="e")


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (np.array([[1j, 2]]), "complex128"),
        (np.array([[True, False]]), "bool"),
        (np.array([["a", "b"]]), "<U1"),
        (objects([np.array([1j, 2])]), "complex128 array of shape (2,)"),
        (objects([np.array([True, False])]), "bool array of shape (2,)"),
        (objects([np.float32([[1, 2], [3, 4]])]), "float32 array of shape (2, 2)"),
        ([[True, False]], "list of length 2, [True, False]"),
        ([["a", "b"]], "list of length 2, ['a', 'b']"),
        ([["1", None]], "list of length 2, ['1', None]"),
        ([[1j, 2]], "list of length 2, [1j, 2]"),
        ([[[1, 2], [3, 4]]], "list of length 2, [[1, 2], [3, 4]]"),
        ([[10**400, 1]], "list of length 2, [1000"),
        ([[1.0, 2.0], {1: 2, 3: 4}], "dict of length 2, {1: 2, 3: 4}"),
        ([[1.0, 2.0], {1, 2}], "set of length 2"),
        ([[1.0, 2.0], b"ab"], "bytes of length 2"),
        ([[1.0, 2.0], 5], "int 5"),
        ([5, [1.0, 2.0]], "int 5"),
        ([[], []], "list of length 0, []"),
        ([{1: 2}], "a column of dict holds no vectors"),
        (pa.array([[True, False]]), "lists of bool"),
        (pa.array([["a"]]), "lists of string"),
        (pa.array([[[1.0]]]), "lists of list"),
        (pa.array([1.0]), "a column of double"),
        (pd.Series([1, 2]), "type int64"),
        (pd.Series([1, 2], dtype="Int64"), "a column of int64"),
        (pd.Series(["a"], dtype="category"), "str of length 1, 'a'"),
        (pd.Series(pd.date_range("2024", periods=2, tz="UTC")), "a column of Timestamp"),
        (np.zeros((2, 2, 2)), "shape (2, 2, 2)"),
        (np.zeros((2, 0)), "these vectors are empty"),
        (pa.array([[], []], pa.list_(pa.float32())), "these vectors are empty"),
        (5, "shape ()"),
        ((number for number in [1.0]), "shape ()"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_was_found_is_told(column, told):
    with pytest.raises(VectorError, match=re.escape(told)):
        read_vectors(column)


@pytest.mark.parametrize(
    "column",
    [
        [],
        np.array([], object),
        pd.Series([], dtype=object),
        pd.Series([], dtype="str"),
        pa.array([], pa.list_(pa.float32())),
        pa.chunked_array([], pa.list_(pa.float64())),
        pa.chunked_array([], pa.list_(pa.float32(), 3)),
        np.empty((0, 3)),
        pa.nulls(0),
    ],
    ids=lambda column: type(column).__name__,
)
def test_empty_columns(column):
    matrix, missing = to_matrix(column, dimensions=3)
    assert matrix.shape == (0, 3)
    assert matrix.dtype == np.float32
    assert missing is None
    assert read_vectors(column, dimensions=3, metric=COSINE).rows is None


@pytest.mark.parametrize(
    "column",
    [[None, np.nan], pd.Series([None, None]), pa.nulls(2), pa.array([None, None], pa.list_(pa.float32()))],
    ids=str,
)
def test_nothing_but_missing_rows(column):
    matrix, missing = to_matrix(column, dimensions=2)
    assert matrix.tolist() == [[0, 0], [0, 0]]
    assert missing.tolist() == [True, True]
    with pytest.raises(VectorError, match="'e': there is no vector to tell the dimensions from"):
        to_matrix(column, name="e")
    with pytest.raises(VectorError, match=r"vector missing in 'e' at 0, 1 \(2 rows\)"):
        read_vectors(column, dimensions=2, name="e")


# ---- no copy


@pytest.mark.parametrize(
    "read", [lambda column: to_matrix(column)[0], lambda column: read_vectors(column, metric=COSINE).matrix]
)
def test_float32_is_not_copied(read):
    values = MATRIX.reshape(-1)
    lists = pa.ListArray.from_arrays(pa.array([0, 3, 6, 9], pa.int32()), pa.array(values))
    large = pa.LargeListArray.from_arrays(pa.array([0, 3, 6, 9], pa.int64()), pa.array(values))
    columns = [fixed(MATRIX), fixed(MATRIX)[1:], lists, lists[1:], large, pa.chunked_array([lists]), MATRIX, MATRIX[1:]]
    columns += [
        pd.Series(VectorArray(MATRIX), copy=False),
        VectorArray(MATRIX),
        pd.Series(pd.arrays.ArrowExtensionArray(fixed(MATRIX))),
    ]
    assert [np.shares_memory(read(column), MATRIX) for column in columns] == [True] * len(columns)


# ---- queries

EMBEDDED = pd.Series([[1.0, 2.0], [3.0, 4.0]], index=["x", "y"])


@pytest.mark.parametrize(
    "query",
    [
        [1, 2],
        (1.0, 2.0),
        np.array([1, 2]),
        np.float32([1, 2]),
        np.float16([1, 2]),
        np.float32([1, 9, 2, 9])[::2],
        pd.Series([1.0, 2.0]),
        pd.Series([1, 2], dtype="Int64"),
        pd.Series([1, 2], dtype=object),
        pd.Series([1.0, 2.0], dtype="float32[pyarrow]"),
        pd.Series([1.0, 2.0], index=["value", "name"]),
        pd.Index([1, 2]),
        pa.array([1.0, 2.0]),
        pa.chunked_array([[1], [2]]),
        list(np.float32([1, 2])),
        array("d", [1, 2]),
        fields.VectorField([1, 2]),
    ],
    ids=lambda query: type(query).__name__,
)
def test_one_query(query):
    matrix, single, labels = read_queries(query, dimensions=2, metric=COSINE)
    assert matrix.tolist() == [[1, 2]]
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    assert (single, labels) == (True, None)


@pytest.mark.parametrize(
    "queries",
    [
        [[1, 2], [3, 4]],
        ((1, 2), (3, 4)),
        [np.float32([1, 2]), np.array([3, 4])],
        np.array([[1, 2], [3, 4]]),
        np.asfortranarray(np.float32([[1, 2], [3, 4]])),
        np.array([[1, 2], [3, 4]], object),
        ["[1, 2]", "[3 4]"],
        pa.array([[1.0, 2.0], [3.0, 4.0]]),
        fixed(np.float32([[1, 2], [3, 4]])),
        pd.Index(VectorArray(np.float32([[1, 2], [3, 4]]))),
        fields.VectorField([[1, 2], [3, 4]]),
    ],
    ids=lambda queries: type(queries).__name__,
)
def test_many_queries(queries):
    matrix, single, labels = read_queries(queries, dimensions=2, metric=COSINE)
    assert matrix.tolist() == [[1, 2], [3, 4]]
    assert (single, labels) == (False, None)


@pytest.mark.parametrize(
    "column", [EMBEDDED, EMBEDDED.astype("vector[2]"), EMBEDDED.map(np.float32), EMBEDDED.astype("str")]
)
def test_a_column_of_queries_brings_its_labels(column):
    matrix, single, labels = read_queries(column, dimensions=2)
    assert matrix.tolist() == [[1, 2], [3, 4]]
    assert (single, list(labels)) == (False, ["x", "y"])


def test_a_label_called_value_is_a_label():
    assert list(read_queries(EMBEDDED.set_axis(["value", "y"]), dimensions=2)[2]) == ["value", "y"]


@pytest.mark.parametrize("queries", [[], (), np.empty((0, 2)), EMBEDDED[:0], pa.array([], pa.list_(pa.float32()))])
def test_no_query(queries):
    matrix, single, _ = read_queries(queries, dimensions=2)
    assert matrix.shape == (0, 2)
    assert single is False


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ([1, 2, 3], "query has 3 dimensions, expected 2"),
        (np.float32([1]), "query has 1 dimensions, expected 2"),
        ([[1, 2, 3]], "'query': every vector has 3 dimensions, expected 2"),
        ([[1, 2], [1]], "not a vector of 2 dimensions in 'query' at 1 (1 row)"),
        ([np.nan, 1], "NaN or infinity in 'query' at 0 (1 row)"),
        (np.float32([np.inf, 1]), "NaN or infinity in 'query' at 0 (1 row)"),
        ([1, None], "NaN or infinity in 'query' at 0 (1 row)"),
        (pd.Series([1, None], dtype="Int64"), "NaN or infinity in 'query' at 0 (1 row)"),
        ([1e39, 1], "NaN or infinity in 'query' at 0 (1 row)"),
        ([[1, 2], [0, 0]], "zero vector, which has no direction under cosine, in 'query' at 1 (1 row)"),
        (np.float32([0, 0]), "zero vector, which has no direction under cosine, in 'query' at 0 (1 row)"),
        (pd.Series([[1, 2], None], index=["x", "y"]), "vector missing in 'query' at 'y' (1 row)"),
        (pd.Series([None, None]), "vector missing in 'query' at 0, 1 (2 rows)"),
        ([True, False], "query must be real numbers, not bool"),
        ([1.0, True], "query must be real numbers, not bool"),
        (np.array([1.0, True], object), "query must be real numbers, not bool"),
        (np.array([True, False]), "query must be real numbers, not bool"),
        (pd.Series([True, False]), "query must be real numbers, not bool"),
        ([1j, 2], "query must be real numbers, not complex128"),
        ([1, "2"], "query must be real numbers, not <U"),
        (np.array(["a", "b"]), "query must be real numbers, not <U1"),
        (["a", "b"], "not a vector of 2 dimensions in 'query' at 0, 1 (2 rows); the first: str of length 1, 'a'"),
        ("[1, 2]", "rows of them, not str"),
        (b"12", "rows of them, not bytes"),
        ({1: 2}, "rows of them, not dict"),
        ({1, 2}, "rows of them, not set"),
        (pd.DataFrame({"value": [1, 2]}), "rows of them, not DataFrame"),
        (5, "rows of them, not int"),
        (None, "rows of them, not NoneType"),
        (np.float32(5), "rows of them, not float32"),
        (np.array(5.0), "not of shape ()"),
        (np.zeros((1, 1, 2)), "not of shape (1, 1, 2)"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_queries_that_are_refused(query, told):
    with pytest.raises(VectorError, match=re.escape(told)) as error:
        read_queries(query, dimensions=2, metric=COSINE)
    assert "on_bad" not in str(error.value)


# ---- which columns hold vectors


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(VectorArray(MATRIX)),
        pd.Series(VectorArray(MATRIX.astype("float16"))),
        pd.Series([None, None]).astype("vector[3]"),
        objects([None, [0.1, 0.2]]),
        objects([(0.1, 0.2)]),
        objects([[0, 0.5]]),
        objects([[np.float32(0.1), np.float32(0.2)]]),
        objects([np.float32([1, 2])]),
        objects([np.int8([1, 2])]),
        objects([None] * 100 + ["", "[0.1, 0.2]"]),
        objects([" [ 1.  2.]\n"]),
        objects(["[-1e-3 .5]"]),
        objects(["[0.1 0.2 ... 0.9]"]),
        objects(["[0.1, 0.2, NaN, null]"]),
        objects(["[nan, 0.2]"]),
        objects(["[0.1 -inf]"]),
        pd.Series(["[0.1, 0.2]"], dtype="str"),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array(["[0.1, 0.2]"]))),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array([[0.1]]))),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array([[0.1]], pa.large_list(pa.float16())))),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array([[1, 2]], pa.list_(pa.int8(), 2)))),
    ],
    ids=str,
)
def test_vector_columns(column):
    assert is_vector_column(column) is True


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([["a", "b"]]),
        objects([["a", "b"]]),
        objects([[1, 2]]),
        objects([[True, False]]),
        objects([[True, 0.5]]),
        objects([[0.5]]),
        objects([[]]),
        objects([[0.5, "a"]]),
        objects([[1j, 2.0]]),
        objects([np.array(["a", "b"])]),
        objects([np.array([True])]),
        objects([np.zeros((2, 2))]),
        objects([{"a": 1}]),
        objects([b"[0.1, 0.2]"]),
        objects([None, np.nan]),
        objects([]),
        objects(["plain words"]),
        objects(["[1] two"]),
        objects(["[12] 5 apples"]),
        objects(["[3 4 things]"]),
        objects(["[see 1, 2]"]),
        objects(["[1, 2], [3, 4]"]),
        objects(["[2024-01-01, 5]"]),
        objects(["[nan, inf]"]),
        objects(["[nan bread 5]"]),
        objects(["[" + "1" * 100_000 + "x"]),  # which must not be read again from every digit
        objects(["[1 " + "1" * 100_000 + "!"]),
        objects(["[nano, 1]"]),
        pd.Series(["[draft] title"], dtype="str"),
        pd.Series(["[0.1, 0.2]"], dtype="category"),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array(["[0.1, 0.2]"]).dictionary_encode())),
        pd.Series([0.1, 0.2]),
        pd.Series([1], dtype="Int64"),
        pd.Series([True]),
        pd.Series(pd.date_range("2024", periods=2)),
        pd.Series(pd.period_range("2024", periods=2)),
        pd.Series(pd.interval_range(0, 2)),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array([["a"]]))),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array([[1, 2]]))),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array([[True, False]], pa.list_(pa.bool_(), 2)))),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array(["[a]"]))),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array([1.5]))),
    ],
    ids=lambda column: str(column)[:40],
)
def test_other_columns(column):
    assert is_vector_column(column) is False


# ---- one column per dimension


def test_gather_orders_by_number():
    frame = pd.DataFrame({"e_10": [3, 6], "id": [7, 8], "e_9": [2.0, 5.0], "e_08": np.float32([1, 4])})
    names, matrix = gather(frame, "e_*")
    assert names == ["e_08", "e_9", "e_10"]
    assert matrix.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous


def test_gather_takes_a_list_as_it_stands():
    frame = pd.DataFrame({"b": [1, 2], "a": [3, 4], 5: [6, 7]})
    assert gather(frame, ["a", "b"])[1].tolist() == [[3, 1], [4, 2]]
    assert gather(frame, [5, "b"])[1].tolist() == [[6, 1], [7, 2]]


def test_gather_keeps_the_order_of_names_without_numbers():
    assert gather(pd.DataFrame({"pos_y": [1], "pos_x": [2]}), "pos_*")[0] == ["pos_y", "pos_x"]


@pytest.mark.parametrize(
    "dtype", ["Int64", "Float32", "Float64", "UInt8", "int8", "float16", "int64[pyarrow]", "double[pyarrow]"]
)
def test_gather_takes_numbers_of_any_dtype(dtype):
    frame = pd.DataFrame({"e1": pd.Series([1, 2], dtype=dtype), "e2": [0.5, 1.5]})
    assert gather(frame, "e*")[1].tolist() == [[1, 0.5], [2, 1.5]]


@pytest.mark.parametrize(
    ("frame", "columns", "told"),
    [
        ({"e_1": [1], "e_3": [1], "e_6": [1]}, "e_*", "'e_*' leaves out number 2, 4, 5"),
        ({"e_1": [1]}, "e_*", "'e_*' matches ['e_1']; a vector needs at least two"),
        ({"a": [1]}, "e_*", "'e_*' matches no column; a vector needs at least two"),
        ({"e_1": [1], "e_2": ["a"], "e_3": [True]}, "e_*", "must be numbers; these are not: ['e_2', 'e_3']"),
        ({"e_1": [1], "e_2": [1], "e_norm": [1]}, "e_*", "matches columns without a number too: ['e_norm']"),
        ({"e_1": [1], "e_01": [1]}, "e_*", "'e_*' matches a number twice: ['e_1', 'e_01']"),
        ({"a": [1], "b": [1]}, ["a", "b", "c"], "no columns ['c']"),
        ({"a": [1], "b": [1]}, ["a", "a"], "columns that occur twice: ['a']"),
        ({"e_1": [1j], "e_2": [1]}, "e_*", "must be numbers; these are not: ['e_1']"),
    ],
)
def test_gather_refuses(frame, columns, told):
    with pytest.raises(VectorError, match=re.escape(told)):
        gather(pd.DataFrame(frame), columns)


def test_gather_refuses_two_columns_of_one_name():
    with pytest.raises(VectorError, match=re.escape("columns that occur twice: ['e_1']")):
        gather(pd.DataFrame([[1, 2, 3]], columns=["e_1", "e_1", "e_2"]), "e_*")


@pytest.mark.parametrize(
    "bad",
    [[1, None], [1.0, np.inf], [1.0, 1e300], pd.array([1, None], "Int64"), pd.array([1, None], "double[pyarrow]")],
    ids=repr,
)
def test_gather_names_the_rows_with_gaps(bad):
    frame = pd.DataFrame({"e_1": bad, "e_2": [1, 2]}, index=["x", "y"])
    with pytest.raises(VectorError, match=re.escape("NaN or infinity in 'e_*' at 'y' (1 row); dropna() first")):
        gather(frame, "e_*")


# ---- lengths


def test_squared_norms():
    assert squared_norms(np.float32([[3, 4], [0, 0]])).tolist() == [25, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert squared_norms(np.float32([[3e38, 1], [np.nan, 1]])).tolist()[0] == np.inf


def test_normalize():
    rows = np.float32([[3, 4], [0, 0], [3e38, 3e38], [1e-30, 0], [-1e-45, 0], [1e-15, 1e-15]])
    half = np.float32(np.sqrt(0.5))
    expected = [[0.6, 0.8], [0, 0], [half, half], [1, 0], [-1, 0], [half, half]]
    np.testing.assert_allclose(normalize(rows), expected, rtol=1e-6)
    assert normalize(rows).dtype == np.float32
    assert rows[0].tolist() == [3, 4]


def test_normalize_in_blocks():
    rows = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(normalize(rows), axis=1), 1, rtol=1e-6)


# ---- many rows


@pytest.mark.parametrize("form", ["float32 ndarrays", "lists", "object texts", "NumPy's text"])
def test_blocks_fit_together(form):
    rows = np.arange(2 * 1_300, dtype=np.float32).reshape(1_300, 2)
    column = FORMS[form](rows.tolist())
    assert to_matrix(column)[0].tolist() == rows.tolist()
    column = list(column)
    column[700] = None
    column[1_000] = "oops"
    read = read_vectors(column, on_bad="drop")
    assert read.rows.tolist() == [at for at in range(1_300) if at not in {700, 1_000}]
    assert read.matrix.tolist() == rows[read.rows].tolist()


def test_truths_in_a_later_text_are_no_numbers():
    with pytest.raises(VectorError, match=r"at 1 \(1 row\).*'\[true, false\]'"):
        read_vectors(["[1, 2]", "[true, false]"])


@pytest.mark.parametrize("truth", [True, False, np.True_])
@pytest.mark.parametrize("row", [(), (1.0,)], ids=["alone", "among numbers"])
def test_truths_in_a_later_list_are_no_numbers(truth, row):
    odd = [*row, *[truth] * (2 - len(row))]
    rows = [[1.0, float(at % 2)] for at in range(600)]
    for column, at in ([*rows, odd, *rows], 600), ([*map(tuple, rows), tuple(odd)], 600), ([odd, *rows], 0):
        with pytest.raises(VectorError, match=rf"^not a vector of 2 dimensions in 'vector' at {at} \(1 row\)"):
            to_matrix(column)
