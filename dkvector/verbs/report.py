"""What `df.vec.check` found: readable as text, in a notebook, and as a tidy frame."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Literal

import pandas as pd

from dkvector.errors import NotFoundError, some

Severity = Literal["error", "warning", "info"]

WIDTH = 100
_MARKS = {"error": "✗", "warning": "!", "info": "·"}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        check: its name.
        severity: "error" stops other work, "warning" makes answers worse, "info" is worth to know.
        message: what was measured, and what it means.
        rows: labels of the rows it is about; none where it is about all.
        fix: Python code that mends the frame called `df`, where `np` is NumPy and `dkv` is dkvector; "" where none is
            known to help.
    """

    check: str
    severity: Severity
    message: str
    rows: pd.Index
    fix: str = ""


@dataclass(frozen=True)
class Report:
    """All that was found.

    Attributes:
        title: which vectors were looked at.
        findings: the worst first.
    """

    title: str
    findings: tuple[Finding, ...]

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __contains__(self, check: object) -> bool:
        return any(finding.check == check for finding in self.findings)

    def __getitem__(self, check: str) -> Finding:
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise NotFoundError.of("finding", check, [finding.check for finding in self.findings])

    def to_frame(self) -> pd.DataFrame:
        """Give a row for each finding: `check`, `severity`, `rows` (how many; 0 for all), `message` and `fix`."""
        columns = ["check", "severity", "rows", "message", "fix"]
        values = [(one.check, one.severity, len(one.rows), one.message, one.fix) for one in self.findings]
        return pd.DataFrame(values, columns=columns).astype(
            {name: "int64" if name == "rows" else "str" for name in columns}
        )

    def __str__(self) -> str:
        return "\n".join([f"{self.title}: {self._count}", *map(_text, self.findings)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(map(_html, self.findings))
        head = "<tr><th>check</th><th>severity</th><th>rows</th><th>what was found</th><th>fix</th></tr>"
        table = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>" if rows else ""
        return f"<div><p><b>{escape(self.title)}</b>: {self._count}</p>{table}</div>"

    @property
    def _count(self) -> str:
        count = len(self.findings)
        return f"{count or 'no'} {'finding' if count == 1 else 'findings'}"


def _text(finding: Finding) -> str:
    mark, labels = _MARKS[finding.severity], f" At {some(finding.rows)}." if len(finding.rows) else ""
    told = textwrap.fill(finding.message + labels, WIDTH, initial_indent="    ", subsequent_indent="    ")
    fix = textwrap.indent(finding.fix, " " * 8) if finding.fix else ""
    return "\n".join(part for part in (f"{mark} {finding.check} ({finding.severity})", told, fix) if part)


def _html(finding: Finding) -> str:
    rows = escape(some(finding.rows)) if len(finding.rows) else "all"
    cells = [escape(finding.check), finding.severity, rows, escape(finding.message)]
    code = f"<pre>{escape(finding.fix)}</pre>" if finding.fix else ""
    style = ' style="text-align: left; vertical-align: top"'
    return f"<tr>{''.join(f'<td{style}>{cell}</td>' for cell in [*cells, code])}</tr>"
