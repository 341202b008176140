"""What it costs to read a vector column, beside the fastest way known for each form: CPU time, the least of N."""

from __future__ import annotations

import argparse
import struct
import time
from collections.abc import Callable
from importlib.util import find_spec
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from dkvector.dtype import VectorArray
from dkvector.metrics import DistanceMetric
from dkvector.vectors import Floats, read_vectors, to_matrix

TARGET = 1.2
TEXTS = 20_000  # rows up to which texts are read
REPEATS = 5
CHECKS = 0.3  # milliseconds that looking at types, lengths and gaps may cost, which ways without a copy leave out
Way = Callable[[Any], Any]


def run(n: int, d: int) -> list[tuple[str, float, float]]:
    """Measure every form.

    Args:
        n: rows.
        d: dimensions.

    Returns:
        For each form its name, the milliseconds of `to_matrix` and those of the fastest way known.
    """
    matrix = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    found = [(name, *least([to_matrix, *known], form(matrix))) for name, (form, known) in forms(n).items()]
    return [*found, ("read_vectors, validation", *least([validate, squares], matrix))]


def least(ways: list[Way], column: Any) -> tuple[float, float]:
    """Time our way, the first, and the others in turn, so that a busy moment hits all."""
    times = [[milliseconds(way, column) for way in ways] for _ in range(REPEATS)]
    ours, *others = (min(each) for each in zip(*times, strict=True))
    return ours, min(others)


def milliseconds(way: Way, column: Any) -> float:
    """CPU time of one run; cheap ones are repeated so that the clock can see them."""
    times, start = 0, time.process_time()
    while times == 0 or (time.process_time() - start < 0.005 and times < 1_000):
        way(column)
        times += 1
    return (time.process_time() - start) * 1e3 / times


def forms(n: int) -> dict[str, tuple[Way, list[Way]]]:
    """Each form: how it is made of a matrix, and the ways known to read it."""
    arrow = {
        "Arrow fixed-size list<float>": (fixed, [flattened]),
        "Arrow list<float>": (lists, [flattened]),
        "Arrow list<double>": (lambda matrix: lists(matrix.astype(np.float64)), [flattened]),
        "vector[d]": (lambda matrix: pd.Series(VectorArray(matrix)), [lambda series: series.array.matrix]),
        "2-D float32": (lambda matrix: matrix, [lambda matrix: np.ascontiguousarray(matrix, np.float32)]),
        "2-D float64": (lambda matrix: matrix.astype(np.float64), [lambda matrix: matrix.astype(np.float32)]),
    }
    objects = {
        "float32 ndarrays": (lambda matrix: cells(row.copy() for row in matrix), [joined, concatenated]),
        "float64 ndarrays": (lambda matrix: cells(row.astype(np.float64) for row in matrix), [concatenated]),
        "Python lists": (lambda matrix: cells(row.tolist() for row in matrix), [packed]),
    }
    fast = [orjsoned] if find_spec("orjson") else []
    texts = {
        "text of doubles": (lambda matrix: cells(map(str, matrix.tolist())), [csv_whole, csv_columns, *fast]),
        "text of floats": (lambda matrix: cells(map(text, matrix)), [csv_whole, csv_columns, parsed, *fast]),
        "NumPy's text": (lambda matrix: cells(map(numpy_text, matrix)), [csv_spaces, parsed_spaces, *fast]),
    }
    return arrow | objects | (texts if n <= TEXTS else {})


# ---- the forms


def cells(rows: Any) -> pd.Series:
    """An object column."""
    return pd.Series(list(rows), dtype=object)


def fixed(matrix: Floats) -> pa.Array:
    """Fixed-size lists over the matrix itself."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


def lists(matrix: Floats) -> pa.Array:
    """Lists of any length over the matrix itself."""
    ends = pa.array(np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1])
    return pa.ListArray.from_arrays(ends, pa.array(matrix.reshape(-1)))


def text(row: Floats) -> str:
    """The shortest text of a row that gives its floats back."""
    return f"[{', '.join(row.astype(str))}]"


def numpy_text(row: Floats) -> str:
    """What NumPy prints, in full."""
    with np.printoptions(threshold=row.size + 1):
        return str(row)


# ---- the ways known


def flattened(column: pa.Array) -> Floats:
    """Take the buffer."""
    return column.flatten().to_numpy().astype(np.float32, copy=False).reshape(len(column), -1)


def joined(series: pd.Series) -> Floats:
    """Join the rows' bytes, after a look at their shapes."""
    rows = list(series.array)
    ((kind, shape),) = set(map(attrgetter("dtype.char", "shape"), rows))
    return np.frombuffer(b"".join(rows), kind).reshape(-1, *shape)


