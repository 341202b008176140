"""The Faiss store does what every store must, with every kind of index."""

import dataclasses
import json
import struct

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv
from dkvector.backends.faiss import FaissStore
from dkvector.indexes import HNSW, IVF, Auto, Flat, Tuning
from dkvector.testing import StoreTests


def logged(folder, log) -> int:
    """Count the rows that a log adds less those that died, by nothing but docs/format.md."""
    if log is None:
        return 0
    raw, at, rows = (folder / log["file"]).read_bytes(), 32, 0
    salt = raw[8:16]
    while raw[at : at + 8] == salt:
        _, added, died, stream = struct.unpack_from("<4I", raw, at + 12)
        rows += added - died
        at += 32 + 8 * died + -(-stream // 8) * 8
    return rows


class FaissTests(StoreTests):
    @pytest.fixture
    async def store(self, tmp_path):
        store = await FaissStore.open({"index_path": str(tmp_path / "rows")})
        yield store
        await store.aclose()

    @pytest.fixture
    def raw_count(self, store):
        def count() -> int:
            manifest = json.loads((store.path / "manifest.json").read_text())
            rows = sum(one["rows"] for one in manifest["segments"])
            rows += logged(store.path, manifest["log"]) - len(manifest["buried"])
            if manifest["dead"] is None:
                return rows
            return rows - int(np.unpackbits(np.fromfile(store.path / manifest["dead"]["file"], np.uint8)).sum())

        return count


class TestFlat(FaissTests):
    pass


class TestHNSW(FaissTests):
    index = HNSW(m=16)
    floor = 0.95
    approximate = Tuning(exact=False)


class TestIVF(FaissTests):
    index = IVF(lists=8)
    floor = 0.95
    approximate = Tuning(exact=False, probes=8)


class TestAuto(FaissTests):
    index = Auto()


class TestTemporary(FaissTests):
    @pytest.fixture
    async def store(self):
        store = await FaissStore.open({})
        yield store
        await store.aclose()


FLOORS = {"float16": 0.99, "int8": 0.99, "pq": 0.97, "rabitq": 0.97, "binary": 0.99}


def coded(spec, probes=None):
    """Make the class of tests of one index over codes."""
    name = f"Test{type(spec).__name__}{spec.quantization.capitalize()}"
    members = {"index": spec, "floor": FLOORS[spec.quantization], "approximate": Tuning(exact=False, probes=probes)}
    return {name: type(name, (FaissTests,), members)}


for code in FLOORS:
    globals().update(coded(Flat(quantization=code)))
    globals().update(coded(IVF(lists=8, quantization=code), probes=8))
    globals().update(coded(HNSW(m=16, quantization=code)))


def test_a_short_query_that_meets_fewer_rows_than_k_is_answered_without_a_warning():
    frame = pd.DataFrame({"v": list(np.random.default_rng(0).standard_normal((400, 8)).astype("f4"))})
    with frame.vec.push("faiss", index=dkv.IVF(lists=10)) as store:
        query = np.full(8, 1e-3, np.float32)
        tuning = {"probes": 1, "exact": False}
        found = store.search(query, k=300, tuning=tuning)
        assert 0 < len(found) < 300
        assert found["distance"].between(0, 2).all()


@pytest.mark.parametrize("code", [None, *FLOORS])
@pytest.mark.parametrize("spec", [HNSW(m=8), IVF(lists=4), Flat()], ids=lambda spec: spec.kind)
def test_no_room_is_taken_for_more_neighbours_than_there_are_rows(spec, code):
    frame = pd.DataFrame({"v": list(np.random.default_rng(0).standard_normal((60, 8)).astype("f4"))})
    with frame.vec.push("faiss", index=dataclasses.replace(spec, quantization=code)) as store:
        for k in (61, 10**12, 2**70):
            tuning = {"exact": False, "probes": 4, "ef_search": 2**31 - 1}
            found = store.search(frame.v.head(3), k=k, tuning=tuning)
            assert found.groupby("query").size().tolist() == [60] * 3
            assert len(store.search(frame.v[0], k=k)) == 60
