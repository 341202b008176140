"""Widgets for notebooks: look, ask, decide. Everything that a widget does has its line of code.

What needs the extra `widgets` is loaded when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dkvector.errors import MissingExtraError

if TYPE_CHECKING:
    from dkvector.widgets.evaluator import Evaluator
    from dkvector.widgets.explorer import Explorer
    from dkvector.widgets.map import Map

__all__ = ["Evaluator", "Explorer", "Map"]

_WIDGETS = {
    "Evaluator": "dkvector.widgets.evaluator",
    "Explorer": "dkvector.widgets.explorer",
    "Map": "dkvector.widgets.map",
}


def __getattr__(name: str) -> Any:
    if name not in _WIDGETS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_WIDGETS[name]), name)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("dkvector"):
            raise
        raise MissingExtraError.of(exc.name, "widgets") from exc


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
