"""What JSON can't hold inside lists, structs and maps is refused by row before anything is written."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import dkvector as dkv
from dkvector.backends._field_types import check_fits
from dkvector.backends._nested import check_json

LABELS = pd.Index(["a", "b", "c", "d"])
FAR = 10**12  # seconds: the year 33658


FAR_AWAY = {
    "timestamps": pa.array([[0], [FAR], None, [1, -FAR]], pa.list_(pa.int64())).cast(pa.list_(pa.timestamp("s"))),
    "dates": pa.array([[0], [10**7], [], [-(10**7)]], pa.list_(pa.int32())).cast(pa.list_(pa.date32())),
    "durations": pa.array([[0], [2**62], None, [-(2**62)]], pa.list_(pa.int64())).cast(pa.list_(pa.duration("s"))),
    "in structs": pa.StructArray.from_arrays(
        [pa.array([0, FAR, None, -FAR], pa.int64()).cast(pa.timestamp("s"))], names=["t"]
    ),
    "in maps": pa.array([[("k", 0)], [("k", FAR)], [], [("k", -FAR)]], pa.map_(pa.string(), pa.int64())).cast(
        pa.map_(pa.string(), pa.timestamp("s"))
    ),
}


@pytest.mark.parametrize("check", [check_json, check_fits])
@pytest.mark.parametrize("values", FAR_AWAY.values(), ids=FAR_AWAY)
def test_moments_that_python_has_none_for_are_refused(values, check):
    with pytest.raises(dkv.SchemaError, match=r"'x' holds dates, times or durations.*at 'b', 'd' \(2 rows\)"):
        check("x", values, LABELS)
    check("x", values.take(pa.array([0, 2])), LABELS[[0, 2]])


def test_infinity_is_refused_but_not_what_is_missing():
    values = pa.array([[0.5], [np.inf, 1.0], [None, np.nan], [-np.inf]], pa.list_(pa.float32()))
    with pytest.raises(dkv.SchemaError, match=r"'x' holds infinity in its lists or structs.*at 'b', 'd' \(2 rows\)"):
        check_json("x", values, LABELS)
    check_json("x", values.take(pa.array([0, 2])), LABELS[[0, 2]])


def test_chunks_are_looked_at_all():
    values = pa.chunked_array([pa.array([[0.5], [1.0]]), pa.array([[2.0], [np.inf]])])
    with pytest.raises(dkv.SchemaError, match=r"at 'd' \(1 row\)"):
        check_json("x", values, LABELS)


def test_what_json_holds_is_not_refused():
    check_json("x", pa.array([["a"], [None], [], None]), LABELS)
