"""What a setting must reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

from dkvector.errors import SchemaError, hint
from dkvector.indexes import as_bytes


@dataclass(frozen=True)
class Target:
    """What a setting must reach.

    Attributes:
        recall: of the true neighbours.
        p95_ms: milliseconds in which 95 of 100 queries are answered, asked one by one; None for any.
        memory: bytes of the index, or a text such as "2GB"; None for any.
        build_s: seconds that the index may take to build; None for any.
    """

    recall: float = 0.95
    p95_ms: float | None = None
    memory: int | str | None = None
    build_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise SchemaError(f"recall must be above 0 and at most 1, not {self.recall!r}")
        if self.memory is not None:
            as_bytes(self.memory)

    @classmethod
    def of(cls, target: Target | Mapping[str, Any] | float) -> Target:
        """Read a target from an instance, a dict, or a recall alone."""
        if isinstance(target, Target):
            return target
        knobs = {"recall": target} if isinstance(target, int | float) else dict(target)
        known = ("recall", "p95_ms", "memory", "build_s")
        if unknown := [name for name in knobs if name not in known]:
            raise SchemaError(f"a target has no {unknown[0]!r}; {hint(str(unknown[0]), known)}")
        return cls(**knobs)

    def lacks(self, run: Mapping[str, Any], *, recall: float) -> list[str]:
        """Name what a run does not reach."""
        limits = {
            "p95_ms": self.p95_ms,
            "index_bytes": None if self.memory is None else as_bytes(self.memory),
            "build_s": self.build_s,
        }
        # what was not measured is not known to be reached: NaN is within no limit
        over = [name for name, limit in limits.items() if limit is not None and not run.get(name, nan) <= limit]
        return [*(["recall"] if recall < self.recall else []), *over]
