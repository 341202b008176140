"""From a search as it was asked for to hits: texts and rows become vectors, several rankings one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector._loop import offload
from dkvector.blending import Find, Found, blended_request, blending, check_refined, parts_of
from dkvector.blends import Blend, as_blends
from dkvector.columns import to_index
from dkvector.encoders import Encoder, as_encoder, needed, queries_of
from dkvector.errors import NotFoundError, VectorError
from dkvector.evidence import Evident
from dkvector.fusion import RRF
from dkvector.hybrid import FindWords, Hybrid, Texts
from dkvector.keyword import KeywordSearch
from dkvector.metrics import Floats
from dkvector.refining import Ways
from dkvector.requests import Request, Search, labels_of
from dkvector.results import Source, TableSource
from dkvector.schema import Schema, VectorInfo
from dkvector.vectors import to_matrix

TRIES = 3  # to read rows that others delete meanwhile


class Answering(KeywordSearch, Evident):
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

    async def _answer(self, search: Search, find: Find, find_words: FindWords | None = None) -> Found:
        """Check all that can be checked, then turn what is searched for into vectors, then search.

        Args:
            search: what is asked.
            find: finds neighbours of vectors, without those that a request bars.
            find_words: finds words; the backend's own way by default.
        """
        search = search.unfolded()
        # all legs, before any text is embedded: a mistake in the second must not cost the time of the first
        each = [(one, one.checked(self.name, self.supports, self.known)) for one in search.by_field()]
        if search.hybrid:
            self.supports.check_keyword(self.name)
        requests = [await self._asked(one, request) for one, request in each]
        find = blending(find, self._rows_of)
        if search.hybrid or len(requests) > 1:
            return await self._answer_all(search, tuple(requests), find, find_words or self._keyword)
        check_refined(search, requests[0])
        return await Ways(self._rows_of, self._chance).refining(find, search.refinements)(requests[0])

    async def _asked(self, search: Search, request: Request) -> Request:
        """Turn what is searched for into vectors."""
        if search.like is not None:
            return await self._like(search.like, request)
        if (blends := as_blends(search.queries)) is not None:
            return await self._blended(*blends, request)
        queries = search.queries if search.queries is not None else await self._embedded(search.text, request.info)
        return request.of(queries)

    async def _embedded(self, text: Any, info: VectorInfo) -> Any:
        known = self._embedders.get(info.name) or self.encoder
        encoder = needed(known, "connect(…, encoder=…) or store.encoder = …")
        # an encoder may take seconds, in which the loop serves others
        await offload(encoder.check_field, info)
        return await offload(queries_of, text, encoder)

    async def _answer_all(
        self, search: Search, requests: tuple[Request, ...], find: Find, find_words: FindWords
    ) -> Found:
        """Search in all fields, and by words, and fuse the answers."""
        first = requests[0]
        words = Texts.of(search.text, self.known.text(search.text_on), first.count) if search.hybrid else None

        async def get(ids: pd.Index) -> Source:
            return await self._rows_of(ids, first)

        return await Hybrid(requests, words, search.fusion or RRF()).run(find, find_words, get)

    async def _rows_of(self, ids: pd.Index, request: Request) -> Source:
        """Give what a request wants of rows that were found; those that are gone since are left out."""
        for _ in range(TRIES):
            try:
                return TableSource(await self._get(ids, request.columns, include_vectors=request.include_vectors))
            except NotFoundError:
                if isinstance(ids, pd.MultiIndex):
                    raise
                there = np.asarray(await self._among_ours(ids), bool)
                ids = ids[there]
        return TableSource(await self._get(ids, request.columns, include_vectors=request.include_vectors))

    @abstractmethod
    async def _among_ours(self, ids: pd.Index) -> Any: ...

    async def _like(self, like: Any, request: Request) -> Request:
        """Search by the stored vectors of rows, which are not among their own neighbours."""
        labels, single = labels_of(like)
        ids, matrix = await self._stored(labels, request.info)
        vectors = pd.Series(list(matrix), index=ids, dtype=object)
        asked = request.of(vectors.iloc[0] if single else vectors)
        return replace(asked, own=tuple(ids[at : at + 1] for at in range(len(ids))))

    async def _stored(self, labels: pd.Index, info: VectorInfo) -> tuple[pd.Index, Floats]:
        """Read the vectors of rows, `(n, d)`, and their ids as the store has them."""
        known = labels.unique()
        table = await self._get(known, [], include_vectors=True)
        at = known.get_indexer(labels)
        ids = to_index(table.column(0), table.schema.field(0)).take(at)
        matrix, missing = to_matrix(table.column(info.name))
        if missing is not None and missing[at].any():
            raise VectorError.at_rows(f"no vector {info.name!r}", ids[missing[at]])
        return ids, matrix[at]

    async def _blended(self, blends: list[Blend], single: bool, request: Request) -> Request:
        """Read the vectors, rows and texts of blends, and make queries of them."""
        # pandas would make a MultiIndex of labels that are tuples
        named = pd.Index([row for one in blends for row in one.named], tupleize_cols=False)
        texts = [text for one in blends for text in one.text]
        ids, stored = await self._stored(named, request.info) if len(named) else (named, None)
        made = request.of(await self._embedded(texts, request.info)).queries if texts else None
        return blended_request(parts_of(blends, ids, stored, made, request), request, single=single)

    @property
    def encoder(self) -> Encoder | None:
        """What embeds the texts of `search(text=…)`; any encoder of the field's model can be set."""
        return self._encoder

    @encoder.setter
    def encoder(self, encoder: Any) -> None:
        embeds = None if encoder is None else as_encoder(encoder)
        # of several fields it may be meant for any: then a search looks whether it fits
        if embeds is not None and self.schema is not None and len(self.schema.serving) == 1:
            embeds.check_field(self.schema.vector())
        self._encoder = embeds
