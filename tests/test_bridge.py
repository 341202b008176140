"""Records in one backend, their vectors in another: in step whatever fails, and never starved by a filter."""

import asyncio

import numpy as np
import pytest
from faults import Faults
from scans import telling

import dkvector as dkv
from dkvector.bridge import database as bridge
from dkvector.bridge.database import HybridVectorDatabase
from dkvector.bridge.drift import Drift, digest
from dkvector.query import Query
from dkvector.records import Record

WRITES = ["_upsert", "_delete", "_get", "_scan", "_search", "_count"]
THEIRS = ["upsert", "delete", "read", "search", "all"]


async def store(backend="exact", **config):
    return await dkv.VectorStoreFactory.create(backend, config)


async def memory():
    theirs = pytest.importorskip("dataknobs_data.backends.memory")
    return theirs.AsyncMemoryDatabase()


async def sides(kind, tmp_path):
    """Make the two backends, and say which of their methods do the work."""
    vectors = await store("faiss", index_path=str(tmp_path / "vectors"))
    if kind == "dataknobs":
        return await memory(), THEIRS, vectors
    return await store(), WRITES, vectors


def record(label, n):
    return Record({"n": n, "kind": "even" if n % 2 == 0 else "odd"}, id=label)


def vector(seed):
    return np.random.default_rng(seed).standard_normal(6).astype(np.float32)


async def filled(both, count=40):
    for n in range(count):
        await both.store_with_embedding(record(f"r{n:02}", n), vector(n))


async def nearest(both, query, keep, k):
    """Find the neighbours by a loop over what the data holds."""
    records = [one async for batch in both.data.scan() for one in batch if keep(one)]
    far = {}
    for one in records:
        own = one["embedding"]
        far[one.id] = 1 - float(own @ query / np.linalg.norm(own) / np.linalg.norm(query))
    return sorted(far, key=far.get)[:k]


KINDS = pytest.mark.parametrize("kind", ["ours", "dataknobs"])


@KINDS
async def test_records_and_vectors_go_where_they_belong(kind, tmp_path):
    data, _, vectors = await sides(kind, tmp_path)
    both = HybridVectorDatabase(data, vectors, mirrored=[])
    given = await both.store_with_embedding(Record({"title": "one", "tags": ["a", "b"]}), vector(1))
    back = await both.read(given)
    assert (back["title"], list(back["tags"])) == ("one", ["a", "b"])
    np.testing.assert_array_equal(back["embedding"], vector(1))
    assert vectors.known.payload.names == ["_dkvector_digest"]
    ((found, score),) = await both.hybrid_search(vector(1), k=3)
    assert (found.id, found["title"], round(score, 5)) == (given, "one", 1.0)
    assert len(await both.verify()) == 0
    assert await both.delete(given) is True
    assert (await both.read(given), await both.delete(given), await vectors.count()) == (None, False, 0)


@KINDS
@pytest.mark.parametrize("few", [0, 1000], ids=["as a filter", "as ids"])
@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("kind == 'odd' and n > 30", lambda one: one["kind"] == "odd" and one["n"] > 30),
        ("n < 3 or kind.str.startswith('ev')", lambda one: one["n"] < 3 or one["kind"] == "even"),
        ({"n": [3, 5, 99]}, lambda one: one["n"] in {3, 5}),
        (Query().filter("n", "between", [10, 12]), lambda one: 10 <= one["n"] <= 12),
        ("n > 1000", lambda _: False),
        (None, lambda _: True),
    ],
    ids=["and", "or", "among", "query", "nothing", "all"],
)
async def test_a_filter_gives_the_k_nearest_that_satisfy_it(kind, few, where, keep, tmp_path, monkeypatch):
    monkeypatch.setattr(bridge, "FEW", few)
    data, _, vectors = await sides(kind, tmp_path)
    both = HybridVectorDatabase(data, vectors)
    await filled(both)
    for seed in (1, 99):
        found = await both.hybrid_search(vector(seed), where, k=5)
        assert [one.id for one, _ in found] == await nearest(both, vector(seed), keep, 5)
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    some = where is not None and where != "n > 1000"
    assert both.last.way == ("all rows" if where is None else "filter" if some and not few else "ids")


