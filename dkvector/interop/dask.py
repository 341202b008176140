"""`ddf.vec`: frames of Dask, searched exactly by partitions and written to a store; importing this registers it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, Literal

import numpy as np
import pandas as pd

from dkvector.blocking import VectorStore
from dkvector.counts import as_count
from dkvector.detect import dimensions
from dkvector.dtype import VectorArray, VectorDtype
from dkvector.encoders import needed, queries_of
from dkvector.errors import SchemaError
from dkvector.filters import as_filter
from dkvector.frame_columns import listed, payload, vector_column
from dkvector.indexes import IndexSpec
from dkvector.ingest import OnBad
from dkvector.interop._dask_nearest import Nearest, finished, located, together
from dkvector.interop._extra import needs
from dkvector.metrics import DistanceMetric, Floats
from dkvector.pushing import push
from dkvector.registry import Target
from dkvector.requests import Search, labels_of
from dkvector.vectors import read_queries

with needs("dask", "dask"):
    import dask
    import dask.dataframe as dd
    from dask.dataframe.extensions import make_array_nonempty, register_dataframe_accessor

FAN_IN = 8  # results that are merged at once: so many stand in memory


class DaskVecAccessor:
    """Vectors of a frame of Dask.

    Dask turns lists and arrays of an object column into text: make the column `vector[d]`, by `dkv.VectorArray`, before
    it gets there, or read it from parquet.

    Example:
        >>> frame = pd.DataFrame({"word": ["cat", "dog"], "v": VectorArray([[1.0, 0.0], [0.0, 1.0]])})
        >>> dd.from_pandas(frame, npartitions=2).vec.search([0.9, 0.1], k=1).word.tolist()
        ['cat']
    """

    def __init__(self, frame: dd.DataFrame) -> None:
        self._frame = frame

    def search(
        self,
        query: Any = None,
        k: int = 10,
        *,
        text: Any = None,
        encoder: Any = None,
        like: Any = None,
        on: str | None = None,
        where: Any = None,
        metric: DistanceMetric | str = DistanceMetric.COSINE,
        columns: Sequence[Any] | None = None,
        include_vectors: bool = False,
        on_bad: OnBad = "raise",
        compute: bool = True,
    ) -> Any:
        """Find the k nearest rows, exactly: the nearest of every partition, merged.

        Takes what `df.vec.search` takes, but for blends and several fields, and gives the frame that it gives for all
        partitions put together. What is held at once is a partition for each worker, and the hits of a few.

        Args:
            query: one vector `(d,)` or many `(q, d)`, or a `VectorQuery`.
            k: neighbours of each query.
            text: instead of a query, one text or a list of them.
            encoder: embeds the texts.
            like: instead of a query, the label of a row, or a list of labels; the partitions are read once more.
            on: the vector column, where there are several.
            where: a filter, applied before the neighbours are taken; for a Dask Series filter the frame: `ddf[series]`.
            metric: "cosine", "euclidean" or "dot_product".
            columns: columns to give; all but the vectors by default. Others are not read.
            include_vectors: give the vectors too.
            on_bad: "drop" leaves out the rows whose vectors can't be used.
            compute: False gives a `dask.delayed` frame.

        Returns:
            A pandas frame: nearest first, ties in the order of the frame.

        Raises:
            VectorError: vectors or queries that can't be used; names the rows.
            FilterError: a filter that can't be read.
            SchemaError: text without an encoder, or beside a query.
        """
        asked = Search(query, k, text, like, on, where, metric).unfolded()
        if asked.hybrid:
            raise SchemaError('vector and text together are searched for in a store: ddf.vec.push("exact") is one')
        if isinstance(asked.where, dd.Series):
            raise SchemaError("a Dask Series as where: filter the frame, ddf[series].vec.search(…)")
        sample = self._sample()
        column = vector_column(sample, asked.field)
        given = payload(sample, columns, include_vectors=include_vectors)
        by = DistanceMetric.of(asked.metric or metric)
        near = Nearest(column, asked.k, by, asked.where, tuple(given), on_bad)
        if like is not None:
            return _done(self._like(near, sample, like), compute=compute)
        queries = asked.queries if text is None else queries_of(text, needed(encoder, "search(text=…, encoder=…)"))
        matrix, single, labels = read_queries(queries, dimensions=dimensions(sample[column]), metric=by)
        if labels is None:
            labels = pd.RangeIndex(len(matrix))
        return _done(self._found(near, sample, matrix, None if single else labels), compute=compute)

    def _sample(self) -> pd.DataFrame:
        """Give a few rows, or none where the types tell which columns hold vectors."""
        meta: pd.DataFrame = self._frame._meta  # noqa: SLF001 - what a frame of Dask tells of its columns, and nothing else does
        if any(isinstance(one, VectorDtype) for one in meta.dtypes):
            return meta
        some = (part.head(5, npartitions=1) for part in self._frame.partitions)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Insufficient elements for `head`", UserWarning)
            found: pd.DataFrame = next((rows for rows in some if len(rows)), meta)
        return found

    def _parts(self, near: Nearest) -> list[Any]:
        """Give the partitions, without the columns that are not asked for."""
        names = [one for one in self._frame.columns if one in self._wanted(near)]
        frame = self._frame if names == list(self._frame.columns) else self._frame[names]
        return list(frame.to_delayed())

    def _wanted(self, near: Nearest) -> set[Any]:
        read = None if isinstance(near.where, pd.Series) else as_filter(near.where)
        asked = {near.column, *near.columns}
        return asked if read is None else asked | {one for one in self._frame.columns if str(one) in read.columns()}

    def _found(self, near: Nearest, sample: pd.DataFrame, queries: Floats, labels: pd.Index | None) -> Any:
        # one part of the graph for all partitions, not a copy in each of their tasks
        asked = dask.delayed(queries)
        found = _merged(near, [dask.delayed(near.of)(part, asked) for part in self._parts(near)])
        return dask.delayed(finished)(found, near.none(sample), labels)

    def _like(self, near: Nearest, sample: pd.DataFrame, like: Any) -> Any:
        labels, single = labels_of(like)
        # by itself: in one graph with the search, all partitions would stand in memory until the last is looked through
        rows = dask.compute(*[dask.delayed(located)(part, near.column, labels) for part in self._parts(near)])
        labels, vectors = together(rows, labels)
        asked, wide = dask.delayed(vectors), replace(near, k=near.k + 1)
        found = _merged(wide, [dask.delayed(wide.of)(part, asked) for part in self._parts(near)])
        others = dask.delayed(near.without)(found, labels)
        return dask.delayed(finished)(others, near.none(sample), None if single else labels)

    def push(
        self,
        target: Target = "faiss",
        *,
        path: str | PathLike[str] | None = None,
        table: str | None = None,
        index: IndexSpec | str | Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - the field's own word
        on: str | Sequence[str] | None = None,
        metric: DistanceMetric | str | None = None,
        columns: Sequence[str] | None = None,
        mode: Literal["upsert", "insert"] = "upsert",
        on_bad: OnBad = "raise",
        model: str | None = None,
        version: str | None = None,
        encoder: Any = None,
        batch_size: int = 10_000,
        resume: bool = False,
        parallel: int = 1,
        progress: bool | None = None,
    ) -> VectorStore:
        """Write the frame to a store, partition by partition.

        Args:
            target: a backend's name, a URL, a folder or a config dict.
            path: the folder of an embedded store; a temporary one by default.
            table: the table of a database, or the index of a search engine.
            index: an index to build.
            id: the column of the ids; the frame's index by default.
            on: the vector columns; all by default.
            metric: what the store will measure by.
            columns: payload columns to write; all others by default.
            mode: "upsert" replaces rows of known ids, "insert" refuses them.
            on_bad: "drop" leaves out the rows whose vectors can't be used.
            model: the model that made the vectors.
            version: its version.
            encoder: embeds the texts of the store's ``search(text=…)``.
            batch_size: rows that are written at a time.
            resume: leave rows whose ids are in the store as they are: a push that was interrupted goes on.
            parallel: partitions that are computed at the same time, and held in memory here; they are written one
                after another.
            progress: show bars.

        Returns:
            The store, open.

        Raises:
            VectorError: vectors that can't be used; the batches before theirs are stored.
            SchemaError: rows that don't fit, or partitions that number their rows anew; likewise.
        """
        return push(
            self._written(as_count(parallel, "parallel"), anew=id is None),
            target,
            path=path,
            table=table,
            index=index,
            id=id,
            on=on,
            metric=metric,
            columns=listed(columns),
            mode=mode,
            on_bad=on_bad,
            model=model,
            version=version,
            encoder=encoder,
            batch_size=batch_size,
            resume=resume,
            progress=progress,
        )

    def _written(self, parallel: int, *, anew: bool) -> Iterator[pd.DataFrame]:
        """Compute the partitions, a few at a time; look for labels that begin anew, where they may."""
        parts, seen = self._frame.to_delayed(), _Numbered()
        for at in range(0, len(parts), parallel):
            for frame in dask.compute(*parts[at : at + parallel]):
                # partitions with known divisions do not overlap
                if anew and not self._frame.known_divisions:
                    seen.check(frame.index)
                if len(frame):
                    yield frame


class _Numbered:
    """Labels that are numbers without a name: files and partitions often begin them anew, which ids must not."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

    def check(self, index: pd.Index) -> None:
        """Refuse a partition whose numbers overlap those of one before it."""
        if not len(index) or index.name is not None or not pd.api.types.is_integer_dtype(index.dtype):
            return
        low, high = int(index.min()), int(index.max())
        if any(low <= last and first <= high for first, last in self._spans):
            raise SchemaError(
                f"the partitions number their rows anew ({low} to {high} again): these are no ids; name their column "
                "by id=…, or set_index() it"
            )
        self._spans.append((low, high))


