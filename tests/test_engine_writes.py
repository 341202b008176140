"""Writes to both engines: replacement in one step, loads larger than memory, options, and indexes others made."""

import asyncio
import secrets
from concurrent.futures import CancelledError

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from engines.asking import asked

import dkvector as dkv
from dkvector._loop import LOOP
from dkvector.backends import _engine_indexes, _engine_writer
from dkvector.backends._bulk import Bulk
from dkvector.registry import VectorStoreFactory


def rows(count, start=0, dimensions=8, **columns: object):
    rng = np.random.default_rng(start)
    vectors = dkv.VectorArray(rng.standard_normal((count, dimensions)).astype("f4"))
    index = pd.Index(np.arange(start, start + count), name="key")
    return pd.DataFrame({"n": np.arange(start, start + count), **columns, "v": vectors}, index=index)


@pytest.fixture
def name():
    return f"write-{secrets.token_hex(4)}"


@pytest.fixture
def target(engine_url, name):
    yield {"backend": engine_url.partition("+")[0].partition(":")[0], "url": engine_url, "index": name}
    with dkv.connect(engine_url, table=name) as store:
        store.drop()


@pytest.fixture
def ask(engine_url):
    """Ask the server past our own code."""
    return lambda path, body=None, method=None: asked("http:" + engine_url.partition(":")[2], path, body, method)


def concrete(ask, name):
    (found,) = ask(f"/{name}")
    return found


# What is made


def test_a_new_index_is_what_the_config_says(target, name, ask):
    config = target | {"shards": 3, "replicas": 0, "refresh_interval": "7s", "vector": {"index": dkv.HNSW(m=5)}}
    frame = rows(30, s="text", f=0.5, b=True, when=pd.Timestamp("2024-05-01", tz="UTC"))
    with dkv.connect(config) as store:
        store.upsert(frame, reading=dkv.Reading(model="some/model", version="2"))
        made = ask(f"/{name}")[concrete(ask, name)]
        assert made["aliases"] == {name: {}}
        index = made["settings"]["index"]
        assert (index["number_of_shards"], index["number_of_replicas"], index["refresh_interval"]) == ("3", "0", "7s")
        properties = made["mappings"]["properties"]
        kinds = {path: one["type"] for path, one in properties.items() if path != "v" and path[0] != "%"}
        times = dict.fromkeys(("created_at", "updated_at"), "date")
        payload = {"id": "long", "n": "long", "s": "text", "f": "double", "b": "boolean", "when": "date"}
        assert kinds == payload | times
        assert made["mappings"]["properties"]["s"]["fields"]["keyword"]["type"] == "keyword"
        assert "m': 5" in str(made["mappings"]["properties"]["v"])
        (kept,) = made["mappings"]["_meta"]["dkvector"]["vectors"]
        assert (kept["model"], kept["version"], kept["dimensions"]) == ("some/model", "2", 8)
        assert made["mappings"]["dynamic"] == "strict"
        with pytest.raises(dkv.SchemaError, match="other/model"):
            store.upsert(frame, reading=dkv.Reading(model="other/model"))
        with pytest.raises(dkv.VectorError, match="9 dimensions"):
            store.upsert(rows(2, dimensions=9))


def test_rows_remember_when_they_came_and_when_they_changed(target, name, ask):
    with dkv.connect(target) as store:
        store.upsert(rows(2))
        first = ask(f"/{name}/_doc/1")["_source"]
        assert first["created_at"] == first["updated_at"]
        store.upsert(rows(3).iloc[1:])
        again = ask(f"/{name}/_doc/1")["_source"]
        assert again["created_at"] == first["created_at"]
        assert again["updated_at"] > first["updated_at"]
        assert ask(f"/{name}/_doc/2")["_source"]["created_at"] == again["updated_at"]


def test_one_value_of_routing_keeps_all_rows_on_one_shard(target, name, ask):
    with dkv.connect(target | {"shards": 4, "routing": "tenant 7"}) as store:
        store.upsert(rows(40))
        counts = [int(one["docs"] or 0) for one in ask(f"/_cat/shards/{name}?format=json&h=docs,prirep")]
        assert max(counts) == 40
        assert store.count() == 40
        assert len(store.search(np.ones(8), k=50)) == 40
        assert store.get([3, 1])["n"].tolist() == [3, 1]
        assert store.delete([3]) == 1
        assert store.upsert(rows(5)).replaced == 4


