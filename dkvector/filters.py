"""Filters: ``col("depth") > 4``, and every other way to write a `where`; the tree they make is in `dkvector._tree`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from dkvector._scalars import Scalar, text
from dkvector._tree import And, Compare, Filter, Ids, IsIn, IsNull, Op, Or, TextMatch
from dkvector._where import parse
from dkvector.errors import FilterError, hint, some

__all__ = [
    "And",
    "Compare",
    "Filter",
    "Ids",
    "IsIn",
    "IsNull",
    "Or",
    "TextMatch",
    "as_filter",
    "check_columns",
    "col",
    "parse",
]


class col:  # noqa: N801 - reads as a function, like pandas.col and polars.col
    """Name a column, to compare it with values.

    Args:
        name: the column's name.

    Raises:
        FilterError: a value that no column holds: a missing one, another column, a list.

    Example:
        >>> col("depth").between(2, 4) | col("lemma").contains("dog")
        <Filter: (depth >= 2 and depth <= 4) or lemma.str.contains('dog')>
    """

    __slots__ = ("name",)
    __array_ufunc__ = None  # np.int64(3) < col("a") must come to col.__gt__
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self.name = text(name)

    def __repr__(self) -> str:
        return f"col({self.name!r})"

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} has no truth value: compare it, as in {self!r} == True")

    def _compare(self, op: Op, value: Scalar) -> Filter:
        if isinstance(value, col):
            raise FilterError(f"{self!r} {op} {value!r}: columns are compared with values, not with columns")
        return Compare(self.name, op, value)

    def __eq__(self, value: Scalar) -> Filter:  # type: ignore[override]
        return self._compare("==", value)

    def __ne__(self, value: Scalar) -> Filter:  # type: ignore[override]
        return self._compare("!=", value)

    def __lt__(self, value: Scalar) -> Filter:
        return self._compare("<", value)

    def __le__(self, value: Scalar) -> Filter:
        return self._compare("<=", value)

    def __gt__(self, value: Scalar) -> Filter:
        return self._compare(">", value)

    def __ge__(self, value: Scalar) -> Filter:
        return self._compare(">=", value)

    def isin(self, values: Iterable[Scalar]) -> Filter:
        """Keep rows whose value is one of ``values``."""
        # a text goes on as it is, to be refused: its letters are no list of values
        return IsIn(self.name, tuple(values) if not isinstance(values, str) else values)  # type: ignore[arg-type]

    def between(self, low: Scalar, high: Scalar) -> Filter:
        """Keep rows whose value is at least ``low`` and at most ``high``."""
        return And((self >= low, self <= high))

    def is_null(self) -> Filter:
        """Keep rows whose value is missing; the only filter that a missing value satisfies."""
        return IsNull(self.name)

    def not_null(self) -> Filter:
        """Keep rows whose value is there."""
        return IsNull(self.name, negated=True)

    def like(self, pattern: str) -> Filter:
        """Keep rows whose text is like the pattern: ``%`` any text, ``_`` any one character, all else literal."""
        return TextMatch(self.name, "like", pattern)

    def contains(self, text: str) -> Filter:
        """Keep rows whose text contains this text, literally and with its case."""
        return TextMatch(self.name, "contains", text)

    def startswith(self, text: str) -> Filter:
        """Keep rows whose text starts with this text, literally and with its case."""
        return TextMatch(self.name, "startswith", text)


def as_filter(where: object, *, index: pd.Index[Any] | None = None) -> Filter | None:
    """Turn whatever a `where` argument may be into a filter.

    Args:
        where: None (every row), a filter, its string form, a dict of equalities (a list means "one of", None means
            "is missing"), a boolean Series aligned by its labels, or a `Query`.
        index: the labels of the rows, for a boolean array without labels of its own.

    Returns:
        The filter, or None for every row.

    Raises:
        FilterError: anything else, or a text that can't be read.

    Example:
        >>> as_filter({"pos": "noun", "depth": [3, 4]})
        <Filter: pos == 'noun' and depth in [3, 4]>
    """
    match where:
        case None | Filter():
            return where
        case str():
            return parse(where)
        case Mapping():
            terms = tuple(_equality(name, value) for name, value in where.items())
            return terms[0] if len(terms) == 1 else And(terms)
        case pd.Series():
            return _true_labels(where)
        case np.ndarray() | list() if index is not None and len(where) == len(index):
            return _true_labels(pd.Series(where, index=index))
        case np.ndarray() | list():
            raise FilterError("a boolean array has no labels: use a boolean Series, whose index names the rows")
    # a Query, whose module stands on this one
    if hasattr(where, "where_filter"):
        return as_filter(where.where_filter, index=index)
    raise FilterError(
        f"where can't be {type(where).__name__}: use a text such as \"depth > 4\", dkv.col('depth') > 4, "
        "a dict of equalities, a boolean Series, or a Query"
    )


def check_columns(where: Filter, known: Iterable[str]) -> None:
    """Refuse a filter that reads a column which is not there.

    Args:
        where: the filter.
        known: the names of the columns that are there.

    Raises:
        FilterError: names the unknown column and the nearest known one.
    """
    names = list(known)
    for name in sorted(where.columns().difference(names)):
        raise FilterError(f"no column {name!r}; {hint(name, names)}")


def _equality(name: str, value: object) -> Filter:
    if value is None:
        return IsNull(name)
    if isinstance(value, list | tuple | set | frozenset | pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return IsIn(name, tuple(value))
    if isinstance(value, np.ndarray) and value.ndim:
        return IsIn(name, tuple(value))
    return Compare(name, "==", value)  # type: ignore[arg-type]


def _true_labels(series: pd.Series[Any]) -> Filter:
    if not is_boolean(series):
        raise FilterError(f"a Series as where must be boolean, this one is {series.dtype}: compare it first")
    keep = series.to_numpy(dtype=bool, na_value=False)
    if not series.index.is_unique:
        both = series.index[keep].intersection(series.index[~keep])
        if len(both):
            raise FilterError(f"labels that are both True and False: {some(both)}; use reset_index() for unique labels")
    return Ids(tuple(series.index[keep].unique()))


def is_boolean(series: pd.Series[Any]) -> bool:
    """Tell whether a Series holds truths, as objects too, among which some may be missing."""
    if series.dtype == object:
        return pd.api.types.infer_dtype(series, skipna=True) in {"boolean", "empty"}
    return pd.api.types.is_bool_dtype(series.dtype)
