"""What a store and a frame differ in is found by content, and mended."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dkvector.diffing import difference
from dkvector.ingest import Reading
from dkvector.mending import Applied, Mending
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase


def drawn_apart(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, dict[str, set[str]]]:
    """Make another frame of one, and tell which rows differ in which way."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(["same", "added", "deleted", "vector", "n", "name", "flag", "when"], len(frame))
    there = {kind: frame.index[kinds == kind] for kind in np.unique(kinds)}
    other = frame[kinds != "deleted"].sample(frac=1, random_state=seed)
    # some last digits of float32: a change as small as that is a change
    moved = {label: vector * np.float32(1 + 1e-6) for label, vector in other.embedding.items()}
    vectors = [
        moved[label] if label in there.get("vector", ()) else vector for label, vector in other.embedding.items()
    ]
    other["embedding"] = pd.Series(vectors, index=other.index, dtype=object)
    for name, new in {"n": None, "name": "changed 🙂", "when": pd.NaT}.items():
        rows = there.get(name, frame.index[:0])
        # what was missing before is not changed by becoming so
        rows = rows[frame.loc[rows, name].notna()]
        other.loc[rows, name] = new
        there[name] = rows
    flags = there.get("flag", frame.index[:0])
    other.loc[flags, "flag"] = ~other.loc[flags, "flag"]
    changed = {label for name in ("n", "name", "when", "vector", "flag") for label in there.get(name, ())}
    return other, {
        "changed": changed,
        "added": {*there.get("added", ())},
        "deleted": {*there.get("deleted", ())},
    }


class DiffTests(StoreBase):
    """What a store and a frame differ in is found by content, and mended."""

    async def test_rows_that_went_in_are_the_same(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await store.upsert(frame)
        found = await difference(store, frame.sample(frac=1, random_state=3), batch_size=70)
        assert found.counts.to_dict() == {"added": 0, "changed": 0, "deleted": 0, "orphaned": 0, "same": 300}

    async def test_an_empty_store_lacks_them_all(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        found = await difference(store, frame)
        assert found.counts.to_dict() == {"added": 300, "changed": 0, "deleted": 0, "orphaned": 0, "same": 0}
        await Mending(store, frame, found, Reading()).run(delete=False, batch_size=170, progress=False)
        assert not (await difference(store, frame)).counts.drop("same").any()

    @pytest.mark.parametrize("seed", range(3))
    async def test_what_differs_is_found_applied_and_then_gone(
        self, store: AsyncVectorStore, frame: pd.DataFrame, seed: int
    ) -> None:
        other, kinds = drawn_apart(frame, seed)
        await store.upsert(frame.drop(index=list(kinds["added"])))
        found = await difference(store, other, batch_size=70)
        for kind, labels in kinds.items():
            assert set(getattr(found, kind)) == labels, kind
        done = await Mending(store, other, found, Reading()).run(delete=seed != 0, batch_size=40, progress=False)
        gone = len(kinds["deleted"]) if seed else 0
        # one seed leaves the rows that the frame lacks
        assert done == Applied(len(kinds["added"]), len(kinds["changed"]), gone)
        left = (await difference(store, other)).counts
        assert left.drop("same").to_dict() == {"added": 0, "changed": 0, "orphaned": 0} | {
            "deleted": 0 if seed else len(kinds["deleted"])
        }
        assert left["same"] == len(other)
