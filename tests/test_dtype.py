# ruff: noqa: RUF001 -- the sign of dimensions in a repr
from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dkvector.dtype import VectorArray, VectorDtype
from dkvector.errors import VectorError

ROWS = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]], dtype="float32")


def column(missing=(), dtype="float32", index=None):
    mask = np.isin(np.arange(4), missing)
    return pd.Series(VectorArray(ROWS.astype(dtype), mask), index=index)


def rows_of(series):
    return [None if row is pd.NA else row.tolist() for row in series]


# ---- the dtype


@pytest.mark.parametrize(
    ("name", "dimensions", "element"),
    [
        ("vector[384]", 384, "float32"),
        ("vector[8, float16]", 8, "float16"),
        ("vector[8,float64]", 8, "float64"),
        ("vector", None, "float32"),
    ],
)
def test_name_to_dtype(name, dimensions, element):
    dtype = pd.api.types.pandas_dtype(name)
    assert (dtype.dimensions, dtype.element) == (dimensions, np.dtype(element))
    assert str(dtype) == name.replace(",float64", ", float64")


@pytest.mark.parametrize("name", ["vector[0]", "vector[-1]", "vector[3, int8]", "vector[]", "vectors[3]", "vector[3] "])
def test_not_a_dtype(name):
    with pytest.raises(TypeError, match="not understood"):
        pd.api.types.pandas_dtype(name)


def test_dtype_refuses():
    with pytest.raises(VectorError, match="at least 1 dimension, not 0"):
        VectorDtype(0)
    with pytest.raises(VectorError, match="vectors hold float16, float32, float64, not int64"):
        VectorDtype(3, "int64")


# ---- views and memory


def test_items_and_slices_are_views():
    array = VectorArray(ROWS.copy())
    series = pd.Series(array, copy=False)
    assert np.shares_memory(series[2], array.matrix)
    assert type(series[2]) is np.ndarray
    assert series[2].tolist() == [6, 7, 8]
    assert np.shares_memory(series.iloc[1:3].array.matrix, array.matrix)
    assert np.shares_memory(array.view().matrix, array.matrix)
    assert not np.shares_memory(array.copy().matrix, array.matrix)
    assert not np.shares_memory(copy.deepcopy(series).array.matrix, array.matrix)


def test_items_are_read_only():
    series = column()
    with pytest.raises(ValueError, match="read-only"):
        series[0][0] = 9
    assert series[0].tolist() == [0, 1, 2]


def test_constructor_keeps_the_matrix():
    matrix = ROWS.copy()
    assert VectorArray(matrix).matrix is matrix
    assert not np.shares_memory(VectorArray(matrix, copy=True).matrix, matrix)
    fortran = VectorArray(np.asfortranarray(matrix))
    assert fortran.matrix.flags.c_contiguous
    assert fortran.matrix.tolist() == ROWS.tolist()
    swapped = VectorArray(matrix.astype(">f4"))
    assert swapped.dtype == "vector[3]"
    assert swapped.matrix.dtype.isnative
    assert swapped.matrix.tolist() == ROWS.tolist()


@pytest.mark.parametrize(
    ("matrix", "mask", "says"),
    [
        (np.zeros(3), None, r"not float64 of shape \(3,\)"),
        (np.zeros((2, 3), dtype=int), None, "not int64 of shape"),
        (np.zeros((2, 3)), [True], r"the mask has shape \(1,\), expected \(2,\)"),
        (np.zeros((2, 0)), None, "at least 1 dimension"),
    ],
)
def test_constructor_refuses(matrix, mask, says):
    with pytest.raises(VectorError, match=says):
        VectorArray(matrix, mask)


def test_nbytes():
    assert column().array.nbytes == 4 * 3 * 4 + 4
    assert column().memory_usage(index=False, deep=True) == 52


def test_copy_on_write():
    series = column()
    other = series[:]
    other.iloc[0] = np.ones(3)
    assert series[0].tolist() == [0, 1, 2]
    assert other[0].tolist() == [1, 1, 1]


