"""What was measured: tidy frames, and what is read and drawn from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dkvector import _html, plotting
from dkvector.errors import NotFoundError, SchemaError
from dkvector.evaluation import measures
from dkvector.evaluation.asked import Queries
from dkvector.evaluation.checkpoint import Outcome

TEXTS = ("backend", "index", "tuning", "where", "plan", "engine", "error")
COUNTS = ("k", "rows", "matching", "seed")
# The columns of `runs`, in order; those that are neither texts nor counts are numbers that may be unknown.
COLUMNS = (
    *("backend", "index", "tuning", "k", "where", "selectivity"),
    *("recall", "recall_low", "recall_high", "ndcg", "mrr", "relevant_recall", "shortfall"),
    *("p50_ms", "p95_ms", "p99_ms", "qps", "qps_batch", "qps_concurrent", "clients"),
    *("insert_s", "build_s", "index_bytes", "resident_bytes", "rows", "matching"),
    *("plan", "index_used", "engine", "seed", "error"),
)
SHOWN = ["backend", "index", "tuning", "where", "recall", "recall_low", "recall_high", "p50_ms", "p95_ms", "qps"]
SHOWN += ["qps_concurrent", "build_s", "index_bytes", "plan", "error"]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation measured.

    Attributes:
        runs: a row for each run: what was asked, `recall` with the ends of its interval, `ndcg`, `mrr` and
            `relevant_recall` by given relevances, latencies in ms, queries a second one by one, as a batch and under
            several clients, seconds to insert and build, bytes, the plan that ran with the share of searches that an
            index answered, the engine, and the error of a run that failed.
        queries: a row for each query of each run: `run`, `query`, `recall`, `returned`, `latency_ms`, and slices.
        asked: what else is known of the queries, by their labels.
        environment: the machine and the versions.
        complete: whether every run was finished.
    """

    runs: pd.DataFrame
    queries: pd.DataFrame
    asked: pd.DataFrame
    environment: Mapping[str, str]
    complete: bool = True

    @property
    def frame(self) -> pd.DataFrame:
        """The same as `runs`."""
        return self.runs

    @property
    def done(self) -> pd.DataFrame:
        """The runs that did not fail."""
        return self.runs[self.runs["error"] == ""]

    def frontier(self, x: str = "recall", y: str = "qps", *, each: Sequence[str] = ("k", "where")) -> pd.DataFrame:
        """Give the runs that no other beats in both: more of x costs some of y.

        Args:
            x: a column, more is better.
            y: another.
            each: columns within whose values runs are compared; add "backend" and "index" for a frontier of each.

        Returns:
            Rows of `runs`, by ascending x.
        """
        known = self.done.dropna(subset=[x, y])
        groups = known.groupby(list(each), sort=False) if each else [((), known)]
        kept = [at for _, group in groups for at in plotting.undominated(group, x, y)]
        return self.runs.loc[kept]

    def best(
        self, recall: float = 0.95, *, by: str = "qps", p95_ms: float | None = None, where: str | None = None
    ) -> pd.Series:
        """Give the run with the most queries a second among those that find enough: by the lower end of the interval.

        Args:
            recall: what `recall_low` must reach.
            by: the column to choose by; of milliseconds, seconds and bytes the least, of all else the most.
            p95_ms: what `p95_ms` may be.
            where: name of the filter; all runs by default.

        Raises:
            NotFoundError: no run finds enough, quickly enough; says how near the nearest comes.
            SchemaError: nothing was measured of what to choose by.
        """
        if by not in self.runs.columns:
            raise NotFoundError.of("column", by, self.runs.columns)
        # unknown is not the best
        good = self._good(recall, p95_ms, where).dropna(subset=[by])
        if good.empty:
            raise SchemaError(f"no run has a {by}: evaluate with repeats=… of at least 1, or choose by another column")
        least = by.endswith(("_ms", "_s", "_bytes"))
        return good.sort_values(by, ascending=least, kind="stable").iloc[0]

    def _good(self, recall: float, p95_ms: float | None, where: str | None) -> pd.DataFrame:
        """Give the runs that find enough, quickly enough, or say what keeps them from it."""
        names = self.runs["where"].unique().tolist()
        if where is not None and where not in names:
            raise NotFoundError.of("filter", where, names)
        runs = self.done if where is None else self.done[self.done["where"] == where]
        good = runs[runs["recall_low"] >= recall]
        if good.empty:
            near = runs["recall_low"].max()
            raise NotFoundError(
                f"no run reaches recall {recall} by the lower end of its interval; the best has {near:.3f}"
            )
        quick = good if p95_ms is None else good[good["p95_ms"] <= p95_ms]
        if quick.empty:
            least = good["p95_ms"].min()
            raise NotFoundError(
                f"no run with recall {recall} answers within {p95_ms} ms; the quickest takes {least:.3g}"
            )
        return quick

    def slices(self, by: str | None = None) -> pd.DataFrame:
        """Tell how recall differs between groups of queries, a row for each group of each run, the worst first.

        Args:
            by: the column that was named as `by` of the evaluation, where there were several.

        Returns:
            `run`, `backend`, `index`, `tuning`, the column, `queries`, `recall` with the ends of its interval.
        """
        column, seeds = self._slice(by), self.runs["seed"].to_dict()
        rows = []
        for (run, value), group in self.queries.groupby(["run", column], observed=True, sort=False, dropna=False):
            recalls = group["recall"].to_numpy(np.float64)
            low, high = measures.interval(recalls, seeds[run])
            rows.append((run, value, len(group), measures.mean(recalls), low, high))
        made = pd.DataFrame(rows, columns=["run", column, "queries", "recall", "recall_low", "recall_high"])
        asked = self.runs[["backend", "index", "tuning", "k", "where"]]
        return asked.merge(made, left_index=True, right_on="run").sort_values(["run", "recall"], ignore_index=True)

    def _slice(self, by: str | None) -> str:
        known = [name for name in self.queries.columns if name not in QUERY_COLUMNS]
        if by is None and len(known) != 1:
            raise SchemaError(f"name the column of the slices; evaluate(…, by=…) was given {known or 'none'}")
        if by is not None and by not in known:
            raise NotFoundError.of("slice", by, known)
        return known[0] if by is None else by

    def hardest(self, n: int = 10, *, run: int | None = None) -> pd.DataFrame:
        """Give the queries that lose most neighbours, with all that is known of them.

        Args:
            n: how many.
            run: a row of `runs`; by default the mean over all runs that an index answered.

        Returns:
            Indexed by the query's label: `recall`, `worst` and `runs`, then the queries' own columns.
        """
        approximate = self.done.index[self.done["index_used"] > 0] if run is None else [run]
        some = self.queries[self.queries["run"].isin(approximate)]
        told = some.groupby("query", sort=False)["recall"].agg(recall="mean", worst="min", runs="count")
        hard = pd.DataFrame(told).sort_values(["recall", "worst"], kind="stable").head(n)
        # pandas joins no two columns of one name
        known = self.asked[~self.asked.index.duplicated()].rename(
            columns={name: f"{name}_" for name in self.asked.columns if name in hard.columns}
        )
        joined: pd.DataFrame = hard.join(known)
        return joined

    def plot(self, ax: Any = None, *, where: str | None = None, y: str = "qps") -> Any:
        """Draw recall against queries a second: the frontier of each index, with dominated runs faint."""
        return plotting.plot_frontier(self.runs, ax, where=where, y=y)

    def plot_selectivity(self, ax: Any = None) -> Any:
        """Draw recall against the share of rows that the filters let through."""
        return plotting.plot_selectivity(self.runs, ax)

    def plot_latency(self, ax: Any = None, *, runs: Sequence[int] | None = None) -> Any:
        """Draw how long queries take: the distribution of each run, or of some."""
        return plotting.plot_latency(self.runs, self.queries, ax, runs_shown=runs)

    def plot_builds(self, ax: Any = None) -> Any:
        """Draw the seconds that indexes take to build against their size."""
        return plotting.plot_builds(self.runs, ax)

    def plot_slices(self, ax: Any = None, *, by: str | None = None, run: int | None = None) -> Any:
        """Draw the recall of each group of queries in one run: by default one that loses some, but not many."""
        if run is None:
            run = self._ordinary()
        column = self._slice(by)
        some = self.slices(column)
        return plotting.plot_slices(some[some["run"] == run], column, ax)

    def _ordinary(self) -> int:
        """Choose a run that an index answered, with the least recall above 0.9 where there is one."""
        used = self.done[self.done["index_used"] > 0].sort_values("recall")
        good = used[used["recall"] > 0.9]  # noqa: PLR2004 - see above
        some = good if len(good) else used[::-1] if len(used) else self.done
        if some.empty:
            raise SchemaError("there is nothing to draw: no run was finished without an error")
        return int(some.index.to_numpy()[0])

    def to_parquet(self, folder: str | PathLike[str]) -> None:
        """Write the frames as Parquet files into a folder, and the environment as JSON."""
        path = Path(folder).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        self.runs.to_parquet(path / "runs.parquet")
        # as text, labels of any kind fit one column
        self.queries.assign(query=self.queries["query"].astype("str")).to_parquet(path / "queries.parquet")
        told = {"complete": self.complete, "environment": dict(self.environment)}
        (path / "environment.json").write_text(json.dumps(told, indent=1), encoding="utf-8")

    def __repr__(self) -> str:
        return f"{self._title}\n{self._shown().to_string()}"

    def _repr_html_(self) -> str:
        facts = [f"{name} {told}" for name, told in self.environment.items() if told != "not installed"]
        return _html.block(_html.heading(self._title), self._shown().to_html(), _html.heading("", "; ".join(facts)))

    @property
    def _title(self) -> str:
        failed = len(self.runs) - len(self.done)
        count = self.queries["query"].nunique()
        runs, queries = len(self.runs), "query" if count == 1 else "queries"
        parts = [
            f"{runs} {'run' if runs == 1 else 'runs'} of {count:,} {queries}",
            f"{failed} failed" if failed else "",
        ]
        return ", ".join(filter(None, [*parts, "" if self.complete else "interrupted"]))

    def _shown(self) -> pd.DataFrame:
        """Give the columns that tell anything, rounded."""
        shown = self.runs[SHOWN]
        shown = shown.loc[:, [not _is_void(shown[name]) for name in SHOWN]]
        return shown.round({"recall": 4, "recall_low": 4, "recall_high": 4, "build_s": 2} | _DIGITS)


