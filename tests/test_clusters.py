"""Clusters: a k-means that has come to rest, spherical under cosine, with labels that keep their rows."""

import sys

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv


def blobs(sizes=(50, 30, 20), dimensions=8, seed=0, spread=0.1):
    """Vectors round a centre for each size, shuffled, and which centre each has."""
    rng = np.random.default_rng(seed)
    kind = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = 3 * rng.standard_normal((len(sizes), dimensions))
    return (centres[kind] + spread * rng.standard_normal((len(kind), dimensions))).astype("f4"), kind


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_clear_clusters_are_found_the_largest_first(metric):
    matrix, kind = blobs()
    labels = pd.DataFrame({"v": list(matrix)}, index=[f"r{i}" for i in range(100)]).vec.cluster(3, metric=metric)
    assert (labels.name, labels.dtype) == ("cluster", np.int64)
    assert labels.index.tolist() == [f"r{i}" for i in range(100)]
    assert labels.tolist() == kind.tolist()


def test_cosine_looks_at_directions_and_euclidean_at_places():
    matrix = np.float32([[1, 0], [10, 0], [0, 1], [0, 10], [1, 0.01], [0.01, 1]])
    frame = pd.DataFrame({"v": list(matrix)})
    by_direction = frame.vec.cluster(2)
    assert set(by_direction[[0, 1, 4]]) == {by_direction[0]}
    assert set(by_direction[[2, 3, 5]]) == {1 - by_direction[0]}
    by_place = frame.vec.cluster(3, metric="euclidean")
    assert by_place.map(by_place.value_counts()).tolist() == [4, 1, 4, 1, 4, 4]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_each_row_is_nearest_the_mean_of_its_cluster(metric):
    matrix, _ = blobs((60, 60, 60, 60), spread=0.5)
    frame = pd.DataFrame({"v": dkv.VectorArray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True))})
    labels = frame.vec.cluster(4, metric=metric, iterations=200)
    centroids = frame["v"].groupby(labels).mean()
    assert frame.vec.join(centroids.to_frame(), metric=metric)["match"].tolist() == labels.tolist()


def test_the_seed_makes_the_same_again():
    frame = pd.DataFrame({"v": list(np.random.default_rng(0).standard_normal((500, 8)).astype("f4"))})
    assert frame.vec.cluster(12, seed=5).equals(frame.vec.cluster(12, seed=5))
    assert not frame.vec.cluster(12, seed=5).equals(frame.vec.cluster(12, seed=6))


def test_all_rows_count_and_not_a_sample():
    """Faiss alone would look at 256 rows a centroid, and miss a group of 40 in 20,000."""
    matrix, kind = blobs((20_000, 40), dimensions=4)
    labels = pd.DataFrame({"v": dkv.VectorArray(matrix)}).vec.cluster(2, metric="euclidean")
    assert labels.tolist() == kind.tolist()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_more_iterations_and_restarts_make_tighter_clusters(metric):
    matrix = np.random.default_rng(0).standard_normal((1000, 8)).astype("f4")
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    frame = pd.DataFrame({"v": dkv.VectorArray(matrix)})

    def spread(restarts, iterations):
        labels = frame.vec.cluster(10, metric=metric, restarts=restarts, iterations=iterations)
        return sum(((matrix[labels == one] - matrix[labels == one].mean(axis=0)) ** 2).sum() for one in range(10))

    assert spread(1, 50) < 0.99 * spread(1, 1)
    assert spread(8, 50) < spread(1, 50)


def test_rows_without_a_vector_have_no_cluster():
    frame = pd.DataFrame({"v": [[1.0, 0.0], None, [0.9, 0.1], [0.0, 1.0]]}, index=list("aabc"))
    with pytest.raises(dkv.VectorError, match="vector missing in 'v' at 'a'"):
        frame.vec.cluster(2)
    labels = frame.vec.cluster(2, on_bad="drop")
    assert labels.dtype == "Int64"
    assert labels.tolist() == [0, pd.NA, 0, 1]
    assert frame.dropna().vec.cluster(2, on_bad="drop").dtype == "Int64"


@pytest.mark.parametrize("k", [1, 4])
def test_as_many_clusters_as_rows_or_one(k):
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]})
    assert sorted(frame.vec.cluster(k)) == ([0] * 4 if k == 1 else [0, 1, 2, 3])


def test_copies_of_one_row_are_one_cluster():
    labels = pd.DataFrame({"v": [[1.0, 2.0]] * 6}).vec.cluster(3)
    assert set(labels) == {0}


@pytest.mark.parametrize(
    ("k", "arguments", "error", "message"),
    [
        (5, {}, dkv.SchemaError, "5 clusters of 4 rows"),
        (0, {}, dkv.SchemaError, "k must be a whole number"),
        (2, {"restarts": 0}, dkv.SchemaError, "restarts must be a whole number"),
        (2, {"iterations": 0}, dkv.SchemaError, "iterations must be a whole number"),
        (2, {"metric": "dot_product"}, dkv.UnsupportedError, "cluster has no metric 'dot_product'"),
    ],
)
def test_what_makes_no_sense_is_refused(k, arguments, error, message):
    with pytest.raises(error, match=message):
        pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]}).vec.cluster(k, **arguments)


def test_without_rows_there_is_nothing_to_cut():
    with pytest.raises(dkv.SchemaError, match="1 clusters of 0 rows"):
        pd.DataFrame({"v": dkv.VectorArray(np.empty((0, 2), "f4"))}).vec.cluster(1)


def test_without_faiss_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(dkv.MissingExtraError, match=r"faiss-cpu.*pip install 'dkvector\[faiss\]'"):
        pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]}).vec.cluster(2)


def test_words_fall_into_what_they_mean():
    words = dkv.datasets.load_wordnet().query("lexname in ['noun.food', 'noun.location', 'verb.motion']")
    table = pd.crosstab(words["lexname"].astype(str), words.vec.cluster(3))
    assert (table.max(axis=1) / table.sum(axis=1)).min() > 0.85
    assert sorted(table.to_numpy().argmax(axis=1)) == [0, 1, 2]
