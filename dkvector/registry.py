"""Backends by name, and the doors to them: `connect`, and the factory for record-based code.

Third parties add a backend by an entry point of the group ``dkvector.backends``: ``name = "module:Class"``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from os import PathLike, fspath
from typing import Any
from urllib.parse import unquote, urlsplit

from dkvector.blocking import VectorStore
from dkvector.encoders import as_encoder
from dkvector.errors import MissingExtraError, SchemaError, UnsupportedError, hint
from dkvector.indexes import Tuning
from dkvector.store import AsyncVectorStore
from dkvector.views import Audited, Cached, Limited, RateLimit
from dkvector.views.audited import Hook

GROUP = "dkvector.backends"
Target = str | PathLike[str] | Mapping[str, Any]


@dataclass(frozen=True)
class Backend:
    """Where a backend is found.

    Args:
        target: "module:Class".
        package: what it needs installed; None for nothing.
        extra: the pip extra that brings it.
        table: the key of its config that names a table or an index; None where the folder is all.
    """

    target: str
    package: str | None = None
    extra: str = ""
    table: str | None = "table"

    def load(self) -> type[AsyncVectorStore]:
        """Import the store's class.

        Raises:
            MissingExtraError: its package is not installed; names the extra.
        """
        module, _, name = self.target.partition(":")
        try:
            loaded: type[AsyncVectorStore] = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as exc:
            # a module of ours that is missing is a bug, which no extra brings
            if self.package is None or exc.name is None or exc.name.startswith("dkvector"):
                raise
            raise MissingExtraError.of(self.package, self.extra) from exc
        return loaded


BACKENDS = {
    "exact": Backend("dkvector.backends.exact:ExactStore", table=None),
    "faiss": Backend("dkvector.backends.faiss:FaissStore", "faiss-cpu", "faiss", table=None),
    "pgvector": Backend("dkvector.backends.pgvector:PgVectorStore", "asyncpg", "pgvector"),
    "elasticsearch": Backend(
        "dkvector.backends.elasticsearch:ElasticsearchStore", "elasticsearch and aiohttp", "elasticsearch", "index"
    ),
    "opensearch": Backend(
        "dkvector.backends.opensearch:OpenSearchStore", "opensearch-py and aiohttp", "opensearch", "index"
    ),
}
ALIASES = {  # names that code and URLs know them by
    "postgres": "pgvector",
    "postgresql": "pgvector",
    "postgres_vector": "pgvector",
    "elasticsearch_vector": "elasticsearch",
    "es_vector": "elasticsearch",
    "opensearch_vector": "opensearch",
}


@cache
def backends() -> dict[str, Backend]:
    """Give every known backend by name, those of third parties included; ours can't be taken over."""
    return {point.name: Backend(point.value) for point in entry_points(group=GROUP)} | BACKENDS


def backend(name: str) -> type[AsyncVectorStore]:
    """Import a backend's class by its name or an alias.

    Raises:
        UnsupportedError: no such backend; names the nearest.
        MissingExtraError: its package is not installed.
    """
    return _known(name).load()


def _known(name: str) -> Backend:
    known = backends()
    found = known.get(ALIASES.get(name, name))
    if found is None:
        raise UnsupportedError(f"no backend {name!r}; {hint(name, known)}")
    return found


