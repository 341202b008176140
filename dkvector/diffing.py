"""What a store lacks of a frame, and has beyond it: found by content, a block of the store at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dkvector.columns import to_index
from dkvector.comparing import differing, differing_vectors
from dkvector.ingest import Batch, Reading, as_batch
from dkvector.progress import bar
from dkvector.requests import shown
from dkvector.schema import Schema
from dkvector.store import AsyncVectorStore

KINDS = ("added", "changed", "deleted", "orphaned")
Mask = NDArray[np.bool_]


@dataclass
class Difference:
    """Which rows differ, by their labels; every row is of one kind.

    Attributes:
        added: in the frame, not in the store.
        changed: in both, with another vector or another value in some column of the frame, or without its vector.
        deleted: in the store, not in the frame.
        orphaned: in the store, neither in the frame nor with a vector, so that no search can find them.
        what: a row for each that has changed, a boolean for each of the frame's columns: whether it differs.
        same: rows that are the same in both.
    """

    added: pd.Index
    changed: pd.Index
    deleted: pd.Index
    orphaned: pd.Index
    what: pd.DataFrame
    same: int = 0

    @property
    def counts(self) -> pd.Series:
        """How many rows are of which kind."""
        told = {kind: len(getattr(self, kind)) for kind in KINDS}
        return pd.Series(told | {"same": self.same}, name="rows")


@dataclass
class _Comparing:
    """Holds a frame's rows against the blocks of a store."""

    batch: Batch
    known: Schema
    columns: list[str]
    beyond: list[pd.Index] = field(default_factory=list)
    orphans: list[pd.Index] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen: Mask = np.zeros(len(self.batch), bool)
        names = [*self.batch.payload.column_names, *self.batch.vectors]
        self.differ: dict[str, Mask] = {name: np.zeros(len(self.batch), bool) for name in names}

    def block(self, rows: pa.Table) -> None:
        """Compare the rows of one block."""
        labels = to_index(rows.column(0), rows.schema.field(0))
        places = self.batch.labels.get_indexer(labels)
        lacking = np.zeros(len(rows), bool)
        # what no search uses, a row may lack
        for info in self.known.serving:
            lacking |= np.asarray(rows.column(info.name).is_null())
        # rows that were left out as bad are in the frame all the same
        beyond = (places < 0) & np.asarray(~labels.isin(list(self.batch.dropped)), bool)
        self.beyond.append(labels[beyond & ~lacking])
        self.orphans.append(labels[beyond & lacking])
        self._compare(rows.take(pa.array(np.flatnonzero(places >= 0))), places[places >= 0])

    def _compare(self, rows: pa.Table, places: NDArray[np.intp]) -> None:
        self.seen[places] = True
        for name, matrix in self.batch.vectors.items():
            kept = self.known.vector(name).dtype
            self.differ[name][places] = differing_vectors(matrix[places], rows.column(name), kept)
        at = pa.array(places)
        for name in self.batch.payload.column_names:
            theirs = rows.column(name) if name in self.columns else pa.nulls(len(rows))
            self.differ[name][places] = differing(self.batch.payload.column(name).take(at), theirs)

    def found(self) -> Difference:
        """Tell what was found."""
        labels = self.batch.labels
        table = pd.DataFrame(self.differ, index=labels)
        changed = table.to_numpy().any(axis=1) & self.seen
        beyond, orphans = (_joined(one, labels) for one in (self.beyond, self.orphans))
        same = int(self.seen.sum() - changed.sum())
        return Difference(labels[~self.seen], labels[changed], beyond, orphans, table[changed], same)


def _joined(parts: Sequence[pd.Index], like: pd.Index) -> pd.Index:
    return parts[0].append(list(parts[1:])) if parts else like[:0]


async def difference(
    store: AsyncVectorStore,
    frame: pd.DataFrame,
    reading: Reading | None = None,
    *,
    batch_size: int = 10_000,
    progress: bool | None = None,
) -> Difference:
    """Compare a frame with a store, of which a block is in memory at a time.

    Args:
        store: the store.
        frame: the rows as they should be; its index is the ids.
        reading: which columns to compare; what to do with bad rows.
        batch_size: rows of a block.
        progress: show a bar; None shows one when there is much to do.

    Returns:
        Which rows differ.

    Raises:
        VectorError: vectors that can't be used; names the rows.
        SchemaError: rows that don't fit the store.

    Example:
        >>> import asyncio
        >>> from dkvector.backends.exact import ExactStore
        >>> frame = pd.DataFrame({"n": [1, 2, 3], "v": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]}, index=["a", "b", "c"])
        >>> async def compared() -> dict[str, int]:
        ...     store = await ExactStore.open({})
        ...     await store.upsert(frame.assign(n=[1, 7, 3]).drop(index="c"))
        ...     return (await difference(store, frame)).counts.to_dict()
        >>> asyncio.run(compared())
        {'added': 1, 'changed': 1, 'deleted': 0, 'orphaned': 0, 'same': 1}
    """
    known = None if store.empty else store.known
    batch = as_batch(frame, known=known, reading=reading, composite=store.supports.composite_ids)
    if known is None:
        return _Comparing(batch, batch.schema, []).found()
    # only for what it refuses: rows that could not be written there
    known.widened(batch.schema)
    comparing = _Comparing(batch, known, [name for name in known.payload.names if name in batch.payload.column_names])
    total = await store.count()
    with bar(total, "comparing", unit="rows", show=shown(progress, total)) as done:
        async for rows in store.scan(None, comparing.columns, batch_size, include_vectors=True):
            comparing.block(rows)
            done(len(rows))
    return comparing.found()
