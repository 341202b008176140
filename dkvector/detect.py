"""Which columns of a frame hold vectors, and how long they are: told from the dtype, or from one value."""

from __future__ import annotations

import re
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector._cells import is_missing
from dkvector._forms import is_text
from dkvector.vectors import to_matrix

# what is read is not given back (++): else texts of many digits, of which books have some, would take minutes
_NUMBER = r"[-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:e[-+]?\d++)?+"
_NUMBERED = re.compile(r"(.*?)\d+$")
_ANY = rf"(?:{_NUMBER}|nan|[-+]?inf)"
# at least two numbers, as one is no vector; a first row that can't be used makes its column no other one
_TEXT = re.compile(
    rf"\s*\[(?=[^]\d]*+\d)\s*{_ANY}(?:\s*,\s*|\s+){_ANY}(?:[-+.,e\d\s]|nan|null|inf)*+\]\s*", re.IGNORECASE
)


def is_vector_column(series: pd.Series) -> bool:
    """Tell from the dtype, or the first value, whether a column holds vectors.

    Example:
        >>> is_vector_column(pd.Series([[0.1, 0.2]])), is_vector_column(pd.Series([["a", "b"]]))
        (True, False)
    """
    dtype = series.dtype
    if getattr(dtype, "dimensions", None) is not None:
        return True
    if isinstance(dtype, pd.ArrowDtype):
        return _holds_vectors(dtype.pyarrow_dtype, series)
    objects = isinstance(dtype, np.dtype) and dtype.kind == "O"
    return (objects or isinstance(dtype, pd.StringDtype)) and _looks_like_vector(_first(series))


def is_text_column(series: pd.Series) -> bool:
    """Tell from the dtype, or the first value, whether a column holds texts, which can be embedded.

    Example:
        >>> is_text_column(pd.Series(["a cat", None])), is_text_column(pd.Series([1, 2]))
        (True, False)
    """
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return is_text_column(dtype.categories.to_series())
    if isinstance(dtype, pd.ArrowDtype):
        return is_text(dtype.pyarrow_dtype)
    objects = isinstance(dtype, np.dtype) and dtype.kind == "O"
    return isinstance(dtype, pd.StringDtype) or (objects and isinstance(_first(series), str))


def _first(series: pd.Series) -> Any:
    # most columns begin with a value: what is missing for long is passed over in ever longer steps
    start, stop = 0, 64
    while start < len(series):
        for value in series.array[start:stop]:
            if not is_missing(value):
                return value
        start, stop = stop, 2 * stop
    return None


def _holds_vectors(kind: pa.DataType, series: pd.Series) -> bool:
    if pa.types.is_fixed_size_list(kind):
        # a fixed length makes vectors of whole numbers too, which in lists of any length are codes
        return bool(pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return bool(pa.types.is_floating(kind.value_type))
    # as of pandas' categories: what repeats is a label
    return is_text(kind) and not pa.types.is_dictionary(kind) and _looks_like_vector(_first(series))


def _looks_like_vector(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "fiu"
    if isinstance(value, str):
        return _TEXT.fullmatch(value) is not None
    if not isinstance(value, list | tuple) or len(value) < 2:  # noqa: PLR2004 - one number is no vector
        return False
    kinds = set(map(type, value))
    numbers = bool not in kinds and all(issubclass(kind, Real) for kind in kinds)
    # whole numbers are codes
    return numbers and not all(issubclass(kind, Integral) for kind in kinds)


def is_spread(frame: pd.DataFrame) -> bool:
    """Tell whether vectors are spread over numbered columns, which `gather` can collect."""
    seen = set()
    for name, dtype in frame.dtypes.items():
        stem = _NUMBERED.match(name) if isinstance(name, str) and pd.api.types.is_numeric_dtype(dtype) else None
        if stem is not None and stem[1] in seen:
            return True
        seen.add(stem and stem[1])
    return False


def dimensions(series: pd.Series) -> int:
    """Tell how long the vectors of a column are, by its dtype or its first one."""
    known = getattr(series.dtype, "dimensions", None)
    return int(known) if known is not None else to_matrix(series.dropna().iloc[:1])[0].shape[1]
