"""What stands in a widget's place where no kernel runs: on GitHub, in a printed or merely opened notebook."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dkvector import _html
from dkvector.widgets.page import page

WIDE = 160  # characters of a cell


def still_html(title: str, code: str, frame: pd.DataFrame | None, problem: str = "") -> str:
    """Show a result as a table that needs nothing."""
    parts = [_html.heading(title, code)]
    if problem:
        parts.append(_html.heading("", problem))
    if frame is not None and len(frame):
        parts.append(_table(page(frame)))
    return _html.block(*parts)


def still_text(title: str, code: str, frame: pd.DataFrame | None, problem: str = "") -> str:
    """Say the same in a line."""
    found = "" if frame is None else f"; {len(frame):,} rows"
    return f"<{title}: {problem or code or 'nothing asked'}{'' if problem else found}>"


def _table(shown: dict[str, Any]) -> str:
    names = ["", "rank", "score", *(one["name"] for one in shown["columns"])]
    rows = [
        [row["label"], str(row["rank"]), row["score"], *(_short(cell) for cell in row["cells"])]
        for row in shown["rows"][:20]
    ]
    return _html.table(names, rows)


def _short(text: str) -> str:
    return text if len(text) <= WIDE else text[: WIDE - 1] + "…"
