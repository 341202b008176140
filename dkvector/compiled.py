"""What a search would send to an engine, without having been sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from dkvector import _html

_SHOWN = 3  # numbers of a vector that are shown


@dataclass(frozen=True)
class Statement:
    """One question to an engine.

    Attributes:
        plan: how it would be answered, in words.
        sent: SQL, a request with its query DSL as JSON, or what an engine in this process would do.
        parameters: values that travel beside SQL, in order; the query vectors `(d,)` or `(q, d)` are the first of them,
            and of query DSL, where they are shown by their length only, the only one.
        leg: "vector", the name of the field where several are searched, or "text".
    """

    plan: str
    sent: str
    parameters: tuple[Any, ...] = ()
    leg: str = "vector"

    def called(self, leg: str) -> Statement:
        """Give it the name of a leg."""
        return replace(self, leg=leg)

    def __str__(self) -> str:
        shown = [f"  ${at} = {_brief(value)}" for at, value in enumerate(self.parameters, 1)]
        return "\n".join([f"{self.leg}: {self.plan}", *(f"  {line}" for line in self.sent.splitlines()), *shown])


@dataclass(frozen=True)
class Compiled:
    """What a search would send.

    Attributes:
        backend: the engine.
        statements: what is sent first for each leg; a search by groups or for diverse rows goes on from its answer.
    """

    backend: str
    statements: tuple[Statement, ...]

    def to_frame(self) -> pd.DataFrame:
        """Give a frame indexed by leg: plan, sent, parameters."""
        rows = [(one.plan, one.sent, list(one.parameters)) for one in self.statements]
        index = pd.Index([one.leg for one in self.statements], name="leg")
        return pd.DataFrame(rows, columns=["plan", "sent", "parameters"], index=index)

    def __str__(self) -> str:
        return "\n".join([self.backend, *map(str, self.statements)])

    def _repr_html_(self) -> str:
        told = {
            f"{one.leg}: {one.plan}": "\n".join([one.sent, *map(_brief, one.parameters)]) for one in self.statements
        }
        return _html.facts(self.backend, told)


def side_by_side(every: Sequence[Compiled]) -> pd.DataFrame:
    """Put what several stores would send into one frame, indexed by backend and leg."""
    frames = [one.to_frame() for one in every]
    return pd.concat(frames, keys=[one.backend for one in every], names=["backend", "leg"])


def _brief(value: Any) -> str:
    """Show a parameter; of a vector the first numbers."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    first = ", ".join(f"{one:.4g}" for one in value.reshape(-1)[:_SHOWN])
    return f"[{first}, …] of shape {value.shape}"
