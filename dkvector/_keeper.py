"""The process that runs a local server for as long as any process uses it, whichever way that one ends.

Run by itself, with nothing but the standard library: ``python -I -S _keeper.py FOLDER TEMPORARY COMMAND…``. Users of
the server hold a shared lock on a file; when the last has let go, by closing or by being killed, the server is stopped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

LINGER = 5  # seconds in which a kernel that was restarted finds its server still running


@contextmanager
def starting(folder: Path) -> Iterator[None]:
    """Be the only one that starts or stops the server of a folder."""
    with (folder / "starting.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def users(folder: Path) -> IO[str]:
    """Open the file that users of the server hold a shared lock on."""
    return (folder / "users.lock").open("a")


def unused(file: IO[str]) -> bool:
    """Tell whether nobody uses the server, and keep newcomers waiting if so."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def keep(folder: Path, command: Sequence[str], *, temporary: bool) -> None:
    """Run the server until nobody uses it."""
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603 - our own
    # a server that ends by itself interrupts the wait below
    signal.signal(signal.SIGCHLD, lambda *_: None if server.poll() is None else sys.exit())
    # it may have ended before anyone listened
    if server.poll() is None:
        _wait(folder, server, linger=0 if temporary else LINGER)
    if temporary:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(folder: Path, server: subprocess.Popen[bytes], *, linger: float) -> None:
    with suppress(SystemExit), users(folder) as file:
        while True:
            fcntl.flock(file, fcntl.LOCK_EX)
            # let go again: whoever comes during the pause finds the server and does not wait
            fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(linger)
            with starting(folder):
                # nobody starts meanwhile, so that what is unused now stays so until the server is down
                if unused(file):
                    server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
                    server.wait()
                    return


if __name__ == "__main__":
    if os.fork():  # so that nobody has to wait for this process
        os._exit(0)
    # its own session: what interrupts the kernel, or closes its terminal, must not reach it
    os.setsid()
    keep(Path(sys.argv[1]), sys.argv[3:], temporary=sys.argv[2] == "temporary")
