"""Explaining, several vectors, records, and a store's life."""

from __future__ import annotations

import asyncio

import numpy as np
import pandas as pd
import pytest

from dkvector.errors import DuplicateIdError, SchemaError
from dkvector.fields import VectorField
from dkvector.metrics import DistanceMetric
from dkvector.query import Query, VectorQuery
from dkvector.records import Record
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase
from dkvector.testing.oracle import (
    naive_search,
    sample_queries,
)


class RecordTests(StoreBase):
    """Explaining, several vectors, records, and a store's life."""

    async def test_explain_tells_what_ran(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        told = await store.explain(sample_queries(2), k=10, where="n in [5, 17, 42]")
        assert (told.backend, told.rows, told.matching, told.returned, told.shortfall) == (store.name, 300, 3, 6, 0)
        assert store.name in str(told)

    async def test_last_search_is_remembered(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        await store.search(sample_queries(3), k=4)
        assert store.last is not None
        assert (store.last.queries, store.last.k, store.last.returned) == (3, 4, 12)

    async def test_stats_count_the_rows(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        assert (await store.stats())["rows"] == 300

    async def test_several_vector_fields(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        frame["other"] = list(np.random.default_rng(8).standard_normal((300, 4)).astype("f4"))
        await store.upsert(frame)
        with pytest.raises(SchemaError, match="'embedding', 'other'"):
            await store.search(sample_queries(1)[0])
        query = np.array([1, 2, 3, 4], np.float32)
        hits = await store.search(query, k=5, field="other")
        expected = naive_search(frame, query, 5, DistanceMetric.COSINE, field="other")
        assert list(hits.ids) == [label for label, _ in expected]

    async def test_values_without_an_order_are_not_sorted_by(self, store: AsyncVectorStore) -> None:
        vectors = list(np.eye(3, 4, dtype=np.float32))
        frame = pd.DataFrame({"d": [{"a": at} for at in (2, 1, 3)], "n": [2, 1, 3], "embedding": vectors})
        await store.upsert(frame)
        for column in ("d", "embedding"):
            with pytest.raises(SchemaError, match=f"'{column}' have no order"):
                await store.find(Query().sort(column))
        assert [one["n"] for one in await store.find(Query().sort("n", ascending=False))] == [3, 2, 1]

    async def test_records(self, store: AsyncVectorStore) -> None:
        rng = np.random.default_rng(2)
        vectors = rng.standard_normal((30, 8)).astype(np.float32)
        records = [
            Record({"title": f"Document {i}", "embedding": VectorField(vectors[i], 8)}, id=f"r{i}") for i in range(30)
        ]
        assert await store.index_vectors(records, "embedding") is True
        found = await store.search_similar(vectors[4], k=3)
        assert (found[0][0].id, found[0][0]["title"]) == ("r4", "Document 4")
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        assert await store.update_vector("r4", "embedding", -vectors[4]) is True
        assert (await store.search_similar(-vectors[4], k=1))[0][0].id == "r4"
        changed = await store.read("r4")
        assert changed is not None
        assert changed["title"] == "Document 4"
        assert await store.update_vector("nobody", "embedding", vectors[4]) is False
        assert await store.delete_from_index(["r4"]) is True
        assert (await store.read("r4"), await store.count()) == (None, 29)

    async def test_record_crud(self, store: AsyncVectorStore) -> None:
        first = await store.create(Record({"title": "one", "embedding": VectorField([1.0, 0.0])}))
        await store.create(Record({"title": "two", "embedding": VectorField([0.0, 1.0])}, id="second"))
        one = await store.read(first)
        assert one is not None
        assert one["title"] == "one"
        with pytest.raises(DuplicateIdError):
            await store.create(Record({"title": "again", "embedding": VectorField([0.5, 1.0])}, id="second"))
        assert await store.update("second", Record({"title": "2", "embedding": VectorField([0.0, 2.0])})) is True
        found = await store.find(Query().filter("title", "=", "2"))
        assert [(one.id, one["title"]) for one in found] == [("second", "2")]
        near = await store.find(VectorQuery(np.array([0.1, 1.0], np.float32), k=1))
        assert (near[0].id, near[0].metadata["score"]) == ("second", pytest.approx(0.995037, abs=1e-5))
        assert (
            await store.stream_write(Record({"title": f"{i}", "embedding": [1.0, i]}, id=f"{i}") for i in range(25))
            == 25
        )
        assert len([record async for record in store.stream_read(batch_size=10)]) == 27

    async def test_searches_beside_each_other(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        queries = sample_queries(8)
        many = await asyncio.gather(*(store.search(query, k=5) for query in queries))
        alone = [await store.search(query, k=5) for query in queries]
        assert [list(hits.ids) for hits in many] == [list(hits.ids) for hits in alone]

    async def test_a_cancelled_search_leaves_the_store_usable(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        await self.filled(store, frame)
        task = asyncio.create_task(store.search(sample_queries(100), k=50))
        # so that the search has begun
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await store.search(sample_queries(2))).counts.tolist() == [10, 10]

    async def test_drop_leaves_nothing(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        await store.drop()
        assert await store.count() == 0
