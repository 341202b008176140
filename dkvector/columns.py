"""Columns between pandas and Arrow: what goes in with a dtype comes back with it."""

from __future__ import annotations

import base64
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector import _categories
from dkvector.errors import SchemaError

_DTYPE = b"pandas"  # keys of a field's metadata: the name of its pandas dtype,
_CATEGORIES = b"categories"  # of that of its categories,
_UNNAMED = b"unnamed"  # that an index had no name,
_CALLED = b"called"  # or the name that its field can't have
_OBJECT = np.dtype(object)
_ARROW = "arrow:"  # starts the name of an Arrow dtype


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
    return without_views(kind)


def without_views(kind: pa.DataType) -> pa.DataType:
    """Choose plain types for views, as polars has them, also inside lists and structs: Arrow takes no rows of a view.

    Example:
        >>> without_views(pa.list_(pa.string_view()))
        ListType(list<item: string>)
    """
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([one.with_type(without_views(one.type)) for one in kind])
    lists = {pa.types.is_list: pa.list_, pa.types.is_large_list: pa.large_list}
    made = next((make for is_one, make in lists.items() if is_one(kind)), None)
    return kind if made is None else made(kind.value_field.with_type(without_views(kind.value_type)))


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
    dtype = values.dtype
    try:
        # by ==, as the dtype that HDF5 gives texts is object too, with metadata
        objects = isinstance(dtype, np.dtype) and dtype == _OBJECT
        array = _from_objects(values) if objects else _from_dtype(values, dtype)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as exc:
        if isinstance(values, pd.Index):
            raise SchemaError(f"the index can't be stored: {exc}; give it one type") from exc
        raise SchemaError(
            f"column {name!r} can't be stored: {exc}; give it one type, or leave it out with columns=[…]"
        ) from exc
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = plain_type(array.type)
    if isinstance(dtype, pd.CategoricalDtype):
        field = _field(name, kind, "category", _categories.remembered(dtype.categories))
    else:
        field = _field(name, kind, dtype)
    return field, array if kind == array.type else array.cast(kind)


@lru_cache(maxsize=1024)
def _field(name: str, kind: pa.DataType, dtype: Any, of_categories: Any = None) -> pa.Field:
    told = {} if of_categories is None else {_CATEGORIES: _name_of(of_categories).encode()}
    return pa.field(name, kind, metadata={_DTYPE: _name_of(dtype).encode(), **told})


def _from_dtype(values: pd.Series | pd.Index, dtype: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(dtype, np.dtype):
        # NaN is missing, as pandas has it
        return pa.array(values.to_numpy(), from_pandas=True)
    return _from_categories(values.array) if isinstance(dtype, pd.CategoricalDtype) else pa.array(values.array)


def _from_categories(values: pd.Categorical) -> pa.Array:
    """Turn categories into a dictionary; Arrow's own way is many times slower for a few rows."""
    codes = values.codes.astype(np.int32)
    categories = to_arrow(_categories.storable(values.categories), "")[1]
    if pa.types.is_nested(categories.type):
        raise TypeError(f"its categories are {categories.type}")
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), categories, ordered=bool(values.ordered))


def _from_objects(values: pd.Series | pd.Index) -> pa.Array:
    """Turn Python objects into Arrow, which alone would mix text and bytes, and cut times to dates or microseconds."""
    array = pa.array(values)
    if pa.types.is_timestamp(array.type) or pa.types.is_duration(array.type):
        times = values.infer_objects()
        if times.dtype == _OBJECT:
            raise TypeError("it mixes times that have a zone with others that have none or another, or are none at all")
        return pa.array(times)
    if pa.types.is_binary(array.type) and any(isinstance(value, str) for value in values):
        raise TypeError("it mixes text and bytes")
    if pa.types.is_floating(array.type) and any(isinstance(value, bool | np.bool_) for value in values):
        raise TypeError("it mixes truths and numbers")
    if pa.types.is_date(array.type) and any(isinstance(value, datetime) for value in values.dropna()):
        raise TypeError("it mixes dates and times")
    return array


def _name_of(dtype: Any) -> str:
    """Write a dtype so that `_parsed` can read it: an Arrow type's own name would not do."""
    if isinstance(dtype, pd.ArrowDtype):
        schema = pa.schema([pa.field("", without_views(dtype.pyarrow_dtype))])
        return _ARROW + base64.b64encode(schema.serialize()).decode()
    if isinstance(dtype, pd.StringDtype) and str(dtype) == "string":
        return f"string[{dtype.storage}]"
    return str(dtype)


def dtype_name(field: pa.Field) -> str:
    """Name a column's type as its user knows it: the pandas dtype it came with, or Arrow's own.

    Example:
        >>> dtype_name(pa.field("n", pa.int64(), metadata={b"pandas": b"Int64"})), dtype_name(pa.field("n", pa.int64()))
        ('Int64', 'int64')
    """
    name = (field.metadata or {}).get(_DTYPE, b"").decode()
    return str(field.type) if name in {"", "object"} or name.startswith(_ARROW) else name


