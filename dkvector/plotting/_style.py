"""What all pictures share: colours, markers, axes, and labels that stand beside what they name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from dkvector.errors import MissingExtraError

# Okabe and Ito's, without the yellow and the black, which one background or the other swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SIZE = (7.2, 4.4)  # inches
GAP = 0.052  # of the height of the axes, between two labels
FAINT = 0.3


@dataclass(frozen=True)
class End:
    """A point that a label in the margin belongs to."""

    x: float
    y: float
    text: str
    colour: Any


def axes(ax: Any, size: tuple[float, float] = SIZE) -> Any:
    """Give the axes to draw on; new ones where none are given.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot as plt  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("matplotlib", "plot") from exc
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(which="major", alpha=0.25, linewidth=0.7)
    ax.set_axisbelow(True)
    return ax


def styles(names: Sequence[Any]) -> dict[Any, tuple[str, str]]:
    """Give each series a colour and a marker; they begin anew at different lengths: no pair comes twice soon."""
    looks: Iterator[tuple[str, str]] = zip(cycle(COLOURS), cycle(MARKERS), strict=False)
    return {name: next(looks) for name in dict.fromkeys(names)}


def ink(colour: Any, *, text: float = 0.3) -> tuple[float, ...]:
    """Bring a colour nearer to that of text, by a share, for letters are thinner than lines and points."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra
    from matplotlib.colors import to_rgb  # noqa: PLC0415

    pairs = zip(to_rgb(colour), to_rgb(mpl.rcParams["text.color"]), strict=True)
    return tuple((1 - text) * one + text * other for one, other in pairs)


def label_ends(ax: Any, ends: Sequence[End], *, size: float = 8.5) -> None:
    """Name series in the right margin, each at the height of its last point as far as the others leave room."""
    # matplotlib settles limits as late as it can, and heights depend on them
    ax.autoscale_view()
    to_share = ax.transData + ax.transAxes.inverted()
    placed = sorted(((float(to_share.transform((one.x, one.y))[1]), one) for one in ends), key=lambda pair: pair[0])
    gap = GAP * 4.4 / max(_height(ax), 1.0)
    # smaller letters, where there would be no room for all
    crowded = max(1.0, gap * (len(placed) - 1))
    gap, size = gap / crowded, size / crowded
    heights = _apart([height for height, _ in placed], gap)
    for (_, one), height in zip(placed, heights, strict=True):
        ax.annotate(
            one.text,
            (one.x, one.y),
            (1.03, height),
            textcoords="axes fraction",
            color=ink(one.colour),
            fontsize=size,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": one.colour, "alpha": 0.45, "linewidth": 0.7, "shrinkB": 4},
        )


def _height(ax: Any) -> float:
    """Tell the height of the axes in inches."""
    figure = ax.get_figure()
    # matplotlib's own margins leave the axes 0.77 of the height
    return float(ax.get_position().height * figure.get_size_inches()[1] / 0.77)


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move ascending heights apart to at least a gap, each as little as its neighbours allow, inside the axes.

    Example:
        >>> [round(one, 2) for one in _apart([0.5, 0.5, 0.9], 0.1)]
        [0.45, 0.55, 0.9]
    """
    groups: list[list[float]] = []  # of labels that touch: their wanted heights
    for height in heights:
        groups.append([height])
        while len(groups) > 1 and _bottom(groups[-1], gap) < _bottom(groups[-2], gap) + gap * len(groups[-2]):
            groups[-2:] = [groups[-2] + groups[-1]]
    spread = [_bottom(group, gap) + gap * at for group in groups for at in range(len(group))]
    # what stands out above is pushed in, then what stands out below
    places = np.arange(len(spread)) * gap
    under: Any = np.minimum(spread, 1 - places[::-1])
    return np.maximum(under, places).tolist()  # type: ignore[no-any-return]


def _bottom(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


NEAR = 2e-3  # of full recall, where the stretched axis ends
TICK = 0.16  # of the width, between two recalls
RECALLS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)


def stretch_recall(ax: Any) -> None:
    """Give recalls near 1 the room that they need: equal steps for equal factors of what is lost."""

    def forward(recall: Any) -> Any:
        return -np.log10(np.maximum(1 + NEAR - np.asarray(recall), 1e-9))

    ax.set_xscale("function", functions=(forward, lambda place: 1 + NEAR - 10 ** -np.asarray(place)))
    low = ax.dataLim.x0
    ax.set_xlim(max(0.0, low - 0.06 * (1 + NEAR - low) - 1e-3), 1 + 0.2 * NEAR)
    apart: list[float] = []
    # from full recall down, each as far from the one before as its figures need
    for tick in RECALLS[::-1]:
        room = not apart or forward(apart[-1]) - forward(tick) > TICK * (forward(1.0) - forward(low))
        if room and tick >= low - 0.05 * (1 - low):
            apart.append(tick)
    ax.set_xticks(apart, [f"{tick:g}" for tick in apart])
    ax.minorticks_off()


def label_points(ax: Any, points: Sequence[End], *, size: float = 7) -> None:
    """Write beside points what they are, the first ones first, and leave out what would cover another."""
    from matplotlib.text import Text  # noqa: PLC0415 - an extra

    # the words, without the line to their point
    taken = [Text.get_window_extent(one) for one in ax.texts]
    for one in points:
        for offset, ha in (((5, 4), "left"), ((-5, -9), "right"), ((5, -9), "left"), ((-5, 4), "right")):
            note = ax.annotate(
                one.text,
                (one.x, one.y),
                offset,
                textcoords="offset points",
                fontsize=size,
                color=ink(one.colour),
                ha=ha,
            )
            box = note.get_window_extent()  # which places it first
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            note.remove()


def span(axis: Any, values: Any) -> None:
    """Give a logarithmic axis some length where all values are one, or as good as one: it would have none."""
    low, high = float(np.min(values)), float(np.max(values))
    if high < 1.01 * low:
        name = axis.axis_name
        axis.axes.set(**{f"autoscale{name}_on": False, f"{name}lim": (low / 2, high * 2)})


def plain_numbers(axis: Any, *, times: float = 1, unit: str = "") -> None:
    """Write 20 and 5,000 on a logarithmic axis, not powers of ten; between them only where there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator  # noqa: PLC0415 - an extra

    axis.set_major_locator(LogLocator(subs=(1.0,)))
    low, high = sorted(axis.get_view_interval())
    decades = high / max(low, 1e-12)
    axis.set_minor_locator(LogLocator(subs=(2.0, 5.0) if decades < 1e3 else ()))  # noqa: PLR2004 - three decades
    for set_formatter in (axis.set_major_formatter, axis.set_minor_formatter):
        set_formatter(FuncFormatter(lambda value, _: f"{value * times:,.10g}{unit}"))
