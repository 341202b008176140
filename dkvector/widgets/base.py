"""What all widgets share: one look, one set of front-end parts, errors, and what stands in their place elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
import traitlets as t

from dkvector.widgets.labels import Labels
from dkvector.widgets.still import Still

STATIC = Path(__file__).parent / "static"


def front_end(*names: str) -> str:
    """Give a widget's module: the parts that all share, and its own. Nothing is fetched, so that it works offline."""
    return "\n".join((STATIC / f"{name}.js").read_text("utf-8") for name in ("parts", *names))


def look() -> str:
    """Give the style of all widgets: in the notebook's own colours, light and dark."""
    return (STATIC / "theme.css").read_text("utf-8")


class Settled(t.TraitType[Any, Any]):
    """A trait that waits, where Python asks for it, for what is being done: so that a cell reads what it caused."""

    def get(self, obj: Any, cls: Any = None) -> Any:
        """Give the value, once all is done."""
        obj.settle()
        return super().get(obj, cls)


class SettledText(Settled, t.Unicode[str, str]):
    """A text of that kind."""


class SettledFrame(Settled, t.Instance[pd.DataFrame | None]):
    """A frame of that kind."""

    def __init__(self) -> None:
        super().__init__(pd.DataFrame, allow_none=True)


class SettledLabels(Settled, Labels):
    """Row labels of that kind."""


class Widget(anywidget.AnyWidget):
    """A widget that has a line of code, tells what goes on and what went wrong, and leaves something to look at.

    Attributes:
        code: the line of Python that does the same.
        error: what went wrong, in words; `run()` raises it.
        status: what went on, in words.
        busy: whether something is being done.
    """

    code = SettledText(read_only=True).tag(sync=True)
    error = SettledText(read_only=True).tag(sync=True)
    status = t.Unicode(read_only=True).tag(sync=True)
    busy = t.Bool(read_only=True).tag(sync=True)
    _noticed = t.Int().tag(sync=True)  # how often the page did something without writing to a trait of ours
    _echoed = t.Int().tag(sync=True)  # it writes this here: marimo runs the cells that read a widget after a write only

    _sending = False

    def settle(self) -> None:
        """Finish what is being done, where it can be finished here and now."""

    def get_state(self, *args: Any, **kwargs: Any) -> Any:
        """Give what the front end shows, as it stands."""
        with self._as_it_stands():
            return super().get_state(*args, **kwargs)

    @contextmanager
    def _as_it_stands(self) -> Iterator[None]:
        """Wait for nothing that is being done: the kernel must stay free."""
        before, self._sending = self._sending, True
        try:
            yield
        finally:
            self._sending = before

    def _held(self, name: str) -> Any:
        """Give a trait as it stands: what a click is about must not wait for what is asked since."""
        return self._trait_values.get(name)

    def notice(self) -> None:
        """Have the page write to us, once what it did is done."""
        self._noticed += 1

    def _tell(self, *, error: Exception | None = None, status: str = "", busy: bool = False) -> None:
        """Say what goes on, and what went wrong."""
        self.set_trait("busy", busy)
        self.set_trait("error", "" if error is None else f"{type(error).__name__}: {error}")
        self.set_trait("status", status)

    def _still(self) -> Still:
        """Give what stands in the widget's place where no kernel runs."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Give the widget, and what stands in its place on GitHub, in a page, in a notebook merely opened."""
        still = self._still()  # first, for it may finish what goes on
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return {**data, **still.mimebundle}, metadata
