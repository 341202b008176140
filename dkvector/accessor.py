"""`df.vec`: thin, stateless, made anew at every access; and how both accessors are registered."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import pandas as pd

from dkvector import frame_search, frames
from dkvector.blends import as_blends
from dkvector.blocking import VectorStore
from dkvector.embedding import embedded
from dkvector.encoders import agreed_model, as_encoder, needed, queries_of
from dkvector.errors import UnsupportedError
from dkvector.frame_columns import listed
from dkvector.fusion import Fusion
from dkvector.indexes import IndexSpec, as_spec
from dkvector.ingest import OnBad, Reading
from dkvector.mending import Diff
from dkvector.metrics import DistanceMetric
from dkvector.pushing import filled
from dkvector.records import Record
from dkvector.refinements import Refinement
from dkvector.registry import Target, connect
from dkvector.requests import Mode, Search
from dkvector.series_accessor import SeriesVecAccessor
from dkvector.verbs.exploring import Exploring
from dkvector.verbs.relating import Deduplicating, Relating


class VecAccessor(Relating, Deduplicating, Exploring):
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
        text: Any = None,
        encoder: Any = None,
        like: Any = None,
        on: str | list[str] | None = None,
        where: Any = None,
        metric: DistanceMetric | str = DistanceMetric.COSINE,
        columns: Sequence[Any] | None = None,
        include_vectors: bool = False,
        on_bad: OnBad = "raise",
        fusion: Fusion | None = None,
        refine: Refinement | Sequence[Refinement] | None = None,
    ) -> pd.DataFrame:
        """Find the k nearest rows of this frame, exactly.

        Args:
            query: one vector `(d,)` or many `(q, d)`: an array, a Series, a `VectorField`; a `Blend` or a list of them,
                each several vectors that are one query; a dict, column → vectors; or a `VectorQuery`, which brings k,
                column, filter and metric with it.
            k: neighbours of each query.
            text: instead of a query, one text or a list of them.
            encoder: embeds the texts: a callable `list[str] → (n, d)`, or an object with `.encode(list[str])`.
            like: instead of a query, the label of a row, or a list of labels; a row is not its own neighbour.
            on: the vector column, where there are several; or a list of them: all are searched, and the answers
                fused.
            where: a filter, applied before the neighbours are taken.
            metric: "cosine", "euclidean" or "dot_product".
            columns: columns to give; all but the vectors by default.
            include_vectors: give the vectors too.
            on_bad: "drop" leaves out the rows whose vectors can't be used.
            fusion: how the answers by several columns are fused: `RRF()` or `Weighted(alpha)`.
            refine: what is done with the neighbours: `Cut` those that are far, weigh the `Evidence`, choose diverse
                ones by `MMR`, or the nearest of each `Group`; or several of these.

        Returns:
            A frame indexed by row label: `query` (where there are several), `rank` from 1, `score`, `distance`, then
            the columns. Nearest first, ties in the order of the frame. By several columns, rank and score of each come
            in place of `distance`.

        Raises:
            VectorError: vectors or queries that can't be used; names the rows.
            FilterError: a filter that can't be read.
            SchemaError: text without an encoder.
            UnsupportedError: text beside a query.
        """
        fields = on if isinstance(on, list) else None
        asked = Search(query, k, text, like, fields, where, metric, fusion=fusion, refine=refine).unfolded()
        if asked.hybrid:
            raise UnsupportedError('vector and text together are searched for in a store: df.vec.push("exact") is one')
        names = [self.column(on if one.field is None else one.field) for one in asked.by_field()]
        # a VectorQuery brings its own
        by = DistanceMetric.of(asked.metric or metric)
        if text is not None:
            asked = replace(asked, text=None, queries=queries_of(text, needed(encoder, "search(text=…, encoder=…)")))
        payload = self._payload(columns, include_vectors=include_vectors)
        # a plain search of one column goes the shorter way below
        if asked.several or asked.refinements or as_blends(asked.queries) is not None:
            return frame_search.search(self._frame, names, asked, by, encoder=encoder, columns=payload, on_bad=on_bad)
        return frames.search(
            self._frame,
            names[0],
            frames.Asked(asked.queries, like, asked.k, by),
            where=asked.where,
            columns=payload,
            on_bad=on_bad,
        )

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
        encoder: Any = None,
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
            encoder: embeds the texts of the store's ``search(text=…)``; where it tells its model, the vectors of an
                only column are taken to be of that model.
            progress: show bars; by default where there is much to do.

        Returns:
            The store, open; its `written` tells how many rows were new, and which were left out.

        Raises:
            VectorError: vectors that can't be used; nothing is written.
            DuplicateIdError: labels that are not unique; nothing is written.
            SchemaError: rows, a model or an encoder that don't fit what is stored; nothing is written.
        """
        embeds = None if encoder is None else as_encoder(encoder)
        reading = Reading(
            None if on is None else tuple(listed(on) or ()),
            None if columns is None else tuple(listed(columns) or ()),
            None if metric is None else DistanceMetric.of(metric),
            model,
            version,
            on_bad,
            sole_model=agreed_model(model, embeds),
        )
        spec = None if index is None else as_spec(index)
        # last, so that a mistake in the arguments opens nothing
        store = connect(target, path=path, table=table, encoder=embeds)

        def write(one: VectorStore) -> None:
            one.upsert(self._frame, mode=mode, reading=reading, progress=progress)

        return filled(store, spec, write, progress=progress)

    def diff(
        self,
        store: VectorStore,
        *,
        on: str | Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        on_bad: OnBad = "raise",
        batch_size: int = 10_000,
        progress: bool | None = None,
    ) -> Diff:
        """Find out how a store differs from this frame, by the content of its rows; nothing is changed.

        A row is *added* that the store has not; *changed* where a vector or a value differs, vectors in the precision
        that the store keeps; *deleted* where only the store has it; *orphaned* where only the store has it, without a
        vector. The store is read in blocks, and may be larger than memory.

        Args:
            store: the store.
            on: the vector columns; those of the store by default.
            columns: payload columns to compare; all others by default. Those that only the store has are left alone.
            on_bad: "drop" leaves out the rows whose vectors can't be used, which then are of no kind.
            batch_size: rows of a block.
            progress: show a bar; by default where there is much to do.

        Returns:
            Counts and frames of each kind; its `apply(delete=False)` makes the store like the frame.

        Raises:
            VectorError: vectors that can't be used; names the rows.
            SchemaError: rows that don't fit the store.
        """
        reading = Reading(
            None if on is None else tuple(listed(on) or ()),
            None if columns is None else tuple(listed(columns) or ()),
            on_bad=on_bad,
        )
        return Diff.of(self._frame, store, reading, batch_size=batch_size, progress=progress)

    def embed(
        self,
        column: Any,
        encoder: Any,
        into: str = "embedding",
        batch_size: int | None = None,
        *,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Embed a column of texts; the frame needs no vectors yet.

        Equal texts are embedded once, also across calls: an interrupted call goes on where it stopped.

        Args:
            column: the column of texts; a missing text gets a missing vector.
            encoder: a callable `list[str] → (n, d)`, or an object with `.encode(list[str])` such as a
                SentenceTransformer; `dkv.Encoder` wraps one with a model's name, or without a memory.
            into: name of the vector column.
            batch_size: texts given to the encoder at once; what it tells of itself, or 64, by default.
            progress: show a bar; by default from 1,000 new texts on.

        Returns:
            A new frame: `into` stands last, with dtype `vector[d]`.

        Raises:
            NotFoundError: no such column.
            SchemaError: a column that is not text, or `into` is there already.
            VectorError: the encoder gave no usable vector; names the texts.

        Example:
            >>> notes = pd.DataFrame({"note": ["a tame wolf", None]})
            >>> notes.vec.embed("note", lambda texts: [[len(text), 1.0] for text in texts])["embedding"]
            0    [11.00, 1.00] ‖11.05‖
            1    <NA>
            Name: embedding, dtype: vector[2]
        """
        return embedded(self._frame, column, encoder, into, batch_size=batch_size, progress=progress)

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
        # pandas warns when we meet ourselves after a reload
        warnings.simplefilter("ignore", UserWarning)
        pd.api.extensions.register_dataframe_accessor(name)(VecAccessor)
        pd.api.extensions.register_series_accessor(name)(SeriesVecAccessor)
    return name
