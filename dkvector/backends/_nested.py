"""Values inside lists, structs and maps that JSON can't hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.errors import SchemaError, some


def check_finite(name: str, values: pa.Array | pa.ChunkedArray, labels: pd.Index) -> None:
    """Refuse infinity inside nested values: JSON has none, and writers of JSON put null in its place.

    Args:
        name: the column's name.
        values: its values.
        labels: `(n,)` ids of the rows.

    Raises:
        SchemaError: names the column and the rows.
    """
    if not _has_floats(values.type):
        return
    rows = values.to_pylist()
    bad = [at for at, row in enumerate(rows) if any(math.isinf(one) for one in _floats(row))]
    if bad:
        raise SchemaError(
            f"column {name!r} holds infinity in its lists or structs, which JSON can't hold, at {some(labels[bad])}; "
            "leave them or it out"
        )


def _has_floats(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _has_floats(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _has_floats(kind.value_type)
    within = any(_has_floats(kind.field(at).type) for at in range(kind.num_fields))
    return within or bool(pa.types.is_floating(kind))


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float | np.floating):
        yield float(value)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _floats(one)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _floats(one)
