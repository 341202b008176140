"""Rows whose neighbours are wanted, wherever they are: a frame, a store, or files larger than memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector import frames
from dkvector.backends._topk import Block, Positions
from dkvector.blocking import VectorStore
from dkvector.columns import to_index
from dkvector.errors import NotFoundError, SchemaError
from dkvector.evaluation.fingerprint import Digest, digest
from dkvector.filters import as_filter
from dkvector.frame_columns import vector_column
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric, Floats
from dkvector.vectors import read_vectors

ROWS = 1 << 16  # of a chunk that is read from a store or a file


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows.

    Attributes:
        start: place of the first among all rows.
        matrix: vectors `(n, d)` float32.
        frame: the columns that filters read, indexed by the labels.
    """

    start: int
    matrix: Floats
    frame: pd.DataFrame

    @property
    def labels(self) -> pd.Index:
        """The row labels."""
        return self.frame.index

    @property
    def block(self) -> Block:
        """The vectors, as a search takes them."""
        return Block(0, self.matrix)

    def matching(self, where: Any) -> Positions | None:
        """Give the rows that satisfy a filter, ascending; None where all do."""
        mask = frames.matching(self.frame, where)
        return None if mask is None or mask.all() else np.flatnonzero(mask)


class Content(Protocol):
    """Rows that can be gone through, and more than once."""

    @property
    def key(self) -> str | None:
        """A digest of the content; None where it can't be had without reading everything."""

    def chunks(self, columns: Sequence[str], metric: DistanceMetric) -> Iterator[Chunk]:
        """Give the rows, with the columns that filters read."""


class Source(Content, Protocol):
    """Where rows come from."""

    @property
    def name(self) -> Any:
        """The vector column."""

    @property
    def metric(self) -> DistanceMetric:
        """What the rows are measured by unless another metric is asked for."""


@dataclass(frozen=True)
class Held:
    """Rows that were read, and are in memory."""

    rows: Chunk
    key: str | None = None

    def chunks(self, _columns: Sequence[str], _metric: DistanceMetric) -> Iterator[Chunk]:
        """Give all rows at once."""
        yield self.rows


@dataclass(frozen=True)
class FrameSource:
    """Rows of a frame."""

    frame: pd.DataFrame
    name: Any
    on_bad: OnBad = "raise"
    metric: DistanceMetric = DistanceMetric.COSINE
    # a frame's chunk is in memory, so that its digest is taken from there
    key: str | None = None

    def chunks(self, columns: Sequence[str], metric: DistanceMetric) -> Iterator[Chunk]:
        """Give all rows at once."""
        read = read_vectors(self.frame[self.name], metric=metric, on_bad=self.on_bad, name=str(self.name))
        kept = self.frame if read.rows is None else self.frame.iloc[read.rows]
        yield Chunk(0, read.matrix, kept[[name for name in kept.columns if str(name) in columns]])


@dataclass(frozen=True)
class StoreSource:
    """Rows of a store."""

    store: VectorStore
    name: str
    metric: DistanceMetric
    key: str | None = None

    def chunks(self, columns: Sequence[str], metric: DistanceMetric) -> Iterator[Chunk]:
        """Read the rows as they stand."""
        at, known = 0, self.store.store.known.payload.names
        wanted = [name for name in known if name in columns]
        for rows in self.store.scan(columns=wanted, batch_size=ROWS, include_vectors=True):
            read = read_vectors(rows[self.name], metric=metric, on_bad="drop", name=self.name)
            kept = rows if read.rows is None else rows.iloc[read.rows]
            yield Chunk(at, read.matrix, kept[wanted])
            at += len(kept)

    def digested(self, columns: Sequence[str]) -> str:
        """Read all rows, and give a digest of their labels, vectors and some columns."""
        seen = Digest()
        for chunk in self.chunks(columns, self.metric):
            seen.add(chunk.matrix, chunk.labels, *(pd.Index(chunk.frame[name]) for name in chunk.frame))
        return seen.text


