"""What goes wrong with search engines: rows are named, the rest is stored, and nothing is silent."""

import asyncio
import secrets
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from engines import ELASTICSEARCH, OPENSEARCH
from engines.asking import asked
from engines.serving import server_of
from engines.stub import stub

import dkvector as dkv
from dkvector._loop import LOOP
from dkvector.backends._bulk import Bulk, Effort
from dkvector.backends._documents import Piece, texts_of
from dkvector.backends._engine_config import EngineConfig
from dkvector.backends._engine_writer import Writer
from dkvector.backends._search_engine import EngineStore
from dkvector.backends._wire import WireError
from dkvector.backends.elasticsearch import ElasticsearchWire
from dkvector.backends.opensearch import OpenSearchWire
from dkvector.ingest import as_batch
from dkvector.registry import backend, read_target

RECIPES = {"elasticsearch": ELASTICSEARCH, "opensearch": OPENSEARCH}
BOTH = pytest.mark.parametrize("engine", ["elasticsearch", "opensearch"])


def rows(count, dimensions=8, start=0, **columns: object):
    rng = np.random.default_rng(start)
    vectors = dkv.VectorArray(rng.standard_normal((count, dimensions)).astype("f4"))
    index = pd.RangeIndex(start, start + count)
    return pd.DataFrame({"n": np.arange(start, start + count), **columns, "v": vectors}, index=index)


@pytest.fixture
def target(engine_url):
    name = f"fault-{secrets.token_hex(4)}"
    yield {"backend": engine_url.partition("+")[0].partition(":")[0], "url": engine_url, "index": name, "replicas": 0}
    with dkv.connect(engine_url, table=name) as store:
        store.drop()


def http(target):
    return "http:" + target["url"].partition(":")[2]


# Rows that an engine does not take


def test_one_row_in_ten_thousand_that_does_not_fit(target):
    """An index of others whose numbers are shorter than ours."""
    vector = {
        "elasticsearch": {
            "type": "dense_vector",
            "dims": 8,
            "similarity": "l2_norm",
            "index_options": {"type": "flat"},
        },
        "opensearch": {"type": "knn_vector", "dimension": 8},
    }[target["backend"]]
    body = {"mappings": {"properties": {"n": {"type": "integer"}, "v": vector}}}
    asked(http(target), f"/{target['index']}", body, "PUT")
    frame = rows(10_000).set_axis([f"row {at}" for at in range(10_000)])
    frame.loc["row 7777", "n"] = 2**40
    with dkv.connect(target) as store, pytest.raises(dkv.PartialWriteError) as caught:
        store.upsert(frame)
    assert list(caught.value.failed) == ["row 7777"]
    assert "9,999 rows stored; not stored: 'row 7777' (1 row)" in str(caught.value)
    assert "1099511627776" in caught.value.failed["row 7777"] or "range" in caught.value.failed["row 7777"]
    with dkv.connect(target) as store:
        assert store.count() == 9_999
        frame.loc["row 7777", "n"] = 7777
        store.upsert(frame.loc[["row 7777"]])
        assert store.get(["row 7777"])["n"].tolist() == [7777]
        with pytest.raises(dkv.PartialWriteError) as caught:
            store.load([frame.tail(2).assign(n=[1, 2**41]), frame.head(3)], batch_size=2)
        assert list(caught.value.failed) == ["row 9999"]
        assert store.written.replaced + store.written.inserted == 4


@pytest.mark.parametrize(("label", "shown"), [("é" * 300, "'éé"), ("", "''")], ids=["600 bytes", "none"])
def test_an_id_that_no_document_can_have(target, label, shown):
    frame = rows(3).set_axis(["a", label, "c"])
    with dkv.connect(target) as store:
        with pytest.raises(dkv.SchemaError, match=r"from 1 to 512 bytes.*\(1 rows\); nothing was written") as caught:
            store.upsert(frame)
        assert shown in str(caught.value)
        assert len(str(caught.value)) < 200
        assert store.count() == 0
        store.upsert(frame.set_axis(["a", "é" * 256, "c"]))
        assert store.get(["é" * 256])["n"].tolist() == [1]


ODD = ["a.b", "a", "..", "_id", "id", "created_at", "a b", "a*", "ünï", "", "%", "_source", "-x", 'q"', "data.x"]


def test_field_names_with_dots_and_other_traps(target):
    frame = rows(4, **{name: np.arange(4) * 10 + at for at, name in enumerate(ODD)})
    with dkv.connect(target) as store:
        store.upsert(frame.rename_axis("key"))
        for at, name in enumerate(ODD):
            assert store.count(dkv.col(name) == 20 + at) == 1
        found = store.get([3, 1])
        assert found.columns.tolist() == ["n", *ODD]
        assert found.loc[1, ODD].tolist() == [10 + at for at in range(len(ODD))]
    with dkv.connect(target) as store:
        kept = store.to_frame().sort_index()
        pd.testing.assert_frame_equal(kept[["n", *ODD]], frame.rename_axis("key")[["n", *ODD]], check_index_type=False)


