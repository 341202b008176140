"""Maps of rows: neighbours stay together, nothing moves unasked, and the edges that an index misses are told.

All that lays out is in this file: numba compiles once a process.
"""

import sys
import tracemalloc
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_matrix
from sklearn.manifold import trustworthiness

import dkvector as dkv
from dkvector.backends._topk import Nearest
from dkvector.maps import _kernel, _layout, _placing
from dkvector.maps.edges import hit

COSINE, EUCLIDEAN, DOT = dkv.DistanceMetric


@pytest.fixture(scope="module")
def digits():
    frame = dkv.datasets.load_digits().head(600)
    frame.index = [f"d{row}" for row in range(600)]
    return frame


@pytest.fixture(scope="module")
def view(digits):
    return dkv.project(digits, color="digit", metric="euclidean")


def frame_of(matrix):
    return pd.DataFrame({"v": list(np.float32(matrix))})


def points(view):
    return view[["x", "y"]].to_numpy()


def matrix(frame):
    return np.stack(frame["embedding"].to_numpy())


# Laying out


def test_a_map_has_the_labels_order_and_columns_of_its_rows(digits, view):
    assert view.index.equals(digits.index)
    assert view.dtypes.astype(str).to_dict() == {"x": "float32", "y": "float32", "placed": "bool", "digit": "int8"}
    assert view["digit"].tolist() == digits["digit"].tolist()
    assert not view["placed"].any()
    assert np.isfinite(points(view)).all()
    assert view.attrs == {}


def test_neighbours_stay_together_better_than_within_a_shuffled_class(digits, view):
    shuffled = points(view).copy()
    rng = np.random.default_rng(0)
    for digit in range(10):
        own = np.flatnonzero(digits["digit"] == digit)
        shuffled[own] = shuffled[rng.permutation(own)]
    found = trustworthiness(matrix(digits), points(view), n_neighbors=15)
    assert found > 0.975
    assert found > trustworthiness(matrix(digits), shuffled, n_neighbors=15) + 0.02


def test_it_is_as_trustworthy_as_plain_umap(digits, view):
    import umap

    plain = umap.UMAP(random_state=0, n_jobs=1, init="pca").fit_transform(matrix(digits))
    theirs = trustworthiness(matrix(digits), plain, n_neighbors=15)
    assert trustworthiness(matrix(digits), points(view), n_neighbors=15) > theirs - 0.005


def test_the_seed_makes_the_same_again(digits, view):
    again = dkv.project(digits, color="digit", metric="euclidean")
    pd.testing.assert_frame_equal(again, view, check_exact=True)
    assert not np.allclose(points(dkv.project(digits, metric="euclidean", seed=1)), points(view))


def test_no_seed_makes_another_each_time(digits):
    few = digits.head(40)
    assert not np.allclose(points(dkv.project(few, seed=None)), points(dkv.project(few, seed=None)))


def test_the_map_follows_the_metric():
    """Two directions, each short and long: by cosine the directions are together, else the short ones are."""
    rng = np.random.default_rng(0)
    directions = np.repeat([[1, 0, 0], [0, 1, 0]], 40, axis=0) + 0.02 * rng.standard_normal((80, 3))
    lengths = np.tile([1, 50], 40)
    frame = frame_of(directions * lengths[:, None])

    def apart(view, groups):
        """Distance of the groups' means against the distances within them."""
        means = view[["x", "y"]].groupby(groups).mean()
        within = np.linalg.norm(points(view) - means.loc[groups].to_numpy(), axis=1).mean()
        return np.linalg.norm(means.iloc[0] - means.iloc[1]) / within

    by_direction = np.repeat([0, 1], 40)
    assert apart(dkv.project(frame, neighbors=10), by_direction) > 3
    assert apart(dkv.project(frame, neighbors=10, metric="euclidean"), by_direction) < 3


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 14, 15, 16])
def test_few_rows_have_a_map_too(rows):
    frame = pd.DataFrame({"v": dkv.VectorArray(np.random.default_rng(0).standard_normal((rows, 5)).astype("f4"))})
    for method in ("umap", "pca"):
        view = dkv.project(frame, method=method)
        assert view.index.tolist() == list(range(rows))
        assert view.columns.tolist() == ["x", "y", "placed"]
        assert np.isfinite(points(view)).all()
        assert len(view.drop_duplicates(["x", "y"])) == rows


