"""Rows that come one after another — records, frames, Arrow batches, awaited or not — as batches that can be written.

Nothing is drawn ahead: the next row is asked for when the batch before it has been written.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from dkvector._loop import offload
from dkvector.records import Record
from dkvector.sources import read_source

Rows = list[Record] | pd.DataFrame


@dataclass
class _Cut:
    """Cuts what comes into batches: records are put together, frames and tables are cut at `size` rows."""

    size: int
    id: str | None
    waiting: list[Record] = field(default_factory=list)

    def of(self, item: Any) -> Iterator[Rows]:
        """Take one item, and give the batches that are full."""
        if not isinstance(item, Record):
            yield from self.rest()
            yield from read_source(item, self.size, id=self.id).frames
            return
        self.waiting.append(item)
        if len(self.waiting) == self.size:
            yield from self.rest()

    def rest(self) -> Iterator[Rows]:
        """Give the records that wait."""
        waiting, self.waiting = self.waiting, []
        if waiting:
            yield waiting


async def batches(source: Any, size: int, *, id: str | None = None) -> AsyncIterator[Rows]:  # noqa: A002 - the field's own word
    """Cut a stream into batches.

    Args:
        source: an iterator, awaited or not, of records, DataFrames, Arrow tables or batches; an Arrow reader or
            anything else that `read_source` reads.
        size: rows of a batch, at most. Frames smaller than that stay as they are; records are put together.
        id: the column of the ids, of frames and tables; the index that pandas wrote, or else "id", by default.

    Yields:
        Lists of records, and frames indexed by their ids.

    Raises:
        SchemaError: something that is no rows.

    Example:
        >>> import asyncio
        >>> async def sizes() -> list[int]:
        ...     return [len(one) async for one in batches((Record({"n": n}) for n in range(5)), 2)]
        >>> asyncio.run(sizes())
        [2, 2, 1]
    """
    if isinstance(source, AsyncIterable):
        cut = _Cut(size, id)
        async for item in source:
            for batch in cut.of(item):
                yield batch
        for batch in cut.rest():
            yield batch
        return
    drawn = _drawn(source, _Cut(size, id))
    # a source may take its time over the next row, in which the loop serves others
    while (one := await offload(next, drawn, None)) is not None:
        yield one


def _drawn(source: Any, cut: _Cut) -> Iterator[Rows]:
    # a record gives its names when it is iterated, a text its letters
    whole = hasattr(source, "__arrow_c_stream__") or isinstance(source, str | Record)
    for item in [source] if whole or not isinstance(source, Iterable) else source:
        yield from cut.of(item)
    yield from cut.rest()
