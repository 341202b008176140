"""A store in a search engine: what Elasticsearch and OpenSearch share, which is nearly all of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Self
from urllib.parse import quote

import pandas as pd
import pyarrow as pa

from dkvector.backends._dialect import Dialect
from dkvector.backends._documents import table, wanted
from dkvector.backends._engine_compile import compiled, compiled_words
from dkvector.backends._engine_config import EngineConfig, read_config
from dkvector.backends._engine_held import EngineHolding
from dkvector.backends._engine_keyword import keyword_body, marked
from dkvector.backends._engine_reader import Reader
from dkvector.backends._engine_search import Answer, Search
from dkvector.backends._layout import given, ids_of
from dkvector.backends._querydsl import Query, all_of
from dkvector.backends._wire import Server, Wire, greeted
from dkvector.columns import to_index
from dkvector.compiled import Statement
from dkvector.errors import BackendUnavailableError, DkvectorError, NotFoundError
from dkvector.filters import Filter
from dkvector.indexes import IndexSpec
from dkvector.ingest import Batch
from dkvector.requests import KeywordRequest, Mode, Request, Written
from dkvector.results import Explanation, Hits, KeywordHits, TableSource
from dkvector.schema import VectorInfo


class EngineStore(EngineHolding):
    """Rows as documents of one index, searched by the engine."""

    @classmethod
    @abstractmethod
    def _connected(cls, config: EngineConfig) -> tuple[Wire, tuple[int, ...]]:
        """Make a client, and tell its version."""

    @classmethod
    @abstractmethod
    def _speaking(cls, server: Server, config: EngineConfig) -> Dialect:
        """Choose the dialect for a server."""

    @classmethod
    async def open(cls, config: Mapping[str, Any]) -> Self:
        """Open the store of an index, or an empty one where there is none.

        Args:
            config: see `EngineConfig`; the design's own dict is one.

        Raises:
            SchemaError: a config that does not fit, or an index without vectors.
            BackendUnavailableError: no server, or one of another major version.
            AccessDeniedError: it refuses the credentials.
        """
        read = read_config(cls.name, config)
        wire, version = cls._connected(read)
        try:
            dialect = cls._speaking(await greeted(wire), read)
            dialect.check_major(version)
            dialect.resolved(read.vectors.spec)
            store = cls(wire, dialect, read)
            await store._load()
        except BaseException:
            await wire.close()
            raise
        return store

    async def engine(self) -> str:
        """Name the server's engine and version."""
        server = await greeted(self._wire)
        return f"{self.name} {'.'.join(map(str, server.version))}"

    def _place(self) -> str:
        return f"{self.name} at {', '.join(self._wire.hosts)}, index {self._index!r}"

    @asynccontextmanager
    async def _while_loading(self) -> AsyncIterator[None]:
        """Have the engine show what is written once, at the end."""
        await self._load()
        interval = None if self._held is None else self._held.settings.get("refresh_interval")
        self._patient = True
        try:
            yield
        except BaseException:
            # why a load failed is told, not that an engine which is gone can't show what it took
            with suppress(DkvectorError):
                await self._shown(interval)
            raise
        await self._shown(interval)

    async def _shown(self, interval: str | None) -> None:
        self._patient = False
        await self._load()  # another process may have replaced the index meanwhile
        if self._held is not None:
            await self._writer.shown(self._held.concrete, interval)

    async def _among_ours(self, ids: pd.Index) -> Any:
        kind = self.known.id.type
        found = await self._reader.named(given(list(ids), kind), [])
        return ids.isin(to_index(ids_of(list(found), kind), self.known.id))

    async def _upsert(self, batch: Batch, mode: Mode, *, progress: bool) -> Written:
        spec = self._dialect.resolved(self.planned or self._config.vectors.spec)
        writer = self._writer
        texts = writer.checked(batch)
        before = self._held
        await self._load()
        if before is None and self._held is not None:  # another process makes it just now
            await self._places.ready()
        held = None if mode == "replace" else self._held
        if held is None:
            filled = await writer.fill(batch, texts, spec, self._held, progress=progress)
            if filled is not None:
                self._hold(filled.held)
                return filled.written
            await self._places.ready()
            await self._load()
            held = self._there  # another process made the index meanwhile
        batch = replace(batch, schema=held.layout.schema.widened(batch.schema))
        added = await writer.add(batch, texts, held, insert=mode == "insert", progress=progress)
        self._hold(added.held)
        return added.written

    async def _delete(self, ids: pd.Index | None, where: Filter | None) -> int:
        reader = self._reader
        names = None if ids is None else given(list(ids), self.known.id.type)
        if where is not None or names is None:
            query = self._among(reader.query(where), names)
            names = [hit.name async for page in reader.pages(query, [], 1 << 14) for hit in page]
        return await self._writer.delete(names, self._there)

    @staticmethod
    def _among(query: Query | None, names: Sequence[str] | None) -> Query:
        terms = [] if query is None else [query]
        return all_of(terms if names is None else [*terms, {"ids": {"values": list(names)}}])

    async def _get(self, ids: pd.Index, columns: Sequence[str], *, include_vectors: bool) -> pa.Table:
        reader, kind = self._reader, self.known.id.type
        names = given(list(ids), kind)
        if len(names) != len(ids):
            raise NotFoundError.ids([one for one in ids if not given([one], kind)])
        paths = wanted(reader.layout, columns, vectors=include_vectors)
        found = await self._read(lambda reader: reader.named(list(dict.fromkeys(names)), paths))
        if missing := [one for one, name in zip(ids, names, strict=True) if name not in found]:
            raise NotFoundError.ids(missing)
        return table(reader.layout, names, [found[name] for name in names], columns, vectors=include_vectors)

    async def _search(self, request: Request) -> tuple[Hits, Explanation]:
        async def found(reader: Reader) -> tuple[Answer, pa.Table]:
            answer = await Search(reader, request).run()
            names, sources = [hit.name for hit in answer.hits], [hit.source for hit in answer.hits]
            return answer, table(reader.layout, names, sources, request.columns, vectors=request.include_vectors)

        held = self._there
        answer, rows = await self._read(found)
        # hits of neither index come from one that was put in place between the two: their columns may be others
        known = {held.concrete, self._there.concrete, ""}
        if any(hit.index not in known for hit in answer.hits):
            answer, rows = await found(await self._after_replacement(held))
        hits = Hits(TableSource(rows), answer.distances, answer.counts, request.metric, request.labels)
        return hits, self._told(request, answer)

    def _told(self, request: Request, answer: Answer) -> Explanation:
        return Explanation(
            backend=self.name,
            field=request.info.name,
            metric=request.metric.value,
            plan=answer.plan,
            k=request.k,
            queries=len(request.queries),
            rows=None,
            matching=answer.matching,
            returned=len(answer.hits),
            shortfall=answer.shortfall,
            native=answer.native,
        )

    async def _explain(self, request: Request) -> tuple[Hits, Explanation]:
        """Count what the search itself had no need to."""
        hits, told = await self._search(request)
        matching = told.matching
        if matching is None and request.where is not None:
            matching = await self._count(request.where)
        return hits, replace(told, rows=await self._count(None), matching=matching)

    async def _compile(self, request: Request) -> Statement:
        return compiled(Search(self._reader, request))

    async def _compile_words(self, request: KeywordRequest) -> Statement:
        return compiled_words(self._reader, request)

    async def _keyword(self, request: KeywordRequest) -> KeywordHits:
        reader = self._reader
        body = keyword_body(request, reader)
        (found,) = await self._read(lambda reader: reader.search([body]))
        return marked(found, request, reader.layout)

    async def _scan(
        self, where: Filter | None, columns: Sequence[str], batch_size: int, *, include_vectors: bool
    ) -> AsyncGenerator[pa.Table, None]:
        reader = self._reader
        paths = wanted(reader.layout, columns, vectors=include_vectors)
        waiting: list[pa.Table] = []
        async for page in reader.pages(reader.query(where), paths, batch_size, vectors=include_vectors):
            names, sources = [hit.name for hit in page], [hit.source for hit in page]
            waiting.append(table(reader.layout, names, sources, columns, vectors=include_vectors))
            while sum(map(len, waiting)) >= batch_size:
                together = pa.concat_tables(waiting).unify_dictionaries()
                yield together.slice(0, batch_size)
                waiting = [together.slice(batch_size)]
        if waiting and sum(map(len, waiting)):
            yield pa.concat_tables(waiting).unify_dictionaries()

    async def _count(self, where: Filter | None) -> int:
        return await self._read(lambda reader: reader.count(reader.query(where)))

    async def _build_index(self, spec: IndexSpec, info: VectorInfo, *, progress: bool) -> IndexSpec:
        wanted_spec = self._dialect.resolved(spec)
        await self._load()
        held = self._there
        if info.name not in held.layout.specs:
            raise NotFoundError.of("field", info.name, list(held.layout.specs))
        if held.layout.specs[info.name] == wanted_spec:
            return wanted_spec
        self._fields.check_ours()
        layout = replace(held.layout, specs={**held.layout.specs, info.name: wanted_spec})
        self._hold(await self._writer.rebuild(held, layout, self._reader, progress=progress))
        return wanted_spec

    async def _indexes(self) -> dict[str, IndexSpec]:
        return dict(self._there.layout.specs)

    async def stats(self) -> pd.Series:
        """Measure the store.

        Returns:
            `rows`; bytes that the vectors have in float32; bytes of all files of the engine, copies not counted;
            shards and segments.
        """
        if self.empty:
            return pd.Series({"rows": 0, "vector_bytes": 0, "disk_bytes": 0}, name=self.name)
        rows = await self.count()
        path = f"/{quote(self._index)}/_stats/store,segments"
        told = (await self._wire.ask("GET", path))["_all"]["primaries"]
        vectors = rows * sum(4 * info.dimensions for info in self.known.vectors)
        measured = {
            "rows": rows,
            "vector_bytes": vectors,
            "disk_bytes": told.get("store", {}).get("size_in_bytes", 0),
            "segments": told.get("segments", {}).get("count", 0),
        }
        return pd.Series(measured, name=self.name)

    async def drop(self) -> None:
        """Remove the index with all it holds; another store of the same name begins anew."""
        if self.closed:
            raise BackendUnavailableError(f"this {self.name} store was closed; open it again")
        await self._load()
        if self._held is not None:
            await self._places.remove(self._held.concrete)
        self._hold(None)

    async def aclose(self) -> None:
        """Let go of the connections."""
        self.closed = True
        await self._wire.close()