# Replaced in one step


def test_rows_on_the_shard_of_a_routing_get_their_vectors(target):
    """They were looked for on the shards of their ids, not found, and looked for again without end."""
    asked = []

    def made(texts):
        asked.append(len(texts))
        assert len(asked) < 10
        return [[1.0, len(one)] for one in texts]

    with dkv.connect(target | {"routing": "here", "shards": 3}) as store:
        store.upsert(rows(30, s=[f"word {at}" for at in range(30)]))
        store.add_vector_field("w", 2)
        assert store.backfill("w", dkv.Encoder(made, remember=False), text="s", batch_size=20) == 30
        assert len(store.search([1.0, 6.0], field="w", k=50)) == 30


def test_a_replacement_is_seen_whole_or_not_at_all(target, name, ask):
    with rows(50).vec.push(target) as store, dkv.connect(target) as reader:
        before = concrete(ask, name)
        seen = set()

        async def watching():
            write = asyncio.create_task(store.store.upsert(rows(50, start=100), mode="replace"))
            while not write.done():
                seen.add(frozenset((await reader.store.search(np.ones(8), 60)).ids))
            await write

        LOOP.run(watching())
        assert seen <= {frozenset(range(50)), frozenset(range(100, 150))}
        assert len(seen) >= 1
        assert sorted(reader.search(np.ones(8), k=60).index) == list(range(100, 150))
        after = concrete(ask, name)
        assert before != after
        indexes = [one["index"] for one in ask("/_cat/indices?format=json&h=index") if one["index"].startswith(name)]
        assert indexes == [after]  # nothing is left of the one before


def test_a_replacement_that_fails_leaves_what_was_there(target, name, ask, monkeypatch):
    with rows(50).vec.push(target) as store:
        before = concrete(ask, name)

        async def lost(*_: object):
            raise dkv.BackendUnavailableError("gone")

        monkeypatch.setattr(Bulk, "run", lost)
        with pytest.raises(dkv.BackendUnavailableError, match="gone"):
            store.upsert(rows(9, start=100), mode="replace")
        assert concrete(ask, name) == before
        assert store.count() == 50
        assert len(store.search(np.ones(8), k=60)) == 50


def test_a_reader_is_told_when_other_columns_have_come(target):
    with rows(5).vec.push(target) as store, dkv.connect(target) as reader:
        store.upsert(rows(5, other="x"), mode="replace")
        with pytest.raises(dkv.SchemaError, match="replaced meanwhile, and holds other columns"):
            reader.search(np.ones(8))
        assert reader.search(np.ones(8), k=1)["other"].tolist() == ["x"]


def test_two_writers_that_begin_at_once_make_one_index(target, name, ask):
    config = {key: value for key, value in target.items() if key != "backend"}

    async def both():
        stores = [await VectorStoreFactory.create(target["backend"], config) for _ in range(2)]
        writes = [one.upsert(rows(30, start=30 * at)) for at, one in enumerate(stores)]
        await asyncio.gather(*writes)
        counts = [await one.count() for one in stores]
        for one in stores:
            await one.aclose()
        return counts

    assert LOOP.run(both()) == [60, 60]
    assert ask(f"/{name}/_count")["count"] == 60


@pytest.mark.parametrize("how", ["upsert", "load", "delete"])
def test_rows_that_are_written_while_another_replaces_the_index_are_not_lost(target, monkeypatch, how):
    """They went to an index that was no longer there, which an engine makes anew where it may, and nobody reads."""
    rows(40).vec.push(target).close()
    with dkv.connect(target) as store, dkv.connect(target) as other:
        run, specs = Bulk.run, [dkv.Flat()]

        async def replaced(self, *args: object):
            if specs:
                await other.store.build_index(specs.pop())
            return await run(self, *args)

        monkeypatch.setattr(Bulk, "run", replaced)
        if how == "delete":
            assert store.delete([0, 1, 99]) == 2
        else:
            write = store.load if how == "load" else store.upsert
            assert write(rows(30, start=100)).inserted == 30
        assert len(store) == len(other) == (38 if how == "delete" else 70)


