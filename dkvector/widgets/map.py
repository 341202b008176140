"""`Map`: every row a point near its neighbours; select in it, see what a query finds and what an index misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets as t

from dkvector.errors import NotFoundError, SchemaError, some
from dkvector.maps._source import Method
from dkvector.metrics import DistanceMetric
from dkvector.widgets.base import STATIC, Widget, front_end, look
from dkvector.widgets.labels import Labels
from dkvector.widgets.linked import Link
from dkvector.widgets.mapped import PLACES, Laying, mapped
from dkvector.widgets.page import cell
from dkvector.widgets.question import literal
from dkvector.widgets.scattered import Scattered
from dkvector.widgets.shades import shades
from dkvector.widgets.still import Still
from dkvector.widgets.still_map import drawn

NAMES, RINGS = 12, 500  # highlighted rows that are named, and ringed, at most
FACTS = 8  # columns that are told of a row under the pointer
EDGES = 20_000  # that are drawn at most
LISTED = 20  # labels that the line of code lists


class Map(Widget):
    """The map of the rows of a store or a frame: pan, zoom, colour, select by lasso, and see where hits are.

    jupyter-scatter draws the points. Above 100,000 of them, 60,000 are drawn while the map moves.

    Args:
        data: a store, a DataFrame with vectors, or a map as `dkv.project` gave it.
        view: the map of the data, where there is one; by default it is made.
        color: the column to colour by.
        highlight: rows to ring: a result, or labels.
        missed: edges as `dkv.ann_edges` gives them; those that are not found are drawn.
        columns: columns to carry along, for colours and for what is told of a row; all by default.
        on: the vector column or field, where there are several.
        where: a filter: only rows that satisfy it are on the map.
        n: rows that are laid out, at most; the others are placed beside their neighbours.
        method: "umap" or "pca".
        metric: what neighbours are measured by.
        seed: of the layout.
        size: of a point, in pixels; by default the smaller the more there are.
        height: of the map, in pixels.
        name: what the map's frame is called in `code`.
        progress: show a bar while the map is made.

    Attributes:
        view: the map as a frame, with the columns.
        color: the column that colours the points; can be set.
        selection: labels of the rows that are selected; can be set, also to a result or a boolean Series.
        value: the selected rows of `view`.
        highlight: labels of the rows that are ringed; can be set, also to a result.
        missed: the edges; can be set.
        hovered: the label of the row under the pointer.
        scatter: jupyter-scatter's widget.
        code: the line of Python that gives `value` again, or draws the map.

    Raises:
        NotFoundError: no such column; rows that are not on the map.
        DuplicateIdError: labels that are there twice.
        MissingExtraError: the extra `widgets` is not installed, or `umap` for a layout.

    Example:
        >>> import dkvector as dkv
        >>> digits = dkv.datasets.load_digits()
        >>> shown = Map(digits, method="pca", metric="euclidean", color="digit")
        >>> shown.selection = digits["digit"] == 7
        >>> len(shown.value)
        179
    """

    _esm = front_end("map")
    _css = look() + (STATIC / "map.css").read_text("utf-8")

    color = t.Unicode().tag(sync=True)
    selection = Labels()
    highlight = Labels()
    missed = t.Instance(pd.DataFrame, allow_none=True)
    value = t.Instance(pd.DataFrame)
    hovered = t.Any(allow_none=True)
    scatter = anywidget.WidgetTrait().tag(sync=True)
    _name = t.Unicode().tag(sync=True)
    _columns: t.List[Any] = t.List().tag(sync=True)
    _legend = t.Dict().tag(sync=True)
    _told = t.Dict().tag(sync=True)  # what the legend says of rings and lines
    _rings: t.List[Any] = t.List().tag(sync=True)  # (place, name)
    _edges = t.Bytes().tag(sync=True)  # pairs of places, int32
    _hover = t.Dict().tag(sync=True)
    _chosen = t.Int().tag(sync=True)

    def __init__(
        self,
        data: Any,
        *,
        view: pd.DataFrame | None = None,
        color: Any = None,
        highlight: Any = None,
        missed: pd.DataFrame | None = None,
        columns: Sequence[Any] | None = None,
        on: Any = None,
        where: Any = None,
        n: int = 50_000,
        method: Method = "umap",
        metric: DistanceMetric | str | None = None,
        seed: int | None = 0,
        size: float | None = None,
        height: int = 480,
        name: str = "view",
        progress: bool | None = None,
    ) -> None:
        self.view = mapped(data, view, columns, Laying(on, where, n, method, metric, seed, progress))
        self._called = name
        self._by_name: Mapping[str, Any] = {str(one): one for one in self.view.columns if one not in PLACES}
        self._links: list[Link] = []
        chosen = self._column("" if color is None else str(color))
        painted = shades(chosen, len(self.view))
        self._points = Scattered(self.view[["x", "y"]].to_numpy(np.float32), painted, height, size)
        super().__init__(
            scatter=self._points.widget,
            color="" if color is None else str(color),
            value=self.view.iloc[:0],
            _columns=[str(one) for one in self._by_name if _colourable(self.view[self._by_name[one]])],
            _legend=painted.legend,
            _name=f"Map of {len(self.view):,} rows",
        )
        self._begin()
        self.highlight, self.missed = highlight, missed

    def _begin(self) -> None:
        self.observe(self._recolour, "color")
        self.observe(self._select, "selection")
        self.observe(self._ring, "highlight")
        self.observe(self._connect, "missed")
        self._points.on_select(self._selected_there)
        self._points.on_hover(self._hovered_there)
        self._say()

    def link(self, explorer: Any) -> Link:
        """Tie the map to an `Explorer`, both ways.

        What the explorer finds is ringed. A row selected on the map is what the explorer looks for rows like, where it
        asks by rows; several are its filter, beside one that was there.

        Args:
            explorer: the explorer, of the same rows.

        Returns:
            The link; its `end()` unties them.
        """
        made = Link(self, explorer)
        self._links.append(made)
        return made

    @t.validate("color")
    def _known(self, proposal: Any) -> str:
        self._column(proposal["value"])
        chosen: str = proposal["value"]
        return chosen

    @t.validate("selection")
    def _there(self, proposal: Any) -> list[Any]:
        """Let only rows of the map be selected."""
        labels: list[Any] = proposal["value"]
        lost = [label for label in labels if label not in self.view.index]
        if lost:
            raise NotFoundError(f"not on the map: {some(lost)}")
        return labels

    @t.validate("missed")
    def _are_edges(self, proposal: Any) -> pd.DataFrame | None:
        edges: pd.DataFrame | None = proposal["value"]
        if edges is not None and not {"query", "found"} <= set(edges.columns):
            raise SchemaError("missed takes the edges that dkv.ann_edges gives")
        return edges

    def _column(self, name: str) -> pd.Series | None:
        if not name:
            return None
        if name not in self._by_name:
            raise NotFoundError.of("column", name, self._by_name)
        values: pd.Series = self.view[self._by_name[name]]
        return values

    def _recolour(self, _: Any) -> None:
        painted = shades(self._column(self.color), len(self.view))
        self._points.recolour(painted)
        self._legend = painted.legend
        self._say()

    def _select(self, _: Any) -> None:
        places = np.unique(self.view.index.get_indexer(pd.Index(self.selection, tupleize_cols=False)))
        if not np.array_equal(places, self._points.selected):
            self._points.select(places)
        self.value = self.view.loc[self.selection]
        self._chosen = len(self.selection)
        self._say()

    def _selected_there(self) -> None:
        """Take over what was selected in the page."""
        places = self._points.selected
        known = self.view.index.get_indexer(pd.Index(self.selection, tupleize_cols=False))
        if not np.array_equal(places, np.unique(known)):
            self.selection = self.view.index.take(places)
            for widget in (self, *(link.explorer for link in self._links)):
                widget.notice()

    def _hovered_there(self, place: int | None) -> None:
        if place is None or not 0 <= place < len(self.view):
            self.hovered, self._hover = None, {"at": -1}
            return
        self.hovered = self.view.index[place]
        self._hover = {"at": place, "label": cell(self.hovered), "facts": self._facts(place)}

    def _facts(self, place: int) -> list[tuple[str, str]]:
        """Tell of a row what there is to tell, the column that colours it first."""
        names = sorted(self._by_name, key=lambda name: name != self.color)[:FACTS]
        row = self.view.iloc[place]
        told = [(name, cell(row[self._by_name[name]])) for name in names]
        return [(name, text if len(text) <= 160 else text[:159] + "…") for name, text in told if text]  # noqa: PLR2004

    def _ring(self, _: Any) -> None:
        places = self.view.index.get_indexer(pd.Index(self.highlight, tupleize_cols=False))
        there = [(int(at), label) for at, label in zip(places, self.highlight, strict=True) if at >= 0]
        self._rings = [(at, cell(label) if i < NAMES else "") for i, (at, label) in enumerate(there[:RINGS])]
        count = f"{len(there):,}" if len(there) == len(places) else f"{len(there):,} of {len(places):,}"
        self._told = {**self._told, "rings": f"{count} highlighted" if len(places) else ""}
        self._say()

    def _connect(self, _: Any) -> None:
        edges = self.missed
        lost = edges[~edges["found"].to_numpy(bool)] if edges is not None else pd.DataFrame({"query": []})
        ends = np.stack([self.view.index.get_indexer(lost.index), self.view.index.get_indexer(pd.Index(lost["query"]))])
        ends = ends[:, (ends >= 0).all(axis=0)].T.astype(np.int32)
        told = f"{len(ends):,} missed edges" if edges is not None else ""
        if len(ends) > EDGES:
            ends = ends[np.sort(np.random.default_rng(0).choice(len(ends), EDGES, replace=False))]
            told = f"{EDGES:,} of {told}"
        self._edges = np.ascontiguousarray(ends).tobytes()
        self._told = {**self._told, "edges": told}
        self._say()

    def refuse(self, error: Exception) -> None:
        """Show what could not be done."""
        self._tell(error=error, status=self.status)

    def _say(self) -> None:
        """Say what is shown, and give the line of code."""
        parts = [f"{len(self.view):,} rows", *(f"{one}" for one in self._told.values() if one)]
        self._tell(status=", ".join([*parts, *([f"{self._chosen:,} selected"] if self._chosen else [])]))
        self.set_trait("code", self._selecting() if self.selection else self._drawing())

    def _selecting(self) -> str:
        if len(self.selection) <= LISTED:
            return f"{self._called}.loc[{literal(self.selection)}]"
        return f"{self._called}.loc[map.selection]  # {len(self.selection):,} rows"

    def _drawing(self) -> str:
        given = [self._called, *([repr(self._by_name[self.color])] if self.color else [])]
        given += [f"highlight={literal(self.highlight[:LISTED])}"] if self.highlight else []
        given += ["missed=edges"] if self.missed is not None else []
        return f"dkv.plot_map({', '.join(given)})"

    def _still(self) -> Still:
        told = f"<Map: {self.status}{f'; colour {self.color}' if self.color else ''}>"
        return Still(told, png=drawn(self.view, self._column(self.color), self.highlight, self.missed))


def _colourable(values: pd.Series) -> bool:
    """Tell whether values can be told apart: no lists, no vectors."""
    some_value = values.dropna().head(1)
    return not len(some_value) or pd.api.types.is_hashable(some_value.iloc[0])
