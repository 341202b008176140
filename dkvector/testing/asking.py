"""What can be searched for beside vectors: texts, and rows that are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dkvector.encoders import Encoder
from dkvector.errors import NotFoundError, SchemaError
from dkvector.fusion import RRF
from dkvector.ingest import Reading
from dkvector.metrics import DistanceMetric, Floats
from dkvector.query import VectorQuery
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase
from dkvector.testing.oracle import DIMENSIONS, naive_distance, sample_queries

TEXTS = ["a tame wolf", "", "O'Neil; DROP TABLE x --", "emoji 🙂"]


class SampleEncoder:
    """An encoder that knows four texts, and counts how often it is asked."""

    model_name = "sample/encoder"

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, texts: Sequence[str]) -> Floats:
        """Give the vectors of texts it knows."""
        self.calls += 1
        return sample_queries(len(TEXTS))[[TEXTS.index(text) for text in texts]]


class AskTests(StoreBase):
    """What can be searched for beside vectors: texts, and rows that are there."""

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    async def test_like_finds_other_rows_by_a_rows_own_vector(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric
    ) -> None:
        await self.filled(store, frame, metric)
        hits = await store.search(like="id 0020", k=8)
        assert (len(hits.ids), hits.queries) == (8, None)
        assert "id 0020" not in hits.ids
        expected = [naive_distance(frame.embedding["id 0020"], frame.embedding[label], metric) for label in hits.ids]
        np.testing.assert_allclose(hits.distances, expected, rtol=1e-5, atol=1e-5)
        others = frame.embedding.drop("id 0020")
        nearest = sorted(naive_distance(frame.embedding["id 0020"], row, metric) for row in others)[:8]
        # one of the eight may be missed beyond what the index promises
        assert np.mean(hits.distances <= nearest[-1] + 1e-4) >= self.floor - 0.125

    async def test_like_a_duplicate_finds_the_other_one(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        for label, twin in (("id 0003", "id 0007"), ("id 0007", "id 0003")):
            hits = await store.search(like=label, k=1)
            assert (list(hits.ids), hits.distances[0]) == ([twin], pytest.approx(0, abs=1e-5))

    async def test_like_leaves_out_its_own_row_among_more_ties_than_k(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        rows = frame.head(20).assign(embedding=[frame.embedding.iloc[0]] * 20)
        await self.filled(store, rows)
        hits = await store.search(like=rows.index, k=4)
        assert hits.counts.tolist() == [4] * 20
        for at, label in enumerate(rows.index):
            found = list(hits.ids[4 * at : 4 * at + 4])
            assert label not in found
            assert found == sorted(set(found))
            if self.floor == 1:  # an approximate index may find others of the same distance
                assert found == [one for one in rows.index[:5] if one != label][:4]

    async def test_like_several_rows_labels_each_query(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        labels = ["id 0200", "id 0003", "id 0200"]
        found = (await store.search(like=labels, k=3, columns=["n"], include_vectors=True)).to_frame()
        assert found.columns.tolist() == ["query", "rank", "score", "distance", "n", "embedding"]
        assert found["query"].tolist() == [label for label in labels for _ in range(3)]
        assert found["rank"].tolist() == [1, 2, 3] * 3
        assert (found.index != found["query"]).all()
        expected = frame.embedding.loc[found.index].tolist()
        np.testing.assert_array_equal(np.stack(found["embedding"].tolist()), np.stack(expected))

    async def test_like_a_row_that_does_not_satisfy_the_filter(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        await self.filled(store, frame)
        own = frame.index[~frame["flag"]][0]
        hits = await store.search(like=own, k=5, where="flag == True")
        assert len(hits.ids) == 5
        assert frame.loc[hits.ids, "flag"].all()

    async def test_like_more_than_there_are_gives_all_the_others(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        await self.filled(store, frame.head(6))
        hits = await store.search(like=["id 0000", "id 0005"], k=50)
        assert hits.counts.tolist() == [5, 5]
        assert sorted(hits.ids[:5]) == frame.index[1:6].tolist()
        told = await store.explain(like=["id 0000", "id 0005"], k=50)
        assert (told.k, told.queries, told.returned, told.shortfall) == (50, 2, 10, 0)

    async def test_like_an_unknown_row_is_an_error(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame.head(6))
        with pytest.raises(NotFoundError, match="id 9999"):
            await store.search(like=["id 0001", "id 9999"])

    async def test_a_text_is_searched_by_its_vector(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        store.encoder = SampleEncoder()
        for text, vector in zip(TEXTS, sample_queries(len(TEXTS)), strict=True):
            by_text, by_vector = await store.search(text=text, k=5), await store.search(vector, k=5)
            pd.testing.assert_frame_equal(by_text.to_frame(), by_vector.to_frame())

    async def test_several_texts_label_their_hits(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        store.encoder = SampleEncoder()
        found = (await store.search(text=TEXTS, k=3)).to_frame()
        assert found["query"].tolist() == [text for text in TEXTS for _ in range(3)]
        assert (await store.search(text=[])).counts.tolist() == []
        assert (await store.explain(text=TEXTS[0], k=3)).returned == 3

    async def test_text_of_another_model_is_refused_before_it_is_embedded(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        store.encoder = (source := SampleEncoder())
        await store.upsert(frame, reading=Reading(model="sample/other"))
        with pytest.raises(SchemaError, match=r"'sample/other'.*'sample/encoder'"):
            await store.search(text=TEXTS[0])
        assert source.calls == 0
        with pytest.raises(SchemaError, match=r"'sample/other'.*'sample/encoder'"):
            store.encoder = Encoder(source)

    async def test_a_wrong_search_embeds_nothing(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        store.encoder = (source := SampleEncoder())
        wrong: list[dict[str, Any]] = [{"k": 0}, {"field": "nope"}, {"where": "nope > 1"}, {"columns": ["nope"]}]
        for knobs in wrong:
            with pytest.raises((SchemaError, NotFoundError, ValueError), match=r"nope|k must be"):
                await store.search(text=TEXTS[0], **knobs)
        assert source.calls == 0

    async def test_text_without_an_encoder_says_how_to_name_one(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        await self.filled(store, frame)
        with pytest.raises(SchemaError, match=r"needs an encoder.*store\.encoder ="):
            await store.search(text=TEXTS[0])
        store.encoder = lambda texts: np.ones((len(texts), DIMENSIONS - 1))
        with pytest.raises(ValueError, match=f"{DIMENSIONS - 1} dimensions, expected {DIMENSIONS}"):
            await store.search(text=TEXTS[0])

    async def test_one_thing_is_searched_for(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        store.encoder = SampleEncoder()
        with pytest.raises(SchemaError, match="takes a query vector"):
            await store.search()
        with pytest.raises(SchemaError, match="takes a query vector"):
            await store.search(like="id 0001", text=TEXTS[0])
        with pytest.raises(SchemaError, match="takes a query vector"):
            await store.search(sample_queries(1)[0], like="id 0001")
        with pytest.raises(SchemaError, match="hybrid search, which takes text="):
            await store.search(sample_queries(1)[0], fusion=RRF())

    async def test_a_vector_query_brings_what_it_asks_for(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        query = sample_queries(1)[0]
        hits = await store.search(VectorQuery(query, k=4))
        assert list(hits.ids) == list((await store.search(query, k=4)).ids)
