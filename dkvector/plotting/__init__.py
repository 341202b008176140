"""Pictures of tidy frames: each function takes a frame and `ax=`, and gives the Axes it drew on.

Text and grid take the colours of the style in use, so that they are readable on paper and on a dark screen; series
differ by colours that the colour-blind can tell apart (Okabe and Ito, 2008), and by their markers.
"""

from dkvector.plotting._style import COLOURS
from dkvector.plotting.forms import plot_parity, plot_shrink
from dkvector.plotting.runs import plot_builds, plot_frontier, plot_latency, undominated
from dkvector.plotting.shares import plot_selectivity, plot_slices

__all__ = [
    "COLOURS",
    "plot_builds",
    "plot_frontier",
    "plot_latency",
    "plot_parity",
    "plot_selectivity",
    "plot_shrink",
    "plot_slices",
    "undominated",
]
