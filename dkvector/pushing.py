"""Rows into a store in one call: out of files larger than memory, and what a frame's own `push` shares with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal

from dkvector.blocking import VectorStore
from dkvector.encoders import agreed_model, as_encoder
from dkvector.indexes import IndexSpec, as_spec
from dkvector.ingest import OnBad, Reading
from dkvector.metrics import DistanceMetric
from dkvector.registry import Target, connect


def push(
    source: Any,
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
    progress: bool | None = None,
) -> VectorStore:
    """Write rows that may be more than memory holds to a store; of a frame's rows, `df.vec.push` does the same.

    Args:
        source: a parquet file or a folder of them, a `pyarrow.dataset.Dataset`, an Arrow table or stream, a DataFrame,
            or several of them one after another.
        target: a backend's name, a URL, a folder or a config dict.
        path: the folder of an embedded store; a temporary one by default.
        table: the table of a database, or the index of a search engine.
        index: an index to build: "flat", "hnsw", "ivf", "auto", or a spec such as ``HNSW(m=32)``.
        id: the column of the ids; the index that pandas wrote, or else the column "id", by default.
        on: the vector columns; all by default.
        metric: what the store will measure by; cosine by default, or what it measures by already.
        columns: payload columns to write; all others by default.
        mode: "upsert" replaces rows of known ids, "insert" refuses them.
        on_bad: "drop" leaves out the rows whose vectors can't be used.
        model: the model that made the vectors, kept with the store.
        version: its version.
        encoder: embeds the texts of the store's ``search(text=…)``; where it tells its model, the vectors of an
            only column are taken to be of that model.
        batch_size: rows that are read and written at a time.
        resume: leave rows whose ids are in the store as they are: a push that was interrupted goes on.
        progress: show bars; by default where there is much to do.

    Returns:
        The store, open; its `written` tells how many rows were new, replaced, skipped and left out.

    Raises:
        VectorError: vectors that can't be used; the batches before theirs are stored.
        SchemaError: a source that can't be read, or rows that don't fit; likewise.
        PartialWriteError: rows that the engine did not take, after all others were written.

    Example:
        >>> import pyarrow as pa
        >>> with push(pa.table({"id": ["a", "b"], "v": [[1.0, 0.0], [0.0, 1.0]]}), "exact") as store:
        ...     store.search([0.9, 0.1], k=1).index.tolist()
        ['a']
    """
    embeds = None if encoder is None else as_encoder(encoder)
    reading = Reading(
        _several(on),
        _several(columns),
        None if metric is None else DistanceMetric.of(metric),
        model,
        version,
        on_bad,
        sole_model=agreed_model(model, embeds),
    )

    def write(store: VectorStore) -> None:
        store.load(source, mode=mode, id=id, batch_size=batch_size, resume=resume, reading=reading, progress=progress)

    spec = None if index is None else as_spec(index)
    # last, so that a mistake in the arguments opens nothing
    store = connect(target, path=path, table=table, encoder=embeds)
    return filled(store, spec, write, progress=progress)


def _several(names: str | Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else (names,) if isinstance(names, str) else tuple(names)


def filled(
    store: VectorStore, spec: IndexSpec | None, write: Callable[[VectorStore], object], *, progress: bool | None
) -> VectorStore:
    """Write to a store and build its index; a store that could not be filled is closed."""
    try:
        if spec is not None:
            store.supports.check_index(store.name, spec)
            # told before the rows come, as some backends build the index with them
            store.store.planned = spec
        write(store)
        for info in store.store.known.vectors:
            if spec is not None:
                store.build_index(spec, info.name, progress=progress)
    except BaseException:
        store.close()
        raise
    return store
