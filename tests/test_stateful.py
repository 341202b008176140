"""Any sequence of calls leaves a store as it leaves a dict of id → vector and payload."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dkvector.backends import _faiss_upkeep, _rows
from dkvector.errors import DuplicateIdError, NotFoundError
from dkvector.filters import col
from dkvector.indexes import HNSW, IVF, Flat, Tuning
from dkvector.ingest import Reading
from dkvector.metrics import DistanceMetric
from dkvector.registry import connect

ids = st.integers(0, 60)
codes = st.integers(0, 5**4 - 1)  # of a vector of four digits from -2 to 2: few enough to meet again
numbers = st.none() | st.integers(0, 9)
batches = st.dictionaries(ids, st.tuples(codes, numbers), min_size=1, max_size=30)
effort = {"ef_search": st.sampled_from([None, 1, 64]), "probes": st.sampled_from([None, 1, 8])}
tunings = st.builds(Tuning, exact=st.sampled_from([None, True, False]), **effort)
limits = st.none() | st.integers(0, 10)


def vector(code):
    return tuple(code // 5**place % 5 - 2 for place in range(4))


def frame(batch):
    return pd.DataFrame(
        {
            "n": pd.array([n for _, n in batch.values()], "Int64"),
            "v": [np.float32(vector(code)) for code, _ in batch.values()],
        },
        index=pd.Index(list(batch), dtype="int64", name="key"),
    )


class Machine(RuleBasedStateMachine):
    """A store beside a dict."""

    keeps = True  # what is written, past its closing; and builds indexes
    spec = Flat()
    metric = DistanceMetric.EUCLIDEAN

    def __init__(self) -> None:
        super().__init__()
        self.model, self.spec = {}, type(self).spec
        self.cleanup = ExitStack()
        # a few rows make several segments, and leave an index behind
        self.cleanup.enter_context(patch.object(_rows, "SMALL", 24))
        self.cleanup.enter_context(patch.multiple(_faiss_upkeep, BEHIND=6, BEHIND_SHARE=0.0))
        self.path = Path(tempfile.mkdtemp(prefix="dkvector-test-"))
        self.cleanup.callback(shutil.rmtree, self.path)
        self.open()

    def target(self):
        return {"backend": "faiss", "index_path": str(self.path)}

    def open(self):
        self.store = connect(self.target())

    def teardown(self):
        self.store.close()
        self.cleanup.close()

    @initialize(batch=batches)
    def first(self, batch):
        self.store.upsert(frame(batch), reading=Reading(metric=self.metric))
        self.model = dict(batch)
        self.build(self.spec)

    def build(self, spec):
        built = self.store.build_index(spec)
        assert built.kind == self.kind_of(spec)
        self.spec = spec

    def kind_of(self, spec):
        return spec.kind if self.model else "flat"

    @rule(batch=batches)
    def upsert(self, batch):
        known = len(self.model.keys() & batch.keys())
        written = self.store.upsert(frame(batch))
        assert (written.inserted, written.replaced) == (len(batch) - known, known)
        self.model |= batch

    @rule(batch=batches)
    def insert(self, batch):
        if self.model.keys() & batch.keys():
            with pytest.raises(DuplicateIdError):
                self.store.upsert(frame(batch), mode="insert")
        else:
            assert self.store.upsert(frame(batch), mode="insert").inserted == len(batch)
            self.model |= batch

    @rule(batch=batches)
    def replace(self, batch):
        self.store.upsert(frame(batch), mode="replace")
        self.model = dict(batch)

    @rule(doomed=st.sets(ids, max_size=8))
    def delete(self, doomed):
        assert self.store.delete(sorted(doomed)) == len(self.model.keys() & doomed)
        self.model = {key: row for key, row in self.model.items() if key not in doomed}

    @rule(doomed=st.sets(ids, max_size=30), below=limits)
    def delete_where(self, doomed, below):
        gone = self.matching(below) & doomed if doomed else self.matching(below)
        where = col("key") >= 0 if below is None else col("n") < below
        assert self.store.delete(sorted(doomed) or None, where=where) == len(gone)
        self.model = {key: row for key, row in self.model.items() if key not in gone}

    @rule(part=st.integers(2, 4))
    def delete_most(self, part):
        """Past a share of dead rows the living are numbered anew."""
        doomed = [key for key in self.model if key % part]
        assert self.store.delete(doomed) == len(doomed)
        self.model = {key: row for key, row in self.model.items() if not key % part}

    def matching(self, below):
        return {key for key, (_, n) in self.model.items() if below is None or (n is not None and n < below)}

    def distance(self, query, key):
        """Squared, or negated product: whole numbers, so that ties are ties."""
        pairs = zip(vector(query), vector(self.model[key][0]), strict=True)
        if self.metric is DistanceMetric.EUCLIDEAN:
            return sum((q - v) ** 2 for q, v in pairs)
        return -sum(q * v for q, v in pairs)

    @rule(queries=st.lists(codes, min_size=1, max_size=10), k=st.integers(1, 70), below=limits, tuning=tunings)
    def search(self, queries, k, below, tuning):
        where = None if below is None else col("n") < below
        found = self.store.search(np.float32([vector(code) for code in queries]), k=k, where=where, tuning=tuning)
        matching = self.matching(below)
        for i, query in enumerate(queries):
            mine = found[found["query"] == i]
            keys = mine.index.tolist()
            place = [(self.distance(query, key), key) for key in keys]  # every hit is a living row
            assert set(keys) <= matching
            assert place == sorted(set(place))
            exact = np.float32([distance for distance, _ in place])
            expected = np.sqrt(exact) if self.metric is DistanceMetric.EUCLIDEAN else exact
            np.testing.assert_allclose(mine.distance, expected, rtol=1e-6, atol=1e-6)
            assert mine["n"].to_dict() == {key: self.model[key][1] for key in keys}
            if tuning.exact is not False:
                assert len(keys) == min(k, len(matching))
            if tuning.exact or self.spec == Flat() or not self.keeps:
                assert place == sorted((self.distance(query, key), key) for key in matching)[:k]

    @rule(wanted=st.lists(ids, max_size=5))
    def get(self, wanted):
        if self.model.keys() >= set(wanted):
            found = self.store.get(wanted, include_vectors=True)
            assert found.index.tolist() == wanted
            assert [tuple(one) for one in found.v] == [vector(self.model[key][0]) for key in wanted]
        else:
            with pytest.raises(NotFoundError):
                self.store.get(wanted)

    @rule(below=limits, size=st.integers(1, 40))
    def scan(self, below, size):
        batches = list(self.store.scan(None if below is None else col("n") < below, batch_size=size))
        keys = [key for batch in batches for key in batch.index]
        assert sorted(keys) == sorted(self.matching(below))
        assert self.store.count(None if below is None else col("n") < below) == len(keys)

    @precondition(lambda self: self.keeps)
    @rule(spec=st.sampled_from([Flat(), HNSW(m=4), IVF(lists=3)]))
    def build_another(self, spec):
        self.build(spec)

    @precondition(lambda self: self.keeps)
    @rule()
    def reopen(self):
        self.store.close()
        self.open()

    @invariant()
    def rows_are_counted(self):
        assert self.store.count() == len(self.model)


class Exact(Machine):
    keeps = False

    def target(self):
        return "exact"


class ExactByProduct(Exact):
    metric = DistanceMetric.DOT_PRODUCT


class ByHNSW(Machine):
    spec = HNSW(m=8)


class ByIVF(Machine):
    spec = IVF(lists=4)
    metric = DistanceMetric.DOT_PRODUCT


few = settings(
    max_examples=12,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow],  # drawing thirty rows is slow beside the calls under test
)
TestExact = Exact.TestCase
TestExactByProduct = ExactByProduct.TestCase
TestFlat = Machine.TestCase
TestHNSW = ByHNSW.TestCase
TestIVF = ByIVF.TestCase
TestExact.settings = TestExactByProduct.settings = TestFlat.settings = TestHNSW.settings = TestIVF.settings = few
