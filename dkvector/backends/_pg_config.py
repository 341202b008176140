"""How to reach a PostgreSQL server, and what a store there is like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, quote, urlsplit

from dkvector.counts import as_count
from dkvector.errors import SchemaError
from dkvector.indexes import HNSW, IVF, IndexSpec, as_spec, knobs_of
from dkvector.metrics import DistanceMetric

# SQLAlchemy's URLs name a driver, which the server's own know nothing of
_DRIVER = re.compile(r"^(postgres(?:ql)?)\+\w+:")
_QUALIFIED = re.compile(r"(\w+)\.(\w+)")
LONGEST = 63  # bytes of a name, unless the server was built otherwise; it cuts off the rest without a word


@dataclass(frozen=True)
class PoolConfig:
    """Connections kept open.

    Args:
        min_size: at least; idle ones go after some minutes.
        max_size: at most; a call with many queries uses them beside each other.
    """

    min_size: int = 0
    max_size: int = 10

    def __post_init__(self) -> None:
        as_count(self.max_size, "max_size of a pool", as_count(self.min_size, "min_size of a pool", 0) or 1)


@dataclass(frozen=True)
class VectorConfig:
    """What vectors of a new table are like.

    Args:
        dimension: of the vectors, checked at the first write.
        index_type: "flat", "hnsw", "ivf" or "ivfflat", "auto": built after the first write.
        lists: of an inverted file; "auto" by default.
        m: links of an HNSW node.
        ef_construction: candidates kept while an HNSW graph is built.
        metric: of the vectors; cosine by default.
        dtype: "float32" keeps them as `vector`, "float16" as `halfvec`.
    """

    dimension: int | None = None
    index_type: str | None = None
    lists: int | Literal["auto"] = "auto"
    m: int = HNSW.m
    ef_construction: int = HNSW.ef_construction
    metric: DistanceMetric | str | None = None
    dtype: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in {"float32", "float16"}:
            raise SchemaError(f"vectors are kept as float32 or float16, not as {self.dtype!r}")

    @property
    def spec(self) -> IndexSpec | None:
        """The index that is asked for; None where the config does not say."""
        spec = None if self.index_type is None else as_spec(self.index_type)
        if isinstance(spec, HNSW):
            return HNSW(m=self.m, ef_construction=self.ef_construction)
        return IVF(lists=self.lists) if isinstance(spec, IVF) else spec


@dataclass(frozen=True)
class PgConfig:
    """The config of a store.

    What is left out is taken from the driver's own places: PGHOST, PGUSER, PGPASSWORD, ~/.pgpass and so on.

    Args:
        table: the table, or a view: "name" or "schema.name".
        url: such as "postgresql://user@host:5432/database?sslmode=verify-full".
        host: in place of a URL: the server, or the folder of its socket.
        port: its port.
        database: the database.
        user: who connects.
        password: their password.
        sslmode: "disable", "allow", "prefer", "require", "verify-ca" or "verify-full".
        sslrootcert: file of the certificates that the server's is verified by; ~/.postgresql/root.crt by default.
        pool: see `PoolConfig`.
        vector: see `VectorConfig`.
        dimension: the same as `vector["dimension"]`.
        metric: the same as `vector["metric"]`.
        id: the column that identifies rows, where a table or view has no primary key.
        language: whose words a keyword search knows: a text search configuration of the server.
        filterable: columns that get an index for filters.
        keywords: text columns that get an index for keyword search.
        statement_timeout: seconds after which the server gives a statement up; no limit by default.
        statement_cache_size: prepared statements that each connection keeps; 0 behind a pooler that gives each
            transaction another session, such as PgBouncer, where a timeout is better set for the role.
        maintenance_work_mem: memory for building an index, such as "2GB"; what it needs, to 1 GB, by default.
    """

    table: str | None = None
    url: str | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    database: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sslmode: str | None = None
    sslrootcert: str | None = None
    pool: PoolConfig = PoolConfig()
    vector: VectorConfig = VectorConfig()
    dimension: int | None = None
    metric: DistanceMetric | str | None = None
    id: str | None = None
    language: str = "english"
    filterable: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    statement_timeout: float | None = None
    statement_cache_size: int | None = None
    maintenance_work_mem: str | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> PgConfig:
        """Read a config.

        Raises:
            SchemaError: an unknown key, no table, a name or a URL that the server can't have, or no such file.
        """
        values = dict(config)
        for name, kind in (("pool", PoolConfig), ("vector", VectorConfig)):
            if isinstance(values.get(name), Mapping):
                values[name] = knobs_of(kind, values[name])
        for name in ("filterable", "keywords"):
            columns = values.get(name, ())
            values[name] = (columns,) if isinstance(columns, str) else tuple(columns)
        made = knobs_of(cls, values)
        made.check()
        if made.sslrootcert is not None and not Path(made.sslrootcert).is_file():
            raise SchemaError(f"there is no file {made.sslrootcert!r}, which sslrootcert names")
        if not made.table or not isinstance(made.table, str):
            raise SchemaError("name the table that holds the rows: table='…'")
        if any(len(part.encode(errors="replace")) > LONGEST for part in made.relation if part is not None):
            # cut to its first 63 bytes it could be the table of another store
            raise SchemaError(f"PostgreSQL's names have at most {LONGEST} bytes: shorten table={made.table!r}")
        if not _is_readable(made.url or ""):
            raise SchemaError(
                "the URL can't be read: characters such as / ? # [ ] @ in a user's name or a password are written %2F, "
                "%3F and so on; or give user=, password=, host= and port= in place of the URL"
            )
        return made

    def check(self) -> None:
        """Refuse values that the driver has no words for.

        Raises:
            SchemaError: names the key.
        """
        for name, kind in (("pool", PoolConfig), ("vector", VectorConfig), ("url", str | None)):
            if not isinstance(getattr(self, name), kind):
                raise SchemaError(f"{name} of a config can't be {getattr(self, name)!r}")
        timeout = self.statement_timeout
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout < 0):
            raise SchemaError(f"statement_timeout is a number of seconds, not {timeout!r}")
        if self.statement_cache_size is not None:
            as_count(self.statement_cache_size, "statement_cache_size", 0)
        if isinstance(self.port, str) and not self.port.isdecimal():
            raise SchemaError(f"port must be a number, not {self.port!r}")

    @property
    def relation(self) -> tuple[str | None, str]:
        """The schema, where one is named, and the table: a dot divides plain names only."""
        found = _QUALIFIED.fullmatch(self.table or "")
        return (found[1], found[2]) if found else (None, self.table or "")

    @property
    def lock_name(self) -> str:
        """The name of the lock by which one at a time changes the table."""
        return ".".join(part or "" for part in self.relation)

    @property
    def promised_dimension(self) -> int | None:
        """The dimension that is promised."""
        return self.vector.dimension if self.dimension is None else self.dimension

    @property
    def promised_metric(self) -> DistanceMetric | None:
        """The metric that is promised."""
        metric = self.vector.metric if self.metric is None else self.metric
        return None if metric is None else DistanceMetric.of(metric)

    @property
    def connection(self) -> dict[str, Any]:
        """What the driver is told."""
        told = {"host": self.host, "port": self.port, "database": self.database, "user": self.user}
        told |= {"password": self.password, "ssl": self.sslmode, "statement_cache_size": self.statement_cache_size}
        told["dsn"] = self._dsn
        return {name: value for name, value in told.items() if value is not None}

    @property
    def _dsn(self) -> str | None:
        """The URL, and what the driver takes from there only."""
        url = None if self.url is None else _DRIVER.sub(r"\1:", self.url)
        if self.sslrootcert is None:
            return url
        url = url or "postgresql://"
        return f"{url}{'&' if '?' in url else '?'}sslrootcert={quote(self.sslrootcert, safe='/')}"


def _is_readable(url: str) -> bool:
    """Tell whether the driver can read a URL: its error shows what it could not, which may be part of a password."""
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
        hosts = parts.netloc.rpartition("@")[2] or ",".join(query.get("host", ()))
        ports = [_port(one) for one in hosts.split(",")] + ",".join(query.get("port", ())).split(",")
        return all(port.isdecimal() for port in ports if port)
    except ValueError:
        return False


def _port(host: str) -> str:
    return host.rpartition("]")[2].partition(":")[2]
