"""Ways to the server: TLS and what verifies it, and a pooler that gives each transaction another session."""

import asyncio
import socket
import ssl
import struct
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
import servers

import dkvector as dkv
from dkvector import local
from dkvector.backends._pg_config import PgConfig

TLS = struct.pack(">ii", 8, 80877103)  # what a client sends first to ask for TLS


def place(url):
    """The server's host, or the folder of its socket, and its port."""
    parts = urlsplit(url)
    return parts.hostname or parse_qs(parts.query)["host"][0], parts.port or 5432


def run(*command: str, cwd=None):
    subprocess.run(command, check=True, capture_output=True, cwd=cwd)  # noqa: S603 - our own


def authority(folder, name):
    """Make a certificate authority, and a certificate that it gives to localhost."""
    openssl, made = servers.program("openssl"), folder / name
    made.mkdir()
    new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    run(*f"{openssl} req -x509 {new} -days 2 -subj /CN={name} -keyout ca.key -out ca.crt".split(), cwd=made)
    run(*f"{openssl} req {new} -subj /CN=localhost -keyout server.key -out server.csr".split(), cwd=made)
    (made / "ext").write_text("subjectAltName=DNS:localhost\n", "utf-8")
    by = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext"
    run(*f"{openssl} x509 -req -in server.csr {by} -out server.crt".split(), cwd=made)
    return made


class TlsServer:
    """PostgreSQL behind TLS: answers a client's wish for it, and passes the rest on."""

    def __init__(self, url, certificate) -> None:
        self.host, self.at = place(url)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
        self.secured, self.ready = 0, threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.main()))
        self.thread.start()
        assert self.ready.wait(10)

    async def main(self):
        self.loop, self.over, self.writers = asyncio.get_running_loop(), asyncio.Event(), []
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.over.wait()
        server.close()
        for writer in self.writers:
            writer.close()
        await asyncio.sleep(0.05)

    async def serve(self, reader, writer):
        with suppress(OSError, EOFError):
            first = await reader.readexactly(8)
            if first == TLS:
                writer.write(b"S")
                await writer.start_tls(self.context)
                self.secured += 1
                first = b""
            if self.host.startswith("/"):
                upstream = await asyncio.open_unix_connection(f"{self.host}/.s.PGSQL.{self.at}")
            else:
                upstream = await asyncio.open_connection(self.host, self.at)
            self.writers += [writer, upstream[1]]
            upstream[1].write(first)
            await asyncio.gather(self.passed(reader, upstream[1]), self.passed(upstream[0], writer))
        writer.close()

    async def passed(self, reader, writer):
        with suppress(OSError):
            while part := await reader.read(1 << 16):
                writer.write(part)
                await writer.drain()
        writer.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(10)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    return authority(folder, "ours"), authority(folder, "another")


@pytest.fixture
def secured(postgres_url, authorities):
    server = TlsServer(postgres_url, authorities[0])
    yield server
    server.stop()


def frame():
    return pd.DataFrame({"n": range(30), "v": dkv.VectorArray(np.eye(30, 8, dtype="f4") + 1)})


def config(url, table, server, **more: object):
    way = {"host": "localhost", "port": server.port, "password": "s3cret", "table": table}
    return {"backend": "pgvector", "url": url, **way, **more}


@pytest.mark.parametrize("sslmode", ["prefer", "require", "verify-ca", "verify-full"])
def test_tls_is_used_where_it_is_asked_for(postgres_url, table, secured, authorities, sslmode):
    verified = {"sslrootcert": str(authorities[0] / "ca.crt")} if "verify" in sslmode else {}
    with frame().vec.push(config(postgres_url, table, secured, sslmode=sslmode, **verified), index="hnsw") as store:
        assert store.search(frame()["v"].iloc[3], k=1).index.tolist() == [3]
        assert secured.secured >= 1


def test_no_tls_is_used_where_it_is_not_wanted(postgres_url, table, secured):
    with frame().vec.push(config(postgres_url, table, secured, sslmode="disable")) as store:
        assert (len(store), secured.secured) == (30, 0)


