"""The server's side: who may do what, servers that go away, writers beside each other, and text that would be code."""

import asyncio
import secrets
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import servers

import dkvector as dkv
from dkvector import local
from dkvector.backends import _pg_ddl, _pg_plan, _pg_write
from dkvector.backends.pgvector import PgVectorStore


def rows(count, start=0, **columns: object):
    rng = np.random.default_rng(start)
    vectors = dkv.VectorArray(rng.standard_normal((count, 8)).astype("f4"))
    return pd.DataFrame(
        {"n": np.arange(start, start + count), **columns, "v": vectors}, index=range(start, start + count)
    )


@pytest.fixture
def user(sql):
    """A role that may log in, and nothing else."""
    name = f"user_{secrets.token_hex(3)}"
    sql(f"CREATE ROLE {name} LOGIN PASSWORD 'sesame'")
    yield name
    sql(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


# Access


def restricted(sql, url, table, user):
    """Let a user see only rows that name them as the owner, and give the config that they connect by."""
    sql(
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY own ON {table} USING (owner = current_user)",
        f"GRANT SELECT ON {table} TO {user}",
    )
    return {"backend": "pgvector", "url": url, "user": user, "password": "sesame", "table": table}


def test_row_level_security_holds_through_every_call(local_postgres, postgres_url, table, sql, user):  # noqa: ARG001
    """Of 3,000 rows a user sees 40, and finds their neighbours among those, index or not."""
    frame = rows(3000, owner=np.where(np.arange(3000) % 75 == 0, user, "other"), text="some words")
    frame.vec.push(postgres_url, table=table, index="hnsw").close()
    mine = frame[frame.owner == user]
    config = restricted(sql, postgres_url, table, user)
    with dkv.connect(config) as store:
        for query in np.random.default_rng(1).standard_normal((5, 8)).astype("f4"):
            expected = mine.vec.search(query, k=10).index.tolist()
            assert store.search(query, k=10).index.tolist() == expected
            # the policy is a filter like any other: an index would be read almost to its end
            assert store.last.plan == "exact over the matching rows"
        many = store.search(frame["v"].iloc[:5], k=50)
        assert many.groupby("query").size().tolist() == [40] * 5
        assert set(many.index) == set(mine.index) == set(store.to_frame().index)
        assert (len(store), store.count("n < 150")) == (40, 2)
        assert set(store.keyword_search("words", k=100).index) == set(mine.index)
        assert store.explain(frame["v"].iloc[0], k=10).rows == 40
        with pytest.raises(dkv.NotFoundError, match=r"1 \(1 row\)"):
            store.get([1])
        for write in (
            lambda: store.upsert(frame.head(1)),
            lambda: store.upsert(frame.head(1), mode="replace"),
            lambda: store.delete(mine.index),
            lambda: store.build_index("ivf"),
            lambda: store.index_columns("n"),
            lambda: store.add_vector_field("w", 2),
            store.drop,
        ):
            with pytest.raises(dkv.AccessDeniedError):
                write()
    assert sql(f"SELECT count(*) FROM {table}") == [(3000,)]
    sql(f"GRANT INSERT, UPDATE, DELETE ON {table} TO {user}")
    with dkv.connect(config) as store:  # writes go where the policy lets them
        assert store.upsert(mine.head(2).assign(text="mine")).replaced == 2
        with pytest.raises(dkv.AccessDeniedError, match="row-level security"):
            store.upsert(mine.head(1).assign(owner="other"))
        assert store.delete(where="n >= 0") == 40
    assert sql(f"SELECT count(*) FROM {table}") == [(2960,)]


def test_a_policy_that_changes_changes_the_plan(local_postgres, postgres_url, table, sql, user, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr(_pg_plan, "START", -1e6)  # whatever the index finds, it finds it at once
    rows(3000, owner=np.where(np.arange(3000) % 75 == 0, user, "other")).vec.push(
        postgres_url, table=table, index="hnsw"
    ).close()
    config = restricted(sql, postgres_url, table, user)
    with dkv.connect(config) as store:
        store.search(np.ones(8), k=10)
        assert store.last.plan == "exact over the matching rows"
        sql(f"ALTER POLICY own ON {table} USING (true)")
        store.store._planner.forget()  # as it does by itself after a while
        assert len(store.search(np.ones(8), k=10)) == 10
        assert store.last.plan == "hnsw"


def test_grants_survive_a_replace(postgres_url, table, sql, user):
    with rows(20).vec.push(postgres_url, table=table, index="hnsw") as store:
        sql(f"GRANT SELECT ON {table} TO {user}")
        store.upsert(rows(5, start=100), mode="replace")
        assert (len(store), store.indexes()) == (5, {"v": dkv.HNSW()})
    config = {"backend": "pgvector", "url": postgres_url, "user": user, "password": "sesame", "table": table}
    with dkv.connect(config) as store:
        assert sorted(store.to_frame().index) == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("target", ["postgresql://me:s3cret@127.0.0.1:1/db", "postgresql://me:s3cret@no.such.host/db"])
def test_a_server_that_is_not_there(target):
    with pytest.raises(dkv.BackendUnavailableError, match="can't be reached") as told:
        dkv.connect(target, table="t")
    assert "s3cret" not in f"{told.value!r} {told.value}"


def test_secrets_are_not_shown(postgres_url, table):
    config = {"url": postgres_url, "password": "s3cret", "table": table}
    with dkv.connect({"backend": "pgvector", **config}) as store:
        told = f"{store!r} {store.store.config!r} {vars(store.store)!r}"
    assert "s3cret" not in told
    assert postgres_url not in told


def test_a_database_that_is_not_there(postgres_url):
    with pytest.raises(dkv.BackendUnavailableError, match="nosuch"):
        dkv.connect({"backend": "pgvector", "url": postgres_url, "database": "nosuch", "table": "t"})


def test_a_server_without_tls_is_refused_where_it_is_required(postgres_url, sql):
    if sql("SHOW ssl") == [("on",)]:
        with dkv.connect({"backend": "pgvector", "url": postgres_url, "sslmode": "require", "table": "t"}) as store:
            assert store.schema is None
    else:
        config = {"backend": "pgvector", "url": "postgresql://postgres@127.0.0.1:1/postgres", "table": "t"}
        with pytest.raises(dkv.BackendUnavailableError):
            dkv.connect(config | {"sslmode": "require"})
        with pytest.raises((dkv.SchemaError, dkv.BackendUnavailableError), match="sslmode"):
            dkv.connect(config | {"sslmode": "perhaps"})


def test_a_statement_that_takes_too_long_is_given_up(postgres_url, table):
    rows(2000).vec.push(postgres_url, table=table).close()
    config = {"backend": "pgvector", "url": postgres_url, "table": table}
    with dkv.connect(config | {"statement_timeout": 0.25}) as store:
        with pytest.raises(dkv.BackendUnavailableError, match="statement timeout"):
            store.search(np.ones((2000, 8)), k=500)  # which takes two seconds
        assert len(store) == 2000  # the next statement has its own time


# Servers that go away


def test_a_store_outlives_a_restart_of_its_server(local_postgres, tmp_path):  # noqa: ARG001
    server = local.postgres(tmp_path / "db")
    store = rows(50).vec.push(server.url, table="t", index="hnsw")
    assert len(store.search(np.ones(8), k=5)) == 5
    local._stop(server.path)
    with pytest.raises(dkv.BackendUnavailableError, match="can't be reached"):
        store.search(np.ones(8), k=5)
    with local.postgres(tmp_path / "db"):
        assert len(store.search(np.ones(8), k=5)) == 5
        assert store.upsert(rows(60)).inserted == 10
        store.close()
    server.stop()


def end_others(url):
    servers.in_postgres(
        url,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'dkvector' "
        "AND pid <> pg_backend_pid()",
    )


def test_a_read_is_tried_again_where_the_connection_was_lost(local_postgres):  # noqa: ARG001
    with local.postgres() as server, rows(50).vec.push(server.url, table="t") as store:
        for _ in range(3):
            end_others(server.url)
            assert len(store.search(np.ones(8), k=5)) == 5
            end_others(server.url)
            assert len(store) == 50


@pytest.mark.parametrize("mode", ["upsert", "replace", "insert"])
def test_a_write_whose_connection_is_lost_leaves_nothing(local_postgres, monkeypatch, mode):  # noqa: ARG001
    with local.postgres() as server, rows(100, note="old").vec.push(server.url, table="t", index="hnsw") as store:
        monkeypatch.setattr(_pg_write, "CHUNK", 20_000)
        sent = []
        packed = _pg_write.Writer._packed

        def killing(self, table, start, stop):
            sent.append(start)
            if len(sent) == 3:
                end_others(server.url)
            return packed(self, table, start, stop)

        monkeypatch.setattr(_pg_write.Writer, "_packed", killing)
        with pytest.raises(dkv.BackendUnavailableError):
            store.upsert(rows(1000, start=50 if mode == "upsert" else 500, note="new"), mode=mode)
        assert (len(sent) >= 3, len(store), store.count("note == 'new'")) == (True, 100, 0)
        assert servers.in_postgres(
            server.url, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^t'"
        ) == [("t",)]
        monkeypatch.undo()
        assert store.upsert(rows(1000, start=50, note="new")).inserted == 950


@pytest.mark.parametrize("mode", ["upsert", "replace"])
async def test_a_cancelled_write_leaves_nothing(postgres_url, table, monkeypatch, mode):
    store = await PgVectorStore.open({"url": postgres_url, "table": table})
    await store.upsert(rows(10))
    monkeypatch.setattr(_pg_write, "CHUNK", 20_000)
    loop, packed = asyncio.get_running_loop(), _pg_write.Writer._packed

    def cancelling(self, table, start, stop):
        if start > 500:
            loop.call_soon_threadsafe(task.cancel)
        return packed(self, table, start, stop)

    monkeypatch.setattr(_pg_write.Writer, "_packed", cancelling)
    task = asyncio.ensure_future(store.upsert(rows(2000, start=5), mode=mode))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.count() == 10
    assert len((await store.search(np.ones(8), k=20)).ids) == 10
    await store.aclose()


# Beside each other


def test_two_writers_of_the_same_rows(postgres_url, table):
    rows(400).vec.push(postgres_url, table=table).close()
    errors = []

    def write(name):
        try:
            with dkv.connect(postgres_url, table=table) as store:
                for _ in range(5):
                    frame = rows(400, writer=name).sample(frac=1)
                    store.upsert(frame)
        except dkv.DkvectorError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    [one.start() for one in threads]
    [one.join() for one in threads]
    with dkv.connect(postgres_url, table=table) as store:
        assert (errors, len(store)) == ([], 400)
        assert len(set(store.to_frame()["writer"])) == 1  # one write is whole, and it is the last


@pytest.fixture
def stopped(postgres_url, table, monkeypatch):
    """A writer that stands still in the middle of its rows, until `go` is set."""
    rows(100).vec.push(postgres_url, table=table).close()
    there, go, packed = threading.Event(), threading.Event(), _pg_write.Writer._packed

    def waiting(self, table, start, stop):
        if "stopped" in self.batch.payload.column_names:
            there.set()
            assert go.wait(20)
        return packed(self, table, start, stop)

    with dkv.connect(postgres_url, table=table) as store:
        store.upsert(rows(1, stopped=0.0).iloc[:0])  # makes the column, so that the table is not changed below
        monkeypatch.setattr(_pg_write.Writer, "_packed", waiting)
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(store.upsert, rows(50, start=200, stopped=1.0))
            assert there.wait(20)
            yield go, writing
            go.set()


def test_a_writer_of_other_rows_does_not_wait(stopped, postgres_url, table):
    go, writing = stopped
    config = {"backend": "pgvector", "url": postgres_url, "table": table, "statement_timeout": 5}
    with dkv.connect(config) as store:
        assert store.upsert(rows(30, start=90)).inserted == 20
        assert (len(store), writing.done()) == (120, False)
        go.set()
        assert writing.result(20).inserted == 50
        assert len(store) == 170


@pytest.mark.parametrize("write", ["replace", "widen"])
def test_a_write_that_changes_the_table_waits_for_those_under_way(stopped, postgres_url, table, write):
    go, writing = stopped
    with dkv.connect(postgres_url, table=table) as store, ThreadPoolExecutor(1) as pool:
        frame = rows(30, start=1000, **({"more": 1} if write == "widen" else {}))
        second = pool.submit(store.upsert, frame, mode="replace" if write == "replace" else "upsert")
        time.sleep(0.5)
        assert not second.done()
        go.set()
        assert (writing.result(20).inserted, second.result(20).inserted) == (50, 30)
        assert len(store) == (30 if write == "replace" else 180)


def test_two_first_writers(postgres_url, table):
    results = []

    def write(start):
        with rows(200, start=start).vec.push(postgres_url, table=table) as store:
            results.append(store.written.inserted)

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 100)]
    [one.start() for one in threads]
    [one.join() for one in threads]
    with dkv.connect(postgres_url, table=table) as store:
        assert (len(store), sorted(results)) == (300, [100, 200])


