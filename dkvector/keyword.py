"""Search by words, as the engine ranks text: a capability of some backends, checked here once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from dkvector.counts import as_count
from dkvector.filters import Filter
from dkvector.operations import VectorOperations
from dkvector.requests import KeywordRequest
from dkvector.results import KeywordHits
from dkvector.schema import Schema, Supports


class KeywordSearch(VectorOperations):
    """Ranked search over text columns."""

    name: ClassVar[str]
    supports: Supports  # of the class, or of the instance where a server is asked for it

    @property
    @abstractmethod
    def known(self) -> Schema:
        """The schema; an error while nothing has been written."""

    async def keyword_search(
        self,
        text: str,
        k: int = 10,
        *,
        on: str | Sequence[str] | None = None,
        where: Any = None,
        columns: Sequence[str] | None = None,
        highlight: bool = False,
    ) -> KeywordHits:
        """Find the k rows that answer some words best, as the engine ranks text.

        Args:
            text: the words.
            k: rows to find at most; only rows with at least one of the words come, those with more of them first.
            on: text columns to look in; all by default.
            where: a filter, applied before the best are taken.
            columns: payload columns to give; all by default.
            highlight: tell where the words are.

        Returns:
            The hits, best first, ties by id. Scores are the engine's own: compare them within one answer only.

        Raises:
            UnsupportedError: a backend without keyword search.
            SchemaError: no words, or no text column to look in.
            FilterError: a filter that can't be read or names unknown columns.
        """
        self.supports.check_keyword(self.name)
        known = self.known
        looked, given = known.text(on), known.select(columns)
        read = self._where(where)
        return await self._keyword(KeywordRequest(text, as_count(k), tuple(looked), read, tuple(given), highlight))

    @abstractmethod
    def _where(self, where: Any) -> Filter | None: ...

    async def _keyword(self, request: KeywordRequest) -> KeywordHits:
        """Answer a search by words; only asked where `supports.keyword` says so."""
        raise NotImplementedError(request)
