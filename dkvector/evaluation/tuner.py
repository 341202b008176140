"""How the cheapest setting is looked for.

Recall grows with a knob, so that the least value which suffices is found by bisection, in four or five measurements of
each index: fewer than a search that does not know this would need to begin. Beyond that there is only the choice of the
index, of which there are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from dkvector.evaluation import measures
from dkvector.evaluation.asked import Queries
from dkvector.evaluation.building import Built, built
from dkvector.evaluation.checkpoint import Outcome
from dkvector.evaluation.configs import config_of
from dkvector.evaluation.report import as_frames
from dkvector.evaluation.run import Ground, run
from dkvector.evaluation.settings import Build, Setting, told
from dkvector.evaluation.subject import Subject
from dkvector.evaluation.targets import Target
from dkvector.evaluation.timing import Timing
from dkvector.evaluation.truth import Truth
from dkvector.evaluation.tuned import Tuned
from dkvector.filters import Filter
from dkvector.indexes import HNSW, IVF, Flat, IndexSpec, Tuning

# Values of a knob, each about √2 times the one before.
EFFORTS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
SURE = 2.33  # standard deviations that recall must be above the target: one time in a hundred that is not enough
FORMS: tuple[IndexSpec, ...] = (
    Flat(),
    IVF(),
    IVF(quantization="float16"),
    IVF(quantization="int8"),
    HNSW(m=16),
    HNSW(m=32),
)
CHEAP = {"qps": ("qps", False), "memory": ("index_bytes", True), "build": ("build_s", True)}


@dataclass(frozen=True)
class Trial:
    """One measurement.

    Attributes:
        build: the index as it was asked for.
        spec: the same, nothing left open.
        tuning: the knobs.
        part: 0 for the queries that settings are chosen by, 1 for those held out.
        outcome: the figures.
        sure: recall, less what chance may add to it.
    """

    build: Build
    spec: IndexSpec
    tuning: Tuning
    part: int
    outcome: Outcome
    sure: float

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of the whole."""
        figures: dict[str, Any] = self.outcome["run"]
        return figures


