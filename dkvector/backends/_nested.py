"""Values inside lists, structs and maps that JSON can't hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.errors import SchemaError, some


def check_json(name: str, values: pa.Array | pa.ChunkedArray, labels: pd.Index) -> None:
    """Refuse what JSON can't hold inside nested values: infinity, for which its writers put null, and far moments.

    Args:
        name: the column's name.
        values: its values.
        labels: `(n,)` ids of the rows.

    Raises:
        SchemaError: names the column and the rows.
    """
    leaves = list(_leaves(values.type))
    if any(map(pa.types.is_temporal, leaves)):
        far = [at for at, one in enumerate(values) if not _has_text(one)]
        _refuse(name, "dates, times or durations that Python has none for", labels[far])
    if any(map(pa.types.is_floating, leaves)):
        bad = [at for at, row in enumerate(values.to_pylist()) if any(map(math.isinf, _floats(row)))]
        _refuse(name, "infinity", labels[bad])


def _refuse(name: str, what: str, labels: pd.Index) -> None:
    if len(labels):
        raise SchemaError(
            f"column {name!r} holds {what} in its lists or structs, which JSON can't hold, at {some(labels)}; "
            "leave them or it out"
        )


def _has_text(value: pa.Scalar) -> bool:
    """Tell whether Python, which writes the JSON, has such a value: its years end with 9999."""
    try:
        value.as_py()
    except (OverflowError, ValueError):
        return False
    return True


def _leaves(kind: pa.DataType) -> Iterator[pa.DataType]:
    """Give the types of what is inside, however deep."""
    if isinstance(kind, pa.BaseExtensionType):
        yield from _leaves(kind.storage_type)
    elif pa.types.is_dictionary(kind):
        yield from _leaves(kind.value_type)
    elif kind.num_fields:
        for at in range(kind.num_fields):
            yield from _leaves(kind.field(at).type)
    else:
        yield kind


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float | np.floating):
        yield float(value)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _floats(one)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _floats(one)
