"""The store in PostgreSQL: the conformance suite against a real server, under every kind of index."""

import asyncio
import secrets

import asyncpg
import pytest

from dkvector.backends.pgvector import PgVectorStore
from dkvector.indexes import HNSW, IVF, Tuning
from dkvector.testing import StoreTests


class Suite(StoreTests):
    options = {}  # noqa: RUF012

    @pytest.fixture
    async def store(self, postgres_url):
        table = f"suite_{secrets.token_hex(4)}"
        store = await PgVectorStore.open({"url": postgres_url, "table": table, **self.options})
        yield store
        await store.drop()
        await store.aclose()

    @pytest.fixture
    def raw_count(self, store, postgres_url):
        async def count():
            connection = await asyncpg.connect(postgres_url)
            try:
                return await connection.fetchval(f'SELECT count(*) FROM "{store.config.table}"')
            finally:
                await connection.close()

        def counted():
            with asyncio.Runner() as runner:
                return runner.run(count())

        def beside():
            import threading

            found = []
            thread = threading.Thread(target=lambda: found.append(counted()))
            thread.start()
            thread.join()
            return found[0]

        return beside


class TestFlat(Suite):
    pass


class TestHNSW(Suite):
    index = HNSW()
    floor = 0.97
    approximate = Tuning(exact=False, ef_search=100)


class TestIVF(Suite):
    index = IVF(lists=12)  # the server draws its centres anew at each build: recall was 0.905 and more in 60
    floor = 0.85
    approximate = Tuning(exact=False, probes=6)


class TestHalf(Suite):
    index = HNSW(quantization="float16")
    floor = 0.97
    approximate = Tuning(exact=False)
