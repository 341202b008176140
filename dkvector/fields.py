"""Fields: the typed values of a record, and `VectorField`, a validated embedding."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dkvector import _scalars
from dkvector._cells import has_truths
from dkvector.errors import FilterError, SchemaError, VectorError

_SHOWN = 60  # characters of a value in a repr
_COMPONENTS = 3  # components of a vector in a repr


class FieldType(StrEnum):
    """What a field holds.

    Example:
        >>> FieldType.of(3.5)
        <FieldType.FLOAT: 'float'>
    """

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    JSON = "json"
    BINARY = "binary"
    TEXT = "text"
    VECTOR = "vector"

    @classmethod
    def of(cls, value: object) -> FieldType:
        """Infer the type of a value.

        Args:
            value: any value; a 1-D float array is a vector; None, dicts and lists are JSON.

        Returns:
            The type.

        Raises:
            SchemaError: a value that no field holds.
        """
        if is_vector(value):
            return cls.VECTOR
        for kind, name in _TYPES.items():
            if isinstance(value, kind):
                return name
        raise SchemaError(f"a field can't hold a value of type {type(value).__name__}")


# In this order: bool is an int.
_TYPES: dict[type | tuple[type, ...], FieldType] = {
    (bool, np.bool_): FieldType.BOOLEAN,
    (str, UUID): FieldType.STRING,
    (int, np.integer): FieldType.INTEGER,
    (float, Decimal, np.floating): FieldType.FLOAT,
    (date, np.datetime64): FieldType.DATETIME,
    (bytes, bytearray, memoryview): FieldType.BINARY,
    (dict, list, tuple, np.ndarray, type(None)): FieldType.JSON,
}


def is_vector(value: object) -> bool:
    """Tell whether a plain value is taken for a vector: an array of floats, with one axis.

    Example:
        >>> is_vector(np.ones(3)), is_vector([1.0, 2.0])
        (True, False)
    """
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f" and bool(value.size)


class Field:
    """A value with its type and metadata.

    Args:
        value: the value; NumPy scalars become Python's, integer arrays become lists.
        type: its type, inferred if left out.
        metadata: anything JSON-able that belongs to the value.

    Raises:
        SchemaError: a value that no field holds.

    Example:
        >>> Field("Document 1")
        Field('Document 1', FieldType.STRING)
    """

    def __init__(
        self,
        value: Any,
        type: FieldType | str | None = None,  # noqa: A002 - the name is part of the contract
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.value = value if isinstance(self, VectorField) else _plain(value)
        self.type = FieldType.of(self.value) if type is None else FieldType(type)
        self.metadata: dict[str, Any] = dict(metadata or {})

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        if self.type != other.type or self.metadata != other.metadata:
            return False
        return np.array_equal(self.value, other.value) if self.type == FieldType.VECTOR else self.value == other.value

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = repr(self.value)
        shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
        return f"Field({shown}, FieldType.{self.type.name}{self._metadata_shown()})"

    def _metadata_shown(self) -> str:
        return f", metadata={self.metadata!r}" if self.metadata else ""

    def to_dict(self) -> dict[str, Any]:
        """Turn the field into JSON-able data; `Field.from_dict` turns it back."""
        return {"type": self.type.value, "value": self._json_value(), "metadata": self.metadata}

    def _json_value(self) -> Any:
        if isinstance(self.value, bytes):
            return base64.b64encode(self.value).decode()
        if self.type == FieldType.JSON or self.value is None:
            return self.value
        return _scalars.encode(pd.Timestamp(self.value) if isinstance(self.value, datetime) else self.value)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Field:
        """Build the field that `to_dict` wrote.

        Args:
            data: the mapping, as written or after a trip through JSON.

        Returns:
            An equal field; a `VectorField` for a vector.

        Raises:
            SchemaError: the mapping is not a field's.
        """
        try:
            kind, value, metadata = FieldType(data["type"]), data["value"], data.get("metadata")
            if kind == FieldType.VECTOR and value is not None:
                return VectorField(value, data.get("dimensions"), metadata)
            return Field(_READ.get(kind, _scalars.decode)(value), kind, metadata)
        except (KeyError, TypeError, FilterError) as error:
            raise SchemaError(f"{dict(data)!r} is not a field: {error}") from error
        # a ValueError itself, which names the rows
        except VectorError:
            raise
        except ValueError as error:
            raise SchemaError(f"{dict(data)!r} is not a field: {error}") from error


_READ: dict[FieldType, Any] = {
    FieldType.JSON: lambda value: value,
    FieldType.BINARY: lambda value: None if value is None else base64.b64decode(value),
}


def _plain(value: Any) -> Any:
    if value is pd.NA or value is pd.NaT:
        return None
    # before NumPy's other scalars: its item() may be a bare integer
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return value.tolist() if isinstance(value, np.ndarray) and not is_vector(value) else value


class VectorField(Field):
    """One vector of a record, or a whole column of them, validated.

    Args:
        value: numbers of shape (d,) or (n, d); kept as C-contiguous float32, read-only. One vector is copied; a column
            is a view where it needs no conversion.
        dimensions: d, taken from the value if left out.
        metadata: anything JSON-able, such as the model's name.

    Raises:
        VectorError: ragged, not numbers, not finite, or of other dimensions.

    Example:
        >>> field = VectorField(np.ones(768), dimensions=768)
        >>> field.type == FieldType.VECTOR, field.dimensions, field.value.dtype.name
        (True, 768, 'float32')
    """

    value: NDArray[np.float32]

    def __init__(
        self,
        value: ArrayLike | Sequence[float],
        dimensions: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        vectors = as_vectors(value)
        if dimensions is not None and vectors.shape[-1] != dimensions:
            raise VectorError.wrong_dimensions(vectors.shape[-1], dimensions)
        self.dimensions: int = vectors.shape[-1]
        super().__init__(vectors, FieldType.VECTOR, metadata)

    def __repr__(self) -> str:
        first = ", ".join(f"{one:.4g}" for one in self.value.reshape(-1)[:_COMPONENTS])
        more = ", …" if self.value.size > _COMPONENTS else ""
        rows = f"{self.value.shape[0]:,} rows, " if self.value.ndim > 1 else ""
        return f"VectorField([{first}{more}], {rows}dimensions={self.dimensions}{self._metadata_shown()})"

    def to_dict(self) -> dict[str, Any]:
        """Turn the field into JSON-able data; `Field.from_dict` turns it back."""
        return {**super().to_dict(), "dimensions": self.dimensions}

    def _json_value(self) -> Any:
        return self.value.tolist()


def as_vectors(value: ArrayLike | Sequence[float]) -> NDArray[np.float32]:
    """Check one vector, or a column of them, and give it as float32.

    Args:
        value: numbers of shape (d,) or (n, d).

    Returns:
        C-contiguous, finite, read-only; a copy of one vector, a view of a column that needs no conversion.

    Raises:
        VectorError: ragged, not numbers, not finite, or of another shape.
    """
    try:
        given = np.asarray(value)
    except ValueError as error:
        raise VectorError(f"a vector field wants rows of one length: {error}") from error
    kind = np.dtype(bool) if has_truths(value) else given.dtype
    if kind.kind not in "fiu":
        raise VectorError(f"a vector field wants numbers, not {kind}")
    if given.ndim not in {1, 2} or not given.shape[-1]:
        raise VectorError(f"a vector field wants shape (d,) or (n, d), not {given.shape}")
    with np.errstate(over="ignore"):  # past float32 becomes infinite, which is refused below
        vectors = given.astype(np.float32, order="C", copy=given.ndim == 1)
    _refuse_infinite(vectors)
    # the array may be the caller's own, which stays writable
    vectors = vectors.view()
    vectors.flags.writeable = False
    return vectors


def _refuse_infinite(vectors: NDArray[np.float32]) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).reshape(len(vectors), -1).all(axis=1))
    if len(bad) and vectors.ndim == 1:
        shown = ", ".join(map(str, bad[:5])) + (", …" if len(bad) > 5 else "")  # noqa: PLR2004 - as many as errors.some
        raise VectorError(f"vector is not finite (NaN, infinite, or past float32) at {len(bad):,} components: {shown}")
    if len(bad):
        raise VectorError.at_rows("vectors not finite (NaN, infinite, or past float32)", bad)
