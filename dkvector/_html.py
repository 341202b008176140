"""Plain HTML of what a notebook shows: tables in the notebook's own colours, every value as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

_LEFT = ' style="text-align: left; vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere"'
_TABLE = ' style="display: inline-table; margin: 0 2em 0.5em 0; vertical-align: top"'


def block(*parts: str) -> str:
    """Put parts of HTML together."""
    return f"<div>{''.join(parts)}</div>"


def heading(title: str, beside: str = "") -> str:
    """Show a title, and less loudly what stands beside it."""
    return f'<p style="margin: 0 0 0.5em"><strong>{escape(title)}</strong>{escape(f" {beside}" if beside else "")}</p>'


def facts(title: str, told: Mapping[str, str]) -> str:
    """Show headings and what there is to say of each.

    Example:
        >>> facts("exact", {"rows": "<3>"}).count("&lt;3&gt;")
        1
    """
    rows = [f"<tr><th{_LEFT}>{escape(name)}</th><td{_LEFT}>{escape(text)}</td></tr>" for name, text in told.items()]
    return block(heading(title), f"<table{_TABLE}><tbody>{''.join(rows)}</tbody></table>")


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Show rows under the names of their columns."""
    head = "".join(f"<th{_LEFT}>{escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td{_LEFT}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table{_TABLE}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
