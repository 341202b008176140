"""Rows larger than memory, frame by frame: parquet folders, Arrow datasets and streams, frames one after another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any

import pandas as pd
import pyarrow as pa

from dkvector.errors import NotFoundError, SchemaError
from dkvector.parquet import from_table
from dkvector.row_columns import framed


@dataclass(frozen=True)
class Source:
    """Rows that come one frame after another, indexed by their ids.

    Attributes:
        frames: of at most as many rows as were asked for.
        total: rows in all; None where nobody knows yet.
    """

    frames: Iterator[pd.DataFrame]
    total: int | None = None


def read_source(source: Any, rows: int, *, id: str | None = None) -> Source:  # noqa: A002 - the field's own word
    """Read rows a part at a time.

    Args:
        source: a parquet file or a folder of them (a path, or a list of files), a `pyarrow.dataset.Dataset`, an Arrow
            table or stream, a DataFrame, or several of them one after another.
        rows: of a frame, at most.
        id: the column of the ids; the index that pandas wrote, or else the column "id", by default.

    Returns:
        The rows.

    Raises:
        SchemaError: nothing that rows can be read from, or no ids.
        NotFoundError: no such column, no such file.

    Example:
        >>> [len(one) for one in read_source(pa.table({"id": range(5), "n": range(5)}), 2).frames]
        [2, 2, 1]
    """
    if isinstance(source, pd.DataFrame):
        return Source(_slices(source, rows, id), len(source))
    if isinstance(source, str | PathLike) or _is_files(source):
        source = _dataset(source)
    if hasattr(source, "scanner"):
        # few batches are read ahead: what waits there is memory
        scanner = source.scanner(batch_size=rows, batch_readahead=1, fragment_readahead=1)
        with _translated():
            total = source.count_rows()
        return Source(_framed(_joined(_told(scanner.to_batches()), rows), source.schema, id), total)
    if hasattr(source, "__arrow_c_stream__"):
        total = len(source) if isinstance(source, pa.Table) else None
        reader = pa.RecordBatchReader.from_stream(source)
        return Source(_framed(_joined(reader, rows), reader.schema, id), total)
    # one after another, and none opened before the one in front of it is read
    if isinstance(source, Iterable) and not isinstance(source, bytes):
        return Source(frame for one in source for frame in read_source(one, rows, id=id).frames)
    raise SchemaError(f"rows are read from parquet files, Arrow or DataFrames, not from {type(source).__name__}")


def _is_files(source: Any) -> bool:
    return isinstance(source, Sequence) and bool(source) and all(isinstance(one, str | PathLike) for one in source)


def _dataset(source: Any) -> Any:
    import pyarrow.dataset as ds  # noqa: PLC0415 - takes as long to import as many calls take

    with _translated():
        return ds.dataset(source, format="parquet", partitioning="hive")


@contextmanager
def _translated() -> Iterator[None]:
    """Turn Arrow's errors into ours."""
    try:
        yield
    except FileNotFoundError as exc:
        raise NotFoundError(f"no files there: {exc}") from exc
    except (pa.ArrowInvalid, OSError) as exc:
        raise SchemaError(f"not to be read: {exc}") from exc


def _told(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _translated():
        yield from batches


def _slices(frame: pd.DataFrame, rows: int, name: str | None) -> Iterator[pd.DataFrame]:
    if name is not None:
        if name not in frame.columns:
            raise NotFoundError.of("column", name, map(str, frame.columns))
        frame = frame.set_index(name)
    return (frame.iloc[at : at + rows] for at in range(0, len(frame), rows))


def _joined(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Cut batches, and put small ones together."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        at = 0
        while held + len(batch) - at >= rows:
            take = rows - held
            yield pa.Table.from_batches([*waiting, batch.slice(at, take)])
            waiting, held, at = [], 0, at + take
        if at < len(batch):
            waiting.append(batch.slice(at))
            held += len(batch) - at
    if waiting:
        yield pa.Table.from_batches(waiting)


def _framed(tables: Iterable[pa.Table], schema: pa.Schema, name: str | None) -> Iterator[pd.DataFrame]:
    written = (schema.metadata or {}).get(b"pandas")
    index = _index(json.loads(written)) if written else None
    if name is None and written and index is None and "id" not in schema.names:
        raise SchemaError(f"pandas wrote no index that could be ids: name their column by id=…; {schema.names}")
    named = name or index or "id"
    if named not in schema.names:
        raise NotFoundError.of("column", named, schema.names)
    if named == index:
        return map(from_table, tables)
    if written:
        return (from_table(table).set_index(named) for table in tables)
    return (framed(table, [named]) for table in tables)


def _index(written: Any) -> str | None:
    """Find the column that pandas wrote an index to; a numbering is none, for every file has its own."""
    columns = written.get("index_columns") or []
    return columns[0] if len(columns) == 1 and isinstance(columns[0], str) else None
