"""Several vectors are one query, and several vector fields one search, with the same answer on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dkvector.blends import Blend
from dkvector.errors import NotFoundError, SchemaError, UnsupportedError, VectorError
from dkvector.fusion import RRF, Weighted
from dkvector.indexes import Tuning
from dkvector.ingest import Reading
from dkvector.metrics import DistanceMetric, Floats
from dkvector.results import Hits, HybridHits
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase
from dkvector.testing.naive import naive_max, naive_mean, naive_rrf
from dkvector.testing.oracle import DIMENSIONS, naive_search, sample_queries

# what is compared is a formula, to which an approximate index would add errors of its own
EXACTLY = Tuning(exact=True)
COSINE = DistanceMetric.COSINE
LIKE, UNLIKE = ["id 0010", "id 0020", "id 0030"], ["id 0040", "id 0050"]


def vectors_of(frame: pd.DataFrame, labels: list[str]) -> Floats:
    """Give the vectors of rows."""
    matrix: Floats = np.stack(frame.embedding[labels].tolist())
    return matrix


def same(hits: Hits, expected: list[tuple[Any, float]]) -> None:
    """Check ids and distances of one answer."""
    assert list(hits.ids) == [label for label, _ in expected]
    np.testing.assert_allclose(hits.distances, [distance for _, distance in expected], rtol=1e-4, atol=1e-5)


class BlendTests(StoreBase):
    """Several vectors are one query."""

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    @pytest.mark.parametrize("weights", [None, (3.0, 1.0, 0.5)], ids=["mean", "weights"])
    async def test_a_mean_is_searched_by_one_vector(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric, weights: Any
    ) -> None:
        await self.filled(store, frame, metric)
        queries = sample_queries(3)
        hits = await store.search(Blend(queries, combine=weights or "mean"), k=7, tuning=EXACTLY)
        same(hits, naive_search(frame, naive_mean(queries, queries[:0], metric, weights), 7, metric))
        assert hits.queries is None

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    async def test_examples_draw_near_and_push_away(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric
    ) -> None:
        await self.filled(store, frame, metric)
        made = naive_mean(vectors_of(frame, LIKE), vectors_of(frame, UNLIKE), metric, away=0.5)
        expected = naive_search(frame.drop(LIKE + UNLIKE), made, 6, metric)
        same(await store.search(Blend(like=LIKE, unlike=UNLIKE, away=0.5), k=6, tuning=EXACTLY), expected)

    @pytest.mark.parametrize("metric", list(DistanceMetric))
    @pytest.mark.parametrize("unlike", [[], UNLIKE, ["id 0100", "id 0101", "id 0102", "id 0103"]], ids=len)
    async def test_the_nearest_example_counts(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric, unlike: list[str]
    ) -> None:
        await self.filled(store, frame, metric)
        own = LIKE + unlike
        for k in (5, 60):
            hits = await store.search(Blend(like=LIKE, unlike=unlike, combine="max"), k=k, tuning=EXACTLY)
            away = vectors_of(frame, unlike) if unlike else vectors_of(frame, LIKE)[:0]
            same(hits, naive_max(frame, vectors_of(frame, LIKE), away, k=k, metric=metric, own=own))
            assert hits.rows.column_names == [frame.index.name, *frame.columns[:-1]]

    async def test_answers_are_fused_by_rank(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        queries = sample_queries(3)
        hits = await store.search(Blend(queries, combine="rrf"), k=8, tuning=EXACTLY)
        # RRF looks at a hundred rows of each leg
        legs = [[label for label, _ in naive_search(frame, one, 100, COSINE)] for one in queries]
        expected = naive_rrf(legs, 8)
        assert isinstance(hits, HybridHits)
        assert list(hits.ids) == [label for label, _ in expected]
        np.testing.assert_allclose(hits.fused, [score for _, score in expected])
        ranks = [[leg.index(label) + 1 if label in leg else 0 for label in hits.ids] for leg in legs]
        assert hits.ranks.tolist() == ranks
        names = [f"vector_{at}_{what}" for at in (1, 2, 3) for what in ("rank", "score")]
        assert hits.to_frame().columns.tolist() == ["rank", "score", *names, *frame.columns[:-1]]

    @pytest.mark.parametrize("combine", ["mean", "max", "rrf"])
    async def test_each_of_many_blends_has_its_answer(
        self, store: AsyncVectorStore, frame: pd.DataFrame, combine: Any
    ) -> None:
        await self.filled(store, frame)
        queries = sample_queries(5)
        blends = [Blend(queries[:2], combine=combine), Blend(queries[2:], like=LIKE, combine=combine)]
        hits = await store.search(blends, k=4, where="flag", tuning=EXACTLY)
        alone = [await store.search(one, k=4, where="flag", tuning=EXACTLY) for one in blends]
        assert list(hits.ids) == [label for one in alone for label in one.ids]
        assert hits.counts.tolist() == [4, 4]
        assert hits.to_frame()["query"].tolist() == [0] * 4 + [1] * 4
        assert frame.flag[hits.ids].all()

    async def test_a_blend_of_one_is_that_one(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        like = await store.search(like="id 0010", k=5, tuning=EXACTLY)
        query = sample_queries(1)[0]
        plain = await store.search(query, k=5, tuning=EXACTLY)
        for combine in ("mean", "max", "rrf"):
            blend = await store.search(Blend(like="id 0010", combine=combine), k=5, tuning=EXACTLY)
            assert list(blend.ids) == list(like.ids)
            assert list((await store.search(Blend(query, combine=combine), k=5, tuning=EXACTLY)).ids) == list(plain.ids)
        assert len((await store.search(like=["id 0010", "id 0020"], k=5)).counts) == 2

    async def test_what_no_query_can_be_made_of_is_refused(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        query = sample_queries(1)
        with pytest.raises(NotFoundError, match="nobody"):
            await store.search(Blend(like=["id 0001"], unlike="nobody"))
        with pytest.raises(VectorError, match="cancel each other out"):
            await store.search(Blend(np.stack([query[0], -query[0]])))
        with pytest.raises(VectorError, match=f"expected {DIMENSIONS}"):
            await store.search(Blend(query[:, 1:], like="id 0001"))
        with pytest.raises(SchemaError, match="weight above 0"):
            await store.search(Blend(query, like="id 0001", combine=(1.0,)))
        with pytest.raises(SchemaError, match="combined in one way"):
            await store.search([Blend(query), Blend(query, combine="max")])
        with pytest.raises(SchemaError, match="one vector, not at a blend"):
            await store.why_not("id 0001", Blend(query))


class FieldsTests(StoreBase):
    """Several vector fields are one search."""

    async def two(self, store: AsyncVectorStore, frame: pd.DataFrame, dimensions: int = DIMENSIONS) -> pd.DataFrame:
        """Write rows with two vector fields."""
        other = np.random.default_rng(9).standard_normal((len(frame), dimensions)).astype(np.float32)
        both = frame.assign(other=list(other))
        await store.upsert(both)
        for name in ("embedding", "other"):
            await store.build_index(self.index, field=name)
        return both

    async def test_their_answers_are_fused(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        both, query = await self.two(store, frame), sample_queries(1)[0]
        fusion = RRF(weights=(3, 1))
        knobs: dict[str, Any] = {"field": ["embedding", "other"], "tuning": EXACTLY, "columns": ["n"]}
        found = (await store.search(query, k=6, fusion=fusion, **knobs)).to_frame()
        legs = [naive_search(both, query, 100, COSINE, field=name) for name in ("embedding", "other")]
        expected = naive_rrf([[label for label, _ in leg] for leg in legs], 6, (3, 1))
        assert found.index.tolist() == [label for label, _ in expected]
        np.testing.assert_allclose(found["score"], [score for _, score in expected])
        names = [f"{name}_{what}" for name in ("embedding", "other") for what in ("rank", "score")]
        assert found.columns.tolist() == ["rank", "score", *names, "n"]
        scores = [1 - dict(leg)[label] for leg in legs[:1] for label in found.index if label in dict(leg)]
        np.testing.assert_allclose(found["embedding_score"].dropna(), scores, atol=1e-5)
        assert store.last is not None
        assert (store.last.field, store.last.k, store.last.returned) == ("embedding, other", 6, 6)

    async def test_each_by_its_own_vector(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        both, query = await self.two(store, frame, 4), sample_queries(1)[0]
        queries = {"other": query[:4], "embedding": query}
        found = await store.search(queries, k=6, fusion=Weighted(1.0), tuning=EXACTLY)
        nearest = naive_search(both, query[:4], 6, COSINE, field="other")
        assert list(found.ids) == [label for label, _ in nearest]
        with pytest.raises(VectorError, match="16 dimensions, expected 4"):
            await store.search(query, field=["embedding", "other"])

    async def test_a_row_is_found_in_neither_like_itself(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        both = await self.two(store, frame)
        found = await store.search(like="id 0010", field=["embedding", "other"], k=5, tuning=EXACTLY)
        legs = []
        for name in ("embedding", "other"):
            near = naive_search(both.drop("id 0010"), both[name]["id 0010"], 100, COSINE, field=name)
            legs.append([label for label, _ in near])
        assert list(found.ids) == [label for label, _ in naive_rrf(legs, 5)]

    async def test_what_makes_no_sense_is_refused(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.two(store, frame)
        query = sample_queries(1)[0]
        with pytest.raises(NotFoundError, match="nope"):
            await store.search(query, field=["embedding", "nope"])
        with pytest.raises(SchemaError, match="each once"):
            await store.search(query, field=["embedding", "embedding"])
        with pytest.raises(SchemaError, match="2 rankings, but 3 weights"):
            await store.search(query, field=["embedding", "other"], fusion=RRF(weights=(1, 1, 1)))
        with pytest.raises(SchemaError, match="one vector field is searched here"):
            await store.why_not("id 0001", query, field=["embedding", "other"])  # type: ignore[arg-type]

    async def test_fields_of_different_metrics_are_not_fused(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        both = await self.two(store, frame)
        if not store.supports.other_metric:
            with pytest.raises(UnsupportedError):
                await store.search(sample_queries(1)[0], field=["embedding", "other"], metric="euclidean")
            return
        found = await store.search(sample_queries(1)[0], field=["embedding", "other"], metric="euclidean", k=3)
        assert len(found.ids) == 3
        assert both.index.isin(found.ids).sum() == 3

    async def test_one_field_reads_as_before(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await store.upsert(frame, reading=Reading())
        query = sample_queries(1)[0]
        found = (await store.search(query, field=["embedding"], k=4)).to_frame()
        assert found.index.tolist() == list((await store.search(query, k=4)).ids)
