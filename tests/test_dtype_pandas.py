"""pandas' own conformance suite for extension arrays, on `vector[3]`.

Where a test is overridden, it asserts what `vector[d]` does instead, and says why. Three reasons recur:

- vectors have no order, so what sorts is refused;
- an item is an ndarray, and pandas takes an ndarray for a list of values: where pandas itself refuses it, before it
  asks the array, the test is a strict xfail (`TAKEN_FOR_A_LIST`);
- `==` of two ndarrays has no truth value for d > 1, so the tests that assert ``data[0] == data[1]`` run on `vector[1]`
  (`COMPARES_ITEMS`), where it has one.
"""

from __future__ import annotations

import operator

import numpy as np
import pandas as pd
import pandas._testing as tm
import pytest
from pandas.tests.extension import base
from pandas.tests.extension.conftest import *  # noqa: F403 -- the suite's fixtures

from dkvector.dtype import VectorArray, VectorDtype

COMPARES_ITEMS = {
    "test_array_interface",
    "test_array_item",
    "test_array_item_with_index",
    "test_copy",
    "test_fillna_readonly",
    "test_get",
    "test_is_immutable",
    "test_item",
    "test_ravel",
    "test_setitem_iloc_scalar_single",
    "test_setitem_loc_scalar_single",
    "test_setitem_mask_aligned",
    "test_setitem_preserves_views",
    "test_setitem_scalar",
    "test_setitem_scalar_series",
    "test_setitem_sequence",
    "test_setitem_sequence_broadcasts",
    "test_shift_0_periods",
    "test_take",
    "test_take_sequence",
    "test_tolist",
    "test_transpose",
    "test_unique",
    "test_view",
    "test_where_series",
}
# in each of these pandas itself refuses an ndarray where it wants one value, before it asks the array;
# `.at`, a list of vectors, a Series and `series.array` do what is meant: see test_dtype.py
TAKEN_FOR_A_LIST = {
    "test_fillna_copy_frame",
    "test_fillna_copy_series",
    "test_fillna_frame",
    "test_fillna_limit_frame",
    "test_fillna_limit_series",
    "test_fillna_series",
    "test_from_dtype",
    "test_series_constructor_scalar_with_index",
    "test_setitem_2d_values",
    "test_setitem_iloc_scalar_mixed",
    "test_setitem_iloc_scalar_multiple_homogoneous",
    "test_setitem_loc_scalar_mixed",
    "test_setitem_loc_scalar_multiple_homogoneous",
    "test_setitem_mask_broadcast",
    "test_setitem_sequence_broadcasts",
}


@pytest.fixture
def width(request):
    return 1 if request.node.originalname in COMPARES_ITEMS else 3


@pytest.fixture
def dtype(width):
    return VectorDtype(width)


@pytest.fixture
def vectors(dtype):
    rows = {"A": [0.5, 1.0, -2.0], "B": [1.5, 0.0, 4.0], "C": [2.5, 8.0, 0.25]}
    return lambda names: VectorArray._from_sequence(
        [None if name == "-" else rows[name][: dtype.dimensions] for name in names], dtype=dtype
    )


@pytest.fixture
def data(width):
    return VectorArray(np.arange(10 * width, dtype="float32").reshape(10, width) / 8)


@pytest.fixture
def data_missing(vectors):
    return vectors("-A")


@pytest.fixture
def data_for_sorting(vectors):
    return vectors("BCA")


@pytest.fixture
def data_missing_for_sorting(vectors):
    return vectors("B-A")


@pytest.fixture
def data_for_grouping(vectors):
    return vectors("BB--AABC")


def no_order():
    return pytest.raises(TypeError, match="vectors have no order")


ARITHMETIC = {f"__{prefix}{name}__" for prefix in ("", "r") for name in ("add", "sub", "mul", "truediv")}


