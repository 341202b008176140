"""The store in a PostgreSQL database with pgvector: a table of typed columns, which other programs use as they like.

A table or view that was there before is read as it is. Who may do what is the server's to say.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import pandas as pd
import pyarrow as pa

from dkvector.backends import _pg_keyword, _pg_migrate
from dkvector.backends._pg_build import Builder, check_columns
from dkvector.backends._pg_changes import ChangeFeed
from dkvector.backends._pg_config import PgConfig
from dkvector.backends._pg_explain import compiled, told, verified
from dkvector.backends._pg_indexes import resolved
from dkvector.backends._pg_plan import Plan
from dkvector.backends._pg_planner import Planner, index_for
from dkvector.backends._pg_pool import Connections, translated
from dkvector.backends._pg_rows import Wanted
from dkvector.backends._pg_search import Search, answered, hits, search
from dkvector.backends._pg_table import SIZES, Table, read_table
from dkvector.backends._pg_write import Writer
from dkvector.backends._sql import quoted
from dkvector.columns import to_index
from dkvector.compiled import Statement
from dkvector.errors import NotFoundError, SchemaError, some
from dkvector.filling import Backfill, Page
from dkvector.filters import Filter
from dkvector.indexes import IVF, Flat, IndexSpec
from dkvector.ingest import Batch
from dkvector.metrics import Floats
from dkvector.migration import Infos
from dkvector.requests import KeywordRequest, Mode, Request, Written
from dkvector.results import Explanation, Hits, KeywordHits
from dkvector.schema import Supports, VectorInfo
from dkvector.store import AsyncVectorStore

LIST = 39  # rows of a list, below which an inverted file that the config asks for is not built yet


class PgVectorStore(AsyncVectorStore):
    """Rows in a table of PostgreSQL, searched by pgvector.

    Example:
        >>> import asyncio
        >>> import pandas as pd
        >>> from dkvector import local
        >>> frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]}, index=["a", "b"])
        >>> async def nearest(url: str) -> list[str]:
        ...     store = await PgVectorStore.open({"url": url, "table": "words"})
        ...     await store.upsert(frame)
        ...     found = (await store.search([0.9, 0.1], k=1)).ids
        ...     await store.aclose()
        ...     return list(found)
        >>> with local.postgres() as server:
        ...     asyncio.run(nearest(server.url))
        ['a']
    """

    name: ClassVar[str] = "pgvector"
    supports: Supports = Supports(
        indexes=frozenset({"flat", "hnsw", "ivf", "auto"}),
        quantisations=frozenset({"float16", "binary"}),
        other_metric=True,
        keyword=True,
        transactions=True,
        migration=True,
        column_indexes=True,
        composite_ids=True,
        compile=True,
    )

    def __init__(self, config: PgConfig) -> None:
        self.config = config
        self.dimension, self.metric = config.promised_dimension, config.promised_metric
        self._connections = Connections(config)
        self._table: Table | None = None
        self._planner = Planner(self._connections)

    @classmethod
    async def open(cls, config: Mapping[str, Any]) -> Self:
        """Open the store of a table or view; one that is not there is made by the first write.

        Args:
            config: see `PgConfig`.

        Raises:
            SchemaError: a config that does not fit, or what is stored.
            BackendUnavailableError: the server can't be reached.
            AccessDeniedError: it does not let this user in.
        """
        store = cls(PgConfig.of(config))
        try:
            await store._read_table()
        except BaseException:
            await store._connections.close()
            raise
        return store

    @property
    def table(self) -> Table:
        """The table; an error while there is none."""
        _ = self.known
        if self._table is None:  # pragma: no cover - `known` has raised
            raise AssertionError
        return self._table

    async def _read_table(self) -> None:
        self._take(await self._connections.read(lambda connection: read_table(connection, self.config)))

    async def refresh(self) -> bool:
        """See columns, fields and versions that others have added or changed since; rows are seen anyway."""
        before = (self.empty, self.schema)
        await self._read_table()
        return before != (self.empty, self.schema)

    def _take(self, table: Table | None) -> None:
        """Know a table as it is now."""
        self._table, self.schema = table, None if table is None else table.known
        self._planner.take(table)
        for info in self.schema.serving if self.schema is not None else ():
            if self.dimension not in {None, info.dimensions}:
                raise SchemaError(
                    f"{info.name!r} of {self.config.table!r} holds {info.dimensions} dimensions, the config says "
                    f"{self.dimension}"
                )
            if self.metric not in {None, info.metric}:
                raise SchemaError(f"{info.name!r} measures by {info.metric.value}, the config says {self.metric!s}")

    async def _upsert(self, batch: Batch, mode: Mode, *, progress: bool) -> Written:
        writer = Writer(self._connections, self.config, batch, mode, progress)
        made = self._table is None
        if made:
            check_columns((*self.config.filterable, *self.config.keywords), batch.schema)
        written, table = await writer.run()
        self._take(table)
        self._planner.written()
        await self._index_as_configured(made=made, progress=progress)
        return written

    async def _index_as_configured(self, *, made: bool, progress: bool) -> None:
        """Build what the config asks for: indexes of columns with the table, those of vectors once there is enough."""
        if made and (self.config.filterable or self.config.keywords):
            builder = Builder(self._connections, self.config, self.table, 0)
            await builder.for_filters(self.config.filterable)
            await builder.for_words(self.config.keywords)
        spec = self.config.vector.spec
        if spec is None or isinstance(spec, Flat):
            return
        for info in self.table.infos:
            rows = await self._count(None) if index_for(self.table, info, info.metric) is None else 0
            least = LIST * spec.lists if isinstance(spec, IVF) and spec.lists != "auto" else 1
            if rows >= least:
                await self._build_index(spec, info, progress=progress)

    async def _delete(self, ids: pd.Index | None, where: Filter | None) -> int:
        statement = self.table.statement()
        conditions = [statement.where(where)]
        if ids is not None:
            conditions.append(statement.ids(tuple(ids)))
        sql = f"DELETE FROM {self.table.sql} WHERE {' AND '.join(conditions)}"  # noqa: S608 - values are parameters
        async with self._connections.transaction() as connection:
            done = await connection.execute(sql, *statement.parameters)
        self._planner.forget()
        return int(done.split()[-1])

    async def _get(self, ids: pd.Index, columns: Sequence[str], *, include_vectors: bool) -> pa.Table:
        wanted = Wanted(self.table, columns, include_vectors=include_vectors)
        statement = self.table.statement()
        where = statement.ids(tuple(ids))
        sql = f"SELECT {', '.join(wanted.select)} FROM {self.table.sql} WHERE {where}"  # noqa: S608 - likewise
        rows = wanted.rows(await self._connections.fetch(sql, *statement.parameters))
        # the server gives rows in an order of its own
        found = to_index(rows.column(0), rows.schema.field(0))
        if not found.is_unique:
            twice = found[found.duplicated()].unique()
            raise SchemaError(f"{self.table.name!r} has several rows of one id: {some(twice)}; name another by id=")
        places = found.get_indexer(ids)
        if (places < 0).any():
            raise NotFoundError.ids(ids[places < 0])
        return rows.take(pa.array(places))

    async def _search(self, request: Request) -> tuple[Hits, Explanation]:
        found, made, matching = await self._found(request)
        return found, told(made, found, rows=self._planner.rows, matching=matching)

    async def _found(self, request: Request) -> tuple[Hits, Search, int | None]:
        """Search as planned, and exactly where the index gives fewer rows than match."""
        table = self.table
        made = await self._planner.search(request, table)
        found = await self._answered(made)
        # k rows for every query: whether more of them match is nobody's question, and to count them takes time
        if made.plan.index is None or len(found.distances) == len(request.queries) * request.k:
            return found, made, None
        matching = await self._with_vectors(request)
        if len(found.distances) < len(request.queries) * min(request.k, matching) and not made.plan.forced:
            made = search(request, table, Plan("exact over the matching rows, for the index gave too few"))
            found = await self._answered(made)
        return found, made, matching

    async def _with_vectors(self, request: Request) -> int:
        """Count the rows that a search may find: those that match, and have a vector."""
        statement = self.table.statement()
        condition = f"{statement.where(request.where)} AND {quoted(request.info.name)} IS NOT NULL"
        sql = f"SELECT count(*) FROM {self.table.sql} WHERE {condition}"  # noqa: S608 - values are parameters
        return int((await self._connections.fetch(sql, *statement.parameters))[0][0])

    async def _answered(self, made: Search) -> Hits:
        if not len(made.request.queries):
            return hits(made, [])
        return hits(made, await answered(made, self._connections.read, self.config.pool.max_size))

    async def _explain(self, request: Request) -> tuple[Hits, Explanation]:
        found, made, _ = await self._found(request)
        rows, matching = await self._count(None), await self._with_vectors(request)
        explained = told(made, found, rows=rows, matching=matching)
        return found, await self._connections.read(lambda connection: verified(connection, made, explained))

    async def _scan(
        self, where: Filter | None, columns: Sequence[str], batch_size: int, *, include_vectors: bool
    ) -> AsyncGenerator[pa.Table, None]:
        wanted = Wanted(self.table, columns, include_vectors=include_vectors)
        statement = self.table.statement()
        condition = statement.where(where)
        sql = f"SELECT {', '.join(wanted.select)} FROM {self.table.sql} WHERE {condition}"  # noqa: S608 - likewise
        async with self._connections.transaction(read=True) as connection:
            cursor = await connection.cursor(sql, *statement.parameters)
            while records := await cursor.fetch(batch_size):
                yield wanted.rows(records)

    async def _count(self, where: Filter | None) -> int:
        statement = self.table.statement()
        condition = statement.where(where)
        sql = f"SELECT count(*) FROM {self.table.sql} WHERE {condition}"  # noqa: S608 - likewise
        return int((await self._connections.fetch(sql, *statement.parameters))[0][0])

    async def _keyword(self, request: KeywordRequest) -> KeywordHits:
        sql, parameters, wanted = _pg_keyword.statement(request, self.table, self.config.language)
        records = await self._connections.fetch(sql, *parameters)
        return _pg_keyword.hits(records, wanted, highlight=request.highlight)

    async def _compile(self, request: Request) -> Statement:
        return compiled(await self._planner.search(request, self.table))

    async def _compile_words(self, request: KeywordRequest) -> Statement:
        sql, parameters, _ = _pg_keyword.statement(request, self.table, self.config.language)
        return Statement("full text search", sql, tuple(parameters))

    async def _build_index(self, spec: IndexSpec, info: VectorInfo, *, progress: bool) -> IndexSpec:
        rows = await self._count(None)
        made = resolved(spec, rows, info)
        await Builder(self._connections, self.config, self.table, rows, progress).vectors(made, info)
        await self._read_table()
        return made

    async def _indexes(self) -> dict[str, IndexSpec]:
        await self._read_table()
        found = {info.name: index_for(self.table, info, info.metric) for info in self.table.infos}
        return {name: Flat() if one is None else one.spec for name, one in found.items()}

    async def _add_vector_field(self, info: VectorInfo) -> None:
        await self._connections.create_extension()
        await _pg_migrate.add_vector_field(self._connections, self.table, info)
        await self._read_table()

    async def _drop_vector_fields(self, names: Sequence[str]) -> None:
        await _pg_migrate.drop_vector_fields(self._connections, self.table, names)
        await self._read_table()

    async def _redescribe(self, change: Callable[[Infos], Infos], whole: str | None) -> None:
        await _pg_migrate.redescribe(self._connections, self.config, change, whole)
        await self._read_table()

    async def _count_lacking(self, name: str) -> int:
        return await _pg_migrate.count_lacking(self._connections, self.table, name)

    def _lacking(self, request: Backfill) -> AsyncIterator[Page]:
        return _pg_migrate.lacking(self._connections, self.table, request)

    async def _fill(self, request: Backfill, page: Page, made: Floats) -> int:
        return await _pg_migrate.fill(self._connections, self.table, request, page, made)

    async def _index_columns(self, columns: tuple[str, ...], *, words: bool) -> None:
        builder = Builder(self._connections, self.config, self.table, await self._count(None))
        await (builder.for_words(columns) if words else builder.for_filters(columns))

    async def change_feed(self) -> ChangeFeed:
        """Give the changes of the table, where the server notes them: see `dkvector.replica`."""
        return await ChangeFeed.of(self._connections, self.config, self.table)

    async def refresh_schema(self) -> None:
        """See columns that others have added to the table since, or removed."""
        await self._read_table()

    async def stats(self) -> pd.Series:
        """Measure the store.

        Returns:
            `rows`; bytes of the table, of what is kept beside it for long values, of its indexes; all of them on disk.
        """
        if self.empty:
            return pd.Series({"rows": 0, "table_bytes": 0, "index_bytes": 0, "disk_bytes": 0}, name=self.name)
        sizes = (await self._connections.fetch(SIZES, self.table.sql))[0]
        table, indexes, disk = (int(size) for size in sizes)
        measured = {"rows": await self._count(None), "table_bytes": table, "index_bytes": indexes, "disk_bytes": disk}
        return pd.Series(measured, name=self.name)

    async def engine(self) -> str:
        """Name pgvector and the server."""
        extension = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        asked = f"SELECT current_setting('server_version'), ({extension})"
        server, version = (await self._connections.fetch(asked))[0]
        return f"pgvector {version or 'not installed'} on PostgreSQL {server.split()[0]}"

    async def drop(self) -> None:
        """Drop the table.

        Raises:
            SchemaError: a view, which is dropped where it was made.
        """
        if self.empty:
            return
        if self.table.kind not in {"r", "p"}:
            raise SchemaError(f"{self.table.name!r} is a view, which was there before: drop it where it was made")
        async with self._connections.transaction() as connection:
            # no CASCADE: what others have hung on the table is not ours to drop
            await connection.execute(f"DROP TABLE IF EXISTS {self.table.sql}")
        self._take(None)

    async def aclose(self) -> None:
        """Close the connections."""
        self.closed = True
        with translated():
            await self._connections.close()
