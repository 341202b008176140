"""`df.vec` and `series.vec`: thin, stateless, made anew at every access."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from dkvector import frames
from dkvector.blocking import VectorStore
from dkvector.detect import is_vector_column
from dkvector.dtype import VectorArray
from dkvector.errors import NotFoundError, SchemaError
from dkvector.fields import VectorField
from dkvector.indexes import IndexSpec, as_spec
from dkvector.ingest import OnBad, Reading
from dkvector.metrics import DistanceMetric, Floats, score
from dkvector.records import Record
from dkvector.registry import Target, connect
from dkvector.requests import Mode
from dkvector.vectors import normalize, read_queries, read_vectors, to_matrix

_NUMBERED = re.compile(r"(.*?)\d+$")


class VecAccessor:
    """Vectors of a DataFrame: search them, push them to a store, read them.

    Example:
        >>> frame = pd.DataFrame({"word": ["cat", "dog"], "v": [[1.0, 0.0], [0.0, 1.0]]})
        >>> frame.vec.search([0.9, 0.1], k=1).word.tolist()
        ['cat']
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        if not any(is_vector_column(frame.iloc[:, at]) for at in range(frame.shape[1])) and not _spread(frame):
            raise AttributeError("no column of this frame holds vectors; without rows only a vector[d] column tells")
        self._frame = frame

    @property
    def fields(self) -> dict[Any, int]:
        """The vector columns, with their dimensions."""
        return {name: _dimensions(self._frame[self.column(name)]) for name in self._names()}

    def field(self, on: str | None = None, *, on_bad: OnBad = "raise") -> VectorField:
        """Give a whole vector column, validated.

        Args:
            on: the column, where there are several.
            on_bad: "drop" leaves out the rows whose vectors can't be used.

        Returns:
            The field: float32 `(n, d)`.

        Raises:
            VectorError: vectors that can't be used; names the rows.
        """
        name = self.column(on)
        read = read_vectors(self._frame[name], on_bad=on_bad, name=str(name))
        return VectorField(read.matrix, read.dimensions, {"name": name})

    def column(self, on: str | None = None) -> Any:
        """Find the name of the vector column.

        Raises:
            NotFoundError: no such vector column.
            SchemaError: several, and none named; or several of that name.
        """
        names = self._names()
        frames.check_once(self._frame, names if on is None else [on])
        if on is not None and on not in names:
            raise NotFoundError.of("vector column", str(on), map(str, names))
        if on is None and len(names) != 1:
            found = f"several vector columns: name one of {', '.join(map(repr, names))} with on=" if names else ""
            raise SchemaError(found or "the vectors are spread over columns: gather() them first")
        return names[0] if on is None else on

    def _names(self) -> list[Any]:
        frame = self._frame
        return [name for at, name in enumerate(frame.columns) if is_vector_column(frame.iloc[:, at])]

    def search(
        self,
        query: Any = None,
        k: int = 10,
        *,
        like: Any = None,
        on: str | None = None,
        where: Any = None,
        metric: DistanceMetric | str = DistanceMetric.COSINE,
        columns: Sequence[Any] | None = None,
        include_vectors: bool = False,
        on_bad: OnBad = "raise",
    ) -> pd.DataFrame:
        """Find the k nearest rows of this frame, exactly.

        Args:
            query: one vector `(d,)` or many `(q, d)`; an array, a Series, a `VectorField`.
            k: neighbours of each query.
            like: instead of a query, the label of a row, or a list of labels; a row is not its own neighbour.
            on: the vector column, where there are several.
            where: a filter, applied before the neighbours are taken.
            metric: "cosine", "euclidean" or "dot_product".
            columns: columns to give; all but the vectors by default.
            include_vectors: give the vectors too.
            on_bad: "drop" leaves out the rows whose vectors can't be used.

        Returns:
            A frame indexed by row label: `query` (where there are several), `rank` from 1, `score`, `distance`, then
            the columns. Nearest first, ties in the order of the frame.

        Raises:
            VectorError: vectors or queries that can't be used; names the rows.
            FilterError: a filter that can't be read.
        """
        return frames.search(
            self._frame,
            self.column(on),
            frames.Asked(query, like, k, DistanceMetric.of(metric)),
            where=where,
            columns=self._payload(columns, include_vectors=include_vectors),
            on_bad=on_bad,
        )

    def _payload(self, columns: Sequence[Any] | None, *, include_vectors: bool) -> list[Any]:
        vectors = self._names()
        names = _listed(columns)
        if names is None:
            names = [name for name in self._frame.columns if name not in vectors]
        for name in names:
            if name not in self._frame.columns:
                raise NotFoundError.of("column", str(name), map(str, self._frame.columns))
        names += [name for name in vectors if include_vectors and name not in names]
        frames.check_once(self._frame, names)
        return names

    def push(
        self,
        target: Target = "faiss",
        *,
        path: str | PathLike[str] | None = None,
        table: str | None = None,
        index: IndexSpec | str | dict[str, Any] | None = None,
        on: str | Sequence[str] | None = None,
        metric: DistanceMetric | str | None = None,
        columns: Sequence[str] | None = None,
        mode: Mode = "upsert",
        on_bad: OnBad = "raise",
        model: str | None = None,
        version: str | None = None,
        progress: bool | None = None,
    ) -> VectorStore:
        """Write this frame to a store: the index of the frame is the id of its rows.

        Args:
            target: a backend's name, a URL, a folder or a config dict.
            path: the folder of an embedded store; a temporary one by default.
            table: the table of a database, or the index of a search engine.
            index: an index to build: "flat", "hnsw", "ivf", "auto", or a spec such as ``HNSW(m=32)``.
            on: the vector columns; all by default.
            metric: what the store will measure by; cosine by default, or what it measures by already.
            columns: payload columns to write; all others by default.
            mode: "upsert" replaces rows of known ids, "insert" refuses them, "replace" swaps all rows.
            on_bad: "drop" leaves out the rows whose vectors can't be used.
            model: the model that made the vectors, kept with the store.
            version: its version.
            progress: show bars; by default where there is much to do.

        Returns:
            The store, open; its `written` tells how many rows were new, and which were left out.

        Raises:
            VectorError: vectors that can't be used; nothing is written.
            DuplicateIdError: labels that are not unique; nothing is written.
        """
        reading = Reading(
            None if on is None else tuple(_listed(on) or ()),
            None if columns is None else tuple(_listed(columns) or ()),
            None if metric is None else DistanceMetric.of(metric),
            model,
            version,
            on_bad,
        )
        spec = None if index is None else as_spec(index)
        store = connect(target, path=path, table=table)
        try:
            if spec is not None:
                store.supports.check_index(store.name, spec)
                store.store.planned = spec
            store.upsert(self._frame, mode=mode, reading=reading, progress=progress)
            for info in store.store.known.vectors:
                if spec is not None:
                    store.build_index(spec, info.name, progress=progress)
        except BaseException:
            store.close()
            raise
        return store

    def gather(self, columns: str | Sequence[str], into: str) -> pd.DataFrame:
        """Turn one column per dimension into one vector column.

        Args:
            columns: a pattern such as "emb_*", or the names in order.
            into: name of the vector column.

        Returns:
            A new frame: the columns that were gathered are left out, `into` stands last.

        Example:
            >>> pd.DataFrame({"n": [7], "e_0": [0.5], "e_1": [1.0]}).vec.gather("e_*", into="e").e.dtype
            vector[2]
        """
        return frames.gathered(self._frame, columns, into)

    def to_records(self, on: str | None = None) -> list[Record]:
        """Give the rows as records, each with its label as id and its vectors as fields."""
        return frames.records(self._frame, self._names() if on is None else [self.column(on)])


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
        return _dimensions(self._series)

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
        norms[slice(None) if read.rows is None else read.rows] = np.linalg.norm(read.matrix, axis=1)
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