class TestVectors(base.ExtensionTests):
    @pytest.fixture(autouse=True)
    def _exclusions(self, request):
        callspec = getattr(request.node, "callspec", None)
        boxed = callspec is None or callspec.params.get("box_in_series", True)
        if boxed and request.node.originalname in TAKEN_FOR_A_LIST:
            errors = (ValueError, TypeError, pd.errors.InvalidIndexError)
            reason = "pandas takes an ndarray for a list of values"
            request.applymarker(pytest.mark.xfail(raises=errors, strict=True, reason=reason))

    # ---- hooks that the suite offers

    def _get_expected_exception(self, op_name, obj, other):  # noqa: ARG002 -- the suite's signature
        if isinstance(obj, pd.DataFrame):
            return (ValueError, TypeError)  # pandas aligns an ndarray with the columns
        return None if op_name in ARITHMETIC else TypeError

    def _supports_reduction(self, ser, op_name):  # noqa: ARG002 -- the suite's signature
        return op_name in ("mean", "sum", "count")

    def check_reduce(self, ser, op_name, skipna):
        result = getattr(ser, op_name)() if op_name == "count" else getattr(ser, op_name)(skipna=skipna)
        rows = np.stack(list(ser)).astype(float)
        tm.assert_almost_equal(result, len(rows) if op_name == "count" else np.float32(getattr(rows, op_name)(axis=0)))

    # ---- no order: what sorts is refused, what asks for an order finds none

    def test_is_monotonic_increasing(self, data_for_sorting):
        assert pd.Series(data_for_sorting.take([2, 0, 1])).is_monotonic_increasing is False

    def test_is_monotonic_decreasing(self, data_for_sorting):
        assert pd.Series(data_for_sorting.take([1, 0, 2])).is_monotonic_decreasing is False

    def test_argsort(self, data_for_sorting):
        with no_order():
            pd.Series(data_for_sorting).argsort()

    def test_argsort_missing_array(self, data_missing_for_sorting):
        with no_order():
            data_missing_for_sorting.argsort()

    def test_argsort_missing(self, data_missing_for_sorting):
        with no_order():
            pd.Series(data_missing_for_sorting).argsort()

    @pytest.mark.parametrize("method", ["argmax", "argmin"])
    def test_argmin_argmax(self, data_for_sorting, method):
        with no_order():
            getattr(data_for_sorting, method)()

    @pytest.mark.parametrize("method", ["argmax", "argmin"])
    def test_argmin_argmax_empty_array(self, method, data):
        with no_order():
            getattr(data[:0], method)()

    @pytest.mark.parametrize("method", ["argmax", "argmin"])
    def test_argmin_argmax_all_na(self, method, data_missing):
        with no_order():
            getattr(data_missing[:1], method)()

    @pytest.mark.parametrize("op_name", ["idxmax", "idxmin", "argmax", "argmin"])
    def test_argreduce_series(self, data_missing_for_sorting, op_name):
        with no_order():
            getattr(pd.Series(data_missing_for_sorting), op_name)()

    @pytest.mark.parametrize("na_position", ["last", "first"])
    def test_nargsort(self, data_missing_for_sorting, na_position):
        with no_order():
            pd.Series(data_missing_for_sorting).sort_values(na_position=na_position)

    @pytest.mark.parametrize("ascending", [True, False])
    def test_sort_values(self, data_for_sorting, ascending):
        with no_order():
            pd.Series(data_for_sorting).sort_values(ascending=ascending)

    @pytest.mark.parametrize("ascending", [True, False])
    def test_sort_values_missing(self, data_missing_for_sorting, ascending):
        with no_order():
            pd.Series(data_missing_for_sorting).sort_values(ascending=ascending)

    @pytest.mark.parametrize("ascending", [True, False])
    def test_sort_values_frame(self, data_for_sorting, ascending):
        df = pd.DataFrame({"A": [1, 2, 1], "B": data_for_sorting})
        with pytest.raises(TypeError, match="not ordered"):  # pandas' words
            df.sort_values(["A", "B"], ascending=ascending)

    def test_sort_inplace(self, data_for_sorting):
        with no_order():
            data_for_sorting.sort()

    def test_sort_inplace_descending(self, data_for_sorting):
        with no_order():
            data_for_sorting.sort(ascending=False)

    @pytest.mark.parametrize("na_position", ["first", "last"])
    def test_sort_inplace_na_position(self, data_missing_for_sorting, na_position):
        with no_order():
            data_missing_for_sorting.sort(na_position=na_position)

    @pytest.mark.parametrize("ascending", [True, False])
    def test_rank(self, data_for_sorting, ascending):
        with no_order():
            pd.Series(data_for_sorting).rank(ascending=ascending)

    @pytest.mark.parametrize("method", ["average", "min"])
    def test_rank_method(self, data_for_sorting, method):
        with no_order():
            pd.Series(data_for_sorting).rank(method=method)

    @pytest.mark.parametrize("na_option", ["keep", "top", "bottom"])
    def test_rank_missing(self, data_missing_for_sorting, na_option):
        with no_order():
            pd.Series(data_missing_for_sorting).rank(na_option=na_option)

    def test_searchsorted(self, data_for_sorting, as_series):
        values = pd.Series(data_for_sorting) if as_series else data_for_sorting
        with no_order():
            values.searchsorted(data_for_sorting[0])

    @pytest.mark.parametrize("dropna", [True, False])
    def test_value_counts(self, data_for_grouping, dropna):
        # the suite sorts the vectors before it compares
        result = pd.Series(data_for_grouping).value_counts(dropna=dropna, sort=False)
        names = [0, 4, 7] if dropna else [0, 2, 4, 7]
        counts = [3, 2, 1] if dropna else [3, 2, 2, 1]
        expected = pd.Series(counts, index=pd.Index(data_for_grouping.take(names)), dtype="Int64", name="count")
        tm.assert_series_equal(result, expected)

    def test_value_counts_with_normalize(self, data):
        result = pd.Series(data).value_counts(normalize=True, sort=False)
        tm.assert_series_equal(result, pd.Series(0.1, index=pd.Index(data), dtype="Float64", name="proportion"))

    def test_groupby_extension_agg(self, data_for_grouping):
        # the keys of a groupby are sorted by default
        df = pd.DataFrame({"A": [1, 1, 2, 2, 3, 3, 1, 4], "B": data_for_grouping})
        with no_order():
            df.groupby("B").A.mean()
        result = df.groupby("B", sort=False, as_index=False).A.mean()
        tm.assert_frame_equal(result, pd.DataFrame({"B": data_for_grouping.take([0, 4, 7]), "A": [1.0, 3.0, 4.0]}))

    def test_groupby_extension_transform(self, data_for_grouping):
        # transform names each group by its key, and a name has to be hashable
        df = pd.DataFrame({"A": [1, 1, 3, 3, 1, 4], "B": data_for_grouping.dropna()})
        with pytest.raises(TypeError, match="hashable"):
            df.groupby("B", sort=False).A.transform(len)

    def test_groupby_extension_apply(self, data_for_grouping, groupby_apply_op):
        df = pd.DataFrame({"A": [1, 1, 2, 2, 3, 3, 1, 4], "B": data_for_grouping})
        assert [len(group) for _, group in df.groupby("B", sort=False)] == [3, 2, 1]
        df.groupby("A", group_keys=False).apply(groupby_apply_op)
        df.groupby("A", group_keys=False).B.apply(groupby_apply_op)

    # ---- what vectors can do and the suite does not expect

    def test_in_numeric_groupby(self, data_for_grouping):
        # the suite knows sums of numbers only
        df = pd.DataFrame({"A": [1, 1, 2, 2, 3, 3, 1, 4], "B": data_for_grouping, "C": 1})
        assert list(df.groupby("A").sum().columns) == ["B", "C"]
        assert list(df.groupby("A").sum(numeric_only=True).columns) == ["C"]

    @pytest.mark.parametrize("op", [operator.eq, operator.ne])
    def test_compare_scalar(self, data, op):
        # the suite compares item by item, we row by row; a Series refuses an ndarray of another length than its own
        result = op(data, data[0])
        expected = [op(at, 0) for at in range(len(data))]
        tm.assert_extension_array_equal(result, pd.array(expected, dtype="boolean"))
        with pytest.raises(ValueError, match="Lengths must match"):
            op(pd.Series(data), data[0])
        tm.assert_series_equal(op(pd.Series(data), tuple(data[0])), pd.Series(expected, dtype="boolean"))

    @pytest.mark.parametrize("op", [operator.eq, operator.ne])
    def test_compare_array(self, data, op):
        other = pd.Series(data.take([0, 1, 2] + [0] * 7))
        expected = [op(at, at if at < 3 else 0) for at in range(len(data))]
        tm.assert_series_equal(op(pd.Series(data), other), pd.Series(expected, dtype="boolean"))

    @pytest.mark.parametrize("op", [operator.lt, operator.le, operator.gt, operator.ge])
    def test_compare_order(self, data, op):
        with pytest.raises(TypeError):
            op(pd.Series(data), pd.Series(data))

    def test_combine_le(self, data_repeated):
        # `<=` of two ndarrays is an ndarray of bools, so what comes back is no column of bools but objects
        first, second = map(pd.Series, data_repeated(2))
        result = first.combine(second, lambda x, y: x <= y)
        assert result.dtype == object
        assert all(value.dtype == bool and value.all() for value in result)

    def test_plot_on_y_axis(self, plot_data):
        # a vector is no height
        with pytest.raises(TypeError, match="no numeric data to plot"):
            plot_data.plot(x="Numeric", y="Data")

    def test_astype_str(self, data):
        # str() of an ndarray drops the middle of a long vector; the text is complete and reads back
        result = pd.Series(data[:2]).astype(str)
        tm.assert_series_equal(result, pd.Series([str(list(map(float, row))).replace(" ", "") for row in data[:2]]))
        tm.assert_series_equal(result.astype(data.dtype), pd.Series(data[:2]))

    @pytest.mark.parametrize("nullable_string_dtype", ["string[python]", "string[pyarrow]"])
    def test_astype_string(self, data_missing, nullable_string_dtype):
        result = pd.Series(data_missing).astype(nullable_string_dtype)
        text = str(list(map(float, data_missing[1]))).replace(" ", "")
        tm.assert_series_equal(result, pd.Series([pd.NA, text], dtype=nullable_string_dtype))