def read_target(
    target: Target, path: str | PathLike[str] | None = None, table: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Read where a store is from a backend's name, a URL, a folder or a config dict.

    Args:
        target: "faiss", "faiss:///folder", a server's URL, a `Path`, or a dict with the key "backend".
        path: the folder of an embedded store.
        table: the table of a database, or the index of a search engine.

    Returns:
        The backend's name and the config for its `open`.

    Example:
        >>> read_target("faiss:./words")
        ('faiss', {'index_path': './words'})

    Raises:
        SchemaError: a target that names no store, or a table where the backend has none.
    """
    if isinstance(target, Mapping):
        config = dict(target)
        name = config.pop("backend", None)
        if name is None:
            raise SchemaError(f"the config names no 'backend'; {hint('', backends())}")
    # a text with a slash is a folder; with a colon too it is a URL
    elif isinstance(target, PathLike) or (isinstance(target, str) and "/" in target and ":" not in target):
        name, config = "faiss", {"index_path": fspath(target)}
    elif isinstance(target, str):
        name, config = _read_url(target)
    else:
        raise SchemaError(f"a store is named by a text, a path or a dict, not by {type(target).__name__}")
    name = ALIASES.get(name, name)
    config |= {} if path is None else {"index_path": fspath(path)}
    return name, config | ({} if table is None else _table(name, table))


def _table(name: str, table: str) -> dict[str, Any]:
    key = _known(name).table
    if key is None:
        raise SchemaError(f"{name} keeps its rows in no table: leave table={table!r} out")
    return {key: table}


def _tuning(config: dict[str, Any]) -> Tuning | None:
    """Take what every search of the store shall use out of a config."""
    knobs = config.pop("tuning", None)
    return None if knobs is None else Tuning.of(knobs)


def _read_url(url: str) -> tuple[str, dict[str, Any]]:
    try:
        parts = urlsplit(url)
    except ValueError:
        # without the cause: what it shows may be part of a password
        raise SchemaError("the URL can't be read: brackets in a login are written %5B and %5D") from None
    if not parts.scheme:
        return url, {}
    if parts.scheme == "faiss":
        return "faiss", {"index_path": unquote(parts.netloc + parts.path)}
    # what follows names a driver or a transport
    return parts.scheme.partition("+")[0], {"url": url}


def connect(
    target: Target,
    *,
    path: str | PathLike[str] | None = None,
    table: str | None = None,
    encoder: Any = None,
    limit: RateLimit | None = None,
    cache: int | str | None = None,
    audit: Hook | None = None,
) -> VectorStore:
    """Open a store, the blocking way.

    Args:
        target: a backend's name, a URL such as ``"faiss:///data/words"`` or ``"postgresql://host/database"``, the
            folder of a store, or a config dict such as
            ``{"backend": "faiss", "dimension": 384, "index_path": "./words"}``; its key "tuning" holds the knobs of
            searches that bring none.
        path: the folder of an embedded store.
        table: the table of a database, or the index of a search engine.
        encoder: embeds the texts of ``search(text=…)``: a callable `list[str] → (n, d)`, or an object with
            `.encode(list[str])` such as a SentenceTransformer.
        limit: how often the store may be asked, for the sake of others: see `RateLimit`.
        cache: bytes of answers to keep, or a text such as "64MB": see `Cached`.
        audit: called with an `Event` for every question to the store, those answered from the cache included.

    Returns:
        The store, which is empty where there was none.

    Raises:
        UnsupportedError: no such backend.
        MissingExtraError: its package is not installed.
        SchemaError: a config that does not fit the backend, or a config or an encoder that does not fit what is stored.

    Example:
        >>> connect("exact")
        <ExactStore: empty>
    """
    name, config = read_target(target, path, table)
    cls = backend(name)
    embeds = None if encoder is None else as_encoder(encoder)
    tuning = _tuning(config)
    # a limit waits, for which a coroutine that is stepped inline has no loop
    store = VectorStore(lambda: _opened(cls, config, limit, cache, audit), inline=cls.inline and limit is None)
    store.tuning = tuning
    try:
        store.encoder = embeds
    except BaseException:
        store.close()
        raise
    return store


async def _opened(
    cls: type[AsyncVectorStore],
    config: Mapping[str, Any],
    limit: RateLimit | None,
    cache: int | str | None,
    audit: Hook | None,
) -> AsyncVectorStore:
    """Open a store, and see it through what was asked for; one that can't be seen so is closed."""
    store = await cls.open(config)
    try:
        store = store if limit is None else Limited(store, limit)
        store = store if cache is None else Cached(store, cache)
        return store if audit is None else Audited(store, audit)
    except BaseException:
        await store.aclose()
        raise


class VectorStoreFactory:
    """Stores from a backend's name and a config, for code that awaits."""

    @classmethod
    async def create(cls, backend_name: str, config: Mapping[str, Any]) -> AsyncVectorStore:
        """Open a store.

        Args:
            backend_name: the backend.
            config: its config; a key "backend" is allowed.

        Returns:
            The store.
        """
        settings = {key: value for key, value in config.items() if key != "backend"}
        tuning = _tuning(settings)
        store = await backend(backend_name).open(settings)
        store.tuning = tuning
        return store