@pytest.mark.parametrize("how", ["swapped", "in place"])
def test_a_reader_sees_all_of_a_replace_or_nothing(postgres_url, table, sql, how):
    """A table with grants keeps its place, and its rows are swapped; another is swapped as a whole."""
    rows(300, generation=0).vec.push(postgres_url, table=table, index="hnsw").close()
    if how == "in place":
        sql(f"GRANT SELECT ON {table} TO PUBLIC")
    before = sql(f"SELECT '{table}'::regclass::oid")
    seen, done = [], threading.Event()

    def read():
        with dkv.connect(postgres_url, table=table) as store:
            while not done.is_set():
                found = store.search(np.ones(8), k=300, columns=["generation"])
                seen.append((len(found), *found["generation"].unique().tolist()))

    reader = threading.Thread(target=read)
    reader.start()
    with dkv.connect(postgres_url, table=table) as store:
        for generation in (1, 2, 3, 4):
            store.upsert(rows(300, generation=generation), mode="replace")
            time.sleep(0.05)
    done.set()
    reader.join()
    assert {len(one) for one in seen} == {2}  # one generation at a time
    assert {one[0] for one in seen} == {300}
    assert seen[-1] == (300, 4)
    assert (sql(f"SELECT '{table}'::regclass::oid") == before) == (how == "in place")


