"""What keeps a local store like a table: the first load, and after it what has changed, as it comes or when asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dkvector._loop import offload
from dkvector.blocking import as_frame
from dkvector.errors import BackendUnavailableError, DkvectorError, SchemaError, UnsupportedError
from dkvector.ingest import Reading
from dkvector.progress import bar
from dkvector.replication.state import State
from dkvector.requests import shown
from dkvector.store import AsyncVectorStore

STATE = "replica.json"
ROWS = 10_000  # that are read and written at a time
IDLE = 60.0  # seconds without notice, after which the server is asked all the same
PAUSES = (0.1, 30.0)  # seconds until a lost connection is made again: the first, and the longest
PATIENCE = 10.0  # seconds that an end waits for a refresh that is under way


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        written: rows that were new or had changed.
        deleted: rows that are gone, or have no vector that can be used.
    """

    written: int = 0
    deleted: int = 0


class Keeping:
    """Keeps a local store like a table.

    Args:
        source: the store of the table.
        target: the local store.
        folder: of the local store.
    """

    def __init__(self, source: Any, target: AsyncVectorStore, folder: Path) -> None:
        self._source, self._target, self._file = source, target, folder / STATE
        self._feed: Any = None
        self._lock = asyncio.Lock()
        # changes past the position that are in the replica already
        self._applied: dict[Any, int] = {}
        self._task: asyncio.Task[None] | None = None
        self.state: State | None = None
        self.error: DkvectorError | None = None

    async def begin(self, on: Sequence[str] | None, *, install: bool, progress: bool | None) -> None:
        """Load what is not loaded yet, and bring over what has changed since.

        Raises:
            UnsupportedError: changes are not noted, and `install` does not allow to have them noted.
            SchemaError: the folder is the replica of another table.
        """
        self._feed = await self._source.change_feed()
        if len(self._feed.table.keys) > 1:
            raise UnsupportedError("a local store has ids of one column; the key of this table has several")
        fields = tuple(on or (info.name for info in self._source.known.vectors))
        # refuses names of fields that there are not
        _ = [self._source.known.vector(name) for name in fields]
        # the position before the load begins: what changes during it comes once more, and nothing is lost
        now = State(self._feed.oid, await self._installed(install=install), await self._feed.position(), fields)
        state = State.read(self._file) or now
        if (state.table, state.changes) != (now.table, now.changes):
            raise SchemaError(f"{self._file.parent} is the replica of another table, or of one that was made anew")
        if on is not None and set(on) != set(state.fields):
            raise SchemaError(f"{self._file.parent} holds the vector fields {state.fields}, not {tuple(on)}")
        if state.loaded and self._target.empty and await self._source.count():
            state = now  # somebody has emptied the folder
        self.state = state
        if not state.loaded:
            await self._load(state, progress)
        await self.refresh()

    async def _installed(self, *, install: bool) -> int:
        """Give the server's number of the table of changes."""
        found = await self._feed.installed()
        if found is None and not install:
            raise UnsupportedError(
                "the server does not note which rows change: install=True has triggers and a table made for it; "
                "or let the owner of the table run:\n" + ";\n".join(self._feed.statements())
            )
        if found is None:
            await self._feed.install()
        return int(await self._feed.installed())

    async def _load(self, state: State, progress: bool | None) -> None:
        """Load all rows; a load that was interrupted goes on, for what has changed since it began comes after it."""
        await self._note(state)
        total = await self._source.count()
        with bar(total, "loading", unit="rows", show=shown(progress, total)) as count:
            # a load that fails or is interrupted lets go of the server's cursor, and its transaction, at once
            async with aclosing(self._source.scan(batch_size=ROWS, include_vectors=True)) as each:
                async for rows in each:
                    frame = as_frame(rows)
                    if not self._target.empty:
                        frame = frame[~np.asarray(await self._target._among_ours(frame.index), bool)]  # noqa: SLF001
                    await self._write(frame)
                    count(len(rows))
        await self._note(replace(state, loaded=True))

    async def _write(self, frame: pd.DataFrame) -> pd.Index:
        """Write rows, and give the ids of those whose vectors can't be used."""
        state = self.state
        names = () if state is None else state.fields
        infos = self._source.known.vectors
        usable = frame[list(names)].notna().all(axis=1).to_numpy(bool)
        rows = frame[usable].drop(columns=[info.name for info in infos if info.name not in names])
        if not len(rows):
            return frame.index
        # each with its own metric and model
        told = tuple(self._source.known.vector(name) for name in names)
        reading = Reading(names, on_bad="drop", infos=told)
        written = await self._target.upsert(rows, reading=reading, progress=False)
        return frame.index[~usable].append(frame.index[frame.index.isin(list(written.dropped))])

    async def _note(self, state: State) -> None:
        await offload(state.write, self._file)
        self.state = state

    async def refresh(self) -> Refreshed:
        """Write and delete what has changed since; what a lost connection interrupts is done again.

        Raises:
            BackendUnavailableError: the server can't be reached.
        """
        async with self._lock:
            state = self.state
            if state is None:
                raise SchemaError("the replica is not loaded")
            changed = await self._feed.since(state.position)
            new = [at for at, one in enumerate(changed.ids) if self._applied.get(one) != changed.marks[at]]
            done = Refreshed()
            if new:
                # columns may have come or gone with the changes
                await self._source.refresh_schema()
                self._feed = await self._source.change_feed()
            for at in range(0, len(new), ROWS):
                done = await self._follow_rows(changed.ids[new[at : at + ROWS]], done)
            later = zip(changed.ids, changed.marks, strict=True)
            self._applied = {one: mark for one, mark in later if mark >= changed.position}
            if changed.position != state.position:
                # last: whatever interrupts the rows above, they come again from the old position
                await self._note(replace(state, position=changed.position))
        return done

    async def _follow_rows(self, ids: pd.Index, done: Refreshed) -> Refreshed:
        frame = as_frame(await self._feed.rows(ids))
        unusable = await self._write(frame)
        # a row that has lost its vector must not be found by the old one
        gone = ids[~np.asarray(ids.isin(frame.index), bool)].append(unusable)
        deleted = await self._target.delete(gone) if len(gone) else 0
        return Refreshed(done.written + len(frame) - len(unusable), done.deleted + deleted)

    async def start(self) -> None:
        """Follow the changes from now on."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow them no longer."""
        task, self._task = self._task, None
        if task is None:
            return
        # a write that is under way comes to its end
        with suppress(TimeoutError, asyncio.TimeoutError):
            async with asyncio.timeout(PATIENCE), self._lock:
                task.cancel()
        # in the end also where the wait was too long
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    @property
    def following(self) -> bool:
        """Whether changes are followed."""
        return self._task is not None and not self._task.done()

    async def _follow(self) -> None:
        """Listen, and catch up at every notice; connect again where the connection is lost, and catch up first."""
        pause = PAUSES[0]
        while True:
            try:
                await self._listen()
                pause = PAUSES[0]
            except BackendUnavailableError as exc:
                self.error = exc
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSES[1])
            except DkvectorError as exc:  # the table is gone, or no longer ours to read: nothing to wait for
                self.error = exc
                return
            except Exception as exc:  # noqa: BLE001 - nobody awaits this: who asks why nothing comes is told here
                self.error = DkvectorError(f"{type(exc).__name__}: {exc}")
                return

    async def _listen(self) -> None:
        """Catch up at every notice until the connection is lost."""
        woken = asyncio.Event()
        listener = await self._feed.listen(woken.set)
        try:
            while not listener.lost:
                woken.clear()  # before the look: what comes while we look is looked at again
                await self.refresh()
                self.error = None
                with suppress(TimeoutError, asyncio.TimeoutError):
                    await asyncio.wait_for(woken.wait(), IDLE)
        finally:
            await listener.close()
