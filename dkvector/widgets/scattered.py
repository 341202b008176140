"""jupyter-scatter's widget, as a map needs it: points of a few colours, and nothing round them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.errors import MissingExtraError
from dkvector.metrics import Floats
from dkvector.widgets.shades import Shades

Places = NDArray[np.intp]


class Scattered:
    """The points of a map.

    Args:
        points: `(n, 2)`.
        shades: their colours.
        height: in pixels.
        size: of a point, in pixels; None for the smaller the more there are.
    """

    def __init__(self, points: Floats, shades: Shades, height: int, size: float | None) -> None:
        self._xy = _fitted(points)
        count = len(points)
        self.widget = _bare()
        settings = {
            # one scale for both: jupyter-scatter's own would stretch each axis by itself
            **{name: [-1, 1] for name in ("x_domain", "y_domain", "x_scale_domain", "y_scale_domain")},
            "size": float(np.clip(400 / np.sqrt(count or 1), 1.5, 7)) if size is None else size,
            "opacity": float(np.clip(150 / np.sqrt(count or 1), 0.2, 0.85)),
            "opacity_by": None,
            "opacity_unselected": 0.6,
            "height": height,
            # other points are the same ones in other colours: their filter and the index of their places stay
            "prevent_filter_reset": True,
            "non_spatial_points_update": True,
        }
        self._set(settings | _coloured(self._xy, shades))

    def recolour(self, shades: Shades) -> None:
        """Give the points other colours; nothing else changes."""
        self._set(_coloured(self._xy, shades))

    def _set(self, settings: dict[str, Any]) -> None:
        with self.widget.hold_sync():
            for name, value in settings.items():
                setattr(self.widget, name, value)

    @property
    def selected(self) -> Places:
        """The places of the rows that are selected, ascending."""
        kept = self.widget.selection
        return np.empty(0, np.intp) if kept is None else np.unique(np.asarray(kept, np.intp))

    def select(self, places: Iterable[int]) -> None:
        """Select rows by their places."""
        self.widget.selection = np.fromiter(places, np.uint32)

    def on_select(self, told: Callable[[], None]) -> None:
        """Tell when rows were selected."""
        self.widget.observe(lambda _: told(), "selection")

    def on_hover(self, told: Callable[[int | None], None]) -> None:
        """Tell what row the pointer is at, by its place."""
        self.widget.observe(lambda change: told(change["new"]), "hovering")


def _bare() -> Any:
    """Make jupyter-scatter's widget without axes, tools and tooltips: the map has its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import uses what pandas will give up
        try:
            from jscatter import Scatter  # noqa: PLC0415 - it takes seconds to import
        except ModuleNotFoundError as exc:
            raise MissingExtraError.of("jupyter-scatter", "widgets") from exc
    made = Scatter(data=pd.DataFrame({"x": [0.0], "y": [0.0]}), x="x", y="y")
    made.axes(axes=False)
    made.reticle(show=False)
    made.tooltip(enable=False)
    made.lasso(initiator=False, on_long_press=False)
    made.zoom(on_selection=False, on_filter=False)
    made.widget.toolbar_buttons = []
    return made.widget


def _fitted(points: Floats) -> Floats:
    """Bring points into [-1, 1] by one factor: the shape of a map is kept."""
    if not len(points):
        return np.empty((0, 2), np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2 or 1.0
    fitted: Floats = ((points - (low + high) / 2) / half).astype(np.float32)
    return fitted


def _coloured(xy: Floats, shades: Shades) -> dict[str, Any]:
    # x, y, and two values that colours, sizes and the like go by: here colours alone go by the first
    points = np.zeros((len(xy), 4), np.float32)
    points[:, :2], points[:, 2] = xy, shades.codes
    several = len(shades.colours) > 1
    colours = [[*(int(one[at : at + 2], 16) / 255 for at in (1, 3, 5)), 1.0] for one in shades.colours]
    return {
        "points": points,
        "color": colours if several else colours[0],
        "color_by": "valueA" if several else None,
        "color_domain": {str(code): code for code in range(len(colours))},
        "color_scale": "categorical",
        "color_histogram": [],
    }
