"""The small writes of the store that writes: which of them go to the log, and when one is begun."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from dkvector.backends import _log
from dkvector.backends._folder import Folder
from dkvector.backends._log import LogWriter
from dkvector.backends._manifest import LogFile, Manifest
from dkvector.backends._row_file import batched, columns_of
from dkvector.backends._rows import Rows
from dkvector.backends._tail import Tail
from dkvector.backends._topk import Positions
from dkvector.ingest import Batch
from dkvector.schema import Schema

FEW = 100  # rows of a small write,
LIGHT = 1 << 16  # and bytes


class Journal:
    """Takes small writes to the log of a folder.

    A log is begun with the second small write in a row: one alone is a commit like any other.

    Args:
        folder: of the store.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._log: LogWriter | None = None
        self._tail: Tail | None = None
        self._columns: pa.Schema | None = None
        self._in_a_row = 0

    def note(self, rows: Rows, died: Positions, batch: Batch | None) -> Rows | None:
        """Write down that rows died and others came, durably.

        Args:
            rows: the snapshot that the last write has left, but for those that died.
            died: their positions.
            batch: new rows.

        Returns:
            The snapshot after it; None where this must be a commit of its own.
        """
        small = len(died) <= FEW and (batch is None or self._is_small(batch))
        self._in_a_row = self._in_a_row + 1 if small else 0
        if not small or self._log is None or (batch is not None and not _fits(batch, rows)):
            return None
        made = None if batch is None else batched(batch, rows.schema, self._columns)
        record = self._log.record(made, died)
        # the record is part of the log's stream already: it takes no other, and a commit with a new log follows
        if not self._log.has_room(record):
            # with a log at hand the payload was not counted: so heavy a write is no small one after all
            self._in_a_row *= len(record) <= 2 * LIGHT
            return None
        self._log.add(record)
        return self._after(rows, batch, made, self._log.end)

    def _is_small(self, batch: Batch) -> bool:
        """Tell whether a batch is small; with a log at hand its record tells what the payload takes."""
        payload = 0 if self._log is not None else batch.payload.nbytes
        return len(batch) <= FEW and payload + sum(one.nbytes for one in batch.vectors.values()) <= LIGHT

    def _after(self, rows: Rows, batch: Batch | None, made: pa.RecordBatch | None, end: int) -> Rows:
        if batch is None or made is None:
            return replace(rows, log_end=end)
        if self._tail is None:
            self._tail = Tail(rows.total, rows.schema)
        labels = batch.labels
        # concat_batches copies: the caller may change its arrays
        self._tail.add(pa.concat_batches([made]), labels, batch.vectors)
        return rows.grown(self._tail.seen(len(rows.schema.payload), labels.dtype), end)

    def begun(self, generation: int) -> LogFile | None:
        """Begin a log with the next commit, if small writes are what comes."""
        return self._folder.begin_log(generation) if self._in_a_row > 1 else None

    def follow(self, manifest: Manifest, schema: Schema) -> None:
        """Write to the log of the commit that was just made, if it has one."""
        self.stop()
        if manifest.log is not None:
            self._columns = columns_of(schema)
            self._log = LogWriter(self._folder.path / manifest.log.file, manifest.log, durable=self._folder.durable)

    def stop(self) -> None:
        """Take no more to the log there is."""
        if self._log is not None:
            self._log.close()
        self._log = self._tail = None

    def pause(self) -> None:
        """Take no more to the log there is, and begin none with the next commit."""
        self.stop()
        self._in_a_row = 0

    @property
    def behind(self) -> bool:
        """Whether something is in the log alone."""
        return self._log is not None and self._log.end > _log.HEAD.size


def _fits(batch: Batch, rows: Rows) -> bool:
    """Tell whether a batch brings what the log's columns hold, vectors of every field included."""
    # the very same object: `fitted` gives it to a batch that brings no new column
    return batch.schema is rows.schema and len(batch.vectors) == len(rows.schema.vectors)
