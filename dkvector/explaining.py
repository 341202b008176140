"""What a search really does: told by running it, or what it would send, without running it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dkvector.answering import Answering
from dkvector.blending import Found, barring
from dkvector.compiled import Compiled, Statement
from dkvector.explanation import Explanation
from dkvector.fusion import Fusion
from dkvector.indexes import Tuning
from dkvector.metrics import DistanceMetric
from dkvector.refinements import Refinement
from dkvector.requests import KeywordRequest, Request, Search
from dkvector.results import Hits, KeywordHits, TableSource
from dkvector.verifying import Verifying


class Explaining(Answering, Verifying):
    """Tells of searches."""

    tuning: Tuning | None = None  # what searches use that bring no tuning of their own

    async def explain(
        self,
        queries: Any = None,
        k: int = 10,
        *,
        text: Any = None,
        like: Any = None,
        field: str | Sequence[str] | None = None,
        where: Any = None,
        metric: DistanceMetric | str | None = None,
        tuning: Tuning | Mapping[str, Any] | None = None,
        fusion: Fusion | None = None,
        text_on: str | Sequence[str] | None = None,
        refine: Refinement | Sequence[Refinement] | None = None,
        verify: float | None = None,
    ) -> Explanation:
        """Run a search, and tell what really ran.

        Takes what `search` takes, and raises what it raises.
        """
        knobs = self.tuning if tuning is None else tuning
        # without payload, on which nothing depends that is told
        search = Search(queries, k, text, like, field, where, metric, knobs, (), False, fusion, text_on, refine)  # noqa: FBT003 - in the order of its fields
        _, told = await self._answer(search, self._verifying(barring(self._explain), verify))
        return told

    async def compile(
        self,
        queries: Any = None,
        k: int = 10,
        *,
        text: Any = None,
        like: Any = None,
        field: str | Sequence[str] | None = None,
        where: Any = None,
        metric: DistanceMetric | str | None = None,
        tuning: Tuning | Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
        include_vectors: bool = False,
        fusion: Fusion | None = None,
        text_on: str | Sequence[str] | None = None,
        refine: Refinement | Sequence[Refinement] | None = None,
    ) -> Compiled:
        """Tell what a search would send, without searching.

        Takes what `search` takes. Rows that are named are read, texts are embedded, and a server may be asked how many
        rows match, for the plan depends on it.

        Returns:
            SQL, query DSL, or the plan of an engine in this process: for each leg what is sent first.

        Raises:
            UnsupportedError: a backend that can't tell; `explain` tells what ran.
        """
        self.supports.check_compile(self.name)
        knobs = self.tuning if tuning is None else tuning
        search = Search(
            queries, k, text, like, field, where, metric, knobs, columns, include_vectors, fusion, text_on, refine
        )
        made = _Recorder(self)
        await self._answer(search, barring(made.find), made.find_words)
        return Compiled(self.name, made.named(several=search.several))

    @abstractmethod
    async def _search(self, request: Request) -> Found: ...

    async def _explain(self, request: Request) -> Found:
        """Search, and find out what really ran, where that takes more than a search tells."""
        return await self._search(request)

    async def _compile(self, request: Request) -> Statement:
        """Tell what a search would send; only asked where `supports.compile` says so."""
        raise NotImplementedError(request)

    async def _compile_words(self, request: KeywordRequest) -> Statement:
        """Tell what a search by words would send; only asked where `supports` says compile and keyword."""
        raise NotImplementedError(request)


class _Recorder:
    """Takes the place of a search: notes what is asked, and finds nothing."""

    def __init__(self, store: Explaining) -> None:
        self.store = store
        self.vectors: list[tuple[str, Statement]] = []
        self.words: list[Statement] = []

    async def find(self, request: Request) -> Found:
        self.vectors.append((request.info.name, await self.store._compile(request)))  # noqa: SLF001 - part of it
        # fewer than asked for, which says that there are no more: nobody goes on to a second question
        counts = np.zeros(len(request.queries), np.intp)
        hits = Hits(self._nothing(request.columns), np.empty(0, np.float32), counts, request.metric, request.labels)
        metric, queries = request.metric.value, len(request.queries)
        return hits, Explanation(self.store.name, request.info.name, metric, "", request.k, queries, None)

    async def find_words(self, request: KeywordRequest) -> KeywordHits:
        self.words.append((await self.store._compile_words(request)).called("text"))  # noqa: SLF001
        return KeywordHits(self._nothing(()), np.empty(0, np.float32))

    def _nothing(self, columns: Sequence[str]) -> TableSource:
        known = self.store.known
        vectors = [pa.field(one.name, pa.list_(pa.float32(), one.dimensions)) for one in known.vectors]
        fields = [known.id, *(known.payload.field(name) for name in columns), *vectors]
        return TableSource(pa.schema(fields).empty_table())

    def named(self, *, several: bool) -> tuple[Statement, ...]:
        """Give what is asked first of each leg."""
        first: dict[str, Statement] = {}
        for name, statement in self.vectors:
            first.setdefault(name, statement.called(name if several else "vector"))
        return (*first.values(), *self.words)
