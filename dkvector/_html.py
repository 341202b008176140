"""Plain HTML of what a notebook shows: tables in the notebook's own colours, every value as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

_CELL = ' style="text-align: left; vertical-align: top; white-space: pre-wrap"'


def facts(title: str, told: Mapping[str, str]) -> str:
    """Show headings and what there is to say of each.

    Example:
        >>> facts("exact", {"rows": "<3>"}).count("&lt;3&gt;")
        1
    """
    rows = [f"<tr><th{_CELL}>{escape(name)}</th><td{_CELL}>{escape(text)}</td></tr>" for name, text in told.items()]
    return f"<div><strong>{escape(title)}</strong><table><tbody>{''.join(rows)}</tbody></table></div>"


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Show rows under the names of their columns."""
    head = "".join(f"<th{_CELL}>{escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td{_CELL}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
