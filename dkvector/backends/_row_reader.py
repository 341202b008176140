"""Single vectors of a row file, read without being mapped: they take no memory beside the index that named them.

One page fault of a mapped file may bring in a megabyte, which counts as the process's own; a read of one row does not.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dkvector.backends._topk import Positions
from dkvector.errors import SchemaError
from dkvector.metrics import Floats


class RowReader(Sequence[Floats]):
    """The vectors `(n, d)` float32 of a field, read row by row.

    Args:
        path: the file; it is kept open, and so outlives its name.
        offset: the byte that the first vector begins at.
        shape: `(n, d)`.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, int]) -> None:
        self.shape, self._path, self._offset, self._size = shape, path, offset, 4 * shape[1]
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Positions) -> Floats:  # type: ignore[override]  # as an array takes many
        """Read rows, `(r, d)`."""
        vectors = np.empty((len(rows), self.shape[1]), np.float32)
        view, size, read = vectors.data.cast("B"), self._size, 0
        for at, row in enumerate(rows.tolist()):
            # by position, not from where another left off: searches in several threads share the file
            read += os.preadv(self._file, [view[at * size : (at + 1) * size]], self._offset + row * size)
        if read != vectors.nbytes:
            raise SchemaError(f"{self._path} is damaged: it ends before its vectors do")
        return vectors
