"""A join by nearness: the pairs a loop finds, in a frame that reads as pandas' own merge."""

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv
from dkvector.testing import naive_distance


@pytest.fixture
def left():
    vectors = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.1], [0.7, 0.7]]
    return pd.DataFrame({"name": list("pqrs"), "n": [1, 2, 3, 4], "v": vectors}, index=[10, 20, 30, 40])


@pytest.fixture
def right():
    vectors = [[0.9, 0.1], [0.1, 0.9], [0.8, 0.8]]
    columns = {"name": list("xyz"), "big": [True, False, True], "v": vectors}
    return pd.DataFrame(columns, index=pd.Index(["a", "b", "c"], name="key"))


def naive(left, right, k, metric, *, min_score=None, allowed=None):
    """Pairs (left row, right row, rank, distance) by a loop."""
    pairs = []
    for at, vector in enumerate(left):
        near = sorted(
            (round(naive_distance(vector, one, metric), 9), row)
            for row, one in enumerate(right)
            if allowed is None or row in allowed
        )[:k]
        for rank, (distance, row) in enumerate(near, 1):
            worth = {"cosine": 1 - distance, "euclidean": 1 / (1 + distance), "dot_product": -distance}[metric]
            if min_score is None or worth >= min_score:
                pairs.append((at, row, rank, distance))
    return pairs


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("metric", list(dkv.DistanceMetric))
@pytest.mark.parametrize(
    ("k", "min_score", "filtered"), [(1, None, False), (3, 0.2, False), (2, None, True), (99, -9, True)]
)
def test_the_pairs_are_those_of_a_loop(metric, k, min_score, filtered):
    rng = np.random.default_rng(4)
    ours, theirs = rng.standard_normal((30, 5)).astype("f4"), rng.standard_normal((50, 5)).astype("f4")
    theirs[[7, 8]] = theirs[3]
    allowed = set(range(0, 50, 7)) if filtered else None
    other = pd.DataFrame({"v": list(theirs), "n": range(50)})
    where = dkv.col("n").isin(list(allowed)) if filtered else None
    found = pd.DataFrame({"v": list(ours)}).vec.join(other, k, metric=metric, min_score=min_score, where=where)
    expected = naive(ours, theirs, k, metric, min_score=min_score, allowed=allowed)
    assert list(zip(found.index, found["match"], found["rank"], strict=True)) == [pair[:3] for pair in expected]
    np.testing.assert_allclose(found["distance"], [pair[3] for pair in expected], atol=2e-6)


def test_an_inner_join_has_the_columns_of_both_and_the_labels_of_the_left(left, right):
    found = left.vec.join(right, min_score=0.9)
    expected = pd.DataFrame(
        {
            "name_x": ["p", "q", "s"],
            "n": [1, 2, 4],
            "match": ["a", "b", "c"],
            "rank": [1, 1, 1],
            "score": np.float32([0.9 / np.hypot(0.9, 0.1)] * 2 + [1.0]),
            "distance": np.float32([1 - 0.9 / np.hypot(0.9, 0.1)] * 2 + [0.0]),
            "name_y": ["x", "y", "z"],
            "big": [True, False, True],
        },
        index=[10, 20, 40],
    )
    pd.testing.assert_frame_equal(found, expected, atol=1e-6, rtol=0)


def test_a_left_join_keeps_rows_without_a_partner_in_their_places(left, right):
    found = left.vec.join(right, how="left", min_score=0.9)
    assert found.index.tolist() == [10, 20, 30, 40]
    assert found["n"].tolist() == [1, 2, 3, 4]
    alone = found.loc[30]
    assert alone[["match", "rank", "score", "distance", "name_y", "big"]].isna().all()
    assert found["rank"].dtype == "Int64"
    assert left.vec.join(right, how="left")["rank"].dtype == "Int64"  # whether or not a row is alone


def test_a_left_join_has_the_dtypes_that_a_left_merge_has(right):
    right = right.assign(
        n=[1, 2, 3], f=np.float32([1, 2, 3]), t=pd.Timestamp("2024-01-01"), c=pd.Categorical(list("uvu")), w=right["v"]
    )
    right["w"] = right["w"].astype("vector[2]")
    left = pd.DataFrame({"v": [[-1.0, -1.0], [1.0, 0.0]]})
    found = left.vec.join(right, how="left", min_score=0.5, other_on="v", include_vectors=True)
    merged = left.assign(key=["none", "a"]).merge(right, how="left", left_on="key", right_index=True)
    for name in ["name", "big", "n", "f", "t", "c", "w"]:
        assert found[name].dtype == merged[name].dtype, name
        pd.testing.assert_series_equal(found[name], merged[name], check_index=False)


