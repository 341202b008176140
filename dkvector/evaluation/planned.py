"""An evaluation that is read and ready: its runs come one after the other, for whoever waits for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from dkvector.counts import as_count
from dkvector.environment import versions
from dkvector.errors import SchemaError
from dkvector.evaluation.asked import Queries
from dkvector.evaluation.bench import Bench
from dkvector.evaluation.checkpoint import Checkpoint, Outcome
from dkvector.evaluation.ground import Wanted, truth_of
from dkvector.evaluation.judged import read_relevances
from dkvector.evaluation.report import Evaluation, as_frames, check_slices
from dkvector.evaluation.run import Ground
from dkvector.evaluation.settings import Build, read_builds, read_wheres, tunings
from dkvector.evaluation.sources import Held, columns_of
from dkvector.evaluation.subject import Subject, read_subject
from dkvector.evaluation.timing import Timing
from dkvector.filters import as_filter
from dkvector.indexes import SPECS, as_spec
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric


@dataclass(frozen=True)
class Plan:
    """What is to be measured, with all that is true of it; `evaluate` tells what each knob means."""

    data: Any
    specs: Any = None
    queries: Any = None
    k: int | list[int] | tuple[int, ...] = 10
    sweep: Any = None
    where: Any = None
    by: str | list[str] | None = None
    relevant: Any = None
    on: str | None = None
    metric: DistanceMetric | str | None = None
    exclude_self: bool | None = None
    on_bad: OnBad = "raise"
    timing: Timing = field(default_factory=Timing)
    checkpoint: str | PathLike[str] | None = None
    cache: bool | str | PathLike[str] = True

    def read(self) -> Course:
        """Read rows and queries, and find the true neighbours.

        Raises:
            DkvectorError: what `evaluate` raises.
        """
        # before anything is read or measured for nothing
        kept, builds, slices = Checkpoint(self.checkpoint), read_builds(self.data, self.specs), self._slices
        check_slices(slices)
        for kind in SPECS:
            tunings(as_spec(kind), self.sweep)
        wheres = {name: as_filter(one) for name, one in read_wheres(self.where).items()}
        columns = columns_of(list(wheres.values()))
        subject = read_subject(self.data, [*columns, *slices], on=self.on, metric=self.metric, on_bad=self.on_bad)
        asked = subject.queries(self.queries, slices, self.timing.seed)
        ks = [as_count(one) for one in (self.k if isinstance(self.k, list | tuple) else [self.k])]
        if not ks:
            raise SchemaError("nothing to measure: k is how many neighbours each query has, or a list of such numbers")
        # the neighbours for the largest k hold those for every other
        most, metric = max(ks), subject.metric
        truths = {
            name: truth_of(Held(subject.rows), asked, Wanted(most, metric, one, self.exclude_self), self.cache)
            for name, one in wheres.items()
        }
        judged = read_relevances(self.relevant, asked.labels, subject.rows.labels)
        bench = Bench(
            subject,
            Ground(subject.rows, asked, subject.metric, judged),
            truths,
            [(one, name, condition) for name, condition in wheres.items() for one in ks],
            self.sweep,
            columns,
            self.timing,
            kept,
        )
        return Course(bench, builds, asked, slices)

    @property
    def _slices(self) -> list[str]:
        return [self.by] if isinstance(self.by, str) else list(self.by or ())


@dataclass(frozen=True)
class Course:
    """The runs of an evaluation, and what they gave so far.

    Attributes:
        bench: measures.
        builds: the indexes.
        asked: the queries.
        slices: columns of the queries that make slices.
    """

    bench: Bench
    builds: list[Build]
    asked: Queries
    slices: list[str]

    @property
    def subject(self) -> Subject:
        """The rows."""
        return self.bench.subject

    @property
    def total(self) -> int:
        """How many runs there will be, as far as is known."""
        return self.bench.total(self.builds)

    def outcomes(self) -> Iterator[Outcome]:
        """Measure one run after the other; closing this removes the store that is open."""
        yield from self.bench.each(self.builds)

    def run_all(self, progress: bool | None) -> bool:
        """Measure everything, see `Bench.run_all`."""
        return self.bench.run_all(self.builds, progress)

    def report(self, *, complete: bool) -> Evaluation:
        """Put together what was measured so far."""
        runs, each = as_frames(self.bench.outcomes, self.asked, self.slices)
        return Evaluation(runs, each, self.asked.frame, versions(), complete)
