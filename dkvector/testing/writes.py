"""What is written is there, once, with the types it came with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dkvector.errors import DuplicateIdError, NotFoundError, SchemaError
from dkvector.filters import col
from dkvector.ingest import Reading
from dkvector.metrics import DistanceMetric
from dkvector.store import AsyncVectorStore
from dkvector.testing.base import StoreBase
from dkvector.testing.oracle import (
    DIMENSIONS,
    recall,
    sample_queries,
)


class WriteTests(StoreBase):
    """What is written is there, once, with the types it came with."""

    async def test_rows_are_there_when_the_write_returns(
        self, store: AsyncVectorStore, frame: pd.DataFrame, raw_count: Callable[[], int]
    ) -> None:
        written = await store.upsert(frame)
        assert (written.inserted, written.replaced) == (300, 0)
        assert (await store.count(), raw_count()) == (300, 300)

    async def test_upsert_replaces(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        changed = frame.head(20).assign(name="changed", embedding=list(np.full((20, DIMENSIONS), 9.0)))
        written = await store.upsert(changed)
        assert (written.inserted, written.replaced, await store.count()) == (0, 20, 300)
        hits = await store.search(np.full(DIMENSIONS, 9.0), k=25)
        assert sorted(hits.ids[:20]) == frame.index[:20].tolist()
        assert await store.count({"name": "changed"}) == 20
        # what a row held before finds it no more
        for name in frame.name[:3]:
            left = frame.index[20:][frame.name[20:] == name]
            found = await store.search(sample_queries(1)[0], k=300, where={"name": name})
            assert (await store.count({"name": name}), sorted(found.ids)) == (len(left), left.tolist())

    async def test_columns_are_known_by_their_names(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        rows = frame[["x", "embedding"]].assign(y=frame.x + 100, other=frame.name + "!", name=frame.name)
        await self.filled(store, rows.head(150))
        await store.upsert(rows.tail(150)[["other", "embedding", "y", "name", "x"]])
        found = await store.get(frame.index[[10, 290]])
        assert found["y"].to_pylist() == rows.y.iloc[[10, 290]].tolist()
        assert found["other"].to_pylist() == rows.other.iloc[[10, 290]].tolist()
        assert await store.count("y < 50 or x > 50") == 0

    async def test_upsert_adds(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame.head(200))
        written = await store.upsert(frame.tail(150))
        assert (written.inserted, written.replaced, await store.count()) == (100, 50, 300)
        queries = sample_queries()
        assert recall(await store.search(queries), frame, queries, 10, DistanceMetric.COSINE) >= self.floor

    async def test_a_load_goes_batch_by_batch_and_goes_on(
        self, store: AsyncVectorStore, frame: pd.DataFrame, raw_count: Callable[[], int]
    ) -> None:
        first = await store.load(frame.head(120), batch_size=50)
        assert (first.inserted, first.skipped, raw_count()) == (120, 0, 120)
        # cut into other batches than before: what goes on goes by ids, not by places
        changed = frame.assign(name="changed")
        then = await store.load(changed, batch_size=64, resume=True)
        assert (then.inserted, then.replaced, then.skipped) == (180, 0, 120)
        assert (await store.count(), raw_count(), await store.count({"name": "changed"})) == (300, 300, 180)
        again = await store.load([changed.head(10), changed.tail(10)])
        assert (again.inserted, again.replaced, await store.count({"name": "changed"})) == (0, 20, 190)
        with pytest.raises(DuplicateIdError, match="'id 0000'"):
            await store.load(frame, batch_size=10, mode="insert")

    async def test_insert_refuses_known_ids_and_writes_nothing(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        await self.filled(store, frame.head(10))
        with pytest.raises(DuplicateIdError, match=r"'id 0009' \(1 row\)"):
            await store.upsert(frame.iloc[9:30].assign(name="changed"), mode="insert")
        assert await store.count() == 10
        assert await store.count({"name": "changed"}) == 0

    async def test_replace_swaps_everything(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        # with fewer columns too: a table that is only emptied would keep the others
        await store.upsert(frame.iloc[5:25, [0, 5]], mode="replace")
        assert await store.count() == 20
        assert store.known.payload.names == ["n"]
        hits = await store.search(sample_queries(1)[0], k=300)
        assert sorted(hits.ids) == frame.index[5:25].tolist()

    async def test_replace_keeps_the_metric_and_nothing_else(
        self, store: AsyncVectorStore, frame: pd.DataFrame
    ) -> None:
        euclidean = Reading(metric=DistanceMetric.EUCLIDEAN)
        await store.upsert(frame, reading=euclidean)
        other = pd.DataFrame({"v": [[1.0, 0, 0, 0], [0, 2.0, 0, 0]]}, index=["a", "b"])
        for mode in ("replace", "upsert"):
            with pytest.raises(SchemaError, match="drop"):
                await store.upsert(other, mode=mode, reading=Reading(metric=DistanceMetric.COSINE))
        assert await store.count() == 300
        await store.upsert(other, mode="replace")
        told = store.known.vector()
        assert (told.name, told.dimensions, told.metric) == ("v", 4, DistanceMetric.EUCLIDEAN)
        assert (await store.search([0, 1.0, 0, 0], k=1)).distances.tolist() == [1.0]
        await store.drop()
        await store.upsert(other, reading=Reading(metric=DistanceMetric.COSINE))
        assert store.known.vector().metric is DistanceMetric.COSINE

    async def test_ids_given_twice_are_an_error(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        with pytest.raises(DuplicateIdError, match="'id 0000'"):
            await store.upsert(pd.concat([frame, frame.head(1)]))
        assert await store.count() == 0

    async def test_delete(self, store: AsyncVectorStore, frame: pd.DataFrame, raw_count: Callable[[], int]) -> None:
        await self.filled(store, frame)
        assert await store.delete(["id 0003", "nobody", "id 0010"]) == 2
        assert await store.delete(where="n >= 200") == (frame.n >= 200).sum()
        assert await store.count() == raw_count() == 298 - (frame.n >= 200).sum()
        # of both what satisfies both
        assert await store.delete(["id 0004", "id 0005"], where="n > 4") == 1
        assert await store.count(col("n").isin([4, 5, 6, 7])) == 3
        hits = await store.search(frame.embedding["id 0003"], k=300)
        assert "id 0003" not in hits.ids
        assert hits.counts[0] == await store.count()

    async def test_delete_everything_then_write_again(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        assert await store.delete(frame.index) == 300
        assert (await store.search(sample_queries(2))).counts.tolist() == [0, 0]
        await store.upsert(frame)
        assert (await store.search(sample_queries(2))).counts.tolist() == [10, 10]

    async def test_delete_needs_to_know_what(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        with pytest.raises(SchemaError, match=r"drop\(\)"):
            await store.delete()

    async def test_rows_with_new_columns_widen_the_store(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame.iloc[:5, [0, 5]])
        await store.upsert(frame.iloc[5:10])
        found = await store.get(frame.index[3:7], columns=["name"])
        assert found["name"].to_pylist() == [None, None, *frame.name.iloc[5:7]]

    async def test_columns_of_another_type_are_refused(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame.head(5))
        with pytest.raises(SchemaError, match="column 'x' is"):
            await store.upsert(frame.iloc[5:10].assign(x="text"))

    @pytest.mark.parametrize(
        "index",
        [
            pd.Index([3, 1, 2], name="key"),
            # next to a number that a double can't hold
            pd.Index([2**53, 2**53 + 1, -(2**62) - 1]),
            # nearly the 512 bytes that search engines let an id have
            pd.Index(["b", "a", "🙂 'quoted' \"id\" " + "x" * 480]),
            pd.Index([3, 1, 2], dtype="uint8"),
            pd.DatetimeIndex(["2024-05-01", "2024-05-02", "2024-05-03"], tz="Europe/Paris", name="at"),
        ],
        ids=["int", "long", "text", "uint8", "timestamp"],
    )
    async def test_labels_come_back_as_they_went_in(
        self, store: AsyncVectorStore, frame: pd.DataFrame, index: Any
    ) -> None:
        rows = frame.head(3).set_axis(index)
        await self.filled(store, rows)
        found = (await store.search(rows.embedding.iloc[1], k=1)).to_frame()
        pd.testing.assert_index_equal(found.index, index[1:2])
        assert await store.count() == 3

    async def test_get_keeps_the_order_of_the_ids(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        asked = ["id 0042", "id 0007", "id 0130"]
        found = await store.get(asked, columns=["x"], include_vectors=True)
        assert found.column(0).to_pylist() == asked
        assert found["x"].to_pylist() == frame.x[asked].tolist()
        np.testing.assert_array_equal(
            np.stack(found["embedding"].to_numpy()), np.stack(frame.embedding[asked].tolist())
        )

    async def test_get_names_ids_that_are_not_there(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        with pytest.raises(NotFoundError, match=r"'nobody' \(1 row\)"):
            await store.get(["id 0001", "nobody"])

    async def test_scan_gives_every_row_once(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        await self.filled(store, frame)
        for vectors in (False, True):
            # a prime, so that the last page is a short one
            pages = store.scan(where="x > 0", columns=["x"], batch_size=37, include_vectors=vectors)
            batches = [batch async for batch in pages]
            ids = [one for batch in batches for one in batch.column(0).to_pylist()]
            assert sorted(ids) == frame.index[frame.x > 0].tolist()
            assert max(len(batch) for batch in batches) == 37
        given = np.concatenate([np.stack(batch["embedding"].to_numpy()) for batch in batches])
        np.testing.assert_array_equal(given, np.stack(frame.embedding[ids].tolist()))

    async def test_arrow_tables_are_rows_too(self, store: AsyncVectorStore, frame: pd.DataFrame) -> None:
        vectors = pa.FixedSizeListArray.from_arrays(np.concatenate(frame.embedding.tolist()), DIMENSIONS)
        await store.upsert(pa.table({"id": pa.array(frame.index), "x": frame.x.to_numpy(), "embedding": vectors}))
        hits = await store.search(frame.embedding.iloc[8], k=1)
        assert (list(hits.ids), await store.count()) == (["id 0008"], 300)