@KINDS
@pytest.mark.parametrize("label", [int, np.int64])
async def test_ids_that_are_numbers_are_in_step(kind, label, tmp_path):
    data, _, vectors = await sides(kind, tmp_path)
    both = HybridVectorDatabase(data, vectors)
    # the ids of a database of dataknobs are texts
    named = str if kind == "dataknobs" else int
    for n in range(4):
        given = Record({"n": n}, id=label(n))
        assert await both.store_with_embedding(given, vector(n)) == named(n)
        assert given.id == n
    assert await both.verify() == Drift()
    assert await both.repair() == Drift()
    found = await both.hybrid_search(vector(1), "n >= 1 and n < 3", k=4)
    assert {one.id for one, _ in found} == {named(1), named(2)}
    assert len(await both.hybrid_search(vector(1), k=4)) == 4
    assert (await both.read(label(2)))["n"] == 2
    assert (await both.read(named(2))).id == named(2)
    assert await both.delete(label(2))
    assert not await both.delete(label(2))
    assert await vectors.count() == 3
    assert await both.verify() == Drift()


async def test_a_filter_that_the_vectors_know_nothing_of_goes_as_ids_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(bridge, "FEW", 0)
    monkeypatch.setattr(bridge, "SENT", 7)
    data, _, vectors = await sides("ours", tmp_path)
    both = HybridVectorDatabase(data, vectors, mirrored=["kind"])
    await filled(both)
    found = await both.hybrid_search(vector(5), "n >= 10", k=8)
    assert [one.id for one, _ in found] == await nearest(both, vector(5), lambda one: one["n"] >= 10, 8)
    assert (both.last.way, both.last.matching, both.last.searches) == ("ids", 30, 5)


async def test_a_query_of_the_database_s_own_is_a_filter(tmp_path):
    theirs = pytest.importorskip("dataknobs_data")
    data, _, vectors = await sides("dataknobs", tmp_path)
    both = HybridVectorDatabase(data, vectors)
    await filled(both)
    for operator, value, keep in (
        (theirs.Operator.LT, 4, lambda one: one["n"] < 4),
        (theirs.Operator.REGEX, "^3.$", lambda one: str(one["n"]).startswith("3") and one["n"] > 3),
    ):
        field = "n" if operator is theirs.Operator.LT else "kind"
        asked = theirs.Query(filters=[theirs.Filter(field, operator, value if field == "n" else "^od")])
        expected = keep if field == "n" else (lambda one: one["kind"] == "odd")
        found = await both.hybrid_search(vector(3), asked, k=4)
        assert [one.id for one, _ in found] == await nearest(both, vector(3), expected, 4)


async def scenario(both, truth):
    """Do every kind of call; `truth` tells of each id what it must be, a list where a call on it is under way."""

    async def put(label, n, seed):
        before, truth[label] = truth.get(label), [truth.get(label), (n, seed)]
        await both.store_with_embedding(record(label, n), vector(seed))
        truth[label] = (n, seed)
        return before

    await put("a", 1, 10)
    await put("b", 2, 20)
    await put("a", 3, 30)
    await both.hybrid_search(vector(5), "kind == 'odd'", k=2)
    truth["b"] = [truth["b"], None]
    await both.delete("b")
    truth["b"] = None
    await put("c", 4, 40)


def state(one):
    if one is None:
        return None
    seed = next(seed for seed in (10, 20, 30, 40) if np.array_equal(vector(seed), one["embedding"]))
    return (one["n"], seed)