_DIGITS = {"p50_ms": 3, "p95_ms": 3, "qps": 0, "qps_concurrent": 0, "index_bytes": 0}
QUERY_COLUMNS = ("run", "query", "recall", "returned", "latency_ms")
# beside which a column of the queries would stand in `queries` or in `slices()`
TAKEN = {*QUERY_COLUMNS, "backend", "index", "tuning", "k", "where", "queries", "recall_low", "recall_high"}


def check_slices(by: Sequence[str]) -> None:
    """Refuse slices by a column that is called like one of ours, which it would take the place of.

    Raises:
        SchemaError: such a column.
    """
    if same := [name for name in by if name in TAKEN]:
        raise SchemaError(f"slices have a column {same[0]!r} of their own: rename that of the queries")


def _is_void(column: pd.Series) -> bool:
    return bool((column == "").all()) if column.name in TEXTS else bool(column.isna().all())


def as_frames(outcomes: list[Outcome], asked: Queries, by: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put runs together as tidy frames.

    Args:
        outcomes: of the runs.
        asked: the queries.
        by: columns of the queries that make slices.

    Returns:
        A row for each run, and a row for each query of each run.
    """
    # runs that failed lack the figures
    rows = pd.DataFrame([outcome["run"] for outcome in outcomes]).reindex(columns=list(COLUMNS))
    texts = {name: rows[name].astype(object).fillna("").astype("str") for name in TEXTS}
    counts = {name: rows[name].astype("int64") for name in COUNTS}
    numbers = {name: rows[name].astype("float64") for name in COLUMNS if name not in {*TEXTS, *COUNTS}}
    runs = pd.DataFrame({name: (texts | counts | numbers)[name] for name in COLUMNS}).rename_axis("run")
    finished = [(at, outcome["queries"]) for at, outcome in enumerate(outcomes) if outcome["queries"]]
    parts = [_each(at, values, asked, by) for at, values in finished]
    return runs, pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*QUERY_COLUMNS[:4], *by])


def _each(run: int, values: Mapping[str, list[float]], asked: Queries, by: Sequence[str]) -> pd.DataFrame:
    known = {name: asked.frame[name].array for name in by}
    told = {name: np.array(value, np.float64 if name != "returned" else np.int64) for name, value in values.items()}
    return pd.DataFrame({"run": run, "query": asked.labels.array, **told, **known})
