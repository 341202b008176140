"""Do the vectors come from one model? A split of the rows into two sets that have nothing to do with each other.

Two topics of one model are apart too; what tells two models from them is the shape of the space. Vectors of one model
vary along the same directions, whatever they are about; those of another model along directions of their own. So a
frame is said to be mixed only where it falls into two sets with hardly a neighbour across, the covariances of the two
sets are unrelated, and the halves of each set, cut in the same way, are related.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dkvector.backends._topk import Positions
from dkvector.metrics import Floats

Mask = NDArray[np.bool_]
Doubles = NDArray[np.float64]

STEPS, VECTORS = 60, 6  # of the search for eigenvectors
LEAST = 0.05  # share of the rows in the smaller set
ACROSS = 0.02  # share of a set's neighbours that may be across
RELATED = 0.1  # likeness of covariances of one model; of unrelated ones it is 0 ± 1 / d
UNRELATED = 0.15  # likeness between two models, as a part of that within each
ENOUGH = 40  # rows in each half of a set


@dataclass(frozen=True)
class Graph:
    """Neighbours of rows, `(e,)` pairs: row `one` has `other` among its nearest."""

    one: Positions
    other: Positions
    rows: int

    def within(self, side: Mask) -> Graph:
        """Give the pairs inside a set, its rows numbered anew."""
        both = side[self.one] & side[self.other]
        number = np.cumsum(side) - 1
        return Graph(number[self.one[both]], number[self.other[both]], int(side.sum()))

    def eigenvectors(self) -> Doubles:
        """Give vectors `(n, v)` that change least from neighbour to neighbour, the constant one left out.

        They are the leading ones of the random walk, D⁻¹W, by subspace iteration on its symmetric form.
        """
        ends = np.concatenate([self.one, self.other])
        order = np.argsort(ends, kind="stable")
        far = np.concatenate([self.other, self.one])[order]
        degree = np.bincount(ends, minlength=self.rows)
        starts = np.cumsum(degree) - degree
        root = np.sqrt(np.maximum(degree, 1))[:, None]
        flat = root / np.linalg.norm(root)
        values = np.random.default_rng(0).standard_normal((self.rows, min(VECTORS, self.rows)))
        for _ in range(STEPS):
            values -= flat * (flat.T @ values)
            values = np.linalg.qr(values)[0]
            # a further row, for reduceat may have to start behind the last pair
            walked = np.add.reduceat(np.append((values / root)[far], [values[0] * 0], axis=0), starts)
            # of no pairs reduceat gives what comes next
            walked[degree == 0] = 0
            # half a step: vectors that flip from side to side, whose values are negative, fall behind
            values, before = (values + walked / root) / 2, values
        strength, turn = np.linalg.eigh(before.T @ values)
        found: Doubles = (before @ turn / root)[:, np.argsort(-strength)]
        return found


def two_models(matrix: Floats, graph: Graph) -> Mask | None:
    """Find the rows of a second model.

    Args:
        matrix: vectors `(n, d)`.
        graph: their nearest neighbours.

    Returns:
        The rows of the smaller set, `(n,)`; None where the vectors look like those of one model.
    """
    if len(matrix) < 4 * ENOUGH:
        return None
    side, across = cut(graph)
    halves = [half for one in (side, ~side) for half in _halves(matrix, one, graph)] if across <= ACROSS else []
    if not halves or min(map(len, halves)) < ENOUGH:
        return None
    shapes = [shape(half) for half in halves]
    inside = min(likeness(shapes[0], shapes[1]), likeness(shapes[2], shapes[3]))
    between = max(abs(likeness(one, other)) for one in shapes[:2] for other in shapes[2:])
    if inside < RELATED or between > UNRELATED * inside:
        return None
    return side if side.sum() * 2 <= len(side) else ~side


def _halves(matrix: Floats, side: Mask, graph: Graph) -> tuple[Floats, Floats]:
    own = matrix[side]
    half, _ = cut(graph.within(side), least=0.2)
    return own[half], own[~half]


def cut(graph: Graph, least: float = LEAST) -> tuple[Mask, float]:
    """Cut a graph in two where fewest pairs go across, along one of its first eigenvectors.

    Shi and Malik, *Normalized cuts and image segmentation*, PAMI 2000.

    Args:
        graph: the pairs.
        least: share of the rows in the smaller part.

    Returns:
        The rows of one part `(n,)`, and the share of pairs across among those of the part that has fewer.
    """
    cuts = [_sweep(graph, values, least) for values in graph.eigenvectors().T[:3]]
    return min(cuts, key=lambda one: one[1])


def _sweep(graph: Graph, values: Doubles, least: float) -> tuple[Mask, float]:
    """Cut at the best place along some values."""
    place = np.empty(graph.rows, np.intp)
    place[np.argsort(values, kind="stable")] = np.arange(graph.rows)
    one, other = place[graph.one], place[graph.other]
    # a pair is across at every place between its ends: pairs that have begun, less those that have ended
    begun = np.bincount(np.minimum(one, other), minlength=graph.rows)
    ended = np.bincount(np.maximum(one, other), minlength=graph.rows)
    volume = np.cumsum(np.bincount(one, minlength=graph.rows) + np.bincount(other, minlength=graph.rows))
    share = np.cumsum(begun - ended) / np.maximum(np.minimum(volume, volume[-1] - volume), 1)
    lowest = int(np.ceil(graph.rows * least))
    at = lowest - 1 + int(np.argmin(share[lowest - 1 : graph.rows - lowest]))
    return place <= at, float(share[at])


def shape(vectors: Floats) -> Doubles:
    """Give the covariance `(d, d)` without its size and its round part: the directions in which vectors vary."""
    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    covariance: Doubles = centred.T @ centred
    covariance -= np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    size = np.linalg.norm(covariance)
    result: Doubles = covariance / (size or 1)
    return result


def likeness(one: Doubles, other: Doubles) -> float:
    """Compare two shapes: 1 for the same directions, about 0 for unrelated ones."""
    return float((one * other).sum())
