"""A map as a picture, for where no kernel runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dkvector.maps import plot_map
from dkvector.widgets.still import picture

DOTS = 84  # per inch
DRAWN = 20_000  # points of a picture; more can't be told apart, and take long


def drawn(view: pd.DataFrame, values: pd.Series | None, highlight: list[Any], missed: pd.DataFrame | None) -> bytes:
    """Draw a map; of many rows some by chance, and all that are highlighted."""
    if not len(view):
        return b""
    hits = [label for label in highlight if label in view.index]
    if len(view) > DRAWN:
        chosen = np.sort(np.random.default_rng(0).choice(len(view), DRAWN, replace=False))
        some = pd.Index(view.index.take(chosen)).union(pd.Index(hits, tupleize_cols=False), sort=False)
        # what is highlighted is drawn whatever chance says
        view = view.loc[some]
    axes = plot_map(
        view, None if values is None else values.loc[view.index], labels=False, highlight=hits or None, missed=missed
    )
    return picture(axes.get_figure(), DOTS)
