"""A small disk: a tmpfs where one may be mounted, else a limit on the size of files."""

import errno
import json
import os
import random
import resource
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from model import check_answers, drawn, held
from rounds import BrokenPromiseError, named, opened, outcome

from dkvector.errors import BackendUnavailableError

SIZE = 1 << 20
FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


@contextmanager
def small_disk():
    """Mount a disk of a megabyte.

    Yields:
        Where it is, and whether it is one: where mounting is not allowed, files are limited instead.
    """
    with tempfile.TemporaryDirectory(prefix="dkvector-torture-") as name:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", name]
        try:
            mounted = not subprocess.run(mount, capture_output=True, check=False).returncode  # noqa: S603
        except FileNotFoundError:
            mounted = False
        try:
            yield Path(name), mounted
        finally:
            if mounted:
                subprocess.run(["umount", name], check=True)  # noqa: S603, S607


@contextmanager
def room(disk, mounted, size):
    """Leave so many bytes: of the disk, or to each file."""
    ballast = disk / "ballast"
    try:
        if mounted:
            ballast.touch()
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            with ballast.open("wb") as file:
                file.write(bytes(max(free - size, 0)))
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ballast.unlink(missing_ok=True)


def write_until_full(say, disk, mounted, state, seed):
    """Write with less and less room until it fails; then nothing is lost, and the same write works with room."""
    rng, folder = random.Random(seed), disk / "rows"
    with opened(folder) as store:
        size = rng.randrange(60_000)
        for _ in range(200):
            op = drawn(rng, state)
            with room(disk, mounted, size):
                failed = attempt(op, store)
                if failed:
                    check_kept(store, folder, state, rng)
            if failed:
                op.do(store)
            state = op.after(state)
            if failed:
                check_kept(store, folder, state, rng)
                break
            size = int(size * rng.uniform(0.5, 1))
        else:
            raise BrokenPromiseError("the disk was never full")
        say(json.dumps(sorted(state.items())))


def attempt(op, store):
    """Tell whether the disk was too full; any other error is a fault."""
    try:
        op.do(store)
    except BackendUnavailableError as exc:
        if not isinstance(exc.__cause__, OSError) or exc.__cause__.errno not in FULL or "stands" not in str(exc):
            raise
        return True
    return False


def check_kept(store, folder, state, rng):
    """The writer and who opens the folder see the last commit, and no file is left of what failed."""
    check_answers(store, state, rng)
    if folder.exists():
        left = {path.name for path in folder.iterdir()} - {"lock"}
        if left and left - named(folder):
            raise BrokenPromiseError(f"left behind: {sorted(left - named(folder))}")
    with opened(folder) as reader:
        for each in (store, reader):
            if held(each) != state:
                raise BrokenPromiseError(f"{held(each)} instead of {state}")
        reader.verify()


def filled(disk, mounted, state, rng):
    """Fill the disk under a writer, and give the state after it had room again."""
    (last,) = outcome(write_until_full, disk, mounted, state, rng.random())
    return dict(json.loads(last))
