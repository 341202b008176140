"""`Map`: every row a point near its neighbours; ask and select in it, see what is found and what an index misses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets as t

from dkvector.errors import FilterError, NotFoundError, SchemaError, some
from dkvector.maps._source import Method
from dkvector.metrics import DistanceMetric
from dkvector.widgets.base import STATIC, front_end, look
from dkvector.widgets.behind import Behind
from dkvector.widgets.labels import Labels
from dkvector.widgets.linked import Link
from dkvector.widgets.mapped import PLACES, Laying, mapped
from dkvector.widgets.marked import Marked
from dkvector.widgets.marks import places_of
from dkvector.widgets.page import cell
from dkvector.widgets.question import literal, typed, where_typed
from dkvector.widgets.scattered import Scattered
from dkvector.widgets.shades import shades
from dkvector.widgets.still import Still
from dkvector.widgets.still_map import drawn

FACTS = 8  # columns that are told of a row under the pointer
LISTED = 20  # labels that the line of code lists


class Map(Marked):
    """The map of the rows of a store or a frame: pan, zoom, colour, select by lasso, and see where hits are.

    jupyter-scatter draws the points. Above 100,000 of them, 60,000 are drawn while the map moves.

    Args:
        data: a store, a DataFrame with vectors, or a map as `dkv.project` gave it.
        view: the map of the data, where there is one; by default it is made.
        color: the column to colour by.
        highlight: rows to ring: a result, or labels; until a query rings others.
        missed: edges as `dkv.ann_edges` gives them; those that are not found are drawn.
        columns: columns to carry along, for colours and for what is told of a row; all by default.
        on: the vector column or field, where there are several.
        where: a filter, as text or as an expression: only rows that satisfy it are laid out, and it is the first value
            of the trait. Clearing that hides none of them, and brings none that were not laid out. A boolean Series
            can't be typed: it limits the layout alone.
        n: rows that are laid out, at most; the others are placed beside their neighbours.
        method: "umap" or "pca".
        metric: what neighbours are measured by.
        seed: of the layout.
        size: of a point, in pixels; by default the smaller the more there are.
        height: of the map, in pixels.
        query: whose neighbours are ringed: a row's label, a text, or a vector.
        by: how the query is read: "row", "text" or "vector". By default a text where there is an encoder, else a row.
        k: neighbours that are ringed.
        encoder: embeds texts, where the store has no encoder of its own.
        name: what the map's frame is called in `code`.
        data_name: what the data is called there; "store" or "data" by default.
        encoder_name: what the encoder is called there.
        progress: show a bar while the map is made.

    Attributes:
        view: the map as a frame, with the columns.
        color: the column that colours the points; can be set.
        selection: labels of the rows that are selected; can be set, also to a result or a boolean Series.
        value: the selected rows of `view`.
        query: whose neighbours are ringed; can be set, like `by` and `k`. The row itself is ringed first, if it is one.
        where: the filter: hides the rows that don't satisfy it, and no neighbour is among them; can be set.
        highlight: labels of the rows that are ringed, the nearest first; can be set, also to a result.
        missed: the edges; can be set.
        hovered: the label of the row under the pointer.
        scatter: jupyter-scatter's widget.
        code: the line of Python that gives `value` again, or draws the map.

    Raises:
        NotFoundError: no such column; rows that are not on the map.
        SchemaError: a column of lists and the like to colour by.
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

    _esm = front_end("marks", "map")
    _css = look() + (STATIC / "map.css").read_text("utf-8")

    color = t.Unicode().tag(sync=True)
    selection = Labels()
    value = t.Instance(pd.DataFrame)
    hovered = t.Any(allow_none=True)
    scatter = anywidget.WidgetTrait().tag(sync=True)
    _name = t.Unicode().tag(sync=True)
    _columns: t.List[Any] = t.List().tag(sync=True)
    _legend = t.Dict().tag(sync=True)
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
        query: Any = "",
        by: str | None = None,
        k: int = 10,
        encoder: Any = None,
        name: str = "view",
        data_name: str = "",
        encoder_name: str = "encoder",
        progress: bool | None = None,
    ) -> None:
        # as the box for it begins; `project` would refuse a text that is no filter
        blank = isinstance(where, str) and not where.strip()
        laying = Laying(on, None if blank else where, n, method, metric, seed, progress)
        self.view = mapped(data, view, columns, laying)
        self._called = name
        by_name = {str(one): one for one in self.view.columns if one not in PLACES}
        self._links: list[Link] = []
        plain = {name: str(self.view[one].dtype) for name, one in by_name.items() if _colourable(self.view[one])}
        behind = Behind.of(data, laying, encoder=encoder, name=data_name, encoder_name=encoder_name)
        self._lies_over(behind.beside(self.view, name), by_name)
        chosen = self._column("" if color is None else str(color))
        painted = shades(chosen, len(self.view))
        self._points = Scattered(self.view[["x", "y"]].to_numpy(np.float32), painted, height, size)
        text, read = typed(query)
        super().__init__(
            query=text,
            by=by or read or (behind.ways or [("row", "")])[0][0],
            k=k,
            where="" if isinstance(where, pd.Series) else where_typed(where),
            scatter=self._points.widget,
            color="" if color is None else str(color),
            value=self.view.iloc[:0],
            _columns=list(plain),
            _choices={"ways": behind.ways, "columns": [*_ids(self.view, plain), *plain.items()]},
            _legend=painted.legend,
            _name=f"Map of {len(self.view):,} rows",
        )
        self._begin()
        self._mark(highlight, missed)

    def _begin(self) -> None:
        self.observe(self._recolour, "color")
        self.observe(self._select, "selection")
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
        # not by `in`, to which a part of a label of several parts, or of a date, is enough
        places = places_of(self.view.index, labels)
        if lost := [label for label, at in zip(labels, places, strict=True) if at < 0]:
            raise NotFoundError(f"not on the map: {some(lost)}")
        # as the map has them, whatever they were given as
        return list(dict.fromkeys(self.view.index.take(places)))

    def _column(self, name: str) -> pd.Series | None:
        if not name:
            return None
        if name not in self._by_name:
            raise NotFoundError.of("column", name, self._by_name)
        values: pd.Series = self.view[self._by_name[name]]
        if not _colourable(values):
            raise SchemaError(f"the values of column {name!r} can't be told apart by colours: choose another")
        return values

    def _recolour(self, _: Any) -> None:
        painted = shades(self._column(self.color), len(self.view))
        self._points.recolour(painted)
        self._legend = painted.legend
        self._say()

    def _select(self, _: Any) -> None:
        places = np.unique(places_of(self.view.index, self.selection))
        # told to jupyter-scatter unless it told us: each change of its trait goes to the page and back
        if not np.array_equal(places, self._points.selected):
            self._points.select(places)
        self.value = self.view.loc[self.selection]
        self._chosen = len(self.selection)
        self._say()

    def _selected_there(self) -> None:
        """Take over what was selected in the page."""
        places = self._points.selected
        if not np.array_equal(places, np.unique(places_of(self.view.index, self.selection))):
            self.selection = self.view.index.take(places)
            for widget in (self, *(link.explorer for link in self._links if not link.ended)):
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
        # column by column: a row of a frame of numbers alone would make floats of all of them
        told = [(name, cell(self.view[self._by_name[name]].iloc[place])) for name in names]
        return [(name, text if len(text) <= 160 else text[:159] + "…") for name, text in told if text]  # noqa: PLR2004

    def refuse(self, error: Exception) -> None:
        """Show what could not be done."""
        self._tell(error=error, status=self.status, busy=self.busy)

    def _say(self) -> None:
        """Say what is shown, and give the line of code."""
        count, kept = len(self.view), int(self._mask.sum())
        rows = f"{count:,} rows" if kept == count else f"{kept:,} of {count:,} rows"
        chosen = f"{self._chosen:,} selected" if self._chosen else ""
        error = None if self._answer is None or not self.query.strip() else self._answer[1].error
        with self._as_it_stands(), self.hold_sync():
            self._tell(
                error=None if isinstance(error, FilterError) else error,
                status=", ".join(filter(None, [rows, *self._marked.values(), chosen])),
                busy=self._latest.busy,
            )
            self.set_trait("code", self._selecting() if self.selection else self._drawing())

    def _selecting(self) -> str:
        if len(self.selection) <= LISTED:
            return f"{self._called}.loc[{literal(self.selection)}]"
        return f"{self._called}.loc[map.selection]  # {len(self.selection):,} rows"

    def _drawing(self) -> str:
        given = [self._called, *([repr(self._by_name[self.color])] if self.color else [])]
        labels = self._held("highlight")
        given += [f"highlight={self._searched or literal(labels[:LISTED])}"] if labels else []
        given += ["missed=edges"] if self.missed is not None else []
        given += [f"where={self.where!r}"] if self.where.strip() and not self.where_error else []
        return f"dkv.plot_map({', '.join(given)})"

    def _still(self) -> Still:
        told = f"<Map: {self.status}{f'; colour {self.color}' if self.color else ''}>"
        shown, values = self.view[self._mask], self._column(self.color)
        return Still(told, png=drawn(shown, values, self.highlight, self.missed))


def _colourable(values: pd.Series) -> bool:
    """Tell whether values can be told apart: no lists, no vectors."""
    some_value = values.dropna().head(1)
    return not len(some_value) or pd.api.types.is_hashable(some_value.iloc[0])


def _ids(view: pd.DataFrame, columns: Collection[str]) -> list[tuple[str, str]]:
    """Name the levels of the index, which a filter may read too."""
    return [(str(name), "id") for name in view.index.names if name is not None and str(name) not in columns]
