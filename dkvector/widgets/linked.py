"""A map and an explorer, each of which shows what the other one found or selected."""

from __future__ import annotations

from typing import Any

from dkvector.errors import DkvectorError, SchemaError
from dkvector.filters import Ids

MOST = 1_000  # rows that a filter names


class Link:
    """What the explorer finds is ringed on the map; what the map selects is asked of the explorer.

    Args:
        shown: the `Map`.
        explorer: the `Explorer`.

    Attributes:
        ended: they are tied no longer.
    """

    def __init__(self, shown: Any, explorer: Any) -> None:
        self._map, self.explorer = shown, explorer
        self._before = ""  # the filter that was there before ours
        self._ours = ""
        self.ended = False
        explorer.observe(self._found, "value")
        shown.observe(self._selected, "selection")
        # what each shows already, as if it were found and selected now
        self._found(None)
        if shown.selection:
            self._selected(None)

    def end(self) -> None:
        """Untie them; the filter goes back to what it was."""
        self.explorer.unobserve(self._found, "value")
        self._map.unobserve(self._selected, "selection")
        self.ended = True
        self._filter("")

    def _found(self, _: Any) -> None:
        self._map.highlight = self.explorer.value

    def _selected(self, _: Any) -> None:
        """Ask for rows like the one that is selected, or among those that are."""
        rows = self._map.selection
        if len(rows) == 1 and self.explorer.by == "row":
            with self.explorer.hold_trait_notifications():
                self._filter("")
                self.explorer.query = str(rows[0])
        else:
            self._filter(self._among(rows) if rows else "")

    def _among(self, rows: list[Any]) -> str:
        """Write the filter of some rows; where there can be none, the map says why."""
        try:
            if len(rows) > MOST:
                raise SchemaError(f"a filter names at most {MOST:,} rows, and {len(rows):,} are selected")
            return str(Ids(tuple(rows)))
        except DkvectorError as error:
            self._map.refuse(error)
            return ""

    def _filter(self, ours: str) -> None:
        """Put our filter beside the one that was typed, in place of what we put there before."""
        # what stands there now was typed since, and is what there is to go back to
        if self.explorer.where != self._ours or not self._ours:
            self._before = self.explorer.where
        both = f"({self._before}) and {ours}" if self._before and ours else ours or self._before
        self._ours = both if ours else ""
        self.explorer.where = both
