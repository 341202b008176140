"""Maps: vectors as points in the plane, new rows placed among them, and the neighbours that an index misses."""

from dkvector.maps.edges import ann_edges, edge_recall
from dkvector.maps.place import place
from dkvector.maps.plot import plot_map
from dkvector.maps.project import project

__all__ = ["ann_edges", "edge_recall", "place", "plot_map", "project"]