def test_two_writers_that_add_columns_at_once_keep_both(target, monkeypatch):
    """The engine keeps the last of two descriptions: a column that it left out had no values any more."""
    rows(5).vec.push(target).close()
    with dkv.connect(target) as store, dkv.connect(target) as other:
        widen, begun = _engine_indexes.Indexes.widen, []

        async def late(self, held, layout):
            if not begun:
                begun.append(True)
                await other.store.upsert(rows(2, start=50, long=["y" * 20_000, "z"], c=pd.Categorical(["a", "b"])))
            return await widen(self, held, layout)

        monkeypatch.setattr(_engine_indexes.Indexes, "widen", late)
        store.upsert(rows(2, start=60, mine=["p", "q"]))
        assert sorted(store.schema.payload.names) == ["c", "long", "mine", "n"]
        with dkv.connect(target) as third:
            assert third.schema.payload.equals(store.schema.payload)
            assert third.get([51, 61])[["long", "mine"]].fillna("").to_numpy().tolist() == [["z", ""], ["", "q"]]
            with pytest.raises(dkv.FilterError, match="texts of more than 10,922"):
                third.count("long > 'a'")
            assert third.build_index("flat") == dkv.Flat()


@pytest.mark.parametrize("after", ["_put", "run"])
def test_a_description_that_another_has_put_over_ours_is_put_again(target, name, ask, monkeypatch, after):
    """The other had looked before ours was there, and was last; it is noticed at once, or when the rows are written."""
    with rows(5).vec.push(target) as store:
        meta = ask(f"/{name}/_mapping")[concrete(ask, name)]["mappings"]["_meta"]
        of = _engine_indexes.Indexes if after == "_put" else Bulk
        method, begun = getattr(of, after), []

        async def overwritten(self, *args: object):
            found = await method(self, *args)
            if not begun:
                begun.append(True)
                await store.store._wire.send("PUT", f"/{name}/_mapping", {"_meta": meta})
            return found

        monkeypatch.setattr(of, after, overwritten)
        store.upsert(rows(2, start=60, mine=["p", "q"]))
        with dkv.connect(target) as third:
            assert third.get([61])["mine"].tolist() == ["q"]


def test_a_store_that_was_opened_before_others_wrote_describes_what_they_added(target):
    with rows(5).vec.push(target) as store, dkv.connect(target) as other:
        other.upsert(rows(2, start=50, new=["x", "y"]))
        store.add_vector_field("w", 2)
        assert store.schema.payload.names == ["n", "new"]
        assert store.backfill("w", lambda texts: [[1.0, len(one)] for one in texts], text="new") == 2
    with dkv.connect(target) as store, dkv.connect(target) as other:
        other.upsert(rows(2, start=60, w=[[1.0, 2.0]] * 2, newer=["x", "y"]))
        assert store.build_index("flat", field="v") == dkv.Flat()
        assert store.get([60, 61])["newer"].tolist() == ["x", "y"]


def test_an_index_is_built_anew_in_place_of_the_one_before(target, name, ask):
    frame = rows(80, s=[f"word {i}" for i in range(80)])
    with frame.vec.push(target, index="flat") as store:
        before, kept = concrete(ask, name), store.to_frame().sort_index()
        spec = dkv.HNSW(m=7, ef_construction=40)
        assert store.build_index(spec) == spec
        assert concrete(ask, name) != before
        pd.testing.assert_frame_equal(store.to_frame().sort_index(), kept)
        assert store.upsert(rows(1, start=500, s="more")).inserted == 1  # it is not left closed to writes
        unchanged = concrete(ask, name)
        store.build_index(spec)
        assert concrete(ask, name) == unchanged  # nothing to do
        with pytest.raises(dkv.UnsupportedError, match="no index 'ivf'; it has auto, flat, hnsw"):
            store.build_index("ivf")


class LostError(dkv.BackendUnavailableError):
    """The server went away."""


def lost(*_: object, **__: object):
    raise LostError("gone")


