"""Rank fusion: hand-computed sums, and what holds for every fusion."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dkvector as dkv
from dkvector.fusion import RRF, Leg, Weighted, fuse


def leg(scores):
    ordered = sorted(scores.items(), key=lambda one: -one[1])
    return Leg(pd.Index([name for name, _ in ordered], dtype="str"), np.float32([value for _, value in ordered]))


VECTOR = leg({"a": 0.9, "b": 0.8, "c": 0.4})
TEXT = leg({"b": 9.0, "d": 5.0, "a": 1.0})


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        (RRF(), {"b": 1 / 62 + 1 / 61, "a": 1 / 61 + 1 / 63, "d": 1 / 62, "c": 1 / 63}),
        (RRF(k=0), {"b": 1 / 2 + 1, "a": 1 + 1 / 3, "d": 1 / 2, "c": 1 / 3}),
        (RRF(k=1, weights=(3, 1)), {"a": 3 / 2 + 1 / 4, "b": 3 / 3 + 1 / 2, "c": 3 / 4, "d": 1 / 3}),
        (Weighted(), {"b": 0.5 * 0.8 + 0.5, "a": 0.5, "d": 0.5 * 0.5, "c": 0}),
        (Weighted(0.25, "none"), {"b": 0.2 + 6.75, "d": 3.75, "a": 0.225 + 0.75, "c": 0.1}),
        (Weighted(1), {"a": 1, "b": 0.8, "c": 0, "d": 0}),
    ],
    ids=repr,
)
def test_sums_are_those_computed_by_hand(fusion, expected):
    fused = fuse([VECTOR, TEXT], fusion, k=10)
    assert fused.ids.tolist() == list(expected)
    np.testing.assert_allclose(fused.scores, list(expected.values()), rtol=1e-6)


def test_zscores_are_those_of_numpy():
    fused = fuse([VECTOR, TEXT], Weighted(0.5, "zscore"), k=10)
    z = [(one.scores - one.scores.mean()) / one.scores.std() for one in (VECTOR, TEXT)]
    assert fused.ids.tolist() == ["b", "a", "d", "c"]
    expected = [z[0][1] + z[1][0], z[0][0] + z[1][2], z[0][2] + z[1][1], z[0][2] + z[1][2]]  # absent: the leg's worst
    np.testing.assert_allclose(fused.scores, np.array(expected) / 2, rtol=1e-5)


def test_ranks_and_scores_of_each_leg_are_told():
    fused = fuse([VECTOR, TEXT], RRF(), k=10)
    assert fused.ids.tolist() == ["b", "a", "d", "c"]
    assert fused.ranks.tolist() == [[2, 1, 0, 3], [1, 3, 2, 0]]
    np.testing.assert_array_equal(fused.of_legs[0], np.float32([0.8, 0.9, np.nan, 0.4]))
    np.testing.assert_array_equal(fused.of_legs[1], np.float32([9, 1, 5, np.nan]))


def test_ties_come_by_id_and_k_cuts():
    fused = fuse([leg({"z": 1.0}), leg({"a": 1.0}), leg({"m": 1.0})], RRF(weights=(1, 1, 1)), k=2)
    assert fused.ids.tolist() == ["a", "m"]


def test_legs_of_one_row_of_equal_scores_or_of_none():
    assert fuse([leg({"a": 0.1}), leg({})], Weighted(), k=5).scores.tolist() == [0.5]
    assert fuse([leg({"a": 2.0, "b": 2.0}), leg({"b": 1.0})], Weighted(), k=5).ids.tolist() == ["b", "a"]
    assert fuse([leg({"a": 2.0, "b": 2.0}), leg({})], Weighted(0.5, "zscore"), k=5).scores.tolist() == [0, 0]
    assert len(fuse([leg({}), leg({})], RRF(), k=5).ids) == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RRF(k=-1), "above -1"),
        (lambda: RRF(weights=(0, 0)), "not all zero"),
        (lambda: RRF(weights=(1, -1)), "negative"),
        (lambda: RRF(weights=(1, float("nan"))), "negative"),
        (lambda: Weighted(1.5), r"alpha must be in \[0, 1\]"),
        (lambda: Weighted(0.5, "minmix"), "minmax"),
        (lambda: fuse([VECTOR], RRF(weights=(1, 1)), 1), "1 rankings, but 2 weights"),
        (lambda: fuse([VECTOR, TEXT, TEXT], Weighted(0.3), 1), "3 rankings, but 2 weights"),
        (lambda: Weighted((1, -1)), "negative"),
    ],
)
def test_bad_knobs_are_refused(make, says):
    with pytest.raises(dkv.SchemaError, match=says):
        make()


rankings = st.lists(st.sampled_from("abcdefgh"), unique=True).map(
    lambda names: Leg(pd.Index(names, dtype="str"), np.linspace(1, 0.5, len(names), dtype="f4"))
)
fusions = st.one_of(
    st.builds(RRF, st.floats(0, 100), st.tuples(st.floats(0.1, 9), st.floats(0.1, 9))),
    st.builds(Weighted, st.floats(0.01, 0.99), st.sampled_from(["minmax", "zscore", "none"])),
)


@given(rankings, rankings, fusions)
def test_every_row_takes_part_once_and_a_row_first_in_both_legs_is_first(one, other, fusion):
    fused = fuse([one, other], fusion, k=100)
    assert sorted(fused.ids) == sorted({*one.ids, *other.ids})
    assert (np.diff(fused.scores) <= 1e-9).all()
    if len(one.ids) and len(other.ids) and one.ids[0] == other.ids[0]:
        assert fused.scores[0] <= fused.scores[list(fused.ids).index(one.ids[0])] + 1e-9
    swapped = fuse([other, one], RRF(), k=100)
    assert swapped.ids.tolist() == fuse([one, other], RRF(), k=100).ids.tolist()