async def test_a_transaction_that_began_before_a_replace_sees_its_rows_and_no_empty_table(postgres_url, table):
    store = await PgVectorStore.open({"url": postgres_url, "table": table})
    await store.upsert(rows(20))
    connection = await asyncpg.connect(postgres_url)
    async with connection.transaction(isolation="repeatable_read"):
        await connection.fetchval("SELECT 1")  # from here on it sees things as they stand
        await store.upsert(rows(7), mode="replace")
        assert await connection.fetchval(f'SELECT count(*) FROM "{table}"') == 7
    await connection.close()
    await store.aclose()


def test_a_scan_sees_the_rows_as_they_stood(postgres_url, table):
    with rows(100).vec.push(postgres_url, table=table) as store, dkv.connect(postgres_url, table=table) as other:
        batches = store.scan(batch_size=10)
        first = next(batches)
        other.delete(where="n >= 0")
        assert len(first) + sum(map(len, batches)) == 100


def test_a_scan_that_is_left_gives_its_connection_back(postgres_url, table):
    config = {"backend": "pgvector", "url": postgres_url, "table": table, "pool": {"max_size": 2}}
    with rows(100).vec.push(config) as store:
        for _ in range(6):
            next(store.scan(batch_size=10))
        assert len(store) == 100


@pytest.mark.parametrize("words", [" USING x", ' INDEX "y" ON', " y.z"])
def test_a_replace_keeps_the_index_of_a_table_whatever_it_is_called(postgres_url, sql, words):
    name = f"t{secrets.token_hex(3)}{words}"
    with rows(30).vec.push(postgres_url, table=name, index="hnsw") as store:
        quoted = name.replace('"', '""')
        sql(f'CREATE UNIQUE INDEX "n of {quoted}" ON "{quoted}" (n)')
        store.upsert(rows(50), mode="replace")
        assert (len(store), store.indexes()) == (50, {"v": dkv.HNSW()})
        assert sql(
            f"SELECT count(*) FROM pg_indexes WHERE tablename = '{name}' AND indexdef LIKE 'CREATE UNIQUE%'"
        ) == [(2,)]
        store.drop()


