"""What every verb starts from: the rows of a frame whose vectors can be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector import frames
from dkvector.backends._knn import nearest
from dkvector.backends._topk import Block, Nearest, Positions
from dkvector.errors import UnsupportedError
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric, Floats
from dkvector.norms import normalize
from dkvector.vectors import read_vectors


@dataclass(frozen=True)
class Ground:
    """Rows with vectors.

    Attributes:
        frame: the rows whose vectors can be used, `n` of them.
        matrix: their vectors, `(n, d)` float32.
        metric: what to measure by.
        kept: `(n,)` which rows of the whole frame they are; None where they are all.
        mask: `(n,)` the rows that may be found; None where all may.
    """

    frame: pd.DataFrame
    matrix: Floats
    metric: DistanceMetric
    kept: Positions | None = None
    mask: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.matrix)

    @cached_property
    def block(self) -> Block:
        """The vectors, and their norms once they are wanted."""
        return Block(0, self.matrix)

    @property
    def directions(self) -> Floats:
        """The vectors as clusters and samples compare them: at unit length under cosine."""
        return normalize(self.matrix) if self.metric is DistanceMetric.COSINE else self.matrix

    def by(self, metric: DistanceMetric) -> Ground:
        """Give the same rows, measured by another metric."""
        return replace(self, metric=metric)

    def some(self, places: Positions) -> Ground:
        """Give some of the rows; all of them where so many are named."""
        if len(places) == len(self):
            return self
        return Ground(self.frame.iloc[places], np.ascontiguousarray(self.matrix[places]), self.metric)

    def take(self, columns: Sequence[Any], positions: Positions) -> dict[Any, Any]:
        """Give columns of some rows."""
        return {name: self.frame[name].array.take(positions) for name in columns}

    def neighbors(self, k: int, progress: bool | None) -> Nearest:
        """Find the k nearest other rows of every row, among those that may be found."""
        every = np.arange(len(self))
        if self.mask is None:
            return nearest(self.block, self.matrix, k, self.metric, own=every, progress=progress)
        found = np.flatnonzero(self.mask)
        # where each row stands among those that may be found; one that may not is no neighbour of its own anyway
        own = np.full(len(self), -1)
        own[found] = np.arange(len(found))
        near = nearest(Block(0, self.matrix[found]), self.matrix, k, self.metric, own=own, progress=progress)
        return Nearest(found[near.positions], near.distances, near.counts)


def ground(frame: pd.DataFrame, name: Any, metric: DistanceMetric, *, where: Any = None, on_bad: OnBad) -> Ground:
    """Read a vector column, and the filter of those rows that may be found.

    Raises:
        VectorError: vectors that can't be used; names the rows.
        FilterError: a filter that can't be read.
    """
    # before bad rows are left out: a boolean Series is as long as the whole frame
    mask = frames.matching(frame, where)
    read = read_vectors(frame[name], metric=metric, on_bad=on_bad, name=str(name))
    if read.rows is None:
        return Ground(frame, read.matrix, metric, mask=mask)
    mask = None if mask is None else mask[read.rows]
    return Ground(frame.iloc[read.rows], read.matrix, metric, read.rows, mask)


def distinctive(metric: DistanceMetric | str, verb: str) -> DistanceMetric:
    """Read a metric under which a vector is nearest to itself.

    Raises:
        UnsupportedError: by inner product a vector is nearer to longer ones than to itself.
    """
    by = DistanceMetric.of(metric)
    if by is DistanceMetric.DOT_PRODUCT:
        raise UnsupportedError.lacking(verb, "metric", by, [DistanceMetric.COSINE, DistanceMetric.EUCLIDEAN])
    return by
