"""`dkv.plot_map`: a map as a picture, with names, hits, and the edges that an index misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dkvector.errors import MissingExtraError, NotFoundError, SchemaError, some
from dkvector.frames import matching
from dkvector.maps import _colours
from dkvector.maps._labels import Name, write
from dkvector.plotting._style import ink

WIDTH, HEIGHTS = 7.6, (3.8, 6.6)  # inches
HITS, CLUSTERS = 12, 24  # that are named, at most
ALPHA = 0.75


def plot_map(
    view: pd.DataFrame,
    color: Any = None,
    *,
    labels: Any = None,
    highlight: Any = None,
    missed: pd.DataFrame | None = None,
    where: Any = None,
    size: float | None = None,
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """Draw a map.

    Colours, names and edges are readable on a light and on a dark style, and told apart by the colour-blind. Up to ten
    categories get colours of their own; where there are more, all but the eight largest share a grey.

    Args:
        view: the map, as `project` gave it.
        color: a column of it, or a Series with its labels: categories get a legend, numbers a colour bar.
        labels: names to write at the medians of their rows: a column or a Series; the categories of `color` by default,
            False for none. The 24 largest clusters are named, as far as there is room.
        highlight: rows to ring and name: what a search gave, or a list of row labels; or a frame with `x` and `y`, as
            `place` gives it, for rows that are not on the map.
        missed: edges as `ann_edges` gives them: those that are not found are drawn, where both ends are on the map.
        where: a filter: only rows that satisfy it are drawn.
        size: area of a point, in square points; by default the smaller the more there are.
        title: a title.
        ax: the axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        FilterError: a filter that can't be read, or names unknown columns.
        NotFoundError: no such column; none of the highlighted rows is on the map.
        MissingExtraError: the extra `plot` is not installed.

    Example:
        >>> import dkvector as dkv
        >>> view = dkv.project(dkv.datasets.load_digits(), color="digit", method="pca")
        >>> dkv.plot_map(view, "digit", labels=False).get_legend().get_texts()[0].get_text()
        '0'
    """
    if not {"x", "y"} <= set(view.columns):
        raise SchemaError("a map has the columns x and y: make one with dkv.project")
    satisfied = matching(view, where)
    view = view if satisfied is None else view[satisfied]
    ax = _axes(ax, view)
    values = _colours.values_of(view, color, "color")
    named = _named(view, values, labels)
    _points(ax, view, values, _area(len(view)) if size is None else size)
    names = _names(values, named, view)
    if missed is not None:
        _edges(ax, view, missed)
    if highlight is not None:
        names = [*_hits(ax, view, highlight), *names]
    if title is not None:
        ax.set_title(title)
    _legend(ax, values)
    ax.get_figure().draw_without_rendering()  # which settles the size of the axes
    write(ax, names)
    return ax


def _axes(ax: Any, view: pd.DataFrame) -> Any:
    """Give axes without ticks; a figure of their own has the shape of the map, with room for a legend."""
    try:
        from matplotlib import pyplot as plt  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("matplotlib", "plot") from exc
    if ax is None:
        wide, high = np.ptp(view[["x", "y"]].to_numpy(), axis=0) if len(view) else (1, 1)
        height = np.clip(0.8 * WIDTH * high / (wide or 1), *HEIGHTS)
        _, ax = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    # distances are all that a map tells: one unit is as long across as it is up
    ax.set_aspect("equal", adjustable="datalim")
    ax.set(xticks=[], yticks=[])  # the axes of a map have no meaning, and no unit
    ax.spines[:].set_visible(False)
    ax.margins(0.02)
    return ax


def _area(rows: int) -> float:
    """Choose the area of a point, in square points, so that all cover about as much."""
    return float(np.clip(40_000 / max(rows, 1), 1.2, 30))


def _points(ax: Any, view: pd.DataFrame, values: pd.Series | None, size: float) -> None:
    """Draw the points: mixed, so that no category lies over all others, and as a picture in a vector file."""
    order = np.random.default_rng(0).permutation(len(view))
    x, y = view["x"].to_numpy()[order], view["y"].to_numpy()[order]
    look = {"s": size, "linewidths": 0, "alpha": ALPHA, "rasterized": True, "zorder": 2}
    if values is None:
        ax.scatter(x, y, color=_colours.PALETTE[0], **look)
    elif _colours.is_scale(values):
        numbers = values.to_numpy(np.float64, na_value=np.nan)[order]
        lost = np.isnan(numbers)
        ax.scatter(x[lost], y[lost], color=_colours.GREY, **look)
        shown = ax.scatter(x[~lost], y[~lost], c=numbers[~lost], cmap=_colours.scale(), **look)
        bar = ax.get_figure().colorbar(shown, ax=ax, shrink=0.6, pad=0.01, label=str(values.name or ""))
        # it would be as transparent as the points
        bar.solids.set(alpha=1)
        bar.outline.set_visible(False)
    else:
        ax.scatter(x, y, c=_colours.groups(values).of_rows[order], **look)


def _named(view: pd.DataFrame, values: pd.Series | None, labels: Any) -> pd.Series | None:
    """Find what names clusters: the categories of the colour by default, but not its numbers."""
    if labels is False:
        return None
    if labels is not None and labels is not True:
        return _colours.values_of(view, labels, "labels")
    return None if values is None or _colours.is_scale(values) else values


def _names(values: pd.Series | None, named: pd.Series | None, view: pd.DataFrame) -> list[Name]:
    """Name clusters at their medians, the largest first, in the colour of their points where it is theirs alone."""
    if named is None:
        return []
    found = _colours.groups(named)
    middle = view[["x", "y"]].groupby(found.codes).median()
    inks = [ink(one, text=0.45) for one in found.colours] if named is values else [_text()] * len(found.names)
    xs, ys = middle["x"], middle["y"]
    largest = sorted(range(len(found.names)), key=lambda code: -found.counts[code])[:CLUSTERS]
    return [Name(found.names[one], float(xs[one]), float(ys[one]), inks[one], bold=True) for one in largest]


def _text() -> Any:
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    return mpl.rcParams["text.color"]


def _edges(ax: Any, view: pd.DataFrame, edges: pd.DataFrame) -> None:
    from matplotlib.collections import LineCollection  # noqa: PLC0415 - an extra

    if not {"query", "found"} <= set(edges.columns):
        raise SchemaError("missed= takes the edges that dkv.ann_edges gives")
    lost = edges[~edges["found"].to_numpy(bool)]
    ends = np.stack([view.index.get_indexer(lost.index), view.index.get_indexer(pd.Index(lost["query"]))])
    ends = ends[:, (ends >= 0).all(axis=0)]
    points = view[["x", "y"]].to_numpy()
    label = f"{ends.shape[1]:,} missed edges"
    # the fainter the more there are
    alpha = float(np.clip(9 / np.sqrt(ends.shape[1] or 1), 0.06, 0.5))
    ax.add_collection(
        LineCollection(list(points[ends.T]), colors=[_text()], linewidths=0.6, alpha=alpha, label=label, zorder=3),
        # both ends are points, which the axes hold already
        autolim=False,
    )


def _hits(ax: Any, view: pd.DataFrame, highlight: Any) -> list[Name]:
    """Ring rows, and give their names to be written."""
    rows, label = _highlighted(view, highlight)
    ax.scatter(
        rows["x"], rows["y"], s=70, facecolors="none", edgecolors=[_text()], linewidths=1.4, zorder=5, label=label
    )
    points = rows[["x", "y"]].to_numpy(np.float64).tolist()[:HITS]
    return [Name(str(name), x, y, _text(), beside=True) for name, (x, y) in zip(rows.index, points, strict=False)]


def _highlighted(view: pd.DataFrame, highlight: Any) -> tuple[pd.DataFrame, str]:
    if isinstance(highlight, pd.DataFrame) and {"x", "y"} <= set(highlight.columns):
        return highlight, f"{len(highlight):,} highlighted"
    own = isinstance(highlight, pd.DataFrame | pd.Series)
    found: pd.Index = pd.Index(highlight.index if own else _listed(highlight)).unique()
    there = found[found.isin(view.index)]
    if len(found) and not len(there):
        raise NotFoundError(f"not on the map: {some(found)}")
    kind = "hits" if isinstance(highlight, pd.DataFrame) else "highlighted"
    count = f"{len(there):,}" if len(there) == len(found) else f"{len(there):,} of {len(found):,}"
    return view.loc[there], f"{count} {kind}"


def _listed(labels: Any) -> pd.Index:
    many = isinstance(labels, pd.Index) or (isinstance(labels, Sequence | np.ndarray) and not isinstance(labels, str))
    listed: pd.Index = pd.Index(labels if many else [labels], tupleize_cols=False)
    return listed


def _legend(ax: Any, values: pd.Series | None) -> None:
    """Tell beside the map what colours, rings and lines are."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - an extra

    handles, _ = ax.get_legend_handles_labels()
    if values is not None and not _colours.is_scale(values):
        shown = _colours.groups(values).legend
        dots = [Line2D([], [], marker="o", ls="", ms=6, color=colour, label=name) for name, colour in shown]
        handles = [*dots, *handles]
    if handles:
        ax.legend(
            handles=handles,
            title=None if values is None or values.name is None else str(values.name),
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
            alignment="left",
        )
