"""Rows that the server sent, as Arrow has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.backends._pg_copy import vectors_of
from dkvector.backends._pg_table import Column, Table, categorised
from dkvector.backends._pg_types import from_json, to_array
from dkvector.backends._sql import quoted
from dkvector.columns import to_index, to_pandas
from dkvector.errors import SchemaError
from dkvector.schema import VectorInfo

NUMBERS = {"bigint", "integer", "smallint", "real", "double precision"}


class Wanted:
    """What a statement gives of each row: the id, payload columns, and vectors where they are wanted.

    Args:
        table: the table.
        columns: names of payload columns.
        include_vectors: give the vectors too.
    """

    def __init__(self, table: Table, columns: Sequence[str], *, include_vectors: bool) -> None:
        self.table = table
        self.columns = [table.column(name) for name in columns]
        self.infos = table.infos if include_vectors else ()

    @cached_property
    def select(self) -> list[str]:
        """Expressions for a SELECT, in the order in which `rows` expects them."""
        made = [one.select for one in (*self.table.keys, *self.columns)]
        return made + [quoted(info.name) for info in self.infos]

    def names(self) -> list[str]:
        """Names that a subquery may give to these expressions."""
        return [f"c{at}" for at in range(len(self.select))]

    def rows(self, records: Sequence[Any], start: int = 0) -> pa.Table:
        """Turn records into a table: the id, then the columns, then the vectors.

        Args:
            records: what the driver gave.
            start: how many values of each come first, and are none of ours.
        """
        keys = self.table.keys
        values = [[record[at] for record in records] for at in range(start, start + len(self.select))]
        arrays = [self._ids(values[: len(keys)])]
        # not strict: behind the columns come the vectors
        arrays += [_column(one, column) for one, column in zip(values[len(keys) :], self.columns, strict=False)]
        fields = [self.table.id, *(one.field for one in self.columns)]
        for info, cells in zip(self.infos, values[len(keys) + len(self.columns) :], strict=True):
            arrays.append(_vectors(cells, info, self.table.vectors[info.name]))
            fields.append(vector_field(info))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _ids(self, values: Sequence[Sequence[Any]]) -> pa.Array:
        parts = [_column(one, column) for one, column in zip(values, self.table.keys, strict=True)]
        if len(parts) == 1:
            return parts[0]
        return pa.StructArray.from_arrays(parts, fields=[one.field for one in self.table.keys])

    @cached_property
    def _no_labels(self) -> pd.Index:
        # which dtype ids have is to_index's to say: that of no rows is that of all
        return to_index(self._ids([[] for _ in self.table.keys]), self.table.id)

    def labels(self, records: Sequence[Any], start: int) -> pd.Index:
        """Turn the keys of records into an index, whole numbers without a way over Arrow."""
        values = [[record[at] for record in records] for at in range(start, start + len(self.table.keys))]
        dtype: Any = self._no_labels.dtype
        if len(values) == 1 and _is_plain(self.table.keys[0], dtype):
            made = _numbers(values[0], self.table.keys[0], dtype)
            index: pd.Index = pd.Index(made, name=self._no_labels.name, copy=False)
            return index
        return to_index(self._ids(values), self.table.id)

    @cached_property
    def _dtypes(self) -> list[Any]:
        """The NumPy dtype of each column of plain numbers; None of others."""
        empty = [to_pandas(_column([], one), one.field) for one in self.columns]
        return [one.dtype if _is_plain(column, one) else None for one, column in zip(empty, self.columns, strict=True)]

    def payload(self, records: Sequence[Any], start: int) -> dict[str, Any]:
        """Turn all but the keys of records into columns as pandas has them, numbers without a way over Arrow."""
        made: dict[str, Any] = {}
        start += len(self.table.keys)
        for at, (column, dtype) in enumerate(zip(self.columns, self._dtypes, strict=True), start):
            values = [record[at] for record in records]
            if dtype is not None and None not in values:
                made[column.field.name] = _numbers(values, column, dtype)
            else:
                made[column.field.name] = to_pandas(_column(values, column), column.field)
        for at, info in enumerate(self.infos, start + len(self.columns)):
            cells = _vectors([record[at] for record in records], info, self.table.vectors[info.name])
            made[info.name] = to_pandas(cells, vector_field(info))
        return made


def _is_plain(column: Column, dtype: Any) -> bool:
    """Tell whether the driver's own numbers are those of an array of this dtype."""
    return column.type in NUMBERS and isinstance(dtype, np.dtype) and dtype.kind in "iuf"


@dataclass(frozen=True)
class Records:
    """Rows as the driver gave them, turned into what is wanted of them only when it is.

    Args:
        wanted: what they hold.
        rows: the records.
        start: how many values of each come first, and are none of ours.
    """

    wanted: Wanted
    rows: Sequence[Any]
    start: int

    def table(self) -> pa.Table:
        """Give the id, the payload, and the vectors where they were asked for."""
        return self.wanted.rows(self.rows, self.start)

    def labels(self) -> pd.Index:
        """Give the ids."""
        return self.wanted.labels(self.rows, self.start)

    def columns(self) -> dict[str, Any]:
        """Give everything but the ids, as pandas has it."""
        return self.wanted.payload(self.rows, self.start)


def _column(values: Sequence[Any], column: Column) -> pa.Array:
    try:
        if column.type is None:
            return from_json(values, column.field.type)
        if pa.types.is_dictionary(column.field.type):
            return categorised(values, column.field)
        return to_array(values, column.field.type)
    except (pa.ArrowException, OverflowError) as exc:
        raise _misfit(column) from exc


def _numbers(values: Sequence[Any], column: Column, dtype: Any) -> Any:
    try:
        return np.array(values, dtype)
    except OverflowError as exc:
        raise _misfit(column) from exc


def _misfit(column: Column) -> SchemaError:
    """Tell of values that others have written, which the server's type has room for, and the one it stands for not."""
    name = column.field.name
    return SchemaError(
        f"column {name!r} holds values that are not {column.field.type}, which it was made for: leave it out with "
        f"columns=[…]; without its comment in the database (COMMENT ON COLUMN … IS NULL) it is read as {column.type}"
    )


def vector_field(info: VectorInfo) -> pa.Field:
    """Describe a vector column of a result, whose dtype in pandas is `vector[d]`."""
    dtype = {b"pandas": f"vector[{info.dimensions}]".encode()}
    return pa.field(info.name, pa.list_(pa.float32(), info.dimensions), metadata=dtype)


def _vectors(cells: Sequence[bytes | None], info: VectorInfo, kind: str) -> pa.Array:
    """Turn vectors into an Arrow array; a row may lack one, in a table that was there before us."""
    there = [cell for cell in cells if cell is not None]
    matrix = np.zeros((len(cells), info.dimensions), np.float32)
    if len(set(map(len, there))) > 1:
        raise SchemaError(f"{info.name!r} holds vectors of several dimensions: give the column those of one, vector(n)")
    if there:
        matrix[[cell is not None for cell in cells]] = vectors_of(there, kind)
    mask = None if len(there) == len(cells) else pa.array([cell is None for cell in cells])
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), info.dimensions, mask=mask)
