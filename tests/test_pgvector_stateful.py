"""Any sequence of calls leaves a table as it leaves a dict; the machine is the one that tests the other stores."""

import secrets

import pytest
from hypothesis import settings
from test_stateful import Machine, few

from dkvector.indexes import HNSW, IVF
from dkvector.metrics import DistanceMetric


class InPostgres(Machine):
    url = ""

    def __init__(self) -> None:
        self.name = f"machine_{secrets.token_hex(4)}"
        super().__init__()

    def target(self):
        return {"backend": "pgvector", "url": self.url, "table": self.name}

    def kind_of(self, spec):
        return spec.kind  # a server builds indexes of no rows too

    def teardown(self):
        self.store.close()
        self.open()
        self.store.drop()
        super().teardown()


class ByHNSW(InPostgres):
    spec = HNSW(m=8)


class ByIVF(InPostgres):
    spec = IVF(lists=4)
    metric = DistanceMetric.DOT_PRODUCT


@pytest.fixture(autouse=True, scope="module")
def _server(postgres_url):
    InPostgres.url = postgres_url


fewer = settings(few, max_examples=8)
TestInPostgres = InPostgres.TestCase
TestByHNSW = ByHNSW.TestCase
TestByIVF = ByIVF.TestCase
TestInPostgres.settings = TestByHNSW.settings = TestByIVF.settings = fewer
