"""Colours of points: a few that the colour-blind can tell apart on paper and on a dark screen, or a scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.errors import NotFoundError, SchemaError

# Petroff, Accessible color sequences for data visualization (arXiv 2107.02270), the greys last.
PALETTE = (
    "#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#92dadd", "#a96b59", "#e76300", "#b9ac70", "#717581", "#94a4a2",
)  # fmt: skip
BRIGHT = 8  # of these, which are told from the grey of all others
GREY = "#8c8c8c"
SCALE = ("viridis", 0.12, 0.92)  # without its ends, likewise
MISSING = "missing"


@dataclass(frozen=True)
class Groups:
    """Rows in groups of one colour.

    Attributes:
        codes: `(n,)` the category of each row; -1 where it is missing.
        names: of the categories: in their order where each has a colour of its own, else the largest first.
        counts: rows of each category.
        colours: of the categories.
        legend: name and colour of what the legend tells.
    """

    codes: NDArray[np.intp]
    names: list[str]
    counts: list[int]
    colours: list[str]
    legend: list[tuple[str, str]]

    @property
    def of_rows(self) -> NDArray[Any]:
        """The colour of each row, `(n,)`."""
        # -1, which is missing, takes the last
        return np.array([*self.colours, GREY])[self.codes]


def values_of(view: pd.DataFrame, given: Any, option: str) -> pd.Series | None:
    """Find values for the rows of a map: a column of it by name, or a Series by label.

    Raises:
        NotFoundError: no such column, or rows without a value.
        SchemaError: neither a name nor a Series.
    """
    if given is None:
        return None
    if isinstance(given, pd.Series):
        return _by_label(view, given, option)
    if not pd.api.types.is_hashable(given):
        raise SchemaError(f"{option}= is a column of the map, or a Series with its labels, not {type(given).__name__}")
    if given not in view.columns:
        raise NotFoundError.of("column", str(given), map(str, view.columns))
    return view[given]


def _by_label(view: pd.DataFrame, given: pd.Series, option: str) -> pd.Series:
    if given.index.equals(view.index):
        return given
    if not given.index.is_unique:
        raise SchemaError(f"{option}= has labels twice")
    if not view.index.isin(given.index).all():
        raise NotFoundError(f"{option}= lacks rows of the map: it must have their labels")
    return given.loc[view.index]


def is_scale(values: pd.Series) -> bool:
    """Tell a quantity from categories: numbers, unless they are few and whole."""
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        return False
    return not pd.api.types.is_integer_dtype(values) or values.nunique() > len(PALETTE) + 2


def groups(values: pd.Series) -> Groups:
    """Give each category a colour: the largest their own, and the others one grey where there are more than colours.

    Example:
        >>> groups(pd.Series(["a", "b", "b", None])).legend
        [('a', '#3f90da'), ('b', '#ffa90e'), ('missing', '#8c8c8c')]
    """
    counts = values.value_counts()  # largest first, ties as they come
    # a Categorical counts the categories too that no row has
    counts = counts[counts > 0]
    if len(counts) <= len(PALETTE):
        counts = _in_order(counts)
    codes = np.asarray(pd.Index(counts.index).get_indexer(pd.Index(values)), np.intp)
    codes[values.isna().to_numpy()] = -1
    names = [str(name) for name in counts.index]
    own = len(names) if len(names) <= len(PALETTE) else BRIGHT
    colours = [*PALETTE[:own], *[GREY] * (len(names) - own)]
    legend = list(zip(names[:own], PALETTE, strict=False))
    if own < len(names):
        legend.append((f"{len(names) - own} others", GREY))
    if (codes < 0).any():
        legend.append((MISSING, GREY))
    return Groups(codes, names, counts.tolist(), colours, legend)


def _in_order(counts: pd.Series) -> pd.Series:
    try:
        return counts.sort_index()
    except TypeError:  # categories that have no order among them
        return counts


def scale() -> Any:
    """Give the colour map of a quantity."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415

    name, low, high = SCALE
    return LinearSegmentedColormap.from_list(name, mpl.colormaps[name](np.linspace(low, high, 256)))