async def test_a_store_that_was_closed_opens_no_pool_again(postgres_url, table):
    store = await PgVectorStore.open({"url": postgres_url, "table": table})
    await store.aclose()
    with pytest.raises(dkv.BackendUnavailableError, match="closed while it was asked"):
        await store._connections.fetch("SELECT 1")


LOOPS = """
import asyncio, sys
from dkvector.backends.pgvector import PgVectorStore

SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dkvector' AND query LIKE '%' || $1 || '%'"

async def sessions():
    import asyncpg
    connection = await asyncpg.connect(sys.argv[1])
    for _ in range(100):  # a session ends a moment after its connection
        found = await connection.fetchval(SESSIONS, sys.argv[2])
        if found == 1:
            break
        await asyncio.sleep(0.05)
    await connection.close()
    return found

store = asyncio.run(PgVectorStore.open({"url": sys.argv[1], "table": sys.argv[2]}))
print([asyncio.run(store.count()) for _ in range(5)], asyncio.run(sessions()))
asyncio.run(store.aclose())
"""


def test_loops_that_are_over_leave_no_sessions(postgres_url, table):
    """A script that runs one loop after another had a session of the server more for each of them."""
    rows(20).vec.push(postgres_url, table=table).close()
    command = [sys.executable, "-c", LOOPS, postgres_url, table]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - our own
    assert (run.stdout, run.stderr) == ("[20, 20, 20, 20, 20] 1\n", "")


