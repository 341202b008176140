"""Outliers: both scores against independent ones, in an order that is the ranking's."""

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import LocalOutlierFactor

import dkvector as dkv
from dkvector.testing import naive_distance


def vectors(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((rows, 5)) + 4 * rng.integers(0, 2, (rows, 1))
    matrix[17] = -9
    return matrix.astype("f4")


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 7, 500])
def test_the_mean_distance_is_that_of_a_loop(metric, k):
    matrix = vectors()
    by = dkv.DistanceMetric(metric)
    others = [
        [naive_distance(one, two, by) for at, two in enumerate(matrix) if at != row] for row, one in enumerate(matrix)
    ]
    means = [np.mean(sorted(distances)[:k]) for distances in others]
    found = pd.DataFrame({"v": list(matrix), "n": range(120)}).vec.outliers(k, metric=metric)
    np.testing.assert_allclose(found.sort_index()["outlier_score"], means, atol=1e-5)
    assert found["outlier_score"].is_monotonic_decreasing
    assert found["rank"].tolist() == list(range(1, 121))
    assert found["n"].tolist() == found.index.tolist()
    assert found.columns.tolist() == ["rank", "outlier_score", "n"]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [3, 10, 119])
def test_the_local_outlier_factor_is_scikit_learn_s(metric, k):
    matrix = vectors()
    theirs = LocalOutlierFactor(n_neighbors=k, metric=metric).fit(matrix.astype("f8"))
    found = pd.DataFrame({"v": list(matrix)}).vec.outliers(k, method="lof", metric=metric)
    np.testing.assert_allclose(found.sort_index()["outlier_score"], -theirs.negative_outlier_factor_, rtol=2e-3)


@pytest.mark.parametrize("method", ["distance", "lof"])
def test_what_is_far_from_all_comes_first(method):
    assert pd.DataFrame({"v": list(vectors())}).vec.outliers(method=method, metric="euclidean").index[0] == 17


def test_lof_finds_what_is_off_beside_a_dense_group():
    rng = np.random.default_rng(0)
    dense, wide = 0.01 * rng.standard_normal((50, 2)), 5 + rng.standard_normal((50, 2))
    frame = pd.DataFrame({"v": list(np.vstack([dense, wide, [[0.3, 0.3]]]).astype("f4"))})
    assert frame.vec.outliers(5, method="lof", metric="euclidean").index[0] == 100
    assert frame.vec.outliers(5, metric="euclidean").index[0] != 100


@pytest.mark.parametrize("method", ["distance", "lof"])
def test_copies_are_no_outliers_and_no_accident(method):
    frame = pd.DataFrame({"v": [[1.0, 1.0]] * 30 + [[5.0, 5.5]] * 30 + [[9.0, -9.0]]})
    found = frame.vec.outliers(5, method=method, metric="euclidean")
    assert found.index[0] == 60
    assert np.isfinite(found["outlier_score"]).all()
    ordinary = 0 if method == "distance" else 1
    np.testing.assert_allclose(found["outlier_score"].iloc[1:], ordinary, atol=1e-6)


@pytest.mark.parametrize("method", ["distance", "lof"])
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows_are_ranked_too(method, rows):
    frame = pd.DataFrame({"v": dkv.VectorArray(vectors()[:rows])})
    found = frame.vec.outliers(method=method)
    assert (found["rank"].tolist(), found.columns.tolist()) == (list(range(1, rows + 1)), ["rank", "outlier_score"])
    assert np.isfinite(found["outlier_score"]).all()


def test_equal_scores_keep_the_order_of_the_frame():
    frame = pd.DataFrame({"v": [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]}, index=list("dcba"))
    assert frame.vec.outliers(1).index.tolist() == list("dcba")


def test_labels_repeat_columns_give_way_and_bad_rows_are_left_out():
    frame = pd.DataFrame(
        {"v": [[1.0, 0.0], [0.9, 0.1], None, [0.0, -1.0]], "rank": [5, 6, 7, 8], 3: list("wxyz")}, index=list("aabb")
    )
    with pytest.raises(dkv.VectorError, match="vector missing in 'v' at 'b'"):
        frame.vec.outliers()
    found = frame.vec.outliers(1, on_bad="drop")
    assert (found["rank_"].tolist(), found.index.tolist(), found[3].tolist()) == (
        [8, 5, 6],
        ["b", "a", "a"],
        list("zwx"),
    )
    assert frame.vec.outliers(1, on_bad="drop", columns=[3]).columns.tolist() == ["rank", "outlier_score", 3]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "LOF"}, dkv.SchemaError, "no method 'LOF'; "),
        ({"k": 0}, dkv.SchemaError, "k must be a whole number"),
        ({"metric": "dot_product"}, dkv.UnsupportedError, "outliers has no metric 'dot_product'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        pd.DataFrame({"v": list(vectors())}).vec.outliers(**arguments)