@KINDS
@pytest.mark.parametrize("after", [False, True], ids=["before its work", "after its work"])
async def test_a_failure_at_any_step_loses_nothing_and_is_repaired(kind, after, tmp_path):
    hits = []
    for at in range(1, 100):
        data, names, vectors = await sides(kind, tmp_path / str(at))
        faults = Faults(at, after=after)
        both = HybridVectorDatabase(faults.watch(data, names), faults.watch(vectors, WRITES))
        truth = {}
        try:
            await scenario(both, truth)
        except dkv.DkvectorError:
            hits.append(faults.hit)
        faults.at = 0
        for label, expected in truth.items():
            now = state(await both.read(label))
            assert now in expected if isinstance(expected, list) else now == expected, (faults.hit, label)
        await both.repair()
        assert len(await both.verify()) == 0, faults.hit
        everything = [one.id for one, _ in await both.hybrid_search(vector(7), k=10)]
        assert everything == await nearest(both, vector(7), lambda _: True, 10), faults.hit
        assert await vectors.count() == len(everything)
        await vectors.aclose()
        if not faults.hit:
            break
    assert not faults.hit
    assert {"FaissStore._upsert", "FaissStore._delete"} <= set(hits)
    assert {"ExactStore._upsert", "ExactStore._delete"} <= set(hits) or {"AsyncMemoryDatabase.upsert"} <= set(hits)


@pytest.mark.parametrize("after", [False, True])
async def test_a_repair_that_fails_is_gone_on_with(after, tmp_path, monkeypatch):
    monkeypatch.setattr(bridge, "BATCH", 4)
    for at in range(1, 100):
        data, names, vectors = await sides("ours", tmp_path / f"{at}")
        both = HybridVectorDatabase(data, vectors)
        await filled(both, 12)
        await vectors.delete([f"r{n:02}" for n in range(0, 12, 2)])
        await data.delete(["r01", "r03"])
        await data.upsert([Record({"n": 77, "kind": "odd", "embedding": vector(5)}, id="r05")])
        drift = await both.verify()
        assert sorted(drift.missing) == ["r00", "r02", "r04", "r06", "r08", "r10"]
        assert (drift.changed, sorted(drift.orphaned)) == (("r05",), ["r01", "r03"])
        assert drift.to_frame()["drift"].value_counts().to_dict() == {"missing": 6, "changed": 1, "orphaned": 2}
        faults = Faults(at, after=after)
        faults.watch(data, names)
        faults.watch(vectors, WRITES)
        if faults.at:
            try:
                await both.repair(progress=False)
            except dkv.DkvectorError:
                assert faults.hit
        faults.at = 0
        await both.repair()
        assert await both.verify() == Drift()
        assert await vectors.count() == await data.count() == 10
        await vectors.aclose()
        if not faults.hit:
            return
    pytest.fail("it never ran through")


async def test_drift_starves_no_search(tmp_path, monkeypatch):
    monkeypatch.setattr(bridge, "FEW", 0)
    data, _, vectors = await sides("ours", tmp_path)
    both = HybridVectorDatabase(data, vectors)
    await filled(both, 30)
    gone = await nearest(both, vector(2), lambda one: one["n"] >= 5, 6)
    await data.delete(gone[:3])  # orphans among the vectors, and just the nearest
    await data.upsert([Record({"n": 0, "kind": "even", "embedding": vector(90)}, id=gone[3])])
    found = await both.hybrid_search(vector(2), "n >= 5", k=6)
    assert [one.id for one, _ in found] == await nearest(both, vector(2), lambda one: one["n"] >= 5, 6)
    assert (both.last.way, both.last.again) == ("ids", 4)


async def test_what_can_not_be_searched_is_refused_before_it_is_written(tmp_path):
    data, _, vectors = await sides("ours", tmp_path)
    both = HybridVectorDatabase(data, vectors)
    for wrong in (np.zeros(6), [1, np.nan, 0, 0, 0, 0], np.ones((2, 3))):
        with pytest.raises(dkv.VectorError):
            await both.store_with_embedding(record("a", 1), wrong)
    await filled(both, 2)
    with pytest.raises(dkv.VectorError, match="5 dimensions"):
        await both.store_with_embedding(record("a", 1), np.ones(5))
    await vectors.record_model(lambda texts: np.ones((len(texts), 6)), version="v1")
    assert await data.count() == await vectors.count() == 2


