"""scikit-learn's `KNeighborsTransformer` over our stores: a graph of neighbours for its estimators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.blocking import VectorStore
from dkvector.counts import as_count
from dkvector.dtype import VectorArray
from dkvector.errors import SchemaError, UnsupportedError, hint
from dkvector.indexes import IndexSpec, Tuning, as_spec
from dkvector.interop._documents import hits_of
from dkvector.interop._extra import needs
from dkvector.metrics import DistanceMetric
from dkvector.pushing import filled
from dkvector.registry import connect

with needs("scikit-learn", "sklearn"):
    from scipy.sparse import csr_matrix
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted, validate_data

MODES = ("distance", "connectivity")
_BLOCK = 1 << 22  # numbers of a block when distances are measured again
Doubles = NDArray[np.float64]
Mode = Literal["distance", "connectivity"]


class NeighborsTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The graph of the k nearest neighbours, as `sklearn.neighbors.KNeighborsTransformer` gives it.

    Stands in front of any estimator that takes ``metric="precomputed"`` and a sparse graph: `KNeighborsClassifier`,
    `DBSCAN`, `SpectralClustering`, `Isomap`, `TSNE` … Neighbours are found in float32, and their distances measured
    again in double precision, so that they do not depend on the batch that a row came in.

    Args:
        mode: "distance", or "connectivity", whose graph has ones.
        n_neighbors: neighbours of each row; "distance" gives one more, since a row is its own neighbour.
        metric: "euclidean" or "cosine".
        backend: "exact" or "faiss".
        index: of Faiss: an index spec such as ``dkv.HNSW(m=16)``, its name, or a dict; exact search by default.
        tuning: search-time knobs, such as ``{"ef_search": 100}``.

    Attributes:
        n_samples_fit_: rows that were fitted.
        n_features_in_: their length.

    Example:
        >>> graph = NeighborsTransformer(n_neighbors=1).fit_transform([[0.0], [1.0], [3.0]])
        >>> graph.toarray()
        array([[0., 1., 0.],
               [1., 0., 0.],
               [0., 2., 0.]])
    """

    def __init__(
        self,
        *,
        mode: Mode = "distance",
        n_neighbors: int = 5,
        metric: DistanceMetric | str = "euclidean",
        backend: str = "exact",
        index: IndexSpec | str | Mapping[str, Any] | None = None,
        tuning: Tuning | Mapping[str, Any] | None = None,
    ) -> None:
        # kept as they are and looked at by fit(): scikit-learn clones and sets parameters without a check
        self.mode = mode
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.backend = backend
        self.index = index
        self.tuning = tuning

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002, N803 - scikit-learn's signature
        """Keep rows, and build the index.

        Args:
            X: `(n, d)`.
            y: of no use.

        Returns:
            Itself.

        Raises:
            VectorError: rows that can't be used; under cosine zero rows are among them.
            SchemaError: an unknown mode or a number of neighbours below 1.
            UnsupportedError: "dot_product", which is no distance, or an index that the backend has not.
        """
        self._check()
        self._hold(validate_data(self, X, dtype=[np.float64, np.float32]))
        return self

    def _check(self) -> None:
        if self.mode not in MODES:
            raise SchemaError(f"no mode {self.mode!r}; {hint(self.mode, MODES)}")
        if not hasattr(self.n_neighbors, "__index__") or self.n_neighbors < 1:
            raise SchemaError(f"n_neighbors must be a whole number of at least 1, not {self.n_neighbors!r}")
        if self._metric is DistanceMetric.DOT_PRODUCT:
            raise UnsupportedError.lacking("a graph of distances", "metric", "dot_product", ["cosine", "euclidean"])
        if self.backend not in {"exact", "faiss"}:
            raise UnsupportedError.lacking("NeighborsTransformer", "backend", self.backend, ["exact", "faiss"])

    @property
    def _metric(self) -> DistanceMetric:
        return DistanceMetric.of(self.metric)

    def _hold(self, rows: NDArray[Any]) -> None:
        self._rows = rows
        self._store = self._built(rows)
        # get_feature_names_out() counts by the second
        self.n_samples_fit_ = self._n_features_out = len(rows)

    def _built(self, rows: NDArray[Any]) -> VectorStore:
        spec = None if self.index is None else as_spec(self.index)
        frame = pd.DataFrame({"row": VectorArray(np.asarray(rows, np.float32))})
        store = connect({"backend": self.backend, "metric": self._metric})
        return filled(store, spec, lambda one: one.upsert(frame), progress=None)

    def transform(self, X: Any) -> csr_matrix:  # noqa: N803 - scikit-learn's signature
        """Find the neighbours of rows among those that were fitted.

        Args:
            X: `(q, d)`.

        Returns:
            A sparse matrix `(q, n)`, each row sorted by distance.

        Raises:
            SchemaError: fewer rows were fitted than neighbours are wanted.
        """
        return self.kneighbors_graph(X, self.n_neighbors + (self.mode == "distance"))

    def kneighbors(
        self,
        X: Any = None,  # noqa: N803 - scikit-learn's signature
        n_neighbors: int | None = None,
        return_distance: bool = True,
    ) -> Any:
        """Find the nearest rows.

        Args:
            X: `(q, d)`; the fitted rows themselves by default, none of which is then its own neighbour.
            n_neighbors: of each; the estimator's by default.
            return_distance: give distances too.

        Returns:
            Distances `(q, k)` float64 (where they are wanted) and positions `(q, k)`, nearest first.

        Raises:
            SchemaError: fewer rows were fitted than neighbours are wanted.
        """
        check_is_fitted(self)
        k = as_count(self.n_neighbors if n_neighbors is None else n_neighbors, "n_neighbors")
        rows = None if X is None else validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        there = self.n_samples_fit_ - (rows is None)
        if k > there:
            raise SchemaError(f"n_neighbors = {k}, but there are only {there} rows to find (n_samples_fit)")
        distances, positions = self._measured(rows, self._found(rows, k))
        return (distances, positions) if return_distance else positions

    def kneighbors_graph(self, X: Any = None, n_neighbors: int | None = None) -> csr_matrix:  # noqa: N803
        """Give the graph of the nearest rows; takes what `kneighbors` takes, and raises what it raises."""
        distances, positions = self.kneighbors(X, n_neighbors)
        values = distances if self.mode == "distance" else np.ones_like(distances)
        starts = np.arange(len(positions) + 1) * positions.shape[1]
        return csr_matrix((values.ravel(), positions.ravel(), starts), (len(positions), self.n_samples_fit_))

    def _found(self, rows: NDArray[Any] | None, k: int) -> NDArray[np.intp]:
        if rows is None:
            hits = hits_of(self._store, like=list(range(self.n_samples_fit_)), k=k, tuning=self.tuning)
        else:
            hits = hits_of(self._store, np.asarray(rows, np.float32), k, tuning=self.tuning)
        if short := int((hits.counts < k).sum()):
            raise SchemaError(f"the index found fewer than {k} neighbours of {short} rows: raise tuning, or index=None")
        return hits.ids.to_numpy(np.intp).reshape(-1, k)

    def _measured(self, rows: NDArray[Any] | None, positions: NDArray[np.intp]) -> tuple[Doubles, NDArray[np.intp]]:
        """Measure in double precision, and sort by it."""
        asked = self._rows if rows is None else rows
        distances = np.empty(positions.shape)
        step = max(1, _BLOCK // max(1, positions.shape[1] * asked.shape[1]))
        for start in range(0, len(asked), step):
            part = slice(start, start + step)
            near = self._rows[positions[part]].astype(np.float64)
            distances[part] = _distances(asked[part].astype(np.float64)[:, None], near, self._metric)
        order = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(distances, order, 1), np.take_along_axis(positions, order, 1)

    def __getstate__(self) -> dict[str, Any]:
        # a store with its files and threads is no pickle: it is built again of the rows
        return {name: value for name, value in super().__getstate__().items() if name != "_store"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_rows" in state:
            self._store = self._built(self._rows)


def _distances(one: Doubles, other: Doubles, metric: DistanceMetric) -> Doubles:
    if metric is DistanceMetric.EUCLIDEAN:
        made: Doubles = np.linalg.norm(one - other, axis=-1)
        return made
    cosines: Doubles = (_directions(one) * _directions(other)).sum(-1)
    return (1 - cosines).clip(0, 2)


def _directions(rows: Doubles) -> Doubles:
    made: Doubles = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return made
