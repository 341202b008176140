"""`Evaluator`: choose indexes, watch their runs arrive, point at one, and take its config along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pandas as pd
import traitlets as t

from dkvector.counts import as_count
from dkvector.errors import FilterError, NotFoundError, SchemaError
from dkvector.evaluation.checkpoint import Outcome
from dkvector.evaluation.planned import Course, Plan
from dkvector.evaluation.report import Evaluation
from dkvector.filters import as_filter, check_columns, parse
from dkvector.widgets import still
from dkvector.widgets.base import Widget, front_end, look
from dkvector.widgets.candidates import candidates, columns_of
from dkvector.widgets.grid import KNOBS, Fixed, Grid, Names
from dkvector.widgets.runs import Chosen, chosen, drawn, told
from dkvector.widgets.specs import read_specs
from dkvector.widgets.steps import Steps

ASKED = ("chosen", "indexes", "sweep", "k", "where", "draw", "repeats", "clients")


class Evaluator(Widget):
    """Measure indexes by pointing at them: `evaluate`, with its runs drawn as they arrive.

    Args:
        data: rows, a store, or a dict of open stores by name, as `evaluate` takes them.
        specs: backend or URL → indexes to begin with; the embedded backends by default. Open stores are read as they
            are.
        queries: vectors, or a frame with a vector column; by default rows are drawn.
        k: neighbours of each query.
        sweep: search-time knob → values to try; a usual range by default.
        where: a filter, as text or as an expression.
        by: columns of the queries that make slices.
        relevant: rows that are right by somebody's judgement, as `evaluate` takes them: `explorer.relevance` is such.
        on: the vector column, where there are several.
        metric: what to measure by.
        draw: rows that are drawn as queries, where none are given.
        repeats: times that every query is asked.
        clients: searches at once, for the throughput under load; 0 leaves that out.
        seed: of what is left to chance.
        checkpoint: a file that keeps finished runs; those that are there are not measured again.
        name: what `data` is called in `code`.
        queries_name: what `queries` is called in `code`.

    Attributes:
        value: a row for each run so far, as in `Evaluation.runs`.
        evaluation: all that was measured so far.
        selection: the run that is looked at; can be set.
        config: what `connect` takes for a store like that of the run.
        worst: the queries that lose most neighbours in the run.
        code: the line of Python that measures the same.

    Example:
        >>> import dkvector as dkv
        >>> digits = dkv.datasets.load_digits()
        >>> evaluator = Evaluator(digits, dkv.IVF(lists=20), sweep={"probes": [1, 20]}, metric="l2", name="digits")
        >>> evaluator.code
        "dkv.evaluate(digits, {'faiss': [dkv.IVF(lists=20)]}, queries=200, k=10, ...repeats=1, clients=0)"
        >>> evaluator.run().runs["recall"].round(2).tolist()
        [0.82, 1.0]
        >>> evaluator.selection = 1
        >>> evaluator.config["tuning"]
        {'probes': 20}
    """

    _esm = front_end("evaluator")
    _css = look()

    chosen: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    indexes: t.Dict[str, str] = t.Dict().tag(sync=True)
    sweep: t.Dict[str, Any] = t.Dict().tag(sync=True)
    k = t.Int(10, min=1).tag(sync=True)
    where = t.Unicode().tag(sync=True)
    draw = t.Int(200, min=1).tag(sync=True)
    repeats = t.Int(1, min=1).tag(sync=True)
    clients = t.Int(0, min=0).tag(sync=True)
    y = t.Enum(["qps", "qps_batch", "qps_concurrent"], "qps").tag(sync=True)
    selection = t.Int(None, allow_none=True).tag(sync=True)
    value = t.Instance(pd.DataFrame, allow_none=True)
    where_error = t.Unicode(read_only=True).tag(sync=True)
    indexes_error = t.Dict(read_only=True).tag(sync=True)
    progress: t.List[int] = t.List(read_only=True).tag(sync=True)  # runs done, runs in all
    _choices = t.Dict().tag(sync=True)
    _runs = t.Dict().tag(sync=True)
    _told = t.Dict().tag(sync=True)

    def __init__(
        self,
        data: Any,
        specs: Any = None,
        queries: Any = None,
        k: int = 10,
        *,
        sweep: Mapping[str, Any] | None = None,
        where: Any = "",
        by: str | list[str] | None = None,
        relevant: Any = None,
        on: str | None = None,
        metric: Any = None,
        draw: int = 200,
        repeats: int = 1,
        clients: int = 0,
        seed: int = 0,
        checkpoint: Any = None,
        name: str = "data",
        queries_name: str = "queries",
    ) -> None:
        self._candidates, indexes = candidates(data, specs)
        self._given = Fixed(data, queries, by, relevant, on, metric, seed, checkpoint, Names(name, queries_name))
        self._columns = columns_of(data)
        self._steps: Steps[Outcome] = Steps(self._arrived, self._ended)
        self._course: Course | None = None
        self.evaluation: Evaluation | None = None
        super().__init__(
            chosen=list(indexes),
            indexes=indexes,
            sweep=_values(sweep or {}),
            k=k,
            where=str(as_filter(where)) if where is not None and not isinstance(where, str) else where or "",
            draw=draw,
            repeats=repeats,
            clients=clients,
        )
        self._choices = {
            "candidates": [(one.label, list(one.tried)) for one in self._candidates],
            "columns": self._columns,
            "knobs": list(KNOBS),
            "draws": queries is None,
            "speeds": [("qps", "one by one"), ("qps_batch", "as one batch"), ("qps_concurrent", "several clients")],
        }
        self._check(None)
        self.observe(self._check, list(ASKED))
        self.observe(self._draw, "y")
        self.observe(self._select, "selection")
        self.on_msg(self._heard)

    @property
    def grid(self) -> Grid:
        """What is asked for, as it stands."""
        some = tuple(one for one in self._candidates if one.label in self.chosen)
        return Grid(some, self.indexes, self.sweep, self.k, self.where, self.draw, self.repeats, self.clients)

    @property
    def config(self) -> dict[str, Any]:
        """What `connect` takes for a store like that of the run that is selected.

        Raises:
            NotFoundError: no run is selected.
        """
        return self._looked_at().config

    @property
    def worst(self) -> pd.DataFrame:
        """The queries that lose most neighbours in the run that is selected.

        Raises:
            NotFoundError: no run is selected.
        """
        return self._looked_at().worst

    def start(self) -> None:
        """Begin to measure, in the background; what was measured before is put away.

        Raises:
            DkvectorError: what can't be read.
        """
        if not self.busy:
            self._steps.start(self._begin())

    def stop(self) -> None:
        """End after the run that is being measured; what is finished stays."""
        if self.busy:
            self._steps.stop()
            self._tell(status=f"{self.status}, stopping after this one", busy=True)

    async def done(self) -> Evaluation:
        """Wait until all that was started is measured.

        Raises:
            DkvectorError: what `evaluate` raises.
        """
        await self._steps.done()
        return self._outcome()

    def run(self) -> Evaluation:
        """Measure here and now.

        Raises:
            DkvectorError: what `evaluate` raises; it is shown in the widget too.
        """
        if self.busy:
            raise SchemaError("runs are being measured already: stop() ends that, await done() waits for it")
        self._steps.now(self._begin())
        return self._outcome()

    def _outcome(self) -> Evaluation:
        if self._failure is not None:
            raise self._failure
        if self.evaluation is None:
            raise SchemaError("nothing was measured: start() begins")
        return self.evaluation

    _plan: Plan | None = None  # of the last run that was begun
    _failure: Exception | None = None
    _pressed = False  # in the page, whose notice it is then that runs are done

    def _begin(self) -> Any:
        """Put away what was measured, and give what measures anew."""
        try:
            plan = self.grid.plan(self._given)
        except SchemaError as error:
            self._tell(error=error)
            raise
        self._plan, self._failure, self._course, self.evaluation = plan, None, None, None
        with self.hold_sync():
            # the page must not draw the runs of before under what is asked now
            self.selection, self.value, self._runs = None, None, {}
            self.set_trait("progress", [0, 0])
            self._tell(status="reading rows, finding their true neighbours", busy=True)
        return lambda: self._outcomes(plan)

    def _outcomes(self, plan: Plan) -> Iterator[Outcome]:
        """Measure, in whatever thread."""
        # here, and not by who waits: reading the rows may take as long as the runs
        course = plan.read()
        # where a loop ended meanwhile, another run may have begun, whose rows are not these
        if plan is self._plan:
            self._course = course
        return course.outcomes()

    def _arrived(self, _: Outcome) -> None:
        """Show the runs so far."""
        course = self._course
        if course is None:
            return
        done = len(course.bench.outcomes)
        self.evaluation = course.report(complete=False)
        with self.hold_sync():
            self.value = self.evaluation.runs
            self.set_trait("progress", [done, max(done, course.total)])
            self._tell(status=f"{done} of {max(done, course.total)} runs", busy=True)
            self._draw(None)

    def _ended(self, error: Exception | None, stopped: bool) -> None:
        """Say how it ended."""
        self._failure, course = error, self._course
        done, total = self.progress or [0, 0]
        whole = not stopped or done == total > 0
        if course is not None and course.bench.outcomes:
            self.evaluation = course.report(complete=whole and error is None)
        runs = None if self.evaluation is None else self.evaluation.runs
        failed = 0 if runs is None else int((runs["error"] != "").sum())
        words = [f"{done} {'run' if done == 1 else 'runs'}", f"{failed} failed" if failed else ""]
        # before the runs, of which an observer may make an error: it must not look busy ever after
        self._tell(error=error, status=", ".join(filter(None, [*words, "" if whole else "stopped"])))
        self.value = runs
        if self._pressed:
            self._pressed = False
            self.notice()

    def _draw(self, _: Any) -> None:
        self._runs = {} if self.evaluation is None else drawn(self.evaluation, self.y)

    def _check(self, _: Any) -> None:
        """Read what is typed, and say what can't be read."""
        self.set_trait("where_error", self._where_problem())
        problems = {}
        for one in self.grid.chosen:
            try:
                if one.store is None and not read_specs(self.indexes.get(one.label, "")):
                    problems[one.label] = "no index: write one, such as HNSW(m=16)"
            except SchemaError as error:
                problems[one.label] = str(error)
        self.set_trait("indexes_error", problems)
        self.set_trait("code", self.grid.code(self._given) if self.chosen and not problems else "")

    def _where_problem(self) -> str:
        try:
            if self.where.strip():
                check_columns(parse(self.where), [name for name, _ in self._columns])
        except FilterError as error:
            return str(error)
        return ""

    def _looked_at(self) -> Chosen:
        if self.selection is None or self.evaluation is None or self._course is None:
            raise NotFoundError("no run is selected: press one, or set selection to a row of value")
        return chosen(self.evaluation, self.selection, self._candidates, self._course.subject)

    def _select(self, _: Any) -> None:
        """Tell of the run that is selected."""
        known = self.evaluation is not None and self.selection in self.evaluation.runs.index
        if self.selection is not None and not known:
            self.selection = None
        elif self.selection is None or self.evaluation is None:
            self._told = {}
        else:
            self._told = told(self.evaluation, self.selection, self._looked_at())

    def _heard(self, _: Any, content: Any, __: Any) -> None:
        """Do what a button of the page says."""
        self._pressed = True
        with suppress(SchemaError):  # it is shown where the button is
            {"start": self.start, "stop": self.stop}[content["do"]]()
        # a press that began nothing is not what runs of later come from
        self._pressed = self._pressed and self.busy

    def _still(self) -> still.Still:
        return still.evaluation(self.code, self.evaluation, self.y)


def _values(sweep: Mapping[str, Any]) -> dict[str, list[int]]:
    """Read the values of each knob."""
    if unknown := [name for name in sweep if name not in KNOBS]:
        raise SchemaError(f"the widget sweeps {', '.join(KNOBS)}, not {unknown[0]!r}; evaluate(…, sweep=…) takes any")
    return {
        name: [as_count(one, name) for one in (some if isinstance(some, list | tuple) else [some])]
        for name, some in sweep.items()
    }