def test_arrows_memory_is_copied_when_written_to():
    lists = pa.array(ROWS.tolist(), pa.list_(pa.float32(), 3))
    series = pd.Series(VectorDtype(3).__from_arrow__(lists), copy=False)
    assert not series.array.matrix.flags.writeable
    series[1] = [1, 1, 1]
    assert rows_of(series)[:2] == [[0, 1, 2], [1, 1, 1]]
    assert lists[1].as_py() == [3, 4, 5]


@pytest.mark.parametrize("missing", [(), (1,)])
def test_pickle(missing):
    series = column(missing)
    pd.testing.assert_series_equal(pickle.loads(pickle.dumps(series)), series)  # noqa: S301 -- our own


# ---- Arrow


def test_to_arrow_shares_memory():
    array = column().array
    lists = pa.array(array)
    assert lists.type == pa.list_(pa.float32(), 3)
    assert lists.flatten().buffers()[1].address == array.matrix.ctypes.data
    assert pa.array(array[2:]).to_pylist() == [[6, 7, 8], [9, 10, 11]]
    assert pa.array(array[::2]).to_pylist() == [[0, 1, 2], [6, 7, 8]]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_to_arrow_with_missing_rows(dtype):
    lists = pa.array(column([1], dtype).array)
    assert lists.to_pylist() == [[0, 1, 2], None, [6, 7, 8], [9, 10, 11]]
    assert lists.null_count == 1


@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 3), pa.list_(pa.float32()), pa.large_list(pa.float32())])
@pytest.mark.parametrize("missing", [(), (1,), (0, 3)])
def test_from_arrow(kind, missing):
    rows = [None if at in missing else row for at, row in enumerate(ROWS.tolist())]
    lists = pa.array([[9, 9, 9], *rows, None], kind)[1:5]
    array = VectorDtype(3).__from_arrow__(lists)
    assert rows_of(array) == rows
    parts = pa.chunked_array([lists[:1], lists[1:1], lists[1:]])
    assert rows_of(VectorDtype(3).__from_arrow__(parts)) == rows
    if not missing:
        assert array.matrix.ctypes.data == lists.flatten().buffers()[1].address + 12


def test_from_arrow_of_other_numbers():
    lists = pa.array([[1, 2], [3, 4]], pa.list_(pa.int32()))
    assert VectorDtype(2, "float16").__from_arrow__(lists).matrix.dtype == np.float16


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        (pa.array([[1.0, 2], [1.0], None, [1.0, 2, 3]]), r"other than 2 dimensions at 1, 3 \(2 rows\)"),
        (pa.array([None, [1.0, 2], [1.0, None]]), r"numbers are missing inside vectors at 2 \(1 row\)"),
        (pa.array([[1.0, 2, 3]], pa.list_(pa.float32(), 3)), "has 3 dimensions, expected 2"),
        (pa.array([["a", "b"]]), "does not hold vectors"),
        (pa.array([1.0, 2.0]), "does not hold vectors"),
    ],
)
def test_from_arrow_refuses(lists, says):
    with pytest.raises(VectorError, match=says):
        VectorDtype(2).__from_arrow__(lists)


def test_from_arrow_names_rows_of_later_chunks():
    with pytest.raises(VectorError, match=r"at 3 \(1 row\)"):
        VectorDtype(2).__from_arrow__(pa.chunked_array([[[1.0, 2.0]] * 2, [[1.0, 2.0], [1.0]]]))


# ---- making and casting


@pytest.mark.parametrize(
    "values",
    [
        [np.array([1, 2.5]), None, np.array([3, 4])],
        [[1, 2.5], np.nan, (3, 4)],
        ["[1, 2.5]", pd.NA, "[3.0, 4.0]"],
        pd.array([[1, 2.5], None, [3, 4]], dtype=pd.ArrowDtype(pa.list_(pa.float64()))),
        pd.array(["[1, 2.5]", None, "[3, 4]"], dtype="string"),
    ],
)
@pytest.mark.parametrize("dtype", ["vector[2]", "vector[2, float16]", "vector[2, float64]", "vector"])
def test_astype(values, dtype):
    series = pd.Series(values).astype(dtype)
    assert series.dtype == ("vector[2]" if dtype == "vector" else dtype)
    assert rows_of(series) == [[1, 2.5], None, [3, 4]]
    assert series.array.matrix.dtype == series.dtype.element


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_string()),
        pa.json_(),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["vector[2]", "vector[2, float64]", "vector"])