def test_an_index_takes_writes_again_after_a_copy_that_failed(target, name, ask, monkeypatch):
    with rows(80).vec.push(target, index="flat") as store:
        monkeypatch.setattr(_engine_writer.Writer, "_copy", lost)
        before = ask(f"/{name}*")
        with pytest.raises(LostError, match="gone"):
            store.build_index(dkv.HNSW(m=7))
        assert list(ask(f"/{name}*")) == list(before)  # nothing else is left
        monkeypatch.setattr(_engine_indexes.Indexes, "remove", lost)
        with pytest.raises(LostError, match="gone") as caught:
            store.build_index(dkv.HNSW(m=7))
        assert f"copy {name}-" in caught.value.__notes__[0]
        assert store.upsert(rows(1, start=500)).inserted == 1
        monkeypatch.setattr(
            _engine_indexes.Indexes, "set", lambda _, __, new: lost() if None in new.values() else done()
        )
        with pytest.raises(LostError, match="gone") as caught:
            store.build_index(dkv.HNSW(m=7))
        assert "index.blocks.write is null" in caught.value.__notes__[0]
    asked_for = ask(f"/{name}*")
    for one in asked_for.keys() - before.keys():
        ask(f"/{one}", method="DELETE")


async def done():
    """Do nothing."""


def test_an_index_that_a_killed_copy_left_closed_says_what_to_do(target, name, ask):
    with rows(80).vec.push(target, index="flat") as store:
        ask(f"/{name}/_settings", {"index": {"blocks.write": True}}, "PUT")
        for write in (lambda: store.upsert(rows(30, start=60)), lambda: store.delete([3])):
            with pytest.raises(dkv.BackendUnavailableError, match="the same call again makes the copy") as caught:
                write()
            assert len(str(caught.value)) < 500
        assert store.count() == 80
        store.build_index(dkv.HNSW(m=7))
        assert store.upsert(rows(30, start=60)).inserted == 10
        assert store.delete([3]) == 1


@pytest.mark.parametrize("write", ["build_index", "replace"])
def test_an_index_that_came_into_place_is_not_removed_when_the_answer_is_lost(target, name, ask, monkeypatch, write):
    swap = _engine_indexes.Indexes.swap

    async def unheard(*args: object):
        await swap(*args)
        lost()

    with rows(80).vec.push(target, index="flat") as store:
        before = concrete(ask, name)
        monkeypatch.setattr(_engine_indexes.Indexes, "swap", unheard)
        with pytest.raises(LostError):
            store.build_index(dkv.HNSW(m=7)) if write == "build_index" else store.upsert(rows(90), mode="replace")
    with dkv.connect(target) as store:
        assert concrete(ask, name) != before
        assert store.count() == (80 if write == "build_index" else 90)
        assert store.upsert(rows(1, start=500)).inserted == 1


