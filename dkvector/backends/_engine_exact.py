"""The nearest rows of an engine that has no way to compare them all: page by page, here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.backends import _topk
from dkvector.backends._engine_reader import Reader
from dkvector.backends._layout import Layout, ids_of
from dkvector.columns import to_index
from dkvector.metrics import DistanceMetric, Floats

Positions = NDArray[np.intp]


class Best:
    """The nearest rows of every query among pages that come one after another."""

    def __init__(self, queries: Floats, k: int, metric: DistanceMetric, reader: Reader) -> None:
        self.queries, self.k, self.metric, self.reader = queries, k, metric, reader
        self.names: list[str] = []
        self.distances: Floats = np.empty(0, np.float32)
        self.counts: Positions = np.zeros(len(queries), np.intp)

    def offer(self, names: Sequence[str], vectors: Floats) -> None:
        """Take in a page."""

        def ranks(rows: Positions) -> Positions:
            return ordered([names[row] for row in rows], self.reader.layout)

        near = _topk.search([_topk.Block(0, vectors)], self.queries, self.k, self.metric, ranks=ranks)
        together = [*self.names, *(names[at] for at in near.positions)]
        each = np.arange(len(self.queries))
        query = np.concatenate([np.repeat(each, self.counts), np.repeat(each, near.counts)])
        distances = np.concatenate([self.distances, near.distances])

        def order(rows: Positions) -> Positions:
            return ordered([together[row] for row in rows], self.reader.layout)

        kept = _topk.best_of(query, np.arange(len(together)), distances, len(self.queries), k=self.k, ranks=order)
        self.names = [together[at] for at in kept.positions]
        self.distances, self.counts = kept.distances, kept.counts


def ordered(names: Sequence[str], layout: Layout) -> Positions:
    """Order documents by their ids."""
    labels: pd.Index = to_index(ids_of(names, layout.schema.id.type), layout.schema.id)
    return np.argsort(np.argsort(labels, kind="stable"), kind="stable")