def test_nan_in_vectors_and_in_payload(target):
    frame = rows(5, x=[0.5, np.nan, 1.5, np.nan, 2.5])
    bad = frame.assign(v=[[1.0] * 8, [np.nan] * 8, [1.0] * 8, [np.inf] * 8, [1.0] * 8])
    with dkv.connect(target) as store:
        with pytest.raises(dkv.VectorError, match=r"NaN or infinity in 'v' at 1, 3 \(2 rows\)"):
            store.upsert(bad)
        assert store.count() == 0
        assert store.upsert(bad, reading=dkv.Reading(on_bad="drop")).dropped == (1, 3)
        store.upsert(frame)
        assert store.count("x > 0") == 3
        assert store.count(dkv.col("x").is_null()) == 2
        np.testing.assert_array_equal(store.get(range(5))["x"], frame["x"])
        with pytest.raises(dkv.SchemaError, match=r"'x' holds infinity.*at 2 "):
            store.upsert(frame.assign(x=[0, 0, np.inf, 0, 0.0]))


@pytest.mark.parametrize("values", [[[1.0], [np.inf, 1.0], [], None], [{"a": 1.0}, {"a": -np.inf}, None, {"a": None}]])
def test_infinity_in_lists_and_structs_is_refused_like_that_of_a_column(target, values):
    frame = rows(4, x=values)
    with dkv.connect(target) as store:
        with pytest.raises(dkv.SchemaError, match=r"'x' holds infinity in its lists or structs.*at 1 \(1 rows?\)"):
            store.upsert(frame)
        store.upsert(frame.drop(index=1))
        assert store.count() == 3


# Engines that can't


@pytest.fixture
def red(target):
    """Make an index of two shards, of which the only node takes one."""
    with dkv.connect(target) as store:
        store.upsert(rows(1))
    url, name = http(target), f"red-{secrets.token_hex(4)}"
    (made,) = asked(url, f"/{target['index']}").values()
    settings = {
        "number_of_shards": 2,
        "number_of_replicas": 0,
        "index.routing.allocation.total_shards_per_node": 1,
        "knn": True,
    }
    if target["backend"] == "elasticsearch":
        del settings["knn"]
    body = {"settings": settings, "mappings": made["mappings"]}
    asked(url, f"/{name}?wait_for_active_shards=0", body, "PUT")
    yield target | {"index": name, "timeout": 6.0}
    asked(url, f"/{name}", method="DELETE")


def test_a_red_shard_is_an_error_and_never_fewer_hits(red):
    url, frame = http(red), rows(50)
    with dkv.connect(red) as store:
        began = time.monotonic()
        with pytest.raises(dkv.BackendUnavailableError, match=red["backend"]):
            store.upsert(frame)
        batch = as_batch(frame, known=store.schema)
        inner = store.store
        write = inner._writer._write(inner._held, batch, texts_of(batch), {}, "index", progress=False)
        tally = LOOP.run(write)  # past the question which rows are there, which a red shard does not answer
        assert time.monotonic() - began < 40
        assert 0 < tally.created < 50
        assert len(tally.failed) == 50 - tally.created
        assert "primary shard is not active" in str(tally.lost)
        for call in (
            lambda: store.search(np.ones(8), k=3),
            lambda: store.search(np.ones((2, 8)), k=3),
            lambda: store.search(np.ones(8), k=3, tuning={"exact": True}),
            store.count,
            lambda: list(store.scan()),
            lambda: store.get(range(50)),
            lambda: store.delete(where="n > 3"),
        ):
            with pytest.raises(dkv.BackendUnavailableError, match=red["backend"]):
                call()
        asked(url, f"/{red['index']}/_settings", {"index.routing.allocation.total_shards_per_node": -1}, "PUT")
        asked(url, f"/_cluster/health/{red['index']}?wait_for_status=green&timeout=30s")
        assert store.upsert(frame).inserted == len(tally.failed)
        assert store.search(np.ones(8), k=60).index.sort_values().tolist() == list(range(50))


# A server of their own, with little room and a short life


@pytest.fixture(scope="module", params=["elasticsearch", "opensearch"])
def small(request):
    """Run a server that writes one request at a time and lets one more wait."""
    settings = {"thread_pool.write.size": "1", "thread_pool.write.queue_size": "1"}
    with server_of(RECIPES[request.param], {"settings": settings}, whole=True) as server:
        yield request.param, server


