"""What the stores of both search engines say to their official client, and its errors as ours, by one table."""

from __future__ import annotations

import asyncio
import base64
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import orjson

from dkvector.backends._homes import Homes
from dkvector.errors import AccessDeniedError, BackendUnavailableError, DkvectorError, NotFoundError, SchemaError

BUSY = 429
TOO_LARGE = 413
LARGE = 1 << 20  # bytes of a request

JSON = "application/json"
LINES = "application/x-ndjson"
CLOSED = "this {} store was closed while it was asked; open it again"


class WireError(DkvectorError):
    """An answer that tells of an error, before it is known what it means for the caller.

    Attributes:
        status: HTTP's.
        kind: the engine's word for it.
    """

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason or f"status {status}")
        self.status = status
        self.kind = kind


_BY_STATUS: dict[int, tuple[type[DkvectorError], str]] = {
    400: (SchemaError, "it refused the request"),
    401: (AccessDeniedError, "it refused the credentials"),
    403: (AccessDeniedError, "the credentials don't allow this"),
    404: (NotFoundError, "it is not there"),
    408: (BackendUnavailableError, "it took too long"),
    409: (SchemaError, "another write was first"),
    TOO_LARGE: (SchemaError, "the request is too large for it"),
    BUSY: (BackendUnavailableError, "it is too busy"),
}


def meant(error: WireError, engine: str) -> DkvectorError:
    """Tell what an error of the engine means: one row of the table, 5xx is an engine that can't be used."""
    kind, words = _BY_STATUS.get(error.status, (BackendUnavailableError, "it can't answer"))
    return kind(f"{engine}: {words}: {error}")


def reason_of(body: Any) -> tuple[str, str]:
    """Find the engine's word and reason in the body of an error; the innermost cause tells most."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return "", str(error if error is not None else body or "")[:500]
    deepest = error
    for failed in error.get("failed_shards") or ():
        deepest = failed.get("reason") or deepest
    while isinstance(deepest.get("caused_by"), Mapping):
        deepest = deepest["caused_by"]
    return str(error.get("type", "")), str(deepest.get("reason") or error.get("reason") or error.get("type"))[:500]


def basic(user: str, password: str) -> str:
    """Encode credentials in UTF-8; of the clients one takes ASCII only, and the other writes Latin-1."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


class Body(BytesIO):
    """A large request, which the clients' logs take for text."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Give the text."""
        return self.getvalue().decode(encoding, errors)


def streamed(body: Any, *, compressed: bool) -> Any:
    """Give a body as aiohttp likes it, which warns of large ones in plain bytes."""
    return Body(body) if isinstance(body, bytes) and len(body) > LARGE and not compressed else body


def as_json(body: Any) -> bytes:
    """Write a body as JSON by orjson, which takes NumPy's arrays as they are.

    Raises:
        SchemaError: what JSON has no words for, such as a filter in too many brackets.
    """
    try:
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as exc:
        raise SchemaError(f"the request can't be written as JSON: {exc}") from exc


class Wire(ABC):
    """A client that is connected to a server.

    Attributes:
        engine: its name.
        hosts: where it is, without credentials.
    """

    engine: str
    hosts: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._clients: Homes[Any] = Homes(self.made)
        self.closed = False

    @abstractmethod
    def made(self) -> Any:
        """Make a client, which connects when it first sends something."""

    async def client(self) -> Any:
        """Give the client of this loop and process: connections belong to one of each.

        Raises:
            BackendUnavailableError: the store was closed; a client would connect anew, for nobody to close.
        """
        if self.closed:
            raise BackendUnavailableError(CLOSED.format(self.engine))
        found = self._clients.mine()
        for _, one in self._clients.left():
            # its loop is over: it has nothing to wait for, and lets go
            await one.close()
        return found

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        allow: Collection[int] = (),
    ) -> Any:
        """Send a request.

        Args:
            method: HTTP's.
            path: below the server's root, escaped.
            body: an object, or what is encoded already: NDJSON.
            params: of the query string.
            allow: statuses whose answer is wanted although they are errors; 404 gives None.

        Returns:
            The answer.

        Raises:
            DkvectorError: what the error means, from the client's own.
        """
        try:
            return await self.send(method, path, body, params=params)
        except WireError as exc:
            if exc.status in allow:
                return None
            raise meant(exc, self.engine) from exc.__cause__

    @abstractmethod
    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        patience: float | None = None,
    ) -> Any:
        """Send a request by the client.

        Args:
            method: and all else as `ask` takes it.
            path: likewise.
            body: likewise.
            params: likewise.
            patience: seconds to wait for the answer; the config's `timeout` by default.

        Raises:
            WireError: an answer that tells of an error.
            BackendUnavailableError: no answer.
        """

    async def close(self) -> None:
        """Let go of the connections, those of other loops on their own loop."""
        self.closed = True
        for loop, client in self._clients.taken():
            if loop is asyncio.get_running_loop() or loop.is_closed():
                await client.close()
            else:
                asyncio.run_coroutine_threadsafe(client.close(), loop)


@dataclass(frozen=True)
class Server:
    """What a server says of itself.

    Attributes:
        version: such as (9, 5, 3); empty where it doesn't tell.
        parts: names of its modules and plugins.
    """

    version: tuple[int, ...] = ()
    parts: frozenset[str] = frozenset()


async def greeted(wire: Wire) -> Server:
    """Ask a server what it is: by its nodes, for a reduced server has nothing at its root; by the root where it must.

    Raises:
        BackendUnavailableError: it can't be reached.
        AccessDeniedError: it refuses the credentials.
    """
    chosen = {"filter_path": "nodes.*.version,nodes.*.modules.name,nodes.*.plugins.name"}
    told = await wire.ask("GET", "/_nodes/plugins", params=chosen, allow=(400, 403, 404, 405, 410))
    nodes = list(((told or {}).get("nodes") or {}).values())
    if nodes:
        parts = {part["name"] for node in nodes for part in [*node.get("modules", ()), *node.get("plugins", ())]}
        return Server(min(_numbers(node["version"]) for node in nodes), frozenset(parts))
    root = await wire.ask("GET", "/", allow=(400, 403, 404, 405, 410)) or {}
    version = root.get("version") or {}
    return Server(_numbers(version.get("number", "")), frozenset())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit())
