"""Rows that come one after another are written as they come, and never drawn far ahead."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scans import telling

import dkvector as dkv
from dkvector.backends.exact import ExactStore
from dkvector.testing import sample_frame, sample_queries
from dkvector.views._view import View

SIZE = 10


def record(at):
    return dkv.Record({"n": at, "embedding": [1.0, float(at)]}, id=f"r{at:03}")


class Watched:
    """Counts what is drawn from it."""

    def __init__(self, items) -> None:
        self.items, self.drawn = iter(items), 0

    def __iter__(self) -> Iterator[Any]:
        for one in self.items:
            self.drawn += 1
            yield one

    async def each(self):
        for one in self:
            yield one


class Noting(View):
    """Notes, at each write, how much had been drawn and written."""

    def __init__(self, store, source) -> None:
        super().__init__(store)
        self.source, self.seen, self.count = source, [], 0

    async def _ask(self, asked, answer):
        if asked.operation != "upsert":
            return await answer()
        self.count += len(asked.ids)
        self.seen.append((self.source.drawn, self.count))
        return await answer()


def tables(rows=35, size=7):
    frame = sample_frame(rows).reset_index().rename(columns={"key": "id"})
    return [pa.Table.from_pandas(frame.iloc[at : at + size], preserve_index=False) for at in range(0, rows, size)]


@pytest.mark.parametrize("awaited", [False, True], ids=["plain", "awaited"])
async def test_records_are_drawn_a_batch_at_a_time(awaited):
    source = Watched(record(at) for at in range(95))
    store = Noting(await ExactStore.open({}), source)
    assert await store.stream_write(source.each() if awaited else source, SIZE) == 95
    assert store.seen == [(at, at) for at in range(10, 91, 10)] + [(95, 95)]


@pytest.mark.parametrize("awaited", [False, True], ids=["plain", "awaited"])
async def test_tables_are_drawn_one_at_a_time_and_cut(awaited):
    source = Watched(tables(70, 35))
    store = Noting(await ExactStore.open({}), source)
    assert await store.stream_write(source.each() if awaited else source, 20) == 70
    assert store.seen == [(1, 20), (1, 35), (2, 55), (2, 70)]


SOURCES = {
    "table": lambda: pa.concat_tables(tables()),
    "reader": lambda: pa.RecordBatchReader.from_batches(tables()[0].schema, SOURCES["batches"]()),
    "tables": lambda: iter(tables()),
    "batches": lambda: (batch for table in tables() for batch in table.to_batches()),
    "frames": lambda: (sample_frame(35).iloc[at : at + 9] for at in range(0, 35, 9)),
    "frame": lambda: sample_frame(35),
}


@pytest.mark.parametrize("kind", SOURCES)
async def test_rows_of_every_form_are_the_same_rows(kind):
    store = await ExactStore.open({})
    assert await store.stream_write(SOURCES[kind](), SIZE) == 35
    found = (await store.get(["id 0034", "id 0012"], ["x", "name"], include_vectors=True)).to_pydict()
    frame = sample_frame(35).loc[["id 0034", "id 0012"]]
    assert found["x"] == frame["x"].tolist()
    assert found["name"] == frame["name"].tolist()
    np.testing.assert_array_equal(found["embedding"], np.stack(frame["embedding"]))


async def test_records_and_frames_come_in_their_order():
    frame = pd.DataFrame({"n": [7, 8], "embedding": [[1.0, 0.0], [0.0, 1.0]]}, index=["r001", "z"])
    store = await ExactStore.open({})
    assert await store.stream_write(iter([record(0), record(1), frame, record(2)]), SIZE) == 5
    assert (await store.get(["r000", "r001", "r002", "z"]))["n"].to_pylist() == [0, 7, 2, 8]


QUERIES = {
    "limit": (dkv.Query().limit(3), [0, 1, 2], ["n", "embedding"]),
    "no rows": (dkv.Query().limit(0), [], []),
    "offset": (dkv.Query().filter("n", ">", 1).offset(10).limit(2), [12, 13], ["n", "embedding"]),
    "past the end": (dkv.Query().offset(24).limit(9), [24], ["n", "embedding"]),
    "order": (dkv.Query().sort("n", ascending=False).offset(1).limit(2).select("n"), [23, 22], ["n"]),
    "fields": (dkv.Query().filter("n", "<", 2).select("embedding"), ["r000", "r001"], ["embedding"]),
    "nearest": (
        dkv.Query().filter("n", ">", 1).with_vector_search([1.0, 0.0], "embedding", 4).offset(1).limit(2).select("n"),
        [3, 4],
        ["n"],
    ),
}


@pytest.mark.parametrize("case", QUERIES)
async def test_a_query_counts_whole_in_a_stream_and_in_a_list(case):
    query, expected, fields = QUERIES[case]
    store = await ExactStore.open({})
    await store.upsert([record(at) for at in range(25)])
    streamed = [one async for one in store.stream_read(query, batch_size=4)]
    for found in (streamed, await store.find(query)):
        assert [one.get("n", one.id) for one in found] == expected
        assert all(list(one) == fields for one in found)


async def test_a_query_for_fields_that_there_are_not_is_refused():
    store = await ExactStore.open({})
    await store.upsert([record(1)])
    for query in (dkv.Query().select("m"), dkv.Query().sort("n").select("m")):
        with pytest.raises(dkv.NotFoundError, match="'m'"):
            await store.find(query)


async def test_one_store_is_poured_into_another():
    one, other = await ExactStore.open({}), await ExactStore.open({})
    await one.upsert(sample_frame(50))
    assert await other.stream_write(one.scan(batch_size=8, include_vectors=True), SIZE, id="key") == 50
    assert await other.stream_write(one.stream_read(batch_size=8), SIZE) == 50
    query = sample_queries(1)[0]
    assert (await one.search(query)).ids.tolist() == (await other.search(query)).ids.tolist()


async def test_rows_that_the_engine_does_not_take_keep_no_others_back(monkeypatch):
    store, upsert = await ExactStore.open({}), ExactStore._upsert

    async def picky(self, batch, mode, *, progress):
        if "r015" not in batch.labels:
            return await upsert(self, batch, mode, progress=progress)
        raise dkv.PartialWriteError(dict.fromkeys(batch.labels, "odd"), 0)

    monkeypatch.setattr(ExactStore, "_upsert", picky)
    with pytest.raises(dkv.PartialWriteError, match=r"25 rows stored; not stored: .*10 rows") as caught:
        await store.stream_write(map(record, range(35)), SIZE)
    assert (caught.value.stored, await store.count()) == (25, 25)
    assert sorted(caught.value.failed) == [f"r{at:03}" for at in range(10, 20)]


async def test_an_error_leaves_the_batches_before_it():
    store = await ExactStore.open({})
    bad = (record(at) if at != 25 else dkv.Record({"n": at, "embedding": [0.0, 0.0]}, id="bad") for at in range(40))
    with pytest.raises(dkv.VectorError, match="'bad'"):
        await store.stream_write(bad, SIZE)
    assert await store.count() == 20

    def failing():
        yield from map(record, range(15))
        raise OSError("the line is cut")

    with pytest.raises(OSError, match="the line is cut"):
        await (store := await ExactStore.open({})).stream_write(failing(), SIZE)
    assert await store.count() == 10


@pytest.mark.parametrize("source", [[1, 2], "no such file", 7, record(1)], ids=["numbers", "path", "number", "record"])
async def test_what_is_no_stream_of_rows(source):
    store = await ExactStore.open({})
    if isinstance(source, dkv.Record):
        assert await store.stream_write(source) == 1
        return
    with pytest.raises((dkv.SchemaError, dkv.NotFoundError), match=r"read|no files"):
        await store.stream_write(source)


def test_the_blocking_door_takes_what_is_awaited_too():
    async def slowly():
        import asyncio

        for at in range(25):
            await asyncio.sleep(0)
            yield record(at)

    with dkv.connect("exact") as store, dkv.connect("exact") as other:
        assert store.stream_write(slowly(), SIZE) == 25
        assert other.stream_write(store.stream_read(batch_size=4), SIZE) == 25
        assert other.stream_write(source=slowly()) == 25
        assert [len(one) for one in other.scan(batch_size=10)] == [10, 10, 5]


def test_a_stream_that_is_left_is_closed():
    closed = []

    async def opened():
        return await telling(closed).open({})

    store = dkv.VectorStore(opened, inline=True)
    store.upsert(pd.DataFrame({"v": [[1.0, 0.0]] * 30}))
    for stream in (store.scan(batch_size=7), store.stream_read(batch_size=7), store.cached().scan(batch_size=7)):
        next(stream)
        stream.close()
    assert closed == [True] * 3
