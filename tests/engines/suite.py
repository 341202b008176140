"""The conformance suite over a search engine; a test module of each engine says under which indexes."""

import secrets
from typing import ClassVar

import pytest

from dkvector.registry import backend
from dkvector.testing import StoreTests
from engines.asking import raw_count_of


class EngineSuite(StoreTests):
    """The suite, with a store of an index that is built with the rows."""

    engine: ClassVar[str]

    @pytest.fixture
    def url(self, request):
        return request.getfixturevalue(f"{self.engine}_url")

    @pytest.fixture
    async def store(self, url):
        store = await backend(self.engine).open({"url": url, "index": f"suite-{secrets.token_hex(6)}"})
        store.planned = self.index
        yield store
        if not store.closed:
            await store.drop()
            await store.aclose()

    @pytest.fixture
    def raw_count(self, store, url):
        return lambda: raw_count_of(url, store._index)
