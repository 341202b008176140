"""Whether two columns hold the same: as a store keeps them, missing equal to missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dkvector.metrics import Floats
from dkvector.vectors import to_matrix

Mask = NDArray[np.bool_]


def differing(one: pa.ChunkedArray | pa.Array, other: pa.ChunkedArray | pa.Array) -> Mask:
    """Tell where two columns of one type differ; NaN counts as missing.

    Args:
        one: a column.
        other: another of as many rows.

    Returns:
        One boolean per row.

    Example:
        >>> differing(pa.array([1.0, None, float("nan"), 2.0]), pa.array([1.0, 5.0, None, 3.0]))
        array([False,  True, False,  True])
    """
    mine, theirs = _plain(one), _plain(other)
    here, there = _present(mine), _present(theirs)
    differ: Mask = here != there
    both = np.flatnonzero(here & there)
    if len(both):
        differ[both] = _unequal(mine.take(pa.array(both)), theirs.take(pa.array(both)))
    return differ


def _plain(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Take a column out of its chunks, its dictionary and its extension type."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(whole, pa.ChunkedArray):  # of no chunk, or of more than one array holds
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    if isinstance(whole.type, pa.BaseExtensionType):
        whole = whole.storage
    if pa.types.is_float16(whole.type):
        # Arrow compares no half floats; what is missing becomes NaN, which is missing too
        return pa.array(whole.to_numpy(zero_copy_only=False).astype(np.float32))
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _present(values: pa.Array) -> Mask:
    there: Mask = np.asarray(values.is_valid())
    if pa.types.is_floating(values.type):
        there = there & ~np.asarray(pc.fill_null(pc.is_nan(values), fill_value=False))
    return there


def _unequal(mine: pa.Array, theirs: pa.Array) -> Mask:
    if mine.type != theirs.type or pa.types.is_nested(mine.type):
        pairs = zip(mine.to_pylist(), theirs.to_pylist(), strict=True)
        return np.array([not _same(one, other) for one, other in pairs], bool)
    return np.asarray(pc.not_equal(mine, theirs))


def _same(one: Any, other: Any) -> bool:
    """Compare values that may hold others; NaN within them is like itself."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other or (one != one and other != other))  # noqa: PLR0124 - NaN


def differing_vectors(matrix: Floats, stored: pa.ChunkedArray, dtype: str) -> Mask:
    """Tell where vectors differ from those that are stored, in the precision of the store.

    Args:
        matrix: `(n, d)` float32.
        stored: n fixed-size lists, some of which may be missing.
        dtype: what the store keeps numbers as: "float32" or "float16".

    Returns:
        One boolean per row, true where there is none stored.

    Example:
        >>> stored = pa.chunked_array([pa.array([[0.1, 1.0], None], pa.list_(pa.float32(), 2))])
        >>> differing_vectors(np.array([[0.100001, 1], [0, 1]], np.float32), stored, "float16")
        array([False,  True])
    """
    if not len(matrix):
        return np.zeros(0, bool)
    theirs, missing = to_matrix(stored)
    if dtype == "float16":
        matrix, theirs = matrix.astype(np.float16), theirs.astype(np.float16)
    differ: Mask = (matrix != theirs).any(axis=1)
    return differ if missing is None else differ | missing
