"""How a `vector[d]` column keeps its rows, and gives and takes them as pandas wants."""

# ruff: noqa: SLF001 -- arrays of one class look into each other
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from pandas.api.extensions import ExtensionArray, no_default, take
from pandas.api.indexers import check_array_indexer
from pandas.api.types import is_integer, is_list_like, pandas_dtype

from dkvector._forms import is_text
from dkvector._vector_arrow import from_arrow
from dkvector._vector_dtype import VectorDtype
from dkvector._vector_parse import is_missing, is_vector, parse, unprint
from dkvector._vector_rows import Mask, Matrix
from dkvector.errors import VectorError

_BAD_KEY = (  # numpy's words
    "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) "
    "and integer or boolean arrays are valid indices"
)

NO_ORDER = "vectors have no order: sort by a number, such as a distance; group with sort=False"


class VectorStorage(ExtensionArray):
    """One matrix (n, d) and one mask (n,) as a pandas array; what the rows mean is `VectorArray`'s affair.

    Args:
        matrix: (n, d) of float16, float32 or float64; kept as it is where each row is contiguous, else copied.
        mask: (n,) bool, True where the row is missing; None where nothing is.
        copy: take copies of both.

    Raises:
        VectorError: no matrix of floats, or a mask of another length.
    """

    _readonly = False  # pandas 3 sets it on the arrays that it hands out

    def __init__(self, matrix: ArrayLike, mask: ArrayLike | None = None, copy: bool = False) -> None:
        rows = np.asarray(matrix)
        if rows.ndim != 2 or rows.dtype.kind != "f":  # noqa: PLR2004 -- a matrix
            raise VectorError(f"vectors come as a matrix (n, d) of floats, not {rows.dtype} of shape {rows.shape}")
        missing = np.zeros(len(rows), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
        if missing.shape != (len(rows),):
            raise VectorError(f"the mask has shape {missing.shape}, expected ({len(rows)},)")
        self._dtype = VectorDtype(rows.shape[1], rows.dtype.newbyteorder("="))
        # Arrow reads the memory as it is: each row in one piece, in the machine's own byte order
        scattered = rows.strides[1] != rows.itemsize or not rows.dtype.isnative
        self._matrix: Matrix = rows.astype(self._dtype.element, order="C", copy=True) if copy or scattered else rows
        self._mask: Mask = missing.copy() if copy else missing

    @property
    def matrix(self) -> Matrix:
        """The (n, d) matrix itself, no copy; what stands in missing rows means nothing."""
        return _locked(self._matrix) if self._readonly else self._matrix

    @property
    def missing(self) -> Mask:
        """The (n,) mask, True where a row is missing."""
        return self._mask.copy()

    @property
    def dtype(self) -> VectorDtype:
        """The dtype: dimensions and numbers."""
        return self._dtype

    @property
    def nbytes(self) -> int:
        """The bytes of the matrix and of the mask."""
        return self._matrix.nbytes + self._mask.nbytes

    @property
    def _width(self) -> int:
        return int(self._matrix.shape[1])

    def __len__(self) -> int:
        return len(self._matrix)

    def isna(self) -> NDArray[np.bool_]:
        """Tell which rows are missing: a new (n,) array."""
        return self._mask.copy()

    # ---- made

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> Self:
        values = getattr(scalars, "array", scalars)
        if dtype is None:
            dtype = values.dtype if isinstance(values, cls) else VectorDtype()
        wanted = pandas_dtype(dtype)
        if not isinstance(wanted, VectorDtype):
            raise TypeError(f"vectors can't become {wanted}")
        matrix, mask = _read(values, wanted)
        if wanted.dimensions not in (None, matrix.shape[1]):
            raise VectorError.wrong_dimensions(matrix.shape[1], int(wanted.dimensions or 0), "the column")
        return cls(matrix.astype(wanted.element, copy=False), mask, copy)

    @classmethod
    def _from_scalars(cls, scalars: Any, *, dtype: Any) -> Self:
        if not all(is_missing(value) or getattr(getattr(value, "dtype", None), "kind", "") == "f" for value in scalars):
            raise TypeError("not vectors")  # what map() returned has a dtype of its own
        return cls._from_sequence(scalars, dtype=dtype)

    @classmethod
    def _from_sequence_of_strings(cls, strings: Any, *, dtype: Any, copy: bool = False) -> Self:
        return cls._from_sequence([unprint(text) for text in strings], dtype=dtype, copy=copy)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[Self]) -> Self:
        widths = sorted({part._width for part in to_concat})
        if len(widths) > 1:
            raise VectorError(f"vectors of {' and '.join(map(str, widths))} dimensions don't fit one column")
        return cls(
            np.concatenate([part._matrix for part in to_concat]), np.concatenate([part._mask for part in to_concat])
        )

    def copy(self) -> Self:
        """Copy the matrix and the mask."""
        return type(self)(self._matrix, self._mask, copy=True)

    # ---- read

    def __getitem__(self, item: Any) -> Any:
        if is_integer(item):
            return pd.NA if self._mask[item] else _locked(self._matrix[item])
        if isinstance(item, tuple):  # pandas slices blocks with (..., rows)
            item = next((part for part in item if part is not Ellipsis), slice(None))
        if not (isinstance(item, slice) or is_list_like(item)):
            raise IndexError(_BAD_KEY)
        item = check_array_indexer(self, item)
        # pandas ends here when it has tried in vain to sort the keys of a groupby
        if np.ndim(item) > 1:
            raise TypeError(f"rows are chosen along one dimension; {NO_ORDER}")
        part = type(self)(self._matrix[item], self._mask[item])
        # only a slice shares the memory that is locked
        part._readonly = self._readonly and isinstance(item, slice)
        return part

    def __iter__(self) -> Iterator[Any]:
        for at in range(len(self)):
            yield self[at]

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Self:
        """Take rows by position.

        Args:
            indices: (m,) positions.
            allow_fill: -1 stands for `fill_value` instead of the last row.
            fill_value: a vector, or a missing value.

        Returns:
            A new array of m rows.
        """
        indices = np.asarray(indices, dtype=np.intp)
        if not allow_fill:
            return type(self)(_taken(self._matrix, indices), _taken(self._mask, indices))
        taken = type(self)(_taken(self._matrix, indices, fill=0), _taken(self._mask, indices, fill=True))
        if not is_missing(fill_value):
            taken[indices < 0] = fill_value
        return taken

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if dtype is not None and np.dtype(dtype) != object:
            raise TypeError(
                f"a column of vectors is no array of {np.dtype(dtype)}; take the matrix: series.array.matrix"
            )
        if copy is False:
            raise ValueError("rows become an array of objects only by a copy; series.array.matrix needs none")
        rows = np.empty(len(self), dtype=object)
        rows[:] = list(self)
        return rows

    def to_numpy(
        self,
        dtype: Any = None,
        copy: bool = False,  # noqa: ARG002 -- it is always one
        na_value: Any = no_default,
    ) -> NDArray[np.object_]:
        """Give the rows as an array of objects: read-only ndarrays, views of the matrix.

        Args:
            dtype: object, or None.
            copy: without effect, the array of objects is always a new one.
            na_value: what stands for missing rows instead of pd.NA.

        Returns:
            (n,) objects.

        Raises:
            TypeError: another dtype; `matrix` has the numbers.
        """
        rows = np.asarray(self, dtype=dtype)
        for at in np.flatnonzero(self._mask) if na_value is not no_default else ():
            rows[at] = na_value
        return rows

    # ---- written

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._readonly:
            raise ValueError("Cannot modify read-only array")
        key = check_array_indexer(self, key)
        # read before anything is written: a bad row leaves the column as it was
        matrix, mask = self._incoming(value)
        spots = np.shape(self._mask[key])
        if matrix.ndim == 2 and len(matrix) != (spots[0] if spots else 1):  # noqa: PLR2004 -- rows, not one vector
            raise ValueError(f"{len(matrix)} vectors can't be set in {spots[0] if spots else 1} rows")
        if not (self._matrix.flags.writeable and self._mask.flags.writeable):
            # the memory is Arrow's, or a file's: it is copied when first written to
            self._matrix, self._mask = self._matrix.copy(), self._mask.copy()
        self._matrix[key] = matrix if spots or matrix.ndim == 1 else matrix[0]
        self._mask[key] = mask if spots or np.ndim(mask) == 0 else mask[0]

    def _incoming(self, value: Any) -> tuple[Matrix, Any]:
        """Read what is to be set: one vector (d,) for all places, or a matrix with a row for each."""
        if is_missing(value):
            return np.zeros(self._width, dtype=self.dtype.element), True
        if is_vector(value):
            return self._from_sequence([value], dtype=self.dtype)._matrix[0], False
        if not is_list_like(value):
            raise TypeError(f"{value!r} is not a vector of {self._width} numbers")
        rows = self._from_sequence(value, dtype=self.dtype)
        return rows._matrix, rows._mask

    def _where(self, mask: NDArray[np.bool_], value: Any) -> Self:
        result = self.copy()
        result._putmask(~np.asarray(mask, dtype=bool), value)
        return result

    def _putmask(self, mask: NDArray[np.bool_], value: Any) -> None:
        if not (is_missing(value) or is_vector(value)) and len(value) == len(self):
            value = self._from_sequence(value, dtype=self.dtype)[mask]
        self[mask] = value

    def shift(self, periods: int = 1, fill_value: Any = None) -> Self:
        """Move the rows along.

        Args:
            periods: by how many places; negative moves them up.
            fill_value: a vector for the places that become free; missing by default.

        Returns:
            A new array of the same length.
        """
        places = np.arange(len(self)) - periods
        places[(places < 0) | (places >= len(self))] = -1
        return self.take(places, allow_fill=True, fill_value=fill_value)

    def fillna(
        self,
        value: Any = None,
        limit: int | None = None,
        copy: bool = True,
        method: None = None,  # noqa: ARG002 -- see below
    ) -> Self:
        """Fill the missing rows.

        Args:
            value: a vector (d,), or an array with a row for each row.
            limit: how many rows are filled at most.
            copy: leave this array as it is.
            method: None; pandas 2 names it.

        Returns:
            The filled array.
        """
        if isinstance(value, dict):
            # in pandas' words
            raise TypeError("ExtensionArray.fillna does not support filling with a dict")
        if not (is_missing(value) or is_vector(value)) and len(value) != len(self):
            raise ValueError(f"Length of 'value' does not match. Got ({len(value)})  expected {len(self)}")
        spots = self._mask & (limit is None or np.cumsum(self._mask) <= limit)
        # a slice shares the memory: without a copy this array is filled itself
        filled = self.copy() if copy else self[:]
        if spots.any():
            filled._putmask(spots, value)
        return filled


def _locked(view: Matrix) -> Matrix:
    """Lock a view: a write through it would reach every frame that shares the memory."""
    view = view.view()
    view.flags.writeable = False
    return view


def _taken(values: NDArray[Any], indices: NDArray[np.intp], fill: Any = None) -> NDArray[Any]:
    return np.asarray(take(values, indices, allow_fill=fill is not None, fill_value=fill))


def _read(values: Any, wanted: VectorDtype) -> tuple[Matrix, Mask]:
    if isinstance(values, VectorStorage):
        return values._matrix, values._mask
    if isinstance(getattr(values, "dtype", None), pd.ArrowDtype):
        values = pa.array(values)
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        # an extension type lays its own name over another
        if not is_text(getattr(values.type, "storage_type", values.type)):
            return from_arrow(values, wanted.dimensions, wanted.element)
        values = values.to_pylist()
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind in "fiu":  # noqa: PLR2004
        return values, np.zeros(len(values), dtype=bool)
    return parse(values, wanted.dimensions, wanted.element)
