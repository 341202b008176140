"""Hybrid search: neighbours in one vector field or several, and the rows that hold some words, as one ranking.

The fusion is ours on every backend, so that the same legs give the same ranking everywhere, and no row that only one
of them found is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from dkvector.blending import Find, Found, hybrid_hits, legs_of
from dkvector.errors import SchemaError, UnsupportedError
from dkvector.explanation import Explanation
from dkvector.fusion import Fused, Fusion, Leg, fuse
from dkvector.requests import KeywordRequest, Request
from dkvector.results import HybridHits, KeywordHits, Picked, Source, free

FindWords = Callable[[KeywordRequest], Awaitable[KeywordHits]]
Get = Callable[[pd.Index], Awaitable[Source]]
WORDS = "text"  # what the leg of the words is called


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
    """A search whose answers are fused.

    Attributes:
        requests: the vector legs, each of a field, with k and columns as they are wanted in the end.
        words: the keyword leg; None where no words are searched for.
        fusion: how they are fused.
    """

    requests: tuple[Request, ...]
    words: Texts | None
    fusion: Fusion

    def __post_init__(self) -> None:
        if len({one.metric for one in self.requests}) > 1:
            raise UnsupportedError(
                "fields that measure by different metrics can't be fused: name one of them by field="
            )
        if any(one.blend is not None and one.blend.kind == "rrf" for one in self.requests):
            raise SchemaError(
                'a blend combined by "rrf" is a fused ranking already; combine it by "mean" or "max" here'
            )

    @property
    def first(self) -> Request:
        """The first of the vector legs."""
        return self.requests[0]

    @property
    def window(self) -> int:
        """How many rows each leg gives."""
        return max(self.fusion.window, self.first.k)

    @property
    def legs(self) -> tuple[str, ...]:
        """What the legs are called: a single field "vector", one of several by its name."""
        # a field may have the name of the words' leg
        taken = {WORDS} if self.words is not None else set()
        fields = [free(one.info.name, taken) for one in self.requests] if len(self.requests) > 1 else ["vector"]
        return (*fields, *([] if self.words is None else [WORDS]))

    async def run(self, find: Find, find_words: FindWords | None, get: Get) -> tuple[HybridHits, Explanation]:
        """Ask all legs, and fuse them; words that can't be searched for are refused before anything is asked."""
        texts = () if self.words is None else self.words.texts
        asked = [self._asked(text, self.words.on) for text in texts if self.words is not None]
        # bare: columns are fetched once, of the rows that the fusion keeps
        near = [await find(replace(one, k=self.window, columns=(), include_vectors=False)) for one in self.requests]
        worded = [await find_words(one) for one in asked if find_words is not None]
        legs = [legs_of(hits) for hits, _ in near]
        legs += [[Leg(hits.ids, hits.scores) for hits in worded]] if self.words is not None else []
        fused = [fuse(some, self.fusion, self.first.k) for some in zip(*legs, strict=True)]
        hits = await self._hits(near, fused, get)
        return hits, self._told([told for _, told in near], len(hits.distances))

    async def _hits(self, near: Sequence[Found], fused: Sequence[Fused], get: Get) -> HybridHits:
        source = await get(_union(near[0][0].ids[:0], fused))
        known = source.labels()
        # rows that were deleted since a leg has found them are no hits
        fused = [one.among(known) for one in fused]
        at = np.concatenate([np.empty(0, np.intp), *(known.get_indexer(one.ids) for one in fused)]).astype(np.intp)
        return hybrid_hits(near[0][0], Picked(source, at), fused, self.legs, self.first, words=self.words is not None)

    def _asked(self, text: str, on: tuple[str, ...]) -> KeywordRequest:
        return KeywordRequest(text, self.window, on, self.first.where, (), highlight=False)

    def _told(self, told: Sequence[Explanation], returned: int) -> Explanation:
        first, fields = told[0], ", ".join(one.field for one in told)
        native: dict[str, Any] = dict(first.native)
        for one in told[1:]:
            native |= {f"{one.field}: {name}": value for name, value in one.native.items()}
        plans = list(dict.fromkeys(one.plan for one in told))
        if self.words is not None:
            native["words"] = f"{self.words.texts[0]!r} in {', '.join(self.words.on)}"
        plan = "; ".join(plans) + ("" if self.words is None else ", and words")
        native["fusion"] = self.fusion
        k = self.first.k
        return replace(first, field=fields, k=k, plan=plan, returned=returned, shortfall=0, native=native)


def _union(none: pd.Index, fused: Sequence[Fused]) -> pd.Index:
    # behind an empty index of the store's dtype and name, which the union keeps
    return none.append([one.ids for one in fused]).unique()
