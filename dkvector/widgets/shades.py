"""The colours of a map's points, and what its legend says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.maps import _colours

STEPS = 64  # of a scale


@dataclass(frozen=True)
class Shades:
    """One of a few colours for every row.

    Attributes:
        codes: `(n,)` which colour a row has.
        colours: the colours, as #rrggbb.
        legend: what is said of them: `title`, `items` (name, colour), and of a scale `low`, `high`, `colours`.
    """

    codes: NDArray[np.intp]
    colours: list[str]
    legend: dict[str, Any]


def shades(values: pd.Series | None, rows: int) -> Shades:
    """Choose a colour for every row: the categories' own, a scale's for quantities, one for all without values.

    Example:
        >>> chosen = shades(pd.Series(["a", None, "a"], name="kind"), 3)
        >>> chosen.codes.tolist(), chosen.colours
        ([0, 1, 0], ['#3f90da', '#8c8c8c'])
    """
    if values is None:
        return Shades(np.zeros(rows, np.intp), [_colours.PALETTE[0]], {})
    if _colours.is_scale(values):
        return _scale(values)
    found = _colours.groups(values)
    colours = list(dict.fromkeys([*found.colours, *([_colours.GREY] if (found.codes < 0).any() else [])]))
    of_rows = np.array([colours.index(one) for one in found.colours] + [colours.index(colours[-1])])
    return Shades(of_rows[found.codes], colours, {"title": str(values.name), "items": found.legend})


def _scale(values: pd.Series) -> Shades:
    from matplotlib.colors import to_hex  # noqa: PLC0415 - an extra

    numbers = values.to_numpy(np.float64, na_value=np.nan)
    known = np.isfinite(numbers)
    low, high = (float(one) for one in (numbers[known].min(), numbers[known].max())) if known.any() else (0.0, 0.0)
    scale = _colours.scale()
    colours = [to_hex(scale(step / (STEPS - 1))) for step in range(STEPS)]
    # the colour after the last of the scale is that of what is missing
    codes = np.full(len(numbers), STEPS, np.intp)
    codes[known] = np.rint((numbers[known] - low) / ((high - low) or 1) * (STEPS - 1))
    items = [] if known.all() else [(_colours.MISSING, _colours.GREY)]
    # ten of them make a gradient that can't be told from the whole
    ends = {"low": f"{low:.6g}", "high": f"{high:.6g}", "colours": colours[::7]}
    return Shades(codes, [*colours, _colours.GREY], {"title": str(values.name), "items": items, **ends})
