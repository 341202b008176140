"""Rows of a DataFrame or an Arrow stream as columns: their labels, and each column as pandas has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from dkvector.columns import to_index, without_views
from dkvector.errors import NotFoundError, SchemaError
from dkvector.schema import Schema


@dataclass(frozen=True)
class RowColumns:
    """Rows of any form as columns: their labels, the names of the columns, and what gives one by its name."""

    index: pd.Index
    names: list[str]
    column: Callable[[str], pd.Series]


def columns_of(rows: Any, known: Schema | None, id: str | None) -> RowColumns:  # noqa: A002 - as in `from_arrow`
    """Take rows as columns.

    Args:
        rows: a DataFrame, whose index is the ids, or anything that speaks the Arrow C stream.
        known: what the store that they are for holds already.
        id: the column of the ids, where it is another one.

    Raises:
        SchemaError: columns without names of their own, or none to take the ids from.
        NotFoundError: no column called as `id`.
    """
    if isinstance(rows, pd.DataFrame):
        return _of_frame(_indexed(rows, id))
    table = _table(rows)
    return _of_table(table, _id_columns(table.column_names, known, id))


def framed(rows: Any, names: list[str]) -> pd.DataFrame:
    """Read an Arrow stream as a frame whose columns stay Arrow's own.

    Args:
        rows: the stream.
        names: the columns of the ids; where there are none the rows are numbered.
    """
    columns = _of_table(_table(rows), names)
    frame = pd.DataFrame(index=columns.index)
    for name in columns.names:
        frame[name] = columns.column(name).array
    return frame


def from_arrow(rows: Any, id: str | None = "id") -> pd.DataFrame:  # noqa: A002 - what it is called everywhere else
    """Read a frame of polars, DuckDB or ibis, or an Arrow table, as a DataFrame, so that it has `.vec`.

    Args:
        rows: anything that speaks the Arrow C stream; vectors are lists or arrays of numbers.
        id: the column that becomes the index; None numbers the rows.

    Returns:
        A frame whose columns stay Arrow's own, vectors without a copy.

    Raises:
        SchemaError: something else, or no such column.

    Example:
        >>> frame = from_arrow(pa.table({"word": ["a", "b"], "v": [[1.0, 0.0], [0.0, 1.0]]}), id="word")
        >>> frame.vec.search([0.9, 0.1], k=1).index[0]
        'a'
    """
    table = _table(rows)
    return framed(table, [] if id is None else _id_columns(table.column_names, None, id))


def _of_frame(frame: pd.DataFrame) -> RowColumns:
    names = frame.columns.tolist()
    if odd := [name for name in names if not isinstance(name, str)]:
        raise SchemaError(f"column names must be text; rename {odd[:5]}")
    return RowColumns(frame.index, _once(names), frame.__getitem__)


def _of_table(table: pa.Table, of_ids: list[str]) -> RowColumns:
    """Take a table as columns that stay Arrow's own."""
    names = _once(table.column_names)
    levels = [to_index(table.column(name), table.schema.field(name)) for name in of_ids]
    if not levels:
        index: pd.Index = pd.RangeIndex(len(table))
    elif len(levels) > 1:
        index = pd.MultiIndex.from_arrays(levels, names=of_ids)
    else:  # a struct is a MultiIndex already
        index = levels[0] if isinstance(levels[0], pd.MultiIndex) else levels[0].rename(of_ids[0])

    def column(one: str) -> pd.Series:
        return pd.Series(pd.arrays.ArrowExtensionArray(table.column(one)), copy=False)

    return RowColumns(index, [one for one in names if one not in of_ids], column)


def _indexed(frame: pd.DataFrame, name: str | None) -> pd.DataFrame:
    if name is None:
        return frame
    if name not in frame.columns:
        raise NotFoundError.of("column", name, frame.columns)
    return frame.set_index(name)


def _once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        raise SchemaError(f"column names must differ; these don't: {twice}")
    return names


def _table(rows: Any) -> pa.Table:
    if not hasattr(rows, "__arrow_c_stream__"):
        lazy = "; collect() it" if hasattr(rows, "collect") else ""
        raise SchemaError(f"rows must be a DataFrame, an Arrow table or records, not {type(rows).__name__}{lazy}")
    table = rows if isinstance(rows, pa.Table) else pa.table(rows)
    plain = pa.schema([one.with_type(without_views(one.type)) for one in table.schema], table.schema.metadata)
    return table if plain == table.schema else table.cast(plain)


def _id_columns(there: Sequence[str], known: Schema | None, given: str | None) -> list[str]:
    """Name the columns that the ids are in."""
    if given is None and known is not None and pa.types.is_struct(known.id.type):
        parts = [one.name for one in known.id.type]
        if all(name in there for name in parts):
            return parts
    name = given or (known.id.name if known is not None and known.id.name in there else "id")
    if name not in there:
        raise SchemaError(f"no column {name!r} to take the ids from: name one by id=…, of {list(there)}")
    return [name]