def test_astype_of_arrows_texts(kind, dtype):
    texts = pa.array(["[1, 2.5]", None, "[3, 4]"], kind)
    for values in texts, pa.chunked_array([texts[:1], texts[1:]]):
        # the array, as a Series of viewed texts is beyond pandas
        assert rows_of(pd.Series(pd.arrays.ArrowExtensionArray(values).astype(dtype))) == [[1, 2.5], None, [3, 4]]
        assert rows_of(pd.Series(pd.array(values, dtype=dtype))) == [[1, 2.5], None, [3, 4]]


def test_float64_is_not_rounded_on_the_way():
    assert pd.Series([[0.1, 1 / 3]]).astype("vector[2, float64]")[0].tolist() == [0.1, 1 / 3]


def test_astype_between_vectors_and_back():
    assert rows_of(column([1]).astype("vector[3, float16]")) == [[0, 1, 2], None, [6, 7, 8], [9, 10, 11]]
    objects = column([1]).astype(object)
    assert objects[0].tolist() == [0, 1, 2]
    assert objects[1] is pd.NA
    pd.testing.assert_series_equal(objects.astype("vector[3]"), column([1]))


def test_text_is_complete():
    long = pd.Series(VectorArray(np.float32([[0.1] * 2000])))
    assert long.astype(str)[0] == "[" + ",".join(["0.1"] * 2000) + "]"
    assert column([1]).astype("string").tolist() == ["[0.0,1.0,2.0]", pd.NA, "[6.0,7.0,8.0]", "[9.0,10.0,11.0]"]
    odd = pd.Series(VectorArray(np.float64([[np.nan, np.inf]])))
    assert odd.astype(str)[0] == "[nan,inf]"


def test_csv_that_cut_vectors_short_is_refused(tmp_path):
    pd.DataFrame({"v": VectorArray(np.zeros((1, 2000), dtype="float32"))}).to_csv(tmp_path / "v.csv")
    with pytest.raises(VectorError, match="cut short by to_csv"):
        pd.read_csv(tmp_path / "v.csv", dtype={"v": "vector[2000]"})


@pytest.mark.parametrize("dtype", ["vector[2]", "vector[2, float64]"])
@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2], [1, 2, 3]],
        [[1, 2], "word"],
        [[1, 2], ["a", "b"]],
        [[1, 2], 5],
        [[1, 2], [True, False]],
        [[1, 2], (2.0, True)],
        ["[1, 2]", "[2, true]"],
    ],
)
def test_bad_rows_are_named(rows, dtype):
    with pytest.raises(VectorError, match=r"at 1 \(1 row\)"):
        pd.Series(rows, dtype=object).astype(dtype)


def test_other_dimensions_are_refused():
    with pytest.raises(VectorError, match="has 3 dimensions, expected 4"):
        column().astype("vector[4]")
    with pytest.raises(VectorError, match="dimensions"):
        pd.Series([], dtype=object).astype("vector")
    with pytest.raises(VectorError, match="vectors of 2 and 3 dimensions don't fit one column"):
        pd.concat([column(), pd.Series(VectorArray(np.ones((1, 2))))])
    with pytest.raises(VectorError, match="vectors of 2 and 3 dimensions don't fit one column"):
        VectorArray._concat_same_type([column().array, VectorArray(np.ones((1, 2)))])


def test_concat():
    both = pd.concat([column([0]), column([1], "float64")], ignore_index=True)
    assert both.dtype == "vector[3, float64]"
    assert rows_of(both) == rows_of(column([0])) + rows_of(column([1]))
    assert pd.concat([column(), pd.Series([1, 2])]).dtype == object


def test_matrix_instead_of_an_array_of_numbers():
    with pytest.raises(TypeError, match=r"take the matrix: series\.array\.matrix"):
        np.asarray(column(), dtype="float32")


# ---- rows that are missing, rows that are set


