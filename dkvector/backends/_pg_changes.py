"""Which rows of a table have changed since: triggers that note their keys, beside a notice to whoever listens.

A change is a row of a table beside: the key, and the transaction that changed it last. It holds a row for each key that
was ever changed, however often, and serves any number of readers: each remembers the oldest transaction that was still
open when it last looked, and looks at all that is not older. So nothing is lost while nobody listens, nor when
transactions end in another order than they began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import pandas as pd
import pyarrow as pa
from asyncpg import exceptions as pg

from dkvector.backends._pg_pool import Connections, SettingUp, translated
from dkvector.backends._pg_rows import Wanted
from dkvector.backends._pg_table import Table
from dkvector.backends._sql import quoted
from dkvector.errors import SchemaError, UnsupportedError

XID = '"dkvector_xid"'
NOW = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
# runs as the owner of the table, for who writes there need not have rights to the table of changes;
# so the path is fixed, lest somebody's own function of one of these names is run with the owner's rights
FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $dkvector$
BEGIN
    IF TG_OP = 'INSERT' THEN {fresh};
    ELSIF TG_OP = 'DELETE' THEN {stale};
    ELSIF TG_OP = 'UPDATE' THEN {both};
    ELSE {all};
    END IF;
    PERFORM pg_notify('{channel}', '');
    RETURN NULL;
END $dkvector$
"""
# in the order of the keys: two writers that note the same rows wait for each other in line, and not in a circle
NOTE = (
    "INSERT INTO {changes} ({keys}, {xid}) SELECT {keys}, pg_current_xact_id() FROM {rows} ORDER BY {keys} "
    "ON CONFLICT ({keys}) DO UPDATE SET {xid} = EXCLUDED.{xid}"
)
# TRUNCATE has no transition tables: its rows are noted before, while they are still there
TRIGGERS = {
    "insert": "AFTER INSERT ON {table} REFERENCING NEW TABLE AS fresh",
    "update": "AFTER UPDATE ON {table} REFERENCING OLD TABLE AS stale NEW TABLE AS fresh",
    "delete": "AFTER DELETE ON {table} REFERENCING OLD TABLE AS stale",
    "truncate": "BEFORE TRUNCATE ON {table}",
}


@dataclass(frozen=True)
class Changed:
    """What has changed.

    Attributes:
        ids: of the rows.
        marks: the transaction that changed each of them last.
        position: where to look from next time.
    """

    ids: pd.Index
    marks: tuple[int, ...]
    position: int


