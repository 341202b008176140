"""A column of texts to a column of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dkvector.dtype import VectorArray
from dkvector.encoders import as_encoder
from dkvector.errors import NotFoundError, SchemaError, some
from dkvector.frames import check_once


def embedded(
    frame: pd.DataFrame, column: Any, encoder: Any, into: Any, *, batch_size: int | None, progress: bool | None
) -> pd.DataFrame:
    """Give the frame with the vectors of a column's texts beside it; a missing text has a missing vector."""
    if column not in frame.columns:
        raise NotFoundError.of("column", str(column), map(str, frame.columns))
    check_once(frame, [column])
    if into in frame.columns:
        raise SchemaError(f"there is a column {into!r} already: drop it first, or name another with into=")
    wrapped = as_encoder(encoder)
    texts, there = _texts(frame[column])
    vectors = wrapped.encode(texts, batch_size=batch_size, progress=progress)
    if wrapped.dimensions is None:
        raise SchemaError(f"column {column!r} holds no text, which leaves the length of its vectors unknown")
    matrix = np.zeros((len(frame), wrapped.dimensions), np.float32)
    matrix[there] = vectors
    made = frame.copy(deep=False)
    made[into] = VectorArray(matrix, None if there.all() else ~there)
    return made


def _texts(series: pd.Series) -> tuple[list[str], Any]:
    """Give the texts, and a mask `(n,)` of where they stand."""
    there = series.notna().to_numpy(bool)
    texts = series[there].tolist()
    if wrong := [at for at, text in enumerate(texts) if not isinstance(text, str)]:
        labels = series.index[there].take(wrong)
        raise SchemaError(
            f"column {series.name!r} holds what is no text, such as {texts[wrong[0]]!r}, at {some(labels)}; "
            f"df[{series.name!r}].astype('string') makes it text"
        )
    return texts, there