def holds_objects(field: pa.Field) -> bool:
    """Tell whether a column becomes one of Python's objects, made one by one.

    Example:
        >>> holds_objects(pa.field("n", pa.int64(), metadata={b"pandas": b"object"}))
        True
    """
    return (field.metadata or {}).get(_DTYPE) == b"object"


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
    of_categories = (field.metadata or {}).get(_CATEGORIES)
    return _converted(values, dtype, None if of_categories is None else _parsed(of_categories.decode()))


def _converted(values: pa.ChunkedArray, dtype: Any, of_categories: Any) -> Any:
    if dtype == _OBJECT and _is_kept_whole(values.type):
        return _objects(values)
    series = values.to_pandas()
    if of_categories is not None and isinstance(series.dtype, pd.CategoricalDtype):
        return series.array.rename_categories(_categories.restored(series.dtype.categories, of_categories))
    # integers that lack some come back as floats, and can't become integers again
    if dtype is not None and series.dtype != dtype and not (values.null_count and series.dtype.kind == "f"):
        series = series.astype(dtype)
    return series.array if isinstance(series.dtype, pd.api.extensions.ExtensionDtype) else series.to_numpy()


def _is_kept_whole(kind: pa.DataType) -> bool:
    """Tell whether pandas makes something else of objects: text, numbers, lists and dicts but for lists of floats."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return not pa.types.is_floating(kind.value_type)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return True
    return bool(pa.types.is_struct(kind) or pa.types.is_large_string(kind) or pa.types.is_string(kind))


def _objects(values: pa.ChunkedArray) -> Any:
    made = np.empty(len(values), object)
    # NumPy would spread lists of one length over a second axis
    for at, value in enumerate(values.to_pylist()):
        made[at] = value
    return made


def kept(values: Any) -> Any:
    """Give a column as a frame keeps it: pandas wraps plain arrays where it hands them out, and users write to them.

    Example:
        >>> kept(pd.Series([1, 2]).array)
        array([1, 2])
    """
    # those derived from it have a dtype of their own
    plain = type(values) is pd.arrays.NumpyExtensionArray
    array = values.to_numpy() if plain else values
    return array.copy() if isinstance(array, np.ndarray) and not array.flags.writeable else array


def _dtype(field: pa.Field) -> Any:
    name = (field.metadata or {}).get(_DTYPE)
    return _parsed(name.decode()) if name else _natural(field.type)


@lru_cache(maxsize=256)
def _parsed(name: str) -> Any:
    if name.startswith(_ARROW):
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(name.removeprefix(_ARROW))))
        return pd.ArrowDtype(schema.field(0).type)
    try:
        # "category" alone would forget the categories: Arrow's dictionary knows them
        return None if name == "category" else pd.api.types.pandas_dtype(name)
    except TypeError:
        return None  # the package that owned the dtype is not here; the values still are


@lru_cache(maxsize=256)
def _natural(kind: pa.DataType) -> Any:
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        # pandas 3 has a dtype for text, pandas 2 keeps objects
        return pd.Series(["a"]).dtype if pd.Series(["a"]).dtype != object else None
    return None


def called(field: pa.Field, name: str | None) -> pa.Field:
    """Remember what an index was called, where its field has another name."""
    remembered = {_UNNAMED: b"1"} if name is None else {_CALLED: name.encode()}
    return field.with_metadata({**(field.metadata or {}), **remembered})


def to_index(values: pa.ChunkedArray | pa.Array, field: pa.Field) -> pd.Index:
    """Turn the ids into the index they came from."""
    if pa.types.is_struct(field.type):  # ids of several columns
        whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        levels = [to_index(whole.field(at), field.type.field(at)) for at in range(field.type.num_fields)]
        return pd.MultiIndex.from_arrays(levels, names=[one.name for one in levels])
    metadata = field.metadata or {}
    name = None if _UNNAMED in metadata else metadata.get(_CALLED, field.name.encode()).decode()
    made = to_pandas(values, field)
    # with its dtype: pandas would guess another for objects
    index: pd.Index = pd.Index(made, dtype=made.dtype, name=name, copy=False)
    return index


def taken(index: pd.Index, positions: NDArray[np.intp]) -> pd.Index:
    """Give labels at positions; pandas' own way asks so much first that it takes three times as long for a few.

    Example:
        >>> taken(pd.Index(["a", "b"], dtype=object, name="id"), np.array([1])).tolist()
        ['b']
    """
    values = index.to_numpy() if type(index) is pd.Index and isinstance(index.dtype, np.dtype) else None
    make = getattr(index, "_simple_new", None)  # in no stub
    if values is None or make is None:
        return index.take(positions)
    made: pd.Index = make(values.take(positions), name=index.name)
    return made