async def test_a_model_that_is_not_the_vectors_own_is_refused(tmp_path):
    data, _, vectors = await sides("ours", tmp_path)
    both = HybridVectorDatabase(data, vectors)
    await filled(both, 2)
    encoder = dkv.Encoder(lambda texts: np.ones((len(texts), 6)), model="org/one")
    await vectors.record_model(encoder)
    with pytest.raises(dkv.SchemaError, match="org/one"):
        await both.store_with_embedding(record("a", 1), vector(1), model="other")
    await both.store_with_embedding(record("a", 1), vector(1), model="one")
    assert await data.count() == 3


async def test_the_error_says_what_is_stored(tmp_path):
    data, _, vectors = await sides("ours", tmp_path)
    both = HybridVectorDatabase(data, Faults(1).watch(vectors, ["_upsert"]))
    with pytest.raises(dkv.PartialWriteError, match=r"'a' \(1 row\).*in the data.*repair\(\)"):
        await both.store_with_embedding(record("a", 1), vector(1))
    assert (await both.verify()).missing == ("a",)


def test_other_backends_are_refused():
    class Half:
        async def read(self, label): ...

    async def run():
        exact = await store()
        with pytest.raises(dkv.SchemaError, match="Half has no upsert, delete, search, all"):
            HybridVectorDatabase(Half(), exact)
        with pytest.raises(dkv.SchemaError, match="AsyncVectorStore"):
            HybridVectorDatabase(exact, dkv.connect("exact"))
        with pytest.raises(dkv.SchemaError, match="are one"):
            HybridVectorDatabase(exact, exact)

    import asyncio

    asyncio.run(run())


def test_a_digest_tells_states_apart():
    one = Record({"n": 1, "when": "2024-01-01T00:00:00", "v": np.float32([1, 2])})
    assert digest(one, one) == digest(Record({"v": [1.0, 2.0], "n": 1.0, "when": "2024-01-01T00:00:00"}), one)
    for other in ({"n": 2}, {"v": np.float32([1, 2.0001])}, {"when": None}, {"more": 1}):
        changed = Record({**{name: one[name] for name in one}, **other})
        assert digest(one, one) != digest(changed, changed)


async def test_records_that_the_database_had_are_brought_over():
    theirs = pytest.importorskip("dataknobs_data")

    data = await memory()
    for n in range(3):
        fields = {"n": n, "embedding": theirs.VectorField(vector(n).tolist()), "id": f"r{n}"}
        await data.create(theirs.Record(fields, storage_id=f"r{n}"))
    await data.create(theirs.Record({"n": 3, "embedding": None}, storage_id="bare"))
    both = HybridVectorDatabase(data, await store())
    assert (await both.verify()).missing == ("r0", "r1", "r2")
    await both.repair()
    assert len(await both.verify()) == 0
    found = await both.hybrid_search(vector(1), k=1)
    assert [one.id for one, _ in found] == ["r1"]
    np.testing.assert_array_equal(found[0][0]["embedding"], vector(1))


async def test_a_comparison_that_is_interrupted_lets_go_of_its_scan(monkeypatch):
    closed = []
    both = HybridVectorDatabase(await telling(closed).open({}), await store())
    await filled(both, 3)
    monkeypatch.setattr("dkvector.bridge.sides.BATCH", 1)
    monkeypatch.setattr(bridge, "digest", lambda *_: interrupted())

    def interrupted():
        raise asyncio.CancelledError

    closed.clear()
    with pytest.raises(asyncio.CancelledError) as caught:
        await both.verify()
    assert (closed, caught.value.__traceback__ is not None) == ([True], True)