def _listed(names: Any) -> list[Any] | None:
    return None if names is None else [names] if isinstance(names, str) else list(names)


def _spread(frame: pd.DataFrame) -> bool:
    """Tell whether vectors are spread over numbered columns, which `gather` can collect."""
    seen = set()
    for name, dtype in frame.dtypes.items():
        stem = _NUMBERED.match(name) if isinstance(name, str) and pd.api.types.is_numeric_dtype(dtype) else None
        if stem is not None and stem[1] in seen:
            return True
        seen.add(stem and stem[1])
    return False


def _dimensions(series: pd.Series) -> int:
    known = getattr(series.dtype, "dimensions", None)
    return int(known) if known is not None else to_matrix(series.dropna().iloc[:1])[0].shape[1]


def register(name: str = "vec") -> str:
    """Register the accessors, once; under "dk" + name where another package holds the name.

    Returns:
        The name they are found under.
    """
    for owner in (pd.DataFrame, pd.Series):
        held = getattr(owner, name, None)
        if held is not None and not getattr(held, "__module__", "").startswith("dkvector"):
            warnings.warn(f"another package holds df.{name}; dkvector is at df.dk{name}", stacklevel=2)
            return register("dk" + name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pandas warns when we meet ourselves after a reload
        pd.api.extensions.register_dataframe_accessor(name)(VecAccessor)
        pd.api.extensions.register_series_accessor(name)(SeriesVecAccessor)
    return name
