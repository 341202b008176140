"""A store where dataknobs takes a database that searches by vectors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from dkvector.errors import UnsupportedError, VectorError
from dkvector.indexes import as_spec
from dkvector.interop._dataknobs_database import Asked, RecordDatabase
from dkvector.interop._extra import needs
from dkvector.metrics import DistanceMetric
from dkvector.records import table_to_records

with needs("dataknobs-data", "dataknobs"):
    from dataknobs_data import Record as TheirRecord
    from dataknobs_data import VectorField as TheirVector
    from dataknobs_data.query import VectorQuery as TheirVectorQuery
    from dataknobs_data.vector import DistanceMetric as TheirMetric
    from dataknobs_data.vector import VectorOperationsMixin, VectorSearchResult


class StoreDatabase(RecordDatabase, VectorOperationsMixin):
    """A store where dataknobs takes a database.

    Conditions are the store's filters, run where the rows are. A record has a vector in every vector field of the
    store; what is None counts as missing; types are those of the store's columns, so that TEXT comes back as STRING.
    `create` refuses an id that is taken. `like` is with case; a field that no record has is missing in all of them.

    Args:
        store: an `AsyncVectorStore`, as `await dkv.VectorStoreFactory.create(…)` gives it.
        schema: dataknobs' own description of the records, if any.

    Example:
        >>> import asyncio
        >>> from dataknobs_data import Query, Record, VectorField
        >>> from dkvector.backends.exact import ExactStore
        >>> async def titles() -> list[str]:
        ...     database = StoreDatabase(await ExactStore.open({}))
        ...     await database.create(Record({"title": "one", "embedding": VectorField([1.0, 0.0])}, id="a"))
        ...     return [record["title"] for record in await database.search(Query().filter("title", "=", "one"))]
        >>> asyncio.run(titles())
        ['one']
    """

    async def vector_search(  # noqa: PLR0917 - their signature, with the store's own metric by default
        self,
        query_vector: Any,
        vector_field: str = "embedding",
        k: int = 10,
        metric: TheirMetric | str | None = None,
        filter: Asked | None = None,  # noqa: A002 - the interface's own word
        include_source: bool = True,
        score_threshold: float | None = None,
    ) -> list[VectorSearchResult]:
        """Find the k nearest records of those that satisfy the filter, best first; scores are the store's."""
        # nothing was written yet, so that there is no field to search
        if self.store.empty:
            return []
        asked = TheirVectorQuery(query_vector, vector_field, k, metric, include_source, score_threshold)  # type: ignore[arg-type]
        return await self._similar(asked, filter)

    async def _similar(self, asked: TheirVectorQuery, query: Asked | None) -> list[VectorSearchResult]:
        metric = None if asked.metric is None else _metric(asked.metric)
        vector, where = np.asarray(asked.vector, np.float32), await self._where(query)
        hits = await self.store.search(
            vector, asked.k, field=asked.field_name, where=where, metric=metric, include_vectors=True
        )
        records = table_to_records(hits.rows, hits.rows.column_names[0])
        least = -np.inf if asked.score_threshold is None else asked.score_threshold
        source = self._source(asked) if asked.include_source else None
        return [
            VectorSearchResult(
                found, score, source and found.get_value(source), asked.field_name, {"distance": distance}
            )
            for found, score, distance in zip(
                map(self._back, records), hits.scores.tolist(), hits.distances.tolist(), strict=True
            )
            if score >= least
        ]

    def _source(self, asked: TheirVectorQuery) -> str | None:
        """Name the field that vectors were made of, where the schema tells."""
        told = self.schema.fields.get(asked.field_name)
        source: str | None = None if told is None else told.metadata.get("source_field")
        return source

    async def bulk_embed_and_store(  # noqa: PLR0917 - their signature
        self,
        records: list[TheirRecord],
        text_field: str | list[str],
        vector_field: str = "embedding",
        embedding_fn: Callable[[list[str]], Any] | None = None,
        batch_size: int = 100,
        model_name: str | None = None,
        model_version: str | None = None,
        *,
        embedder: Any = None,
    ) -> list[str]:
        """Embed texts, and write the records with their vectors; several texts of a record are joined by spaces."""
        if (embedding_fn is None) == (embedder is None):
            raise ValueError("bulk_embed_and_store takes either embedding_fn= or embedder=")
        embed = embedding_fn or embedder.embed
        model_name = model_name or getattr(embedder, "model_id", None)
        names, ids = [text_field] if isinstance(text_field, str) else text_field, list[str]()
        for at in range(0, len(records), batch_size):
            some = records[at : at + batch_size]
            texts = [" ".join(str(one.get_value(name)) for name in names if one.get_value(name)) for one in some]
            made = embed(texts)
            vectors = await made if inspect.isawaitable(made) else made
            for record, vector in zip(some, vectors, strict=True):
                record.fields[vector_field] = TheirVector(
                    np.asarray(vector, np.float32), vector_field, None, ",".join(names), model_name, model_version
                )
            ids += await self._write(some, "upsert")
        return ids

    async def create_vector_index(
        self,
        vector_field: str = "embedding",
        dimensions: int | None = None,
        metric: TheirMetric | None = None,
        index_type: str = "auto",
        **kwargs: Any,
    ) -> bool:
        """Build the index of a field; `kwargs` are the knobs of its spec."""
        info = self.store.known.vector(vector_field)
        if dimensions not in {None, info.dimensions}:
            raise VectorError.wrong_dimensions(info.dimensions, int(dimensions or 0), repr(vector_field))
        if metric is not None and _metric(metric) is not info.metric:
            raise UnsupportedError(f"{vector_field!r} is searched by {info.metric.value}: no index makes that another")
        await self.store.build_index(as_spec({"kind": index_type, **kwargs}), vector_field)
        return True

    async def _nearest(self, asked: TheirVectorQuery, query: Asked) -> list[TheirRecord]:
        return [one.record for one in await self._similar(asked, query)]

    async def _text_search_for_hybrid(
        self,
        query_text: str,
        text_fields: list[str] | None,
        k: int,
        filter: Asked | None = None,  # noqa: A002
    ) -> list[tuple[TheirRecord, float]]:
        """Give the text leg of `hybrid_search`: the engine's own ranking by words."""
        if self.store.empty:
            return []
        where = await self._where(filter)
        hits = await self.store.keyword_search(query_text, k, on=text_fields, where=where)
        records = table_to_records(hits.rows, hits.rows.column_names[0])
        return list(zip(map(self._back, records), hits.scores.tolist(), strict=True))


def _metric(metric: TheirMetric | str) -> DistanceMetric:
    return DistanceMetric.of(metric if isinstance(metric, str) else metric.value)
