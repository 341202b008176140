"""Labels of rows, to choose from while one is typed."""

from __future__ import annotations

from functools import cached_property
from itertools import islice

from dkvector.blocking import VectorStore

MOST = 100_000  # rows whose labels are read
OFFERED = 12
BATCH = 10_000


class Rows:
    """The labels of a store's rows, as texts; read when the first is asked for.

    Args:
        store: holds the rows.
    """

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    @cached_property
    def labels(self) -> list[str]:
        """The labels of the first 100,000 rows."""
        batches = islice(self._store.scan(columns=[], batch_size=BATCH), MOST // BATCH)
        return [str(label) for rows in batches for label in rows.index]

    def near(self, begun: str) -> list[str]:
        """Give the labels that hold a text: those that begin with it first, the short ones first.

        Example:
            >>> import pandas as pd
            >>> frame = pd.DataFrame({"v": [[1.0, 0.0]] * 3}, index=["hotdog", "dogma", "dog"])
            >>> with frame.vec.push("exact") as store:
            ...     Rows(store).near("Dog")
            ['dog', 'dogma', 'hotdog']
        """
        sought = begun.strip().lower()
        found = [(not low.startswith(sought), len(low), one) for one in self.labels if sought in (low := one.lower())]
        return [one for _, _, one in sorted(found)[:OFFERED]]
