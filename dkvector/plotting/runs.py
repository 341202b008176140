"""Pictures of runs: recall against speed, latencies, what indexes take to build and to hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from dkvector.errors import NotFoundError, SchemaError
from dkvector.plotting._style import (
    FAINT,
    End,
    axes,
    ink,
    label_ends,
    label_points,
    plain_numbers,
    span,
    stretch_recall,
    styles,
)

SPEEDS = {
    "qps": "queries a second, one by one",
    "qps_batch": "queries a second, as one batch",
    "qps_concurrent": "queries a second, several clients",
}
MOST = 24  # runs whose latencies one picture shows
ACROSS = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles of a latency's bar


def undominated(runs: pd.DataFrame, x: str = "recall", y: str = "qps") -> list[Any]:
    """Give the labels of the runs that no other beats in one of two columns without losing in the other.

    Args:
        runs: the runs.
        x: a column, more is better.
        y: another.

    Returns:
        Labels, by ascending x.

    Example:
        >>> undominated(pd.DataFrame({"recall": [0.9, 0.95, 0.8], "qps": [100, 50, 90]}))
        [0, 1]
    """
    kept: list[Any] = []
    best = -np.inf
    for label, row in runs.sort_values([x, y], ascending=False).iterrows():
        if row[y] > best:
            best = row[y]
            kept.append(label)
    return kept[::-1]


def some_of(runs: pd.DataFrame, where: str | None) -> pd.DataFrame:
    """Choose the runs of one filter and one k that did not fail: without a filter, where nothing is said.

    Raises:
        NotFoundError: no run has such a filter.
        SchemaError: there is nothing to draw.
    """
    done = runs[runs["error"] == ""]
    if done.empty:
        raise SchemaError("there is nothing to draw: no run was finished without an error")
    names = done["where"].unique().tolist()
    if where is None:
        where = "" if "" in names else names[0]
    elif where not in names:
        raise NotFoundError.of("filter", where, names)
    done = done[done["where"] == where]
    same: pd.DataFrame = done[done["k"] == done["k"].iloc[0]]
    return same


def plot_frontier(runs: pd.DataFrame, ax: Any = None, *, where: str | None = None, y: str = "qps") -> Any:
    """Draw recall against speed: for each index its frontier as a line, with the runs that it beats faint.

    Args:
        runs: of an evaluation.
        ax: the axes; new ones by default.
        where: name of the filter; none by default.
        y: "qps", "qps_batch" or "qps_concurrent".

    Returns:
        The axes.
    """
    some = some_of(runs, where).dropna(subset=["recall", y])
    if some.empty:
        raise SchemaError(f"no run has a {y}: evaluate with repeats=… of at least 1")
    ax = axes(ax)
    ax.set_yscale("log")
    series = some.groupby(["backend", "index"], sort=False)
    looks = styles([name for name, _ in series])
    drawn = [_curve(ax, group, y, _title(name, some), looks[name]) for name, group in series]
    ax.set(xlabel=f"recall@{some['k'].iloc[0]}", ylabel=SPEEDS.get(y, y))
    ax.margins(y=0.12)
    span(ax.yaxis, some[y])
    if name := some["where"].iloc[0]:
        ax.set_title(f"where {name}", fontsize=10)
    ax.autoscale_view()
    stretch_recall(ax)
    plain_numbers(ax.yaxis)
    label_ends(ax, [points[-1] for points in drawn])
    # lays the figure out, so that it is known what would cover what
    ax.get_figure().draw_without_rendering()
    label_points(ax, [_knob(point) for points in drawn for point in points[:-1]])
    return ax


def _title(name: Any, runs: pd.DataFrame) -> str:
    """Name a series by its index, and by its backend where there are several."""
    backend, index = name
    return str(index) if len(runs["backend"].unique()) == 1 else f"{backend} {index}"


def _curve(ax: Any, runs: pd.DataFrame, y: str, title: str, look: tuple[str, str]) -> list[End]:
    """Draw one index, and give its points with their knobs, and its last point with its name."""
    colour, marker = look
    best = runs.loc[undominated(runs, "recall", y)]
    rest = runs.drop(best.index)
    ax.plot(rest["recall"], rest[y], marker, color=colour, alpha=FAINT, markersize=5, linestyle="none")
    spread = [(best["recall"] - best["recall_low"]).clip(0), (best["recall_high"] - best["recall"]).clip(0)]
    ax.errorbar(best["recall"], best[y], xerr=spread, fmt="none", ecolor=colour, alpha=0.45, elinewidth=1)
    ax.plot(best["recall"], best[y], marker=marker, color=colour, markersize=5.5, linewidth=1.6)
    points = [End(run["recall"], run[y], run["tuning"], colour) for _, run in best.iterrows() if len(best) > 1]
    unused = bool((runs["index_used"] == 0).all()) and not str(runs["index"].iloc[0]).startswith("Flat")
    last = best.iloc[-1]
    knobs = {tuning.partition("=")[0] for tuning in best["tuning"] if tuning.count("=") == 1}
    of = f" by {knobs.pop()}" if len(knobs) == 1 and len(best) > 1 else ""
    return [*points, End(last["recall"], last[y], title + of + (" — index not used" if unused else ""), colour)]


def _knob(point: End) -> End:
    """Name a point by the value of its only knob, or by all knobs."""
    return replace(point, text=point.text.partition("=")[2] if point.text.count("=") == 1 else point.text)


def plot_latency(
    runs: pd.DataFrame, queries: pd.DataFrame, ax: Any = None, *, runs_shown: Sequence[int] | None = None
) -> Any:
    """Draw how long queries take: of each run the range from 5 % to 95 %, the middle half thick, and the median.

    Args:
        runs: of an evaluation.
        queries: the times of each query.
        ax: the axes; new ones by default.
        runs_shown: which runs; all without a filter by default, at most 24 of them.

    Returns:
        The axes.
    """
    if "latency_ms" not in queries.columns:
        raise SchemaError("there are no latencies: evaluate with repeats=… of at least 1")
    some = some_of(runs, None).iloc[:MOST] if runs_shown is None else _named(runs, runs_shown)
    some = some[some.index.isin(queries.loc[queries["latency_ms"].notna(), "run"])]
    if some.empty:
        raise SchemaError("there is nothing to draw: none of these runs has latencies")
    ax = axes(ax, (7.2, 1.2 + 0.3 * len(some)))
    looks = styles(list(zip(some["backend"], some["index"], strict=True)))
    for at, (run, row) in enumerate(some.iterrows()):
        times = queries.loc[queries["run"] == run, "latency_ms"]
        colour = looks[row["backend"], row["index"]][0]
        low, first, middle, third, high = times.quantile(list(ACROSS))
        ax.plot([low, high], [at, at], color=colour, linewidth=1.2)
        # any other cap would reach beyond the quartiles
        ax.plot([first, third], [at, at], color=colour, linewidth=6, solid_capstyle="butt")
        ax.plot(middle, at, "o", color=ax.get_facecolor(), markeredgecolor=colour, markersize=6, zorder=3)
        ax.annotate(
            f"{high:,.3g}", (high, at), (5, 0), textcoords="offset points", va="center", fontsize=8, color=ink(colour)
        )
    ax.set_xscale("log")
    ax.set_yticks(range(len(some)), [_name(row, some) for _, row in some.iterrows()])
    # the first run on top
    ax.set_ylim(len(some) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    ax.margins(x=0.12)
    ax.set_xlabel("ms a query: ○ median, ▬ middle half, ─ 5 % to 95 %")
    plain_numbers(ax.xaxis)
    return ax


def _named(runs: pd.DataFrame, shown: Sequence[int]) -> pd.DataFrame:
    if absent := [one for one in shown if one not in runs.index]:
        raise NotFoundError(f"no run {absent[0]!r}: they are numbered from 0 to {len(runs) - 1}")
    return runs.loc[list(shown)]


def _name(row: pd.Series, runs: pd.DataFrame) -> str:
    return f"{_title((row['backend'], row['index']), runs)} {row['tuning']}".strip()


def plot_builds(runs: pd.DataFrame, ax: Any = None) -> Any:
    """Draw the seconds that each index took to build against its size.

    Args:
        runs: of an evaluation.
        ax: the axes; new ones by default.

    Returns:
        The axes.
    """
    done = runs[runs["error"] == ""].dropna(subset=["build_s", "index_bytes"])
    builds = done.drop_duplicates(["backend", "index"])
    if builds.empty:
        raise SchemaError("no run tells how long its index took to build, and how large it is")
    ax = axes(ax)
    names = [(row["backend"], row["index"]) for _, row in builds.iterrows()]
    looks = styles(names)
    ends = []
    for name, (_, row) in zip(names, builds.iterrows(), strict=True):
        colour, marker = looks[name]
        ax.plot(row["build_s"], row["index_bytes"] / 1e6, marker, color=colour, markersize=8, clip_on=False, zorder=3)
        ends.append(End(row["build_s"], row["index_bytes"] / 1e6, _title(name, builds), colour))
    ax.set(xlabel="seconds to build", ylabel="size of the index, MB")
    ax.margins(0.08)
    ax.autoscale_view()
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    label_ends(ax, ends)
    return ax
