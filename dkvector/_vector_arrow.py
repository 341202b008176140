"""A matrix with missing rows ↔ Arrow lists, sharing the buffer wherever the layouts agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dkvector._vector_rows import Mask, Matrix
from dkvector.errors import VectorError

_LISTS = (pa.types.is_list, pa.types.is_large_list)


def to_fixed(matrix: Matrix, mask: Mask) -> pa.FixedSizeListArray:
    """Hand a matrix to Arrow as a fixed-size list column, without a copy.

    Args:
        matrix: (n, d) floats, C-contiguous (else it is copied).
        mask: (n,), True where the row is missing.

    Returns:
        The column; its values are the matrix's own memory.

    Example:
        >>> to_fixed(np.float32([[1, 2]]), np.array([False])).type
        FixedSizeListType(fixed_size_list<item: float>[2])
    """
    values = pa.array(matrix.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, matrix.shape[1], mask=pa.array(mask) if mask.any() else None)


def to_lists(matrix: Matrix, mask: Mask) -> pa.ChunkedArray:
    """Hand a matrix to Arrow as a list column of any length, which every Parquet reader knows.

    Args:
        matrix: (n, d) floats.
        mask: (n,), True where the row is missing.

    Returns:
        The column, in as many chunks as 32-bit offsets need; a copy only where rows are missing.

    Example:
        >>> to_lists(np.float32([[1, 2]]), np.array([False])).type
        ListType(list<element: float>)
    """
    step = max(np.iinfo(np.int32).max // matrix.shape[1], 1)
    starts = range(0, max(len(matrix), 1), step)
    return pa.chunked_array([_lists(matrix[at : at + step], mask[at : at + step]) for at in starts])


def _lists(matrix: Matrix, mask: Mask) -> pa.ListArray:
    gaps = mask.any()
    offsets = np.zeros(len(matrix) + 1, dtype=np.int32)
    np.cumsum(~mask * matrix.shape[1], out=offsets[1:])
    # Parquet can't write a missing list that hides numbers, so missing rows leave the values
    values = pa.array((matrix[~mask] if gaps else matrix).reshape(-1))
    # Parquet's own name for what a list holds: the type comes back as it went
    kind = pa.list_(pa.field("element", values.type))
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind, mask=pa.array(mask) if gaps else None)


def from_arrow(
    column: pa.Array | pa.ChunkedArray, dimensions: int | None, element: np.dtype[Any]
) -> tuple[Matrix, Mask]:
    """Take the rows of an Arrow list column as a matrix.

    Args:
        column: fixed-size, 32-bit or 64-bit lists of numbers.
        dimensions: the d that every row must have; None takes that of the first row.
        element: the dtype of the numbers that come out.

    Returns:
        The (n, d) matrix, which shares Arrow's memory where there is one chunk, nothing is missing and the numbers
        are of that dtype already; and the (n,) mask, True where a row is missing.

    Raises:
        VectorError: another type of column, rows of other lengths, or gaps inside a vector: the rows are named.

    Example:
        >>> from_arrow(pa.array([[1.0, 2.0], None]), None, np.dtype("float32"))
        (array([[1., 2.], [0., 0.]], dtype=float32), array([False,  True]))
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    plain = [chunk.storage if isinstance(chunk.type, pa.BaseExtensionType) else chunk for chunk in chunks]
    dimensions = _width(plain, column.type) if dimensions is None else dimensions
    starts = np.cumsum([0, *(len(chunk) for chunk in plain)])
    parts = [
        _matrix(chunk, dimensions, element, int(at)) for chunk, at in zip(plain, starts, strict=False) if len(chunk)
    ]
    if not parts:
        return np.zeros((0, dimensions), dtype=element), np.zeros(0, dtype=bool)
    mask = np.concatenate([part[1] for part in parts])
    matrix = parts[0][0] if len(parts) == 1 else np.concatenate([part[0] for part in parts])
    return matrix, mask


def _width(chunks: list[pa.Array], kind: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    for chunk in chunks:
        if any(is_list(chunk.type) for is_list in _LISTS) and chunk.null_count < len(chunk):
            return int(chunk.value_lengths().drop_null()[0].as_py())
    raise VectorError('the dimensions can\'t be read from an empty column; name them: "vector[384]"')


def _matrix(chunk: pa.Array, dimensions: int, element: np.dtype[Any], first: int) -> tuple[Matrix, Mask]:
    mask: Mask = chunk.is_null().to_numpy(zero_copy_only=False)
    # also Arrow's null type, which is no list
    if mask.all():
        return np.zeros((len(chunk), dimensions), dtype=element), mask
    _check_lengths(chunk, dimensions, first)
    numbers = chunk.flatten()  # leaves missing rows out and minds the slice
    if not (pa.types.is_floating(numbers.type) or pa.types.is_integer(numbers.type)):
        raise VectorError(f"a column of {chunk.type} does not hold vectors")
    if numbers.null_count:
        gaps = np.flatnonzero(~mask)[np.unique(np.flatnonzero(numbers.is_null()) // dimensions)]
        raise VectorError.at_rows("numbers are missing inside vectors", gaps + first)
    rows = numbers.to_numpy(zero_copy_only=False).reshape(-1, dimensions).astype(element, copy=False)
    if not mask.any():
        return rows, mask
    matrix = np.zeros((len(chunk), dimensions), dtype=element)
    matrix[~mask] = rows
    return matrix, mask


def _check_lengths(chunk: pa.Array, dimensions: int, first: int) -> None:
    if pa.types.is_fixed_size_list(chunk.type):
        if chunk.type.list_size != dimensions:
            raise VectorError.wrong_dimensions(chunk.type.list_size, dimensions, "the column")
        return
    if not any(is_list(chunk.type) for is_list in _LISTS):
        raise VectorError(f"a column of {chunk.type} does not hold vectors")
    lengths = chunk.value_lengths().fill_null(dimensions).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != dimensions)
    if len(wrong):
        raise VectorError.at_rows(f"vectors have other than {dimensions} dimensions", wrong + first)
