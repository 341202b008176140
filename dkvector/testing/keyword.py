"""Words find the rows they are in, or the store says that it can't look for words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dkvector.errors import FilterError, NotFoundError, SchemaError, UnsupportedError
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase


def library() -> pd.DataFrame:
    """Make rows of text whose ranking by words no engine disputes."""
    return pd.DataFrame(
        {
            "title": ["red apple", "green apple", "grey stone", "blue whale", None, "whale"],
            "body": ["a fruit", "a fruit", "a fruit, red", 'it\'s "big"; DROP TABLE x --', "apple", "whale whale red"],
            "n": pd.array([1, 2, 3, 4, 5, None], dtype="Int64"),
            "embedding": list(np.eye(6, dtype=np.float32) + 0.1),
        },
        index=pd.Index(["a", "b", "c", "d", "e", "f"], name="key"),
    )


class KeywordTests(StoreBase):
    """Words find the rows they are in, or the store says that it can't look for words."""

    @pytest.mark.parametrize(
        ("knobs", "found"),
        [
            ({"text": "stone"}, "c"),
            ({"text": "STONE"}, "c"),
            ({"text": "apple"}, "abe"),
            ({"text": "apple", "on": ["title"]}, "ab"),
            ({"text": "apple", "on": "body"}, "e"),
            ({"text": "apple", "where": "n > 1"}, "be"),
            ({"text": "apple zebra"}, "abe"),
            ({"text": "zebra"}, ""),
            # characters that servers can't be told
            ({"text": "\ud800 stone \0 zebra"}, "c"),
            # what SQL, tsquery or Lucene have for operators is no operator here
            ({"text": "'); DROP TABLE x; -- | & ! :* \\ ( \" NOT stone"}, "cd"),
        ],
        ids=str,
    )
    async def test_words_find_their_rows_or_are_refused(
        self, store: AsyncVectorStore, knobs: dict[str, Any], found: str
    ) -> None:
        await store.upsert(library())
        if store.supports.keyword:
            assert sorted((await store.keyword_search(**knobs)).ids) == list(found)
        else:
            with pytest.raises(UnsupportedError, match=f"{store.name} has no keyword search"):
                await store.keyword_search(**knobs)

    async def test_more_of_the_words_rank_first(self, store: AsyncVectorStore) -> None:
        await store.upsert(library())
        if store.supports.keyword:
            hits = await store.keyword_search("red apple", k=2, on="title")
            assert list(hits.ids) == ["a", "b"]
            assert hits.scores[0] > hits.scores[1] > 0
        else:
            with pytest.raises(UnsupportedError, match="keyword"):
                await store.keyword_search("red apple")

    async def test_words_give_a_frame(self, store: AsyncVectorStore) -> None:
        await store.upsert(library())
        if store.supports.keyword:
            found = (await store.keyword_search("stone whale", on="title", columns=["n"], highlight=True)).to_frame()
            assert found.columns.tolist() == ["rank", "score", "highlight", "n"]
            assert (found.index.name, sorted(found.index)) == ("key", ["c", "d", "f"])
            assert found["rank"].tolist() == [1, 2, 3]
            assert found["score"].is_monotonic_decreasing
            pd.testing.assert_series_equal(found["n"], library()["n"].loc[found.index])
            assert ["whale" in one for one in found["highlight"]] == [key != "c" for key in found.index]
            none = (await store.keyword_search("zebra", on="title", columns=["n"], highlight=True)).to_frame()
            assert none.dtypes.equals(found.dtypes)
        else:
            with pytest.raises(UnsupportedError, match="keyword"):
                await store.keyword_search("stone", highlight=True)

    @pytest.mark.parametrize(
        ("knobs", "error"),
        [
            ({"text": " "}, SchemaError),
            ({"text": 7}, SchemaError),
            ({"text": "stone", "k": 0}, SchemaError),
            ({"text": "stone", "on": "n"}, SchemaError),
            ({"text": "stone", "on": "nope"}, NotFoundError),
            ({"text": "stone", "columns": ["nope"]}, NotFoundError),
            ({"text": "stone", "where": "nope > 1"}, FilterError),
        ],
        ids=str,
    )
    async def test_bad_words_and_columns_are_refused(
        self, store: AsyncVectorStore, knobs: dict[str, Any], error: type[Exception]
    ) -> None:
        await store.upsert(library())
        with pytest.raises(error if store.supports.keyword else UnsupportedError):
            await store.keyword_search(**knobs)
