"""OpenSearch passes `StoreTests`, under every kind of index it has."""

from engines.suite import EngineSuite

from dkvector.indexes import HNSW, Flat, Tuning


class Suite(EngineSuite):
    engine = "opensearch"


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
