"""Any rows — a DataFrame, an Arrow table, records — to one validated batch, before a store sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
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
        sole_model: the model that made them where there is one column of vectors: what an encoder at hand is.
        encoder: what made the vectors, where it is at hand: compared with the probes that the store keeps.
        infos: vector fields as another store knows them, each with a metric, a model and a version of its own.
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
    encoder: Any = None
    infos: tuple[VectorInfo, ...] = ()
    sole_model: str | None = None

    def __post_init__(self) -> None:
        if self.metric is not None:
            # its name will do
            object.__setattr__(self, "metric", DistanceMetric.of(self.metric))


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

    @cached_property
    def labels(self) -> pd.Index:
        """The ids as pandas has them."""
        return to_index(self.ids, self.schema.id)

    def fitted(self, schema: Schema) -> Batch:
        """Take the place in a store that a schema gives to it."""
        return self if schema is self.schema else replace(self, schema=schema)


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
        rows = records_to_table(*_of_records(rows, known))
    if isinstance(rows, pd.DataFrame):
        columns = _columns_of(_indexed(rows, reading.id))
    else:
        table = _table(rows)
        columns = _columns_of_table(table, _id_columns(table.column_names, known, reading.id))
    return _batch(columns, known, reading, composite=composite)


@dataclass(frozen=True)
class _Columns:
    """Rows of any form as columns: their labels, the names of the columns, and what gives one by its name."""

    index: pd.Index
    names: list[str]
    column: Callable[[str], pd.Series]


def _columns_of(frame: pd.DataFrame) -> _Columns:
    names = frame.columns.tolist()
    if odd := [name for name in names if not isinstance(name, str)]:
        raise SchemaError(f"column names must be text; rename {odd[:5]}")
    return _Columns(frame.index, _once(names), frame.__getitem__)


def _once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        raise SchemaError(f"column names must differ; these don't: {twice}")
    return names


def framed(rows: Any, names: list[str]) -> pd.DataFrame:
    """Read an Arrow stream as a frame whose columns stay Arrow's own.

    Args:
        rows: the stream.
        names: the columns of the ids; where there are none the rows are numbered.
    """
    columns = _columns_of_table(_table(rows), names)
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


def _indexed(frame: pd.DataFrame, name: str | None) -> pd.DataFrame:
    if name is None:
        return frame
    if name not in frame.columns:
        raise NotFoundError.of("column", name, frame.columns)
    return frame.set_index(name)


def _table(rows: Any) -> pa.Table:
    if not hasattr(rows, "__arrow_c_stream__"):
        lazy = "; collect() it" if hasattr(rows, "collect") else ""
        raise SchemaError(f"rows must be a DataFrame, an Arrow table or records, not {type(rows).__name__}{lazy}")
    table = rows if isinstance(rows, pa.Table) else pa.table(rows)
    plain = pa.schema([one.with_type(without_views(one.type)) for one in table.schema], table.schema.metadata)
    return table if plain == table.schema else table.cast(plain)


def _columns_of_table(table: pa.Table, of_ids: list[str]) -> _Columns:
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

    return _Columns(index, [one for one in names if one not in of_ids], column)


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


def _batch(rows: _Columns, known: Schema | None, reading: Reading, *, composite: bool) -> Batch:
    id_field, ids = read_ids(rows.index, known and known.id, rows.names, composite=composite)
    names = _vector_names(rows, known, reading)
    vectors, kept = _vectors(rows, names, known, reading)
    payload = _payload(rows, names, reading)
    schema = Schema(id_field, _infos(vectors, known, reading), payload.schema)
    batch = Batch(schema, ids, vectors, payload)
    if kept is None:
        return _unique(batch)
    at = pa.array(kept)
    dropped = tuple(rows.index.delete(kept))
    return _unique(replace(batch, ids=ids.take(at), payload=payload.take(at), dropped=dropped))


def _unique(batch: Batch) -> Batch:
    # one row is never twice: its index is not built to find that out
    if len(batch) > 1 and not (labels := batch.labels).is_unique:
        raise DuplicateIdError(f"ids given more than once: {some(labels[labels.duplicated()].unique())}")
    return batch


def _vector_names(rows: _Columns, known: Schema | None, reading: Reading) -> list[str]:
    names = list(reading.vectors or ()) or _names_of(known, rows.names)
    for name in names:
        if name not in rows.names:
            raise _no_column(name, rows.names, known)
    names = names or [name for name in rows.names if is_vector_column(rows.column(name))]
    if not names:
        raise SchemaError(f"no vector column among {rows.names}")
    return names


def _names_of(known: Schema | None, given: Sequence[str]) -> list[str]:
    """Name the vector columns of rows for a store: those that serve, and other versions where they are given."""
    if known is None:
        return []
    return [info.name for info in known.vectors if info in known.serving or info.name in given]


def _no_column(name: str, given: Sequence[str], known: Schema | None) -> Exception:
    if known is None or name not in [info.name for info in known.vectors]:
        return NotFoundError.of("column", name, given)
    info = known.vector(name)
    others = [one.name for one in known.vectors if one.family == info.family and one.name in given]
    if not others:
        return NotFoundError.of("column", name, given)
    return SchemaError(
        f"the store is searched by {name!r}, of {info.made_by}, and these rows bring only {others[0]!r}, of "
        f"{known.vector(others[0]).made_by}: embed them by the new model too, as {name!r}"
    )


def _of_records(records: Sequence[Record], known: Schema | None) -> tuple[list[Record], list[str] | None]:
    """Give records without the vectors that they lack in fields that do not serve, and name those that they have."""
    if known is None:
        return list(records), None
    given = {name for one in records for name in one if one.get(name) is not None}
    names = _names_of(known, list(given))
    lacked = {info.name for info in known.vectors} - set(names)
    if not lacked:
        return list(records), names
    kept = [({name: one.fields[name] for name in one if name not in lacked}, one) for one in records]
    return [Record(fields, one.id, one.metadata) for fields, one in kept], names


def _vectors(
    rows: _Columns, names: Sequence[str], known: Schema | None, reading: Reading
) -> tuple[dict[str, Floats], Any]:
    """Read every vector column; a row that is bad in one field is left out of all."""
    infos = {info.name: info for info in (*reading.infos, *(known.vectors if known else ()))}
    read = {}
    for name in names:
        info = infos.get(name)
        read[name] = read_vectors(
            rows.column(name),
            dimensions=info.dimensions if info else None,
            metric=info.metric if info else reading.metric or DistanceMetric.COSINE,
            on_bad=reading.on_bad,
            labels=rows.index,
            name=name,
        )
    if all(one.rows is None for one in read.values()):
        return {name: one.matrix for name, one in read.items()}, None
    every = [np.arange(len(rows.index)) if one.rows is None else one.rows for one in read.values()]
    kept = every[0]
    for good in every[1:]:
        # both ascend and hold no row twice, as read_vectors gives them
        kept = np.intersect1d(kept, good, assume_unique=True)
    return {
        name: one.matrix[np.searchsorted(good, kept)] for (name, one), good in zip(read.items(), every, strict=True)
    }, kept


def _infos(vectors: Mapping[str, Floats], known: Schema | None, reading: Reading) -> tuple[VectorInfo, ...]:
    # of several columns one encoder need not have made every one
    model = reading.model or (reading.sole_model if len(vectors) == 1 else None)
    usual = VectorInfo("", 0, reading.metric or DistanceMetric.COSINE, model=model, version=reading.version)
    told = {info.name: replace(usual, metric=info.metric) for info in (known.vectors if known else ())}
    told |= {info.name: info for info in reading.infos}
    made = ((name, matrix.shape[1], told.get(name, usual)) for name, matrix in vectors.items())
    return tuple(VectorInfo(name, size, one.metric, model=one.model, version=one.version) for name, size, one in made)


def _payload(rows: _Columns, vectors: Sequence[str], reading: Reading) -> pa.Table:
    names = [name for name in rows.names if name not in vectors] if reading.columns is None else reading.columns
    for name in names:
        if name not in rows.names:
            raise NotFoundError.of("column", name, rows.names)
    made = [to_arrow(rows.column(name), name) for name in names]
    table = pa.Table.from_arrays([array for _, array in made], schema=pa.schema([field for field, _ in made]))
    # of no columns, a table made directly has no rows; one whose columns were taken away keeps their number
    return table if made else pa.table({"": pa.nulls(len(rows.index))}).select([])
