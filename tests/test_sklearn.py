"""scikit-learn's own checks over our transformer, and its answers against those of `KNeighborsTransformer`."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.neighbors import KNeighborsClassifier, KNeighborsTransformer
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import dkvector as dkv
from dkvector.blocking import VectorStore
from dkvector.interop import sklearn
from dkvector.interop.sklearn import NeighborsTransformer

RNG = np.random.default_rng(3)
ROWS, QUERIES = RNG.standard_normal((60, 8)), RNG.standard_normal((9, 8))
FORMS = [{"backend": "exact"}, {"backend": "faiss"}, {"backend": "faiss", "index": dkv.HNSW(m=16)}]


def copied(estimator):
    return pickle.loads(pickle.dumps(estimator))  # noqa: S301 - our own bytes


@parametrize_with_checks([NeighborsTransformer(), NeighborsTransformer(backend="faiss")])
def test_scikit_learn_has_nothing_to_complain_of(estimator, check):
    check(estimator)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("mode", ["distance", "connectivity"])
def test_the_graph_is_that_of_scikit_learn(form, metric, mode):
    ours = NeighborsTransformer(mode=mode, n_neighbors=4, metric=metric, **form).fit(ROWS)
    theirs = KNeighborsTransformer(mode=mode, n_neighbors=4, metric=metric).fit(ROWS)
    for rows in (ROWS, QUERIES):
        graph, expected = ours.transform(rows), theirs.transform(rows)
        np.testing.assert_allclose(graph.toarray(), expected.toarray(), atol=1e-7)
        np.testing.assert_array_equal(graph.indptr, expected.indptr)  # a distance of 0 is in the graph too
    assert (ours.get_feature_names_out() == [f"neighborstransformer{at}" for at in range(60)]).all()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_fitted_rows_are_not_their_own_neighbours(form):
    distances, positions = NeighborsTransformer(**form).fit(ROWS).kneighbors(n_neighbors=3)
    expected = KNeighborsTransformer().fit(ROWS).kneighbors(n_neighbors=3)
    np.testing.assert_allclose(distances, expected[0], atol=1e-7)
    np.testing.assert_array_equal(positions, expected[1])


@pytest.mark.parametrize(
    ("knobs", "rows"),
    [
        ({"index": "hnws"}, ROWS),
        ({"index": "hnsw", "backend": "exact"}, ROWS),
        ({"metric": "cosine"}, np.zeros((3, 2))),
    ],
)
def test_a_fit_that_fails_leaves_no_store_open(knobs, rows, monkeypatch):
    opened, closed = [], []
    monkeypatch.setattr(sklearn, "connect", lambda asked: opened.append(dkv.connect(asked)) or opened[-1])
    monkeypatch.setattr(VectorStore, "close", lambda store: closed.extend([store]))
    with pytest.raises((dkv.DkvectorError, ValueError)):
        NeighborsTransformer(**{"backend": "faiss", **knobs}).fit(rows)
    assert closed == opened


def test_rows_are_sorted_by_distance_where_float32_can_not_tell():
    rows = np.array([[1.0, 1 + 2e-9], [1.0, 1 + 1e-9], [1.0, 1.0], [5, 5]])
    distances, positions = NeighborsTransformer().fit(rows).kneighbors([[1.0, 1.0]], 3)
    assert positions.tolist() == [[2, 1, 0]]
    np.testing.assert_allclose(distances, [[0, 1e-9, 2e-9]], rtol=1e-6, atol=0)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_pickled_one_answers_the_same(form):
    fitted = NeighborsTransformer(**form).fit(ROWS)
    again = copied(fitted)
    assert (again.transform(QUERIES) != fitted.transform(QUERIES)).nnz == 0
    assert not hasattr(copied(clone(fitted)), "n_samples_fit_")


def test_it_stands_in_front_of_a_classifier():
    labels = (ROWS[:, 0] > 0).astype(int)
    model = KNeighborsClassifier(n_neighbors=5, metric="precomputed")
    ours = make_pipeline(NeighborsTransformer(n_neighbors=5, backend="faiss"), model).fit(ROWS, labels)
    plain = KNeighborsClassifier(n_neighbors=5).fit(ROWS, labels)
    assert ours.predict(QUERIES).tolist() == plain.predict(QUERIES).tolist()


def test_what_can_not_be_is_refused():
    with pytest.raises(dkv.SchemaError, match="no mode 'distances'; did you mean 'distance'"):
        NeighborsTransformer(mode="distances").fit(ROWS)
    with pytest.raises(dkv.SchemaError, match="n_neighbors must be a whole number"):
        NeighborsTransformer(n_neighbors=0).fit(ROWS)
    with pytest.raises(dkv.UnsupportedError, match="cosine, euclidean"):
        NeighborsTransformer(metric="dot_product").fit(ROWS)
    with pytest.raises(dkv.UnsupportedError, match="exact, faiss"):
        NeighborsTransformer(backend="pgvector").fit(ROWS)
    with pytest.raises(dkv.SchemaError, match="n_neighbors = 61, but there are only 60"):
        NeighborsTransformer(n_neighbors=60).fit(ROWS).transform(ROWS)
    with pytest.raises(dkv.SchemaError, match="only 59"):
        NeighborsTransformer().fit(ROWS).kneighbors(n_neighbors=60)
    with pytest.raises(dkv.VectorError, match="zero vector"):
        NeighborsTransformer(metric="cosine").fit(np.zeros((3, 2)))


@pytest.mark.parametrize("count", ["a", 2.5, 0])
def test_neighbours_that_are_asked_for_are_counted(count):
    with pytest.raises(dkv.SchemaError, match="n_neighbors must be a whole number of at least 1"):
        NeighborsTransformer().fit(ROWS).kneighbors(n_neighbors=count)
