"""A local replica of a table in PostgreSQL: nothing is lost, whoever was away and whatever was cut."""

import asyncio
import json
import time
from unittest.mock import AsyncMock

import asyncpg
import numpy as np
import pandas as pd
import pytest
from scans import telling

import dkvector as dkv
from dkvector.backends.exact import ExactStore
from dkvector.replication import keeping
from dkvector.replication.keeping import Keeping, Refreshed
from dkvector.replication.state import State

pytestmark = pytest.mark.usefixtures("local_postgres")


def rows(count, start=0):
    vectors = np.random.default_rng(start).standard_normal((count, 4)).astype("f4")
    return pd.DataFrame(
        {
            "n": np.arange(start, start + count),
            "s": [f"row {at}" for at in range(start, start + count)],
            "v": dkv.VectorArray(vectors),
        },
        index=pd.RangeIndex(start, start + count, name="id"),
    )


@pytest.fixture
def source(postgres_url, table):
    with rows(50).vec.push(postgres_url, table=table) as store:
        yield store


@pytest.fixture
def near(source, tmp_path):
    with dkv.replica(source, tmp_path / "near", install=True, follow=False) as replica:
        yield replica


def same(replica, source):
    """Whether the replica holds the table's rows, and no others."""
    return not source.to_frame().vec.diff(replica.store)


