"""What a store tells of its own answers: their recall, and why a row is not among them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dkvector.filters import col
from dkvector.indexes import Tuning
from dkvector.metrics import DistanceMetric
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase
from dkvector.testing.oracle import naive_search, recall, sample_queries


class VerifyTests(StoreBase):
    """What a store tells of its own answers: their recall, and why a row is not among them."""

    async def test_queries_asked_again_exactly_tell_the_recall(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        await self.filled(store, frame)
        queries = sample_queries()
        hits = await store.search(queries, k=10, verify=1.0)
        assert store.last is not None
        told = store.last.verified
        assert told is not None
        assert told == store.verified
        assert told.queries == len(queries)
        assert told.recall == pytest.approx(recall(hits, frame, queries, 10, DistanceMetric.COSINE), abs=0.02)

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    async def test_a_row_beyond_k_is_told_its_exact_rank(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric
    ) -> None:
        await self.filled(store, frame, metric)
        query = sample_queries(1)[0]
        label, distance = naive_search(frame, query, 30, metric)[29]
        why = await store.why_not(label, query, k=5, tuning=Tuning(exact=True))
        assert (why.verdict, why.rank) == ("too far", 30)
        assert why.distance == pytest.approx(distance, rel=1e-5, abs=1e-5)

    async def test_a_row_that_is_there_or_filtered_or_absent_is_said_to_be(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        await self.filled(store, frame)
        own = frame.embedding["id 0020"]
        assert (await store.why_not("id 0020", own, k=3)).verdict == "found"
        assert (await store.why_not("no such id", own)).verdict == "not stored"
        where = (col("x") > float(frame.x["id 0020"]) + 1) & col("flag").isin([True, False])
        why = await store.why_not("id 0020", own, where=where)
        assert why.verdict == "filtered"
        assert len(why.failed) == 1
        assert why.failed[0].startswith("x > ")

    async def test_it_names_its_engine(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        assert np.any([one.isdigit() for one in await store.engine()]), "an engine is named with its version"