class ChangeFeed:
    """The changes of one table.

    Args:
        connections: to the server.
        config: how to connect; of what listens.
        table: the table, as it was read.
        oid: the server's number of the table.
    """

    def __init__(self, connections: Connections, config: Any, table: Table, oid: int) -> None:
        self._connections, self._config, self.table, self.oid = connections, config, table, oid
        self._keys = ", ".join(quoted(one.field.name) for one in table.keys)
        schema = quoted(table.schema)
        self._changes = f"{schema}.{quoted(f'dkvector_changes_{oid}')}"
        self._function = f"{schema}.{quoted(f'dkvector_note_{oid}')}"
        self._channel = f"dkvector_{oid}"

    @classmethod
    async def of(cls, connections: Connections, config: Any, table: Table) -> ChangeFeed:
        """Find the changes of a table.

        Raises:
            UnsupportedError: something other than a plain table, which has no such triggers.
            SchemaError: a table whose rows no key tells apart.
        """
        table.writable()
        if table.kind != "r":
            raise UnsupportedError(f"{table.name!r} is partitioned: follow its partitions one by one")
        oid = (await connections.fetch("SELECT $1::regclass::oid", table.sql))[0][0]
        return cls(connections, config, table, int(oid))

    def statements(self) -> list[str]:
        """Write what is to be run at the server, by the table's owner, so that changes are noted."""
        noted = {
            "fresh": "fresh",
            "stale": "stale",
            "both": f"(SELECT {self._keys} FROM stale UNION SELECT {self._keys} FROM fresh) AS both_of_them",
            "all": self.table.sql,
        }
        ways = {"changes": self._changes, "keys": self._keys, "xid": XID}
        notes = {name: NOTE.format(rows=rows, **ways) for name, rows in noted.items()}
        made = f"SELECT {self._keys} FROM {self.table.sql} WITH NO DATA"
        return [
            f"CREATE TABLE {self._changes} AS {made}",
            f"ALTER TABLE {self._changes} ADD COLUMN {XID} xid8 NOT NULL, ADD PRIMARY KEY ({self._keys})",
            f"CREATE INDEX ON {self._changes} ({XID})",
            FUNCTION.format(function=self._function, channel=self._channel, **notes).strip(),
            *(
                f"CREATE TRIGGER {quoted(f'dkvector_{name}')} {when.format(table=self.table.sql)} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {self._function}()"
                for name, when in TRIGGERS.items()
            ),
        ]

    async def installed(self) -> int | None:
        """Give the server's number of the table of changes; None where changes are not noted."""
        count = "SELECT count(*) FROM pg_trigger WHERE tgrelid = $2 AND tgname LIKE 'dkvector\\_%' AND tgenabled <> 'D'"
        found = (await self._connections.fetch(f"SELECT to_regclass($1)::oid, ({count})", self._changes, self.oid))[0]
        return int(found[0]) if found[0] is not None and found[1] >= len(TRIGGERS) else None

    async def install(self) -> None:
        """Have changes noted from now on.

        Raises:
            AccessDeniedError: the table is another's.
        """
        async with self._connections.transaction() as connection:
            # no row is written between two of the statements, and goes unnoted
            await connection.execute(f"LOCK TABLE {self.table.sql} IN SHARE ROW EXCLUSIVE MODE")
            await self._removed(connection)
            for statement in self.statements():
                await connection.execute(statement)

    async def uninstall(self) -> None:
        """Have changes noted no longer, and forget those that were."""
        async with self._connections.transaction() as connection:
            await self._removed(connection)

    async def _removed(self, connection: Any) -> None:
        for name in TRIGGERS:
            await connection.execute(f"DROP TRIGGER IF EXISTS {quoted(f'dkvector_{name}')} ON {self.table.sql}")
        await connection.execute(f"DROP FUNCTION IF EXISTS {self._function}()")
        await connection.execute(f"DROP TABLE IF EXISTS {self._changes}")

    async def position(self) -> int:
        """Tell where changes from now on begin."""
        return int((await self._connections.fetch(NOW))[0][0])

    async def since(self, position: int) -> Changed:
        """Give the rows that have changed since.

        Raises:
            SchemaError: the table is gone, or the position is one that this server has not come to yet.
        """
        wanted = Wanted(self.table, (), include_vectors=False)
        looked = f"SELECT {', '.join(wanted.select)}, {XID}::text::bigint FROM {self._changes}"
        async with self._connections.transaction(read=True) as connection:
            # of the snapshot that the changes are read in: a transaction that it does not show is no older than this
            now = int(await connection.fetchval(NOW))
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_class WHERE oid = $1)", self.oid):
                raise SchemaError(f"the table {self.table.name!r} is gone, or was made anew")
            if now < position:
                raise SchemaError(f"the server is at transaction {now}, the replica at {position}: it is of another")
            found = await connection.fetch(f"{looked} WHERE {XID} >= $1::text::xid8", str(position))
        return Changed(wanted.labels(found, 0), tuple(one[-1] for one in found), now)

    async def rows(self, ids: pd.Index) -> pa.Table:
        """Give the rows of these ids that are there, as they are now, vectors included."""
        wanted = Wanted(self.table, self.table.known.payload.names, include_vectors=True)
        statement = self.table.statement()
        where = statement.ids(tuple(ids))
        sql = f"SELECT {', '.join(wanted.select)} FROM {self.table.sql} WHERE {where}"
        return wanted.rows(await self._connections.fetch(sql, *statement.parameters))

    async def listen(self, woken: Callable[[], None]) -> Listener:
        """Have something called at every change, and when the connection is lost.

        Raises:
            BackendUnavailableError: the server can't be reached.
        """
        with translated():
            connection = await asyncpg.connect(**self._config.connection)
            try:
                await SettingUp(self._config).prepare(connection)
                # who waits for a notice must learn that none will come
                connection.add_termination_listener(lambda _: woken())
                await connection.add_listener(self._channel, lambda *_: woken())
            except BaseException:
                connection.terminate()
                raise
        return Listener(connection)


@dataclass(frozen=True)
class Listener:
    """A connection that listens."""

    connection: Any

    @property
    def lost(self) -> bool:
        """Whether it is gone."""
        return bool(self.connection.is_closed())

    async def close(self) -> None:
        """Close it."""
        with suppress(OSError, TimeoutError, asyncio.TimeoutError, pg.PostgresError, pg.InterfaceError):
            await self.connection.close(timeout=5)
