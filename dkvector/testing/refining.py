"""What is done with neighbours: cut, weighed, chosen by groups or for diversity, the same on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dkvector.blends import Blend
from dkvector.errors import NotFoundError, SchemaError, UnsupportedError
from dkvector.indexes import Tuning
from dkvector.metrics import DistanceMetric
from dkvector.refinements import MMR, Cut, Evidence, Group, Refinement
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase
from dkvector.testing.naive import naive_groups, naive_mmr, naive_p, naive_score
from dkvector.testing.oracle import naive_search, sample_queries

# what is compared is a formula, to which an approximate index would add errors of its own
EXACTLY = Tuning(exact=True)
COSINE = DistanceMetric.COSINE


class RefineTests(StoreBase):
    """What is done with neighbours."""

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    async def test_what_is_too_far_is_left_out(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric
    ) -> None:
        await self.filled(store, frame, metric)
        queries = sample_queries(3)
        near = [naive_search(frame, one, 20, metric) for one in queries]
        # between the tenth and the eleventh, so that rounding decides nothing
        limit = (near[0][9][1] + near[0][10][1]) / 2
        expected = [[label for label, distance in one if distance <= limit] for one in near]
        knobs = [Cut(max_distance=limit), Cut(min_score=naive_score(limit, metric)), Cut(-1e9, limit)]
        for knob in knobs:
            hits = await store.search(queries, k=20, refine=knob, tuning=EXACTLY)
            assert hits.counts.tolist() == list(map(len, expected))
            assert list(hits.ids) == [label for one in expected for label in one]
        assert hits.counts[0] == 10
        assert (await store.search(queries[0], k=5, refine=Cut(min_score=1e9))).to_frame().empty

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    async def test_diverse_rows_are_those_of_the_formula(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric
    ) -> None:
        await self.filled(store, frame, metric)
        for query in sample_queries(3):
            near = dict(naive_search(frame, query, 25, metric))
            hits = await store.search(query, k=6, refine=MMR(0.4, candidates=25), tuning=EXACTLY)
            scores = {one: naive_score(distance, metric) for one, distance in near.items()}
            chosen = naive_mmr(frame, scores.__getitem__, list(near), k=6, balance=0.4, metric=metric)
            assert list(hits.ids) == chosen
            np.testing.assert_allclose(hits.distances, [near[one] for one in chosen], rtol=1e-4, atol=1e-5)
            assert hits.rows.column_names == [frame.index.name, *frame.columns[:-1]]
        assert store.last is not None
        assert (store.last.k, store.last.returned) == (6, 6)

    async def test_a_twin_is_no_second_choice(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        query = frame.embedding["id 0003"]  # whose twin is 0007
        found = await store.search(query, k=2, refine=MMR(0.5, candidates=10), tuning=EXACTLY, columns=["x"])
        assert list(found.ids) != ["id 0003", "id 0007"]
        assert list((await store.search(query, k=2, refine=MMR(1.0), tuning=EXACTLY)).ids) == ["id 0003", "id 0007"]
        assert found.to_frame().columns.tolist() == ["rank", "score", "distance", "x"]

    @pytest.mark.parametrize(("by", "k", "groups"), [("name", 3, 4), ("name", 40, 20), ("flag", 2, 5), ("n", 2, 7)])
    async def test_groups_are_those_of_all_rows(
        self, store: AsyncVectorStore, frame: pd.DataFrame, by: str, k: int, groups: int
    ) -> None:
        await self.filled(store, frame)
        queries = sample_queries(3)
        found = (await store.search(queries, k=k, refine=Group(by, groups), tuning=EXACTLY)).to_frame()
        for at, query in enumerate(queries):
            mine = found[found["query"] == at]
            got = list(zip(mine["group"].tolist(), mine["rank"].tolist(), mine.index, strict=True))
            assert got == naive_groups(frame, query, k, by, groups)

    async def test_no_group_starves_because_another_is_near(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        query = sample_queries(1)[0]
        near = [label for label, _ in naive_search(frame, query, len(frame), COSINE)]
        users: list[Any] = ["crowd"] * (len(near) - 30) + [f"user {at % 6}" for at in range(30)]
        # near, while its other rows are the farthest of all
        users[2], users[40] = "user 0", None
        crowded = frame.assign(user=pd.Series(users, index=near, dtype="str").reindex(frame.index))
        await self.filled(store, crowded)
        found = (await store.search(query, k=3, refine=Group("user", 5), tuning=EXACTLY, columns=["x"])).to_frame()
        expected = naive_groups(crowded, query, 3, "user", 5)
        got = list(zip(found["group"].tolist(), found["rank"].tolist(), found.index, strict=True))
        assert got == expected
        assert len(got) == 15
        assert found.columns.tolist() == ["rank", "score", "distance", "group", "x"]
        none = await store.search(query, k=3, refine=Group("user"), where="user == 'nobody'")
        assert none.to_frame().empty

    async def test_filters_and_cuts_hold_in_groups(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        query = sample_queries(1)[0]
        kept = frame[frame.flag]
        limit = naive_search(kept, query, 30, COSINE)[-1][1] + 1e-6
        near = kept.loc[[label for label, distance in naive_search(kept, query, 90, COSINE) if distance <= limit]]
        knobs: list[Refinement] = [Group("name", 6), Cut(max_distance=limit)]
        found = (await store.search(query, k=2, where="flag", refine=knobs, tuning=EXACTLY)).to_frame()
        assert found.index.tolist() == [label for _, _, label in naive_groups(near, query, 2, "name", 6)]

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    async def test_evidence_counts_random_pairs(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric
    ) -> None:
        some = frame.head(60)
        await self.filled(store, some, metric)
        query = sample_queries(1)[0]
        found = (await store.search(query, k=4, where="n >= 10", refine=Evidence(), tuning=EXACTLY)).to_frame()
        expected = [naive_p(some, distance, metric) for distance in found["distance"]]
        np.testing.assert_allclose(found["p_value"], expected, rtol=0.02, atol=2e-3)
        np.testing.assert_allclose(found["e_value"], found["p_value"] * (some.n >= 10).sum())
        assert found.columns[:5].tolist() == ["rank", "score", "distance", "p_value", "e_value"]

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    async def test_copies_are_as_near_as_a_copy(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric
    ) -> None:
        some = frame.head(60)
        twin = some.embedding.iloc[0]
        vectors = [twin if at % 4 == 0 else one for at, one in enumerate(some.embedding)]
        some = some.assign(embedding=pd.Series(vectors, index=some.index, dtype=object))
        await self.filled(store, some, metric)
        found = (await store.search(twin, k=20, refine=Evidence(), tuning=EXACTLY)).to_frame()
        copies = found.index.isin(some.index[::4])
        expected = [naive_p(some, distance, metric) for distance in found["distance"][copies]]
        # chance brings a copy for one pair in seventeen
        np.testing.assert_allclose(found["p_value"][copies], expected, rtol=0.02)

    async def test_evidence_is_the_same_however_rows_came(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        # 300 rows by two writes, and the same ones by a third, in another order
        query, knob = sample_queries(1)[0], Evidence(sample=40, seed=3)
        await store.upsert(frame.iloc[::-1].head(200))
        before = await store.search(query, k=3, refine=knob, tuning=EXACTLY)
        await store.upsert(frame.head(200))
        after = await store.search(query, k=3, refine=knob, tuning=EXACTLY)
        assert before.extra["p_value"].tolist() != after.extra["p_value"].tolist()
        await store.upsert(frame, mode="replace")
        again = await store.search(query, k=3, refine=knob, tuning=EXACTLY)
        np.testing.assert_allclose(again.extra["p_value"], after.extra["p_value"], atol=0.003)
        least = float(again.extra["p_value"].min())
        assert len((await store.search(query, k=3, refine=Evidence(40, 3, max_p=least / 2), tuning=EXACTLY)).ids) == 0

    async def test_refinements_of_a_blend(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        blend = Blend(like=["id 0010", "id 0020"], combine="max")
        plain = await store.search(blend, k=300, tuning=EXACTLY)
        names = frame.name[plain.ids]
        hits = await store.search(blend, k=1, refine=Group("name", 5), tuning=EXACTLY)
        assert list(hits.ids) == list(names[~names.duplicated()].index[:5])
        query = sample_queries(1)
        once = await store.search(query[0], k=3, refine=Evidence(), tuning=EXACTLY)
        twice = Blend(np.concatenate([query, query]), combine="max")
        weighed = await store.search(twice, k=3, refine=Evidence(), tuning=EXACTLY)
        assert list(weighed.ids) == list(once.ids)
        np.testing.assert_allclose(weighed.extra["p_value"], 1 - (1 - once.extra["p_value"]) ** 2, rtol=1e-6)

    @pytest.mark.parametrize(
        ("knobs", "says"),
        [
            ({"refine": [MMR(), Group("name")]}, "both choose rows"),
            ({"refine": [Cut(0.1), Cut(0.2)]}, "one of a kind"),
            ({"refine": "mmr"}, "refine takes"),
            ({"refine": Group("nope")}, "nope"),
            ({"refine": MMR(), "text": "apple"}, "one ranking by distance"),
        ],
    )
    async def test_what_makes_no_sense_is_refused(
        self, store: AsyncVectorStore, frame: pd.DataFrame, knobs: dict[str, Any], says: str
    ) -> None:
        await self.filled(store, frame)
        with pytest.raises((SchemaError, NotFoundError, UnsupportedError), match=says):
            await store.search(sample_queries(1)[0], **knobs)
        with pytest.raises(SchemaError, match='"mean" or "max"'):
            await store.search(Blend(sample_queries(2), combine="rrf"), refine=Cut(0.1))


class CompileTests(StoreBase):
    """What a search would send is told without sending it, or the store says that it can't tell."""

    async def test_it_tells_what_would_run(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        query = sample_queries(1)[0]
        if not store.supports.compile:
            with pytest.raises(UnsupportedError, match=r"explain\(\) runs it"):
                await store.compile(query)
            return
        made = await store.compile(query, k=5, where="x > 0")
        assert store.last is None
        assert (made.backend, [one.leg for one in made.statements]) == (store.name, ["vector"])
        await store.search(query, k=5, where="x > 0")
        assert store.last is not None
        assert store.last.plan.startswith(made.statements[0].plan)
        assert "x" in made.statements[0].sent
        assert any(np.array_equal(np.ravel(one), query) for one in made.statements[0].parameters if np.ndim(one))

    async def test_every_leg_is_told(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        if not (store.supports.compile and store.supports.keyword):
            return
        made = await store.compile(sample_queries(1)[0], text="plain", refine=None)
        assert [one.leg for one in made.statements] == ["vector", "text"]
        assert "plain" in f"{made.statements[1].sent} {made.statements[1].parameters}"
        grouped = await store.compile(Blend(like=["id 0001", "id 0002"], combine="max"), refine=Group("name"))
        assert len(grouped.statements) == 1
        assert grouped.to_frame().index.tolist() == ["vector"]
        with pytest.raises(NotFoundError, match="nope"):
            await store.compile(sample_queries(1)[0], columns=["nope"])
