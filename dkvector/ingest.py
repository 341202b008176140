"""Any rows — a DataFrame, an Arrow table, records — to one validated batch, before a store sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector._widening import widened
from dkvector.columns import to_arrow, to_index
from dkvector.detect import is_vector_column
from dkvector.errors import DuplicateIdError, NotFoundError, SchemaError, some
from dkvector.ids import read_ids
from dkvector.metrics import DistanceMetric, Floats
from dkvector.records import Record, records_to_table
from dkvector.row_columns import RowColumns, columns_of
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
    return _batch(columns_of(rows, known, reading.id), known, reading, composite=composite)


def _batch(rows: RowColumns, known: Schema | None, reading: Reading, *, composite: bool) -> Batch:
    id_field, ids = read_ids(rows.index, known and known.id, rows.names, composite=composite)
    names = _vector_names(rows, known, reading)
    vectors, kept = _vectors(rows, names, known, reading)
    payload = _payload(rows, names, known, reading)
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


def _vector_names(rows: RowColumns, known: Schema | None, reading: Reading) -> list[str]:
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
    rows: RowColumns, names: Sequence[str], known: Schema | None, reading: Reading
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


def _payload(rows: RowColumns, vectors: Sequence[str], known: Schema | None, reading: Reading) -> pa.Table:
    wanted = rows.names if reading.columns is None else dict.fromkeys(reading.columns)
    # the vectors are written as such, whether they are named too or not
    names = [name for name in wanted if name not in vectors]
    for name in names:
        if name not in rows.names:
            raise NotFoundError.of("column", name, rows.names)
    made = [to_arrow(rows.column(name), name) for name in names]
    if known is not None:
        made = [widened(*one, known.payload) for one in made]
    table = pa.Table.from_arrays([array for _, array in made], schema=pa.schema([field for field, _ in made]))
    # of no columns, a table made directly has no rows; one whose columns were taken away keeps their number
    return table if made else pa.table({"": pa.nulls(len(rows.index))}).select([])
