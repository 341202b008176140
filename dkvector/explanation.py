"""What a search really did, in words and figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dkvector import _html
from dkvector.verified import Verified


@dataclass(frozen=True)
class Explanation:
    """What a search really did.

    Attributes:
        backend: the engine.
        field: the vector field.
        metric: what the distances are measured in.
        plan: in words: "exact", "hnsw", "exact over the filtered rows" …
        k: neighbours asked for, of each query.
        queries: how many queries.
        rows: rows in the store; None where the engine was not asked.
        matching: rows that satisfy `where`; all of them without one, None where the engine was not asked.
        returned: hits in all.
        shortfall: hits that are missing although enough rows match; 0 unless the engine could not help it.
        native: what the engine was told: parameters, SQL or query DSL.
        verified: what a sample of the queries, asked again exactly, tells of recall; None where none was.
    """

    backend: str
    field: str
    metric: str
    plan: str
    k: int
    queries: int
    rows: int | None
    matching: int | None = None
    returned: int = 0
    shortfall: int = 0
    native: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    verified: Verified | None = None

    def without_own(self, k: int, returned: int) -> Explanation:
        """Tell of the same search once each query's own row was left out of its k + 1 hits."""
        missing = min(self.shortfall, self.queries * k - returned)
        return dataclasses.replace(self, k=k, returned=returned, shortfall=missing)

    @property
    def told(self) -> dict[str, str]:
        """What there is to tell, in words, heading → text."""
        matching = "" if self.matching is None else f", {self.matching:,} match"
        return {
            "field": f"{self.field} by {self.metric}",
            "rows": f"{'not counted' if self.rows is None else f'{self.rows:,}'}{matching}",
            "asked": f"{self.k} neighbours of {self.queries:,} {'query' if self.queries == 1 else 'queries'}",
            "returned": f"{self.returned:,}" + (f", {self.shortfall:,} short" if self.shortfall else ""),
            **({} if self.verified is None else {"verified": str(self.verified)}),
            **{str(name): str(value) for name, value in self.native.items()},
        }

    def __str__(self) -> str:
        return "\n".join(
            [f"{self.backend}: {self.plan}", *(f"  {name:<9} {value}" for name, value in self.told.items())]
        )

    def _repr_html_(self) -> str:
        return _html.facts(f"{self.backend}: {self.plan}", self.told)
