"""What a store knows of its content, and what a backend can do: both are data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

import pyarrow as pa

from dkvector.columns import dtype_name
from dkvector.errors import NotFoundError, SchemaError, UnsupportedError
from dkvector.indexes import IndexSpec
from dkvector.metrics import DistanceMetric
from dkvector.vector_info import VectorInfo, same_model, serving

__all__ = ["Schema", "Supports", "VectorInfo", "same_model", "serving"]

_SHOWN = 8  # payload columns that a repr names


@dataclass(frozen=True, repr=False)
class Schema:
    """What a store holds: ids, vector fields and payload columns.

    Args:
        id: name and Arrow type of the row labels.
        vectors: the vector fields.
        payload: the other columns and their Arrow types.
    """

    id: pa.Field
    vectors: tuple[VectorInfo, ...]
    payload: pa.Schema = field(default_factory=lambda: pa.schema([]))

    def __repr__(self) -> str:
        columns = [f"{one.name} {dtype_name(one)}" for one in self.payload]
        more = f", … ({len(columns)} columns)" if len(columns) > _SHOWN else ""
        vectors = ", ".join(map(str, self.vectors)) or "none"
        payload = ", ".join(columns[:_SHOWN]) or "none"
        return f"Schema(id: {self.id.name} {dtype_name(self.id)}; vectors: {vectors}; payload: {payload}{more})"

    @property
    def serving(self) -> tuple[VectorInfo, ...]:
        """The vector fields that searches use and writes must bring: of several versions, the current one."""
        return self.vectors if len(self.vectors) == 1 else serving(self.vectors)

    def vector(self, name: str | None = None) -> VectorInfo:
        """Find a vector field.

        Args:
            name: its name; None where the store has only one, or versions of one.

        Returns:
            The field.

        Raises:
            NotFoundError: no such field.
            SchemaError: several fields and none named.
        """
        among = self.serving if name is None else self.vectors
        names = [info.name for info in among]
        if not names:
            raise SchemaError("this store has no vector field yet; add_vector_field() gives it one")
        if name is None and len(names) > 1:
            raise SchemaError(f"several vector fields: name one of {', '.join(map(repr, names))} as `field`")
        if name is not None and name not in names:
            raise NotFoundError.of("vector field", name, names)
        return among[0 if name is None else names.index(name)]

    @property
    def columns(self) -> list[str]:
        """Names that a filter may use: the payload's and the id's, of which several columns may be part."""
        parts = [one.name for one in self.id.type] if pa.types.is_struct(self.id.type) else [self.id.name]
        return [*self.payload.names, *parts]

    def select(self, columns: Iterable[str] | None) -> list[str]:
        """Check the names of payload columns; None is all of them.

        Raises:
            NotFoundError: no such column.
        """
        if columns is None:
            return list(self.payload.names)
        wanted = [columns] if isinstance(columns, str) else list(columns)
        for name in wanted:
            if name in [info.name for info in self.vectors]:
                raise NotFoundError(f"{name!r} holds vectors: they come with include_vectors=True")
            if name not in self.payload.names:
                raise NotFoundError.of("column", name, self.payload.names)
        return wanted

    def text(self, columns: Iterable[str] | None) -> list[str]:
        """Check the names of text columns; None is all of them.

        Raises:
            NotFoundError: no such column.
            SchemaError: a column that is not text, or none that is.
        """
        texts = [one.name for one in self.payload if _is_text(one.type)]
        wanted = texts if columns is None else self.select(columns)
        if other := [name for name in wanted if name not in texts]:
            raise SchemaError(f"no words in {other}: of the columns, these are text: {texts}")
        if not wanted:
            raise SchemaError(f"no text column to look in; there are {self.payload.names}")
        return wanted

    def widened(self, other: Schema) -> Schema:
        """Take in rows of another schema: known columns must agree, new ones are added.

        Returns:
            The schema of both; this very one where the other brings nothing new.

        Raises:
            SchemaError: another id type, vector field or column type.
        """
        if other is self:
            return self
        if self.id.type != other.id.type:
            raise SchemaError(f"the store's ids are {self.id.type}, these are {other.id.type}")
        there = {one.name: one for one in other.vectors}
        for info in self.vectors:
            if info.name in there:
                info.check_same(there[info.name])
            # a version that does not serve may be lacking
            elif info in self.serving:
                raise SchemaError(f"the store has a vector field {info.name!r}, these rows have not: {sorted(there)}")
        if extra := [one.name for one in other.vectors if one.name not in {info.name for info in self.vectors}]:
            raise SchemaError(f"these rows have vector fields {extra} which the store has not")
        payload = _merged(self.payload, other.payload)
        return self if payload is self.payload else replace(self, payload=payload)


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_large_string(value) or pa.types.is_string(value))


def _merged(ours: pa.Schema, theirs: pa.Schema) -> pa.Schema:
    if ours.equals(theirs):
        return ours
    merged = list(ours)
    for there in theirs:
        at = ours.get_field_index(there.name)
        if at < 0:
            merged.append(there)
        # so far the column held nothing but missing values, which have no type
        elif pa.types.is_null(ours.field(at).type):
            merged[at] = there
        elif ours.field(at).type != there.type and not pa.types.is_null(there.type):
            raise SchemaError(
                f"column {there.name!r} is {ours.field(at).type} in the store and {there.type} in these rows; "
                f"cast it first, or leave it out with columns=[…]"
            )
    return ours if merged == list(ours) else pa.schema(merged)


@dataclass(frozen=True, repr=False)
class Supports:
    """What a backend can do; asked in one place, before anything is sent.

    Args:
        metrics: the metrics a field may have.
        indexes: kinds of index.
        quantisations: compressions of an index.
        other_metric: a search may name a metric that is not its field's.
        keyword: ranked search by words, beside vectors.
        transactions: a write is seen whole or not at all.
        migration: rows that are there can be given vector fields, and other versions of those they have.
        column_indexes: payload columns can be given indexes of their own.
        composite_ids: several columns may make up the id, as in a MultiIndex.
        compile: a search can be told without being run.
    """

    metrics: frozenset[DistanceMetric] = frozenset(DistanceMetric)
    indexes: frozenset[str] = frozenset({"flat"})
    quantisations: frozenset[str] = frozenset()
    other_metric: bool = False
    keyword: bool = False
    transactions: bool = False
    migration: bool = False
    column_indexes: bool = False
    composite_ids: bool = False
    compile: bool = False

    def check_compile(self, backend: str) -> None:
        """Refuse to tell a search without running it where the backend can't.

        Raises:
            UnsupportedError: it can't.
        """
        if not self.compile:
            raise UnsupportedError(f"{backend} can't tell what a search would send; explain() runs it, and tells")

    def check_keyword(self, backend: str) -> None:
        """Refuse a search by words where the backend has none.

        Raises:
            UnsupportedError: it has not.
        """
        if not self.keyword:
            raise UnsupportedError(f"{backend} has no keyword search; filter by contains() or like() in a where")

    def check_migration(self, backend: str) -> None:
        """Refuse to change the vector fields of rows where the backend can't.

        Raises:
            UnsupportedError: it can't.
        """
        if not self.migration:
            raise UnsupportedError(f"{backend} can't change the vector fields of rows that are there; push them anew")

    def check_column_indexes(self, backend: str) -> None:
        """Refuse to index columns where the backend looks at every row, or indexes every column by itself.

        Raises:
            UnsupportedError: it does.
        """
        if not self.column_indexes:
            raise UnsupportedError(f"{backend} has no indexes of payload columns to build: its filters need none")

    def __repr__(self) -> str:
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        sets = {name: what for name, what in told.items() if what and isinstance(what, frozenset)}
        listed = [f"{name}: {', '.join(sorted(map(str, what)))}" for name, what in sets.items()]
        return f"Supports({'; '.join([*listed, *(name for name, what in told.items() if what is True)])})"

    def check_index(self, backend: str, spec: IndexSpec) -> None:
        """Refuse an index that the backend has not.

        Raises:
            UnsupportedError: names what it has.
        """
        if spec.kind not in self.indexes:
            raise UnsupportedError.lacking(backend, "index", spec.kind, self.indexes)
        wanted = getattr(spec, "quantization", None)
        if wanted is not None and wanted not in self.quantisations:
            raise UnsupportedError.lacking(backend, "quantization", wanted, self.quantisations)

    def check_metric(self, backend: str, wanted: DistanceMetric, stored: DistanceMetric) -> None:
        """Refuse a metric that the backend, or this field, can't answer.

        Raises:
            UnsupportedError: names what it has; a metric is never replaced silently.
        """
        if wanted not in self.metrics:
            raise UnsupportedError.lacking(backend, "metric", wanted, self.metrics)
        if wanted != stored and not self.other_metric:
            raise UnsupportedError(
                f"this field is searched by {stored.value!r}; {backend} can't search it by {wanted.value!r}"
            )