def _merged(near: Nearest, parts: list[Any]) -> Any:
    """Merge results a few at a time, level by level."""
    while len(parts) > 1:
        parts = [dask.delayed(near.merged)(parts[at : at + FAN_IN]) for at in range(0, len(parts), FAN_IN)]
    return parts[0]


def _done(found: Any, *, compute: bool) -> Any:
    return found.compute() if compute else found


def _two_vectors(dtype: VectorDtype) -> VectorArray:
    """Give Dask the two rows from which it learns what becomes of a type."""
    return VectorArray(np.ones((2, dtype.dimensions or 1), dtype.element))


make_array_nonempty.register(VectorDtype, _two_vectors)


def register(name: str = "vec") -> str:
    """Register the accessor; under "dk" + name where another package holds the name.

    Returns:
        The name it is found under.
    """
    held = getattr(dd.DataFrame, name, None)
    if held is not None and not getattr(held, "__module__", "").startswith("dkvector"):
        warnings.warn(f"another package holds ddf.{name}; dkvector is at ddf.dk{name}", stacklevel=2)
        return register("dk" + name)
    with warnings.catch_warnings():
        # Dask warns when we meet ourselves after a reload
        warnings.simplefilter("ignore", UserWarning)
        register_dataframe_accessor(name)(DaskVecAccessor)
    return name


register()
