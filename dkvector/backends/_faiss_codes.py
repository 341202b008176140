"""How vectors are compressed in a Faiss index: as codes in the lists of an inverted file, or at the nodes of a graph.

A flat index of codes is an inverted file of one list. A graph is built on the vectors themselves, which gives it
better links than codes would, and then keeps the codes in their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss

from dkvector.errors import UnsupportedError
from dkvector.indexes import HNSW, IndexSpec, Quantization

SAMPLE = 1 << 14  # rows that codes are trained on
FEWEST = 16  # rows below which a product quantiser can't be trained: it has so many codes for each part
ONE_RESIDUAL = 1e6  # a spectral hash of a period longer than any vector is the sign of each dimension


@dataclass(frozen=True)
class Code:
    """What a compression costs.

    Attributes:
        bits: of one dimension.
        widen: how many times k candidates are taken, to be measured again against the full vectors.
        lists: cost of comparing a code in a list, relative to a full vector.
        graph: the same at a node of a graph.
    """

    bits: float
    widen: int
    lists: float
    graph: float


# Candidates: recall@10 on the bundled data stays within 0.01 of the uncompressed index. Costs: measured on one core.
CODES: dict[Quantization | None, Code] = {
    None: Code(32, 1, 1, 1),
    "float16": Code(16, 2, 0.5, 0.8),
    "int8": Code(8, 2, 0.6, 0.6),
    "pq": Code(2, 4, 0.1, 2.7),
    "rabitq": Code(1, 20, 0.2, 0.5),
    "binary": Code(1, 32, 0.1, 1.6),
}


def bytes_of(spec: IndexSpec, rows: int, dimensions: int) -> int:
    """Estimate what an index takes in memory: codes, ids, centres or links.

    Args:
        spec: the index, resolved.
        rows: how many.
        dimensions: of the vectors.

    Returns:
        Bytes.

    Example:
        >>> bytes_of(HNSW(m=16, quantization="int8"), 1000, 384)
        524000
    """
    quantization = getattr(spec, "quantization", None)
    if spec.kind == "flat" and quantization is None:
        return 0  # vectors are compared where they are
    code = CODES[quantization].bits * dimensions / 8
    overhead = 8 * spec.m + 12 if isinstance(spec, HNSW) else 8
    centres = 4 * dimensions * int(getattr(spec, "lists", 1))
    return round(rows * (code + overhead)) + (0 if isinstance(spec, HNSW) else centres)


def lists(quantization: Quantization | None, count: int, dimensions: int, metric: int) -> Any:
    """Make an empty inverted file.

    Args:
        quantization: of the vectors in the lists.
        count: how many lists.
        dimensions: of the vectors.
        metric: Faiss's number of it.

    Returns:
        Faiss's own object, not trained.

    Raises:
        UnsupportedError: the Faiss that is installed is too old for it.
    """
    if quantization == "binary":
        return _signs(count, dimensions, metric)
    _require("IndexIVFRaBitQ" if quantization == "rabitq" else "IndexIVF")
    parts = _parts(dimensions)
    names = {None: "Flat", "float16": "SQfp16", "int8": "SQ8", "pq": f"PQ{parts}x4fs", "rabitq": "RaBitQ"}
    made = faiss.index_factory(dimensions, f"IVF{count},{names[quantization]}", metric)
    for quantiser in (getattr(made, "pq", None), getattr(made, "sq", None)):
        if quantiser is not None and hasattr(quantiser, "cp"):
            # few rows are no fault, and need no warning on stderr
            quantiser.cp.min_points_per_centroid = 1
    return made


def _signs(count: int, dimensions: int, metric: int) -> Any:
    """Make lists of one bit a dimension, set where a vector is above the mean: compared by counting bits."""
    centres = faiss.IndexFlat(dimensions, metric)
    made = faiss.IndexIVFSpectralHash(centres, dimensions, count, dimensions, ONE_RESIDUAL)
    made.threshold_type = faiss.IndexIVFSpectralHash.Thresh_global
    centring = faiss.CenteringTransform(dimensions)
    made.replace_vt(centring, own=True)
    # the index owns its parts from here on, and Python must not free them too
    for part in (centres, centring):
        part.this.disown()
    made.own_fields = True
    return made


def storage(quantization: Quantization | None, dimensions: int, metric: int) -> Any:
    """Make the empty storage of a graph.

    Raises:
        UnsupportedError: the Faiss that is installed is too old for it.
    """
    match quantization:
        case None:
            return faiss.IndexFlat(dimensions, metric)
        case "pq":
            made = faiss.IndexPQ(dimensions, _parts(dimensions), 4, metric)
            made.pq.cp.min_points_per_centroid = 1
            return made
        case "rabitq":
            _require("IndexRaBitQ")
            return faiss.IndexRaBitQ(dimensions, metric)
    kind = {"float16": "QT_fp16", "int8": "QT_8bit", "binary": "QT_1bit_tqmse"}[quantization]
    _require(kind, faiss.ScalarQuantizer)
    return faiss.IndexScalarQuantizer(dimensions, getattr(faiss.ScalarQuantizer, kind), metric)


def stored_in(graph: Any, kept: Any) -> Any:
    """Put another storage under a graph, which owns it from then on; gives the one it had, for the caller to drop."""
    before = faiss.downcast_index(graph.storage)
    # the graph lets go of it without freeing it: from here on that is Python's to do
    before.this.acquire()
    graph.storage = kept
    kept.this.disown()
    graph.own_fields = True
    return before


def _parts(dimensions: int) -> int:
    """Cut a vector into parts of two dimensions, four bits each; a prime number of them into single ones.

    Example:
        >>> _parts(384), _parts(15), _parts(7)
        (192, 5, 7)
    """
    return next((dimensions // size for size in (2, 3, 5) if dimensions % size == 0 and dimensions > size), dimensions)


def _require(name: str, owner: Any = faiss) -> None:
    if not hasattr(owner, name):
        raise UnsupportedError(f"Faiss {faiss.__version__} has no {name}, which this index needs: upgrade faiss-cpu")
