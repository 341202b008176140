"""Near-duplicates: what a loop over the rows keeps and drops, exactly, without all pairs in memory."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dkvector as dkv
from dkvector.backends import _faiss_knn
from dkvector.testing import naive_distance
from dkvector.verbs import duplicates as module

COSINE, EUCLIDEAN, DOT = dkv.DistanceMetric


def worth(one, other, metric):
    distance = naive_distance(one, other, metric)
    return 1 - distance if metric is COSINE else 1 / (1 + distance)


def naive_kept(matrix, threshold, metric, keep="first"):
    """The rows that stay: each that is not near one that stayed before."""
    kept = []
    for row in range(len(matrix)) if keep == "first" else reversed(range(len(matrix))):
        if all(worth(matrix[row], matrix[one], metric) < threshold - 1e-7 for one in kept):
            kept.append(row)
    return sorted(kept)


def crowded(rows=60, seed=0):
    """Vectors in tight groups, with chains between them and bitwise copies."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((8, 4))[rng.integers(0, 8, rows)] + 0.2 * rng.standard_normal((rows, 4))
    matrix[-3:] = matrix[[0, 0, 5]]
    return matrix.astype("f4")


def frame_of(matrix):
    return pd.DataFrame({"v": list(matrix), "n": range(len(matrix))}, index=[f"r{i}" for i in range(len(matrix))])


@pytest.fixture(params=[1024, 7], ids=["one batch", "batches of 7"])
def batch(request, monkeypatch):
    monkeypatch.setattr(module, "TOGETHER", request.param)


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("metric", [COSINE, EUCLIDEAN])
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95, 0.99, 1])
@pytest.mark.parametrize("keep", ["first", "last"])
def test_the_rows_that_stay_are_those_of_a_loop(metric, threshold, keep):
    matrix = crowded()
    stay = frame_of(matrix).vec.drop_duplicates(threshold, metric=metric, keep=keep)
    assert stay["n"].tolist() == naive_kept(matrix, threshold, metric, keep)


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2).filter(any), min_size=1, max_size=40),
    st.sampled_from([0.3, 0.5, 0.9, 1]),
    st.sampled_from([COSINE, EUCLIDEAN]),
    st.sampled_from([3, 1024]),
)
def test_no_two_that_stay_are_near_and_who_goes_is_near_one_that_stays(vectors, threshold, metric, batch):
    matrix = np.float32(vectors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOGETHER", batch)
        stay = frame_of(matrix).vec.drop_duplicates(threshold, metric=metric)["n"].tolist()
    near = [[worth(one, other, metric) >= threshold - 1e-6 for other in matrix[stay]] for one in matrix]
    assert np.sum([near[row] for row in stay]) == len(stay)
    assert np.any(near, axis=1).all()


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("metric", [COSINE, EUCLIDEAN])
@pytest.mark.parametrize("threshold", [0.5, 0.9, 1])
def test_without_keeping_any_every_row_with_a_near_duplicate_goes(metric, threshold):
    matrix = crowded()
    alone = [
        row
        for row, one in enumerate(matrix)
        if not any(worth(one, two, metric) >= threshold - 1e-7 for at, two in enumerate(matrix) if at != row)
    ]
    for no in (False, np.False_):
        assert frame_of(matrix).vec.drop_duplicates(threshold, metric=metric, keep=no)["n"].tolist() == alone


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("keep", ["first", "last"])
def test_groups_tell_who_goes_and_who_stays_for_them(keep):
    matrix, threshold = crowded(), 0.9
    groups = frame_of(matrix).vec.duplicates(threshold, keep=keep)
    kept = naive_kept(matrix, threshold, COSINE, keep)
    assert sorted(groups.loc[~groups["kept"], "n"]) == sorted(set(range(len(matrix))) - set(kept))
    assert groups["group"].unique().tolist() == list(range(groups["group"].nunique()))
    for _, group in groups.groupby("group"):
        leader, members = group.iloc[0], group.iloc[1:]
        assert leader["kept"]
        assert np.isnan(leader["score"])
        assert len(members) > 0
        assert members["n"].is_monotonic_increasing
        for row, score in zip(members["n"], members["score"], strict=True):
            near = {one: worth(matrix[row], matrix[one], COSINE) for one in kept}
            assert near[leader["n"]] == pytest.approx(max(near.values()), abs=1e-6)
            assert score == pytest.approx(near[leader["n"]], abs=1e-6)
            assert score >= threshold - 1e-6


def test_chains_don_t_join_what_is_far():
    angles = np.radians([0, 9, 20, 29, 40, 49, 60, 69, 80])
    frame = frame_of(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    groups = frame.vec.duplicates(np.cos(np.radians(15)))
    assert groups.groupby("group")["n"].agg(list).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert frame.vec.drop_duplicates(np.cos(np.radians(15)))["n"].tolist() == [0, 2, 4, 6, 8]  # 8 is near 7 only


def test_the_result_reads_as_a_search_does():
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]], "kept": [5, 6, 7]}, index=["a", "b", "a"])
    groups = frame.vec.duplicates(1)
    expected = pd.DataFrame(
        {
            "group": [0, 0],
            "kept": [True, False],
            "score": np.float32([np.nan, 1]),
            "distance": np.float32([np.nan, 0]),
            "kept_": [5, 7],
        },
        index=["a", "a"],
    )
    pd.testing.assert_frame_equal(groups, expected)
    assert frame.vec.duplicates(1, metric="euclidean").columns.tolist() == expected.columns.tolist()
    assert len(frame.vec.duplicates(1, metric="euclidean")) == 0