def test_a_pair_of_just_the_least_score_is_one():
    left, right = pd.DataFrame({"v": [[1.0, 0.0]]}), pd.DataFrame({"v": [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]})
    assert left.vec.join(right, 3, min_score=1, metric="euclidean")["match"].tolist() == [0]
    least = left.vec.join(right, 3, metric="euclidean")["score"].iloc[1]
    assert left.vec.join(right, 3, min_score=least, metric="euclidean")["match"].tolist() == [0, 1]
    assert left.vec.join(right, 3, min_score=least + 1e-6, metric="euclidean")["match"].tolist() == [0]


def test_rows_that_meet_several_are_repeated_nearest_first(left, right):
    found = left.vec.join(right, 2)
    assert found.index.tolist() == [10, 10, 20, 20, 30, 30, 40, 40]
    assert found["match"].tolist() == ["a", "c", "b", "c", "b", "c", "c", "a"]
    assert found["rank"].tolist() == [1, 2] * 4


def test_a_filter_of_the_other_frame_comes_before_the_partners(left, right):
    assert left.vec.join(right, where=right["big"])["match"].tolist() == ["a", "c", "c", "c"]
    assert left.vec.join(right, where="name == 'y'")["match"].tolist() == ["b"] * 4


def test_nothing_to_meet_gives_no_pairs_or_all_rows_alone(left, right):
    none = left.vec.join(right, where="name == 'nobody'")
    assert (len(none), none.columns.tolist()) == (
        0,
        ["name_x", "n", "match", "rank", "score", "distance", "name_y", "big"],
    )
    alone = left.vec.join(right, where="name == 'nobody'", how="left")
    assert (alone.index.tolist(), alone["match"].isna().all()) == ([10, 20, 30, 40], True)
    empty = right.astype({"v": "vector[2]"}).iloc[:0]
    assert left.vec.join(empty, how="left")["score"].isna().tolist() == [True] * 4
    assert len(left.astype({"v": "vector[2]"}).iloc[:0].vec.join(right)) == 0


def test_vectors_come_along_when_asked_for(left, right):
    found = left.vec.join(right, include_vectors=True)
    assert found.columns.tolist() == [
        "name_x",
        "n",
        "v_x",
        "match",
        "rank",
        "score",
        "distance",
        "name_y",
        "big",
        "v_y",
    ]
    assert found["v_x"].tolist() == left["v"].tolist()


def test_suffixes_are_those_of_merge(left, right):
    assert "name_left" in left.vec.join(right, suffixes=("_left", None))
    assert "name" in left.vec.join(right, suffixes=("_left", None))
    assert {"name", "name_r"} <= set(left.vec.join(right, suffixes=("", "_r")))
    with pytest.raises(dkv.SchemaError, match=r"leave several columns of one name: \['name'"):
        left.vec.join(right, suffixes=(None, None))
    with pytest.raises(dkv.SchemaError, match=r"leave several columns of one name: \['name_x'"):
        left.assign(name_x=0).vec.join(right)
    with pytest.raises(dkv.SchemaError, match="suffixes are two"):
        left.vec.join(right, suffixes="_x")


def test_columns_called_like_ours_give_way(left, right):
    found = left.assign(score=5, match_=6).vec.join(right.assign(match=7, rank=8))
    assert found.loc[10, ["score_", "match_", "match__", "rank_"]].tolist() == [5, 6, 7, 8]
    assert found.loc[10, "match"] == "a"


def test_names_that_are_not_text_get_suffixes_as_in_merge(left, right):
    left, right = (frame.rename(columns={"name": 7, "v": ("v", 1)}) for frame in (left, right))
    found = left.vec.join(right)
    assert found.columns.tolist() == ["7_x", "n", "match", "rank", "score", "distance", "7_y", "big"]


def test_each_frame_names_its_vector_column(left, right):
    both = left.assign(w=[[0.0, 1.0]] * 4)
    with pytest.raises(dkv.SchemaError, match="several vector columns"):
        both.vec.join(right)
    with pytest.raises(dkv.SchemaError, match="name one of 'v', 'w' with other_on="):
        right.vec.join(both)
    assert both.vec.join(right, on="w")["match"].tolist() == ["b"] * 4
    assert right.vec.join(both, other_on="w")["match"].tolist() == [10] * 3


