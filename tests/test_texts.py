"""Texts taken by hand are those that pandas takes, dtype and gaps included."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkvector.backends._texts import FEW, Texts, can_view
from dkvector.columns import to_arrow, to_pandas
from dkvector.indexes import Flat

DTYPES = ["str", "string[pyarrow]", pd.ArrowDtype(pa.large_string())]


def columns_of(texts, dtype, offset=0):
    """A column as a store keeps it, and as pandas has it; a slice where `offset` is above 0."""
    field, array = to_arrow(pd.Series(texts, dtype=dtype), "text")
    column = pa.chunked_array([array.slice(offset)])
    return column, to_pandas(column, field)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(st.data(), st.lists(st.one_of(st.none(), st.text(max_size=12)), min_size=1, max_size=30))
def test_texts_come_as_pandas_takes_them(dtype, data, texts):
    offset = data.draw(st.integers(0, len(texts) - 1))
    column, values = columns_of(texts, dtype, offset)
    positions = np.array(data.draw(st.lists(st.integers(0, len(texts) - offset - 1), max_size=20)), np.intp)
    assert can_view(column, values)
    taken = Texts.of(column, values).take(positions)
    pd.testing.assert_series_equal(pd.Series(taken), pd.Series(values.take(positions)))
    pa.array(taken).validate(full=True)


def test_many_texts_are_taken_by_arrow(monkeypatch):
    column, values = columns_of([f"text {i}" for i in range(2 * FEW)], "str")
    texts = Texts.of(column, values)
    monkeypatch.setattr(Texts, "_few", lambda *_: pytest.fail("by hand"))
    assert texts.take(np.arange(FEW + 1))[FEW] == f"text {FEW}"


def test_texts_of_none_but_empty_ones():
    column, values = columns_of(["", "", None], "str")
    assert pd.isna(Texts.of(column, values).take(np.array([0, 2]))).tolist() == [False, True]


OTHERS = [
    pd.Series(["a", "b"], dtype="string[python]"),
    pd.Series(["a", "b"], dtype=pd.ArrowDtype(pa.string())),
    pd.Series([1, 2]),
]


@pytest.mark.parametrize("texts", OTHERS, ids=lambda texts: str(texts.dtype))
def test_what_is_not_of_arrow_is_left_to_pandas(texts):
    field, array = to_arrow(texts, "text")
    column = pa.chunked_array([array])
    assert not can_view(column, to_pandas(column, field))


@pytest.mark.parametrize("dtype", [*DTYPES, "string[python]", pd.ArrowDtype(pa.string())], ids=str)
def test_few_texts_have_the_dtype_of_many(dtype):
    texts = pd.Series([f"text {at}" for at in range(2 * FEW)], dtype=dtype)
    frame = pd.DataFrame({"text": texts, "v": [[1.0, float(at)] for at in range(2 * FEW)]})
    with frame.vec.push("faiss") as store:
        for k in (1, FEW + 1):
            assert store.search([1.0, 0.0], k=k).text.dtype == texts.dtype


def test_a_frame_of_a_search_can_be_written_to():
    frame = pd.DataFrame({"text": ["a", None, "ü"], "v": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]})
    with frame.vec.push("faiss", index=Flat()) as store:
        found = store.search([1.0, 0.0], k=3)
        found.loc[0, "text"] = "other"
        assert found.text.tolist()[:2] == ["other", "ü"]
        assert store.search([1.0, 0.0], k=3).text.tolist()[:2] == ["a", "ü"]
        assert pd.isna(found.text[1])
