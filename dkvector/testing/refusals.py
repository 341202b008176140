"""What can't be done is refused, and nothing is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dkvector.errors import SchemaError, UnsupportedError, VectorError
from dkvector.indexes import Tuning
from dkvector.ingest import Reading
from dkvector.metrics import DistanceMetric
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase
from dkvector.testing.oracle import (
    DIMENSIONS,
    naive_distance,
    naive_search,
    sample_queries,
)


class RefusalTests(StoreBase):
    """What can't be done is refused, and nothing is lost."""

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    async def test_another_metric_is_answered_or_refused_never_replaced(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric
    ) -> None:
        await self.filled(store, frame, DistanceMetric.COSINE)
        query = sample_queries(1)[0]
        if metric is DistanceMetric.COSINE or store.supports.other_metric:
            # as the store likes it, and exactly: an index is of one metric, and knows nothing of another
            for tuning in (None, Tuning(exact=True)):
                hits = await store.search(query, k=10, metric=metric, tuning=tuning)
                expected = [naive_distance(query, frame.embedding[label], metric) for label in hits.ids]
                np.testing.assert_allclose(hits.distances, expected, rtol=1e-5, atol=1e-5)
                if tuning is not None or metric is not DistanceMetric.COSINE:
                    assert list(hits.ids) == [label for label, _ in naive_search(frame, query, 10, metric)]
        else:
            with pytest.raises(UnsupportedError, match="cosine"):
                await store.search(query, k=3, metric=metric)

    async def test_vectors_of_no_length_are_found_by_no_angle(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        """Other metrics let them in; under cosine they have no distance to anything."""
        rows = frame.head(30)
        vectors = [*np.zeros((3, DIMENSIONS)), *rows.embedding.tolist()[3:]]
        rows = rows.assign(embedding=pd.Series(vectors, index=rows.index, dtype=object))
        await self.filled(store, rows, DistanceMetric.EUCLIDEAN)
        for queries in (sample_queries(1)[0], sample_queries(3)) if store.supports.other_metric else ():
            hits = await store.search(queries, k=30, metric=DistanceMetric.COSINE)
            assert hits.counts.tolist() == [27] * np.atleast_2d(queries).shape[0]
            assert not hits.ids.isin(rows.index[:3]).any()
            assert np.isfinite(hits.distances).all()
            near = await store.search(queries, k=20, metric=DistanceMetric.COSINE)
            assert near.counts.tolist() == [20] * len(hits.counts)
        hits = await store.search(np.zeros(DIMENSIONS), k=1)
        assert hits.distances.tolist() == [0]
        assert hits.ids.isin(rows.index[:3]).all()

    async def test_unknown_metrics_are_refused(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        with pytest.raises(UnsupportedError, match="no metric 'l1'"):
            await store.search(sample_queries(1)[0], metric="l1")

    @pytest.mark.parametrize("spec", ["flat", "hnsw", "ivf", {"kind": "flat", "quantization": "pq"}], ids=str)
    async def test_an_index_it_has_not_is_refused(
        self, store: AsyncVectorStore, frame: pd.DataFrame, spec: Any
    ) -> None:
        await store.upsert(frame)
        kind = spec if isinstance(spec, str) else "pq"
        if kind in store.supports.indexes | store.supports.quantisations:
            # flat codes are of the kind flat
            assert (await store.build_index(spec)).kind in {"flat", kind}
        else:
            with pytest.raises(UnsupportedError, match=f"{store.name} has no .* '{kind}'; it has"):
                await store.build_index(spec)

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (np.full(DIMENSIONS, np.nan), "'id 0002'"),
            (np.full(DIMENSIONS, np.inf), "'id 0002'"),
            (np.ones(DIMENSIONS - 1), "'id 0002'"),
            (np.zeros(DIMENSIONS), "'id 0002'"),
            (None, "'id 0002'"),
        ],
        ids=["nan", "inf", "short", "zero", "missing"],
    )
    async def test_bad_vectors_are_an_error_that_names_the_row(
        self, store: AsyncVectorStore, frame: pd.DataFrame, bad: Any, message: Any
    ) -> None:
        # with rows there, so that a write which failed halfway would show
        await store.upsert(frame.iloc[10:20])
        rows = frame.head(5)
        vectors = rows.embedding.tolist()
        vectors[2] = bad
        rows = rows.assign(embedding=pd.Series(vectors, index=rows.index, dtype=object))
        with pytest.raises(VectorError, match=message):
            await store.upsert(rows)
        assert await store.count() == 10
        written = await store.upsert(rows, reading=Reading(on_bad="drop"))
        assert (written.dropped, written.inserted, await store.count()) == (("id 0002",), 4, 14)

    @pytest.mark.parametrize(
        "query",
        [np.ones(3), np.full(DIMENSIONS, np.nan), np.zeros(DIMENSIONS), np.ones((2, 2, DIMENSIONS))],
        ids=["short", "nan", "zero", "3-d"],
    )
    async def test_bad_queries_are_an_error(self, store: AsyncVectorStore, frame: pd.DataFrame, query: Any) -> None:
        await self.filled(store, frame)
        with pytest.raises(VectorError):
            await store.search(query)

    async def test_vectors_of_another_length_or_model_are_refused(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        await store.upsert(frame, reading=Reading(model="minilm"))
        shorter = frame.head(3).assign(embedding=list(np.ones((3, 4))))
        with pytest.raises((SchemaError, VectorError), match="dimensions"):
            await store.upsert(shorter)
        with pytest.raises(SchemaError, match="model"):
            await store.upsert(frame.head(3), reading=Reading(model="other"))
        with pytest.raises(SchemaError, match="cosine"):
            await store.upsert(frame.head(3), reading=Reading(metric=DistanceMetric.EUCLIDEAN))

    async def test_ids_of_several_columns_come_back_or_are_refused(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        rows = frame.head(4).set_index(pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["part", "number"]))
        if store.supports.composite_ids:
            assert (await store.upsert(rows)).inserted == 4
            found = await store.search(rows.embedding.iloc[2], k=1, where="part == 'b' and number < 2")
            assert (found.ids.tolist(), list(found.ids.names)) == ([("b", 1)], ["part", "number"])
            assert await store.delete([("a", 2), ("c", 1)]) == 1
        else:
            with pytest.raises(SchemaError, match="MultiIndex"):
                await store.upsert(rows)
            assert store.empty

    async def test_an_empty_store_says_so(self, store: AsyncVectorStore) -> None:
        assert await store.count() == 0
        with pytest.raises(SchemaError, match="empty"):
            await store.search(sample_queries(1)[0])
