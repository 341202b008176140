"""The config of a Faiss store."""

from __future__ import annotations

from dataclasses import dataclass

from dkvector.indexes import HNSW, IVF, Flat, IndexSpec, Quantization, as_spec
from dkvector.metrics import DistanceMetric


@dataclass(frozen=True)
class FaissConfig:
    """The config of a store.

    Args:
        dimension: of the vectors, checked at the first write.
        index_type: "Flat", "IVF", "HNSW" or "Auto".
        metric: of the vectors; cosine by default.
        index_path: the folder; a temporary one by default.
        hnsw_m: links of an HNSW node.
        hnsw_ef_construction: candidates kept while an HNSW graph is built.
        ivf_nlist: lists of an IVF index.
        quantization: how the index compresses vectors: "float16", "int8", "pq", "rabitq" or "binary".
    """

    dimension: int | None = None
    index_type: str | None = None
    metric: DistanceMetric | str | None = None
    index_path: str | None = None
    hnsw_m: int = HNSW.m
    hnsw_ef_construction: int = HNSW.ef_construction
    ivf_nlist: int | str = "auto"
    quantization: Quantization | None = None

    @property
    def spec(self) -> IndexSpec | None:
        """The index that is asked for; None where the config does not say."""
        if self.index_type is None and self.quantization is None:
            return None
        spec = as_spec(self.index_type or "flat")
        if isinstance(spec, HNSW):
            return HNSW(self.hnsw_m, self.hnsw_ef_construction, self.quantization)
        if isinstance(spec, IVF):
            return as_spec({"kind": "ivf", "lists": self.ivf_nlist, "quantization": self.quantization})
        return Flat(self.quantization) if isinstance(spec, Flat) else spec
