"""Connections to PostgreSQL: a pool that heals, values as the server counts them, errors that are ours."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from operator import itemgetter
from typing import Any, TypeVar

import asyncpg
from asyncpg import exceptions as pg

from dkvector.backends._homes import Homes
from dkvector.backends._pg_config import PgConfig
from dkvector.backends._pg_home import Home
from dkvector.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    DkvectorError,
    DuplicateIdError,
    SchemaError,
    UnsupportedError,
)

T = TypeVar("T")
OLDEST = (0, 8)  # the version of pgvector that goes on where a filter leaves too few
TUPLE = {"schema": "pg_catalog", "format": "tuple"}

# Foreign errors → ours; the first that fits counts.
ERRORS: tuple[tuple[tuple[type[BaseException], ...], type[DkvectorError], str], ...] = (
    ((pg.UniqueViolationError,), DuplicateIdError, "another writer has these ids"),
    ((pg.QueryCanceledError,), BackendUnavailableError, "the server gave the statement up"),
    ((pg.InsufficientPrivilegeError,), AccessDeniedError, "the server does not allow it"),
    ((pg.InvalidAuthorizationSpecificationError,), AccessDeniedError, "the server does not let this user in"),
    (
        (pg.InvalidSQLStatementNameError, pg.DuplicatePreparedStatementError),
        UnsupportedError,
        "a pooler gave another session: statement_cache_size=0 in the config does without prepared statements",
    ),
    (
        (
            pg.UndefinedTableError,
            pg.UndefinedColumnError,
            pg.UndefinedObjectError,
            pg.InvalidSchemaNameError,
            pg.InvalidNameError,
        ),
        SchemaError,
        "the database has not what the statement names",
    ),
    ((pg.IntegrityConstraintViolationError, pg.DataError, pg.InvalidTextRepresentationError), SchemaError, "refused"),
    ((pg.ProgramLimitExceededError,), SchemaError, "past a limit of the server"),
    ((pg.FeatureNotSupportedError, pg.ObjectNotInPrerequisiteStateError), UnsupportedError, "the server can't do it"),
    ((pg.WrongObjectTypeError,), UnsupportedError, "the server can't do it to this kind of relation"),
    ((pg.ReadOnlySQLTransactionError,), AccessDeniedError, "the server only reads"),
    (
        (
            pg.PostgresConnectionError,
            pg.OperatorInterventionError,
            pg.InsufficientResourcesError,
            pg.InvalidCatalogNameError,
            pg.CannotConnectNowError,
            pg.InternalClientError,
            pg.InterfaceError,
            OSError,
            asyncio.TimeoutError,
        ),
        BackendUnavailableError,
        "PostgreSQL can't be reached",
    ),
    ((pg.PostgresError,), DkvectorError, "PostgreSQL failed"),
)
LOST = (pg.PostgresConnectionError, pg.AdminShutdownError, pg.CrashShutdownError, pg.CannotConnectNowError, OSError)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's and the server's errors into ours."""
    try:
        yield
    # some of ours are OSErrors too, such as BackendUnavailableError
    except DkvectorError:
        raise
    except (TimeoutError, pg.PostgresError, pg.InterfaceError, pg.InternalClientError, OSError) as exc:
        raise ours(exc) from exc


def ours(exc: BaseException) -> DkvectorError:
    """Choose our error for a foreign one; its text never holds what the connection was made with."""
    for kinds, error, what in ERRORS:
        if isinstance(exc, kinds):
            detail = getattr(exc, "detail", None) or getattr(exc, "hint", None)
            # the driver puts detail and hint into the text as well
            said = re.split(r"\n(?:DETAIL|HINT): ", str(exc))[0]
            return error(f"{what}: {said}" + (f" ({' '.join(detail.split())})" if detail else ""))
    return DkvectorError(str(exc))


def lost(exc: BaseException) -> bool:
    """Tell whether the connection is gone, rather than the statement wrong."""
    if isinstance(exc, pg.InternalClientError):
        # news of the end came while a statement was being sent
        return "cannot switch to state" in str(exc)
    return isinstance(exc, LOST) or (isinstance(exc, pg.InterfaceError) and "closed" in str(exc))


class SettingUp:
    """Sets new connections up: how values travel, and settings of the session.

    Args:
        config: of the store.
    """

    def __init__(self, config: PgConfig) -> None:
        self._config = config
        self.extension = False  # whether the database has pgvector

    async def prepare(self, connection: Any) -> None:
        """Set a new connection up: types, and settings of the session."""
        settings = {"application_name": "dkvector", "jit": "off"}
        if self._config.statement_timeout is not None:
            settings["statement_timeout"] = str(round(self._config.statement_timeout * 1000))
        places = ", ".join(f"set_config(${at * 2 + 1}, ${at * 2 + 2}, false)" for at in range(len(settings)))
        await connection.fetchval(f"SELECT {places}", *[part for pair in settings.items() for part in pair])
        for name in ("timestamp", "timestamptz", "date", "time"):
            await connection.set_type_codec(name, encoder=_parts, decoder=itemgetter(0), **TUPLE)
        await connection.set_type_codec("interval", encoder=_interval, decoder=_micros, **TUPLE)
        await self._vectors(connection)

    async def _vectors(self, connection: Any) -> None:
        found = await connection.fetchrow(
            "SELECT n.nspname, e.extversion, n.nspname = ANY(current_schemas(true)) AS visible FROM pg_extension e "
            "JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
        )
        self.extension = found is not None
        if found is None:
            return
        if tuple(int(part) for part in found["extversion"].split(".")[:2]) < OLDEST:
            raise UnsupportedError(f"pgvector is {found['extversion']}; it must be 0.8: ALTER EXTENSION vector UPDATE")
        for name in ("vector", "halfvec"):
            place = {"schema": found["nspname"], "format": "binary"}
            await connection.set_type_codec(name, encoder=bytes, decoder=bytes, **place)
        if not found["visible"]:
            # operators are looked for along the path: without its schema `<=>` is unknown
            path = "current_setting('search_path') || ', ' || quote_ident($1)"
            await connection.fetchval(f"SELECT set_config('search_path', {path}, false)", found["nspname"])


