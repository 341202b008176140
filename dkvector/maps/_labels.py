"""Names on a map: each near what it names, none over another; the first ones win."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

RINGS, SPOKES = 9, 12  # places that are tried round a point
STEP = 0.75  # from ring to ring, in heights of the text
MARGIN = np.array([5.0, 1.5])  # pixels between two names, across and up
RING = 5.0  # pixels round a point that no name may cover


@dataclass(frozen=True)
class Name:
    """A name at a point.

    Attributes:
        text: the name.
        x: of the point, in the units of the map.
        y: likewise.
        colour: of the text.
        bold: whether it is bold.
        beside: whether it must not cover the point itself.
    """

    text: str
    x: float
    y: float
    colour: Any
    bold: bool = False
    beside: bool = False


def write(ax: Any, names: Sequence[Name], *, size: float = 8.5) -> int:
    """Write names on axes whose size is settled.

    A name for which there is no room near its point is left out.

    Args:
        ax: the axes.
        names: what to write, the most important first.
        size: of the letters, in points.

    Returns:
        How many were written.
    """
    from matplotlib.patheffects import withStroke  # noqa: PLC0415 - an extra

    # so that letters can be read over points and lines
    halo = [withStroke(linewidth=2.5, foreground=ax.get_facecolor())]
    frame, written = np.array(ax.get_window_extent().extents), 0
    taken = [np.concatenate([at - RING, at + RING]) for at in _rings(ax, names)]
    for name in names:
        text = ax.annotate(
            name.text,
            (name.x, name.y),
            (0, 0),
            textcoords="offset pixels",
            ha="center",
            va="center",
            color=name.colour,
            fontsize=size,
            fontweight="bold" if name.bold else "normal",
            path_effects=halo,
            zorder=6,
        )
        text.set_in_layout(False)  # or the axes would give way to it
        # measured on the point itself: places are told from there
        box = np.array(text.get_window_extent().extents)
        found = next((at for at in _places(box, beside=name.beside) if _free(box, at, frame, taken)), None)
        if found is None:
            text.remove()
            continue
        text.set_position(found)
        taken.append(_moved(box, found))
        written += 1
    return written


def _rings(ax: Any, names: Sequence[Name]) -> Doubles:
    """Give the pixels of the points that must not be covered, `(p, 2)`."""
    points = [(name.x, name.y) for name in names if name.beside]
    found: Doubles = ax.transData.transform(np.reshape(points, (-1, 2)))
    return found


def _places(box: Doubles, *, beside: bool) -> Iterator[tuple[float, float]]:
    """Give offsets in pixels, the nearest first: on the point, then round it in an ellipse as wide as the text."""
    if not beside:
        yield 0.0, 0.0
    wide, high = box[2] - box[0], box[3] - box[1]
    for ring in range(1, RINGS + 1):
        out = ring * STEP * high
        for turn in np.arange(SPOKES) * (2 * np.pi / SPOKES):
            yield float(np.cos(turn) * (out + beside * wide / 2)), float(np.sin(turn) * out)


def _moved(box: Doubles, by: tuple[float, float]) -> Doubles:
    moved: Doubles = box + np.array([by[0], by[1], by[0], by[1]])
    return moved


def _free(box: Doubles, by: tuple[float, float], frame: Doubles, taken: Sequence[Doubles]) -> bool:
    """Tell whether a place is inside the axes and covers no name."""
    here = _moved(box, by)
    if (here[:2] < frame[:2]).any() or (here[2:] > frame[2:]).any():
        return False
    return all((here[:2] > other[2:] + MARGIN).any() or (here[2:] < other[:2] - MARGIN).any() for other in taken)