# Larger than memory


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of parquet files of 700 rows each, as pandas writes them."""
    path = tmp_path_factory.mktemp("parquet")
    for part in range(3):
        dkv.to_parquet(rows(700, start=700 * part, s="text"), path / f"part-{part}.parquet")
    return path


def test_a_folder_of_parquet_is_loaded_batch_by_batch(target, folder):
    with dkv.connect(target) as store:
        written = store.load(folder, batch_size=500)
        assert (written.inserted, written.replaced, written.skipped) == (2100, 0, 0)
        expected = pd.concat([rows(700, start=700 * part, s="text") for part in range(3)])
        found = store.to_frame().sort_index()
        pd.testing.assert_frame_equal(found, expected)
        assert store.written == written


def test_a_load_that_was_interrupted_goes_on_without_duplicates(target, folder, monkeypatch):
    sizes, upsert = [], dkv.AsyncVectorStore.upsert

    async def interrupted(self, frame, **knobs: object):
        if len(sizes) == 2:
            raise asyncio.CancelledError
        sizes.append(len(frame))
        return await upsert(self, frame, **knobs)

    with dkv.connect(target) as store:
        monkeypatch.setattr(dkv.AsyncVectorStore, "upsert", interrupted)
        with pytest.raises((CancelledError, asyncio.CancelledError)):
            store.load(folder, batch_size=500)
        assert sizes == [500, 500]
    monkeypatch.undo()
    with dkv.connect(target) as store:
        assert store.count() == 1000  # what was written is there, and shown
        store.delete([3])
        written = store.load(folder, batch_size=500, resume=True)
        assert (written.inserted, written.skipped) == (1101, 999)
        assert store.count() == 2100
        assert sorted(store.to_frame(columns=[]).index) == list(range(2100))


def test_datasets_and_streams_are_loaded(target, folder):
    with dkv.connect(target) as store:
        dataset = ds.dataset(folder)
        assert store.load(dataset.filter(ds.field("n") < 50)).inserted == 50
        table = dataset.to_table().slice(40, 30)
        assert store.load(table.to_reader(7), batch_size=10).inserted == 20
        assert store.load([rows(5), rows(5, start=5000)], mode="upsert").replaced == 5 + 0
        assert store.count() == 75


def test_the_engine_shows_a_load_once_and_refreshes_as_before(target, name, ask, folder, monkeypatch):
    refreshed, refresh = [], _engine_writer.Indexes.refresh

    async def counted(self, index):
        refreshed.append(ask(f"/{index}/_settings")[index]["settings"]["index"].get("refresh_interval"))
        await refresh(self, index)

    with dkv.connect(target | {"refresh_interval": "9s"}) as store:
        store.upsert(rows(3))
        monkeypatch.setattr(_engine_writer.Indexes, "refresh", counted)
        store.load(folder, batch_size=500)
        assert refreshed == ["9s"]  # one refresh for five batches, when all is set back
        settings = ask(f"/{name}/_settings")[concrete(ask, name)]["settings"]["index"]
        assert settings["refresh_interval"] == "9s"


def test_a_big_write_keeps_the_engine_from_refreshing(target, name, ask, monkeypatch):
    monkeypatch.setattr(_engine_writer, "BIG", 100)
    seen, run = [], Bulk.run

    async def watched(self, pieces, total):
        seen.append(ask(f"/{name}/_settings")[concrete(ask, name)]["settings"]["index"].get("refresh_interval"))
        return await run(self, pieces, total)

    monkeypatch.setattr(Bulk, "run", watched)
    with dkv.connect(target) as store:
        store.upsert(rows(10))
        store.upsert(rows(200))
        assert seen == [None, "-1"]
        assert "refresh_interval" not in ask(f"/{name}/_settings")[concrete(ask, name)]["settings"]["index"]


def test_a_big_write_that_is_cancelled_as_it_begins_lets_the_engine_refresh(target, name, ask, monkeypatch):
    monkeypatch.setattr(_engine_writer, "BIG", 100)
    set_to, left = _engine_indexes.Indexes.set, [True]

    async def cancelled(self, index, settings):
        await set_to(self, index, settings)
        if left:
            left.clear()
            raise asyncio.CancelledError

    with dkv.connect(target) as store:
        store.upsert(rows(10))
        monkeypatch.setattr(_engine_indexes.Indexes, "set", cancelled)
        with pytest.raises((CancelledError, asyncio.CancelledError)):
            store.upsert(rows(200))
        assert left == []
        assert "refresh_interval" not in ask(f"/{name}/_settings")[concrete(ask, name)]["settings"]["index"]


# Indexes of others

VECTORS = {
    "elasticsearch": {"type": "dense_vector", "dims": 3, "index": True, "similarity": "cosine"},
    "opensearch": {
        "type": "knn_vector",
        "dimension": 3,
        "method": {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"},
    },
}


def seeded(ask, target, name):
    """Make the index of the design that dkvector began with: payload in an object `data`."""
    data = {
        "title": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}},
        "year": {"type": "long"},
    }
    properties = {
        "id": {"type": "keyword"},
        "data": {"type": "object", "enabled": True, "properties": data},
        "embedding": VECTORS[target["backend"]],
        "created_at": {"type": "date"},
        "updated_at": {"type": "date"},
    }
    settings = {"number_of_replicas": 0} | ({"knn": True} if target["backend"] == "opensearch" else {})
    ask(f"/{name}", {"settings": settings, "mappings": {"properties": properties}}, "PUT")
    for key, title, year, vector in (
        ("a", "A tame wolf", 1999, [1, 0, 0]),
        ("b", "Two wolves", 2001, [0.9, 0.1, 0]),
        ("c", "x" * 300, 2001, [0, 0, 1]),
    ):
        document = {
            "id": key,
            "data": {"title": title, "year": year},
            "embedding": vector,
            "created_at": "2024-05-01T10:00:00Z",
        }
        ask(f"/{name}/_doc/{key}?refresh=true", document, "PUT")


WHEN = {  # what a document holds, in a date field without a format → what the engine takes it for
    "1577836800000": "2020-01-01",
    1577836800123: "2020-01-01 00:00:00.123",
    "2020": "2020-01-01",
    "2020-02": "2020-02-01",
    "2020-01-01T01:02:03.5+01:00": "2020-01-01 00:02:03.5",
    "20200101": "1970-01-01 05:36:40.101",
    "-86400000000": "1967-04-07",
    "0": "1970-01-01",
}


def test_dates_of_others_are_read_as_the_engine_reads_them(target, name, ask):
    seeded(ask, target, name)
    for at, told in enumerate(WHEN):
        document = {"id": f"w{at}", "embedding": [1, at, 0], "created_at": told}
        ask(f"/{name}/_doc/w{at}?refresh=true", document, "PUT")
    times = [pd.Timestamp(one, tz="UTC") for one in WHEN.values()]
    with dkv.connect(target) as store:
        found = store.get([f"w{at}" for at in range(len(WHEN))])
        assert found["created_at"].tolist() == times
        for at, time in enumerate(times):
            # the engine finds it by the same time
            matching = store.to_frame(where=dkv.col("created_at") == time, columns=[]).index.tolist()
            assert f"w{at}" in matching


def test_an_index_of_the_first_design_is_a_store(target, name, ask):
    seeded(ask, target, name)
    mapping = ask(f"/{name}/_mapping")
    with dkv.connect(target) as store:
        assert set(store.schema.payload.names) >= {"title", "year", "created_at"}
        found = store.search([1.0, 0, 0], k=2, where="year > 2000", columns=["title", "year"])
        assert found.index.tolist() == ["b", "c"]
        assert found["title"].tolist() == ["Two wolves", "x" * 300]
        np.testing.assert_allclose(found["distance"], [1 - 0.9 / np.hypot(0.9, 0.1), 1], atol=1e-6)
        assert store.count(dkv.col("title") == "A tame wolf") == 1
        assert store.count(dkv.col("updated_at").is_null()) == 3
        assert store.keyword_search("wolf", on="title", columns=[]).index.tolist() == ["a"]
        assert store.get(["a"])["created_at"].tolist() == [pd.Timestamp("2024-05-01 10:00", tz="UTC")]
        with pytest.raises(dkv.FilterError, match="more than 256 characters"):
            store.count(dkv.col("title").contains("x"))
        assert ask(f"/{name}/_mapping") == mapping  # reading changes nothing
        frame = pd.DataFrame({"title": ["new"], "year": [2024], "embedding": [[0, 1.0, 0]]}, index=["d"])
        assert store.upsert(frame).inserted == 1
        document = ask(
            f"/{name}/_doc/d?_source_exclude_vectors=false" if "elastic" in target["backend"] else f"/{name}/_doc/d"
        )
        assert document["_source"]["data"] == {"title": "new", "year": 2024}
        assert store.search([0, 1.0, 0], k=1, columns=["year"]).index.tolist() == ["d"]
        assert store.delete(where="year < 2000") == 1
        with pytest.raises(dkv.UnsupportedError, match="was not made by dkvector"):
            store.build_index(dkv.HNSW(m=4))


def test_a_record_of_the_first_design_is_read_and_written(target, name, ask):
    seeded(ask, target, name)
    with dkv.connect(target) as store:
        record = store.read("a")
        assert (record["title"], record["year"]) == ("A tame wolf", 1999)
        assert record.fields["embedding"].value.tolist() == [1, 0, 0]
        ((near, score),) = store.search_similar([0.0, 0, 1], k=1)
        assert (near.id, score) == ("c", pytest.approx(1))


def test_an_index_without_vectors_is_refused(target, name, ask):
    ask(f"/{name}", {"mappings": {"properties": {"a": {"type": "keyword"}}}}, "PUT")
    try:
        with pytest.raises(dkv.SchemaError, match=f"index '{name}' has no vector field"):
            dkv.connect(target)
    finally:
        ask(f"/{name}", method="DELETE")


def test_rows_of_others_that_lack_a_vector_are_no_hits(target, name, ask):
    seeded(ask, target, name)
    ask(f"/{name}/_doc/z?refresh=true", {"id": "z", "data": {"title": "no vector", "year": 2001}}, "PUT")
    with dkv.connect(target) as store:
        assert sorted(store.search([1.0, 0, 0], k=9).index) == ["a", "b", "c"]
        assert (store.last.shortfall, store.count()) == (0, 4)
        told = store.search([1.0, 0, 0], k=9, tuning={"exact": True}, columns=[])
        assert sorted(told.index) == ["a", "b", "c"]
        assert store.get(["z"], columns=["title"])["title"].tolist() == ["no vector"]
        assert pa.types.is_large_string(store.schema.id.type)
