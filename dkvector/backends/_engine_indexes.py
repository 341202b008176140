"""The index behind a store: found, made, widened, and swapped for another in one step.

The store's name is an alias; what it names is an index called after it, with a number. A `replace` fills a new index
and then moves the alias, so that searches see the old rows or the new ones and never a mixture.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dkvector.backends._attached import attached
from dkvector.backends._dialect import Dialect
from dkvector.backends._layout import META, Layout
from dkvector.backends._wire import Wire, WireError, meant
from dkvector.errors import SchemaError

PAUSE = 0.05  # seconds between two looks at an index that another process makes,
READY = 200  # and how many
TRIES = 5  # to describe an index, where another writer describes it at the same moment


@dataclass(frozen=True)
class Held:
    """An index that is there.

    Attributes:
        concrete: its own name, which the alias stands for.
        layout: where its columns are.
        settings: of the index.
        named: the store's name is an alias for it, made by dkvector.
    """

    concrete: str
    layout: Layout
    settings: Mapping[str, Any]
    named: bool = False


@dataclass(frozen=True)
class Indexes:
    """The indexes of one store.

    Attributes:
        wire: the client.
        dialect: of the engine.
        name: of the store.
        settings: of new indexes.
        analyzer: of text columns of new indexes; None leaves it to the engine.
    """

    wire: Wire
    dialect: Dialect
    name: str
    settings: Mapping[str, Any]
    analyzer: str | None = None

    async def find(self) -> Held | None:
        """Find the index that the store's name stands for; None where there is none.

        Raises:
            SchemaError: the name stands for several indexes, or for one without vectors.
        """
        found = await self.wire.ask("GET", f"/{quote(self.name)}", allow=(404,))
        if not found:
            return None
        if len(found) > 1:
            raise SchemaError(f"{self.name!r} stands for several indexes: {', '.join(sorted(found))}; name one of them")
        ((concrete, told),) = found.items()
        mappings = told.get("mappings") or {}
        ours = (mappings.get("_meta") or {}).get(META)
        layout = attached(self.name, mappings, self.dialect) if ours is None else Layout.from_meta(ours)
        settings = (told.get("settings") or {}).get("index") or {}
        return Held(concrete, layout, settings, layout.ours and concrete != self.name)

    async def make(self, layout: Layout, *, first: bool) -> str | None:
        """Make an index.

        Args:
            layout: where its columns go.
            first: there is none yet, so that the alias comes with it; another process may be as quick.

        Returns:
            Its name; None where another was quicker.
        """
        # the first has one name for all: of two processes that make it, the engine refuses one
        concrete = f"{self.name}-000001" if first else f"{self.name}-{uuid.uuid4().hex[:12]}"
        body: dict[str, Any] = {
            "settings": {**self.settings, **self.dialect.settings(layout)},
            # strict: a field that nobody has mapped would get the type of its first value
            "mappings": {"dynamic": "strict", "_meta": layout.to_meta(), "properties": self._properties(layout)},
        }
        if first:
            body["aliases"] = {self.name: {}}
        try:
            await self.wire.send("PUT", f"/{quote(concrete)}", body)
        except WireError as exc:
            if exc.kind == "resource_already_exists_exception":
                return None
            raise meant(exc, self.wire.engine) from exc.__cause__
        return concrete

    def _properties(self, layout: Layout) -> dict[str, Any]:
        made = layout.mapping(self.dialect.vector)
        return nested({path: self._analysed(mapping) for path, mapping in made.items()})

    def _analysed(self, mapping: dict[str, Any]) -> dict[str, Any]:
        wanted = self.analyzer is not None and mapping.get("type") == "text"
        return {**mapping, "analyzer": self.analyzer} if wanted else mapping

    async def widen(self, held: Held, layout: Layout) -> Layout:
        """Add the columns and what else a layout has gained; nothing where it is the same.

        Returns:
            What is there then. The engine keeps the last of two who describe an index, and tells neither: what another
            has added is looked for before, and whether it is kept afterwards.
        """
        if not layout.ours:
            await self._put(held, layout)
            return layout
        if layout.to_meta() == held.layout.to_meta():
            return layout
        for _ in range(TRIES):
            now = await self.find()
            if now is None or now.concrete != held.concrete:
                break  # the write will tell
            layout = now.layout.joined(layout)
            if layout.to_meta() == now.layout.to_meta():
                break
            await self._put(now, layout)
        return layout

    async def _put(self, held: Held, layout: Layout) -> None:
        before, after = held.layout, layout
        new = [name for name in after.paths if name not in before.paths]
        new += [name for name in before.schema.payload.names if after.type(name).mapping != before.type(name).mapping]
        body: dict[str, Any] = {"properties": nested(layout.mapping(self.dialect.vector, new))}
        body["properties"] = {path: self._analysed(one) for path, one in body["properties"].items()}
        if after.ours:
            body["_meta"] = after.to_meta()
        if new or after.ours:
            await self.wire.ask("PUT", f"/{quote(held.concrete)}/_mapping", body)

    async def ready(self) -> None:
        """Wait until an index that another process makes can be read."""
        for _ in range(READY):
            # an index is listed before its shards can answer
            health = await self.wire.ask("GET", f"/_cluster/health/{quote(self.name)}", allow=(404,)) or {}
            held = await self.find()
            shards = 0 if held is None else int(held.settings.get("number_of_shards", 1))
            if held is None or health.get("active_primary_shards", 0) >= shards:
                return
            await asyncio.sleep(PAUSE)

    async def swap(self, new: str, old: str | None) -> None:
        """Let the store's name stand for another index, and remove the one before, in one step."""
        actions: list[dict[str, Any]] = [{"add": {"index": new, "alias": self.name}}]
        if old is not None:
            actions.append({"remove_index": {"index": old}})
        await self.wire.ask("POST", "/_aliases", {"actions": actions})

    async def discard(self, concrete: str) -> None:
        """Remove a copy, unless it has come into place after all: the answer to a swap can be lost."""
        held = await self.find()
        if held is None or held.concrete != concrete:
            await self.remove(concrete)

    async def remove(self, concrete: str) -> None:
        """Remove an index, if it is there."""
        await self.wire.ask("DELETE", f"/{quote(concrete)}", allow=(404,))

    async def refresh(self, concrete: str) -> None:
        """Show what was written to every search that starts now."""
        await self.wire.ask("POST", f"/{quote(concrete)}/_refresh")

    async def set(self, concrete: str, settings: Mapping[str, Any]) -> None:
        """Change settings of an index; None stands for the engine's default."""
        await self.wire.ask("PUT", f"/{quote(concrete)}/_settings", {"index": settings})


def nested(properties: dict[str, Any]) -> dict[str, Any]:
    """Give paths with dots as the objects that an engine maps."""
    made: dict[str, Any] = {}
    for path, mapping in properties.items():
        *above, last = path.split(".")
        at = made
        for part in above:
            at = at.setdefault(part, {"properties": {}})["properties"]
        at[last] = mapping
    return made
