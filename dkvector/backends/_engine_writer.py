"""Writing to an index: new rows, rows in place of others, all rows at once, and the same rows under another mapping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson
import pyarrow as pa
from tqdm.auto import tqdm

from dkvector.backends._bulk import Bulk, Tally
from dkvector.backends._dialect import Dialect
from dkvector.backends._documents import Encoder, Piece, categories_after, texts_of
from dkvector.backends._engine_config import EngineConfig
from dkvector.backends._engine_indexes import Held, Indexes
from dkvector.backends._engine_reader import Hit, Reader
from dkvector.backends._field_types import check_fits
from dkvector.backends._layout import CREATED, LENGTHS, MOST_CATEGORIES, Layout, limits_after
from dkvector.backends._wire import Wire
from dkvector.errors import (
    BackendUnavailableError,
    DkvectorError,
    DuplicateIdError,
    NotFoundError,
    PartialWriteError,
    some,
)
from dkvector.indexes import IndexSpec
from dkvector.ingest import Batch
from dkvector.requests import Written

WAIT = 30  # seconds that the engine waits for a shard to be there
NEVER = "-1"  # refreshes
BIG = 20_000  # rows from which the engine leaves off refreshing while they are written
COPIED = 2_000  # rows of a page that goes from one index to another
_TOLD = {"filter_path": "errors,items.*.status,items.*.error"}


@dataclass(frozen=True)
class Stored:
    """What a write has made.

    Attributes:
        held: the index as it is now.
        written: what happened to the rows.
    """

    held: Held
    written: Written


@dataclass(frozen=True)
class Writer:
    """Writes to the indexes of one store.

    Attributes:
        wire: the client.
        dialect: of the engine.
        config: of the store.
        places: the indexes.
        patient: what is written need not be seen before `shown`.
    """

    wire: Wire
    dialect: Dialect
    config: EngineConfig
    places: Indexes
    patient: bool = False

    def checked(self, batch: Batch) -> list[str]:
        """Name the documents of a batch, and refuse what the engine can't hold, before anything is written."""
        for name in batch.payload.column_names:
            start = 0
            for chunk in batch.payload.column(name).chunks:
                check_fits(name, chunk, batch.labels[start : start + len(chunk)])
                start += len(chunk)
        return texts_of(batch)

    async def fill(
        self, batch: Batch, texts: Sequence[str], spec: IndexSpec, before: Held | None, *, progress: bool
    ) -> Stored | None:
        """Write rows to an index of their own; where there was one, the new one takes its place at the end.

        Returns:
            None where another process made the first index meanwhile.
        """
        vectors = batch.schema.vectors
        specs = {info.name: spec for info in vectors}
        measures = {info.name: self.dialect.measure(info.metric) for info in vectors}
        layout = _after(Layout.of(batch.schema, specs, measures), batch.payload)
        concrete = await self.places.make(layout, first=before is None)
        if concrete is None:
            return None
        held = Held(concrete, layout, {}, named=before is None)
        try:
            tally = await self._write(held, batch, texts, {}, "index", progress=progress)
            if before is not None:
                # an index that lacks rows never takes the other's place
                self._raise(tally, batch, stored=False)
                await self.places.swap(concrete, before.concrete)
        except BaseException as exc:
            if before is not None:  # what was there stands, and nothing else is left
                await self._let_go(concrete, exc)
            raise
        self._raise(tally, batch)
        made = replace(held, named=True)
        return Stored(made, Written(tally.created + tally.replaced, 0, batch.dropped, batch.labels))

    async def add(self, batch: Batch, texts: Sequence[str], held: Held, *, insert: bool, progress: bool) -> Stored:
        """Write rows to the index that is there."""
        reader = Reader(self.wire, self.dialect, self.config, held.concrete, held.layout)
        known = await reader.named(texts, [CREATED])
        if insert and known:
            taken = [label for label, text in zip(batch.labels, texts, strict=True) if text in known]
            raise DuplicateIdError(f"already in the store: {some(taken)}; nothing was written")
        layout = _after(held.layout.widened(batch.schema), batch.payload)
        after = replace(held, layout=await self.places.widen(held, layout))
        created = {name: source[CREATED] for name, source in known.items() if CREATED in source}
        # "create": an id that came since the look is refused, not written over
        tally = await self._write(after, batch, texts, created, "create" if insert else "index", progress=progress)
        # once more: who described the index at the same moment may have put their description over ours
        after = replace(after, layout=await self.places.widen(held, after.layout))
        self._raise(tally, batch)
        return Stored(after, Written(tally.created, tally.replaced, batch.dropped, batch.labels))

    async def _write(
        self,
        held: Held,
        batch: Batch,
        texts: Sequence[str],
        created: Mapping[str, str],
        action: str,
        *,
        progress: bool,
    ) -> Tally:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        encoder = Encoder(held.layout, action, self.dialect.packed, self.dialect.units, now, created)
        # each refresh leaves a segment with a graph of its own, to be merged with the others later
        big = len(batch) >= BIG or self.patient
        try:
            if big and held.settings.get("refresh_interval") != NEVER:
                await self.places.set(held.concrete, {"refresh_interval": NEVER})
            with tqdm(
                total=len(batch), desc=f"writing to {self.places.name}", unit="rows", disable=not progress
            ) as bar:
                pieces = encoder.pieces(batch, texts, self.config.effort.bytes)
                tally = await self._bulk(held, bar.update).run(pieces, len(batch))
        finally:
            if big and not self.patient:
                with suppress(BackendUnavailableError, NotFoundError):  # what was lost is told of below
                    await self._refreshing(held.concrete, held.settings.get("refresh_interval"))
        if tally.lost is None and not self.patient:
            await self.places.refresh(self._target(held))
        return tally

    async def _refreshing(self, concrete: str, interval: str | None) -> None:
        """Let the engine refresh again as it did; a write that was cut off may have left it at never."""
        interval = self.config.refresh_interval if interval in {None, NEVER} else interval
        await self.places.set(concrete, {"refresh_interval": interval})

    async def shown(self, concrete: str, interval: str | None) -> None:
        """Show what was written while the engine did not refresh."""
        await self._refreshing(concrete, interval)
        await self.places.refresh(concrete)

    def _target(self, held: Held) -> str:
        """Choose the name to write to: what the alias stands for may be replaced at any time, and is gone then."""
        return self.places.name if held.named else held.concrete

    def _bulk(self, held: Held, done: Any = lambda _: None) -> Bulk:
        # the engine's own wait for a shard, within that of the request
        wait = f"{min(WAIT, math.ceil(self.config.timeout / 2))}s"
        # an engine makes an index that is not there, of its own liking, where nobody would find the rows
        alias = {"require_alias": "true"} if held.named else {}
        params = {**_TOLD, **self.config.params, "timeout": wait, **alias}
        return Bulk(self.wire, f"/{quote(self._target(held))}/_bulk", params, self.config.effort, done)

    @staticmethod
    def _raise(tally: Tally, batch: Batch, *, stored: bool = True) -> None:
        """Tell of the rows that were not stored."""
        if not tally.failed:
            return
        count = tally.created + tally.replaced if stored else 0
        # nothing is stored: the reason says more than a list of all rows
        if tally.lost is not None and not count:
            raise tally.lost
        labels = batch.labels
        raise PartialWriteError({labels[row]: why for row, why in sorted(tally.failed.items())}, count) from tally.lost

    async def delete(self, names: Sequence[str], held: Held) -> int:
        """Delete documents by name.

        Returns:
            How many were there.
        """
        if not names:
            return 0
        lines = [b'{"delete":{"_id":%b}}\n' % orjson.dumps(name) for name in names]
        pieces = [Piece(range(at, min(at + COPIED, len(lines))), lines[at : at + COPIED]) for at in _starts(len(lines))]
        tally = await self._bulk(held).run(pieces, len(lines))
        if tally.lost is not None:
            raise tally.lost
        await self.places.refresh(self._target(held))
        if tally.failed:
            failed = {names[row]: why for row, why in tally.failed.items()}
            raise PartialWriteError(failed, tally.created + tally.replaced)
        return tally.created + tally.replaced

    async def updated(self, held: Held, lines: Sequence[bytes]) -> Tally:
        """Add to documents, and show it to every search that starts now."""
        tally = Tally()
        if lines:
            tally = await self._bulk(held).run([Piece(range(len(lines)), lines)], len(lines))
        if tally.lost is not None:
            raise tally.lost
        await self.places.refresh(self._target(held))
        return tally

    async def rebuild(
        self, held: Held, layout: Layout, reader: Reader, *, progress: bool, without: Sequence[str] = ()
    ) -> Held:
        """Copy all rows to an index of another mapping, and put it in place of the one before.

        Writes to the old index are refused meanwhile: they would be lost. What is in `without` is left out of the copy.
        """
        concrete = await self.places.make(layout, first=False)
        if concrete is None:  # pragma: no cover - its name is random
            raise BackendUnavailableError(f"{self.wire.engine}: two indexes of one name")
        try:
            await self.places.set(held.concrete, {"blocks.write": True})
            await self._copy(reader, Held(concrete, layout, {}), without, progress=progress)
            await self.places.refresh(concrete)
            await self.places.swap(concrete, held.concrete)
        except BaseException as exc:
            # before all else: nobody but this function takes the block back
            await self._unblock(held.concrete, exc)
            await self._let_go(concrete, exc)
            raise
        return Held(concrete, layout, held.settings, named=True)

    async def _unblock(self, concrete: str, error: BaseException) -> None:
        """Let an index take writes again; where the engine does not, the error tells how."""
        try:
            await self.places.set(concrete, {"blocks.write": None})
        except NotFoundError:
            pass  # the copy has taken its place after all, and only the answer was lost
        except DkvectorError as exc:
            error.add_note(
                f"{concrete} refuses writes until it is copied again, or its index.blocks.write is null: {exc}"
            )

    async def _let_go(self, concrete: str, error: BaseException) -> None:
        """Remove an index that was not finished; where the engine can't, it stays, and the error tells."""
        try:
            await self.places.discard(concrete)
        except DkvectorError as exc:
            error.add_note(f"the unfinished copy {concrete} may be left: {exc}")

    async def _copy(self, reader: Reader, copy: Held, without: Sequence[str], *, progress: bool) -> None:
        total = await reader.count(None)
        with tqdm(total=total, desc=f"indexing {self.places.name}", unit="rows", disable=not progress) as bar:
            async for page in reader.pages(None, ["*"], COPIED, vectors=True):
                lines = [_line(hit, without) for hit in page]
                tally = await self._bulk(copy, bar.update).run([Piece(range(len(lines)), lines)], len(lines))
                if tally.lost is not None:
                    raise tally.lost
                if tally.failed:
                    raise PartialWriteError({page[row].name: why for row, why in tally.failed.items()}, 0)


def _line(hit: Hit, without: Sequence[str]) -> bytes:
    source = {path: value for path, value in hit.source.items() if path not in without}
    if lengths := source.get(LENGTHS):
        source[LENGTHS] = {path: value for path, value in lengths.items() if path not in without}
    return b'{"index":{"_id":%b}}\n%b\n' % (orjson.dumps(hit.name), orjson.dumps(source))


def _starts(length: int) -> range:
    return range(0, length, COPIED)


def _after(layout: Layout, payload: pa.Table) -> Layout:
    """Remember what a layout must know of rows once they are written."""
    categories = categories_after(layout, payload, MOST_CATEGORIES)
    return replace(layout, categories=categories, limits=limits_after(layout, payload))
