"""Texts of a column, of which a search takes a few: by hand, for Arrow's own way leads through much code.

It is no slower while that code is in the processor's cache; a search has just emptied it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dkvector.backends._topk import Positions

FEW = 64  # texts up to which that pays
OFFSET = 8  # bytes


@dataclass(frozen=True)
class Texts:
    """A column of texts, as pandas and as Arrow have it.

    Attributes:
        values: the pandas array, which is one of Arrow's kind.
        ends: `(n + 1,)` int64: where each text begins in the bytes, and where the last one ends.
        data: the bytes of all texts.
        valid: `(n,)` which are there; None where all are.
    """

    values: Any
    ends: memoryview[int]
    data: memoryview
    valid: NDArray[np.bool_] | None

    @classmethod
    def of(cls, column: pa.ChunkedArray, values: Any) -> Self:
        """View a column of one chunk, without a copy of the texts."""
        texts = column.chunk(0)
        _, ends, data = texts.buffers()
        first, last = texts.offset * OFFSET, (texts.offset + len(texts) + 1) * OFFSET
        valid = texts.is_valid().to_numpy(zero_copy_only=False) if texts.null_count else None
        return cls(values, memoryview(ends)[first:last].cast("q"), memoryview(data or b""), valid)

    def take(self, positions: Positions) -> Any:
        """Give the texts at positions, as pandas has them."""
        return self._few(positions) if len(positions) <= FEW else self.values.take(positions)

    def _few(self, positions: Positions) -> Any:
        texts = [self.data[self.ends[at] : self.ends[at + 1]] for at in positions.tolist()]
        ends = pa.py_buffer(array("q", accumulate(map(len, texts), initial=0)))
        valid = None if self.valid is None else pa.py_buffer(np.packbits(self.valid[positions], bitorder="little"))
        made = pa.LargeStringArray.from_buffers(len(texts), ends, pa.py_buffer(b"".join(texts)), valid)
        return self.values._from_pyarrow_array(made)  # noqa: SLF001 - the constructor asks for its type once more


def can_view(column: pa.ChunkedArray, values: Any) -> bool:
    """Tell whether a column is of texts that `Texts` can view."""
    texts = pa.types.is_large_string(column.type) and column.num_chunks == 1
    # an Arrow dtype may be of another width than the column, and must stay so
    return texts and hasattr(values, "_from_pyarrow_array") and pa.types.is_large_string(pa.array(values).type)
