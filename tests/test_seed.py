"""The design that this package grew from: its own tests word for word but for imports, its configs, its names."""

import inspect

import numpy as np
import pytest

import dkvector as dkv
from dkvector import DistanceMetric, FieldType, Query, Record, VectorField, VectorOperations, VectorQuery
from dkvector.backends.faiss import FaissStore
from dkvector.backends.faiss import FaissStore as FaissVectorStore

# Its unit tests. Its store was made by a constructor and `connect()`; ours is opened by one coroutine.


@pytest.mark.asyncio
async def test_vector_field_validation():
    """Test vector field creation and validation."""
    # Valid vector
    vector = np.random.rand(768)
    field = VectorField(vector, dimensions=768)
    assert field.dimensions == 768
    assert field.type == FieldType.VECTOR

    # Invalid dimensions
    with pytest.raises(ValueError):  # noqa: PT011 - as designed
        VectorField(np.random.rand(512), dimensions=768)


@pytest.mark.asyncio
async def test_faiss_indexing():
    """Test Faiss vector indexing."""
    store = await FaissVectorStore.open({"dimension": 128, "index_type": "Flat", "metric": "cosine"})

    # Create test records with vectors
    records = []
    for i in range(100):
        record = Record({"title": f"Document {i}", "embedding": VectorField(np.random.rand(128), 128)})
        records.append(record)

    # Index vectors
    success = await store.index_vectors(records, "embedding")
    assert success

    # Search
    query_vector = np.random.rand(128)
    results = await store.search_similar(query_vector, k=5)
    assert len(results) <= 5

    # Results should be sorted by distance: best first; here the float is the score
    scores = [score for _, score in results]
    assert scores == sorted(scores, reverse=True)
    assert len(results) == 5
    await store.aclose()


# Its interface


@pytest.mark.parametrize(
    ("method", "parameters"),
    {
        "index_vectors": ["records", "vector_field", "index_params"],
        "search_similar": ["query_vector", "k", "metric", "filter"],
        "update_vector": ["id", "vector_field", "new_vector"],
        "delete_from_index": ["ids"],
    }.items(),
)
def test_vector_operations_are_the_four_as_designed(method, parameters):
    assert list(inspect.signature(getattr(VectorOperations, method)).parameters) == ["self", *parameters]
    assert inspect.iscoroutinefunction(getattr(FaissStore, method))
    assert method in VectorOperations.__abstractmethods__


def test_metrics_and_field_types():
    assert {one.name: one.value for one in DistanceMetric} == {
        "COSINE": "cosine",
        "EUCLIDEAN": "euclidean",
        "DOT_PRODUCT": "dot_product",
    }
    assert FieldType.VECTOR.value == "vector"


def test_a_vector_field_takes_lists_and_keeps_float32():
    field = VectorField([1.0, 2.0], dimensions=2, metadata={"model": "m"})
    assert (field.value.dtype, field.value.tolist(), field.metadata) == (np.float32, [1, 2], {"model": "m"})


def test_a_vector_query_as_a_dict():
    query = VectorQuery(vector=np.array([1.0, 0.0]), filter=Query().filter("n", ">", 3))
    data = query.to_dict()
    assert list(data) == ["vector", "vector_field", "k", "metric", "filter", "include_scores"]
    assert data == {
        "vector": [1.0, 0.0],
        "vector_field": "embedding",
        "k": 10,
        "metric": "cosine",
        "filter": Query().filter("n", ">", 3).to_dict(),
        "include_scores": True,
    }
    assert VectorQuery(np.ones(2)).to_dict()["filter"] is None


def test_a_query_takes_a_vector_search_and_keeps_its_filters():
    query = Query().filter("n", ">", 3).with_vector_search(np.array([1.0, 0.0]), field="emb", k=3, metric="euclidean")
    vector = query.vector_query
    assert (vector.vector.tolist(), vector.vector_field, vector.k, vector.metric) == ([1, 0], "emb", 3, "euclidean")
    assert vector.filter.where_filter == (dkv.col("n") > 3)


# Its configs


def records(count=60, dimensions=8):
    rng = np.random.default_rng(0)
    return [
        Record({"n": i, "embedding": VectorField(row)}, id=f"r{i}")
        for i, row in enumerate(rng.standard_normal((count, dimensions)).astype("f4"))
    ]


@pytest.mark.parametrize("kind", ["HNSW", "IVF", "Flat"])
@pytest.mark.parametrize("metric", ["cosine", DistanceMetric.EUCLIDEAN])
async def test_the_faiss_config(tmp_path, kind, metric):
    config = {
        "backend": "faiss",
        "dimension": 8,
        "index_type": kind,
        "metric": metric,
        "index_path": str(tmp_path / "data" / "faiss_index"),
        "hnsw_m": 32,
        "ivf_nlist": 5,
    }
    rows = records()
    for _ in range(2):  # once to write, once to find it all there
        store = await dkv.VectorStoreFactory.create("faiss", config)
        assert isinstance(store, VectorOperations)
        assert await store.index_vectors(rows, "embedding")
        found = await store.search_similar(rows[7]["embedding"], k=3, filter=Query().filter("n", "<", 50))
        assert (found[0][0].id, found[0][0]["n"], found[0][1]) == ("r7", 7, pytest.approx(1, abs=1e-6))
        (spec,) = (await store.indexes()).values()
        expected = {"HNSW": dkv.HNSW(m=32), "IVF": dkv.IVF(lists=5), "Flat": dkv.Flat()}
        assert spec == expected[kind]
        await store.aclose()


async def test_vectors_of_another_dimension_than_the_config_are_refused():
    store = await dkv.VectorStoreFactory.create("faiss", {"dimension": 768})
    with pytest.raises(dkv.SchemaError, match="the config says dimension 768, 'embedding' has 8"):
        await store.index_vectors(records(3), "embedding")
    await store.aclose()


async def test_records_are_updated_and_deleted():
    store = await dkv.VectorStoreFactory.create("faiss", {"index_type": "HNSW"})
    rows = records()
    await store.index_vectors(rows, "embedding", {"kind": "hnsw", "m": 8})
    assert await store.update_vector("r3", "embedding", -rows[9]["embedding"])
    assert (await store.search_similar(-rows[9]["embedding"], k=1))[0][0].id == "r3"
    assert not await store.update_vector("nobody", "embedding", rows[9]["embedding"])
    assert await store.delete_from_index(["r3", "r4"])
    assert not await store.delete_from_index(["r3"])
    assert {record.id for record, _ in await store.search_similar(np.ones(8), k=60)} == {
        record.id for record in rows if record.id not in {"r3", "r4"}
    }
    await store.aclose()