@dataclass
class Tuner:
    """Measures settings, and chooses one.

    Attributes:
        subject: the rows.
        parts: the queries that settings are chosen by, and those held out.
        truths: their true neighbours.
        where: a filter of every search.
        target: what must be reached.
        timing: how time is taken.
        columns: that the filter reads.
        trials: what was measured.
        proofs: place of a trial → that of the same setting on the queries held out.
    """

    subject: Subject
    parts: list[Queries]
    truths: list[Truth]
    where: Filter | None
    target: Target
    timing: Timing
    columns: list[str]
    trials: list[Trial] = field(default_factory=list)
    proofs: dict[int, Trial] = field(default_factory=dict)

    def try_out(self, build: Build) -> None:
        """Find the least effort of an index that finds enough, and measure it, also on the queries held out."""
        try:
            with built(build, self.subject, self.columns) as made:
                self._of_store(build, made)
        except Exception as exc:  # noqa: BLE001 - a backend that is not there must not end the search
            figures = {**self._head(build, build.spec or Flat(), Tuning()), "error": f"{type(exc).__name__}: {exc}"}
            failed = {"run": figures, "queries": {}}
            self.trials.append(Trial(build, build.spec or Flat(), Tuning(), 0, failed, float("-inf")))

    def _of_store(self, build: Build, made: Built) -> None:
        efforts = _efforts(made.spec, self.truths[0].k)
        # the most thorough is never asked here: it is what is left where nothing less suffices
        low, high = 0, len(efforts) - 1
        while low < high:
            middle = (low + high) // 2
            if self._measured(build, made, efforts[middle], timed=False).sure >= self.target.recall:
                high = middle
            else:
                low = middle + 1
        # once more, now by the clock
        chosen = self._measured(build, made, efforts[low], timed=True)
        if chosen.sure >= self.target.recall:
            at = len(self.trials) - 1
            self.proofs[at] = self._measured(build, made, efforts[low], timed=True, part=1)

    def _measured(self, build: Build, made: Built, tuning: Tuning, *, timed: bool, part: int = 0) -> Trial:
        """Measure a setting; without the clock where only recall is looked for, and a batch is answered likewise."""
        # under a filter a batch may go by another plan than its queries one by one
        timing = self.timing if timed else replace(self.timing, repeats=0 if self.where is None else 1, warmup=0)
        setting = Setting(tuning, self.truths[0].k, str(self.where or ""), self.where)
        ground = Ground(self.subject.rows, self.parts[part], self.subject.metric)
        outcome = run(made, setting, ground, self.truths[part], timing)
        figures = {**self._head(build, made.spec, tuning), **made.facts, **outcome["run"], "error": ""}
        recalls = np.array(outcome["queries"]["recall"], np.float64)
        # as many queries as will prove it: the fewer they are, the more their mean may fall short by chance
        sure = measures.lower_bound(recalls, len(self.parts[1]), SURE)
        trial = Trial(build, made.spec, tuning, part, {**outcome, "run": figures}, sure)
        self.trials.append(trial)
        return trial

    def _head(self, build: Build, spec: IndexSpec, tuning: Tuning) -> dict[str, Any]:
        truth = self.truths[0]
        asked = {"backend": build.label, "index": told(spec), "tuning": told(tuning), "k": truth.k}
        counts = {"rows": truth.rows, "matching": truth.matching, "seed": self.timing.seed}
        return {**asked, "where": "" if self.where is None else str(self.where), **counts}

    def result(self, prefer: str) -> Tuned:
        """Choose the cheapest of the settings that reach the target; the nearest to it where none does."""
        column, least = CHEAP[prefer]
        runs = self._frame()
        good = [at for at in self.proofs if not self.target.lacks(self.trials[at].figures, recall=self.trials[at].sure)]
        if not good:
            return Tuned(runs, self.target, None, None, {}, self._nearest(runs))
        ranked = runs.loc[good].sort_values([column, "qps"], ascending=[least, False], kind="stable")
        chosen, proof = self.trials[ranked.index[0]], self.proofs[ranked.index[0]]
        lacks = self.target.lacks(proof.figures, recall=proof.figures["recall"])
        row = runs.iloc[next(at for at, one in enumerate(self.trials) if one is proof)]
        config = config_of(chosen.build.target, chosen.spec, chosen.tuning, self.subject)
        told_of = "" if not lacks else f"on the queries held out it misses {', '.join(lacks)}"
        return Tuned(runs, self.target, chosen.spec, chosen.tuning, config, told_of, row)

    def _frame(self) -> pd.DataFrame:
        runs, _ = as_frames([one.outcome for one in self.trials], self.parts[0], ())
        names = {0: "chosen by", 1: "held out"}
        runs.insert(3, "queries", pd.Series([names[one.part] for one in self.trials], index=runs.index, dtype="str"))
        runs.insert(list(runs.columns).index("recall") + 1, "recall_sure", [one.sure for one in self.trials])
        return runs

    def _nearest(self, runs: pd.DataFrame) -> str:
        """Say what keeps the settings from the target."""
        if not self.proofs:
            best = runs["recall_sure"].max()
            return f"no setting is sure of recall {self.target.recall}: the best is of {best:.3f}"
        said = []
        for at in self.proofs:
            one = self.trials[at]
            lacks = self.target.lacks(one.figures, recall=one.sure)
            values = ", ".join(f"{name} {one.figures.get(name, nan):,.4g}" for name in lacks)
            said.append(f"{one.figures['index']} {one.figures['tuning']}: {values}".replace(" :", ":"))
        return "settings that find enough miss something else: " + "; ".join(said)


def _efforts(spec: IndexSpec, k: int) -> Sequence[Tuning]:
    """Give the knobs of an index, from the quickest to the most thorough."""
    if isinstance(spec, HNSW):
        return [Tuning(ef_search=effort) for effort in EFFORTS if effort >= k] or [Tuning(ef_search=k)]
    if isinstance(spec, IVF):
        lists = 1 if spec.lists == "auto" else spec.lists
        return [Tuning(probes=probes) for probes in (*(one for one in PROBES if one < lists), lists)]
    return [Tuning()]
