"""Every setting measured, a row for each; what fails is a row too, and what is finished is kept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dkvector.environment import versions
from dkvector.evaluation.building import Built, built
from dkvector.evaluation.checkpoint import Checkpoint, Outcome
from dkvector.evaluation.configs import without_password
from dkvector.evaluation.fingerprint import digest
from dkvector.evaluation.run import Ground, run
from dkvector.evaluation.settings import Build, Setting, told, tunings
from dkvector.evaluation.sources import StoreSource
from dkvector.evaluation.subject import Subject
from dkvector.evaluation.timing import Timing
from dkvector.evaluation.truth import Truth
from dkvector.filters import Filter
from dkvector.indexes import IndexSpec, Tuning
from dkvector.progress import bar
from dkvector.registry import read_target

MUCH = 3  # runs from which a progress bar shows by itself


@dataclass
class Bench:
    """All that a run needs, and what the runs gave.

    Attributes:
        subject: the rows.
        ground: what answers are compared with.
        truths: name of a filter → the true neighbours under it.
        asked: each k, with each filter's name and the filter.
        sweep: knobs to try.
        columns: that filters read.
        timing: how time is taken.
        kept: runs that are finished, also earlier.
        outcomes: of this evaluation, in order.
    """

    subject: Subject
    ground: Ground
    truths: dict[str, Truth]
    asked: list[tuple[int, str, Filter | None]]
    sweep: Any
    columns: list[str]
    timing: Timing
    kept: Checkpoint
    outcomes: list[Outcome] = field(default_factory=list)

    def run_all(self, builds: list[Build], progress: bool | None) -> bool:
        """Measure everything; an interrupt ends it, and keeps what is finished.

        Returns:
            Whether it came to the end.
        """
        total = self.total(builds)
        with bar(total, "runs", unit="runs", show=total > MUCH if progress is None else progress) as done:
            try:
                for _ in self.each(builds):
                    done(1)
            except KeyboardInterrupt:
                # with nothing to give it is an interrupt like any other
                if not self.outcomes:
                    raise
                warnings.warn(f"interrupted: these are the {len(self.outcomes)} runs that were finished", stacklevel=4)
                return False
        return True

    def total(self, builds: list[Build]) -> int:
        """Count the runs; an index that a store has already counts as one, for its knobs are not known yet."""
        return sum(1 if build.spec is None else len(self._settings(build.spec)) for build in builds)

    def each(self, builds: list[Build]) -> Iterator[Outcome]:
        """Measure one run after the other."""
        for build in builds:
            for outcome in self._of_build(build):
                self.outcomes.append(outcome)
                yield outcome

    def _settings(self, spec: IndexSpec, own: Tuning | None = None) -> list[Setting]:
        return [
            Setting(tuning, k, name, condition)
            for k, name, condition in self.asked
            for tuning in tunings(spec, self.sweep, own)
        ]

    def _of_build(self, build: Build) -> Iterator[Outcome]:
        """Measure every setting of an index; nothing is built where all of them are known."""
        settings = [] if build.spec is None else self._settings(build.spec)
        known = [self._known(self._key(build, build.spec, one), one) for one in settings]
        if known and all(known):
            yield from (one for one in known if one is not None)
            return
        try:
            with built(build, self.subject, self.columns) as made:
                # a store that was open already tells only now which index it has
                for setting in settings or self._settings(made.spec, made.store.tuning):
                    yield self._of_setting(build, made, setting)
        except Exception as exc:  # noqa: BLE001 - a backend that is not there must not end the others' runs
            plain = [Setting(Tuning(), k, name, condition) for k, name, condition in self.asked]
            for setting in settings or plain:
                yield self._failed(self._head(build.label, build.spec, setting), exc)

    def _of_setting(self, build: Build, made: Built, setting: Setting) -> Outcome:
        # by the index as it was asked for, so that a run is known before anything is built
        key = self._key(build, build.spec or made.spec, setting)
        if (known := self._known(key, setting)) is not None:
            return known
        head = self._head(build.label, made.spec, setting) | made.facts
        truth = self.truths[setting.where].at(setting.k)
        try:
            outcome = run(made, setting, self.ground, truth, self.timing)
        except Exception as exc:  # noqa: BLE001 - likewise
            # not kept: the next time it is tried again
            return self._failed(head, exc)
        outcome = {"run": {**head, **outcome["run"], "error": ""}, "queries": outcome["queries"]}
        self._keep(key, outcome)
        return outcome

    def _known(self, key: str, setting: Setting) -> Outcome | None:
        """Give a run from before, under the name that its filter has now."""
        known = self.kept.known.get(key)
        return known and {**known, "run": {**known["run"], "where": setting.where}}

    def _keep(self, key: str, outcome: Outcome) -> None:
        try:
            self.kept.add(key, outcome)
        except OSError as exc:
            # what was measured is worth more than the file
            warnings.warn(f"a run is not kept, as {self.kept.path} can't be written to: {exc}", stacklevel=2)

    @staticmethod
    def _failed(head: dict[str, Any], exc: Exception) -> Outcome:
        return {"run": {**head, "error": f"{type(exc).__name__}: {exc}"}, "queries": {}}

    def _head(self, label: str, spec: IndexSpec | None, setting: Setting) -> dict[str, Any]:
        """Say what was asked."""
        truth = self.truths[setting.where]
        return {
            "backend": label,
            "index": "" if spec is None else told(spec),
            "tuning": told(setting.tuning),
            "k": setting.k,
            "where": setting.where,
            "rows": truth.rows,
            "matching": truth.matching,
            "selectivity": truth.matching / max(truth.rows, 1),
            "seed": self.timing.seed,
        }

    def _key(self, build: Build, spec: IndexSpec | None, setting: Setting) -> str:
        """Name a run by all that it depends on."""
        # where no run is kept, digesting all rows would be for nothing
        if self.kept.path is None:
            return ""
        asked = (setting.tuning, setting.k, str(setting.filter), self._matching[setting.where])
        return digest(self._content, self._held(build), build.label, _place(build.target), spec, *asked)

    def _held(self, build: Build) -> str:
        """Digest what an open store holds: of several only the first one's rows are those of the subject."""
        if build.store is None:
            return ""
        if build.label not in self._stores:
            source = StoreSource(build.store, self.subject.name, self.subject.metric)
            self._stores[build.label] = source.digested(self.columns)
        return self._stores[build.label]

    @cached_property
    def _stores(self) -> dict[str, str]:
        return {}

    @cached_property
    def _matching(self) -> dict[str, str]:
        """Digest which rows each filter lets through: its text is the same where a column has other values."""
        return {name: digest(self.ground.rows.matching(condition)) for _, name, condition in self.asked}

    @cached_property
    def _content(self) -> str:
        """Digest what all runs depend on: rows, queries, judgements, clocks, and the machine with its engines."""
        rows, asked, judged = self.subject.rows, self.ground.queries, self.ground.relevances
        right = () if judged is None else (judged.query, judged.row, judged.gain)
        owns = [truth.own for truth in self.truths.values()]
        facts = (self.subject.metric, self.timing, sorted(versions().items()))
        return digest(rows.matrix, rows.labels, asked.matrix, asked.labels, *facts, *owns, *right)


def _place(target: Any) -> tuple[Any, ...]:
    """Tell where a store is made: two servers of one kind share a label."""
    if target is None:
        return ()
    name, config = read_target(target)
    # nothing of a password goes into the file, not even digested
    url = {"url": without_password(config["url"])} if "url" in config else {}
    return name, sorted({**config, **url}.items())
