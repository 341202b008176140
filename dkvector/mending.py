"""`df.vec.diff(store)`: what differs, shown first, and applied where that is wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pyarrow as pa

from dkvector import _html
from dkvector.blocking import VectorStore, as_frame
from dkvector.counts import as_count
from dkvector.diffing import KINDS, Difference, difference
from dkvector.errors import PartialWriteError
from dkvector.ingest import Reading
from dkvector.loading import tried
from dkvector.progress import bar
from dkvector.requests import Written, shown
from dkvector.store import AsyncVectorStore

SHOWN = 5  # labels of each kind that a notebook shows


@dataclass(frozen=True)
class Applied:
    """What was done about a difference.

    Attributes:
        inserted: rows that were new.
        replaced: rows that had changed.
        deleted: rows that were deleted.
    """

    inserted: int = 0
    replaced: int = 0
    deleted: int = 0

    def and_written(self, written: Written) -> Applied:
        """Add a write."""
        return replace(self, inserted=self.inserted + written.inserted, replaced=self.replaced + written.replaced)


class Mending:
    """Makes a store like a frame, batch by batch; one that was interrupted goes on where it stopped.

    Args:
        store: the store.
        frame: the rows as they should be.
        found: what differs.
        reading: how the rows are read.
    """

    def __init__(self, store: AsyncVectorStore, frame: pd.DataFrame, found: Difference, reading: Reading) -> None:
        self._store, self._frame, self._reading = store, frame, reading
        self._new, self._changed = found.added, found.changed
        self._gone = found.deleted.append(found.orphaned)
        known = [] if store.empty else store.known.payload.names
        self._beside = [name for name in known if name not in found.what.columns]
        self.done = Applied()

    async def run(self, *, delete: bool, batch_size: int, progress: bool | None) -> Applied:
        """Write what was added and changed; delete what the frame has not, where that is wanted.

        Raises:
            PartialWriteError: rows that the engine did not take, after all others were written; nothing is deleted.
        """
        new, changed, failed = self._new, self._changed, dict[Any, str]()
        total = len(self._new) + len(self._changed) + delete * len(self._gone)
        with bar(total, "applying", unit="rows", show=shown(progress, total)) as count:
            async with self._store._while_loading():  # noqa: SLF001 - many writes, as those of a load
                while len(labels := self._new[:batch_size]):
                    failed |= await self._write(self._rows(labels), self._reading)
                    # only once they are written: an apply that was interrupted begins with them
                    self._new = self._new[batch_size:]
                    count(len(labels))
                while len(labels := self._changed[:batch_size]):
                    failed |= await self._write(*await self._whole(labels))
                    self._changed = self._changed[batch_size:]
                    count(len(labels))
            if failed:
                self._new, self._changed = (rows[rows.isin(list(failed))] for rows in (new, changed))
                raise PartialWriteError(failed, self.done.inserted + self.done.replaced)
            # deleted last, so that an interruption leaves too much rather than too little
            while delete and len(labels := self._gone[:batch_size]):
                self.done = replace(self.done, deleted=self.done.deleted + await self._store.delete(labels))
                self._gone = self._gone[batch_size:]
                count(len(labels))
        return self.done

    async def _write(self, rows: pd.DataFrame, reading: Reading) -> dict[Any, str]:
        """Write rows, and tell which of them the engine did not take."""
        written, failed = await tried(self._store.upsert(rows, reading=reading, progress=False))
        self.done = self.done.and_written(written)
        return failed

    def _rows(self, labels: pd.Index) -> pd.DataFrame:
        index = self._frame.index
        if (
            isinstance(index, pd.MultiIndex)
            and isinstance(labels, pd.MultiIndex)
            and set(index.names) == {*labels.names}
        ):
            # the store keeps the levels in an order of its own
            index = index.reorder_levels(labels.names)
        return self._frame.iloc[index.get_indexer(labels)]

    async def _whole(self, labels: pd.Index) -> tuple[pd.DataFrame, Reading]:
        """Take rows of the frame, with the columns that only the store has: a row is replaced as a whole."""
        rows, reading = self._rows(labels), self._reading
        if not self._beside:
            return rows, reading
        kept = as_frame(await self._store.get(labels, self._beside))
        rows = rows.assign(**{name: kept[name].array for name in self._beside})
        columns = None if reading.columns is None else (*reading.columns, *self._beside)
        return rows, replace(reading, columns=columns)


class Diff:
    """How a store differs from a frame; nothing is changed before `apply`.

    Example:
        >>> from dkvector.registry import connect
        >>> frame = pd.DataFrame({"n": [1, 2], "v": [[1.0, 0.0], [0.0, 1.0]]}, index=["a", "b"])
        >>> with connect("exact") as store:
        ...     _ = store.upsert(frame.rename({"b": "c"}))
        ...     diff = Diff.of(frame, store)
        ...     print(diff)
        ...     diff.apply(delete=True)
        1 added, 0 changed, 1 deleted, 0 orphaned, 1 the same
        Applied(inserted=1, replaced=0, deleted=1)
    """

    def __init__(self, frame: pd.DataFrame, store: VectorStore, found: Difference, reading: Reading) -> None:
        self._frame, self._store, self._found = frame, store, found
        self._mending = Mending(store.store, frame, found, reading)

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        store: VectorStore,
        reading: Reading | None = None,
        *,
        batch_size: int = 10_000,
        progress: bool | None = None,
    ) -> Diff:
        """Compare a frame with a store: see `difference`."""
        reading = reading or Reading()
        size = as_count(batch_size, "batch_size")
        found = store._run(difference(store.store, frame, reading, batch_size=size, progress=progress))  # noqa: SLF001
        return cls(frame, store, found, reading)

    @property
    def counts(self) -> pd.Series:
        """How many rows are added, changed, deleted, orphaned and the same."""
        return self._found.counts

    @property
    def added(self) -> pd.DataFrame:
        """The frame's rows that the store has not."""
        return self._mending._rows(self._found.added)  # noqa: SLF001 - its own half

    @property
    def changed(self) -> pd.DataFrame:
        """The frame's rows that the store has otherwise; `changes` tells in which columns."""
        return self._mending._rows(self._found.changed)  # noqa: SLF001

    @property
    def changes(self) -> pd.DataFrame:
        """Of every changed row, whether each of the frame's columns differs."""
        return self._found.what

    @property
    def deleted(self) -> pd.DataFrame:
        """The store's rows that the frame has not, without vectors."""
        return self._stored(self._found.deleted)

    @property
    def orphaned(self) -> pd.DataFrame:
        """The store's rows that neither are in the frame nor have a vector."""
        return self._stored(self._found.orphaned)

    def _stored(self, labels: pd.Index) -> pd.DataFrame:
        store = self._store.store
        if store.empty:
            return pd.DataFrame(index=labels)
        # at least one part, so that no rows still have their columns
        parts = range(0, max(len(labels), 1), 10_000)
        tables = [self._store._run(store.get(labels[at : at + 10_000])) for at in parts]  # noqa: SLF001
        return as_frame(pa.concat_tables(tables))

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.counts[list(KINDS)].any())

    def apply(self, *, delete: bool = False, batch_size: int = 10_000, progress: bool | None = None) -> Applied:
        """Write the rows that were added or have changed, and delete those that the frame has not if you say so.

        Columns that only the store has stay as they are. An apply that was interrupted goes on where it stopped when
        it is called again; so does a new diff.

        Args:
            delete: delete the rows that are deleted and orphaned.
            batch_size: rows that are written at a time.
            progress: show a bar; None shows one when there is much to do.

        Returns:
            How many rows were written and deleted, by this call and those before it.

        Raises:
            PartialWriteError: rows that the engine did not take, after all others were written; nothing is deleted.
        """
        work = self._mending.run(delete=delete, batch_size=as_count(batch_size, "batch_size"), progress=progress)
        done: Applied = self._store._run(work)  # noqa: SLF001
        return done

    def __repr__(self) -> str:
        counts = self.counts
        return ", ".join([*(f"{counts[kind]:,} {kind}" for kind in KINDS), f"{counts['same']:,} the same"])

    def _repr_html_(self) -> str:
        rows = [(kind, f"{len(labels):,}", _some(labels)) for kind in KINDS for labels in [getattr(self._found, kind)]]
        differ = self._found.what.sum()
        columns = [(str(name), f"{count:,}") for name, count in differ[differ > 0].items()]
        parts = [_html.heading("diff", f"{self._found.same:,} rows are the same")]
        parts.append(_html.table(("kind", "rows", "such as"), rows))
        parts += [_html.table(("changed in", "rows"), columns)] if columns else []
        return _html.block(*parts)


def _some(labels: Any) -> str:
    return ", ".join(map(repr, labels[:SHOWN].tolist())) + (", …" if len(labels) > SHOWN else "")
