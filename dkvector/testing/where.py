"""A filter is applied before the neighbours are taken, and means the same everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dkvector.errors import FilterError
from dkvector.filters import col
from dkvector.metrics import DistanceMetric
from dkvector.query import Query
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase
from dkvector.testing.oracle import (
    NAMES,
    recall,
    sample_frame,
    sample_queries,
)


class FilterTests(StoreBase):
    """A filter is applied before the neighbours are taken, and means the same everywhere."""

    async def agrees(self, store: AsyncVectorStore, frame: pd.DataFrame, where: Any, mask: Any) -> None:
        """Check that a filter lets the same rows through however it is used: engines have a way for each."""
        expected = sorted(frame.index[mask.fillna(value=False)])
        assert await store.count(where) == len(expected)
        hits = await store.search(sample_queries(1)[0], k=len(frame), where=where)
        assert sorted(hits.ids) == expected
        pages = [page.column(0).to_pylist() async for page in store.scan(where=where, columns=[])]
        assert sorted(one for page in pages for one in page) == expected

    # down to so few that an index which filters what it found runs dry
    @pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
    async def test_a_filter_still_fills_k(self, store: AsyncVectorStore, share: Any) -> None:
        frame = sample_frame(1000, seed=3)
        chosen = np.random.default_rng(5).permutation(1000) < 1000 * share
        frame["group"] = np.where(chosen, "in", "out")
        await self.filled(store, frame)
        queries = sample_queries(10)
        hits = await store.search(queries, k=10, where=col("group") == "in")
        assert hits.counts.tolist() == [10] * 10
        assert frame.group[hits.ids].unique().tolist() == ["in"]
        assert recall(hits, frame[chosen], queries, 10, DistanceMetric.COSINE) >= min(self.floor, 0.95)

    async def test_a_forced_index_keeps_to_the_filter(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        hits = await store.search(sample_queries(10), k=10, where="flag", tuning=self.approximate)
        assert len(hits.ids)
        assert frame.flag[hits.ids].all()

    async def test_fewer_matches_than_k_all_come(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        hits = await store.search(sample_queries(2), k=10, where="n in [5, 17, 42]")
        assert [sorted(hits.ids[:3]), sorted(hits.ids[3:])] == [["id 0005", "id 0017", "id 0042"]] * 2

    @pytest.mark.parametrize("value", NAMES)
    async def test_values_are_data_whatever_they_say(
        self, store: AsyncVectorStore, frame: pd.DataFrame, value: Any
    ) -> None:
        await self.filled(store, frame)
        hits = await store.search(sample_queries(1)[0], k=300, where={"name": value})
        assert sorted(hits.ids) == frame.index[frame.name == value].tolist()

    async def test_missing_values_satisfy_nothing_but_is_null(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        await self.filled(store, frame)
        await self.agrees(store, frame, col("n").is_null(), frame.n.isna())
        await self.agrees(store, frame, col("n") >= 150, frame.n >= 150)
        await self.agrees(store, frame, ~(col("n") >= 150), frame.n < 150)
        await self.agrees(store, frame, col("n") != 150, frame.n != 150)
        await self.agrees(store, frame, ~col("n").isin([5, 150]), frame.n.notna() & ~frame.n.isin([5, 150]))
        await self.agrees(store, frame, (col("n") != 150) | col("flag").isin([True]), (frame.n != 150) | frame.flag)

    async def test_values_of_any_type_may_be_missing(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        lacking = np.arange(len(frame)) % 7 == 0
        frame = frame.assign(
            x=frame.x.mask(lacking),
            name=frame.name.mask(lacking),
            flag=frame.flag.astype("boolean").mask(lacking),
            when=frame.when.mask(lacking),
        )
        await self.filled(store, frame)
        for name in ("x", "name", "flag", "when"):
            await self.agrees(store, frame, col(name).is_null(), frame[name].isna())
            await self.agrees(store, frame, ~col(name).is_null(), frame[name].notna())
        there = pd.Series(~lacking, frame.index)
        await self.agrees(store, frame, col("x") != 0.5, there & (frame.x != 0.5))
        await self.agrees(store, frame, ~(col("x") > 0), there & ~(frame.x > 0))
        await self.agrees(store, frame, col("name") != "plain", there & (frame.name != "plain"))
        await self.agrees(store, frame, ~col("name").contains("%"), there & (frame.name != "per%cent"))
        await self.agrees(store, frame, ~col("flag").isin([True]), there & ~frame.flag.fillna(value=True))
        await self.agrees(store, frame, col("when") != frame.when.iloc[1], there & (frame.when != frame.when.iloc[1]))

    async def test_every_form_of_where(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        expected = frame.index[frame.flag & (frame.n > 100)].tolist()
        forms = [
            "flag and n > 100",
            col("flag").isin([True]) & (col("n") > 100),
            # by label, and not by place
            (frame.flag & (frame.n > 100)).sample(frac=1, random_state=0),
            Query().filter("flag", "=", True).filter("n", ">", 100),
        ]
        for where in forms:
            hits = await store.search(sample_queries(1)[0], k=300, where=where)
            assert sorted(hits.ids) == expected

    async def test_dates_and_text_filters(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        await self.agrees(store, frame, "when >= '2024-01-10'", frame.when >= "2024-01-10")
        await self.agrees(store, frame, col("name").like("%_score"), frame.name == "under_score")
        await self.agrees(store, frame, col("name").contains("%"), frame.name == "per%cent")
        await self.agrees(store, frame, col("name").startswith("O'"), frame.name == "O'Neil")
        await self.agrees(store, frame, col("name").between("a", "q"), frame.name.between("a", "q"))

    @pytest.mark.parametrize("where", ["nope > 1", "name > 3", "n +", {"nope": 1}, 7])
    async def test_bad_filters_are_refused(self, store: AsyncVectorStore, frame: pd.DataFrame, where: Any) -> None:
        await self.filled(store, frame)
        with pytest.raises(FilterError):
            await store.search(sample_queries(1)[0], where=where)
