"""What tells rows apart: a frame's index as a store's ids, of one column or, where the store can, of several."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.columns import called, to_arrow
from dkvector.errors import SchemaError, some


def read_ids(
    index: pd.Index, known: pa.Field | None, columns: Collection[str], *, composite: bool = False
) -> tuple[pa.Field, pa.Array]:
    """Read an index as ids.

    Args:
        index: of a frame.
        known: the ids of the store; None where it has none yet.
        columns: names of the frame's columns, which a new id must not take.
        composite: the store's ids may be of several columns: a MultiIndex.

    Returns:
        The field, a struct where the ids are of several columns, and the ids.

    Raises:
        SchemaError: an index that can't be ids, or not those of the store.

    Example:
        >>> read_ids(pd.Index([3, 5], name="key"), None, ["v"])[1].to_pylist()
        [3, 5]
    """
    if known is not None and pa.types.is_struct(known.type):
        return _of_known_parts(index, known, columns)
    if isinstance(index, pd.MultiIndex):
        if not composite:
            raise SchemaError(
                "a store needs one id a row, this frame has a MultiIndex: reset_index() and set one column"
            )
        if known is not None:
            raise SchemaError(f"the store's ids are {known.type}, this frame has a MultiIndex: reset_index() it")
        return _several(index, _names(index, columns), columns)
    name: Any = known.name if known is not None else _free("id" if index.name is None else index.name, columns)
    return _fitting(*_one(index, name), known)


def _fitting(field: pa.Field, ids: pa.Array, known: pa.Field | None) -> tuple[pa.Field, pa.Array]:
    # an empty index has no type of its own
    if known is not None and field.type != known.type and len(ids):
        raise SchemaError(f"the store's ids are {known.type}, these are {field.type}")
    return field, ids


def _one(values: pd.Index, name: str) -> tuple[pa.Field, pa.Array]:
    """Read ids, or one part of them."""
    if not isinstance(values.name, str | None):
        raise SchemaError(f"the name of the index must be text; rename_axis() it from {values.name!r}")
    field, ids = to_arrow(values, name)
    if values.name != name:
        field = called(field, values.name)
    if pa.types.is_nested(field.type):
        raise SchemaError(f"ids must be single values, these are {field.type}; reset_index() and set one column")
    if ids.null_count:
        raise SchemaError(f"ids must not be missing; they are at rows {some(np.flatnonzero(values.isna()))}")
    return field, ids


def _several(index: pd.MultiIndex, names: dict[str, int], columns: Collection[str]) -> tuple[pa.Field, pa.Array]:
    """Read ids of several columns: column → number of its level."""
    if taken := [name for name in names if name in columns]:
        raise SchemaError(f"the names {taken} of the index are those of columns too: rename_axis() it")
    parts = [_one(index.get_level_values(level), name) for name, level in names.items()]
    fields = [field for field, _ in parts]
    made = pa.StructArray.from_arrays([values for _, values in parts], fields=fields)
    return pa.field(", ".join(names), pa.struct(fields)), made


def _of_known_parts(index: pd.Index, known: pa.Field, columns: Collection[str]) -> tuple[pa.Field, pa.Array]:
    """Read the ids of a store whose ids are of several columns."""
    # an empty index tells neither its levels nor their types
    if not len(index):
        return known, pa.array([], known.type)
    levels = _of_tuples(index, known)
    return _fitting(*_several(levels, _in_order(levels, known), columns), known)


def _of_tuples(index: pd.Index, known: pa.Field) -> pd.MultiIndex:
    """Take tuples for what they are: records have such ids."""
    width = known.type.num_fields
    if not isinstance(index, pd.MultiIndex) and all(isinstance(one, tuple) and len(one) == width for one in index):
        return pd.MultiIndex.from_tuples(index, names=[None] * width)
    if isinstance(index, pd.MultiIndex) and index.nlevels == width:
        return index
    wanted = [one.name for one in known.type]
    raise SchemaError(f"the store's ids are made up of {wanted}: set_index({wanted}) gives a frame such ids")


def _in_order(index: pd.MultiIndex, known: pa.Field) -> dict[str, int]:
    """Find the level of each part of the store's ids: by name, or by place where a level has none."""
    wanted = [one.name for one in known.type]
    if all(name in {None, part} for name, part in zip(index.names, wanted, strict=True)):
        return {name: level for level, name in enumerate(wanted)}
    if set(index.names) != set(wanted):
        raise SchemaError(f"the store's ids are made up of {wanted}, the index of this frame of {list(index.names)}")
    return {name: index.names.index(name) for name in wanted}


def _names(index: pd.MultiIndex, columns: Collection[str]) -> dict[str, int]:
    """Name the columns of a new store's ids."""
    given: Sequence[Any] = index.names
    taken = [*columns, *(name for name in given if name is not None)]
    names = [_free(f"id_{level}", taken) if name is None else name for level, name in enumerate(given)]
    if len({*names}) < len(names):
        raise SchemaError(f"the names of an index's levels must differ, these are {list(given)}: rename_axis() it")
    return {name: level for level, name in enumerate(names)}


def _free(name: Any, taken: Collection[str]) -> Any:
    while name in taken:
        name += "_"
    return name