def test_two_loops_at_once_keep_their_connections(postgres_url, table):
    """Each thread has a loop of its own, and none takes the other's connections away."""
    rows(20).vec.push(postgres_url, table=table).close()
    meet = threading.Barrier(2)

    async def pids(store):
        found = set()
        for _ in range(30):
            await asyncio.to_thread(meet.wait)
            assert await store.count() == 20
            found.add(await store._connections.read(pid))
        return found

    async def pid(connection):
        return connection.get_server_pid()

    with asyncio.Runner() as first, asyncio.Runner() as second, ThreadPoolExecutor(2) as pool:
        store = first.run(PgVectorStore.open({"url": postgres_url, "table": table}))
        ones, others = (pool.submit(runner.run, pids(store)) for runner in (first, second))
        assert (len(ones.result()), len(others.result()), ones.result() & others.result()) == (1, 1, set())
        first.run(store.aclose())
        second.run(asyncio.sleep(0.01))  # in which it closes what the first has left to it


FORK = """
import os, sys
import dkvector as dkv
store = dkv.connect(sys.argv[1], table=sys.argv[2])
before = len(store)
if os.fork() == 0:
    os._exit(0 if len(store) == before == 20 else 3)
_, status = os.wait()
print(os.waitstatus_to_exitcode(status), len(store))
store.close()
"""


