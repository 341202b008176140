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
from dkvector.store import AsyncVectorStore

GROUP = "dkvector.backends"
Target = str | PathLike[str] | Mapping[str, Any]


@dataclass(frozen=True)
class Backend:
    """Where a backend is found.

    Args:
        target: "module:Class".
        package: what it needs installed; None for nothing.
        extra: the pip extra that brings it.
    """

    target: str
    package: str | None = None
    extra: str = ""

    def load(self) -> type[AsyncVectorStore]:
        """Import the store's class.

        Raises:
            MissingExtraError: its package is not installed; names the extra.
        """
        module, _, name = self.target.partition(":")
        try:
            loaded: type[AsyncVectorStore] = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as exc:
            if self.package is None or exc.name is None or exc.name.startswith("dkvector"):
                raise
            raise MissingExtraError.of(self.package, self.extra) from exc
        return loaded


BACKENDS = {
    "exact": Backend("dkvector.backends.exact:ExactStore"),
    "faiss": Backend("dkvector.backends.faiss:FaissStore", "faiss-cpu", "faiss"),
}


@cache
def backends() -> dict[str, Backend]:
    """Give every known backend by name, those of third parties included; ours can't be taken over."""
    return {point.name: Backend(point.value) for point in entry_points(group=GROUP)} | BACKENDS


def backend(name: str) -> type[AsyncVectorStore]:
    """Import a backend's class by name.

    Raises:
        UnsupportedError: no such backend; names the nearest.
        MissingExtraError: its package is not installed.
    """
    known = backends()
    if name not in known:
        raise UnsupportedError(f"no backend {name!r}; {hint(name, known)}")
    return known[name].load()


def read_target(target: Target, path: str | PathLike[str] | None = None) -> tuple[str, dict[str, Any]]:
    """Read where a store is from a backend's name, a URL, a folder or a config dict.

    Args:
        target: "faiss", "faiss:///folder", a `Path`, or a dict with the key "backend".
        path: the folder of an embedded store.

    Returns:
        The backend's name and the config for its `open`.

    Example:
        >>> read_target("faiss:./words")
        ('faiss', {'index_path': './words'})
    """
    if isinstance(target, Mapping):
        config = dict(target)
        name = config.pop("backend", None)
        if name is None:
            raise SchemaError(f"the config names no 'backend'; {hint('', backends())}")
    elif isinstance(target, PathLike) or (isinstance(target, str) and "/" in target and ":" not in target):
        name, config = "faiss", {"index_path": fspath(target)}
    elif isinstance(target, str):
        name, config = _read_url(target)
    else:
        raise SchemaError(f"a store is named by a text, a path or a dict, not by {type(target).__name__}")
    return name, config | ({} if path is None else {"index_path": fspath(path)})


def _read_url(url: str) -> tuple[str, dict[str, Any]]:
    parts = urlsplit(url)
    if not parts.scheme:
        return url, {}
    if parts.scheme == "faiss":
        return "faiss", {"index_path": unquote(parts.netloc + parts.path)}
    return parts.scheme, {"url": url}


def connect(target: Target, *, path: str | PathLike[str] | None = None, encoder: Any = None) -> VectorStore:
    """Open a store, the blocking way.

    Args:
        target: a backend's name, a URL such as ``"faiss:///data/words"``, the folder of a store, or a config dict
            such as ``{"backend": "faiss", "dimension": 384, "index_path": "./words"}``.
        path: the folder of an embedded store.
        encoder: embeds the texts of ``search(text=…)``: a callable `list[str] → (n, d)`, or an object with
            `.encode(list[str])` such as a SentenceTransformer.

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
    name, config = read_target(target, path)
    cls = backend(name)
    embeds = None if encoder is None else as_encoder(encoder)
    store = VectorStore(lambda: cls.open(config), inline=cls.inline)
    try:
        store.encoder = embeds
    except SchemaError:
        store.close()
        raise
    return store


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
        return await backend(backend_name).open({key: value for key, value in config.items() if key != "backend"})
