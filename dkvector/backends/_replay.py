"""What a log tells, added to the rows that were committed before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from dkvector.backends import _log
from dkvector.backends._manifest import LogFile
from dkvector.backends._row_file import columns_of, parts_of
from dkvector.backends._rows import Rows
from dkvector.backends._segment import Segment
from dkvector.errors import SchemaError


def replayed(path: Path, log: LogFile, rows: Rows) -> Rows:
    """Add what a log tells to the rows of its commit.

    Raises:
        SchemaError: the log is missing or damaged, or tells of rows that there are not.
    """
    logged = _log.read(path, log)
    # rows before deaths: a record may tell that a row of an earlier record died
    if logged.table is not None:
        rows = rows.grown(_segment(path, logged.table, rows), logged.end)
    if len(logged.died) and not 0 <= logged.died.min() <= logged.died.max() < rows.total:
        raise SchemaError(f"{path} is damaged: it tells of rows that there are not")
    return replace(rows.without(logged.died), log_end=logged.end)


def _segment(path: Path, table: pa.Table, rows: Rows) -> Segment:
    if not table.schema.equals(columns_of(rows.schema)):
        raise SchemaError(f"{path} is damaged: its columns are {table.schema.names}, not those of the rows before it")
    whole = table.combine_chunks()
    payload, vectors = parts_of(whole, rows.schema.vectors)
    return Segment(rows.total, whole.column(0).chunk(0), payload, vectors, loose=True)
