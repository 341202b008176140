"""Columns between pandas and Arrow: what goes in with a dtype comes back with it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.errors import SchemaError

_DTYPE = b"pandas"  # keys of a field's metadata: the name of its pandas dtype,
_UNNAMED = b"unnamed"  # and that an index had no name


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Choose one Arrow type of each kind, so that rows from different sources meet.

    Example:
        >>> plain_type(pa.string())
        DataType(large_string)
    """
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_dictionary(kind):
        return pa.dictionary(pa.int32(), plain_type(kind.value_type), kind.ordered)
    return kind


def to_arrow(values: pd.Series | pd.Index, name: str) -> tuple[pa.Field, pa.Array]:
    """Turn a column into Arrow, remembering its pandas dtype.

    Args:
        values: the column.
        name: what it will be called.

    Returns:
        The field, with the dtype in its metadata, and the values.

    Raises:
        SchemaError: values that have no common Arrow type.
    """
    try:
        array = pa.array(values.array if isinstance(values.dtype, pd.api.extensions.ExtensionDtype) else values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as exc:
        raise SchemaError(
            f"column {name!r} can't be stored: {exc}; give it one type, or leave it out with columns=[…]"
        ) from exc
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = plain_type(array.type)
    field = pa.field(name, kind, metadata={_DTYPE: str(values.dtype).encode()})
    return field, array if kind == array.type else array.cast(kind)


def to_pandas(values: pa.ChunkedArray | pa.Array, field: pa.Field) -> Any:
    """Turn an Arrow column into the pandas array of the dtype it came with.

    Args:
        values: the column.
        field: its field; the dtype is in the metadata, or follows from the type.

    Returns:
        An ndarray or an extension array.

    Example:
        >>> to_pandas(pa.array([1, None]), pa.field("n", pa.int64(), metadata={b"pandas": b"Int64"}))
        <IntegerArray>
        [1, <NA>]
        Length: 2, dtype: Int64
    """
    dtype = _dtype(field)
    if isinstance(values, pa.Array):
        values = pa.chunked_array([values])
    if isinstance(dtype, np.dtype) and dtype.kind in "iufb" and not values.null_count:
        return values.to_numpy()
    if dtype is not None and not isinstance(dtype, np.dtype) and hasattr(dtype, "__from_arrow__"):
        return dtype.__from_arrow__(values)
    return _converted(values, dtype)


def _converted(values: pa.ChunkedArray, dtype: Any) -> Any:
    series = values.to_pandas()
    if dtype is not None and series.dtype != dtype and not (values.null_count and series.dtype.kind == "f"):
        series = series.astype(dtype)
    return series.array if isinstance(series.dtype, pd.api.extensions.ExtensionDtype) else series.to_numpy()


def _dtype(field: pa.Field) -> Any:
    name = (field.metadata or {}).get(_DTYPE)
    return _parsed(name.decode()) if name else _natural(field.type)


@lru_cache(maxsize=256)
def _parsed(name: str) -> Any:
    try:
        # "category" alone would forget the categories: Arrow's dictionary knows them
        return None if name == "category" else pd.api.types.pandas_dtype(name)
    except TypeError:
        return None  # the package that owned the dtype is not here; the values still are


@lru_cache(maxsize=256)
def _natural(kind: pa.DataType) -> Any:
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        return pd.Series(["a"]).dtype if pd.Series(["a"]).dtype != object else None
    return None


def unnamed(field: pa.Field) -> pa.Field:
    """Remember that an index had no name, though its column needs one."""
    return field.with_metadata({**(field.metadata or {}), _UNNAMED: b"1"})


def to_index(values: pa.ChunkedArray | pa.Array, field: pa.Field) -> pd.Index:
    """Turn the ids into the index they came from."""
    name = None if _UNNAMED in (field.metadata or {}) else field.name
    index: pd.Index = pd.Index(to_pandas(values, field), name=name, copy=False)
    return index
