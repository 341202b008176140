"""Vector fields of an index that has rows: mapped, filled by updates, described in `_meta`, and left out of a copy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from dkvector.backends._documents import Encoder, at_path
from dkvector.backends._engine_indexes import Held, nested
from dkvector.backends._engine_reader import Reader
from dkvector.backends._engine_writer import Writer
from dkvector.backends._layout import UPDATED, Layout, ids_of, path_of
from dkvector.backends._querydsl import Query, all_of
from dkvector.columns import to_index
from dkvector.errors import PartialWriteError, SchemaError, UnsupportedError
from dkvector.filling import Backfill, Page, joined
from dkvector.indexes import IndexSpec
from dkvector.metrics import DistanceMetric, Floats
from dkvector.migration import Infos
from dkvector.schema import VectorInfo
from dkvector.versions import check_whole

CONFLICT = "version conflict"  # why an update is refused whose row was written meanwhile


@dataclass(frozen=True)
class Fields:
    """The vector fields of one index.

    Attributes:
        writer: writes to it.
        reader: reads from it.
        held: the index.
    """

    writer: Writer
    reader: Reader
    held: Held

    @property
    def layout(self) -> Layout:
        """Where its columns are."""
        return self.held.layout

    def check_ours(self) -> None:
        """Refuse to change a mapping that others made.

        Raises:
            UnsupportedError: says how to have one of ours.
        """
        if not self.layout.ours:
            raise UnsupportedError(
                f"the index {self.writer.places.name!r} was not made by dkvector, which leaves its mapping alone; "
                'write its rows with mode="replace" to have one that is'
            )

    async def add(self, info: VectorInfo) -> None:
        """Map a field, with the index that the one before it has."""
        self.check_ours()
        if info.dtype != "float32":
            raise SchemaError(f"search engines keep vectors as float32, not as {info.dtype!r}")
        layout = added(self.layout, info, self.writer.dialect.measure(info.metric))
        properties = {layout.paths[info.name]: self.writer.dialect.vector(info, layout)}
        if info.metric is DistanceMetric.COSINE:
            properties[layout.length_of(info.name)] = {"type": "double", "index": False}
        await self._map({"properties": nested(properties), "_meta": layout.to_meta()})

    async def _map(self, body: Mapping[str, Any]) -> None:
        await self.writer.wire.ask("PUT", f"/{quote(self.held.concrete)}/_mapping", body)

    async def describe(self, change: Callable[[Infos], Infos], whole: str | None) -> bool:
        """Change what is known of the fields; tells whether it is what is known then.

        The engine has no transaction: a row that comes in between the look and the change may lack its vector.
        """
        self.check_ours()
        if whole is not None:
            check_whole(whole, await self.lacking(whole))
        infos = change(self.layout.schema.vectors)
        layout = replace(self.layout, schema=replace(self.layout.schema, vectors=infos))
        await self._map({"_meta": layout.to_meta()})
        # the last of two writers of `_meta` wins, and neither is told: whether it was this one shows now
        now = await self.writer.places.find()
        return now is not None and now.layout.schema.vectors == infos

    async def lacking(self, name: str) -> int:
        """Count the rows that lack a vector."""
        return await self.reader.count(self._lacks(name))

    def _lacks(self, name: str) -> Query:
        return {"bool": {"must_not": [{"exists": {"field": self.layout.paths[name]}}]}}

    async def pages(self, request: Backfill) -> AsyncIterator[Page]:
        """Give the rows that lack their vector and have a text, as they stood when this began."""
        query = self._lacks(request.info.name)
        if request.where is not None:
            query = all_of([query, self.layout.query(request.where)])
        paths = [self.layout.paths[name] for name in request.text]
        async for hits in self.reader.pages(query, paths, request.batch_size):
            names = [hit.name for hit in hits]
            ids = to_index(ids_of(names, self.layout.schema.id.type), self.layout.schema.id)
            texts = self._texts([hit.source for hit in hits], request)
            page = Page.of(ids, texts)
            if len(page):
                has_text = [at for at, row in enumerate(zip(*texts, strict=True)) if any(row)]
                yield replace(page, token=[names[at] for at in has_text])

    def _texts(self, sources: Sequence[Mapping[str, Any]], request: Backfill) -> list[list[str | None]]:
        return [[at_path(source, self.layout.paths[name]) for source in sources] for name in request.text]

    async def fill(self, request: Backfill, page: Page, made: Floats) -> int:
        """Give rows their vectors, but for those that were written between the look and the update."""
        there = await self._still(request, page)
        encoder = Encoder(self.layout, "update", self.writer.dialect.packed, self.writer.dialect.units, _now(), {})
        parts = encoder.vectors(request.info.name, made[there["at"]])
        lines = [_update(target, part, encoder.now) for target, part in zip(there["targets"], parts, strict=True)]
        tally = await self.writer.updated(self.held, lines)
        # a row that was written meanwhile keeps what it has, and comes again with its new text
        failed = {page.token[there["at"][row]]: why for row, why in tally.failed.items() if CONFLICT not in why}
        if failed:
            raise PartialWriteError(failed, tally.replaced) from tally.lost
        return tally.replaced

    async def _still(self, request: Backfill, page: Page) -> dict[str, list[Any]]:
        """Find the rows of a page that have the same text and no vector, and which write made them so."""
        paths = [self.layout.paths[name] for name in (*request.text, request.info.name)]
        docs = [{"_id": name, "_source": paths, **self.reader.config.params} for name in page.token]
        # by name, which sees rows that no search sees before the next refresh
        answer = await self.writer.wire.ask("POST", f"{self.reader.path}/_mget", {"docs": docs})
        at, targets = [], []
        for row, one in enumerate(answer["docs"]):
            source = one.get("_source") or {}
            same = one.get("found") and joined(self._texts([source], request)) == [page.texts[row]]
            if same and at_path(source, paths[-1]) is None:
                at.append(row)
                version = {"if_seq_no": one["_seq_no"], "if_primary_term": one["_primary_term"]}
                targets.append({"_id": one["_id"], **version})
        return {"at": at, "targets": targets}

    async def drop(self, names: Sequence[str]) -> Held:
        """Copy the rows to an index without some fields, and put it in place of this one."""
        self.check_ours()
        paths = [self.layout.paths[name] for name in names]
        layout = dropped(self.layout, names)
        return await self.writer.rebuild(self.held, layout, self.reader, progress=False, without=paths)


def added(layout: Layout, info: VectorInfo, native: str) -> Layout:
    """Lay out one vector field more, indexed as the one of its family that serves, or as the first."""
    schema = layout.schema
    kin = [one for one in schema.serving if one.family == info.family] or list(schema.serving)
    spec: IndexSpec = layout.specs[kin[0].name]
    return replace(
        layout,
        schema=replace(schema, vectors=(*schema.vectors, info)),
        paths={**layout.paths, info.name: path_of(info.name)},
        specs={**layout.specs, info.name: spec},
        natives={**layout.natives, info.name: native},
    )


def dropped(layout: Layout, names: Sequence[str]) -> Layout:
    """Lay out the same without some vector fields."""

    def kept(known: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in known.items() if name not in names}

    vectors = tuple(one for one in layout.schema.vectors if one.name not in names)
    schema = replace(layout.schema, vectors=vectors)
    paths, specs, natives = kept(layout.paths), kept(layout.specs), kept(layout.natives)
    return replace(layout, schema=schema, paths=paths, specs=specs, natives=natives)


def _update(target: Mapping[str, Any], part: Mapping[str, Any], now: str) -> bytes:
    """Write the lines of a bulk request that add to a document."""
    document = orjson.dumps({"doc": {**part, UPDATED: now}}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b'{"update":%b}\n%b\n' % (orjson.dumps(target), document)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
