"""How stores look in a notebook: what they know already, without a question to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import pyarrow as pa

from dkvector import _html
from dkvector.columns import dtype_name
from dkvector.indexes import IndexSpec
from dkvector.schema import Schema, VectorInfo

MANY = 40  # payload columns that a store shows


class Shown:
    """What a store tells of itself; a backend adds what it knows without I/O."""

    schema: Schema | None = None
    closed: bool = False

    def _size(self) -> str:
        """Tell the number of rows where that takes no I/O."""
        return ""

    def _place(self) -> str:
        """Tell where the rows live, without credentials."""
        return ""

    def _specs_known(self) -> Mapping[str, IndexSpec]:
        """Tell the index of each vector field where that takes no I/O."""
        return {}

    def __repr__(self) -> str:
        told = [self._state()]
        if self.schema is not None:
            told += [", ".join(map(str, self.schema.vectors)), f"{len(self.schema.payload)} payload columns"]
        return f"<{type(self).__name__}: {'; '.join(filter(None, told))}>"

    def _state(self) -> str:
        return "closed" if self.closed else "empty" if self.schema is None else self._size()

    def _repr_html_(self) -> str:
        title = ": ".join(filter(None, (type(self).__name__, self._state())))
        parts = [_html.heading(title, self._place())]
        if self.schema is not None:
            parts += [_vectors(self.schema, self._specs_known()), _columns(self.schema)]
        return _html.block(*parts)


def _vectors(schema: Schema, indexes: Mapping[str, IndexSpec]) -> str:
    names = ("vectors", "dimensions", "metric", "index", "model")
    return _html.table(names, [_vector(one, indexes.get(one.name)) for one in schema.vectors])


def _vector(info: VectorInfo, spec: IndexSpec | None) -> tuple[str, ...]:
    model = " ".join(filter(None, (info.model, info.version)))
    return info.name, str(info.dimensions), info.metric.value, _index(spec), model


def _index(spec: IndexSpec | None) -> str:
    """Name an index by the knobs that are set."""
    if spec is None:
        return ""
    knobs = ((one.name, getattr(spec, one.name)) for one in fields(spec))
    return f"{spec.kind} {', '.join(f'{name}={value}' for name, value in knobs if value is not None)}".strip()


def _columns(schema: Schema) -> str:
    payload: list[pa.Field] = list(schema.payload)
    told = [(f"{schema.id.name} (id)", dtype_name(schema.id)), *((one.name, dtype_name(one)) for one in payload[:MANY])]
    if len(payload) > MANY:
        told.append(("…", f"{len(payload) - MANY:,} more"))
    return _html.table(("column", "type"), told)
