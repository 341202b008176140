"""Hybrid search: the neighbours of a vector and the rows that hold some words, fused into one ranking.

The fusion is ours on every backend, so that the same legs give the same ranking everywhere, and no row that only one
of them found is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.errors import SchemaError
from dkvector.fusion import Fused, Fusion, Leg, fuse
from dkvector.metrics import Floats, distance
from dkvector.requests import KeywordRequest, Request
from dkvector.results import Explanation, Hits, HybridHits, KeywordHits, Picked, TableSource

Find = Callable[[Request], Awaitable[tuple[Hits, Explanation]]]
FindWords = Callable[[KeywordRequest], Awaitable[KeywordHits]]
Get = Callable[[pd.Index], Awaitable[pa.Table]]


@dataclass(frozen=True)
class Texts:
    """The words of a hybrid search.

    Attributes:
        texts: one for each query.
        on: text columns to look in.
    """

    texts: tuple[str, ...]
    on: tuple[str, ...]

    @classmethod
    def of(cls, text: Any, on: Sequence[str], queries: int) -> Texts:
        """Read one text, or one for each of many queries.

        Raises:
            SchemaError: not as many texts as there are queries.
        """
        texts = (text,) if isinstance(text, str) or not hasattr(text, "__iter__") else tuple(text)
        if len(texts) != queries or not queries:
            raise SchemaError(f"a text for each query: there are {queries} queries and {len(texts)} texts")
        return cls(texts, tuple(on))


@dataclass(frozen=True)
class Hybrid:
    """A hybrid search.

    Attributes:
        request: the vector leg, with k and columns as they are wanted in the end.
        words: the keyword leg.
        fusion: how the two are fused.
    """

    request: Request
    words: Texts
    fusion: Fusion

    @property
    def window(self) -> int:
        """How many rows each leg gives."""
        return max(self.fusion.window, self.request.k)

    async def run(self, find: Find, find_words: FindWords, get: Get) -> tuple[HybridHits, Explanation]:
        """Ask both legs, and fuse them; words that can't be searched for are refused before anything is asked."""
        asked = [self._asked(text) for text in self.words.texts]
        near, told = await find(replace(self.request, k=self.window, columns=(), include_vectors=False))
        worded = [await find_words(one) for one in asked]
        fused = [
            fuse([one, Leg(hits.ids, hits.scores)], self.fusion, self.request.k)
            for one, hits in zip(_legs(near), worded, strict=True)
        ]
        hits = _hits(near, fused, await get(_union(fused)))
        return hits, self._told(told, len(hits.distances))

    def _asked(self, text: str) -> KeywordRequest:
        request = self.request
        return KeywordRequest(text, self.window, self.words.on, request.where, (), highlight=False)

    def _told(self, told: Explanation, returned: int) -> Explanation:
        native = {
            **told.native,
            "words": f"{self.words.texts[0]!r} in {', '.join(self.words.on)}",
            "fusion": self.fusion,
        }
        plan = f"{told.plan}, and words"
        return replace(told, k=self.request.k, plan=plan, returned=returned, shortfall=0, native=native)


def _legs(near: Hits) -> list[Leg]:
    """Take the hits of many queries apart."""
    ids, scores, ends = near.ids, near.scores, np.cumsum(near.counts)
    return [
        Leg(ids[end - count : end], scores[end - count : end]) for end, count in zip(ends, near.counts, strict=True)
    ]


def _union(fused: Sequence[Fused]) -> pd.Index:
    ids = fused[0].ids
    return ids.append([one.ids for one in fused[1:]]).unique()


def _hits(near: Hits, fused: Sequence[Fused], rows: pa.Table) -> HybridHits:
    source = TableSource(rows)
    known = source.labels()
    at = np.concatenate([known.get_indexer(one.ids) for one in fused])
    ranks = np.concatenate([one.ranks for one in fused], axis=1)
    scores: Floats = np.concatenate([one.of_legs for one in fused], axis=1)
    return HybridHits(
        Picked(source, at),
        distance(scores[0], near.metric),
        np.array([len(one.ids) for one in fused]),
        near.metric,
        near.queries,
        fused=np.concatenate([one.scores for one in fused]),
        ranks=ranks,
        of_legs=scores,
    )
