"""`VectorDtype`: the name and the shape of a column of vectors."""

from __future__ import annotations

import re
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import DTypeLike
from pandas.api.extensions import ExtensionDtype, register_extension_dtype

from dkvector.errors import VectorError

_NAME = re.compile(r"vector(?:\[ *(\d+) *(?:, *(float16|float32|float64) *)?\])?")
_ELEMENTS = ("float16", "float32", "float64")


@register_extension_dtype
class VectorDtype(ExtensionDtype):
    """The dtype of a column in which every row is a vector of the same length.

    Args:
        dimensions: the length d of each vector; None reads it from the rows (``astype("vector")``).
        element: ``"float32"``, ``"float16"`` or ``"float64"``.

    Raises:
        VectorError: no dimensions at all, or elements that are not floats.

    Example:
        >>> VectorDtype(384)
        vector[384]
        >>> VectorDtype(8, "float16") == "vector[8, float16]"
        True
    """

    type = np.ndarray
    kind = "O"
    na_value = pd.NA
    # by these pandas compares dtypes
    _metadata = ("dimensions", "element")

    def __init__(self, dimensions: int | None = None, element: DTypeLike = "float32") -> None:
        self.dimensions = None if dimensions is None else int(dimensions)
        self.element = np.dtype(element)
        if self.dimensions is not None and self.dimensions < 1:
            raise VectorError(f"a vector has at least 1 dimension, not {dimensions}")
        if self.element.name not in _ELEMENTS:
            raise VectorError(f"vectors hold {', '.join(_ELEMENTS)}, not {self.element.name}")

    @property
    def name(self) -> str:  # type: ignore[override]
        """The text that `astype` and the metadata of files use."""
        if self.dimensions is None:
            return "vector"
        return (
            f"vector[{self.dimensions}]" if self.element == np.float32 else f"vector[{self.dimensions}, {self.element}]"
        )

    def __repr__(self) -> str:
        return self.name

    @classmethod
    def construct_from_string(cls, string: str) -> Self:
        """Read a dtype from its name.

        Args:
            string: ``"vector[384]"``, ``"vector[384, float16]"`` or ``"vector"``.

        Returns:
            The dtype.

        Raises:
            TypeError: the text names another dtype; pandas then asks the next one.

        Example:
            >>> VectorDtype.construct_from_string("vector[384, float16]").element
            dtype('float16')
        """
        if not isinstance(string, str):
            raise TypeError(f"'construct_from_string' expects a string, got {type(string)}")
        found = _NAME.fullmatch(string)
        if found is None or found[1] == "0":
            raise TypeError(f"Cannot construct a '{cls.__name__}' from '{string}'")
        return cls(int(found[1]) if found[1] else None, found[2] or "float32")

    @classmethod
    def construct_array_type(cls) -> Any:
        """Name the array that holds the rows."""
        from dkvector._vector_array import VectorArray  # noqa: PLC0415 -- an array knows its dtype, so one must wait

        return VectorArray

    def __from_arrow__(self, array: pa.Array | pa.ChunkedArray) -> Any:
        """Take over an Arrow list column, without a copy where it is one chunk of this dtype with nothing missing."""
        from dkvector._vector_arrow import from_arrow  # noqa: PLC0415 -- see construct_array_type

        matrix, mask = from_arrow(array, self.dimensions, self.element)
        return self.construct_array_type()(matrix, mask)

    def _get_common_dtype(self, dtypes: list[Any]) -> ExtensionDtype | None:
        if not all(isinstance(dtype, VectorDtype) for dtype in dtypes):
            return None
        known = sorted({dtype.dimensions for dtype in dtypes if dtype.dimensions is not None})
        if len(known) > 1:
            # pandas would turn both columns into objects without a word
            lengths = " and ".join(map(str, known))
            raise VectorError(f"vectors of {lengths} dimensions don't fit one column; astype(object) holds any")
        element = np.result_type(*(dtype.element for dtype in dtypes))
        return VectorDtype(known[0] if known else None, element)