def test_missing():
    series = column([1], index=list("abcd"))
    assert series["b"] is pd.NA
    assert series.isna().tolist() == [False, True, False, False]
    assert series.array.missing.tolist() == [False, True, False, False]
    assert series.dropna().index.tolist() == ["a", "c", "d"]
    assert rows_of(series.reindex(["d", "x", "b"])) == [[9, 10, 11], None, None]
    assert rows_of(series.shift(1)) == [None, [0, 1, 2], None, [6, 7, 8]]
    assert rows_of(series.shift(-1, fill_value=np.ones(3))) == [None, [6, 7, 8], [9, 10, 11], [1, 1, 1]]


def test_fill():
    series, ones = column([1, 3]), np.ones(3)
    filled = [[0, 1, 2], [1, 1, 1], [6, 7, 8], [1, 1, 1]]
    assert rows_of(series.array.fillna(ones)) == filled
    assert rows_of(series.fillna({1: ones, 3: ones})) == filled
    assert rows_of(series.fillna(pd.Series([ones] * 4))) == filled
    assert rows_of(series.array.fillna(ones, limit=1)) == [*filled[:3], None]
    assert rows_of(series) == [[0, 1, 2], None, [6, 7, 8], None]


def test_set():
    frame = pd.DataFrame({"n": range(4), "v": column()})
    frame.at[0, "v"] = np.ones(3)  # noqa: PD008 -- pandas' `.loc` takes an ndarray for a list of values
    frame.loc[1, "v"] = None
    frame.loc[frame["n"] > 1, "v"] = pd.array([[2, 2, 2], np.full(3, 3.0)], dtype="vector[3]")
    assert rows_of(frame["v"]) == [[1, 1, 1], None, [2, 2, 2], [3, 3, 3]]


@pytest.mark.parametrize("value", [[1, 2], "[1, 2]", np.ones(4), [[1, 2]]])
def test_set_refuses_other_dimensions(value):
    array = column().array.copy()
    with pytest.raises(VectorError):
        array[0] = value
    assert rows_of(array) == ROWS.tolist()


@pytest.mark.parametrize(("key", "rows"), [([0, 1], 3), (slice(0, 2), 1), (0, 2)])
def test_set_refuses_other_lengths(key, rows):
    array = column().array.copy()
    with pytest.raises(ValueError, match=f"{rows} vectors can't be set"):
        array[key] = [[1, 2, 3]] * rows
    assert rows_of(array) == ROWS.tolist()


def test_a_view_sees_what_goes_missing():
    array = column().array.copy()
    view = array[1:]
    array[1] = pd.NA
    assert rows_of(view) == [None, [6, 7, 8], [9, 10, 11]]


# ---- content


def twins():
    """Rows 0 and 2 are equal but for the sign of a zero; 1 and 4 are missing, over different numbers."""
    matrix = np.float32([[0.0, 1], [5, 5], [-0.0, 1], [2, 3], [6, 6]])
    return pd.Series(VectorArray(matrix, [False, True, False, False, True]))


def test_duplicates():
    assert twins().duplicated().tolist() == [False, False, True, False, True]
    assert twins().duplicated(keep="last").tolist() == [True, True, False, False, False]
    assert twins().duplicated(keep=False).tolist() == [True, True, True, False, True]
    assert rows_of(twins().drop_duplicates()) == [[0, 1], None, [2, 3]]
    assert rows_of(twins().unique()) == [[0, 1], None, [2, 3]]
    assert twins().nunique() == 2


def test_factorize_and_counts():
    codes, uniques = pd.factorize(twins())
    assert codes.tolist() == [0, -1, 0, 1, -1]
    assert rows_of(uniques) == [[0, 1], [2, 3]]
    counts = twins().value_counts(dropna=False, sort=False)
    assert rows_of(counts.index) == [[0, 1], None, [2, 3]]
    assert counts.tolist() == [2, 2, 1]
    assert rows_of(twins().mode()) == [[0, 1]]


def test_hash():
    hashes = pd.util.hash_pandas_object(twins(), index=False)
    assert hashes[0] == hashes[2]
    assert hashes[1] == hashes[4]
    assert hashes.nunique() == 3


