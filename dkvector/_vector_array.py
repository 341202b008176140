"""`VectorArray`: the rows of a `vector[d]` column as vectors: compared, counted, added up, written."""

# ruff: noqa: SLF001 -- arrays of one class look into each other
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Literal, Never, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pandas.api.types import pandas_dtype

from dkvector._vector_arrow import to_fixed
from dkvector._vector_dtype import VectorDtype
from dkvector._vector_parse import is_missing, is_vector
from dkvector._vector_rows import from_keys, group_sums, keys, short, text
from dkvector._vector_storage import NO_ORDER, VectorStorage
from dkvector.errors import VectorError

_Frames = (pd.Series, pd.DataFrame, pd.Index)
_REDUCTIONS = "vectors have mean() and sum(); for anything else take the matrix: series.array.matrix"

_UFUNCS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.true_divide: operator.truediv,
    np.equal: operator.eq,
    np.not_equal: operator.ne,
    np.negative: operator.neg,
    np.positive: operator.pos,
    np.absolute: operator.abs,
}


class VectorArray(VectorStorage):  # noqa: PLW1641 -- what can be changed is not hashable
    """The rows of a `vector[d]` column: one matrix, and which rows are missing.

    Args:
        matrix: (n, d) of float16, float32 or float64; kept as it is where each row is contiguous, else copied.
        mask: (n,) bool, True where the row is missing; None where nothing is.
        copy: take copies of both.

    Raises:
        VectorError: no matrix of floats, or a mask of another length.

    Example:
        >>> VectorArray(np.eye(2, 4, dtype="float32"), [False, True])
        <VectorArray>
        [[1.00, 0.00, 0.00, … ×4] ‖1.00‖, <NA>]
        Length: 2, dtype: vector[4]
    """  # noqa: RUF002 -- the sign of dimensions

    __array_priority__ = 1000

    # ---- shown and converted

    def _formatter(self, boxed: bool = False) -> Callable[[Any], str]:  # noqa: ARG002 -- the same everywhere
        return lambda value: "<NA>" if is_missing(value) else short(value)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """Convert to another dtype.

        Args:
            dtype: another `vector[d]`, `object` (ndarrays), or a string dtype (texts as ``"[0.1,0.2]"``, in full).
            copy: take a copy even where the dtype is the same.

        Returns:
            The new array.

        Raises:
            VectorError: another number of dimensions.
        """
        wanted = pandas_dtype(dtype)
        if wanted == self.dtype or wanted == VectorDtype():
            return self.copy() if copy else self
        if isinstance(wanted, pd.StringDtype) or wanted.kind == "U":
            texts = pd.array([pd.NA if is_missing(row) else text(row) for row in self], dtype="string")
            return texts.astype(wanted) if isinstance(wanted, pd.StringDtype) else texts.to_numpy(object)
        return super().astype(wanted, copy=copy)

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:  # noqa: A002 -- Arrow's name
        array = to_fixed(self._matrix, self._mask)
        return array if type is None or type == array.type else array.cast(type)

    # ---- content: equal vectors are one value

    def _values_for_factorize(self) -> tuple[NDArray[np.object_], None]:
        return keys(self._matrix, self._mask), None

    @classmethod
    def _from_factorized(cls, values: Any, original: Self) -> Self:
        matrix, mask = from_keys(values, original._width, original.dtype.element)
        return cls(matrix, mask)

    def _values_for_argsort(self) -> Never:
        raise TypeError(NO_ORDER)

    def argsort(  # type: ignore[override]
        self,
        *,
        ascending: bool = True,  # noqa: ARG002 -- pandas' signature, as below
        kind: str = "quicksort",  # noqa: ARG002
        na_position: str = "last",  # noqa: ARG002
    ) -> Never:
        """Refuse: vectors have no order."""
        self._values_for_argsort()

    def searchsorted(self, value: Any, side: str = "left", sorter: Any = None) -> Never:  # noqa: ARG002
        """Refuse: vectors have no order."""
        self._values_for_argsort()

    def unique(self) -> Self:
        """Keep each vector once, in order of appearance."""
        uniques: Self = self[~self.duplicated()]
        return uniques

    def duplicated(self, keep: Literal["first", "last", False] = "first") -> NDArray[np.bool_]:
        """Tell which rows repeat another one; missing rows repeat each other.

        Args:
            keep: the one that counts as the original; False marks them all.

        Returns:
            (n,) bool.
        """
        codes, _ = pd.factorize(self._values_for_factorize()[0])
        return pd.Series(codes).duplicated(keep=keep).to_numpy()

    def isin(self, values: Any) -> NDArray[np.bool_]:
        """Tell which rows are among other vectors.

        Args:
            values: vectors of the same dimensions.

        Returns:
            (n,) bool.
        """
        if not len(values):  # of no vectors, nothing tells the dimensions
            return np.zeros(len(self), dtype=bool)
        known = self._from_sequence(values, dtype=self.dtype)
        return pd.Index(self._values_for_factorize()[0]).isin(known._values_for_factorize()[0])

    def value_counts(self, dropna: bool = True) -> pd.Series[int]:
        """Count the rows of each vector.

        Args:
            dropna: leave out missing rows.

        Returns:
            The counts (Int64), by vector, in order of appearance.
        """
        codes, uniques = self.factorize(use_na_sentinel=dropna)
        counts = np.bincount(codes[codes >= 0], minlength=len(uniques))
        return pd.Series(pd.array(counts, dtype="Int64"), index=pd.Index(uniques), name="count", copy=False)

    def _mode(self, dropna: bool = True) -> Self:
        counts = self.value_counts(dropna=dropna)
        modes: Self = counts.index.array[(counts == counts.max()).to_numpy()]
        return modes

    # ---- element by element

    def _operand(self, other: Any) -> tuple[Any, Any]:
        """Read the other side: a number, one vector (d,), or a row for each row; and which of them are missing."""
        if is_missing(other):
            # which number it is does not matter: every row of the result is missing
            return self.dtype.element.type(0), True
        if isinstance(other, (int, float, np.number)):
            return other, False
        if isinstance(other, str):
            raise TypeError(f"vectors meet numbers, vectors and columns of vectors, not {other!r}")
        if is_vector(other):
            vector = np.asarray(other, dtype=np.float64)
            if len(vector) != self._width:
                raise VectorError.wrong_dimensions(len(vector), self._width)
            return vector, False
        rows = other if isinstance(other, VectorStorage) else self._from_sequence(other, dtype=self.dtype)
        if rows._width != self._width:
            raise VectorError.wrong_dimensions(rows._width, self._width, "the other column")
        if len(rows) != len(self):
            raise ValueError(f"{len(self)} rows can't meet {len(rows)}: lengths must match")
        return rows._matrix, rows._mask

    def _combine(self, other: Any, op: Callable[[Any, Any], Any], swapped: bool = False) -> Any:
        if isinstance(other, _Frames):
            return NotImplemented
        values, missing = self._operand(other)
        element = self.dtype.element
        if isinstance(other, VectorStorage):
            element = np.result_type(element, other.dtype.element)
        with np.errstate(all="ignore"):  # as pandas: a division by zero shows in the result
            rows = op(values, self._matrix) if swapped else op(self._matrix, values)
        # one vector comes as float64, and must not widen a column of float32
        return type(self)(rows.astype(element, copy=False), self._mask | missing)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, _Frames) for value in inputs):
            return NotImplemented  # pandas unpacks them and calls again
        op = _UFUNCS.get(ufunc)
        if op is None or method != "__call__" or kwargs:
            raise TypeError(f"{self.dtype} does not support {ufunc.__name__}: take the matrix, series.array.matrix")
        if inputs[0] is self:
            return op(*inputs)
        # the operator of an ndarray on the left would end here again
        return op(self, inputs[0]) if op in (operator.eq, operator.ne) else self._combine(inputs[0], op, swapped=True)

    def __add__(self, other: Any) -> Any:
        return self._combine(other, operator.add)

    def __radd__(self, other: Any) -> Any:
        return self._combine(other, operator.add, swapped=True)

    def __sub__(self, other: Any) -> Any:
        return self._combine(other, operator.sub)

    def __rsub__(self, other: Any) -> Any:
        return self._combine(other, operator.sub, swapped=True)

    def __mul__(self, other: Any) -> Any:
        return self._combine(other, operator.mul)

    def __rmul__(self, other: Any) -> Any:
        return self._combine(other, operator.mul, swapped=True)

    def __truediv__(self, other: Any) -> Any:
        return self._combine(other, operator.truediv)

    def __rtruediv__(self, other: Any) -> Any:
        return self._combine(other, operator.truediv, swapped=True)

    def __neg__(self) -> Self:
        return type(self)(-self._matrix, self._mask.copy())

    def __pos__(self) -> Self:
        return self.copy()

    def __abs__(self) -> Self:
        return type(self)(abs(self._matrix), self._mask.copy())

    def __eq__(self, other: object) -> Any:
        if isinstance(other, _Frames):
            return NotImplemented
        # no vector equals a number or a text
        if isinstance(other, (int, float, str)) and not is_missing(other):
            return pd.arrays.BooleanArray(np.zeros(len(self), dtype=bool), self._mask.copy())
        values, missing = self._operand(other)
        if np.ndim(values) == 1:
            # [0.1, 0.2] is what became of it in the column
            values = values.astype(self.dtype.element)
        return pd.arrays.BooleanArray((self._matrix == values).all(axis=1), self._mask | missing)

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else ~equal

    # ---- reduced

    def sum(self, *, skipna: bool = True, min_count: int = 0) -> Any:
        """Add up the rows.

        Args:
            skipna: leave missing rows out; else one of them makes the sum missing.
            min_count: how many rows there must be.

        Returns:
            The sum (d,), accumulated in float64 and given in the column's dtype; or pd.NA.

        Example:
            >>> VectorArray(np.float32([[1, 2], [3, 4]])).sum()
            array([4., 6.], dtype=float32)
        """
        return self._groups("sum", np.zeros(len(self), dtype=np.intp), 1, min_count, skipna)[0]

    def mean(self, *, skipna: bool = True) -> Any:
        """Take the centroid of the rows.

        Args:
            skipna: leave missing rows out; else one of them makes the centroid missing.

        Returns:
            The centroid (d,), accumulated in float64 and given in the column's dtype; pd.NA where there are no rows.

        Example:
            >>> VectorArray(np.float32([[1, 2], [3, 4]])).mean()
            array([2., 3.], dtype=float32)
        """
        return self._groups("mean", np.zeros(len(self), dtype=np.intp), 1, 1, skipna)[0]

    def _reduce(  # type: ignore[override]
        self,
        name: str,
        *,
        skipna: bool = True,
        keepdims: bool = False,
        min_count: int = 0,
        ddof: int = 1,  # noqa: ARG002 -- pandas names it for std, which gets its answer below
    ) -> Any:
        if name == "count":
            return int((~self._mask).sum())
        if name not in ("mean", "sum"):
            raise TypeError(f"{self.dtype} does not support operation '{name}': {_REDUCTIONS}")
        least = 1 if name == "mean" else min_count
        result = self._groups(name, np.zeros(len(self), dtype=np.intp), 1, least, skipna)
        return result if keepdims else result[0]

    def _groupby_op(  # type: ignore[override,unused-ignore]
        self,
        *,
        how: str,
        has_dropped_na: bool,
        min_count: int,
        ngroups: int,
        ids: NDArray[np.intp],
        skipna: bool = True,
        **options: Any,  # noqa: ARG002 -- pandas names some for std and rank, which get their answer below
    ) -> Any:
        if how in ("first", "last"):
            return super()._groupby_op(  # type: ignore[misc,unused-ignore]
                how=how, has_dropped_na=has_dropped_na, min_count=min_count, ngroups=ngroups, ids=ids, skipna=skipna
            )
        if how not in ("mean", "sum"):
            raise TypeError(f"{self.dtype} does not support operation '{how}': {_REDUCTIONS}")
        return self._groups(how, ids, ngroups, 1 if how == "mean" else min_count, skipna)

    def _groups(self, how: str, ids: NDArray[np.intp], groups: int, least: int, skipna: bool) -> Self:
        """Add or average the rows of each group; a group with fewer than `least` rows is missing."""
        sums, counts = group_sums(self._matrix, np.where(self._mask, -1, ids), groups)
        missing = counts < least
        if not skipna:
            missing[ids[self._mask & (ids >= 0)]] = True
        if how == "mean":
            sums /= np.maximum(counts, 1)[:, None]
        with np.errstate(over="ignore"):  # a sum may pass what float16 holds
            return type(self)(sums.astype(self.dtype.element), missing)
