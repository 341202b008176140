"""Pictures of forms: what compression costs, and how far two stores agree."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dkvector.errors import SchemaError
from dkvector.plotting._style import End, axes, label_ends, label_points, styles

APART = 0.14  # of a doubling, between forms of one size


def plot_shrink(forms: pd.DataFrame, ax: Any = None) -> Any:
    """Draw the recall of each compressed form against its size: hollow by the codes alone, filled once measured again.

    Args:
        forms: of a `shrink`.
        ax: the axes; new ones by default.

    Returns:
        The axes.
    """
    ax = axes(ax)
    ax.set_xscale("log", base=2)
    looks = styles(forms["family"].tolist())
    points = []
    for size, group in forms.groupby("bytes_per_vector", sort=False):
        for place, (_, row) in enumerate(group.iterrows()):
            colour = looks[row["family"]][0]
            # forms of one size side by side
            at = float(str(size)) * 2 ** (APART * (place - (len(group) - 1) / 2))
            ax.plot([at, at], [row["recall"], row["recall_rescored"]], color=colour, linewidth=1.2, alpha=0.7)
            ax.plot(at, row["recall"], "o", color=ax.get_facecolor(), markeredgecolor=colour, markersize=6, zorder=3)
            ax.plot(at, row["recall_rescored"], "o", color=colour, markersize=6, zorder=3)
            points.append(End(at, row["recall_rescored"], row["form"], colour))
    ax.set(xlabel="bytes of a vector", ylabel=f"recall@{forms['k'].iloc[0]}: ○ by codes alone, ● measured again")
    sizes = sorted(forms["bytes_per_vector"].unique())
    ax.set_xticks(sizes, [f"{size:,.0f}" for size in sizes], fontsize=8)
    ax.minorticks_off()
    ax.margins(0.1)
    # the layout must stand before it is known what would cover what
    ax.get_figure().draw_without_rendering()
    label_points(ax, points, size=8)
    return ax


def plot_parity(depths: pd.DataFrame, ax: Any = None) -> Any:
    """Draw how much of the first rows two stores share, at every depth, a line for each pair.

    Args:
        depths: of a `parity`: `pair`, `depth`, `overlap`.
        ax: the axes; new ones by default.

    Returns:
        The axes.
    """
    if depths.empty:
        raise SchemaError("there is nothing to draw: parity takes two stores or more")
    ax = axes(ax)
    looks = styles(depths["pair"].tolist())
    ends = []
    for pair, group in depths.groupby("pair", sort=False):
        colour, marker = looks[pair]
        ax.plot(group["depth"], group["overlap"], marker=marker, color=colour, markersize=4)
        ends.append(End(group["depth"].iloc[-1], group["overlap"].iloc[-1], str(pair), colour))
    ax.set(xlabel="depth", ylabel="share of the first rows in both")
    low, high = ax.get_ylim()
    ax.set_ylim(max(0.0, low - 0.02), min(1.02, high + 0.02))
    ax.xaxis.get_major_locator().set_params(integer=True)
    label_ends(ax, ends)
    return ax
