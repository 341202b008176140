"""The exact store: the matrix itself and BLAS. The oracle of every test, and what `df.vec.search` uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.backends import _topk
from dkvector.backends._local import Candidates, Found, LocalStore
from dkvector.backends._rows import Rows
from dkvector.errors import SchemaError
from dkvector.indexes import Flat, IndexSpec
from dkvector.ingest import Batch
from dkvector.metrics import DistanceMetric
from dkvector.requests import Request
from dkvector.schema import Supports, VectorInfo


class ExactStore(LocalStore):
    """Exact search over rows in memory; nothing is kept.

    Example:
        >>> import asyncio
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]}, index=["a", "b"])
        >>> async def nearest() -> list[str]:
        ...     store = await ExactStore.open({})
        ...     await store.upsert(frame)
        ...     return list((await store.search([0.9, 0.1], k=1)).ids)
        >>> asyncio.run(nearest())
        ['a']
    """

    name: ClassVar[str] = "exact"
    supports: Supports = Supports(
        indexes=frozenset({"flat", "auto"}),
        other_metric=True,
        keyword=True,
        transactions=True,
        compile=True,
        migration=True,
    )

    @classmethod
    async def open(cls, config: Mapping[str, Any]) -> Self:
        """Make an empty store.

        Args:
            config: `dimension` and `metric`, each optional.
        """
        if unknown := sorted(set(config) - {"dimension", "metric"}):
            raise SchemaError(f"exact knows no {unknown}; it takes 'dimension' and 'metric'")
        store = cls()
        store.dimension = config.get("dimension")
        metric = config.get("metric")
        store.metric = None if metric is None else DistanceMetric.of(metric)
        return store

    def _nearest(self, rows: Rows, request: Request, candidates: Candidates) -> Found:
        near = _topk.search(
            rows.blocks(request.info.name),
            request.queries,
            request.k,
            request.metric,
            rows=candidates.positions,
            ranks=rows.ranks,
        )
        return Found(near, *self._planned(rows, request, candidates))

    def _planned(self, rows: Rows, request: Request, candidates: Candidates) -> tuple[str, dict[str, Any]]:  # noqa: ARG002
        return "exact" if candidates.mask is None else "exact over the matching rows", {}

    def _owned(self, batch: Batch) -> Batch:
        # through an IPC stream, which copies columns of any type, buffers and all
        table = batch.payload.append_column(batch.schema.id, batch.ids)
        with pa.ipc.new_stream(sink := pa.BufferOutputStream(), table.schema) as writer:
            writer.write_table(table)
        copied = pa.ipc.open_stream(sink.getvalue()).read_all()
        ids = copied.column(table.num_columns - 1).combine_chunks()
        vectors = {name: matrix.copy() for name, matrix in batch.vectors.items()}
        return replace(batch, ids=ids, payload=copied.remove_column(table.num_columns - 1), vectors=vectors)

    def _publish(self, rows: Rows, *, progress: bool) -> None:  # noqa: ARG002 - there is nothing to wait for
        self._rows = rows
        self.schema = rows.schema

    async def _build_index(self, spec: IndexSpec, info: VectorInfo, *, progress: bool) -> IndexSpec:  # noqa: ARG002
        return Flat() if spec.kind == "auto" else spec

    async def _indexes(self) -> dict[str, IndexSpec]:
        return self._specs_known()

    def _specs_known(self) -> dict[str, IndexSpec]:
        return {} if self.schema is None else {info.name: Flat() for info in self.schema.vectors}

    async def engine(self) -> str:
        """Name NumPy, whose products it uses."""
        return f"NumPy {np.__version__}"

    def _place(self) -> str:
        return "in memory"

    async def stats(self) -> pd.Series:
        """Measure the store: rows and bytes in memory."""
        segments = () if self._rows is None else self._rows.segments
        vectors = sum(matrix.nbytes for one in segments for matrix in one.vectors.values())
        payload = sum(one.payload.nbytes + one.ids.nbytes for one in segments)
        rows, dead = (self._rows.living, self._rows.buried) if self._rows is not None else (0, 0)
        return pd.Series(
            {"rows": rows, "deleted": dead, "vector_bytes": vectors, "payload_bytes": payload}, name=self.name
        )

    async def drop(self) -> None:
        """Forget everything."""
        self._rows = self.schema = self._words = None

    async def aclose(self) -> None:
        """Nothing to let go of."""
