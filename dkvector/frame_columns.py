"""Which columns of a frame are meant: the ground that everything under `df.vec` stands on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dkvector import frames
from dkvector.detect import dimensions, is_spread, is_text_column, is_vector_column
from dkvector.errors import NotFoundError, SchemaError
from dkvector.fields import VectorField
from dkvector.ingest import OnBad
from dkvector.vectors import read_vectors


class FrameColumns:
    """The vector columns of a frame, and the others."""

    def __init__(self, frame: pd.DataFrame) -> None:
        # by position, as several columns may have one name
        columns = [frame.iloc[:, at] for at in range(frame.shape[1])]
        if not any(map(is_vector_column, columns)) and not is_spread(frame) and not any(map(is_text_column, columns)):
            # what pandas expects of an accessor: hasattr(df, "vec") is False then
            raise AttributeError(
                "no column of this frame holds vectors, or text to embed; without rows only a vector[d] column tells"
            )
        self._frame = frame

    @property
    def fields(self) -> dict[Any, int]:
        """The vector columns, with their dimensions."""
        return {name: dimensions(self._frame[self.column(name)]) for name in self._names()}

    def field(self, on: str | None = None, *, on_bad: OnBad = "raise") -> VectorField:
        """Give a whole vector column, validated.

        Args:
            on: the column, where there are several.
            on_bad: "drop" leaves out the rows whose vectors can't be used.

        Returns:
            The field: float32 `(n, d)`.

        Raises:
            VectorError: vectors that can't be used; names the rows.
        """
        name = self.column(on)
        read = read_vectors(self._frame[name], on_bad=on_bad, name=str(name))
        return VectorField(read.matrix, read.dimensions, {"name": name})

    def column(self, on: Any = None) -> Any:
        """Find the name of the vector column.

        Raises:
            NotFoundError: no such vector column.
            SchemaError: several, and none named; or several of that name.
        """
        return vector_column(self._frame, on)

    def _names(self) -> list[Any]:
        return vector_columns(self._frame)

    def _payload(self, columns: Sequence[Any] | None, *, include_vectors: bool) -> list[Any]:
        return payload(self._frame, columns, include_vectors=include_vectors)


def vector_columns(frame: pd.DataFrame) -> list[Any]:
    """Give the names of the columns that hold vectors."""
    return [name for at, name in enumerate(frame.columns) if is_vector_column(frame.iloc[:, at])]


def vector_column(frame: pd.DataFrame, on: Any = None, *, option: str = "on") -> Any:
    """Find the vector column: the one named by an option, or the only one.

    Raises:
        NotFoundError: no such vector column.
        SchemaError: several, and none named; or several of that name; or none at all.
    """
    names = vector_columns(frame)
    frames.check_once(frame, names if on is None else [on])
    if on is not None and on not in names:
        raise NotFoundError.of("vector column", str(on), map(str, names))
    if on is None and len(names) != 1:
        found = f"several vector columns: name one of {', '.join(map(repr, names))} with {option}=" if names else ""
        spread = "the vectors are spread over columns: gather() them first" if is_spread(frame) else ""
        raise SchemaError(found or spread or "no column holds vectors: df.vec.embed(column, encoder) makes them")
    return names[0] if on is None else on


def payload(frame: pd.DataFrame, columns: Sequence[Any] | None, *, include_vectors: bool) -> list[Any]:
    """Give the names of the columns that a result shows: all but the vectors by default.

    Raises:
        NotFoundError: no such column.
        SchemaError: several columns of one name.
    """
    vectors = vector_columns(frame)
    names = listed(columns)
    if names is None:
        names = [name for name in frame.columns if name not in vectors]
    for name in names:
        if name not in frame.columns:
            raise NotFoundError.of("column", str(name), map(str, frame.columns))
    names += [name for name in vectors if include_vectors and name not in names]
    frames.check_once(frame, names)
    return names


def listed(names: Any) -> list[Any] | None:
    """Give names as a list; one name is a list of one."""
    return None if names is None else [names] if isinstance(names, str) else list(names)