def test_rows_that_an_engine_has_no_room_for_come_again(small, monkeypatch):
    engine, server = small
    full = []
    counted = Bulk._counted

    def watched(self, piece, answer):
        again = counted(self, piece, answer)
        full.append(len(again))
        return again

    monkeypatch.setattr(Bulk, "_counted", watched)
    config = {"backend": engine, "hosts": server.host, "index": "full", "bulk_bytes": 20_000, "in_flight": 16}
    with dkv.connect(config) as store:
        written = store.upsert(rows(4000, dimensions=32))
        assert (written.inserted, store.count()) == (4000, 4000)
    assert sum(full) > 0  # else this test tests nothing


def test_a_server_that_stops_in_mid_write(small):
    engine, server = small
    config = {"backend": engine, "hosts": server.host, "index": "cut", "bulk_bytes": 50_000, "timeout": 5.0}
    frame = rows(60_000, dimensions=32)
    with dkv.connect(config) as store:
        store.upsert(frame.head(10))

        async def stopping():
            write = asyncio.create_task(store.store.upsert(frame))
            while await store.store._reader.count(None) < 2000:
                await store.store._places.refresh(store.store._held.concrete)
            await asyncio.to_thread(server.stop)
            await write

        with pytest.raises((dkv.PartialWriteError, dkv.BackendUnavailableError)) as caught:
            LOOP.run(stopping())
        assert isinstance(caught.value, dkv.PartialWriteError)
        assert 0 < len(caught.value.failed) < len(frame)
        assert set(caught.value.failed) <= set(frame.index)
        stored = len(frame) - len(caught.value.failed)
        assert f"{stored:,} rows stored" in str(caught.value)
        with pytest.raises(dkv.BackendUnavailableError, match=f"{engine} can't be reached"):
            store.search(np.ones(32))
    with pytest.raises(dkv.BackendUnavailableError, match="can't be reached"):
        dkv.connect(config)


def test_a_load_tells_why_it_failed_and_not_that_what_it_wrote_can_not_be_shown(target, monkeypatch):
    async def gone(_self, *_):
        raise dkv.BackendUnavailableError("gone")

    async def partly(_self, _batch, _mode, *, progress):  # noqa: ARG001 - called by name
        raise dkv.PartialWriteError({7: "refused"}, 4) from dkv.BackendUnavailableError("gone")

    with dkv.connect(target) as store:
        store.upsert(rows(5))
        with monkeypatch.context() as patched:
            patched.setattr(Writer, "shown", gone)
            patched.setattr(EngineStore, "_upsert", partly)
            with pytest.raises(dkv.PartialWriteError) as caught:
                store.load(rows(5, start=5))
            assert (caught.value.failed, caught.value.stored) == ({7: "refused"}, 4)
        with monkeypatch.context() as patched:
            patched.setattr(Writer, "shown", gone)
            with pytest.raises(dkv.BackendUnavailableError, match="gone"):
                store.load(rows(5, start=5))
        assert store.load(rows(5, start=5)).replaced == 5


# How hard a write presses, without a server


@pytest.mark.parametrize("wire", [ElasticsearchWire, OpenSearchWire])
def test_a_bulk_request_is_given_more_time_than_others(wire):
    """A graph that the engine merges holds it up for minutes; a search that long has failed."""

    async def sent(path, **given):
        over = wire(EngineConfig(url=url, timeout=0.1))
        try:
            return await over.send("POST", path, b"{}\n", **given)
        finally:
            await over.close()

    with stub({"/_bulk": {"items": []}}, slow=0.4) as (url, _):
        with pytest.raises(dkv.BackendUnavailableError, match="can't be reached"):
            asyncio.run(sent("/_bulk"))
        assert asyncio.run(sent("/_bulk", patience=30)) == {"items": []}
    assert EngineConfig(bulk_timeout=7).effort.answer == 7


class Answering:
    """A wire that answers as a test wants."""

    engine = "elasticsearch"

    def __init__(self, *answers: object) -> None:
        self.answers, self.sent = list(answers), []

    async def send(self, _method, _path, body, **_: object):
        self.sent.append(body)
        answer = self.answers.pop(0) if self.answers else 201
        if isinstance(answer, int) and answer >= 400:
            raise WireError(answer, "", "so it is")
        lines = body.count(b"\n")
        statuses = answer if isinstance(answer, list) else [answer] * lines
        assert len(statuses) == lines
        return {"items": [{"index": {"status": one, "error": {"reason": "no"}}} for one in statuses]}


def written(wire, count=4, **effort: float):
    lines = [b"%d\n" % at for at in range(count)]
    bulk = Bulk(wire, "/_bulk", {}, Effort(pause=0.001, longest=0.002, **effort), lambda _: None)
    return asyncio.run(bulk.run([Piece(range(count), lines)], count))