def test_a_store_is_used_on_both_sides_of_a_fork(postgres_url, table):
    rows(20).vec.push(postgres_url, table=table).close()
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", FORK, postgres_url, table]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - our own
    assert (run.stdout, run.stderr) == ("0 20\n", "")


# Text that would be code

EVIL = [
    "'; DROP TABLE t; --",
    '"; DROP TABLE t; --',
    "$1",
    "a'b\"c\\d",
    "%s",
    "{}",
    "E'\\x00'",
    "🙂 ü",
    "SELECT",
    "a.b.c",
]


@pytest.mark.parametrize("text", EVIL)
def test_text_is_data_wherever_it_stands(postgres_url, sql, text):
    table = f"{text[:30]} {secrets.token_hex(3)}"
    frame = pd.DataFrame({text: [text, "plain"], "d": [{text: text}, {}], "v": [[1.0, 0], [0, 1.0]]}, index=[text, "b"])
    config = {"backend": "pgvector", "url": postgres_url, "table": table, "filterable": [text], "keywords": [text]}
    with frame.vec.push(config, index="hnsw") as store:
        assert store.search([1.0, 0], k=1, where=dkv.col(text) == text).index.tolist() == [text]
        pd.testing.assert_frame_equal(
            store.get([text, "b"])[[text, "d"]], frame[[text, "d"]].assign(d=[{text: text}, {text: None}])
        )
        assert store.upsert(frame.rename(columns={"v": "v"})).replaced == 2
        assert store.count({text: [text]}) == 1
        assert len(store.keyword_search(text + " plain", on=text)) >= 1
        store.upsert(frame, mode="replace")
        assert store.delete([text]) == 1
        store.drop()
    assert sql("SELECT count(*) FROM pg_class WHERE relname = $$" + table + "$$") == [(0,)]


def test_names_of_people_s_columns_are_not_ours(postgres_url):
    """Names that our own statements use inside."""
    names = ["q", "x", "h", "i", "w", "c0", "k0", "distance", "score", "document", "words", "t", "s", "stage", "rank"]
    frame = pd.DataFrame({name: ["apple", "stone"] for name in names} | {"v": [[1.0, 0], [0, 1.0]]})
    for table in ("q", "x", "h", "words", "t"):
        with frame.vec.push(postgres_url, table=table, index=dkv.HNSW(quantization="float16")) as store:
            tuning = {"exact": False}
            assert store.search([[1.0, 0], [0, 1.0]], k=1, where="q == 'apple'", tuning=tuning).index.tolist() == [0, 0]
            assert store.keyword_search("apple", on=["q", "words"], highlight=True).index.tolist() == [0]
            assert store.upsert(frame).replaced == 2
            store.drop()


async def test_only_a_large_key_is_sorted_by_workers_and_later_indexes_have_theirs(postgres_url, table):
    """Workers take longer to start than the key of a few ten thousand rows takes to sort."""
    one = pa.field("i d", pa.int64())
    assert _pg_ddl.add_key("t", one, 100_001) == 'ALTER TABLE t ADD PRIMARY KEY ("i d")'
    connection = await asyncpg.connect(postgres_url)
    try:
        usual = await connection.fetchval("SHOW max_parallel_maintenance_workers")
        async with connection.transaction():
            await connection.execute(f'CREATE TABLE "{table}" ("i d" bigint)')
            added = _pg_ddl.add_key(f'"{table}"', one, 100_000)
            await connection.execute(added.rpartition(";")[0])
            assert await connection.fetchval("SHOW max_parallel_maintenance_workers") == "0"
            await connection.execute(added.rpartition(";")[2])
            assert await connection.fetchval("SHOW max_parallel_maintenance_workers") == usual != "0"
        found = await connection.fetchval(
            "SELECT conname FROM pg_constraint WHERE conrelid = $1::text::regclass AND contype = 'p'", table
        )
        assert found == f"{table}_pkey"
    finally:
        await connection.close()