@dataclass(frozen=True)
class DatasetSource:
    """Rows of Parquet files, or of any other dataset of Arrow."""

    dataset: Any
    name: str
    on_bad: OnBad = "raise"
    metric: DistanceMetric = DistanceMetric.COSINE

    @property
    def key(self) -> str | None:
        """A digest of the files' bytes, and of what the dataset makes of them."""
        files = getattr(self.dataset, "files", None)
        if not files:
            return None
        # a filter of the dataset's own, which nothing public tells
        filtered = getattr(self.dataset, "_scan_options", None)
        # columns that come from the paths; a filtered dataset gives no fragments to ask
        paths = files if filtered else [str(one.partition_expression) for one in self.dataset.get_fragments()]
        made = (self.name, self.on_bad, str(self.dataset.schema), filtered, paths)
        return digest(*made, *(partial(_opened, self.dataset, one) for one in files))

    def chunks(self, columns: Sequence[str], metric: DistanceMetric) -> Iterator[Chunk]:
        """Read the rows of one batch after the other."""
        label = _label_column(self.dataset.schema)
        names = {name for name in self.dataset.schema.names if name in columns}
        names |= {self.name} | ({label} if label else set())
        # rows that are left out count for the labels of those after them, but not for their places
        at, passed, dimensions = 0, 0, None
        for batch in self.dataset.to_batches(columns=sorted(names), batch_size=ROWS):
            table = pa.table(batch)
            labels = _labels(table, label, passed)
            passed += len(table)
            if self._tells_nothing(table, dimensions):
                continue
            read = read_vectors(
                table[self.name],
                dimensions=dimensions,
                metric=metric,
                on_bad=self.on_bad,
                labels=labels,
                name=self.name,
                way_out="",
            )
            dimensions = read.dimensions
            payload = table.drop_columns([self.name, *([label] if label and label not in columns else [])])
            # what pandas wrote beside the columns would make an index of them
            frame = payload.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True).set_axis(labels, axis=0)
            yield Chunk(at, read.matrix, frame if read.rows is None else frame.iloc[read.rows])
            at += len(read.matrix)

    def _tells_nothing(self, table: pa.Table, dimensions: int | None) -> bool:
        """Tell rows that are none, as of an empty or filtered file, or that are all left out before any vector came."""
        void = self.on_bad == "drop" and dimensions is None and table[self.name].null_count == len(table)
        return void or not len(table)


def read_source(data: Any, on: str | None = None, on_bad: OnBad = "raise") -> Source:
    """Read where rows are.

    Args:
        data: a DataFrame, a store, an Arrow table or dataset, or the path of Parquet files.
        on: the vector column, where there are several.
        on_bad: "drop" leaves out the rows whose vectors can't be used; a store's rows without a vector never count.

    Returns:
        The source.

    Raises:
        SchemaError: anything else, or several vector columns and none named.
    """
    if isinstance(data, pd.DataFrame):
        return FrameSource(data, vector_column(data, on), on_bad)
    if isinstance(data, VectorStore):
        info = data.store.known.vector(on)
        return StoreSource(data, info.name, info.metric)
    from pyarrow import dataset as arrow  # noqa: PLC0415 - who has a frame does not wait for it

    if isinstance(data, str | PathLike | pa.Table):
        data = arrow.dataset(data if isinstance(data, pa.Table) else str(data))
    if not isinstance(data, arrow.Dataset):
        raise SchemaError(
            f"rows come from a DataFrame, a store (the blocking one), an Arrow table or dataset, or a path, "
            f"not from {type(data).__name__}"
        )
    return DatasetSource(data, _vector_name(data.schema, on), on_bad)


def columns_of(wheres: Sequence[Any]) -> list[str]:
    """Name the columns that filters read; a boolean Series reads none."""
    read = [None if isinstance(where, pd.Series) else as_filter(where) for where in wheres]
    return sorted(set().union(*(one.columns() for one in read if one is not None)))


def gathered(source: Source, columns: Sequence[str], metric: DistanceMetric) -> Chunk:
    """Bring all rows into memory, as one chunk."""
    chunks = list(source.chunks(columns, metric))
    if not chunks:
        raise SchemaError("there are no rows")
    if len(chunks) == 1:
        return chunks[0]
    return Chunk(0, np.concatenate([one.matrix for one in chunks]), pd.concat([one.frame for one in chunks]))


def _opened(dataset: Any, path: str) -> Any:
    try:
        return dataset.filesystem.open_input_file(path)
    except OSError as exc:  # pragma: no cover - a file that went away between two calls
        raise NotFoundError(f"no file {path!r}") from exc


def _vector_name(schema: pa.Schema, on: str | None) -> str:
    names = [one.name for one in schema if _is_vector(one.type)]
    if on is not None and on not in schema.names:
        raise NotFoundError.of("column", on, schema.names)
    if on is None and len(names) != 1:
        raise SchemaError(f"name the vector column as on=…: those that may be are {names}, of {schema.names}")
    return names[0] if on is None else on


def _is_vector(kind: pa.DataType) -> bool:
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    return bool(pa.types.is_floating(kind.value_type))


def _label_column(schema: pa.Schema) -> str | None:
    """Find the column of the labels: the index that pandas wrote, or one called "id"."""
    told = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    # what is no text describes a range, which is in no column
    if len(told) == 1 and isinstance(told[0], str) and told[0] in schema.names:
        return told[0]
    return "id" if "id" in schema.names else None


def _labels(table: pa.Table, name: str | None, start: int) -> pd.Index:
    if name is None:
        return pd.RangeIndex(start, start + len(table))
    return to_index(table[name], table.schema.field(name)).rename(name)
