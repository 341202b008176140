"""Labels of rows, to choose from while one is typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any

from dkvector.blocking import VectorStore
from dkvector.errors import DkvectorError

MOST = 100_000  # rows whose labels are read
OFFERED = 12
BATCH = 10_000


def labels_of(store: VectorStore) -> Iterator[Any]:
    """Give the labels of a store's rows, as many as are offered."""
    for rows in islice(store.scan(columns=[], batch_size=BATCH), MOST // BATCH):
        yield from rows.index


class Rows:
    """Labels of rows, as texts; read when the first is asked for.

    Args:
        read: gives the labels.
    """

    def __init__(self, read: Callable[[], Iterable[Any]]) -> None:
        self._read = read

    @cached_property
    def labels(self) -> list[str]:
        """The first 100,000 labels."""
        return [str(label) for label in islice(self._read(), MOST)]

    def near(self, begun: str) -> list[str]:
        """Give the labels that hold a text: those that begin with it first, the short ones first.

        None are given where they can't be read.

        Example:
            >>> Rows(lambda: ["hotdog", "dogma", "dog", "cat"]).near("Dog")
            ['dog', 'dogma', 'hotdog']
        """
        sought = begun.strip().lower()
        try:
            labels = self.labels
        except DkvectorError:  # who may search need not be one who may read: then they type the whole label
            return []
        found = [(not low.startswith(sought), len(low), one) for one in labels if sought in (low := one.lower())]
        return [one for _, _, one in sorted(found)[:OFFERED]]
