"""The vectors that `check` looks at, and what several checks need to know of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from dkvector.backends._topk import Nearest, Positions
from dkvector.metrics import DistanceMetric, Floats
from dkvector.verbs._ground import Ground, ground
from dkvector.verbs.report import Finding, Severity

NEIGHBOURS = 10


@dataclass(frozen=True)
class Subject:
    """The vectors that are looked at.

    Attributes:
        frame: the whole frame.
        name: the vector column.
        metric: what they will be measured by.
        sample: rows to compare with each other, at most.
        seed: of the choice of these rows.
        progress: show a bar.
    """

    frame: pd.DataFrame
    name: Any
    metric: DistanceMetric
    sample: int
    seed: int
    progress: bool | None

    @cached_property
    def rows(self) -> Ground:
        """The rows whose vectors can be used."""
        return ground(self.frame, self.name, self.metric, on_bad="drop")

    @cached_property
    def norms(self) -> Floats:
        """Lengths of the vectors, `(n,)`."""
        return np.sqrt(self.rows.block.squared)

    @cached_property
    def places(self) -> Positions:
        """Which of the rows are compared with each other, ascending."""
        return self.draw(self.sample)

    def draw(self, most: int) -> Positions:
        """Draw rows by chance; all where there are no more."""
        count = len(self.rows)
        if count <= most:
            return np.arange(count)
        return np.sort(np.random.default_rng(self.seed).choice(count, most, replace=False))

    @cached_property
    def few(self) -> Ground:
        """The rows that are compared with each other."""
        return self.rows.some(self.places)

    @cached_property
    def near(self) -> Nearest:
        """The neighbours of these few among themselves."""
        return self.few.neighbors(NEIGHBOURS, self.progress)

    @property
    def column(self) -> str:
        """The column, as code."""
        if isinstance(self.name, str) or type(self.name) is int:
            return f"df[{self.name!r}]"
        return f"df[df.columns[{list(self.frame.columns).index(self.name)}]]"

    @property
    def by(self) -> DistanceMetric:
        """The metric under which rows are duplicates: by inner product none is nearest to itself."""
        return DistanceMetric.COSINE if self.metric is DistanceMetric.DOT_PRODUCT else self.metric

    def arguments(self, metric: DistanceMetric) -> str:
        """Give the arguments with which another verb looks at the same vectors, as code."""
        return f"on={self.column[3:-1]}" + ("" if metric is DistanceMetric.COSINE else f", metric={metric.value!r}")

    @cached_property
    def mend(self) -> str:
        """Code that leaves out rows whose vectors can't be used: without it no other fix could read the column."""
        if self.rows.kept is None:
            return ""
        # lengths whose squares float32 holds with all their digits
        lengths = {DistanceMetric.COSINE: ".between(1e-14, 1e19)", DistanceMetric.EUCLIDEAN: " < 6e18"}
        bounds = lengths.get(self.metric, " < 1e19")
        return f"df = df[{self.column}.vec.norms{bounds}].copy()\n"

    @property
    def compared(self) -> str:
        """Say how many rows were compared, where it was not all."""
        return "" if self.few is self.rows else f" (among {len(self.few):,} rows drawn by chance)"

    def finding(
        self, check: str, severity: Severity, message: str, fix: str = "", at: Positions | None = None
    ) -> Finding:
        """Put a finding together; `at` are the usable rows it is about."""
        labels = self.rows.frame.index.take(np.empty(0, np.intp) if at is None else at)
        return Finding(check, severity, message, labels, self.mend + fix if fix else "")
