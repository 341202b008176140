"""`df.vec`: thin, stateless, made anew at every access; and how both accessors are registered."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any

import pandas as pd

from dkvector import frames
from dkvector.blocking import VectorStore
from dkvector.frame_columns import FrameColumns, listed
from dkvector.indexes import IndexSpec, as_spec
from dkvector.ingest import OnBad, Reading
from dkvector.metrics import DistanceMetric
from dkvector.records import Record
from dkvector.registry import Target, connect
from dkvector.requests import Mode
from dkvector.series_accessor import SeriesVecAccessor


class VecAccessor(FrameColumns):
    """Vectors of a DataFrame: search them, push them to a store, read them.

    Example:
        >>> frame = pd.DataFrame({"word": ["cat", "dog"], "v": [[1.0, 0.0], [0.0, 1.0]]})
        >>> frame.vec.search([0.9, 0.1], k=1).word.tolist()
        ['cat']
    """

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

    def push(
        self,
        target: Target = "faiss",
        *,
        path: str | PathLike[str] | None = None,
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
            None if on is None else tuple(listed(on) or ()),
            None if columns is None else tuple(listed(columns) or ()),
            None if metric is None else DistanceMetric.of(metric),
            model,
            version,
            on_bad,
        )
        spec = None if index is None else as_spec(index)
        store = connect(target, path=path)
        try:
            if spec is not None:
                store.supports.check_index(store.name, spec)
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
