"""What is shown of a map's rows, and what lies over them: the neighbours that are asked for, rings and edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import traitlets as t

from dkvector.errors import FilterError, SchemaError
from dkvector.frames import matching
from dkvector.widgets.answering import Asked, Outcome
from dkvector.widgets.asks import Asks
from dkvector.widgets.base import SettledLabels
from dkvector.widgets.behind import Behind
from dkvector.widgets.marks import Shown, edges, places_of, rings
from dkvector.widgets.question import Question


class Marked(Asks):
    """A map whose rows are ringed where they were found, and hidden where they don't satisfy the filter.

    Attributes:
        view: the map.
        highlight: labels of the rows that are ringed.
        missed: edges, of which those that are not found are drawn.
    """

    view: pd.DataFrame
    highlight = SettledLabels()
    missed = t.Instance(pd.DataFrame, allow_none=True)
    _marked = t.Dict().tag(sync=True)  # what the legend says of rings and lines
    _rings: t.List[Any] = t.List().tag(sync=True)  # (place, name)
    _edges = t.Bytes().tag(sync=True)  # pairs of places, int32
    _kept = t.Any().tag(sync=True)  # places of the rows that are shown, uint32; None for all

    def _lies_over(self, behind: Behind, by_name: Mapping[str, Any]) -> None:
        """Tell what is asked, and the columns of the map; first of all."""
        self._behind, self._by_name = behind, by_name
        self._mask: Shown = np.ones(len(self.view), bool)
        self._searched = ""  # the code of the search whose answer is ringed
        self._own: list[Any] = []  # the row that it asked about
        self._taking = False
        self._filtered, self._problem = "", ""  # the filter that was read last, and what is wrong with it
        self._asks(behind, lambda: self.view.index)

    def _mark(self, highlight: Any, missed: pd.DataFrame | None) -> None:
        """Mark what is marked from the beginning, then follow every change."""
        self.observe(self._ring, "highlight")
        self.observe(self._connect, "missed")
        self.highlight, self.missed = highlight, missed
        self._follow(("query", "by", "k", "where"))

    def _say(self) -> None:
        """Say what is shown."""
        raise NotImplementedError

    @property
    def question(self) -> Question:
        """What is asked, as it stands."""
        by: Any = self.by
        return self._behind.question(self.query, by, self.k, self.where)

    @t.validate("missed")
    def _are_edges(self, proposal: Any) -> pd.DataFrame | None:
        missed: pd.DataFrame | None = proposal["value"]
        if missed is not None and not {"query", "found"} <= set(missed.columns):
            raise SchemaError("missed takes the edges that dkv.ann_edges gives")
        return missed

    def _where_problem(self) -> str:
        """Tell what is wrong with the filter; one that was read already hides no other rows."""
        if self._filtered != self.where:
            self._filtered, self._problem = self.where, self._hide()
        return self._problem

    def _hide(self) -> str:
        """Hide the rows that don't satisfy the filter; or tell what is wrong with it, and hide what was hidden."""
        try:
            mask = matching(self.view[list(self._by_name.values())], self.where.strip() or None)
        except FilterError as error:
            return str(error)
        mask = np.ones(len(self.view), bool) if mask is None else mask
        if not np.array_equal(mask, self._mask):
            self._mask = mask
            self._kept = None if mask.all() else np.flatnonzero(mask).astype(np.uint32).tobytes()
            self._draw()
            self._connect(None)
        return ""

    def _take(self, asked: Asked, outcome: Outcome) -> None:
        """Ring what was found; or nothing, where what is ringed was found and nothing is asked any more."""
        # what was ringed by hand is no answer, so that a question which is taken back leaves it
        if outcome.frame is None and not self._searched:
            return
        found = outcome.frame is not None
        self._searched = self._behind.code(asked.question) if found else ""
        self._own = self._behind.own(asked.question) if found else []
        self._taking = True
        try:
            self.highlight = [*self._own, *(() if outcome.frame is None else outcome.frame.index)]
        finally:
            self._taking = False

    def _show(self, asked: Asked, outcome: Outcome) -> None:
        super()._show(asked, outcome)
        self._say()

    def _ring(self, _: Any) -> None:
        """Ring the rows; those that are set by hand take the place of what was asked."""
        if not self._taking:
            self._latest.forget()
            self._searched, self._own = "", []
        self._draw()

    def _draw(self) -> None:
        shown = self._mask.copy()
        own = places_of(self.view.index, self._own)
        shown[own[own >= 0]] = True  # the row that is asked about may be any
        self._rings, told = rings(self.view.index, self._held("highlight") or [], shown)
        self._marked = {**self._marked, "rings": told}
        self._say()

    def _connect(self, _: Any) -> None:
        self._edges, told = edges(self.view.index, self.missed, self._mask)
        self._marked = {**self._marked, "edges": told}
        self._say()