class Connections:
    """A pool for the loop and the process that uses it: another one gets its own.

    Args:
        config: how to connect.
    """

    def __init__(self, config: PgConfig) -> None:
        self._config = config
        self._homes = Homes(Home)
        self._closed = False
        self._setting_up = SettingUp(config)

    async def pool(self) -> Any:
        """Give the pool of this loop, opened at the first call."""
        home = self._homes.mine()
        async with home.opening:
            if self._closed:  # a pool would be opened for nobody to close
                raise BackendUnavailableError("this pgvector store was closed while it was asked; open it again")
            if home.pool is None:
                for loop, one in self._homes.left():
                    one.leave(loop)
                sizes = asdict(self._config.pool)
                ways = self._config.connection | sizes
                pool = await asyncpg.create_pool(**ways, init=self._setting_up.prepare, reset=_untouched)
                home.opened(pool, self)
        return home.pool

    async def create_extension(self) -> None:
        """Have the database know vectors."""
        if self._setting_up.extension:
            return
        with translated():
            async with self.acquired() as connection:
                try:
                    await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                except pg.UniqueViolationError:  # another one made it at the same time
                    pass
                except (pg.UndefinedFileError, pg.FeatureNotSupportedError) as exc:
                    raise UnsupportedError(f"this server has no pgvector to install: {exc}") from exc
            await self._forget()  # those that come know its types

    @asynccontextmanager
    async def acquired(self) -> AsyncIterator[Any]:
        """Give a connection, for as long as it is needed."""
        pool, connection = await self._taken()
        try:
            yield connection
        except BaseException:
            await pool.release(connection)
            raise
        await self._given_back(pool, connection)

    async def _taken(self) -> tuple[Any, Any]:
        """Take the connection at hand, or one of the pool's, and tell whose it is."""
        home = self._homes.mine()
        pool = home.pool
        if pool is None or home.spare is None:
            pool = await self.pool()
            return pool, await pool.acquire()
        connection, home.spare = home.spare, None
        # it may have been lost while it lay at hand
        if connection.is_closed():
            await pool.release(connection)
            connection = await pool.acquire()
        return pool, connection

    async def _given_back(self, pool: Any, connection: Any) -> None:
        home = self._homes.mine()
        if home.spare is None and home.pool is pool:
            home.spare = connection
        else:
            await pool.release(connection)

    async def _used(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do work on a connection, as within `acquired`, without what a context manager costs."""
        pool, connection = await self._taken()
        try:
            result = await work(connection)
        except BaseException:
            await pool.release(connection)
            raise
        await self._given_back(pool, connection)
        return result

    async def _forget(self) -> None:
        """Have every connection opened anew: where one was lost, others may be."""
        home = self._homes.mine()
        await home.let_go()
        if home.pool is not None:
            await home.pool.expire_connections()

    @asynccontextmanager
    async def transaction(self, *, read: bool = False) -> AsyncIterator[Any]:
        """Give a connection in a transaction; with `read`, one that sees the rows as they stand."""
        with translated():
            async with self.acquired() as connection:
                ways = {"isolation": "repeatable_read", "readonly": True} if read else {}
                async with connection.transaction(**ways):
                    yield connection

    async def read(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do work that changes nothing, and once more where the connection was lost.

        Raises:
            BackendUnavailableError: the server is not there.
        """
        with translated():
            try:
                return await self._used(work)
            except BaseException as exc:
                if not lost(exc):
                    raise
            await self._forget()
            return await self._used(work)

    async def fetch(self, sql: str, *parameters: Any) -> list[Any]:
        """Ask for rows."""
        return await self.read(lambda connection: connection.fetch(sql, *parameters))

    async def close(self) -> None:
        """Close all connections, those of other loops without waiting for what they do."""
        self._closed = True
        for loop, home in self._homes.taken():
            if loop is asyncio.get_running_loop():
                await home.close()
            else:
                home.leave(loop)


async def _untouched(connection: Any) -> None:
    """Leave a connection as it is: no work here leaves anything behind, and the driver's reset costs a round trip."""


def _parts(count: int) -> tuple[int]:
    return (count,)


def _interval(micros: int) -> tuple[int, int, int]:
    return (0, 0, micros)


def _micros(parts: tuple[int, int, int]) -> int:
    months, days, micros = parts
    return (months * 30 + days) * 86_400_000_000 + micros  # as the server itself extracts an epoch