def test_labels_that_repeat_don_t_mix_rows(left, right):
    left.index, right.index = ["l", "l", "l", "m"], ["r", "r", "s"]
    found = left.vec.join(right)
    assert found[["n", "match", "name_y"]].to_numpy().tolist() == [
        [1, "r", "x"],
        [2, "r", "y"],
        [3, "r", "y"],
        [4, "s", "z"],
    ]


def test_labels_of_a_multiindex_stay_on_the_left_and_are_tuples_on_the_right(left, right):
    left.index = pd.MultiIndex.from_product([["l"], range(4)], names=["one", "two"])
    right.index = pd.MultiIndex.from_product([["r"], range(3)])
    found = left.vec.join(right, how="left", min_score=0.9)
    assert found.index.equals(left.index)
    assert found["match"].tolist()[:2] == [("r", 0), ("r", 1)]
    assert pd.isna(found["match"].iloc[2])


def test_bad_rows_are_named_or_have_no_partner(left, right):
    left.loc[20, "v"], right.loc["a", "v"] = None, [np.nan, 1.0]
    with pytest.raises(dkv.VectorError, match="vector missing in 'v' at 20"):
        left.vec.join(right)
    with pytest.raises(dkv.VectorError, match="NaN or infinity in 'v' at 'a'"):
        left.drop(index=20).vec.join(right)
    assert left.vec.join(right, on_bad="drop")["match"].tolist() == ["c", "b", "c"]
    found = left.vec.join(right, on_bad="drop", how="left")
    assert found.index.tolist() == [10, 20, 30, 40]
    assert found["match"].isna().tolist() == [False, True, False, False]
    assert found["name_y"].tolist()[2:] == ["y", "z"]


def test_frames_that_don_t_fit_are_refused(left, right):
    with pytest.raises(dkv.VectorError, match="the vector column of the other frame has 3 dimensions, expected 2"):
        left.vec.join(right.assign(v=[[1.0, 2.0, 3.0]] * 3))
    with pytest.raises(dkv.SchemaError, match=r"no column holds vectors: df.vec.embed"):
        left.vec.join(right[["name", "big"]])
    with pytest.raises(dkv.SchemaError, match="join takes another DataFrame, not list"):
        left.vec.join([1, 2])
    with pytest.raises(dkv.SchemaError, match="how must be 'inner' or 'left', not 'outer'"):
        left.vec.join(right, how="outer")


@pytest.mark.parametrize(
    ("validate", "k", "message"),
    [
        ("one_to_one", 1, "not one_to_one: rows of the other frame that have several partners: 'b' .1 row"),
        ("1:m", 1, "not 1:m: rows of the other frame"),
        ("m:1", 2, "not m:1: rows of this frame that have several partners: 10, 20, 30, 40 .4 rows"),
        ("many_to_one", 1, None),
        ("many_to_many", 3, None),
        ("one_to_won", 1, "did you mean 'one_to_one'"),
    ],
)
def test_pairs_are_validated_in_the_words_of_merge(left, right, validate, k, message):
    if message is None:
        assert len(left.vec.join(right, k, validate=validate)) == 4 * k
        return
    with pytest.raises(dkv.SchemaError, match=message):
        left.vec.join(right, k, validate=validate)


def test_what_is_too_far_is_not_validated(left, right):
    assert len(left.vec.join(right, min_score=0.9, validate="1:1")) == 3


def test_the_frames_are_left_as_they_were(left, right):
    before = left.copy(), right.copy()
    found = left.vec.join(right, how="left", min_score=0.9, include_vectors=True)
    found.loc[:, "n"] = 99
    pd.testing.assert_frame_equal(left, before[0])
    pd.testing.assert_frame_equal(right, before[1])


def test_a_join_with_itself_meets_itself(left):
    assert left.vec.join(left)["match"].tolist() == left.index.tolist()


@pytest.mark.parametrize("least", ["a", float("nan"), [0.5]], ids=str)
def test_a_least_score_that_is_none_is_refused(least):
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]})
    with pytest.raises(dkv.SchemaError, match="min_score must be a number"):
        frame.vec.join(frame, min_score=least)
    assert len(frame.vec.join(frame, min_score=np.float32(0.5))) == 2
