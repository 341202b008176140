"""A view of a store is a store: each does what every store must, over exact search, Faiss, and other views."""

from dataclasses import replace

import pyarrow as pa
import pytest

from dkvector.backends.exact import ExactStore
from dkvector.backends.faiss import FaissStore
from dkvector.filters import IsNull
from dkvector.indexes import HNSW, Tuning
from dkvector.testing import HybridTests, KeywordTests, StoreTests
from dkvector.testing.asking import AskTests
from dkvector.testing.search import SearchTests
from dkvector.testing.verifying import VerifyTests
from dkvector.testing.where import FilterTests
from dkvector.views import Audited, Cached, Limited, RateLimit, Restricted

OFTEN = RateLimit(per_second=1e6)


class Suite(StoreTests):
    inner = ExactStore

    @pytest.fixture
    async def within(self):
        store = await self.inner.open({})
        yield store
        await store.aclose()

    @pytest.fixture
    async def store(self, within):
        return self.seen(within)

    @pytest.fixture
    def raw_count(self, within):
        return lambda: int((~within.rows.dead).sum())


class TestCached(Suite):
    def seen(self, store):
        return Cached(store)


class TestLimited(Suite):
    def seen(self, store):
        return Limited(store, OFTEN)


class TestAudited(Suite):
    def seen(self, store):
        return Audited(store, lambda event: event)


class TestRestricted(Suite):
    def seen(self, store):
        return Restricted(store)


class TestAllOfThem(Suite):
    inner = FaissStore
    index = HNSW()
    floor = 0.97
    approximate = Tuning(exact=False, ef_search=100)

    def seen(self, store):
        return Audited(Cached(Restricted(Limited(store, OFTEN))), lambda event: event)


class Haunted(ExactStore):
    """Writes a shadow beside every row: of the same content, but another id and a team of its own."""

    async def _upsert(self, batch, mode, *, progress):
        labels = batch.labels
        text = labels.dtype.kind == "O" or labels.dtype == "str"
        ids = pa.array([f"!{one}" for one in labels] if text else labels.to_numpy() - 10**6, batch.ids.type)
        teams = pa.array(["theirs"] * len(batch), pa.large_string())
        payload = batch.payload.drop_columns(["team"] if "team" in batch.payload.column_names else [])
        payload = payload.append_column("team", teams)
        shadows = replace(batch, ids=ids, payload=payload, schema=replace(batch.schema, payload=payload.schema))
        await super()._upsert(shadows, mode, progress=False)
        return await super()._upsert(batch, mode, progress=progress)


class TestSomeRows(SearchTests, AskTests, VerifyTests, FilterTests, KeywordTests, HybridTests):
    """Rows of others, as near as one's own, are nowhere to be seen."""

    @pytest.fixture
    async def within(self):
        return await Haunted.open({})

    @pytest.fixture
    async def store(self, within):
        return Restricted(within, where=IsNull("team"))

    @pytest.fixture
    def raw_count(self, within):
        return lambda: int((~within.rows.dead).sum()) // 2
