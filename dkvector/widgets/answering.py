"""What comes of a question: rows, those of a run beside it, or what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import pandas as pd

from dkvector.errors import SchemaError
from dkvector.widgets.question import Question


class Asking(Protocol):
    """What can be asked: a store, or a frame."""

    @property
    def ran(self) -> str:
        """The plan of the last search."""

    def frame(self, question: Question) -> pd.DataFrame:
        """Answer a question."""

    def code(self, question: Question) -> str:
        """Give the line of Python that answers a question."""

    def label(self, text: str) -> Any:
        """Read the label of a row as it is typed."""


class Asked(NamedTuple):
    """A question, and what its answer is compared with: nothing, "exact" or "other"."""

    question: Question
    compare: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a question.

    Attributes:
        frame: the rows found.
        reference: those of the run beside it.
        error: what went wrong instead.
        told: what ran, in words.
    """

    frame: pd.DataFrame | None = None
    reference: pd.DataFrame | None = None
    error: Exception | None = None
    told: str = ""


@dataclass(frozen=True)
class Answers:
    """Answers questions, in whatever thread; nothing is raised.

    Args:
        asker: what is asked.
        other: a second store.
    """

    asker: Asking
    other: Asking | None = None

    def __call__(self, asked: Asked) -> Outcome:
        """Answer a question."""
        try:
            return self._outcome(asked)
        except Exception as error:  # noqa: BLE001 - it is shown where it was asked
            return Outcome(error=error)

    def _outcome(self, asked: Asked) -> Outcome:
        began = perf_counter()
        frame = self.asker.frame(asked.question)
        took, ran = perf_counter() - began, self.asker.ran
        told = [
            f"{len(frame):,} {'row' if len(frame) == 1 else 'rows'}",
            *([ran] if ran else []),
            f"{1000 * took:.0f} ms",
        ]
        reference = self._reference(asked)
        if reference is not None:
            told.append(f"{len(frame.index.intersection(reference.index))} of {len(reference):,} beside")
        return Outcome(frame, reference, told=", ".join(told))

    def _reference(self, asked: Asked) -> pd.DataFrame | None:
        if not asked.compare:
            return None
        if asked.compare == "exact":
            return self.asker.frame(replace(asked.question, tuning={"exact": True}))
        if self.other is None:
            raise SchemaError("there is no second store: Explorer(store, against=…) takes one")
        return self.other.frame(asked.question)
