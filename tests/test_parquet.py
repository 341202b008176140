from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dkvector import parquet
from dkvector.dtype import VectorArray, VectorDtype
from dkvector.parquet import read_parquet, to_parquet


def frame(dtype="vector[3]"):
    rows = [[0.5, -1.25, 3.0], None, [0.0, 7.5, 2.0]]
    return pd.DataFrame(
        {
            "v": pd.Series(rows, index=list("abc")).astype(dtype),
            "n": pd.Series([1, None, 3], dtype="Int64", index=list("abc")),
            "day": pd.date_range("2024-01-01", periods=3, unit="ms"),
        },
        index=pd.Index(list("abc"), name="word"),
    )


def in_plain_pandas(code, path):
    """Run code in a process that never meets dkvector; its output is JSON."""
    code = f"import json, sys, pandas as pd\n{code}\nassert 'dkvector' not in sys.modules"
    ran = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)  # noqa: S603 -- our own code
    return json.loads(ran.stdout)


@pytest.mark.parametrize("dtype", ["vector[3]", "vector[3, float16]", "vector[3, float64]"])
def test_round_trip(tmp_path, dtype):
    to_parquet(frame(dtype), tmp_path / "f.parquet")
    result = read_parquet(tmp_path / "f.parquet")
    assert result.dtypes.astype(str).to_dict() == {"v": dtype, "n": "Int64", "day": "datetime64[ms]"}
    pd.testing.assert_frame_equal(result, frame(dtype), check_dtype=True)
    assert result["v"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", ["vector[3]", "vector[3, float16]"])
def test_plain_pandas_reads_it(tmp_path, dtype):
    to_parquet(frame(dtype), tmp_path / "f.parquet")
    code = """
df = pd.read_parquet(sys.argv[1])
rows = [None if v is None else v.tolist() for v in df["v"]]
print(json.dumps([rows, str(df["v"].dtype), df.index.tolist(), df["n"].sum().item(), str(df["n"].dtype)]))
"""
    expected = [[[0.5, -1.25, 3.0], None, [0.0, 7.5, 2.0]], "object", ["a", "b", "c"], 4, "Int64"]
    assert in_plain_pandas(code, tmp_path / "f.parquet") == expected


def test_lists_in_the_file(tmp_path):
    to_parquet(frame(), tmp_path / "f.parquet")
    schema = pq.read_schema(tmp_path / "f.parquet")
    assert schema.field("v").type == pa.list_(pa.field("element", pa.float32()))
    assert json.loads(schema.metadata[b"dkvector"]) == {"columns": {"v": "vector[3]"}}
    column = pq.ParquetFile(tmp_path / "f.parquet").metadata.row_group(0).column(0)
    assert (column.path_in_schema, column.compression) == ("v.list.element", "ZSTD")
    assert "RLE_DICTIONARY" not in column.encodings


@pytest.mark.parametrize("dtype", ["vector[3]", "vector[3, float16]", "vector[3, float64]"])
def test_pandas_round_trip(tmp_path, dtype):
    frame(dtype).to_parquet(tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "f.parquet"), frame(dtype))
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "f.parquet"), frame(dtype))


def test_columns(tmp_path):
    to_parquet(frame(), tmp_path / "f.parquet")
    result = read_parquet(tmp_path / "f.parquet", columns=["v"])
    pd.testing.assert_frame_equal(result, frame()[["v"]])
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "f.parquet", columns=["n"]), frame()[["n"]])


def test_columns_whose_names_are_no_text(tmp_path):
    numbered = pd.DataFrame({0: VectorArray(np.eye(2, dtype="float32")), 1: [5, 6]})
    to_parquet(numbered, tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "f.parquet"), numbered)


def test_two_vector_columns_of_other_dimensions_and_row_groups(tmp_path):
    rng = np.random.default_rng(0)
    two = pd.DataFrame(
        {
            "a": VectorArray(rng.standard_normal((100, 4), dtype="float32"), rng.random(100) < 0.2),
            "b": VectorArray(rng.standard_normal((100, 7), dtype="float32")),
        }
    )
    to_parquet(two, tmp_path / "f.parquet", row_group_size=30, compression="snappy")
    assert pq.ParquetFile(tmp_path / "f.parquet").num_row_groups == 4
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "f.parquet"), two)


def test_empty_frame(tmp_path):
    empty = frame().reset_index(drop=True).iloc[:0]
    to_parquet(empty, tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "f.parquet"), empty)


def test_slice_of_a_frame(tmp_path):
    to_parquet(frame().iloc[1:], tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "f.parquet"), frame().iloc[1:])


def test_files_of_others(tmp_path):
    fixed = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4], pa.float32()), 2)
    counts = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4], pa.int64()), 2)
    lists = pa.array([[1.0], [2.0, 3.0]])
    pq.write_table(pa.table({"v": fixed, "c": counts, "l": lists}), tmp_path / "f.parquet")
    result = read_parquet(tmp_path / "f.parquet")
    assert result.dtypes.astype(str).to_dict() == {"v": "vector[2]", "c": "object", "l": "object"}
    assert result["v"].array.matrix.tolist() == [[1, 2], [3, 4]]


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    to_parquet(frame(), tmp_path / "f.parquet")

    def interrupted(_table, where, **_options):
        with open(where, "wb") as file:  # noqa: PTH123
            file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(parquet.pq, "write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        to_parquet(frame().iloc[:1], tmp_path / "f.parquet")
    assert os.listdir(tmp_path) == ["f.parquet"]  # noqa: PTH208
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "f.parquet"), frame())


def test_rights_of_the_file(tmp_path):
    (tmp_path / "plain").touch()
    to_parquet(frame(), tmp_path / "f.parquet")
    assert (tmp_path / "f.parquet").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "f.parquet").chmod(0o600)
    to_parquet(frame(), tmp_path / "f.parquet")
    assert (tmp_path / "f.parquet").stat().st_mode & 0o777 == 0o600


def test_reading_shares_arrows_memory():
    lists = pa.chunked_array([pa.array([[1, 2], [3, 4]], pa.list_(pa.float32()))])
    array = VectorDtype(2).__from_arrow__(lists)
    assert array.matrix.ctypes.data == lists.chunk(0).flatten().buffers()[1].address


@pytest.mark.parametrize(
    "index", [pd.interval_range(0, 3), pd.period_range("2024-01", periods=3, freq="M", name="month")], ids=["i", "p"]
)
def test_an_index_of_pandas_own_dtypes(tmp_path, index):
    to_parquet(frame().set_axis(index), tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "f.parquet"), frame().set_axis(index))


def test_a_column_that_no_file_holds_is_told_and_leaves_nothing_behind(tmp_path):
    with pytest.raises(pa.ArrowNotImplementedError, match="dictionary"):
        to_parquet(frame().assign(bin=pd.cut([1, 2, 3], 2)), tmp_path / "f.parquet")
    assert list(tmp_path.iterdir()) == []
