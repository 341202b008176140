"""From a search as it was asked for to hits: texts and rows become vectors, words a second ranking."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa

from dkvector._loop import offload
from dkvector.columns import to_index
from dkvector.encoders import Encoder, as_encoder, needed, queries_of
from dkvector.errors import VectorError
from dkvector.fusion import RRF
from dkvector.hybrid import Hybrid, Texts
from dkvector.keyword import KeywordSearch
from dkvector.requests import Request, Search, labels_of
from dkvector.results import Explanation, Hits
from dkvector.schema import Schema, VectorInfo
from dkvector.vectors import to_matrix

Found = tuple[Hits, Explanation]
Find = Callable[[Request], Awaitable[Found]]


class Answering(KeywordSearch):
    """Answers searches by vectors, texts, rows and words, once a backend can find the neighbours of a vector."""

    schema: Schema | None
    _encoder: Encoder | None = None

    _made_by: dict[str, Encoder] | None = None

    @property
    def _embedders(self) -> dict[str, Encoder]:
        """What has made the vectors of which field, as far as this store has seen it."""
        self._made_by = {} if self._made_by is None else self._made_by
        return self._made_by

    @abstractmethod
    async def _get(self, ids: pd.Index, columns: Sequence[str], *, include_vectors: bool) -> pa.Table: ...

    async def _answer(self, search: Search, find: Find) -> Found:
        """Check all that can be checked, then turn what is searched for into vectors, then search."""
        search = search.unfolded()
        request = search.checked(self.name, self.supports, self.known)
        if search.like is not None:
            return await self._answer_like(search.like, request, find)
        if search.hybrid:
            self.supports.check_keyword(self.name)
        queries = search.queries if search.queries is not None else await self._embedded(search.text, request.info)
        request = request.of(queries)
        return await self._answer_both(search, request, find) if search.hybrid else await find(request)

    async def _embedded(self, text: Any, info: VectorInfo) -> Any:
        known = self._embedders.get(info.name) or self.encoder
        encoder = needed(known, "connect(…, encoder=…) or store.encoder = …")
        await offload(encoder.check_field, info)
        return await offload(queries_of, text, encoder)

    async def _answer_both(self, search: Search, request: Request, find: Find) -> Found:
        """Search by vectors and by words, and fuse the answers."""
        words = Texts.of(search.text, self.known.text(search.text_on), len(request.queries))

        async def get(ids: pd.Index) -> pa.Table:
            return await self._get(ids, request.columns, include_vectors=request.include_vectors)

        return await Hybrid(request, words, search.fusion or RRF()).run(find, self._keyword, get)

    async def _answer_like(self, like: Any, request: Request, find: Find) -> Found:
        """Search by the stored vectors of rows, with one neighbour more than is wanted in place of the row itself."""
        labels, single = labels_of(like)
        known = labels.unique()
        table = await self._get(known, [], include_vectors=True)
        at = known.get_indexer(labels)
        ids = to_index(table.column(0), table.schema.field(0)).take(at)
        matrix, missing = to_matrix(table.column(request.info.name))
        if missing is not None and missing[at].any():
            raise VectorError.at_rows(f"no vector {request.info.name!r}", ids[missing[at]])
        vectors = pd.Series(list(matrix[at]), index=ids, dtype=object)
        asked = request.of(vectors.iloc[0] if single else vectors)
        hits, told = await find(replace(asked, k=request.k + 1))
        hits = hits.without(ids, request.k)
        return hits, told.without_own(request.k, len(hits.distances))

    @property
    def encoder(self) -> Encoder | None:
        """What embeds the texts of `search(text=…)`; any encoder of the field's model can be set."""
        return self._encoder

    @encoder.setter
    def encoder(self, encoder: Any) -> None:
        embeds = None if encoder is None else as_encoder(encoder)
        if embeds is not None and self.schema is not None and len(self.schema.serving) == 1:
            embeds.check_field(self.schema.vector())
        self._encoder = embeds