def test_isin_and_merge():
    assert twins().isin([np.float32([0, 1])]).tolist() == [True, False, True, False, False]
    assert not twins().isin([]).any()
    merged = pd.DataFrame({"v": twins(), "n": range(5)}).dropna().merge(pd.DataFrame({"v": twins()[2:4], "m": [7, 8]}))
    assert merged["m"].tolist() == [7, 7, 8]


def test_equality():
    assert (twins() == twins()).tolist() == [True, pd.NA, True, True, pd.NA]
    assert (twins().array == [0, 1]).tolist() == [True, pd.NA, True, False, pd.NA]
    assert (twins() != (0, 1)).tolist() == [False, pd.NA, False, True, pd.NA]
    assert (twins().array == VectorArray(np.float32([[0, 9]] * 5))).tolist() == [False, pd.NA, False, False, pd.NA]
    assert (twins() == "word").tolist() == [False, pd.NA, False, False, pd.NA]
    assert (np.float32([2, 3]) == twins().array).tolist() == [False, pd.NA, False, True, pd.NA]
    assert not (twins() == None).fillna(value=False).any()  # noqa: E711 -- the comparison itself
    assert (column() / 10 == (0.3, 0.4, 0.5)).tolist() == [False, True, False, False]
    with pytest.raises(VectorError, match="3 dimensions, expected 2"):
        _ = twins().array == [1, 2, 3]


# ---- arithmetic


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arithmetic(dtype):
    series, vector = column([1], dtype), np.array([1.0, 2.0, 4.0])
    for result, expected in [
        (series + 1, ROWS + 1),
        (2 - series, 2 - ROWS),
        (series * vector, ROWS * vector),
        (vector - series, vector - ROWS),
        (series / vector, ROWS / vector),
        (vector / (series + 1), vector / (ROWS + 1)),
        (series - column(), ROWS - ROWS),
        (-series, -ROWS),
        (abs(-series), ROWS),
    ]:
        assert result.isna().tolist() == [False, True, False, False]
        np.testing.assert_allclose(result.array.matrix[[0, 2, 3]], expected[[0, 2, 3]], rtol=2e-3)
    assert (series * vector).dtype == series.dtype
    assert (series + column(dtype="float64")).dtype == "vector[3, float64]"


def test_arithmetic_refuses():
    with pytest.raises(VectorError, match="5 dimensions, expected 3"):
        column() + np.ones(5)
    with pytest.raises(VectorError, match="the other column has 2 dimensions, expected 3"):
        column() + pd.Series(VectorArray(np.ones((4, 2))))
    with pytest.raises(ValueError, match="4 rows can't meet 2"):
        column().array + column().array[:2]
    with pytest.raises(TypeError, match=r"does not support sqrt: take the matrix"):
        np.sqrt(column())
    with pytest.raises(TypeError, match="not 'word'"):
        column() + "word"
    with pytest.raises(TypeError):
        column() ** 2


def test_division_by_zero_shows_in_the_result():
    assert (column() / 0)[0].tolist()[1:] == [np.inf, np.inf]


# ---- sums and centroids


def test_reductions():
    series = column([1])
    assert series.mean().tolist() == [5, 6, 7]
    assert series.sum().tolist() == [15, 18, 21]
    assert series.mean().dtype == np.float32
    assert series.mean(skipna=False) is pd.NA
    assert series.sum(skipna=False) is pd.NA
    assert series[1:2].mean() is pd.NA
    assert series[1:2].sum().tolist() == [0, 0, 0]
    assert series.sum(min_count=4) is pd.NA
    assert series.sum(min_count=3).tolist() == [15, 18, 21]
    assert rows_of(series.to_frame("v").mean().array) == [[5, 6, 7]]


@pytest.mark.parametrize("name", ["min", "max", "std", "median", "prod", "any"])
def test_other_reductions_tell_what_there_is(name):
    with pytest.raises(TypeError, match=rf"does not support operation '{name}': vectors have mean\(\) and sum\(\)"):
        getattr(column(), name)()


