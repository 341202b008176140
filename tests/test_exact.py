"""The exact store does what every store must."""

import pytest

from dkvector.backends.exact import ExactStore
from dkvector.testing import StoreTests


class TestExact(StoreTests):
    @pytest.fixture
    async def store(self):
        return await ExactStore.open({})

    @pytest.fixture
    def raw_count(self, store):
        return lambda: int((~store.rows.dead).sum())
