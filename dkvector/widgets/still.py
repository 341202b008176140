"""What stands in a widget's place where no kernel runs: on GitHub, in a printed or merely opened notebook."""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dkvector import _html, plotting
from dkvector.errors import MissingExtraError, SchemaError
from dkvector.evaluation.report import Evaluation
from dkvector.widgets.page import page
from dkvector.widgets.runs import drawn

WIDE = 160  # characters of a cell
MANY = 20  # rows of a table


@dataclass(frozen=True)
class Still:
    """A widget as it stands.

    Attributes:
        text: in a line.
        html: as a table, or whatever needs no script.
        png: as a picture; it is shown where there is no `html`.
    """

    text: str
    html: str = ""
    png: bytes = b""

    @property
    def mimebundle(self) -> dict[str, Any]:
        """What a notebook stores: a picture as text, as in every notebook."""
        html = {"text/html": self.html} if self.html else {}
        png = {"image/png": base64.b64encode(self.png).decode("ascii")} if self.png else {}
        return {"text/plain": self.text, **html, **png}


def picture(figure: Any, dots: int = 110) -> bytes:
    """Draw a matplotlib figure as PNG, and let go of it.

    Args:
        figure: the figure.
        dots: per inch.
    """
    from matplotlib import pyplot as plt  # noqa: PLC0415 - an extra

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dots, bbox_inches="tight")
    plt.close(figure)
    return file.getvalue()


def result(title: str, code: str, frame: pd.DataFrame | None, problem: str = "") -> Still:
    """Show a result as a table that needs nothing, and in a line."""
    parts = [_html.heading(title, code)]
    if problem:
        parts.append(_html.heading("", problem))
    if frame is not None and len(frame):
        parts.append(_table(page(frame)))
    found = "" if frame is None else f"; {len(frame):,} {'row' if len(frame) == 1 else 'rows'}"
    return Still(f"<{title}: {problem or code or 'nothing asked'}{'' if problem else found}>", _html.block(*parts))


def evaluation(code: str, found: Evaluation | None, y: str = "qps") -> Still:
    """Show the runs of an evaluation as a picture, where matplotlib is installed, and a table."""
    if found is None:
        return Still(f"<Evaluator: {code or 'nothing asked'}>", _html.block(_html.heading("Evaluator", code)))
    parts = [_html.heading("Evaluator", code)]
    with suppress(MissingExtraError, SchemaError):
        shown = base64.b64encode(picture(plotting.plot_frontier(found.runs, y=y).get_figure())).decode("ascii")
        parts.append(
            f'<img alt="recall against queries a second" style="max-width: 720px" src="data:image/png;base64,{shown}">'
        )
    return Still(f"<Evaluator: {code}; {len(found.runs)} runs>", _html.block(*parts, _runs(drawn(found, y))))


def _runs(shown: dict[str, Any]) -> str:
    names = ["run", *shown["heads"]]
    rows = [[str(row["run"]), *row["cells"][:-1], row["cells"][-1] or row["error"]] for row in shown["rows"]]
    return _html.table(names, rows)


def _table(shown: dict[str, Any]) -> str:
    names = ["", "rank", "score", *(one["name"] for one in shown["columns"])]
    rows = [
        [row["label"], str(row["rank"]), row["score"], *(_short(cell) for cell in row["cells"])]
        for row in shown["rows"][:MANY]
    ]
    return _html.table(names, rows)


def _short(text: str) -> str:
    return text if len(text) <= WIDE else text[: WIDE - 1] + "…"
