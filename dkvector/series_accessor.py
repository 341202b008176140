"""`series.vec`: the vectors of one column, as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dkvector import frames
from dkvector.detect import dimensions, is_vector_column
from dkvector.dtype import VectorArray
from dkvector.metrics import DistanceMetric, Floats, score
from dkvector.norms import normalize, squared_norms
from dkvector.vectors import read_queries, read_vectors


class SeriesVecAccessor:
    """Vectors of a Series.

    Example:
        >>> pd.Series([[3.0, 4.0]]).vec.norms.tolist()
        [5.0]
    """

    def __init__(self, series: pd.Series) -> None:
        if not is_vector_column(series):
            raise AttributeError("this Series does not hold vectors")
        self._series = series

    @property
    def dimensions(self) -> int:
        """How long each vector is."""
        return dimensions(self._series)

    def to_numpy(self) -> Floats:
        """Give the matrix `(n, d)` float32, without a copy where the column allows it.

        Raises:
            VectorError: missing, ragged or not finite; names the rows.
        """
        return self._matrix()

    @property
    def norms(self) -> pd.Series:
        """Length of each vector, float32; missing where there is no vector that can be used."""
        read = read_vectors(self._series, on_bad="drop", name=self._name)
        norms = np.full(len(self._series), np.nan, np.float32)
        norms[slice(None) if read.rows is None else read.rows] = np.sqrt(squared_norms(read.matrix))
        return pd.Series(norms, index=self._series.index, name=self._series.name)

    def normalize(self) -> pd.Series:
        """Give the vectors at unit length, as `vector[d]`.

        Raises:
            VectorError: vectors without a direction; names the rows.
        """
        matrix = self._matrix(DistanceMetric.COSINE)
        return pd.Series(VectorArray(normalize(matrix)), index=self._series.index, name=self._series.name)

    def similarity(self, query: Any, metric: DistanceMetric | str = DistanceMetric.COSINE) -> pd.Series | pd.DataFrame:
        """Score every vector against one query, or many.

        Args:
            query: one vector `(d,)` or many `(q, d)`.
            metric: "cosine", "euclidean" or "dot_product".

        Returns:
            Scores, larger is better: a Series for one query, a frame with a column a query for many.
        """
        by = DistanceMetric.of(metric)
        matrix = self._matrix(by)
        queries, single, labels = read_queries(query, dimensions=matrix.shape[1], metric=by)
        scores = score(frames.distances(matrix, queries, by), by)
        if single:
            return pd.Series(scores[:, 0], index=self._series.index, name="score")
        return pd.DataFrame(scores, index=self._series.index, columns=labels)

    def _matrix(self, metric: DistanceMetric | None = None) -> Floats:
        way_out = "s[s.vec.norms > 0] leaves them out"
        return read_vectors(self._series, metric=metric, name=self._name, way_out=way_out).matrix

    @property
    def _name(self) -> str:
        return "vector" if self._series.name is None else str(self._series.name)
