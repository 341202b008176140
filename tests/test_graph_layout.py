"""Graphs of the Faiss store lie in memory as a walk meets their nodes; which rows are found does not change."""

from collections import deque

import faiss
import numpy as np
import pytest

import dkvector as dkv
from dkvector.backends import _faiss_build, _faiss_codes, _faiss_index, _faiss_sound
from dkvector.backends._faiss_nodes import has_map, inside, lay_out, row_positions, walk
from dkvector.backends._plan import Effort
from dkvector.backends._topk import Block
from dkvector.indexes import HNSW, Tuning
from dkvector.metrics import DistanceMetric
from dkvector.testing import sample_frame

CODES = [None, "float16", "int8", "pq", "rabitq", "binary"]


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).standard_normal((900, 24)).astype("f4")


@pytest.fixture
def graph(vectors):
    graph = faiss.IndexHNSWFlat(24, 4)
    mapped = faiss.IndexIDMap(graph)
    mapped.add_with_ids(vectors, np.arange(900))
    return mapped


def built(vectors, quantization=None):
    spec = HNSW(m=8, quantization=quantization)
    return _faiss_build.build(spec, [Block(0, vectors)], DistanceMetric.EUCLIDEAN, progress=False)


def test_the_same_graph_finds_the_same_rows(graph, vectors):
    before = graph.search(vectors[:50], 10)
    lay_out(graph)
    after = graph.search(vectors[:50], 10)
    assert np.array_equal(before[1], after[1])
    assert np.array_equal(before[0], after[0])
    assert not np.array_equal(row_positions(graph), np.arange(900))


def walked(links):
    """The same walk, node by node."""
    starts, table = faiss.vector_to_array(links.offsets).astype(int), faiss.vector_to_array(links.neighbors)
    ground = faiss.vector_to_array(links.cum_nneighbor_per_level)[1]
    met, waiting = [links.entry_point], deque([links.entry_point])
    while waiting:
        at = starts[waiting.popleft()]
        for node in table[at : at + ground]:
            if node >= 0 and node not in met:
                met.append(node)
                waiting.append(node)
    return met


def test_nodes_follow_each_other_as_a_walk_meets_them(graph):
    expected = walked(inside(graph).hnsw)
    assert len(expected) > 800
    lay_out(graph)
    assert row_positions(graph)[: len(expected)].tolist() == expected
    assert np.array_equal(walk(inside(graph).hnsw), np.arange(900))


def test_a_node_that_no_link_leads_to_keeps_a_place(graph):
    links = inside(graph).hnsw
    faiss.rev_swig_ptr(links.neighbors.data(), links.neighbors.size())[:] = -1
    assert sorted(walk(links)) == list(range(900))
    assert walk(links)[0] == links.entry_point


def test_a_graph_without_nodes_has_no_walk():
    assert walk(faiss.IndexHNSWFlat(24, 4).hnsw).tolist() == []


@pytest.mark.parametrize("quantization", CODES)
def test_every_code_lies_with_its_node(vectors, quantization):
    index = built(vectors, quantization)
    kept = faiss.downcast_index(inside(index.index).storage)
    fresh = _faiss_codes.storage(quantization, 24, faiss.METRIC_L2)
    fresh.train(vectors)
    fresh.add(vectors)
    codes = faiss.vector_to_array(kept.codes).reshape(900, -1)
    expected = faiss.vector_to_array(fresh.codes).reshape(900, -1)
    assert np.array_equal(codes, expected[row_positions(index.index)])


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("quantization", CODES)
def test_a_graph_that_grows_finds_rows_old_and_new(vectors, quantization, anew, tmp_path):
    index = built(vectors[:500], quantization)
    index.write(tmp_path / "index")
    stored = _faiss_index.read(tmp_path / "index", index.spec, index.metric, trained=500)
    grown = _faiss_build.extended(stored, tmp_path / "index", [Block(0, vectors)], anew=anew)
    assert sorted(row_positions(grown.index)) == list(range(900))
    assert np.array_equal(walk(inside(grown.index).hnsw), np.arange(900))
    found = grown.candidates(vectors, None, Effort(ef_search=200, candidates=60))[1]
    assert (found == np.arange(900)[:, None]).any(axis=1).mean() > 0.99


def test_a_selector_is_asked_about_rows_not_nodes(vectors):
    index = built(vectors)
    mask = np.arange(900) % 7 == 3
    found = index.candidates(vectors[:40], mask, Effort(ef_search=900, candidates=5))[1]
    near = ((vectors[:40, None] - vectors[mask][None]) ** 2).sum(axis=2)
    assert np.array_equal(found, np.flatnonzero(mask)[np.argsort(near)[:, :5]])


@pytest.mark.parametrize("to", [-1, 900, 5])
def test_a_map_that_does_not_name_each_row_once_is_damage(vectors, to):
    index = built(vectors).index
    positions = row_positions(index)
    positions[np.flatnonzero(positions != 5)[3]] = to
    faiss.copy_array_to_vector(positions, index.id_map)
    with pytest.raises(dkv.SchemaError, match="its map does not name each row once"):
        _faiss_sound.sound(index, "file", 900, 24)


def test_a_map_of_another_length_is_damage(vectors):
    index = built(vectors).index
    index.id_map.resize(899)
    with pytest.raises(dkv.SchemaError, match="its map has not as many entries as its nodes"):
        _faiss_sound.sound(index, "file", 900, 24)


def test_a_graph_of_an_older_version_is_searched_and_built_anew_as_it_grows(tmp_path, monkeypatch):
    frame = sample_frame(3000)
    with monkeypatch.context() as older:
        older.setattr(_faiss_build, "_empty", lambda *_: faiss.IndexHNSWFlat(16, 8, faiss.METRIC_INNER_PRODUCT))
        older.setattr(_faiss_build, "lay_out", lambda _: None)
        older.setattr(faiss.IndexHNSWFlat, "add_with_ids", lambda self, rows, _: self.add(rows), raising=False)
        frame[:900].vec.push("faiss", path=tmp_path / "store", index=HNSW(m=8), progress=False).close()
    with dkv.connect("faiss", path=tmp_path / "store") as store:
        old = store.store.rows.indexes["embedding"]
        assert not has_map(old.index)
        query = frame.embedding.iloc[12]
        assert store.search(query, 1).index[0] == frame.index[12]
        store.upsert(frame[900:], progress=False)
        new = store.store.rows.indexes["embedding"]
        assert has_map(new.index)
        assert new.rows == 3000
        exact = store.search(query, 10, tuning=Tuning(exact=True))
        assert store.search(query, 10, tuning=Tuning(ef_search=400)).index.tolist() == exact.index.tolist()
