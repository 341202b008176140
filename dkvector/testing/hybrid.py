"""A vector and words are searched for together, and what both find is one ranking, the same on every backend."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dkvector.errors import SchemaError, UnsupportedError
from dkvector.fusion import RRF, Fusion, Leg, Weighted, fuse
from dkvector.results import HybridHits
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase
from dkvector.testing.keyword import library

QUERY = np.array([9, 1, 2, 3, 4, 5], np.float32)
COLUMNS = ["rank", "score", "vector_rank", "vector_score", "text_rank", "text_score"]


class HybridTests(StoreBase):
    """A vector and words are searched for together, or the store says that it can't look for words."""

    async def both(
        self, store: AsyncVectorStore, queries: Any = QUERY, text: Any = "apple", **knobs: Any
    ) -> HybridHits:
        """Search, on stores that can; refused, and the test is over, on those that can't."""
        await store.upsert(library())
        if not store.supports.keyword:
            with pytest.raises(UnsupportedError, match="keyword search"):
                await store.search(queries, text=text, **knobs)
            pytest.xfail(f"{store.name} has no words")  # the refusal is what was tested
        found = await store.search(queries, text=text, **knobs)
        assert isinstance(found, HybridHits)
        return found

    @pytest.mark.parametrize("fusion", [None, RRF(k=1), RRF(weights=(1, 5)), Weighted(0.3), Weighted(0.6, "zscore")])
    async def test_the_ranking_is_that_of_the_legs_fused(self, store: AsyncVectorStore, fusion: Fusion | None) -> None:
        found = (await self.both(store, k=4, fusion=fusion)).to_frame()
        # all six rows, for ranks and normalised scores depend on how far a leg looks
        near, worded = await store.search(QUERY, k=6), await store.keyword_search("apple", k=6)
        legs = [Leg(near.ids, near.scores), Leg(worded.ids, worded.scores)]
        fused = fuse(legs, fusion or RRF(), 4)
        assert found.index.tolist() == fused.ids.tolist()
        np.testing.assert_allclose(found["score"], fused.scores, rtol=1e-5)
        for at, leg in enumerate(("vector", "text")):
            assert found[f"{leg}_rank"].fillna(0).tolist() == fused.ranks[at].tolist()
            np.testing.assert_allclose(found[f"{leg}_score"], fused.of_legs[at], rtol=1e-5)

    async def test_a_hand_computed_ranking(self, store: AsyncVectorStore) -> None:
        found = (await self.both(store, text="stone", fusion=RRF(k=0), k=2, columns=["n"])).to_frame()
        assert found.columns.tolist() == [*COLUMNS, "n"]
        # c: fifth by the vector, first by the word; a: first by the vector
        assert found.index.tolist() == ["c", "a"]
        assert found["score"].tolist() == pytest.approx([1 / 5 + 1, 1])
        assert found["vector_rank"].tolist() == [5, 1]
        assert found["text_rank"].isna().tolist() == [False, True]
        assert found["n"].tolist() == [3, 1]

    async def test_a_filter_holds_for_both_legs(self, store: AsyncVectorStore) -> None:
        assert sorted((await self.both(store, where="n > 1", k=10)).ids) == ["b", "c", "d", "e"]

    async def test_each_query_has_its_text(self, store: AsyncVectorStore) -> None:
        queries = pd.Series([QUERY, QUERY[::-1]], index=["one", "other"])
        found = (await self.both(store, queries, ["stone", "whale"], k=2, text_on="title")).to_frame()
        single = (await store.search(QUERY[::-1], text="whale", k=2, text_on="title")).to_frame()
        assert found["query"].tolist() == ["one", "one", "other", "other"]
        pd.testing.assert_frame_equal(found[found["query"] == "other"].drop(columns="query"), single)

    async def test_words_that_are_nowhere_leave_the_neighbours(self, store: AsyncVectorStore) -> None:
        found = (await self.both(store, text="zebra", k=3)).to_frame()
        near = (await store.search(QUERY, k=3)).to_frame()
        assert found.index.tolist() == near.index.tolist()
        assert found["text_rank"].isna().all()
        assert found.dtypes.equals((await self.both(store, text="apple", k=3)).to_frame().dtypes)

    async def test_what_ran_is_told(self, store: AsyncVectorStore) -> None:
        await self.both(store, k=2, text_on="title")
        told = store.last
        assert told is not None
        assert (told.k, told.returned, told.native["words"]) == (2, 2, "'apple' in title")
        assert told.plan.endswith(", and words")

    @pytest.mark.parametrize(
        ("knobs", "says"),
        [
            ({"text": " "}, "not blank"),
            ({"text": 7}, "not blank, not 7"),
            ({"text": ["apple", "stone"]}, "1 queries and 2 texts"),
            ({"text": "apple", "text_on": "n"}, "no words"),
            ({"text": "apple", "like": "a"}, "takes a query vector"),
        ],
    )
    async def test_what_makes_no_sense_is_refused(
        self, store: AsyncVectorStore, knobs: dict[str, Any], says: str
    ) -> None:
        await store.upsert(library())
        with pytest.raises((SchemaError, UnsupportedError), match=says if store.supports.keyword else None):
            await store.search(QUERY, **knobs)

    async def test_searches_side_by_side_keep_apart(self, store: AsyncVectorStore) -> None:
        await self.both(store)
        asked = [store.search(QUERY, text=text, k=1, fusion=RRF(k=0)) for text in ("stone", "green") * 3]
        answers = await asyncio.gather(*asked)
        assert [one.ids[0] for one in answers] == ["c", "b"] * 3
