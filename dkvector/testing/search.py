"""The right rows with the right numbers, as one tidy frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dkvector.errors import SchemaError
from dkvector.metrics import DistanceMetric
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase
from dkvector.testing.oracle import (
    DIMENSIONS,
    naive_distance,
    recall,
    sample_queries,
)


class SearchTests(StoreBase):
    """The right rows with the right numbers, as one tidy frame."""

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    async def test_distance_of_every_hit_is_the_distance_of_that_row(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric
    ) -> None:
        await self.filled(store, frame, metric)
        queries = sample_queries(5)
        hits = await store.search(queries, k=10)
        assert hits.counts.tolist() == [10] * 5
        at = 0
        for query, count in zip(queries, hits.counts, strict=True):
            for label, distance in zip(hits.ids[at : at + count], hits.distances[at : at + count], strict=True):
                assert distance == pytest.approx(
                    naive_distance(query, frame.embedding[label], metric), rel=1e-5, abs=1e-5
                )
            at += count

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    async def test_finds_the_nearest_rows(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric
    ) -> None:
        await self.filled(store, frame, metric)
        queries = sample_queries()
        assert recall(await store.search(queries, k=10), frame, queries, 10, metric) >= self.floor

    async def test_a_stored_vector_is_its_own_nearest(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame, DistanceMetric.EUCLIDEAN)
        # away from the twins, of which the first answers for both
        for label in frame.index[10:20]:
            hits = await store.search(frame.embedding[label], k=1)
            assert (list(hits.ids), hits.distances[0]) == ([label], pytest.approx(0, abs=1e-5))

    async def test_zero_vectors_are_rows_like_others_where_they_have_a_distance(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        vectors = frame.embedding.tolist()
        vectors[5] = np.zeros(DIMENSIONS, np.float32)
        frame = frame.assign(embedding=vectors)
        await self.filled(store, frame, DistanceMetric.EUCLIDEAN)
        # all of them, as codes may not know its length
        hits = await store.search(np.full(DIMENSIONS, 1e-3), k=len(frame))
        assert hits.ids[0] == "id 0005"

    async def test_ties_come_by_id(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        # the sample's rows 3 and 7 have one vector
        hits = await store.search(frame.embedding["id 0003"], k=2)
        assert list(hits.ids) == ["id 0003", "id 0007"]
        assert hits.distances[0] == hits.distances[1]

    async def test_every_query_of_a_batch_is_answered(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        queries = sample_queries(7)
        together = await store.search(queries, k=5)
        alone = [await store.search(query, k=5) for query in queries]
        assert together.counts.tolist() == [5] * 7
        np.testing.assert_allclose(together.distances, np.concatenate([hits.distances for hits in alone]), atol=1e-5)

    async def test_result_frame(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        found = (await store.search(sample_queries(3), k=4)).to_frame()
        assert found.columns[:4].tolist() == ["query", "rank", "score", "distance"]
        assert found["rank"].tolist() == [1, 2, 3, 4] * 3
        assert found["query"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert all(one.distance.is_monotonic_increasing for _, one in found.groupby("query"))
        pd.testing.assert_frame_equal(found[["n", "x", "name", "flag", "when"]], frame.loc[found.index].iloc[:, :5])

    async def test_one_query_gives_no_query_column(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        assert (await store.search(sample_queries(1)[0], k=2)).to_frame().columns[0] == "rank"

    async def test_columns_and_vectors_are_given_when_asked(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        found = (await store.search(sample_queries(1)[0], k=3, columns=["x"], include_vectors=True)).to_frame()
        assert found.columns.tolist() == ["rank", "score", "distance", "x", "embedding"]
        assert str(found.embedding.dtype) == f"vector[{DIMENSIONS}]"
        np.testing.assert_array_equal(found.embedding.iloc[0], frame.embedding[found.index[0]])

    async def test_k_beyond_the_rows_gives_them_all(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame.head(6))
        hits = await store.search(sample_queries(2), k=50)
        assert hits.counts.tolist() == [6, 6]
        assert sorted(hits.ids[:6]) == frame.index[:6].tolist()

    @pytest.mark.parametrize("k", [0, -1, 2.5, True, "3"])
    async def test_k_must_be_a_count(self, store: AsyncVectorStore, frame: pd.DataFrame, k: Any) -> None:
        await self.filled(store, frame)
        with pytest.raises(SchemaError, match="k must be a whole number"):
            await store.search(sample_queries(1)[0], k=k)

    async def test_no_hits_keep_columns_and_dtypes(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        some = (await store.search(sample_queries(1)[0], k=2)).to_frame()
        none = (await store.search(sample_queries(1)[0], k=2, where="n < 0")).to_frame()
        assert len(none) == 0
        assert none.dtypes.equals(some.dtypes)
        assert none.index.dtype == some.index.dtype

    async def test_no_queries_give_no_hits(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        assert (await store.search(np.empty((0, DIMENSIONS), np.float32))).counts.tolist() == []
