"""Principal components: the plane in which vectors vary most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dkvector.errors import SchemaError
from dkvector.metrics import Floats
from dkvector.norms import BLOCK

Doubles = NDArray[np.float64]

ROUNDING = 1e-3  # of the extent of a map, by which a point may be beside its projection


@dataclass(frozen=True)
class Plane:
    """A plane through the vectors.

    Attributes:
        mean: `(d,)` float64, the point of the plane that is the origin of the map.
        axes: `(d, 2)` float64, of unit length; zero where vectors don't vary any more.
    """

    mean: Doubles
    axes: Doubles

    def points(self, vectors: Floats) -> Floats:
        """Project vectors `(n, d)` onto it, `(n, 2)` float32."""
        found = np.empty((len(vectors), 2), np.float32)
        for at in range(0, len(vectors), BLOCK):
            found[at : at + BLOCK] = (vectors[at : at + BLOCK] - self.mean) @ self.axes
        return found


def plane(vectors: Floats) -> Plane:
    """Find the plane of the first two principal components.

    The sign of an axis is chosen so that its largest entry is positive: the same vectors give the same map.

    Args:
        vectors: `(n, d)` float32.

    Returns:
        The plane.

    Example:
        >>> plane(np.float32([[0, 0, 1], [4, 0, 1], [0, 2, 1], [4, 2, 1]])).axes.round(3).tolist()
        [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    dimensions = vectors.shape[1]
    mean = vectors.mean(axis=0, dtype=np.float64) if len(vectors) else np.zeros(dimensions)
    scatter = np.zeros((dimensions, dimensions))
    for at in range(0, len(vectors), BLOCK):
        centred = vectors[at : at + BLOCK] - mean
        scatter += centred.T @ centred
    strengths, axes = np.linalg.eigh(scatter)
    first = np.zeros((dimensions, 2))
    # eigh gives the weakest first
    varied = strengths[::-1][:2] > 1e-12 * strengths.max(initial=0)
    first[:, : len(varied)] = axes[:, ::-1][:, :2] * varied
    largest = np.abs(first).argmax(axis=0)
    return Plane(mean, first * np.where(first[largest, [0, 1]] < 0, -1, 1))


def fitted(vectors: Floats, points: Floats) -> Plane:
    """Find the plane again onto which vectors `(n, d)` were projected, from their points `(n, 2)`.

    Raises:
        SchemaError: the points are no projection of the vectors.
    """
    mean, middle = vectors.mean(axis=0, dtype=np.float64), points.mean(axis=0, dtype=np.float64)
    # directions below that share are rounding of float32, which would be blown up
    axes = np.linalg.lstsq(vectors - mean, points - middle, rcond=1e-5)[0]
    # The mean of some rows is not that of all: what is left of it goes into the origin.
    origin = mean - np.linalg.pinv(axes.T) @ middle
    found = Plane(origin, axes)
    apart = np.abs(found.points(vectors) - points).max(initial=0)
    if apart > ROUNDING * np.ptp(points, axis=0).max(initial=1e-6):
        raise SchemaError(
            'the map is no plane through these vectors: was it made with method="umap", or by another metric?'
        )
    return found
