"""Pictures of parts: recall where filters let few rows through, and recall of groups of queries."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dkvector.errors import SchemaError
from dkvector.plotting._style import SIZE, End, axes, ink, label_ends, plain_numbers, styles

MOST = 30  # groups that one picture shows, the worst of them
LINES = ("-", "--", ":", "-.")


def plot_selectivity(runs: pd.DataFrame, ax: Any = None) -> Any:
    """Draw recall against the share of rows that a filter lets through, a line for each index and tuning.

    Args:
        runs: of an evaluation with several filters.
        ax: the axes; new ones by default.

    Returns:
        The axes.
    """
    done = runs[(runs["error"] == "") & (runs["k"] == runs["k"].iloc[0])].dropna(subset=["recall", "selectivity"])
    if done["selectivity"].nunique() < 2:  # noqa: PLR2004 - one is no curve
        raise SchemaError("recall against selectivity needs several filters: evaluate with where=[…]")
    lines = done.drop_duplicates(["backend", "index", "tuning"])
    ax = axes(ax, (SIZE[0], max(SIZE[1], 1 + 0.24 * len(lines))))
    ax.set_xscale("log")
    looks = styles(list(zip(done["backend"], done["index"], strict=True)))
    drawn: dict[Any, int] = {}
    ends = []
    for (backend, index, tuning), group in done.groupby(["backend", "index", "tuning"], sort=False):
        colour, marker = looks[backend, index]
        # an index keeps its colour, its tunings differ by the line
        style = LINES[drawn.setdefault((backend, index), 0) % len(LINES)]
        drawn[backend, index] += 1
        curve = group.sort_values("selectivity")
        ax.fill_between(
            curve["selectivity"], curve["recall_low"], curve["recall_high"], color=colour, alpha=0.12, linewidth=0
        )
        ax.plot(curve["selectivity"], curve["recall"], style, marker=marker, color=colour, markersize=5)
        name = index if len(done["backend"].unique()) == 1 else f"{backend} {index}"
        ends.append(End(curve["selectivity"].iloc[-1], curve["recall"].iloc[-1], f"{name} {tuning}".strip(), colour))
    ax.set(xlabel="share of the rows that the filter lets through", ylabel=f"recall@{done['k'].iloc[0]}")
    ax.autoscale_view()
    plain_numbers(ax.xaxis, times=100, unit=" %")
    # matplotlib's own margin would leave room for a recall above 1
    ax.set_ylim(top=min(1.005, ax.get_ylim()[1]))
    label_ends(ax, ends)
    return ax


def plot_slices(slices: pd.DataFrame, column: str, ax: Any = None) -> Any:
    """Draw the recall of each group of queries, the worst on top, with its interval and how many queries it has.

    Args:
        slices: the groups of one run.
        column: what they are groups of.
        ax: the axes; new ones by default.

    Returns:
        The axes.
    """
    some = slices.sort_values(["recall", "queries"], ascending=[True, False]).head(MOST)
    ax = axes(ax, (7.2, 1.3 + 0.24 * len(some)))
    colour = next(iter(styles([column]).values()))[0]
    places = range(len(some))
    spread = [(some["recall"] - some["recall_low"]).clip(0), (some["recall_high"] - some["recall"]).clip(0)]
    ax.errorbar(some["recall"], places, xerr=spread, fmt="o", color=colour, ecolor=colour, elinewidth=1.4, markersize=5)
    known = slices.dropna(subset=["recall"])
    whole = float((known["recall"] * known["queries"]).sum() / known["queries"].sum())
    ax.axvline(whole, color=ink(colour), linestyle="--", linewidth=1)
    ax.annotate(
        f"all {whole:.3f}",
        (whole, 1),
        (0, 4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=ink(colour),
    )
    for at, count in zip(places, some["queries"], strict=True):
        ax.annotate(f"{count:,}", (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=7.5)
    ax.annotate("queries", (1.01, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=7.5)
    ax.set_yticks(list(places), some[column].astype(str))
    ax.set_ylim(len(some) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    first = slices.iloc[0]
    ax.set(xlabel=f"recall@{first['k']} of {first['index']} {first['tuning']} by {column}".replace("  ", " "))
    return ax