def test_only_rows_without_room_are_sent_again():
    wire = Answering([201, 429, 400, 429], [429, 201])
    tally = written(wire)
    assert (tally.created, tally.failed, tally.lost) == (3, {2: "no"}, None)
    assert wire.sent == [b"0\n1\n2\n3\n", b"1\n3\n", b"1\n"]


def test_a_request_without_room_is_sent_again_whole():
    wire = Answering(429, 503, 201)
    assert written(wire).created == 4
    assert wire.sent == [b"0\n1\n2\n3\n"] * 3


def test_a_request_that_is_too_large_is_halved():
    wire = Answering(413, 413)
    assert written(wire).created == 4
    assert wire.sent == [b"0\n1\n2\n3\n", b"0\n1\n", b"0\n", b"1\n", b"2\n3\n"]


def test_rows_for_an_index_that_is_gone_are_told_as_not_stored():
    class Gone(Answering):
        async def send(self, *args: object, **knobs: object):
            answer = await super().send(*args, **knobs)
            for item in answer["items"]:
                item["index"] = {
                    "status": 404,
                    "error": {"type": "index_not_found_exception", "reason": "no such index"},
                }
            return answer

    tally = written(Gone())
    assert (tally.created, tally.missing, set(tally.failed)) == (0, 0, {0, 1, 2, 3})
    assert "another process has replaced or dropped the index" in str(tally.lost)


def test_an_engine_that_never_has_room_is_given_up():
    wire = Answering(*[429] * 9)
    tally = written(wire, retries=3)
    assert len(wire.sent) == 4
    assert isinstance(tally.lost, dkv.BackendUnavailableError)
    assert set(tally.failed) == {0, 1, 2, 3}


def test_a_wait_for_room_has_an_end():
    wire = Answering(*[[503] * 4] * 99)
    began = time.monotonic()
    tally = written(wire, retries=99, patience=0.05)
    assert 0.05 <= time.monotonic() - began < 2
    assert isinstance(tally.lost, dkv.BackendUnavailableError)


def test_nothing_is_encoded_that_need_not_be():
    """What comes after a lost connection is told as not stored, and never made."""
    made = []

    def pieces():
        for at in range(100):
            made.append(at)
            yield Piece(range(at, at + 1), [b"%d\n" % at])

    bulk = Bulk(Answering(401), "/_bulk", {}, Effort(in_flight=2), lambda _: None)
    tally = asyncio.run(bulk.run(pieces(), 100))
    assert len(made) < 10
    assert len(tally.failed) + tally.created == 100
    assert isinstance(tally.lost, dkv.AccessDeniedError)


@pytest.mark.parametrize("work", ["search", "upsert"])
def test_a_store_that_is_closed_in_mid_work_says_so_and_connects_no_more(engine_url, work):
    """A client would begin a session anew, which nobody closes."""
    name, config = read_target(engine_url, table=f"closed-{secrets.token_hex(4)}")

    async def closed():
        store = await backend(name).open(config)
        await store.upsert(rows(200))
        queries = rows(50)["v"]
        asked = [store.search(queries) if work == "search" else store.upsert(rows(400, start=at)) for at in range(5)]
        tasks = [asyncio.ensure_future(one) for one in asked]
        await asyncio.sleep(0.001)
        await store.aclose()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        return [one for one in found if isinstance(one, BaseException)], store._wire._clients.taken()

    errors, clients = asyncio.run(closed())
    assert {isinstance(one, dkv.BackendUnavailableError | dkv.PartialWriteError) for one in errors} <= {True}
    assert clients == []
    with dkv.connect(engine_url, table=config["index"]) as store:
        store.drop()


LOOPS = """
import asyncio, os, signal, sys
import dkvector as dkv
from dkvector.registry import read_target, backend

name, config = read_target(sys.argv[1], table=sys.argv[2])
store = asyncio.run(backend(name).open(config))
print([asyncio.run(store.count()) for _ in range(3)], len(store._wire._clients._homes))
asyncio.run(store.aclose())
with dkv.connect(sys.argv[1], table=sys.argv[2]) as store:
    before = len(store)
    if os.fork() == 0:
        signal.alarm(30)  # a child that waits for ever is ended
        os._exit(0 if len(store) == before == 20 else 3)
    print(os.waitstatus_to_exitcode(os.wait()[1]), len(store))
"""


def test_a_store_is_used_on_one_loop_after_another_and_on_both_sides_of_a_fork(engine_url):
    table = f"loops-{secrets.token_hex(4)}"
    with dkv.connect(engine_url, table=table) as store:
        store.upsert(rows(20))
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", LOOPS, engine_url, table]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - our own
        store.drop()
    assert (run.stdout, run.stderr) == ("[20, 20, 20] 1\n0 20\n", "")
