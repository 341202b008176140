"""Another model's vectors are made beside those that serve, take their place in one step, and can be sent back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dkvector.errors import NotFoundError, SchemaError, UnsupportedError, VectorError
from dkvector.ingest import Reading
from dkvector.metrics import DistanceMetric, Floats
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase
from dkvector.testing.oracle import naive_search, recall

WIDE = 12  # dimensions of the second model


def model(dimensions: int, seed: int) -> Callable[[list[str]], Floats]:
    """Make an encoder: every text has a vector of its own, drawn by its letters."""

    def encode(texts: list[str]) -> Floats:
        drawn = [np.random.default_rng([seed, *text.encode()]).standard_normal(dimensions) for text in texts]
        return np.array(drawn, np.float32).reshape(len(texts), dimensions)

    return encode


FIRST, SECOND, OTHER = model(8, 1), model(WIDE, 2), model(8, 3)


class VersionTests(StoreBase):
    """Versions of a vector field."""

    @pytest.fixture
    def texts(self) -> pd.DataFrame:
        """Give rows with a text, and its vector by the first model."""
        text = [f"text {at}" for at in range(90)]
        labels = [f"id {at:02}" for at in range(90)]
        return pd.DataFrame({"text": text, "n": range(90), "embedding": list(FIRST(text))}, index=labels)

    async def versioned(self, store: AsyncVectorStore, texts: pd.DataFrame) -> pd.DataFrame:
        """Write the rows, and embed them anew; gives them with both vectors."""
        await self.filled(store, texts)
        done = await store.reembed(SECOND, "v2", text="text", batch_size=16, progress=False)
        assert (done.field.name, done.filled, done.lacking) == ("embedding_v2", 90, 0)
        return texts.assign(embedding_v2=list(SECOND(texts["text"].tolist())))

    async def test_a_new_version_is_filled_while_the_old_one_serves(
        self, store: AsyncVectorStore, texts: pd.DataFrame
    ) -> None:
        query = FIRST(["text 7"])[0]
        if not store.supports.migration:
            await self.filled(store, texts)
            with pytest.raises(UnsupportedError, match=store.name):
                await store.reembed(SECOND, "v2", text="text")
            return
        both = await self.versioned(store, texts)
        assert (await store.search(query, k=1)).ids.tolist() == ["id 07"]
        queries = SECOND([f"text {at}" for at in range(0, 90, 9)])
        hits = await store.search(queries, k=10, field="embedding_v2")
        known = both.drop(columns="embedding").rename(columns={"embedding_v2": "embedding"})
        assert recall(hits, known, queries, 10, DistanceMetric.COSINE) >= self.floor
        for label, distance in zip(hits.ids, hits.distances, strict=True):
            assert label in both.index
            assert 0 <= distance <= 2

    async def test_the_index_is_built_like_that_of_the_version_before(
        self, store: AsyncVectorStore, texts: pd.DataFrame
    ) -> None:
        await self.versioned(store, texts)
        specs = await store.indexes()
        assert specs["embedding_v2"] == specs["embedding"]

    async def test_a_switch_and_a_rollback(self, store: AsyncVectorStore, texts: pd.DataFrame) -> None:
        await self.versioned(store, texts)
        with pytest.raises(NotFoundError, match="no version 'v3'"):
            await store.switch("v3")
        assert (await store.switch("v2")).name == "embedding_v2"
        query = SECOND(["text 11"])[0]
        assert (await store.search(query, k=1)).ids.tolist() == ["id 11"]
        with pytest.raises(VectorError, match="8 dimensions"):
            await store.search(FIRST(["text 11"])[0], k=1)
        assert (await store.rollback()).name == "embedding"
        assert (await store.search(FIRST(["text 12"])[0], k=1)).ids.tolist() == ["id 12"]
        with pytest.raises(SchemaError, match="no version of 'embedding' served before"):
            await store.rollback()

    async def test_rows_that_lack_a_version_keep_it_from_serving(
        self, store: AsyncVectorStore, texts: pd.DataFrame
    ) -> None:
        both = await self.versioned(store, texts)
        late = pd.DataFrame({"text": ["late"], "n": [100], "embedding": list(FIRST(["late"]))}, index=["late"])
        await store.upsert(pd.concat([late, texts.head(1).assign(text="changed")]))
        assert (await store.versions())["lacking"].to_dict() == {"embedding": 0, "embedding_v2": 2}
        hits = await store.search(SECOND(["text 0"])[0], k=200, field="embedding_v2")
        assert sorted(hits.ids) == both.index[1:].tolist()
        assert (await store.explain(SECOND(["a"])[0], k=200, field="embedding_v2", where="n < 10")).returned == 9
        with pytest.raises(SchemaError, match="2 rows have no vector in 'embedding_v2'"):
            await store.switch("v2")
        assert (await store.reembed(SECOND, "v2", text="text")).filled == 2
        assert (await store.switch("v2")).turn == 1
        assert (await store.search(SECOND(["changed"])[0], k=1)).ids.tolist() == ["id 00"]

    async def test_a_write_must_bring_what_serves(self, store: AsyncVectorStore, texts: pd.DataFrame) -> None:
        both = await self.versioned(store, texts)
        await store.switch("v2")
        with pytest.raises(SchemaError, match=r"searched by 'embedding_v2'.*bring only 'embedding'"):
            await store.upsert(texts.head(3))
        await store.upsert(both.head(3).drop(columns="embedding"))
        with pytest.raises(SchemaError, match="3 rows have no vector in 'embedding'"):
            await store.rollback()
        assert await store.count() == 90
        await store.rollback(incomplete=True)
        assert (await store.search(FIRST(["text 1"])[0], k=200)).counts.tolist() == [87]
        with pytest.raises(VectorError, match="no vector 'embedding' at 'id 01'"):
            await store.search(like="id 01", k=2)
        assert await store.backfill("embedding", FIRST, text="text") == 3
        assert (await store.search(FIRST(["text 1"])[0], k=1)).ids.tolist() == ["id 01"]

    async def test_pruning_leaves_what_serves(self, store: AsyncVectorStore, texts: pd.DataFrame) -> None:
        both = await self.versioned(store, texts)
        await store.switch("v2")
        assert await store.prune() == ["embedding"]
        assert [one.name for one in store.known.vectors] == ["embedding_v2"]
        assert await store.prune() == []
        assert (await store.search(SECOND(["text 20"])[0], k=1)).ids.tolist() == ["id 20"]
        found = await store.get(["id 20"], include_vectors=True)
        assert found.column_names[1:] == ["text", "n", "embedding_v2"]
        await store.upsert(both.tail(2).drop(columns="embedding").rename(index=lambda label: f"new {label}"))
        assert await store.count() == 92
        with pytest.raises(SchemaError, match="no version"):
            await store.rollback()

    async def test_what_is_known_of_versions_is_kept(self, store: AsyncVectorStore, texts: pd.DataFrame) -> None:
        await self.versioned(store, texts)
        await store.switch("v2")
        await store.refresh()
        told = (await store.versions()).loc["embedding_v2"]
        expected = ("embedding", "v2", WIDE, True, 0, True)
        assert tuple(told[["family", "version", "dimensions", "serving", "lacking", "probes"]]) == expected

    async def test_rows_replaced_while_theirs_are_made_get_the_vector_of_their_new_text(
        self, store: AsyncVectorStore, texts: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.filled(store, texts)
        seen: list[list[str]] = []
        page = store._fill  # noqa: SLF001 - a write between the look and the fill

        async def overtaken(request: Any, rows: Any, made: Any) -> int:
            if not seen:
                changed = texts.tail(2).assign(text=["new a", "new b"])
                await store.upsert(changed)
                await store.delete(["id 00"])
            seen.append(list(rows.texts))
            return await page(request, rows, made)

        monkeypatch.setattr(store, "_fill", overtaken)
        assert (await store.reembed(SECOND, "v2", text="text", batch_size=200)).filled == 89
        for text, label in (("new a", "id 88"), ("new b", "id 89"), ("text 5", "id 05")):
            hits = await store.search(SECOND([text])[0], k=1, field="embedding_v2")
            assert (list(hits.ids), round(float(hits.distances[0]), 5)) == ([label], 0.0)

    async def test_another_model_of_the_same_length_is_refused(
        self, store: AsyncVectorStore, texts: pd.DataFrame
    ) -> None:
        await self.filled(store, texts)
        with pytest.raises(SchemaError, match="did not make the vectors of 'embedding' out of text"):
            await store.record_model(OTHER, text="text")
        assert (await store.record_model(FIRST, text="text", version="v1")).version == "v1"
        store.encoder = FIRST
        assert (await store.search(text="text 3", k=1)).ids.tolist() == ["id 03"]
        with pytest.raises(SchemaError, match="not the model that made the vectors of 'embedding'"):
            store.encoder = OTHER
        with pytest.raises(SchemaError, match="not the model"):
            await store.upsert(texts.head(2), reading=Reading(encoder=OTHER))
        with pytest.raises(SchemaError, match="not the model"):
            await store.backfill("embedding", OTHER, text="text")
        assert (await store.upsert(texts.head(2), reading=Reading(encoder=FIRST))).replaced == 2

    async def test_texts_are_embedded_by_the_model_of_the_field(
        self, store: AsyncVectorStore, texts: pd.DataFrame
    ) -> None:
        store.encoder = FIRST
        await self.versioned(store, texts)
        for field in ("embedding", "embedding_v2", None):
            hits = await store.search(text="text 42", k=1, field=field)
            assert (list(hits.ids), hits.distances[0] < 1e-3) == (["id 42"], True)
        await store.switch("v2")
        assert (await store.search(text="text 42", k=1)).ids.tolist() == ["id 42"]
        assert naive_search(texts, FIRST(["text 42"])[0], 1, DistanceMetric.COSINE)[0][0] == "id 42"