def test_copies_are_beside_each_other():
    """More copies than a row has neighbours: distances of zero, and the row itself still comes first."""
    rng = np.random.default_rng(0)
    one, many = rng.standard_normal((2, 6))
    vectors = np.vstack([np.tile(one, (30, 1)), many + 0.3 * rng.standard_normal((60, 6))])
    view = dkv.project(frame_of(vectors))
    assert np.isfinite(points(view)).all()
    copies, others = points(view)[:30], points(view)[30:]
    nearest = np.linalg.norm(others[:, None] - copies[None], axis=2).min()
    assert np.linalg.norm(copies - copies.mean(axis=0), axis=1).max() < nearest


def test_all_rows_alike():
    view = dkv.project(frame_of(np.ones((40, 3))))
    assert np.isfinite(points(view)).all()


def test_where_leaves_rows_out(digits):
    view = dkv.project(digits, where="digit < 2", method="pca")
    assert view.index.tolist() == digits.index[digits["digit"] < 2].tolist()
    alone = dkv.project(digits[digits["digit"] < 2], method="pca")
    pd.testing.assert_frame_equal(view, alone)


def test_bad_vectors_are_named_or_left_out():
    vectors = np.random.default_rng(0).standard_normal((30, 3)).astype("f4")
    vectors[4], vectors[9] = np.nan, 0
    frame = frame_of(vectors).assign(n=range(30))
    frame["v"] = frame["v"].where(frame.index != 7, None)
    with pytest.raises(dkv.VectorError, match=r"at 4|at 7|at 9"):
        dkv.project(frame)
    view = dkv.project(frame, on_bad="drop", columns="n")
    assert view.index.tolist() == view["n"].tolist() == [row for row in range(30) if row not in {4, 7, 9}]


def test_columns_named_like_ours_give_way():
    frame = frame_of(np.eye(4)).assign(x=list("abcd"), placed=range(4))
    view = dkv.project(frame, color=["x", "placed"], method="pca")
    assert view.columns.tolist() == ["x", "y", "placed", "x_", "placed_"]
    assert view["x_"].tolist() == list("abcd")


def test_labels_may_come_twice():
    frame = frame_of(np.random.default_rng(0).standard_normal((20, 3)))
    frame.index = [0, 1] * 10
    assert dkv.project(frame).index.tolist() == [0, 1] * 10


@pytest.mark.parametrize(
    ("knobs", "match"),
    [
        ({"method": "tsne"}, r"no method 'tsne'"),
        ({"neighbors": 1}, r"neighbors must be"),
        ({"min_dist": 2}, r"min_dist must be"),
        ({"n": 0}, r"n must be"),
    ],
)
def test_bad_knobs_are_refused(digits, knobs, match):
    with pytest.raises(dkv.SchemaError, match=match):
        dkv.project(digits, **knobs)


def test_the_inner_product_is_refused(digits):
    with pytest.raises(dkv.UnsupportedError, match="dot_product"):
        dkv.project(digits, metric="dot_product")


def test_unknown_columns_are_refused(digits):
    with pytest.raises(dkv.NotFoundError, match="digit"):
        dkv.project(digits, color="digits")


def test_what_is_no_frame_is_refused():
    with pytest.raises(dkv.SchemaError, match="ndarray"):
        dkv.project(np.eye(3))


def test_the_extra_is_named_before_anything_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap.umap_", None)
    with pytest.raises(dkv.MissingExtraError, match=r"dkvector\[umap\]"):
        dkv.project(frame_of(np.full((3, 3), np.nan)))


