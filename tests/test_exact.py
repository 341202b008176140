"""The exact store does what every store must."""

import pandas as pd
import pytest

import dkvector as dkv
from dkvector.backends.exact import ExactStore
from dkvector.testing import StoreTests


class TestExact(StoreTests):
    @pytest.fixture
    async def store(self):
        return await ExactStore.open({})

    @pytest.fixture
    def raw_count(self, store):
        return lambda: int((~store.rows.dead).sum())


@pytest.mark.parametrize("backend", ["exact", "faiss"])
def test_a_config_may_say_that_it_says_nothing(backend):
    with dkv.connect({"backend": backend, "metric": None, "dimension": None}) as store:
        store.upsert(pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]}))
        assert store.schema.vectors[0].metric is dkv.DistanceMetric.COSINE
