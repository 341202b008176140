"""Reading from an index: searches, documents by id, and deep scans by a point in time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from dkvector.backends._dialect import KEEP, MOST, Dialect
from dkvector.backends._documents import Source
from dkvector.backends._engine_config import EngineConfig
from dkvector.backends._layout import Layout
from dkvector.backends._querydsl import ALL, Query
from dkvector.backends._wire import Wire, WireError, as_json, meant, reason_of
from dkvector.filters import Filter

TOGETHER = 64  # searches of one request
NAMES = 2_000  # documents of one request by id
PAGE_BYTES = 16 << 20  # of a page of a scan, more or less

WHOLE = {"allow_partial_search_results": "false"}  # a shard that is down is an error, never fewer hits


@dataclass(slots=True)  # a frozen one costs several times as much to make
class Hit:
    """A document that was found.

    Attributes:
        name: its `_id`.
        index: the index it is in.
        score: the engine's.
        source: what it holds, of what was asked for.
        highlight: field → fragments.
        length: of the vector, where the engine took it for 1.
    """

    name: str
    index: str
    score: float
    source: Source
    highlight: Mapping[str, Sequence[str]] = field(default_factory=dict)
    length: float = 1.0


@dataclass(frozen=True)
class Reader:
    """An index, its layout, and the client that reads it.

    Attributes:
        wire: the client.
        dialect: of the engine.
        config: of the store.
        index: the name to read by.
        layout: where the columns are.
    """

    wire: Wire
    dialect: Dialect
    config: EngineConfig
    index: str
    layout: Layout

    @property
    def path(self) -> str:
        """The index's own path."""
        return f"/{quote(self.index)}"

    def query(self, where: Filter | None) -> Query | None:
        """Compile a filter."""
        return None if where is None else self.layout.query(where)

    async def search(self, bodies: Sequence[Mapping[str, Any]]) -> list[list[Hit]]:
        """Answer searches: one alone, many in few requests."""
        if len(bodies) == 1:
            answer = await self.wire.ask(
                "POST", f"{self.path}/_search", bodies[0], params={**WHOLE, **self.config.params}
            )
            return [_hits(answer)]
        found: list[list[Hit]] = []
        for at in range(0, len(bodies), TOGETHER):
            found += await self._together(bodies[at : at + TOGETHER])
        return found

    async def _together(self, bodies: Sequence[Mapping[str, Any]]) -> list[list[Hit]]:
        head = as_json({"index": self.index, "allow_partial_search_results": False, **self.config.params})
        lines = b"".join(b"%b\n%b\n" % (head, as_json(body)) for body in bodies)
        answer = await self.wire.ask("POST", "/_msearch", lines)
        for one in answer["responses"]:
            if "error" in one:
                raise meant(WireError(one.get("status", 500), *reason_of(one)), self.wire.engine)
        return [_hits(one) for one in answer["responses"]]

    async def count(self, query: Query | None) -> int:
        """Count the rows that satisfy a query."""
        body = {"query": query or ALL, "size": 0, "track_total_hits": True}
        answer = await self.wire.ask("POST", f"{self.path}/_search", body, params={**WHOLE, **self.config.params})
        return int(answer["hits"]["total"]["value"])

    async def named(self, names: Sequence[str], paths: Sequence[str]) -> dict[str, Source]:
        """Give documents by name, as they are now; those that are not there are left out."""
        found: dict[str, Source] = {}
        source = {"includes": list(paths)} if paths else False
        for at in range(0, len(names), NAMES):
            part = [{"_id": name, "_source": source, **self.config.params} for name in names[at : at + NAMES]]
            answer = await self.wire.ask("POST", f"{self.path}/_mget", {"docs": part})
            if failed := next((one for one in answer["docs"] if "error" in one), None):
                raise meant(WireError(503, *reason_of(failed)), self.wire.engine)
            found |= {one["_id"]: one.get("_source", {}) for one in answer["docs"] if one.get("found")}
        return found

    async def pages(
        self, query: Query | None, paths: Sequence[str], size: int, *, vectors: bool = False
    ) -> AsyncIterator[list[Hit]]:
        """Give all rows that satisfy a query, page by page, as they stand now."""
        opened, closed, word = self.dialect.pit
        params = {"keep_alive": KEEP, **self.dialect.whole_pit, **self.config.params}
        point = (await self.wire.ask("POST", f"{self.path}{opened}", params=params))[word]
        body: dict[str, Any] = {
            "query": query or ALL,
            "size": min(size, self._page(vectors=vectors)),
            "sort": self.dialect.page_order(self.layout),
            "track_total_hits": False,
            "_source": self.dialect.source(paths, vectors=vectors),
        }
        try:
            while True:
                body["pit"] = {"id": point, "keep_alive": KEEP}
                answer = await self.wire.ask("POST", "/_search", body, params=WHOLE)
                found = answer["hits"]["hits"]
                if found:
                    yield _hits(answer)
                if len(found) < body["size"]:
                    return
                body["search_after"] = found[-1]["sort"]
        finally:
            done = {word: [point]} if word == "pit_id" else {word: point}
            await self.wire.ask("DELETE", closed, done, allow=(404,))

    def _page(self, *, vectors: bool) -> int:
        """Choose how many rows make a page, so that it stays small."""
        row = 500 + (sum(info.dimensions * 12 for info in self.layout.schema.vectors) if vectors else 0)
        return max(1, min(MOST, PAGE_BYTES // row))


def _hits(answer: Mapping[str, Any]) -> list[Hit]:
    return [
        Hit(
            one["_id"],
            one["_index"],
            one.get("_score") or 0.0,
            one.get("_source") or {},
            one.get("highlight") or {},
            _length(one),
        )
        for one in answer["hits"]["hits"]
    ]


def _length(hit: Mapping[str, Any]) -> float:
    """Find the length that was asked for, which few rows have."""
    found = hit.get("fields")
    return next(iter(found.values()))[0] if found else 1.0