def test_sums_are_made_in_float64():
    small = pd.Series(VectorArray(np.full((5000, 1), 0.1, dtype="float16")))
    assert small.mean()[0] == np.float16(0.1)
    large = pd.Series(VectorArray(np.float32([[2**24], [1], [1], [-(2**24)]])))
    assert large.sum()[0] == 2


def clustered():
    rng = np.random.default_rng(7)
    keys = rng.choice(["a", "b", "c", "d", None], size=3000, p=[0.5, 0.3, 0.1, 0.05, 0.05])
    return keys, rng.standard_normal((3000, 5), dtype="float32"), rng.random(3000) < 0.1


@pytest.mark.parametrize("how", ["mean", "sum"])
@pytest.mark.parametrize("dropna", [True, False])
def test_centroids_of_groups(how, dropna):
    keys, matrix, mask = clustered()
    frame = pd.DataFrame({"key": pd.Series(keys, dtype=object), "v": VectorArray(matrix, mask)})
    result = getattr(frame.groupby("key", dropna=dropna)["v"], how)()
    assert result.dtype == "vector[5]"
    assert len(result) == (4 if dropna else 5)
    for key, row in result.items():
        chosen = (pd.isna(keys) if pd.isna(key) else keys == key) & ~mask
        expected = getattr(matrix[chosen].astype("float64"), how)(axis=0)
        np.testing.assert_allclose(row, expected.astype("float32"), rtol=1e-6)


def test_groups_without_vectors():
    frame = pd.DataFrame({"key": ["x", "y", "x", "z"], "v": column([1, 2])})
    assert rows_of(frame.groupby("key")["v"].mean()) == [[0, 1, 2], None, [9, 10, 11]]
    assert rows_of(frame.groupby("key")["v"].sum()) == [[0, 1, 2], [0, 0, 0], [9, 10, 11]]
    assert rows_of(frame.groupby("key")["v"].sum(min_count=1)) == [[0, 1, 2], None, [9, 10, 11]]
    assert rows_of(frame.groupby("key")["v"].first()) == [[0, 1, 2], None, [9, 10, 11]]
    assert frame.groupby("key")["v"].count().tolist() == [1, 0, 1]
    assert rows_of(frame.groupby("key")["v"].transform("mean")) == [[0, 1, 2], None, [0, 1, 2], [9, 10, 11]]
    with pytest.raises(TypeError, match=r"does not support operation 'std': vectors have mean\(\) and sum\(\)"):
        frame.groupby("key")["v"].std()


def test_groups_by_vector():
    frame = pd.DataFrame({"v": twins(), "n": [1, 2, 4, 8, 16]})
    with pytest.raises(TypeError, match=r"vectors have no order.*sort=False"):
        frame.groupby("v")["n"].sum()
    result = frame.groupby("v", sort=False)["n"].sum()
    assert (rows_of(result.index), result.tolist()) == ([[0, 1], [2, 3]], [5, 8])


# ---- shown


def test_repr():
    matrix = np.zeros((3, 384), dtype="float32")
    matrix[0, :5] = [0.12, -0.05, 0.33, 0.5, 0.001]
    matrix[2, 1] = -0.001
    frame = pd.DataFrame({"word": ["dog", "cat", "cow"], "v": VectorArray(matrix, [False, True, False])})
    assert repr(frame) == (
        "  word                                   v\n"
        "0  dog  [0.12, -0.05, 0.33, … ×384] ‖0.61‖\n"
        "1  cat                                <NA>\n"
        "2  cow   [0.00, 0.00, 0.00, … ×384] ‖0.00‖"
    )
    assert repr(frame["v"][:1]) == "0    [0.12, -0.05, 0.33, … ×384] ‖0.61‖\nName: v, dtype: vector[384]"
    assert "<td>[0.12, -0.05, 0.33, … ×384] ‖0.61‖</td>" in frame.to_html()


def test_repr_of_short_vectors():
    assert repr(column([1]).array) == (
        "<VectorArray>\n"
        "[   [0.00, 1.00, 2.00] ‖2.24‖,                         <NA>,\n"
        "   [6.00, 7.00, 8.00] ‖12.21‖, [9.00, 10.00, 11.00] ‖17.38‖]\n"
        "Length: 4, dtype: vector[3]"
    )