def concatenated(series: pd.Series) -> Floats:
    """Let NumPy join the rows, after a look at their shapes."""
    rows = list(series.array)
    (shape,) = set(map(attrgetter("shape"), rows))
    return np.concatenate(rows, dtype=np.float32, casting="same_kind").reshape(-1, *shape)


def packed(series: pd.Series) -> Floats:
    """Pack each row."""
    rows = list(series.array)
    return pack(rows, len(rows), len(rows[0]))


def pack(rows: Any, n: int, d: int) -> Floats:
    """Pack rows of Python numbers."""
    row, space = struct.Struct(f"={d}f"), bytearray(n * d * 4)
    for at, numbers in enumerate(rows):
        row.pack_into(space, at * row.size, *numbers)
    return np.frombuffer(space, np.float32).reshape(n, d)


def orjsoned(series: pd.Series) -> Floats:
    """Read each row as JSON with orjson, where somebody has installed it."""
    import orjson

    rows = list(series.array)
    if "," not in rows[0]:
        rows = [f"[{','.join(row[1:-1].split())}]" for row in rows]
    return pack(map(orjson.loads, rows), len(rows), rows[0].count(",") + 1)


def csv_whole(series: pd.Series) -> Floats:
    """Read one CSV column that holds all numbers."""
    return one_column(",".join([value[1:-1] for value in series.array]).replace(",", "\n")).reshape(len(series), -1)


def csv_spaces(series: pd.Series) -> Floats:
    """Read one CSV column of what spaces set apart."""
    return one_column("\n".join(" ".join([value[1:-1] for value in series.array]).split())).reshape(len(series), -1)


def one_column(lines: str) -> Floats:
    """Read a number a line."""
    table = csv.read_csv(
        pa.py_buffer(lines.encode()),
        read_options=csv.ReadOptions(column_names=["n"]),
        convert_options=csv.ConvertOptions(column_types={"n": pa.float32()}),
    )
    return table.column(0).to_numpy()


def csv_columns(series: pd.Series) -> Floats:
    """Read a CSV file with a column a dimension."""
    names = [str(at) for at in range(series.array[0].count(",") + 1)]
    table = csv.read_csv(
        pa.py_buffer("\n".join([value[1:-1] for value in series.array]).encode()),
        read_options=csv.ReadOptions(column_names=names),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float32())),
    )
    return np.stack([column.to_numpy() for column in table.columns], axis=1)


def parsed(series: pd.Series) -> Floats:
    """Let NumPy read all numbers."""
    return np.fromstring(",".join([value[1:-1] for value in series.array]), np.float32, sep=",").reshape(
        len(series), -1
    )


def parsed_spaces(series: pd.Series) -> Floats:
    """Let NumPy read all numbers that spaces set apart."""
    return np.fromstring(" ".join([value[1:-1] for value in series.array]), np.float32, sep=" ").reshape(
        len(series), -1
    )


def validate(matrix: Floats) -> None:
    """Validate what needs no parsing."""
    read_vectors(matrix, metric=DistanceMetric.COSINE)


def squares(matrix: Floats) -> Floats:
    """Pass over the numbers once: the budget of validation."""
    return np.einsum("nd,nd->n", matrix, matrix)


def main() -> int:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--dimensions", type=int, default=384)
    chosen = parser.parse_args()
    missed = 0
    for n in chosen.rows:
        print(f"{f'{n:,} × {chosen.dimensions}':30}{'ours ms':>12}{'best ms':>12}{'ratio':>8}")  # noqa: RUF001 - the sign of shapes
        for name, ours, best in run(n, chosen.dimensions):
            late = ours > TARGET * best and ours - best > CHECKS
            missed += late
            print(f"{name:30}{ours:12.3f}{best:12.3f}{ours / best:8.2f}{'  MISSED' if late else ''}")
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
