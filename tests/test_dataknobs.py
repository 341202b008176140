"""dataknobs both ways, against its own memory database: records, its databases in a store, a store as its database."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime

import numpy as np
import pytest
import servers
from dataknobs_data import Field, FieldType, Operator, Query, Record, VectorField
from dataknobs_data.backends.memory import AsyncMemoryDatabase, SyncMemoryDatabase
from dataknobs_data.backends.sqlite import SyncSQLiteDatabase
from dataknobs_data.migration import Migrator
from dataknobs_data.query import Filter, VectorQuery
from dataknobs_data.query_logic import ComplexQuery, FilterCondition, LogicCondition, LogicOperator
from dataknobs_data.streaming import StreamConfig
from dataknobs_data.vector import DistanceMetric
from hypothesis import given
from hypothesis import strategies as st
from scans import telling

import dkvector as dkv
from dkvector.backends.exact import ExactStore
from dkvector.interop.dataknobs import (
    StoreDatabase,
    from_dataknobs,
    push_database,
    to_dataknobs,
    write_database,
)

A, B = [1.0, 0.0], [0.0, 1.0]


def record(name, vector, /, **fields):
    return Record({"embedding": VectorField(vector), **fields}, storage_id=name)


def rows():
    return [
        record("a", A, title="wolf", page=1, tags=["x", "y"], seen=datetime(2024, 1, 2, tzinfo=UTC)),
        record("b", B, title="bridge", page=2, tags=["z"], more={"deep": {"er": [1, None]}}),
        record("c", [1.0, 1.0], title="Wolfram", page=3),
        record("d", [1.0, 0.1], title="50% off_"),
    ]


async def memory(records=None):
    database = AsyncMemoryDatabase()
    for one in rows() if records is None else records:
        await database.create(one)
    return database


@pytest.fixture(params=["exact", "faiss", "pgvector"])
async def store(request):
    config = {}
    if request.param == "pgvector":
        servers.need_postgres()
        config = {"url": request.getfixturevalue("postgres_url"), "table": request.getfixturevalue("table")}
    made = await dkv.VectorStoreFactory.create(request.param, config)
    yield made
    await made.aclose()


@pytest.fixture
async def database(store):
    made = StoreDatabase(store)
    assert await made.create_batch(rows()) == ["a", "b", "c", "d"]
    return made


async def exact(records):
    database = StoreDatabase(await dkv.VectorStoreFactory.create("exact", {}))
    await database.create_batch(records)
    return database


def told(record):
    """All that a record says, and the kinds of its fields; what is None is the same as missing."""
    fields = {
        name: (np.asarray(one.value).tolist(), one.type) if one.type is FieldType.VECTOR else (one.value, one.type)
        for name, one in record.fields.items()
        if one.value is not None
    }
    return record.id, fields, record.metadata


def test_records_come_back_from_ours_as_they_were():
    theirs = Record(
        {
            "embedding": VectorField([1.0, 2.0], model_name="m", model_version="v2", source_field="title"),
            "title": Field("title", "a long one", FieldType.TEXT, {"lang": "en"}),
            "n": 1,
            "share": 0.5,
            "ok": True,
            "tags": ["x"],
            "raw": b"\x00",
            "seen": datetime(2024, 1, 2, tzinfo=UTC),
            "none": None,
        },
        {"source": "api"},
        storage_id="r",
    )
    ours = from_dataknobs(theirs)
    assert isinstance(ours, dkv.Record)
    assert isinstance(ours.fields["embedding"], dkv.VectorField)
    assert (ours.id, ours["n"], ours["raw"], ours.metadata) == ("r", 1, b"\x00", {"source": "api"})
    back = to_dataknobs(ours)
    assert {name: one.metadata for name, one in back.fields.items()} == {
        name: one.metadata for name, one in theirs.fields.items()
    }
    assert told(back) == told(theirs)
    vector = back.fields["embedding"]
    assert (vector.model_name, vector.model_version, vector.source_field) == ("m", "v2", "title")
    assert vector.name == "embedding"


def test_records_of_ours_come_back_from_theirs_as_they_were():
    ours = dkv.Record({"n": 1, "v": dkv.VectorField(np.ones(3)), "f": dkv.Field("t", "text", {"k": 1})}, "i", {"m": 2})
    back = from_dataknobs(to_dataknobs(ours))
    assert (back.id, back.metadata, back["n"], back.fields["f"]) == ("i", {"m": 2}, 1, ours.fields["f"])
    assert back["v"].tolist() == [1, 1, 1]
    to_dataknobs(ours)["v"][0] = 7  # theirs is a copy: ours can't be written to
    assert ours["v"].tolist() == [1, 1, 1]


def test_what_one_side_has_not_is_said():
    with pytest.raises(dkv.SchemaError, match="'v' is a whole column"):
        to_dataknobs(dkv.Record({"v": dkv.VectorField(np.ones((2, 3)))}))
    with pytest.raises(dkv.VectorError, match=r"record 'odd'.*not finite"):
        from_dataknobs(Record({"v": VectorField([1.0, float("nan")])}, storage_id="odd"))
    sparse = from_dataknobs(Record({"s": Field("s", {"1": 0.5}, FieldType.SPARSE_VECTOR)}))
    assert (sparse["s"], sparse.fields["s"].type) == ({"1": 0.5}, dkv.FieldType.JSON)
    assert "id" not in from_dataknobs(Record({"id": 5}))
    assert from_dataknobs(Record({"id": 5})).id == "5"


async def test_a_database_is_written_into_a_store(store):
    written = await write_database(await memory(), store, batch_size=3)
    assert (written.inserted, written.replaced) == (4, 0)
    hits = (await store.search([1.0, 0.2], k=2, where="page >= 1", columns=["title"])).to_frame()
    assert hits["title"].tolist() == ["wolf", "Wolfram"]
    assert (await store.get(["b"])).column("tags{}").to_pylist() == ['["z"]']
    assert await store.count("seen > '2024-01-01T00:00:00+00:00'") == 1


class Paged(AsyncMemoryDatabase):
    """Streams as the databases of dataknobs over SQL do: page by page, past the limit of a query."""

    left = 0

    async def stream_read(self, query=None, config=None):  # noqa: ARG002 - their signature
        asked = (query or Query()).copy()
        asked.limit_value = asked.offset_value = None
        try:
            for one in await self.search(asked):
                yield one
        finally:
            self.left += 1


@pytest.mark.parametrize(
    ("query", "ids"),
    [(Query().limit(2), "ab"), (Query().sort("title").limit(1), "d"), (Query().filter("page", ">", 1).offset(1), "c")],
    ids=["limit", "order", "offset"],
)
async def test_a_query_is_heeded_in_all_that_it_says(store, query, ids):
    database = Paged()
    await database.create_batch(rows())
    assert [one.id for one in await database.search(query)] == list(ids)
    assert (await write_database(database, store, query=query)).inserted == len(ids)
    assert sorted([one.id async for one in store.stream_read()]) == list(ids)


def test_a_query_is_heeded_the_blocking_way():
    paged, lite = Paged(), SyncSQLiteDatabase({"path": ":memory:"})
    lite.connect()
    lite.create_batch([record(name, A) for name in "abc"])
    asyncio.run(paged.create_batch(rows()))
    for database in (paged, lite):
        with push_database(database, "exact", query=Query().limit(2)) as pushed:
            assert len(pushed) == 2
    lite.close()


async def test_a_stream_is_let_go_where_a_write_fails(store):
    database = Paged()
    await database.create_batch([record("bad", [1.0, 2.0, 3.0]), *rows()])
    with pytest.raises(dkv.VectorError) as caught:
        await write_database(database, store, batch_size=2)
    assert (database.left, caught.value.__traceback__ is not None) == (1, True)


async def test_writing_goes_on_where_it_stopped(store):
    database, broken = await memory(), await memory([*rows()[:2], record("bad", [1.0, 2.0, 3.0]), *rows()[2:]])
    with pytest.raises(dkv.VectorError):
        await write_database(broken, store, batch_size=2)
    assert await store.count() == 2
    written = await write_database(database, store, batch_size=2, resume=True)
    assert (written.inserted, written.skipped) == (2, 2)
    only = await write_database(database, store, query=Query().filter("page", ">", 1))
    assert (only.inserted, only.replaced) == (0, 2)


async def test_records_that_the_engine_does_not_take_keep_no_others_back(monkeypatch):
    store = await ExactStore.open({})
    upsert = ExactStore._upsert

    async def picky(self, batch, mode, *, progress):
        if "b" not in batch.labels:
            return await upsert(self, batch, mode, progress=progress)
        raise dkv.PartialWriteError(dict.fromkeys(batch.labels, "odd"), 0)

    monkeypatch.setattr(ExactStore, "_upsert", picky)
    with pytest.raises(dkv.PartialWriteError, match=r"2 rows stored; not stored: 'a', 'b' \(2 rows\): odd") as caught:
        await write_database(await memory(), store, batch_size=2)
    assert (caught.value.stored, store.written.inserted, await store.count()) == (2, 2, 2)


async def test_records_without_a_vector_are_named_or_left_out(store):
    database = await memory([*rows(), Record({"title": "bare"}, storage_id="e")])
    with pytest.raises(dkv.VectorError, match="'e'"):
        await write_database(database, store)
    assert await store.count() == 0
    written = await write_database(database, store, reading=dkv.Reading(on_bad="drop"))
    assert (written.inserted, written.dropped) == (4, ("e",))


def test_a_database_is_pushed_the_blocking_way(tmp_path):
    sync = SyncMemoryDatabase()
    sync.create_batch(rows())
    awaited = asyncio.run(memory())
    for place, source in (("sync", sync), ("async", awaited)):
        with push_database(source, "faiss", path=tmp_path / place, index="flat", model="m", batch_size=3) as pushed:
            assert pushed.search([1.0, 0.2], k=1, where={"page": 3}).index.tolist() == ["c"]
            assert pushed.schema.vector().model == "m"
        with push_database(source, "faiss", path=tmp_path / place, resume=True) as again:
            assert (again.written.inserted, again.written.skipped) == (0, 4)


async def test_records_come_back_from_a_store(database):
    for one in rows():
        assert told(await database.read(one.id)) == told(one)
    assert await database.read("nobody") is None
    assert [one and one.id for one in await database.read_batch(["c", "nobody", "a"])] == ["c", None, "a"]
    assert (await database.exists("a"), await database.exists("nobody")) == (True, False)


async def test_metadata_and_models_are_kept(store):
    database = StoreDatabase(store)
    vector = VectorField(A, model_name="m", model_version="v2")
    name = await database.create(Record({"embedding": vector}, {"source": "api", "n": [1]}))
    got = await database.read(name)
    assert (got.metadata, got.storage_id) == ({"source": "api", "n": [1]}, name)
    assert (got.fields["embedding"].model_name, got.fields["embedding"].model_version) == ("m", "v2")
    with pytest.raises(dkv.SchemaError, match="has model 'm', these vectors have 'other'"):
        await database.create(Record({"embedding": VectorField(A, model_name="other")}))
    mixed = [Record({"embedding": VectorField(A, model_name=one)}) for one in "mn"]
    with pytest.raises(dkv.SchemaError, match=r"several models in one field: \['embedding'\]"):
        await database.create_batch(mixed)


async def test_a_model_is_that_of_its_own_field(store):
    database = StoreDatabase(store)
    for name in "a", "b":
        fields = {
            "embedding": VectorField(A, model_name="m", model_version="v2"),
            "other": VectorField([1.0, 2.0, 3.0]),
        }
        fields["third"] = VectorField([1.0], model_name="n")
        await database.create(Record(fields, storage_id=name))
    told = {one.name: (one.model, one.version) for one in store.known.vectors}
    assert told == {"embedding": ("m", "v2"), "other": (None, None), "third": ("n", None)}


async def test_what_a_search_leaves_unread_is_closed():
    closed = []
    database = StoreDatabase(await telling(closed).open({}))
    await database.create_batch(rows())
    assert len(await database.search(Query().limit(2))) == 2
    assert closed == [True]
    async with aclosing(database.stream_read()) as each:
        await anext(each)
    assert closed == [True] * 2


async def test_writing_records(database):
    with pytest.raises(dkv.DuplicateIdError, match="'a'"):
        await database.create(record("a", A))
    assert await database.update("a", record("elsewhere", B, title="new")) is True
    assert told(await database.read("a")) == told(record("a", B, title="new"))
    assert await database.update("nobody", record("nobody", B)) is False
    assert await database.upsert(record("e", A, page=9)) == "e"
    assert await database.upsert("e", record(None, B, page=8)) == "e"
    assert (await database.read("e"))["page"] == 8
    assert await database.update_batch([("e", record("e", A, page=7)), ("nobody", record("n", A))]) == [True, False]
    assert await database.delete("e") is True
    assert await database.delete("e") is False
    assert await database.delete_batch(["a", "nobody", "b"]) == [True, False, True]
    assert await database.count() == 2
    assert await database.clear() == 2
    assert (await database.count(), await database.search(Query()), await database.exists("c")) == (0, [], False)
    assert await database.create(record("again", A)) == "again"


async def test_many_are_written_at_once_the_last_of_an_id_counting(database, monkeypatch):
    writes = []
    plain = type(database.store).upsert

    async def counted(self, *args, **told):
        writes.append(1)
        return await plain(self, *args, **told)

    monkeypatch.setattr(type(database.store), "upsert", counted)
    some = [record("a", B, page=5), record("new", A, page=6), record("a", B, page=7), record(None, A, page=8)]
    ids = await database.upsert_batch(some)
    assert ids[:3] == ["a", "new", "a"]
    assert len(writes) == 1
    assert [one["page"] for one in await database.read_batch(ids)] == [7, 6, 7, 8]
    assert await database.upsert_batch([]) == []


async def test_a_write_on_condition_is_refused_and_not_done_without(database):
    """No store can tell that nobody wrote between the look and the write."""
    for write in (database.update, database.upsert):
        with pytest.raises(dkv.UnsupportedError, match="expected_version"):
            await write("a", record("a", B), expected_version="whatever")
    with pytest.raises(dkv.UnsupportedError, match="expected_version"):
        await database.delete("a", expected_version="whatever")
    assert told(await database.read("a")) == told(rows()[0])
    assert "conditional_write" not in database.SUPPORTED_CAPABILITIES


async def test_lists_of_numbers_are_no_vectors(store, tmp_path):
    listed = [record("a", A, scores=[0.5, 0.7], title="[0.1, 0.2]")]
    database = StoreDatabase(store)
    await database.create_batch(listed)
    assert told(await database.read("a")) == told(listed[0])
    written = await dkv.VectorStoreFactory.create("exact", {})
    await write_database(await memory(listed), written)
    assert [one.name for one in written.known.vectors] == ["embedding"]
    sync = SyncMemoryDatabase()
    sync.create_batch(listed)
    with push_database(sync, "faiss", path=tmp_path / "pushed") as pushed:
        assert [one.name for one in pushed.schema.vectors] == ["embedding"]


async def test_what_no_store_takes_is_refused_and_nothing_written(database):
    with pytest.raises(dkv.VectorError, match="'bare'"):
        await database.create(Record({"title": "t"}, storage_id="bare"))
    with pytest.raises(dkv.SchemaError, match="column 'page' is int64 in the store"):
        await database.create(record("e", A, page="one"))
    with pytest.raises(dkv.SchemaError, match="a field 'id' of another value"):
        await database.create(record("e", A, id="other"))
    for name in ("tags{}", "_metadata"):
        with pytest.raises(dkv.SchemaError, match="the store's own columns"):
            await database.create(record("e", A, **{name: "x"}))
    with pytest.raises(dkv.SchemaError, match="can't be kept as JSON"):
        await database.create(record("e", A, tags=[object()]))
    assert await database.count() == 4


SIMPLE = [
    (Query(), "abcd"),
    (Query().filter("page", ">=", 2), "bc"),
    (Query().filter("page", "!=", 2), "ac"),
    (Query().filter("page", Operator.NOT_IN, [1, None]), "bc"),
    (Query().filter("page", Operator.BETWEEN, [1, 2]), "ab"),
    (Query().filter("page", Operator.NOT_BETWEEN, [1, 2]), "c"),
    (Query().filter("page", Operator.EXISTS), "abc"),
    (Query().filter("page", Operator.NOT_EXISTS), "d"),
    (Query().filter("title", Operator.LIKE, "Wolf%"), "c"),
    (Query().filter("title", Operator.REGEX, "^[bw]"), "ab"),
    (Query().filter("tags", "=", ["x", "y"]), "a"),
    (Query().filter("tags", "!=", ["z"]), "a"),
    (Query().filter("tags", Operator.IN, [["z"], ["q"]]), "b"),
    (Query().filter("more", Operator.EXISTS), "b"),
    (Query().filter("embedding", Operator.EXISTS), "abcd"),
    (Query().filter("nobody", "=", 1), ""),
    (Query().filter("nobody", "!=", 1), ""),
    (Query().filter("nobody", Operator.NOT_EXISTS), "abcd"),
    (Query().filter("id", Operator.IN, ["a", "d", "q"]), "ad"),
    (Query().filter("seen", "<", datetime(2025, 1, 1, tzinfo=UTC)), "a"),
    (Query().filter("page", "=", None), ""),
    (Query().filter("page", ">", 1).filter("title", "=", "bridge"), "b"),
    (Query().filter("page", ">", 2).or_(Filter("title", Operator.EQ, "nobody")), ""),
    (Query().not_(Filter("page", Operator.GT, 1)), "ad"),
]


@pytest.mark.parametrize(("query", "expected"), SIMPLE, ids=lambda one: str(one)[:60])
async def test_conditions_mean_what_they_do_in_dataknobs(query, expected):
    database, theirs = await exact(rows()), await memory()
    assert "".join(sorted(one.id for one in await database.search(query))) == expected
    assert await database.count(query) == len(expected)
    if not any(one.operator is Operator.LIKE for one in getattr(query, "filters", ())):  # with case here, without there
        assert sorted(one.id for one in await theirs.search(query)) == sorted(expected)


async def test_conditions_mean_the_same_on_every_backend(database):
    got = ["".join(sorted(one.id for one in await database.search(query))) for query, _ in SIMPLE]
    assert got == [expected for _, expected in SIMPLE]


async def test_order_pages_and_fields(database):
    by_page = Query().sort_by("page", "desc")
    assert [one.id for one in await database.search(by_page)] == ["c", "b", "a", "d"]
    assert [one.id for one in await database.search(by_page.copy().limit(2).offset(1))] == ["b", "a"]
    assert [one.id for one in await database.search(Query().sort_by("id", "desc").limit(1))] == ["d"]
    only = await database.search(Query().filter("id", "=", "a").select("title", "nobody"))
    assert [told(one) for one in only] == [("a", {"title": ("wolf", FieldType.STRING)}, {})]
    assert len(await database.search(Query().limit(3))) == 3
    assert await database.count(Query().limit(3)) == 3


async def test_vectors_are_searched_after_the_conditions(database):
    nearest = Query().filter("page", ">=", 2).similar_to([1.0, 0.05], k=1)
    assert [one.id for one in await database.search(nearest)] == ["c"]
    found = await database.vector_search([1.0, 0.0], k=4, filter=Query().filter("page", ">", 0))
    assert [one.record.id for one in found] == ["a", "c", "b"]
    np.testing.assert_allclose([one.score for one in found], [1, 0.5**0.5, 0], atol=1e-6)
    theirs = await (await memory()).vector_search(A, k=4)
    ours = await database.vector_search(A, k=4, metric=DistanceMetric.COSINE)
    assert [one.record.id for one in ours] == [one.record.id for one in theirs]
    np.testing.assert_allclose([one.score for one in ours], [one.score for one in theirs], atol=1e-6)
    assert [one.record.id for one in await database.vector_search(A, score_threshold=0.9)] == ["a", "d"]
    with pytest.raises(dkv.UnsupportedError, match="l1"):
        await database.vector_search(A, metric=DistanceMetric.L1)
    with pytest.raises(dkv.NotFoundError, match="no vector field 'other'"):
        await database.search(Query(vector_query=VectorQuery(A, "other")))


async def test_hybrid_search_has_the_words_of_the_engine(database):
    found = await database.hybrid_search("bridge", A, text_fields=["title"], k=2)
    assert {one.record.id: (one.vector_rank, one.text_rank) for one in found} == {"a": (1, None), "b": (4, 1)}


async def test_texts_are_embedded_and_written(store):
    database = StoreDatabase(store)
    records = [Record({"title": text}, storage_id=text) for text in ("ab", "b", "aa")]

    def embedded(texts):
        return np.array([[text.count("a") + 0.1, text.count("b")] for text in texts])

    ids = await database.bulk_embed_and_store(records, "title", embedding_fn=embedded, batch_size=2, model_name="m")
    assert ids == ["ab", "b", "aa"]
    assert [one.record.id for one in await database.vector_search(A, k=1)] == ["aa"]
    assert store.known.vector().model == "m"
    assert await database.create_vector_index("embedding", dimensions=2, index_type="flat")
    with pytest.raises(dkv.VectorError, match="expected 3"):
        await database.create_vector_index("embedding", dimensions=3)
    with pytest.raises(dkv.UnsupportedError, match="searched by cosine"):
        await database.create_vector_index("embedding", metric=DistanceMetric.L2)


class Embedder:
    """What dataknobs calls a text embedder from 0.11 on."""

    dimensions = 2
    model_id = "counting"

    async def embed(self, texts):
        return [[text.count("a") + 0.1, text.count("b")] for text in texts]


async def test_an_embedder_s_own_name_is_kept(store):
    database = StoreDatabase(store)
    records = [Record({"title": text}, storage_id=text) for text in ("ab", "b")]
    assert await database.bulk_embed_and_store(records, "title", embedder=Embedder()) == ["ab", "b"]
    assert store.known.vector().model == "counting"
    for ways in ({}, {"embedder": Embedder(), "embedding_fn": len}):
        with pytest.raises(ValueError, match="either embedding_fn= or embedder="):
            await database.bulk_embed_and_store(records, "title", **ways)


async def test_streams_in_and_out(database):
    async def more():
        for at in range(7):
            yield record(f"m{at}", A, page=10 + at)
        yield record("a", B)

    result = await database.stream_write(more(), StreamConfig(batch_size=3, on_error=lambda *_: True))
    assert (result.total_processed, result.successful, result.failed) == (8, 7, 1)
    assert [one["record_id"] for one in result.errors] == ["a"]
    got = [one.id async for one in database.stream_read(Query().filter("page", ">=", 10), StreamConfig(batch_size=2))]
    assert sorted(got) == [f"m{at}" for at in range(7)]
    assert [one.id async for one in database.stream_read(Query().sort_by("page", "desc").limit(2))] == ["m6", "m5"]
    assert len([one async for one in database.stream_read()]) == 11


async def test_their_own_migration_copies_into_a_store(store):
    database = StoreDatabase(store)
    progress = await Migrator().migrate_async(await memory(), database)
    assert (progress.succeeded, progress.failed) == (4, 0)
    assert told(await database.read("a")) == told(rows()[0])


async def test_what_a_column_can_not_tell_is_said(database):
    for field, operator in (("tags", ">"), ("more.deep", "="), ("embedding", "=")):
        with pytest.raises(dkv.UnsupportedError, match=field):
            await database.search(Query().filter(field, operator, 1))
    with pytest.raises(dkv.FilterError, match="regex"):
        await database.search(Query().filter("title", Operator.REGEX, "("))
    with pytest.raises(dkv.FilterError, match="a pair"):
        await database.search(Query().filter("page", Operator.BETWEEN, 1))


@pytest.mark.parametrize("value", ["x' OR '1'='1", "%", "*", "\\", "a' --"])
async def test_values_are_never_code(database, value):
    for operator in (Operator.EQ, Operator.IN):
        assert (
            await database.search(Query().filter("title", operator, [value] if operator is Operator.IN else value))
            == []
        )
    assert await database.read(value) is None
    assert await database.delete(value) is False
    assert await database.count() == 4


async def test_ids_of_a_store_may_be_numbers():
    store = await dkv.VectorStoreFactory.create("exact", {})
    await store.upsert([dkv.Record({"v": dkv.VectorField(A)}, 7)])
    database = StoreDatabase(store)
    assert (await database.read("7")).id == "7"
    assert await database.create(Record({"v": VectorField(B)}, storage_id="8")) == "8"
    assert [one.id for one in await database.search(Query().sort_by("id"))] == ["7", "8"]
    with pytest.raises(dkv.SchemaError, match="the store's ids are int64"):
        await database.exists("seven")


VALUES = {"n": st.integers(-2, 2), "s": st.sampled_from(["a", "A", "ab", ""])}
KEYS = st.sampled_from([*VALUES])
LEAVES = KEYS.flatmap(
    lambda key: st.one_of(
        st.builds(
            Filter, st.just(key), st.sampled_from([Operator.EQ, Operator.NEQ, Operator.GT, Operator.LTE]), VALUES[key]
        ),
        st.builds(
            Filter, st.just(key), st.sampled_from([Operator.IN, Operator.NOT_IN]), st.lists(VALUES[key], max_size=2)
        ),
        st.builds(
            Filter,
            st.just(key),
            st.sampled_from([Operator.BETWEEN, Operator.NOT_BETWEEN]),
            st.tuples(VALUES[key], VALUES[key]),
        ),
        st.builds(Filter, st.just(key), st.sampled_from([Operator.EXISTS, Operator.NOT_EXISTS])),
    )
) | st.builds(Filter, st.just("s"), st.just(Operator.REGEX), st.sampled_from(["a", "^a$", "[A-Z]", "."]))
TREES = st.recursive(
    st.builds(FilterCondition, LEAVES),
    lambda inner: st.builds(LogicCondition, st.sampled_from(list(LogicOperator)), st.lists(inner, max_size=3)),
    max_leaves=6,
)


@given(st.lists(st.fixed_dictionaries({}, optional=VALUES), max_size=6), TREES)
def test_complex_conditions_mean_what_dataknobs_own_matching_does(rows, condition):
    records = [record(str(at), A, **one) for at, one in enumerate([{"n": 9, "s": "zz"}, *rows])]
    query = ComplexQuery(condition)

    async def asked():
        return {one.id for one in await (await exact(records)).search(query)}

    assert asyncio.run(asked()) == {one.id for one in records if query.matches(one)}


async def test_vectors_that_rows_may_lack_are_not_said_to_be_there(database):
    await database.store.reembed(lambda texts: [[len(one), 1.0, 2.0] for one in texts], "v2", text="title")
    await database.create(record("new", A, title="new"))
    assert await database.count(Query().filter("embedding", "exists")) == 5
    for operator in ("exists", "not_exists"):
        with pytest.raises(dkv.UnsupportedError, match="rows may lack 'embedding_v2'"):
            await database.count(Query().filter("embedding_v2", operator))
