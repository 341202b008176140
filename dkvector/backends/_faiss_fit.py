"""Whether the codes of an index still serve once rows have come that they were not trained on.

Codes are trained on the rows of one moment. Rows that come later may lie outside of what the codes tell apart: 8-bit
codes cut them off at the range that they know, and measuring candidates again brings back no row that was no candidate.
So rows that shall join an index are coded first, and what that loses is compared with what it loses of the rows before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np

from dkvector.backends._faiss_build import sample
from dkvector.backends._faiss_index import FaissIndex, engine_space, tail
from dkvector.backends._faiss_nodes import inside
from dkvector.backends._topk import Block
from dkvector.indexes import IVF, IndexSpec
from dkvector.metrics import Floats

GROWTH = 1.5  # codes trained on fewer than two thirds of the rows are trained anew
TRIED = 1 << 10  # rows that are coded, of those before and of those to come
# How much more of rows to come may be lost. Grown indexes began to find 0.02 less than fresh ones at 40 and at 1.4; of
# rows like those before, 8-bit codes in lists lose up to 3 times as much, for they lose next to nothing.
SLACK, SLACK_INT8 = 1.25, 10.0


def codes_serve(index: FaissIndex, blocks: Sequence[Block]) -> bool:
    """Tell whether an index may take the rows that it lacks into its codes.

    Args:
        index: over the first rows.
        blocks: the vectors of all rows.

    Returns:
        False where its codes should be trained anew.
    """
    quantization = index.spec.quantization
    if quantization in {None, "float16"}:
        return True
    rows = sum(len(block.matrix) for block in blocks)
    if rows > GROWTH * index.trained:
        return False
    known = [Block(one.start, one.matrix[: index.trained - one.start]) for one in blocks if one.start < index.trained]
    before, after = (engine_space(sample(some, TRIED), index.metric) for some in (known, tail(blocks, index.rows)))
    slack = SLACK_INT8 if quantization == "int8" else SLACK
    return bool(_lost(index, before, after) <= slack * _lost(index, before, before))


def is_slow_to_train(spec: IndexSpec) -> bool:
    """Tell whether an index is found by k-means: of its lists, or of the parts of its codes."""
    return isinstance(spec, IVF) or getattr(spec, "quantization", None) == "pq"


def _lost(index: FaissIndex, before: Floats, rows: Floats) -> float:
    """Average the squared distance between rows `(n, d)` and what their codes say, as tuned to the rows before."""
    kept = inside(index.index)
    if isinstance(kept, faiss.IndexHNSW):
        kept = faiss.downcast_index(kept.storage)
    return float(np.square(_left(kept, before, rows)).sum(axis=1).mean())


def _left(kept: Any, before: Floats, rows: Floats) -> Floats:
    """Give what codes leave out of rows, `(n, d)`."""
    if isinstance(kept, faiss.IndexIVFSpectralHash):
        # these bits can't be read back: they say above the mean or below, as far as rows usually are
        mean: Floats = faiss.vector_to_array(faiss.downcast_VectorTransform(kept.vt).mean)
        far: Floats = np.abs(rows - mean)
        usual: Any = np.abs(before - mean).mean(axis=0)  # float32, whatever the stubs of NumPy 2.5 say
        left: Floats = far - usual
        return left
    # of vectors, not of residuals; lists that were read from a file crash in their own sa_decode (Faiss 1.15)
    codes = getattr(kept, "pq", None)
    told: Floats = kept.sa_decode(kept.sa_encode(rows)) if codes is None else codes.decode(codes.compute_codes(rows))
    return told - rows
