"""OpenSearch passes the suite, under every index it has."""

import uuid

import pytest
from engines.asking import raw_count_of

from dkvector.backends.opensearch import OpenSearchStore
from dkvector.indexes import HNSW, Flat, Tuning
from dkvector.testing import StoreTests


class Suite(StoreTests):
    @pytest.fixture
    async def store(self, opensearch_url):
        index = f"test-{uuid.uuid4().hex[:12]}"
        store = await OpenSearchStore.open({"url": opensearch_url, "index": index})
        store.planned = self.index
        yield store
        if not store.closed:
            await store.drop()
            await store.aclose()

    @pytest.fixture
    def raw_count(self, store, opensearch_url):
        return lambda: raw_count_of(opensearch_url, store._index)


class TestHNSW(Suite):
    index = HNSW()
    floor = 0.95
    approximate = Tuning(exact=False)


class TestFlat(Suite):
    index = Flat()


class TestInt8(Suite):
    index = HNSW(quantization="int8")
    floor = 0.9
    approximate = Tuning(exact=False)