def test_what_stays_has_all_columns_and_its_order():
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], "n": [3, 2, 1]}, index=list("cba"))
    pd.testing.assert_frame_equal(frame.vec.drop_duplicates(), frame.iloc[[0, 1]])
    pd.testing.assert_frame_equal(frame.vec.drop_duplicates(keep="last"), frame.iloc[[1, 2]])
    pd.testing.assert_frame_equal(frame.sort_values("n").vec.drop_duplicates(), frame.iloc[[2, 1]])


def test_copies_are_found_whatever_the_rounding():
    matrix = np.random.default_rng(0).standard_normal((300, 384)).astype("f4")
    frame = frame_of(np.vstack([matrix, matrix, 3 * matrix]))
    assert frame.vec.drop_duplicates(1)["n"].tolist() == list(range(300))
    assert frame.vec.drop_duplicates(1, metric="euclidean")["n"].tolist() == [*range(300), *range(600, 900)]


def test_bad_rows_are_named_or_left_out():
    frame = pd.DataFrame({"v": [[1.0, 0.0], None, [1.0, 0.0]]}, index=list("abc"))
    with pytest.raises(dkv.VectorError, match="vector missing in 'v' at 'b'"):
        frame.vec.drop_duplicates()
    assert frame.vec.drop_duplicates(on_bad="drop").index.tolist() == ["a"]
    assert frame.vec.duplicates(on_bad="drop").index.tolist() == ["a", "c"]


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("keep", ["first", "last", False])
def test_few_rows_have_no_duplicates(rows, keep):
    frame = pd.DataFrame({"v": dkv.VectorArray(crowded()[:rows])})
    assert len(frame.vec.drop_duplicates(keep=keep)) == rows
    assert frame.vec.duplicates().columns.tolist() == ["group", "kept", "score", "distance"]
    assert len(frame.vec.duplicates()) == 0


def test_columns_of_any_name_and_several_of_vectors():
    frame = pd.DataFrame({7: [[1.0, 0.0], [0.0, 1.0]], ("w", 1): [[1.0, 0.0], [1.0, 0.1]], 0: [5, 6]})
    with pytest.raises(dkv.SchemaError, match="several vector columns"):
        frame.vec.duplicates()
    assert len(frame.vec.duplicates(on=7)) == 0
    assert frame.vec.duplicates(on=("w", 1), columns=[0])[0].tolist() == [5, 6]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"threshold": 0}, dkv.SchemaError, "threshold is a score, above 0 and up to 1, not 0"),
        ({"threshold": 95}, dkv.SchemaError, "threshold is a score"),
        ({"threshold": "0.9"}, dkv.SchemaError, "threshold is a score"),
        ({"keep": "best"}, dkv.SchemaError, "keep must be 'first', 'last' or False, not 'best'"),
        ({"metric": "dot_product"}, dkv.UnsupportedError, "drop_duplicates has no metric 'dot_product'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        frame_of(crowded()).vec.drop_duplicates(**arguments)


def test_groups_need_one_that_stays():
    with pytest.raises(dkv.SchemaError, match="keep must be 'first' or 'last', not False"):
        frame_of(crowded()).vec.duplicates(keep=False)


@pytest.mark.parametrize("same", [True, False])
def test_the_pairs_never_stand_in_memory_all_at_once(same):
    matrix = np.random.default_rng(1).standard_normal((20_000, 8)).astype("f4")
    frame = pd.DataFrame({"v": dkv.VectorArray(np.tile(matrix[:1], (20_000, 1)) if same else matrix)})
    tracemalloc.start()
    stay = frame.vec.drop_duplicates(0.999)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(stay) == 1) == same
    assert peak < 60e6  # all pairs would be 1,600 MB


def test_both_engines_agree(monkeypatch):
    frame = dkv.datasets.load_wordnet().iloc[:3000]
    ours = [frame.vec.duplicates(threshold, columns=[]) for threshold in (0.7, 0.9)]
    monkeypatch.setattr(_faiss_knn, "many", lambda _: False)
    for one, threshold in zip(ours, (0.7, 0.9), strict=True):
        pd.testing.assert_frame_equal(one, frame.vec.duplicates(threshold, columns=[]), rtol=0, atol=5e-7)


def test_the_radius_has_room_for_rounding_only():
    assert module.radius(0.95, COSINE) == pytest.approx(0.05, abs=2e-6)
    assert module.radius(1, EUCLIDEAN) == 0
    assert module.radius(0.5, EUCLIDEAN) == pytest.approx(1, rel=2e-6)
