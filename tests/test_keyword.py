"""Keyword search is checked once, whatever the backend; the suite runs its contract against each."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dkvector.backends.exact import ExactStore
from dkvector.blocking import VectorStore
from dkvector.filters import col
from dkvector.requests import KeywordRequest
from dkvector.results import KeywordHits, TableSource
from dkvector.testing import KeywordTests, StoreTests


class Counting(ExactStore):
    """Ranks by how many of the words are in a row."""

    supports = replace(ExactStore.supports, keyword=True)

    async def _keyword(self, request):
        self.asked = request
        words = request.text.lower().replace('"', " ").replace(";", " ").replace(")", " ").split()
        ids, scores, marks = [], [], []
        async for table in self.scan(request.where):
            for row in table.to_pylist():
                text = " ".join(row[name] or "" for name in request.on).lower().replace(",", " ").split()
                if count := len({one for one in words if len(one) > 2} & set(text)):
                    ids, scores, marks = [*ids, row[table.column_names[0]]], [*scores, count], [*marks, " ".join(text)]
        order = np.argsort(-np.array(scores, dtype=int), kind="stable")[: request.k]
        rows = await self.get([ids[at] for at in order], request.columns)
        marked = [marks[at] for at in order] if request.highlight else None
        return KeywordHits(TableSource(rows), np.float32(scores)[order], marked)


class TestCounting(StoreTests):
    @pytest.fixture
    async def store(self):
        return await Counting.open({})

    @pytest.fixture
    def raw_count(self, store):
        return lambda: int((~store.rows.dead).sum())


class Mute(ExactStore):
    supports = replace(ExactStore.supports, keyword=False)


class TestMute(KeywordTests):
    @pytest.fixture
    async def store(self):
        return await Mute.open({})


@pytest.fixture
def store():
    frame = pd.DataFrame(
        {
            "text": ["a dog", "a cat"],
            "kind": pd.Categorical(["x", "y"]),
            "rank": [7, 8],
            "n": [1, 2],
            "v": [[1.0, 0], [0, 1.0]],
        },
        index=["a", "b"],
    )
    store = VectorStore(lambda: Counting.open({}), inline=True)
    store.upsert(frame)
    return store


def test_a_request_is_checked_and_handed_on(store):
    store.keyword_search("dog", 3, on="text", where={"n": 1}, columns="n", highlight=True)
    assert store.store.asked == KeywordRequest("dog", 3, ("text",), col("n") == 1, ("n",), highlight=True)


def test_all_text_columns_and_all_payload_by_default(store):
    store.keyword_search("dog")
    assert (store.store.asked.on, store.store.asked.columns) == (("text", "kind"), ("text", "kind", "rank", "n"))


def test_a_column_called_as_one_of_ours_gives_way(store):
    found = store.keyword_search("cat", columns=["rank"])
    assert found.to_dict("index") == {"b": {"rank": 1, "score": 1.0, "rank_": 8}}