def test_a_layout_can_be_interrupted_and_leaves_the_next_alone(digits, view, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(_kernel, "compiled", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            dkv.project(digits)
    pd.testing.assert_frame_equal(dkv.project(digits, color="digit", metric="euclidean"), view)


def test_a_bar_shows_the_epochs(digits, capsys):
    dkv.project(digits.head(30), progress=True)
    assert "layout: 100%" in capsys.readouterr().err


# The kernel


def test_the_table_holds_the_gradients_of_the_curve():
    a, b = 1.577, 0.895
    table = _kernel.tables(a, b)
    for squared in (1e-6, 0.003, 0.5, 1, 7, 900):
        pull, push = table[:, (int(np.float32(squared).view(np.int32)) >> _kernel.SHIFT) - _kernel.FIRST]
        fall = 1 + a * squared**b
        assert pull == pytest.approx(-2 * a * b * squared ** (b - 1) / fall, rel=5e-3)
        assert push == pytest.approx(2 * b / ((0.001 + squared) * fall), rel=5e-3)


@pytest.mark.parametrize("function", [_kernel.epoch, _kernel.compiled])
def test_an_edge_pulls_and_chance_pushes(function):
    """One edge, due in every other epoch, of points three apart; the third point can only push."""
    at = np.float32([[0, 0], [3, 0], [0, 50]])
    edges, every = np.int32([[0, 1]]), np.float32([2])
    due, table, state = every.copy(), _kernel.tables(1.577, 0.895), np.uint32([7])
    function(at, edges, every, due, table, state, 0, 1.0, 0)
    assert at.tolist() == [[0, 0], [3, 0], [0, 50]]
    function(at, edges, every, due, table, state, 2, 1.0, 0)
    pull = 2 * 1.577 * 0.895 * 9 ** (0.895 - 1) / (1 + 1.577 * 9**0.895) * 3
    np.testing.assert_allclose(at, [[pull, 0], [3 - pull, 0], [0, 50]], rtol=5e-3)
    assert due[0] == 4
    before = at.copy()
    function(at, edges, every, due, table, state, 4, 1.0, 20)
    assert at[0, 1] < before[0, 1]
    assert state[0] != 7


def test_a_weak_edge_is_used_less_often():
    """Weights of 1 and 0.25 are used in every and in every fourth epoch; one below 1 / epochs in none."""
    graph = coo_matrix(([1, 0.25, 0.001], ([0, 1, 2], [1, 2, 0])), shape=(3, 3))
    library = Mock(fuzzy_simplicial_set=Mock(return_value=(graph, None, None)))
    near = Nearest(np.array([1, 2, 0]), np.float32([1, 1, 1]), np.array([1, 1, 1]))
    edges = _layout._edges(library, near, np.zeros((3, 2), "f4"), 100)
    assert edges.ends.tolist() == [[0, 1], [1, 2]]
    assert edges.every.tolist() == [1, 4]
    given = library.fuzzy_simplicial_set.call_args.kwargs
    assert given["knn_indices"].tolist() == [[0, 1], [1, 2], [2, 0]]  # the row itself comes first
    assert given["knn_dists"].tolist() == [[0, 1], [0, 1], [0, 1]]


# Principal components


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_pca_is_that_of_a_singular_value_decomposition(digits, metric):
    vectors = matrix(digits).astype("f8")
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = vectors - vectors.mean(axis=0)
    left, strengths, axes = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * strengths[:2]
    found = points(dkv.project(digits, method="pca", metric=metric))
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=2e-4 * np.abs(expected).max())
    largest = np.abs(axes[:2]).argmax(axis=1)
    assert (np.sign(axes[[0, 1], largest]) == signs).all()


def test_vectors_on_a_line_have_no_second_component():
    view = dkv.project(frame_of([[1, 2], [2, 4], [4, 8]]), method="pca", metric="euclidean")
    np.testing.assert_allclose(points(view), np.array([[-4 / 3, 0], [-1 / 3, 0], [5 / 3, 0]]) * 5**0.5, atol=1e-5)


# More rows than are laid out


def test_above_n_the_others_are_placed(digits):
    view = dkv.project(digits, n=300, color="digit", metric="euclidean")
    assert view.index.equals(digits.index)
    assert view["placed"].sum() == 300
    laid = digits[~view["placed"]]
    found = dkv.project(laid, metric="euclidean")
    pd.testing.assert_frame_equal(found[["x", "y"]], view.loc[laid.index, ["x", "y"]])
    rest = dkv.place(digits[view["placed"]], digits, view[~view["placed"]], metric="euclidean")
    pd.testing.assert_frame_equal(rest[["x", "y"]], view.loc[rest.index, ["x", "y"]])
    assert trustworthiness(matrix(digits), points(view), n_neighbors=15) > 0.95


def test_the_seed_chooses_the_rows(digits):
    chosen = [dkv.project(digits, n=50, seed=seed)["placed"] for seed in (0, 0, 1)]
    assert chosen[0].equals(chosen[1])
    assert not chosen[0].equals(chosen[2])


def test_a_diverse_choice_is_that_of_sample(digits):
    view = dkv.project(digits, n=40, diverse=True, seed=3, method="pca")
    assert set(view.index[~view["placed"]]) == set(digits.vec.sample(40, seed=3).index)


def test_pca_projects_the_others_onto_the_plane_of_the_chosen(digits):
    view = dkv.project(digits, n=400, method="pca", metric="euclidean")
    laid = digits[~view["placed"]]
    again = dkv.place(digits, laid, view.loc[laid.index], method="pca", metric="euclidean")
    np.testing.assert_allclose(points(again), points(view), atol=2e-3)


# Placing new rows


def test_place_leaves_those_that_are_there_alone(digits, view):
    before = view.copy(deep=True)
    new = digits.tail(100).set_axis(range(100))
    found = dkv.place(new, digits, view.head(500), columns=["digit"], metric="euclidean")
    pd.testing.assert_frame_equal(view, before, check_exact=True)
    assert found.index.tolist() == list(range(100))
    assert found.columns.tolist() == ["x", "y", "placed", "digit"]
    assert found["placed"].all()
    kinds = digits["digit"].to_numpy()

    def same_kind(new, old):
        nearest = np.linalg.norm(new[:, None] - old[None], axis=2).argsort(axis=1)[:, :5]
        return (kinds[nearest] == kinds[500:, None]).mean()

    vectors = matrix(digits)
    assert same_kind(points(found), points(view)[:500]) > same_kind(vectors[500:], vectors[:500]) - 0.02


def test_a_row_lands_in_the_same_place_alone_or_with_others(digits, view):
    together = dkv.place(digits.tail(50), digits, view.head(500))
    alone = dkv.place(digits.iloc[[-7]], digits, view.head(500))
    np.testing.assert_allclose(points(together)[[-7]], points(alone), atol=1e-4)


def test_a_copy_lies_on_its_original(digits, view):
    found = dkv.place(digits.iloc[[5, 80]], digits, view, metric="euclidean")
    np.testing.assert_allclose(points(found), points(view)[[5, 80]], atol=1e-3)


def test_vectors_and_queries_can_be_placed(digits, view):
    one = dkv.place(matrix(digits)[3], digits, view, metric="euclidean")
    assert one.index.tolist() == [0]
    two = dkv.place(digits["embedding"].iloc[[3, 4]], digits, view, metric="euclidean")
    assert two.index.tolist() == ["d3", "d4"]
    np.testing.assert_allclose(points(two), points(view)[[3, 4]], atol=1e-3)
    none = dkv.place(digits.head(0), digits, view)
    assert (len(none), none.columns.tolist()) == (0, ["x", "y", "placed"])


def test_the_median_stays_with_most_neighbours_where_a_mean_would_not():
    near = Nearest(np.arange(5), np.full(5, 0.3, "f4"), np.array([5]))
    at = np.float32([[0, 0], [0, 0.2], [0.2, 0], [10, 10], [10.2, 10]])
    assert np.linalg.norm(_placing.between(near, at)) < 0.4


def test_the_median_is_the_point_of_the_least_weighted_sum():
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    at, distances = rng.uniform(0, 9, (5, 2)).astype("f4"), rng.uniform(0.2, 0.9, 5).astype("f4")
    found = _placing.between(Nearest(np.arange(5), distances, np.array([5])), at)[0]

    def total(point):
        return (np.linalg.norm(at - point, axis=1) / distances).sum()

    assert total(found) <= minimize(total, at.mean(axis=0), method="Nelder-Mead").fun * 1.001


def test_place_refuses_what_does_not_belong_together(digits, view):
    with pytest.raises(dkv.VectorError, match="dimensions"):
        dkv.place([1.0, 2.0], digits, view)
    with pytest.raises(dkv.SchemaError, match="none of these rows is on the map"):
        dkv.place(digits.head(2), digits.set_axis(range(600)), view)
    with pytest.raises(dkv.SchemaError, match="the map is empty"):
        dkv.place(digits.head(2), digits, view.head(0))
    with pytest.raises(dkv.SchemaError, match="unique"):
        dkv.place(digits.head(2), digits, pd.concat([view, view]))
    with pytest.raises(dkv.SchemaError, match="no plane"):
        dkv.place(digits.head(2), digits, view, method="pca", metric="euclidean")


# Stores


@pytest.fixture(scope="module")
def store(digits):
    with digits.vec.push("faiss", index=dkv.IVF(lists=20), metric="euclidean") as store:
        yield store


def test_a_store_has_the_map_of_its_rows(store, digits, view):
    found = dkv.project(store, color="digit").loc[digits.index]
    pd.testing.assert_frame_equal(found, view)


def test_a_filter_of_a_store(store, digits):
    found = dkv.project(store, where="digit == 3", method="pca")
    assert set(found.index) == set(digits.index[digits["digit"] == 3])


def test_of_a_large_store_only_n_vectors_are_held(store, digits):
    found = dkv.project(store, n=200, color="digit")
    assert set(found.index) == set(digits.index)
    assert found["placed"].sum() == 400
    assert found["digit"].equals(digits.loc[found.index, "digit"])
    laid = digits.loc[found.index[~found["placed"]]]
    expected = dkv.project(laid, metric="euclidean")
    pd.testing.assert_frame_equal(found.loc[laid.index, ["x", "y"]], expected[["x", "y"]])
    placed = dkv.place(digits[found["placed"].reindex(digits.index)], laid, expected, metric="euclidean")
    pd.testing.assert_frame_equal(found.loc[placed.index, ["x", "y"]], placed[["x", "y"]])


def test_memory_stays_below_that_of_all_vectors():
    rows = dkv.datasets.make_clustered(30_000, dimensions=256)
    with rows.vec.push("faiss") as store:
        tracemalloc.start()
        dkv.project(store, n=1000, method="pca")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 30_000 * 256 * 4


def test_diverse_rows_of_a_large_store_are_refused(store):
    with pytest.raises(dkv.UnsupportedError, match="diverse"):
        dkv.project(store, n=200, diverse=True)


def test_an_empty_store_has_an_empty_map():
    with dkv.connect("exact") as store:
        assert dkv.project(store, method="pca").shape == (0, 3)


def test_a_store_measured_by_inner_product_says_what_to_pass(digits):
    with digits.vec.push("exact", metric="dot_product") as store:
        with pytest.raises(dkv.UnsupportedError, match="cosine, euclidean"):
            dkv.project(store)
        assert len(dkv.project(store, metric="cosine", method="pca")) == 600


def test_new_rows_are_placed_by_the_store(store, digits, view):
    new = digits.tail(60).assign(embedding=lambda frame: frame["embedding"] * 1.01)
    by_store = dkv.place(new, store, view)
    by_frame = dkv.place(new, digits, view, metric="euclidean")
    close = np.linalg.norm(points(by_store) - points(by_frame), axis=1) < 0.05
    assert close.mean() > 0.9  # the index misses a few neighbours
    with pytest.raises(dkv.SchemaError, match="where="):
        dkv.place(new, store, view[view["digit"] == 0])
    some = dkv.place(new, store, view[view["digit"] == 0], where="digit == 0")
    assert np.isfinite(points(some)).all()


def test_new_rows_are_placed_by_the_metric_of_the_map_and_not_by_that_of_the_store():
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((320, 8)) * rng.uniform(0.1, 5, (320, 1))
    rows = pd.DataFrame({"embedding": list(drawn.astype("f4"))})
    view = dkv.project(rows.head(300), metric="euclidean")
    new = rows.tail(20)
    with rows.head(300).vec.push("exact", metric="cosine") as by_angle:
        placed = dkv.place(new, by_angle, view, metric="euclidean")
    pd.testing.assert_frame_equal(placed, dkv.place(new, rows.head(300), view, metric="euclidean"), atol=1e-4)
    with (
        rows.head(300).vec.push("faiss", metric="cosine") as store,
        pytest.raises(dkv.UnsupportedError, match="cosine"),
    ):
        dkv.place(new, store, view, metric="euclidean")


def test_pca_of_a_store_places_on_the_same_plane(store, digits):
    view = dkv.project(store, method="pca")
    found = dkv.place(digits.head(9), store, view, method="pca")
    np.testing.assert_allclose(points(found), points(view.loc[digits.index[:9]]), atol=2e-3)


# The edges that an index misses


def test_edges_are_the_exact_ones_and_found_is_what_the_index_gives(store, digits):
    edges = dkv.ann_edges(store, k=5, tuning={"probes": 1})
    exact = store.to_frame().vec.neighbors(5, metric="euclidean", columns=[])
    pd.testing.assert_frame_equal(edges.drop(columns="found"), exact)
    answers = store.search(like=digits.index.tolist(), k=5, tuning={"probes": 1}, columns=[])
    given = set(zip(answers["query"], answers.index, strict=True))
    expected = [pair in given for pair in zip(edges["query"], edges.index, strict=True)]
    differ = edges["found"].to_numpy() != np.array(expected)
    assert 0.5 < edges["found"].mean() < 0.95
    assert differ.mean() < 0.02  # rows that tie for the last place
    assert (edges["rank"][differ] == 5).all()


def test_edges_between_rows_that_are_very_near_are_missed_as_any_others(store, digits):
    small = digits.assign(embedding=list(np.stack(digits["embedding"]) * np.float32(2**-20)))
    knobs = {"k": 5, "n": 200, "tuning": {"probes": 1}}
    with small.vec.push("faiss", index=dkv.IVF(lists=20), metric="euclidean") as shrunk:
        found = dkv.ann_edges(shrunk, **knobs)["found"]
    assert found.mean() == pytest.approx(dkv.ann_edges(store, **knobs)["found"].mean(), abs=0.02)


def test_a_search_of_all_lists_misses_nothing(store):
    assert dkv.ann_edges(store, k=5, tuning={"probes": 20})["found"].all()


def test_edges_of_a_sample_and_of_a_filter(store, digits):
    some = dkv.ann_edges(store, k=3, n=50, seed=1, tuning={"probes": 20})
    assert some["query"].nunique() == 50
    assert some["found"].all()
    few = dkv.ann_edges(store, k=3, where="digit == 4", tuning={"probes": 20})
    own = set(digits.index[digits["digit"] == 4])
    assert set(few["query"]) == own
    assert set(few.index) <= own
    assert few["found"].all()


def test_edges_of_an_empty_store_are_refused():
    with dkv.connect("exact") as store, pytest.raises(dkv.SchemaError, match="empty"):
        dkv.ann_edges(store)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([(4, 0.1), (7, 0.2), (8, 0.3)], [True, True, True]),
        ([(4, 0.1), (8, 0.3)], [True, False, True]),  # one neighbour too few
        ([(4, 0.1), (7, 0.2), (9, 0.3)], [True, True, True]),  # another as far as the last
        ([(4, 0.1), (9, 0.3), (6, 0.3)], [True, False, True]),  # which stands for no nearer one
        ([(4, 0.1), (7, 0.2), (9, 0.4)], [True, True, False]),
        ([], [False, False, False]),
    ],
)
def test_ties_stand_for_each_other_and_for_nothing_nearer(given, found):
    exact = Nearest(np.array([4, 7, 8]), np.float32([0.1, 0.2, 0.3]), np.array([3]))
    positions = np.array([row for row, _ in given], np.intp)
    answers = Nearest(positions, np.float32([far for _, far in given]), np.array([len(given)]))
    assert hit(exact, answers, 10, 1e-5).tolist() == found


def test_recall_by_cluster_is_that_of_its_rows(store, digits):
    edges = dkv.ann_edges(store, k=5, tuning={"probes": 1})
    table = dkv.edge_recall(edges, digits["digit"])
    kinds = digits["digit"].loc[edges["query"]].to_numpy()
    for kind, row in table.iterrows():
        own = edges["found"].to_numpy()[kinds == kind]
        assert row.tolist() == [len(own) / 5, len(own), (~own).sum(), pytest.approx(own.mean())]
    assert table.index.name == "digit"
    assert table["recall"].is_monotonic_increasing
    assert table["edges"].sum() == len(edges)


def test_rows_without_a_cluster_are_named(store, digits):
    edges = dkv.ann_edges(store, k=2, n=20)
    with pytest.raises(dkv.NotFoundError, match="no cluster in by="):
        dkv.edge_recall(edges, digits["digit"].iloc[:10])
    with pytest.raises(dkv.SchemaError, match="Series"):
        dkv.edge_recall(edges, "digit")
