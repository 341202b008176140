"""Categories of kinds that Arrow's dictionaries lose or mix up — periods, spans of `pd.cut`, zones — there and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

_INTERVAL = re.compile(r"[\[(](.+), (.+)[\])]")


def storable(categories: pd.Index) -> pd.Index:
    """Give categories as Arrow can hold them: periods and intervals as their text, by which they can be filtered too.

    Raises:
        TypeError: periods or intervals whose text does not tell them apart.

    Example:
        >>> storable(pd.cut([1, 9], [0, 5, 10]).categories).tolist()
        ['(0, 5]', '(5, 10]']
    """
    if not isinstance(categories.dtype, pd.PeriodDtype | pd.IntervalDtype):
        return categories
    texts = pd.Index([str(one) for one in categories], dtype="str")
    if not restored(texts, categories.dtype).equals(categories):
        raise TypeError(f"its categories of {categories.dtype} can't be read from their text")
    return texts


def remembered(categories: pd.Index) -> Any:
    """Name the dtype of categories that Arrow would not tell by itself; None where it would."""
    dtype = categories.dtype
    return dtype if isinstance(dtype, pd.api.extensions.ExtensionDtype) and dtype != _of_text() else None


@lru_cache(maxsize=1)
def _of_text() -> Any:
    return pd.Index(["a"]).dtype


def restored(categories: pd.Index, dtype: Any) -> pd.Index:
    """Give categories the dtype that they had; texts stay texts where another write brought some of another kind.

    Example:
        >>> restored(pd.Index(["2024-01", "2024-03"]), pd.PeriodDtype("M")).dtype
        period[M]
    """
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        read = _periods if isinstance(dtype, pd.PeriodDtype) else _intervals
        try:
            made: pd.Index = read(categories.tolist(), dtype)
        except (ValueError, TypeError):
            return categories
        return made if [str(one) for one in made] == categories.tolist() else categories
    if isinstance(dtype, pd.DatetimeTZDtype) and getattr(categories.dtype, "tz", None) is None:
        # Arrow gives them in UTC, and does not say so
        categories = pd.DatetimeIndex(categories).tz_localize("UTC")
    typed: pd.Index = categories.astype(dtype)
    return typed


def _periods(texts: list[str], dtype: Any) -> pd.Index:
    return pd.PeriodIndex(texts, dtype=dtype)


def _intervals(texts: list[str], dtype: Any) -> pd.Index:
    sides = zip(*map(_sides, texts), strict=True) if texts else ((), ())
    left, right = (_bounds(side, dtype.subtype) for side in sides)
    made: pd.Index = pd.IntervalIndex.from_arrays(left, right, closed=dtype.closed).astype(dtype)
    return made


def _sides(text: str) -> tuple[Any, ...]:
    found = _INTERVAL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no interval")
    return found.groups()


def _bounds(texts: Sequence[str], dtype: Any) -> pd.Index:
    bounds = pd.Index(list(texts), dtype=object)
    if dtype.kind == "M":
        bounds = pd.to_datetime(bounds, format="ISO8601", utc=isinstance(dtype, pd.DatetimeTZDtype))
    elif dtype.kind == "m":
        bounds = pd.to_timedelta(bounds)
    made: pd.Index = bounds.astype(dtype)
    return made
