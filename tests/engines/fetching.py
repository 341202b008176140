"""Fetch a server's packages by Maven, check them, and unpack them once into a cache that every run shares."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from engines.recipes import Package, Recipe

JAVA = 21
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"  # needs no pom.xml


class MissingError(RuntimeError):
    """What this machine lacks to run a server."""


def java_home() -> Path:
    """Find a JDK that is new enough.

    Raises:
        MissingError: there is none; names the variable that points to one.
    """
    named = [os.environ[name] for name in ("DKVECTOR_JAVA_HOME", "JAVA_HOME") if os.environ.get(name)]
    found = [*named, *map(str, sorted(Path("/usr/lib/jvm").glob("*"))), *_macos()]
    for home in found:
        if java_version(Path(home)) >= JAVA:
            return Path(home)
    raise MissingError(f"the servers need a JDK of at least {JAVA}: install one, or name it by JAVA_HOME")


def _macos() -> list[str]:
    return [str(home / "Contents/Home") for home in Path("/Library/Java/JavaVirtualMachines").glob("*")]


def java_version(home: Path) -> int:
    """Read the major version from the JDK's release file; 0 where there is no JDK."""
    release = home / "release"
    if not (home / "bin/java").exists() or not release.exists():
        return 0
    version = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', release.read_text("utf-8"), re.MULTILINE)
    return int(version[1]) if version else 0


def cache() -> Path:
    """Choose the folder that servers are kept in: one that the unprivileged user reaches."""
    if named := os.environ.get("DKVECTOR_SERVERS"):
        return Path(named)
    if os.geteuid() == 0:  # root's home is closed to the user that runs the server
        return Path("/var/cache/dkvector")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dkvector"


def fetched(recipe: Recipe) -> Path:
    """Give the folder of a server, fetched where it is not there yet.

    Raises:
        MissingError: no Maven, or it could not fetch; the checksum is not the pinned one.
    """
    home = cache() / recipe.folder
    if (home / ".complete").exists():
        return home
    cache().mkdir(parents=True, exist_ok=True, mode=0o755)
    with tempfile.TemporaryDirectory(dir=cache(), prefix="part-") as part:
        made = _unpacked(recipe, Path(part))
        for name in recipe.needless:
            shutil.rmtree(made / "modules" / name)
        _open_to_all(made)
        (made / ".complete").touch()
        try:
            made.rename(home)
        except OSError:
            if not (home / ".complete").exists():  # another run was not first, so what is there is broken
                raise
    return home


def _unpacked(recipe: Recipe, part: Path) -> Path:
    _extract(_copied(recipe.package, part), part)
    made = part / recipe.folder
    for plugin in recipe.plugins:
        folder = part / "plugin"
        _extract(_copied(plugin, part), folder)
        described = (folder / "plugin-descriptor.properties").read_text("utf-8")
        name = re.search(r"^name=(.+)$", described, re.MULTILINE)
        if name is None:
            raise MissingError(f"{plugin.coordinates} is no plugin")
        folder.rename(made / "plugins" / name[1].strip())
    return made


def _copied(package: Package, part: Path) -> Path:
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingError("the servers come from Maven Central: install Maven (mvn)")
    command = [maven, "-B", "-q", COPY, f"-Dartifact={package.coordinates}:zip", f"-DoutputDirectory={part}"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - pinned packages
    file = part / package.file
    if run.returncode or not file.exists():
        raise MissingError(f"Maven could not fetch {package.coordinates}: {(run.stdout + run.stderr)[-500:]}")
    if hashlib.sha256(file.read_bytes()).hexdigest() != package.sha256:
        raise MissingError(f"{package.coordinates} is not the package that is pinned: its checksum differs")
    return file


def _extract(file: Path, into: Path) -> None:
    with zipfile.ZipFile(file) as packed:
        packed.extractall(into)
    file.unlink()


def _open_to_all(home: Path) -> None:
    """Let everyone read and run it: zipfile forgets permissions, and nobody writes here."""
    for path in [home, *home.rglob("*")]:
        runs = path.is_dir() or path.parent.name == "bin"
        path.chmod(0o755 if runs else 0o644)
