"""Samples: the farthest first, which covers the frame; or any rows, by chance."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

import dkvector as dkv
from dkvector.verbs.sampling import farthest_first


def naive_farthest_first(matrix, n, first):
    """The same by a loop, in double precision."""
    chosen, matrix = [first], matrix.astype("f8")
    while len(chosen) < n:
        nearest = [min(((one - matrix[at]) ** 2).sum() for at in chosen) for one in matrix]
        chosen.append(max((row for row in range(len(matrix)) if row not in chosen), key=lambda row: nearest[row]))
    return chosen


def frame_of(matrix):
    return pd.DataFrame({"v": list(np.float32(matrix)), "n": range(len(matrix))})


@pytest.mark.parametrize("first", [0, 11])
def test_the_next_is_always_the_farthest_from_those_taken(first):
    matrix = np.random.default_rng(0).standard_normal((60, 4)).astype("f4")
    assert farthest_first(matrix, 20, first).tolist() == naive_farthest_first(matrix, 20, first)


def test_a_sample_is_rows_of_the_frame_in_the_order_taken():
    matrix = np.random.default_rng(0).standard_normal((60, 4)).astype("f4")
    frame = frame_of(matrix)
    found = frame.vec.sample(12, metric="euclidean")
    assert found["n"].tolist() == naive_farthest_first(matrix, 12, found["n"].iloc[0])
    pd.testing.assert_frame_equal(found, frame.iloc[found["n"]])
    pd.testing.assert_frame_equal(frame.vec.sample(5, metric="euclidean"), found.iloc[:5])


def test_cosine_looks_at_directions():
    frame = frame_of([[1, 0], [100, 0], [0, 1], [3, 0.1]])
    assert set(frame.vec.sample(2)["n"]) in ({0, 2}, {1, 2}, {3, 2})
    assert 1 in set(frame.vec.sample(2, metric="euclidean")["n"])


def test_a_diverse_sample_covers_better_than_chance():
    words = dkv.datasets.load_wordnet().query("lexname == 'noun.animal'")

    def worst(diverse):
        some = words.vec.sample(40, diverse=diverse)
        return words.vec.join(some[["embedding"]])["score"].min()

    assert worst(diverse=True) > worst(diverse=False)


def test_copies_are_taken_last_and_each_row_once():
    frame = frame_of([[1, 0], [1, 0], [0, 1], [1, 0], [0, 1]])
    found = frame.vec.sample(5)["n"].tolist()
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert {frame["v"][at][0] for at in found[:2]} == {0, 1}


@pytest.mark.parametrize("diverse", [True, False])
def test_the_seed_makes_the_same_again(diverse):
    frame = frame_of(np.random.default_rng(0).standard_normal((300, 4)))
    pd.testing.assert_frame_equal(frame.vec.sample(20, diverse=diverse), frame.vec.sample(20, diverse=diverse))
    found = {tuple(frame.vec.sample(20, diverse=diverse, seed=seed)["n"]) for seed in (0, 1, 2, None)}
    assert len(found) == 4


def test_by_chance_every_row_is_as_likely():
    frame = frame_of(np.vstack([np.eye(4), 100 * np.eye(4)]))
    taken = np.concatenate([frame.vec.sample(2, diverse=False, seed=seed)["n"] for seed in range(800)])
    assert chisquare(np.bincount(taken, minlength=8)).pvalue > 0.001
    assert all(frame.vec.sample(8, diverse=False, seed=seed)["n"].is_unique for seed in range(20))


@pytest.mark.parametrize("diverse", [True, False])
@pytest.mark.parametrize(("rows", "n"), [(0, 0), (1, 0), (1, 1), (3, 3)])
def test_few_rows_and_none(diverse, rows, n):
    frame = pd.DataFrame({"v": dkv.VectorArray(np.eye(3, dtype="f4")[:rows])})
    found = frame.vec.sample(n, diverse=diverse)
    assert (len(found), found["v"].dtype) == (n, "vector[3]")


def test_rows_are_positions_inside_and_labels_outside():
    frame = pd.DataFrame({5: [[1.0, 0.0], None, [0.9, 0.1], [0.0, 1.0]]}, index=list("aabb"))
    with pytest.raises(dkv.VectorError, match="vector missing in '5' at 'a'"):
        frame.vec.sample(2)
    assert sorted(frame.vec.sample(3, on_bad="drop").index) == ["a", "b", "b"]


@pytest.mark.parametrize(
    ("n", "arguments", "error", "message"),
    [
        (4, {}, dkv.SchemaError, "4 rows of 3: n must be at most the number of rows"),
        (-1, {}, dkv.SchemaError, "n must be a whole number of at least 0"),
        (2, {"metric": "dot_product"}, dkv.UnsupportedError, "sample has no metric 'dot_product'"),
    ],
)
def test_what_makes_no_sense_is_refused(n, arguments, error, message):
    with pytest.raises(error, match=message):
        frame_of(np.eye(3)).vec.sample(n, **arguments)


def test_a_bar_shows_how_far_it_is(capsys):
    frame_of(np.eye(5)).vec.sample(4, progress=True)
    assert "sample: 100%" in capsys.readouterr().err