@pytest.mark.parametrize(
    ("sslmode", "host", "who", "message"),
    [
        ("verify-ca", "localhost", "another", "CERTIFICATE_VERIFY_FAILED"),
        ("verify-full", "localhost", "another", "CERTIFICATE_VERIFY_FAILED"),
        ("verify-full", "127.0.0.1", "ours", "CERTIFICATE_VERIFY_FAILED.*127.0.0.1"),
    ],
)
def test_a_server_that_can_not_prove_who_it_is_is_refused(
    postgres_url, table, secured, authorities, sslmode, host, who, message
):
    certificate = str(authorities[0].parent / who / "ca.crt")
    asked = config(postgres_url, table, secured, sslmode=sslmode, sslrootcert=certificate) | {"host": host}
    with pytest.raises(dkv.BackendUnavailableError, match=message) as told:
        dkv.connect(asked)
    assert "s3cret" not in f"{told.value!r} {told.value}"


def test_a_certificate_s_name_is_the_host_s_only_where_that_is_asked_for(postgres_url, table, secured, authorities):
    asked = config(postgres_url, table, secured, sslmode="verify-ca", sslrootcert=str(authorities[0] / "ca.crt"))
    with dkv.connect(asked | {"host": "127.0.0.1"}) as store:
        assert store.schema is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, "postgresql://?sslrootcert={}"),
        ("postgresql+psycopg://h/d", "postgresql://h/d?sslrootcert={}"),
        ("postgresql://h/d?sslmode=require", "postgresql://h/d?sslmode=require&sslrootcert={}"),
    ],
)
def test_the_driver_is_told_of_certificates_in_the_url(tmp_path, url, expected):
    file = tmp_path / "a b&c.crt"
    asked = {"url": url, "table": "t", "sslrootcert": str(file), "statement_cache_size": 0}
    with pytest.raises(dkv.SchemaError, match=r"no file '.*a b&c.crt', which sslrootcert names"):
        PgConfig.of(asked)
    file.touch()
    assert PgConfig.of(asked).connection == {
        "dsn": expected.format(f"{tmp_path}/a%20b%26c.crt"),
        "statement_cache_size": 0,
    }


# A pooler


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


POOLER = """
[databases]
postgres = user=postgres host={host} port={at}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {users}
pool_mode = transaction
default_pool_size = 2
server_round_robin = 1
"""


@pytest.fixture
def pooler(local_postgres, tmp_path):  # noqa: ARG001
    """PgBouncer before a server of its own: each transaction gets one of two sessions, in turn."""
    pgbouncer = servers.program("pgbouncer")
    with local.postgres() as server, (tmp_path / "log").open("wb") as log:
        (host, at), port, users = place(server.url), free_port(), tmp_path / "users"
        users.write_text('"postgres" "s3cret"\n', "utf-8")
        (tmp_path / "ini").write_text(POOLER.format(host=host, at=at, port=port, users=users), "utf-8")
        as_whom = local._server_user(local._programs(), tmp_path).prefix  # it will not run as root either
        process = subprocess.Popen([*as_whom, pgbouncer, str(tmp_path / "ini")], stdout=log, stderr=log)  # noqa: S603
        assert local._waited(lambda: answers(port), 10)
        yield {"backend": "pgvector", "host": "127.0.0.1", "port": port, "user": "postgres", "database": "postgres"}
        process.terminate()
        process.wait(10)


def answers(port):
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_a_store_behind_a_pooler_of_transactions(pooler):
    with frame().vec.push(pooler | {"table": "t", "statement_cache_size": 0}, index="hnsw") as store:
        threads = [
            threading.Thread(target=lambda: [store.search(np.ones(8), k=5) for _ in range(30)]) for _ in range(4)
        ]
        [one.start() for one in threads]
        for number in range(30):
            assert store.search(np.ones(8), k=1, where=f"n == {number}").index.tolist() == [number]
        [one.join() for one in threads]
        assert store.upsert(frame().assign(n=1)).replaced == 30
        assert (sum(map(len, store.scan(batch_size=7))), len(store.search(frame()["v"], k=5))) == (30, 150)
        assert store.upsert(frame().head(9), mode="replace").inserted == 9
        assert store.delete(where="n > 6") == 2


def test_a_pooler_that_takes_statements_away_is_told_of_with_a_way_out(pooler):
    def use():
        with frame().vec.push(pooler | {"table": "t"}) as store, ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: store.search(np.ones(8), k=5), range(200)))

    with pytest.raises(dkv.UnsupportedError, match="statement_cache_size=0 in the config") as told:
        use()
    assert "\n" not in str(told.value)
