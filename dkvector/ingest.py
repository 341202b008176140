"""Any rows — a DataFrame, an Arrow table, records — to one validated batch, before a store sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.columns import to_arrow, to_index, without_views
from dkvector.detect import is_vector_column
from dkvector.errors import DuplicateIdError, NotFoundError, SchemaError, some
from dkvector.ids import read_ids
from dkvector.metrics import DistanceMetric, Floats
from dkvector.records import Record, records_to_table
from dkvector.schema import Schema, VectorInfo
from dkvector.vectors import read_vectors

OnBad = Literal["raise", "drop"]


@dataclass(frozen=True)
class Reading:
    """How rows are to be read.

    Args:
        vectors: names of the vector columns; all that are found by default.
        columns: payload columns to keep; all others by default.
        metric: metric of the vector fields; the store's own, or cosine, by default.
        model: the model that made the vectors.
        version: its version.
        on_bad: what happens with rows whose vectors can't be used.
        id: the column that holds the ids; by default a DataFrame's index, and of an Arrow stream the column that is
            called as the store's ids, or "id".
    """

    vectors: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    metric: DistanceMetric | None = None
    model: str | None = None
    version: str | None = None
    on_bad: OnBad = "raise"
    id: str | None = None


@dataclass(frozen=True)
class Batch:
    """Rows ready to be written.

    Attributes:
        schema: ids, vector fields and payload columns.
        ids: `(n,)` Arrow array of unique ids.
        vectors: field → matrix `(n, d)` float32, finite.
        payload: table of `n` rows.
        dropped: labels of the rows left out for their vectors.
    """

    schema: Schema
    ids: pa.Array
    vectors: Mapping[str, Floats]
    payload: pa.Table
    dropped: tuple[Any, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> pd.Index:
        """The ids as pandas has them."""
        return to_index(self.ids, self.schema.id)


def as_batch(
    rows: Any, *, known: Schema | None = None, reading: Reading | None = None, composite: bool = False
) -> Batch:
    """Read rows of any form, and check them.

    Args:
        rows: a DataFrame (its index is the ids), an Arrow table or anything that speaks the Arrow stream (a column
            named as the store's id, or "id"), a `Record` or a list of them.
        known: what the store holds already.
        reading: how to read.
        composite: the ids may be of several columns: a MultiIndex, or tuples.

    Returns:
        The batch.

    Raises:
        VectorError: vectors that can't be used; names the rows.
        DuplicateIdError: ids given more than once.
        SchemaError: columns that don't fit.
    """
    reading = reading or Reading()
    if isinstance(rows, Record):
        rows = [rows]
    if isinstance(rows, Sequence) and all(isinstance(one, Record) for one in rows):
        rows = records_to_table(list(rows), None if known is None else [info.name for info in known.vectors])
    frame = _indexed(rows, reading.id) if isinstance(rows, pd.DataFrame) else _framed(rows, known, reading.id)
    return _batch(frame, known, reading, composite=composite)


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
    return _of_table(table, [] if id is None else _id_columns(table.column_names, None, id))


def _indexed(frame: pd.DataFrame, name: str | None) -> pd.DataFrame:
    if name is None:
        return frame
    if name not in frame.columns:
        raise NotFoundError.of("column", name, frame.columns)
    return frame.set_index(name)


def _framed(rows: Any, known: Schema | None, name: str | None) -> pd.DataFrame:
    table = _table(rows)
    return _of_table(table, _id_columns(table.column_names, known, name))


def _table(rows: Any) -> pa.Table:
    if not hasattr(rows, "__arrow_c_stream__"):
        lazy = "; collect() it" if hasattr(rows, "collect") else ""
        raise SchemaError(f"rows must be a DataFrame, an Arrow table or records, not {type(rows).__name__}{lazy}")
    table = pa.table(rows)
    plain = pa.schema([one.with_type(without_views(one.type)) for one in table.schema], table.schema.metadata)
    return table if plain == table.schema else table.cast(plain)


def _of_table(table: pa.Table, names: list[str]) -> pd.DataFrame:
    """Make a frame whose columns stay Arrow's own; without names of ids its rows are numbered."""
    columns = {
        one: pd.Series(pd.arrays.ArrowExtensionArray(column), copy=False)
        for one, column in zip(table.column_names, table.columns, strict=True)
        if one not in names
    }
    levels = [to_index(table.column(name), table.schema.field(name)) for name in names]
    if not levels:
        index: pd.Index = pd.RangeIndex(len(table))
    elif len(levels) > 1:
        index = pd.MultiIndex.from_arrays(levels, names=names)
    else:  # a struct is a MultiIndex already
        index = levels[0] if isinstance(levels[0], pd.MultiIndex) else levels[0].rename(names[0])
    frame = pd.DataFrame(index=index)
    for one, series in columns.items():
        frame[one] = series.array
    return frame


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


def _batch(frame: pd.DataFrame, known: Schema | None, reading: Reading, *, composite: bool) -> Batch:
    _check_names(frame)
    id_field, ids = read_ids(frame.index, known and known.id, frame.columns, composite=composite)
    names = _vector_names(frame, known, reading)
    vectors, kept = _vectors(frame, names, known, reading)
    payload = _payload(frame, names, reading)
    schema = Schema(id_field, _infos(vectors, known, reading), payload.schema)
    batch = Batch(schema, ids, vectors, payload)
    if kept is None:
        return _unique(batch)
    rows = pa.array(kept)
    dropped = tuple(frame.index.delete(kept))
    return _unique(replace(batch, ids=ids.take(rows), payload=payload.take(rows), dropped=dropped))


def _check_names(frame: pd.DataFrame) -> None:
    odd = [name for name in frame.columns if not isinstance(name, str)]
    if odd:
        raise SchemaError(f"column names must be text; rename {odd[:5]}")
    if not frame.columns.is_unique:
        twice = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise SchemaError(f"column names must differ; these don't: {twice}")


def _unique(batch: Batch) -> Batch:
    labels = batch.labels
    if not labels.is_unique:
        raise DuplicateIdError(f"ids given more than once: {some(labels[labels.duplicated()].unique())}")
    return batch


def _vector_names(frame: pd.DataFrame, known: Schema | None, reading: Reading) -> list[str]:
    names = list(reading.vectors or ()) or [info.name for info in (known.vectors if known else ())]
    for name in names:
        if name not in frame.columns:
            raise NotFoundError.of("column", name, frame.columns)
    names = names or [name for name in frame.columns if is_vector_column(frame[name])]
    if not names:
        raise SchemaError(f"no vector column among {list(frame.columns)}")
    return names


def _vectors(
    frame: pd.DataFrame, names: Sequence[str], known: Schema | None, reading: Reading
) -> tuple[dict[str, Floats], Any]:
    """Read every vector column; a row that is bad in one field is left out of all."""
    infos = {info.name: info for info in (known.vectors if known else ())}
    read = {}
    for name in names:
        info = infos.get(name)
        read[name] = read_vectors(
            frame[name],
            dimensions=info.dimensions if info else None,
            metric=info.metric if info else reading.metric or DistanceMetric.COSINE,
            on_bad=reading.on_bad,
            name=name,
        )
    if all(one.rows is None for one in read.values()):
        return {name: one.matrix for name, one in read.items()}, None
    every = [np.arange(len(frame)) if one.rows is None else one.rows for one in read.values()]
    kept = every[0]
    for rows in every[1:]:
        kept = np.intersect1d(kept, rows, assume_unique=True)
    return {
        name: one.matrix[np.searchsorted(rows, kept)] for (name, one), rows in zip(read.items(), every, strict=True)
    }, kept


def _infos(vectors: Mapping[str, Floats], known: Schema | None, reading: Reading) -> tuple[VectorInfo, ...]:
    metrics = {info.name: info.metric for info in (known.vectors if known else ())}
    return tuple(
        VectorInfo(
            name,
            matrix.shape[1],
            metrics.get(name, reading.metric or DistanceMetric.COSINE),
            model=reading.model,
            version=reading.version,
        )
        for name, matrix in vectors.items()
    )


def _payload(frame: pd.DataFrame, vectors: Sequence[str], reading: Reading) -> pa.Table:
    names = [name for name in frame.columns if name not in vectors] if reading.columns is None else reading.columns
    for name in names:
        if name not in frame.columns:
            raise NotFoundError.of("column", name, frame.columns)
    made = [to_arrow(frame[name], name) for name in names]
    table = pa.Table.from_arrays([array for _, array in made], schema=pa.schema([field for field, _ in made]))
    return table if made else pa.table({"": pa.nulls(len(frame))}).select([])