def eventually(holds):
    """Wait for what a listener does by itself."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_what_others_write_is_brought_over(near, source, sql, table):
    assert same(near, source)
    assert near.refresh() == Refreshed(0, 0)
    sql(
        f"UPDATE {table} SET s = 'changed' WHERE id IN (3, 4)",
        f"DELETE FROM {table} WHERE id = 7",
        f"INSERT INTO {table} (id, n, s, v) VALUES (90, 1, 'new', '[1,2,3,4]'), (91, 1, 'gone', '[1,2,3,4]')",
        f"DELETE FROM {table} WHERE id = 91",
        f"UPDATE {table} SET id = 1005 WHERE id = 5",
        f"UPDATE {table} SET v = '[9,9,9,9]' WHERE id = 6 RETURNING id",
    )
    assert near.refresh() == Refreshed(written=5, deleted=2)
    assert same(near, source)
    assert near.store.search([9, 9, 9, 9], k=1).index.tolist() == [6]
    assert near.refresh() == Refreshed(0, 0)


def test_all_rows_at_once(near, source, sql, table):
    source.upsert(rows(20, 40), mode="replace")
    near.refresh()
    assert same(near, source)
    sql(f"TRUNCATE {table}", "SELECT 1")
    assert near.refresh() == Refreshed(0, 20)
    assert len(near.store) == 0
    source.upsert(rows(5))
    near.refresh()
    assert same(near, source)


def test_a_replica_that_was_away_brings_over_only_what_has_changed(source, tmp_path, monkeypatch):
    dkv.replica(source, tmp_path / "near", install=True, follow=False).close()
    source.upsert(rows(3).assign(s="changed"))
    source.delete([10, 11])
    written = []
    write = Keeping._write

    async def noted(self, frame):
        written.extend(frame.index)
        return await write(self, frame)

    monkeypatch.setattr(Keeping, "_write", noted)
    with dkv.replica(source, tmp_path / "near", follow=False) as near:
        assert sorted(written) == [0, 1, 2]
        assert same(near, source)


async def test_transactions_that_end_in_another_order(near, source, postgres_url, table):
    older, younger = await asyncpg.connect(postgres_url), await asyncpg.connect(postgres_url)
    try:
        first = older.transaction()
        await first.start()
        await older.execute(f"UPDATE {table} SET s = 'older' WHERE id = 1")
        await younger.execute(f"UPDATE {table} SET s = 'younger' WHERE id = 2")
        assert near.refresh() == Refreshed(1, 0)
        assert near.refresh() == Refreshed(0, 0)  # seen, and not brought over again while the older one is open
        assert near.store.get([1, 2])["s"].tolist() == ["row 1", "younger"]
        await first.commit()
        assert near.refresh() == Refreshed(1, 0)
        assert near.store.get([1, 2])["s"].tolist() == ["older", "younger"]
        rolled = older.transaction()
        await rolled.start()
        await older.execute(f"DELETE FROM {table}")
        await rolled.rollback()
        assert near.refresh() == Refreshed(0, 0)
    finally:
        await older.close()
        await younger.close()
    assert same(near, source)


def test_it_follows_by_itself(source, tmp_path):
    with dkv.replica(source, tmp_path / "near", install=True) as near:
        assert near.following
        source.upsert(rows(10, 100))
        eventually(lambda: len(near.store) == 60)
        source.delete(where="n < 10")
        eventually(lambda: len(near.store) == 50)
        assert same(near, source)
        assert "following" in repr(near)
    assert not near.following


KILL = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE application_name = 'dkvector' AND pid <> pg_backend_pid()"
)


def test_killed_connections_lose_nothing(source, tmp_path, sql, table, monkeypatch):
    monkeypatch.setattr(keeping, "PAUSES", (0.01, 0.05))
    with dkv.replica(source, tmp_path / "near", install=True) as near:
        for turn in range(8):
            sql(
                f"INSERT INTO {table} (id, n, s, v) SELECT 1000 + {turn} * 10 + g, g, 'new', '[1,2,3,4]' "
                "FROM generate_series(1, 10) g",
                KILL,
                f"UPDATE {table} SET s = 'turn {turn}' WHERE id % 7 = {turn % 7}",
                f"DELETE FROM {table} WHERE id = 1000 + {turn} * 10 + 3",
                *([KILL] if turn % 2 else []),
                f"UPDATE {table} SET n = {turn} WHERE id = {turn} RETURNING id",
            )
        expected = 50 + 8 * 9
        eventually(lambda: len(near.store) == expected and near.store.get([7])["n"].tolist() == [7])
        assert near.following
        eventually(lambda: same(near, source))


def test_a_table_that_is_gone_for_good_is_told(source, tmp_path, sql, table):
    with dkv.replica(source, tmp_path / "near", install=True) as near:
        sql(f"DROP TABLE {table} CASCADE", "SELECT 1")
        sql(f"SELECT pg_notify('dkvector_{near._keeping._feed.oid}', '')")
        eventually(lambda: near.error is not None)
        assert isinstance(near.error, dkv.SchemaError)
        assert "is gone" in repr(near)
        with pytest.raises(dkv.SchemaError, match="is gone"):
            near.refresh()
        assert len(near.store) == 50  # what is there can be searched


def test_a_load_that_was_interrupted_goes_on(source, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "ROWS", 20)
    write, calls = Keeping._write, []

    async def failing(self, frame):
        calls.append(len(frame))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return await write(self, frame)

    monkeypatch.setattr(Keeping, "_write", failing)
    with pytest.raises(KeyboardInterrupt):
        dkv.replica(source, tmp_path / "near", install=True)
    assert json.loads((tmp_path / "near" / "replica.json").read_text())["loaded"] is False
    source.upsert(rows(2).assign(s="since"))
    source.delete([3])
    calls += [0]
    with dkv.replica(source, tmp_path / "near", follow=False) as near:
        assert sum(calls[3:]) == 32  # the first 20 are not written again, but the two that have changed since
        assert same(near, source)


def test_without_leave_nothing_is_installed_and_the_way_is_told(source, tmp_path, sql, table):
    with pytest.raises(dkv.UnsupportedError, match="install=True") as told:
        dkv.replica(source, tmp_path / "near")
    noting = f"SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'dkvector%' AND tgrelid = '{table}'::regclass"
    assert sql(noting) == [(0,)]
    statements = str(told.value).partition("run:\n")[2]
    asyncio.run(_run(source.store.config.url, statements))
    with dkv.replica(source, tmp_path / "near", follow=False) as near:
        source.upsert(rows(1, 70))
        assert near.refresh() == Refreshed(1, 0)
        near.uninstall()
    with pytest.raises(dkv.UnsupportedError, match="install=True"):
        dkv.replica(source, tmp_path / "near")


async def _run(url, statements):
    connection = await asyncpg.connect(url)
    await connection.execute(statements)
    await connection.close()


def test_a_writer_who_may_do_nothing_else_is_noted(near, source, sql, table):
    role = f"writer_{table}"
    sql(f"CREATE ROLE {role} LOGIN PASSWORD 'sesame'", f"GRANT INSERT, UPDATE, SELECT ON {table} TO {role}", "SELECT 1")
    try:
        sql(f"SET ROLE {role}", f"UPDATE {table} SET s = 'by a writer' WHERE id = 4", "RESET ROLE", "SELECT 1")
        assert near.refresh() == Refreshed(1, 0)
        assert same(near, source)
    finally:
        sql(f"DROP OWNED BY {role}", f"DROP ROLE {role}", "SELECT 1")


def test_new_columns_and_rows_without_vectors(near, sql, table):
    sql(
        f"ALTER TABLE {table} ADD COLUMN extra text, ALTER COLUMN v DROP NOT NULL",
        f"UPDATE {table} SET extra = 'there' WHERE id = 1",
        f"UPDATE {table} SET v = NULL WHERE id = 2",
        f"INSERT INTO {table} (id, n) VALUES (200, 1)",
        "SELECT 1",
    )
    assert near.refresh() == Refreshed(written=1, deleted=1)
    assert near.store.get([1])["extra"].tolist() == ["there"]
    assert len(near.store) == 49
    sql(f"UPDATE {table} SET v = '[1,1,1,1]' WHERE id IN (2, 200)", "SELECT 1")
    assert near.refresh() == Refreshed(2, 0)
    assert len(near.store) == 51


def test_vector_fields_that_come_later_are_left_out(near, source, tmp_path):
    source.add_vector_field("later", 2)
    source.backfill("later", lambda texts: [[1.0, len(one)] for one in texts], text="s", where="n < 5")
    assert near.refresh() == Refreshed(5, 0)
    assert [info.name for info in near.store.schema.vectors] == ["v"]
    near.close()
    with pytest.raises(dkv.SchemaError, match="holds the vector fields"):
        dkv.replica(source, tmp_path / "near", on="later")
    with pytest.raises(dkv.NotFoundError, match="no vector field 'latest'"):
        dkv.replica(source, tmp_path / "other", on=["latest"])
    with dkv.replica(source, tmp_path / "other", on="later", follow=False) as other:
        assert sorted(other.store.to_frame().index) == [0, 1, 2, 3, 4]
        assert "v" not in other.store.to_frame()


def test_each_field_keeps_its_own_metric_and_model(postgres_url, table, sql, tmp_path):
    with rows(50).vec.push(postgres_url, table=table, model="first", version="1") as source:
        source.add_vector_field("w", 2, metric="euclidean", model="second", version="2")
        source.backfill("w", lambda texts: [[1.0, len(one)] for one in texts], text="s")
        with dkv.replica(source, tmp_path / "near", install=True, follow=False) as near:
            told = [(one.name, one.metric, one.model, one.version) for one in near.store.schema.vectors]
            assert told == [("v", "cosine", "first", "1"), ("w", "euclidean", "second", "2")]
            for field, query in ("v", [1, 2, 3, 4]), ("w", [1, 2]):
                found, expected = (one.search(query, 5, field=field, columns=[]) for one in (near.store, source))
                pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
            sql(f"UPDATE {table} SET s = 'changed' WHERE id IN (3, 4)", "SELECT 1")
            assert near.refresh() == Refreshed(2, 0)
            assert same(near, source)


def test_the_replica_can_not_be_written_to(near):
    for asking in (lambda: near.store.delete([1]), lambda: near.store.upsert(rows(1)), near.store.drop):
        with pytest.raises(dkv.AccessDeniedError):
            asking()


def test_a_folder_of_another_table_is_refused(near, postgres_url, table, tmp_path):
    near.close()
    with rows(5).vec.push(postgres_url, table=f"{table}_b") as other:
        with pytest.raises(dkv.SchemaError, match="another table"):
            dkv.replica(other, tmp_path / "near", install=True)
        other.drop()


def test_sources_that_tell_of_nothing(postgres_url, table, tmp_path):
    with rows(5).vec.push("exact") as store, pytest.raises(dkv.UnsupportedError, match="tells of no changes"):
        dkv.replica(store, tmp_path / "near")
    keyed = rows(4).set_index(pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["p", "q"]))
    with keyed.vec.push(postgres_url, table=table) as store:
        with pytest.raises(dkv.UnsupportedError, match="several"):
            dkv.replica(store, tmp_path / "near", install=True)
        store.drop()


def test_by_url_with_an_index(source, postgres_url, table, tmp_path):
    with dkv.replica(postgres_url, tmp_path / "near", table=table, index="hnsw", install=True, follow=False) as near:
        assert near.store.indexes()["v"].kind == "hnsw"
        query = np.array([1, 2, 3, 4], "f4")
        pd.testing.assert_index_equal(near.store.search(query, k=5).index, source.search(query, k=5).index)


async def test_a_load_that_fails_lets_go_of_its_scan(tmp_path, monkeypatch):
    closed = []
    source, target = await telling(closed).open({}), await ExactStore.open({})
    await source.upsert(rows(5))
    monkeypatch.setattr(keeping, "ROWS", 2)
    full = dkv.BackendUnavailableError("no space left")
    monkeypatch.setattr(target, "upsert", AsyncMock(side_effect=full))
    with pytest.raises(dkv.BackendUnavailableError):
        await Keeping(source, target, tmp_path)._load(State(1, 2, 3, ("v",)), progress=False)
    assert closed == [True]
    assert full.__traceback__ is not None  # which keeps all that was going on


def feedless(tmp_path):
    """A replica whose source nobody asks."""
    return Keeping(None, None, tmp_path)


async def test_a_disk_that_takes_nothing_is_told_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "PAUSES", (0, 0))
    near, notes = feedless(tmp_path / "file" / "deeper"), []
    (tmp_path / "file").write_text("no folder")

    async def note():
        notes.append(near.error)
        if len(notes) > 2:
            raise dkv.SchemaError("enough")
        await near._note(State(1, 2, 3, ("v",)))

    monkeypatch.setattr(near, "_listen", note)
    await near._follow()
    assert [type(one) for one in notes] == [type(None), dkv.BackendUnavailableError, dkv.BackendUnavailableError]
    assert "replica.json can't be written" in str(notes[1])


async def test_what_ends_the_following_is_told_and_closing_goes_on(tmp_path, monkeypatch):
    near = feedless(tmp_path)
    monkeypatch.setattr(near, "_listen", AsyncMock(side_effect=ZeroDivisionError("odd")))
    await near.start()
    await asyncio.wait([near._task])
    assert (near.following, str(near.error)) == (False, "ZeroDivisionError: odd")
    await near.stop()
