"""Rows that the server sent, as Arrow has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dkvector.backends._pg_copy import vectors_of
from dkvector.backends._pg_table import Column, Table, categorised
from dkvector.backends._pg_types import from_json, to_array
from dkvector.backends._sql import quoted
from dkvector.schema import VectorInfo


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

    @property
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
        arrays = [_column(one, column) for one, column in zip(values, (*keys, *self.columns), strict=False)]
        if len(keys) > 1:
            parts = [one.field for one in keys]
            arrays = [pa.StructArray.from_arrays(arrays[: len(keys)], fields=parts), *arrays[len(keys) :]]
        fields = [self.table.id, *(one.field for one in self.columns)]
        for info, cells in zip(self.infos, values[len(keys) + len(self.columns) :], strict=True):
            arrays.append(_vectors(cells, info, self.table.vectors[info.name]))
            fields.append(vector_field(info))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _column(values: Sequence[Any], column: Column) -> pa.Array:
    if column.type is None:
        return from_json(values, column.field.type)
    if pa.types.is_dictionary(column.field.type):
        return categorised(values, column.field)
    return to_array(values, column.field.type)


def vector_field(info: VectorInfo) -> pa.Field:
    """Describe a vector column of a result, whose dtype in pandas is `vector[d]`."""
    dtype = {b"pandas": f"vector[{info.dimensions}]".encode()}
    return pa.field(info.name, pa.list_(pa.float32(), info.dimensions), metadata=dtype)


def _vectors(cells: Sequence[bytes | None], info: VectorInfo, kind: str) -> pa.Array:
    """Turn vectors into an Arrow array; a row may lack one, in a table that was there before us."""
    there = [cell for cell in cells if cell is not None]
    matrix = np.zeros((len(cells), info.dimensions), np.float32)
    if there:
        matrix[[cell is not None for cell in cells]] = vectors_of(there, kind)
    mask = None if len(there) == len(cells) else pa.array([cell is None for cell in cells])
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), info.dimensions, mask=mask)
