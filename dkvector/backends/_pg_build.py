"""Building indexes: with the memory it takes and several workers, and a bar that shows how far the server is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from asyncpg import exceptions as pg

from dkvector.backends import _pg_ddl, _pg_keyword
from dkvector.backends._pg_config import PgConfig
from dkvector.backends._pg_indexes import COMMENT, create_index
from dkvector.backends._pg_pool import Connections
from dkvector.backends._pg_table import Table
from dkvector.backends._sql import literal, quoted
from dkvector.errors import BackendUnavailableError, NotFoundError, SchemaError
from dkvector.indexes import HNSW, IVF, Flat
from dkvector.schema import Schema, VectorInfo

MOST = 1 << 30  # bytes for a build, unless the config says otherwise
WORKERS = 7  # beside the one that leads, as far as the server has them
INTERVAL = 0.5  # seconds between looks at the progress
PROGRESS = """
SELECT phase, greatest(tuples_done, 0) AS tuples, blocks_done, blocks_total FROM pg_stat_progress_create_index
WHERE pid = $1
"""


def check_columns(names: Sequence[str], schema: Schema) -> None:
    """Refuse to index columns that rows have not, before any is written.

    Raises:
        NotFoundError: names the first.
    """
    known = [*schema.payload.names, *(part.name for part in _pg_ddl.parts(schema.id))]
    for name in names:
        if name not in known:
            raise NotFoundError.of("column", name, known)


@dataclass(frozen=True)
class Builder:
    """Builds indexes of one table.

    Args:
        connections: to the server.
        config: of the store.
        table: the table.
        rows: how many it has.
        progress: show a bar.
    """

    connections: Connections
    config: PgConfig
    table: Table
    rows: int
    progress: bool = False

    async def vectors(self, spec: Flat | HNSW | IVF, info: VectorInfo) -> None:
        """Build the index of a vector field, and only then drop those of ours that it takes the place of."""
        old = [one for one in self.table.indexes if one.field == info.name and one.ours]
        name = _pg_ddl.fresh(f"{self.table.name}_{info.name}_{spec.kind}")
        if not isinstance(spec, Flat):
            await self.build(create_index(self.table.sql, name, spec, info), name, self._memory(spec, info))
        async with self.connections.transaction() as connection:
            for one in old:
                await connection.execute(f"DROP INDEX IF EXISTS {self._named(one.name)}")

    async def build(self, statement: str, name: str, memory: int) -> None:
        """Run a statement that builds an index; where the workers can't share memory, without them."""
        try:
            await self._build(statement, name, memory, WORKERS)
        except BackendUnavailableError as exc:
            if not isinstance(exc.__cause__, pg.InsufficientResourcesError):
                raise
            # workers share memory by /dev/shm, of which a container often has 64 MB only
            await self._build(statement, name, memory, 0)

    async def _build(self, statement: str, name: str, memory: int, workers: int) -> None:
        async with self.connections.transaction() as connection:
            wanted = self.config.maintenance_work_mem or f"{memory >> 10}kB"
            settings = {"maintenance_work_mem": wanted, "max_parallel_maintenance_workers": str(workers)}
            # the limit of the config is meant for searches: a build takes as long as it takes
            for setting, value in (settings | {"statement_timeout": "0"}).items():
                await connection.fetchval("SELECT set_config($1, $2, true)", setting, value)
            async with self._shown(connection, name):
                await connection.execute(statement)
            # in the same transaction: an index without it is taken for another's, and never replaced
            await connection.execute(f"COMMENT ON INDEX {self._named(name)} IS {literal(COMMENT)}")

    def _named(self, index: str) -> str:
        return f"{quoted(self.table.schema)}.{quoted(index)}"

    def _memory(self, spec: HNSW | IVF, info: VectorInfo) -> int:
        """Estimate what a graph takes while it is built: vectors, and links of both directions; at least 64 MB."""
        links = spec.m * 2 * 16 if isinstance(spec, HNSW) else 0
        return max(64 << 20, min(MOST, round(self.rows * (info.dimensions * 4 + links + 256) * 1.2)))

    @asynccontextmanager
    async def _shown(self, connection: Any, name: str) -> AsyncIterator[None]:
        """Show the progress that the server tells another connection of."""
        if not self.progress:
            yield
            return
        watching = asyncio.ensure_future(self._watch(connection.get_server_pid(), name))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, pid: int, name: str) -> None:
        from tqdm.auto import tqdm  # noqa: PLC0415 - only where it is shown

        with tqdm(total=self.rows, desc=f"index {name}", unit="row") as bar:
            while True:
                await asyncio.sleep(INTERVAL)
                for row in await self.connections.fetch(PROGRESS, pid):
                    bar.n = done(row, self.rows)
                    bar.set_postfix_str(row["phase"])

    async def for_filters(self, columns: tuple[str, ...]) -> None:
        """Index columns for filters: B-trees for values that have an order, GIN for lists and JSON."""
        for name in columns:
            column = self._payload(name)
            inside = column.type is None or column.type == "jsonb" or column.type.endswith("[]")
            made = _pg_ddl.fresh(f"{self.table.name}_{name}")
            on = quoted(self.table.json or name) if column.type is None else quoted(name)
            how = f"USING gin ({on})" if inside else f"({on})"
            await self.build(f"CREATE INDEX {quoted(made)} ON {self.table.sql} {how}", made, 64 << 20)

    async def for_words(self, columns: tuple[str, ...]) -> None:
        """Index the words of text columns."""
        for name in columns:
            column = self._payload(name)
            kind = column.field.type
            if not pa.types.is_large_string(kind.value_type if pa.types.is_dictionary(kind) else kind):
                raise SchemaError(f"no words in {name!r}, which is {kind}")
            made = _pg_ddl.fresh(f"{self.table.name}_{name}_words")
            statement = _pg_keyword.create_index(self.table.sql, made, column.select, self.config.language)
            await self.build(statement, made, 64 << 20)

    def _payload(self, name: str) -> Any:
        known = {one.field.name: one for one in (*self.table.columns, *self.table.keys)}
        if name not in known:
            raise NotFoundError.of("column", name, known)
        return known[name]


def done(row: Any, rows: int) -> int:
    """Tell how many rows are done, from what the server counts: rows, or blocks of the table."""
    if row["tuples"]:
        return min(rows, int(row["tuples"]))
    return round(rows * row["blocks_done"] / row["blocks_total"]) if row["blocks_total"] else 0
