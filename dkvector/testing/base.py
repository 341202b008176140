"""What the parts of the conformance suite share."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pandas as pd
import pytest

from dkvector.indexes import Flat, IndexSpec, Tuning
from dkvector.ingest import Reading
from dkvector.metrics import DistanceMetric
from dkvector.store import AsyncVectorStore
from dkvector.testing.oracle import (
    sample_frame,
)


class StoreBase:
    """The store under test, and the rows it is given."""

    index: ClassVar[IndexSpec] = Flat()
    floor: ClassVar[float] = 1.0  # recall@10 that this index must reach on the sample
    approximate: ClassVar[Tuning | None] = None  # knobs that force the index to be used

    @pytest.fixture
    async def store(self) -> AsyncVectorStore:
        """Give an empty store."""
        raise NotImplementedError("give the suite a store")

    @pytest.fixture
    def raw_count(self, store: AsyncVectorStore) -> Callable[[], int]:
        """Count the rows past our own code."""
        raise NotImplementedError("give the suite a way to count rows past the store")

    @pytest.fixture
    def frame(self) -> pd.DataFrame:
        """Give the sample rows."""
        return sample_frame()

    async def filled(
        self, store: AsyncVectorStore, frame: pd.DataFrame, metric: DistanceMetric | None = None
    ) -> AsyncVectorStore:
        """Write the rows and build the index under test."""
        await store.upsert(frame, reading=Reading(metric=metric))
        await store.build_index(self.index)
        return store
