"""Start one node on a free loopback port, with its data in a temporary folder, and stop it by its process id."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engines.fetching import MissingError, fetched, java_home
from engines.recipes import COMMON, QUICK, Recipe

PATIENCE = 240  # seconds: a busy machine starts a server in a minute
NOBODY = "nobody"


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        host: "127.0.0.1:port".
        process: what runs it, at the head of its own process group.
        folder: its settings, data and logs.
    """

    host: str
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.host}"

    def stop(self) -> None:
        """Stop it, at once where it doesn't listen."""
        _end(self.process)


@contextmanager
def started(
    recipe: Recipe,
    settings: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    *,
    heap: str = "512m",
    options: str = QUICK,
    ready: str | None = "http",
) -> Iterator[Server]:
    """Run a server for as long as the block lasts; nothing is left of it.

    Args:
        recipe: which server.
        settings: more lines for its settings file.
        files: more files beside it: name → content.
        heap: memory of its JVM.
        options: more options of its JVM: by default a quick start, at the cost of speed later.
        ready: the scheme to ask for its health by; None only waits for the port.

    Yields:
        The server.

    Raises:
        MissingError: this machine lacks what it needs, or the server did not start.
    """
    home, java = fetched(recipe), java_home()
    folder = Path(tempfile.mkdtemp(prefix=f"dkvector-{recipe.name}-"))
    try:
        _configure(recipe, home, folder, {**COMMON, **recipe.settings, **(settings or {})}, files or {})
        process = _launched(recipe, home, java, folder, f"-Xms{heap} -Xmx{heap} {options}")
        keeper = _kept(process.pid, folder)
        try:
            host = _port(process, folder)
            if ready is not None:
                _healthy(process, f"{ready}://{host}", folder)
            yield Server(host, process, folder)
        finally:
            _end(process)
            keeper.kill()
            keeper.communicate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _configure(recipe: Recipe, home: Path, folder: Path, settings: Mapping[str, str], files: Mapping[str, str]) -> None:
    config = folder / "config"
    shutil.copytree(home / "config", config)
    for name in ("data", "logs", "tmp"):
        (folder / name).mkdir()
    paths = {
        "path.data": folder / "data",
        "path.logs": folder / "logs",
        "node.name": "node",
        "cluster.name": "dkvector",
    }
    lines = [f"{name}: {json.dumps(str(value))}" for name, value in {**settings, **paths}.items()]
    (config / f"{recipe.name}.yml").write_text("\n".join(lines) + "\n", "utf-8")
    for name, content in files.items():
        (config / name).write_text(content, "utf-8")
    options = (config / "jvm.options").read_text("utf-8")
    ours = [line for line in options.splitlines() if "HeapDump" not in line and "-Xlog:gc" not in line]
    told = [line.replace("logs/hs_err", f"{folder}/logs/hs_err") for line in ours]
    (config / "jvm.options").write_text("\n".join(told) + "\n", "utf-8")
    if os.geteuid() == 0:  # both engines refuse to run as root
        for path in [folder, *folder.rglob("*")]:
            shutil.chown(path, NOBODY)


def _launched(recipe: Recipe, home: Path, java: Path, folder: Path, options: str) -> subprocess.Popen[bytes]:
    environment = {  # only ours: options of other JVMs and proxies must not slip in
        "PATH": os.defpath,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        f"{recipe.prefix}_JAVA_HOME": str(java),
        f"{recipe.prefix}_PATH_CONF": str(folder / "config"),
        f"{recipe.prefix}_TMPDIR": str(folder / "tmp"),
        f"{recipe.prefix}_JAVA_OPTS": options,
    }
    root = os.geteuid() == 0
    with (folder / "logs/console.log").open("wb") as console:
        return subprocess.Popen(  # noqa: S603 - what was fetched and checked
            ["/bin/bash", str(home / "bin" / recipe.name)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=NOBODY if root else None,
            group=pwd.getpwnam(NOBODY).pw_gid if root else None,
            extra_groups=[] if root else None,
        )


def _kept(group: int, folder: Path) -> subprocess.Popen[bytes]:
    """End the server where this process is killed: what reads from it then meets the end, and cleans up."""
    script = 'read -r _; kill -TERM -- "-$1"; sleep 15; kill -KILL -- "-$1"; rm -rf -- "$2"'
    return subprocess.Popen(  # noqa: S603 - a script of ours
        ["/bin/bash", "-c", script, "keeper", str(group), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _port(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait for the file in which the server tells its port."""
    file = folder / "logs/http.ports"
    return _waited(process, folder, lambda: _line(file))


def _line(file: Path) -> str | None:
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return next((line.strip() for line in lines if line.startswith("127.0.0.1:")), None)


def _healthy(process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def status() -> str | None:
        try:
            with opener.open(f"{url}/_cluster/health?wait_for_status=yellow&timeout=5s", timeout=10) as answer:
                return str(json.load(answer)["status"])
        except OSError:
            return None

    _waited(process, folder, status)


def _waited(process: subprocess.Popen[bytes], folder: Path, look) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise MissingError(f"the server ended with {process.returncode}: {_told(folder)}")
        if found := look():
            return found
        time.sleep(0.1)
    raise MissingError(f"the server was not ready after {PATIENCE} s: {_told(folder)}")


def _told(folder: Path) -> str:
    return (folder / "logs/console.log").read_text("utf-8", errors="replace")[-2000:]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole group: Elasticsearch's launcher is the parent of its server."""
    for end, patience in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, end)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        _gone(process.pid, patience)
    process.wait()


def _gone(group: int, patience: float) -> None:
    """Wait until no process of the group is left."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
