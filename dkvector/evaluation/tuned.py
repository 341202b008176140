"""The setting that was found, and what was measured to find it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dkvector import _html, plotting
from dkvector.errors import NotFoundError
from dkvector.evaluation.settings import told
from dkvector.evaluation.targets import Target
from dkvector.indexes import IndexSpec, Tuning

SHOWN = ["backend", "index", "tuning", "queries", "recall", "recall_sure", "p95_ms", "qps", "index_bytes", "build_s"]


@dataclass(frozen=True)
class Tuned:
    """The cheapest setting that meets a target.

    Attributes:
        runs: a row for each measurement, as in an `Evaluation`; `queries` tells whether they were those that the
            setting was chosen by or those held out, `recall_sure` is recall less what chance may add to it.
        target: what was asked for.
        index: the index; None where no setting met the target.
        knobs: the search-time knobs; likewise.
        settings: the config; empty likewise.
        note: what keeps it from the target, where anything does.
        proof: the figures on the queries held out; None where no setting met the target.
    """

    runs: pd.DataFrame
    target: Target
    index: IndexSpec | None
    knobs: Tuning | None
    settings: Mapping[str, Any]
    note: str = ""
    proof: pd.Series | None = None

    @property
    def met(self) -> bool:
        """Whether the target is met on the queries held out."""
        return self.proof is not None and not self.note

    @property
    def config(self) -> dict[str, Any]:
        """What `connect` and `VectorStoreFactory.create` take: the backend, the index, and the tuning of every search.

        Raises:
            NotFoundError: no setting met the target; says what it lacks.
        """
        self._check()
        return dict(self.settings)

    @property
    def spec(self) -> IndexSpec:
        """The index, for `push(…, index=)` and `build_index`.

        Raises:
            NotFoundError: likewise.
        """
        self._check()
        assert self.index is not None  # noqa: S101 - what `_check` made sure of
        return self.index

    @property
    def tuning(self) -> Tuning:
        """The search-time knobs, for `search(…, tuning=)`.

        Raises:
            NotFoundError: likewise.
        """
        self._check()
        assert self.knobs is not None  # noqa: S101 - likewise
        return self.knobs

    def plot(self, ax: Any = None) -> Any:
        """Draw recall against queries a second, of the settings that the clock was run for."""
        return plotting.plot_frontier(self.runs[self.runs["queries"] == "chosen by"].dropna(subset=["qps"]), ax)

    def _check(self) -> None:
        if self.index is None:
            raise NotFoundError(f"{self.note}; `runs` holds all that was measured")

    def __str__(self) -> str:
        if self.index is None or self.knobs is None or self.proof is None:
            return f"not met: {self.note}"
        proof = self.proof
        recall = f"recall {proof['recall']:.3f} ({proof['recall_low']:.3f} to {proof['recall_high']:.3f})"
        price = f"p95 {proof['p95_ms']:.3g} ms, {proof['index_bytes'] / 1e6:.3g} MB, built in {proof['build_s']:.3g} s"
        setting = " ".join(filter(None, (proof["backend"], told(self.index), told(self.knobs))))
        return f"{setting}: {recall}, {price}, on queries held out" + (f"; {self.note}" if self.note else "")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        digits = {"recall": 4, "recall_sure": 4, "p95_ms": 3, "qps": 0, "build_s": 2}
        return _html.block(_html.heading(str(self)), self.runs[SHOWN].round(digits).to_html())
