"""Any sequence of calls leaves an index as it leaves a dict; the machine is the one that tests the other stores."""

import secrets

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from test_stateful import Machine, few

from dkvector.indexes import HNSW, Flat
from dkvector.metrics import DistanceMetric


class InEngine(Machine):
    spec = HNSW(m=8)
    url = ""

    def __init__(self) -> None:
        self.name = f"machine-{secrets.token_hex(4)}"
        super().__init__()

    def target(self):
        return {"backend": self.engine, "url": self.url, "index": self.name}

    def kind_of(self, spec):
        return spec.kind  # a server builds indexes of no rows too

    @rule(spec=st.sampled_from([Flat(), HNSW(m=4)]))
    def build_another(self, spec):
        self.build(spec)

    def teardown(self):
        self.store.close()
        self.open()
        self.store.drop()
        super().teardown()


class InElasticsearch(InEngine):
    engine = "elasticsearch"


class InElasticsearchByProduct(InElasticsearch):
    spec = Flat()
    metric = DistanceMetric.DOT_PRODUCT


class InOpenSearch(InEngine):
    engine = "opensearch"


class InOpenSearchByProduct(InOpenSearch):
    spec = Flat()
    metric = DistanceMetric.DOT_PRODUCT


@pytest.fixture(autouse=True, scope="module")
def _servers(elasticsearch_url, opensearch_url):
    InElasticsearch.url, InOpenSearch.url = elasticsearch_url, opensearch_url


fewer = settings(few, max_examples=6)
TestInElasticsearch = InElasticsearch.TestCase
TestInElasticsearchByProduct = InElasticsearchByProduct.TestCase
TestInOpenSearch = InOpenSearch.TestCase
TestInOpenSearchByProduct = InOpenSearchByProduct.TestCase
TestInElasticsearch.settings = TestInElasticsearchByProduct.settings = fewer
TestInOpenSearch.settings = TestInOpenSearchByProduct.settings = fewer
