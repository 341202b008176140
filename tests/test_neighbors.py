"""The neighbours of a frame's own rows: what a loop over all pairs finds, by either engine."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv
from dkvector.backends import _knn
from dkvector.testing import naive_distance

COSINE, EUCLIDEAN, DOT = dkv.DistanceMetric


def random(rows=80, dimensions=6, seed=0):
    """Vectors of different lengths, with copies of some rows at the end."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((rows, dimensions)) * rng.uniform(0.2, 3, (rows, 1))
    matrix[-5:] = matrix[[0, 0, 3, 0, 7]]
    return matrix.astype("f4")


def naive(matrix, k, metric, allowed=None):
    """For each row the k nearest others by a loop, ties in the order of the rows: row → [(row, distance)]."""
    allowed = range(len(matrix)) if allowed is None else allowed
    found = {}
    for row, vector in enumerate(matrix):
        pairs = [(round(naive_distance(vector, matrix[one], metric), 9), one) for one in allowed if one != row]
        found[row] = [(one, distance) for distance, one in sorted(pairs)[:k]]
    return found


def table(found, labels=None):
    """The result as {query: [(row, distance)]}, in its own order."""
    result = {label: [] for label in labels} if labels is not None else {}
    for label, query, distance in zip(found.index, found["query"], found["distance"], strict=True):
        result.setdefault(query, []).append((label, distance))
    return result


def assert_same(found, expected):
    assert {query: [row for row, _ in rows] for query, rows in found.items()} == {
        query: [row for row, _ in rows] for query, rows in expected.items()
    }
    got = [distance for rows in found.values() for _, distance in rows]
    np.testing.assert_allclose(got, [d for query in found for _, d in expected[query]], atol=2e-6, rtol=2e-6)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("metric", list(dkv.DistanceMetric))
@pytest.mark.parametrize("k", [1, 4, 79, 500])
def test_every_row_finds_its_nearest_others_and_not_itself(metric, k):
    matrix = random()
    found = pd.DataFrame({"v": list(matrix)}).vec.neighbors(k, metric=metric)
    assert_same(table(found), naive(matrix, k, metric))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("copies", [2, 5, 40])
def test_copies_are_neighbours_and_the_row_itself_is_not(copies):
    matrix = np.vstack([np.tile(random(dimensions=4, seed=2)[:1], (copies, 1)), random(dimensions=4)[:6]])
    found = table(pd.DataFrame({"v": list(matrix)}).vec.neighbors(3, metric="euclidean"))
    for row in range(copies):
        others = [one for one in range(copies) if one != row][:3]
        assert [one for one, _ in found[row]][: len(others)] == others
        assert all(distance == 0 for _, distance in found[row][: len(others)])


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("offset", [0, 100])
def test_whole_numbers_tie_in_the_order_of_the_frame(offset):
    matrix = np.random.default_rng(5).integers(0, 3, (60, 3)).astype("f4") + offset
    found = pd.DataFrame({"v": list(matrix)}).vec.neighbors(7, metric="euclidean")
    assert_same(table(found), naive(matrix, 7, EUCLIDEAN))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("metric", [COSINE, EUCLIDEAN])
def test_rows_far_from_the_origin_are_told_apart(metric):
    """A product of such vectors rounds by more than they differ: no order comes of it."""
    matrix = (0.003 * np.random.default_rng(6).standard_normal((200, 3)) + [500, 200, 0]).astype("f4")
    if metric is COSINE:
        matrix = np.float32([np.sin(np.arange(200) * 1e-4), np.cos(np.arange(200) * 1e-4)]).T
    found = table(pd.DataFrame({"v": list(matrix)}).vec.neighbors(5, metric=metric))
    expected = naive(matrix, 5, metric)
    for row, near in found.items():
        got = [naive_distance(matrix[row], matrix[one], metric) for one, _ in near]
        np.testing.assert_allclose(got, [distance for _, distance in expected[row]], atol=3e-7)


@pytest.mark.usefixtures("engine")
def test_a_filter_is_for_the_rows_found_and_every_row_asks():
    matrix = random()
    kind = np.where(np.arange(80) % 3 == 0, "a", "b")
    found = pd.DataFrame({"v": list(matrix), "kind": kind}).vec.neighbors(4, where="kind == 'a'")
    assert_same(table(found), naive(matrix, 4, COSINE, allowed=np.flatnonzero(kind == "a").tolist()))
    assert (found["kind"] == "a").all()


@pytest.mark.usefixtures("engine")
def test_a_rare_filter_does_not_starve():
    frame = pd.DataFrame({"v": list(random()), "n": range(80)})
    found = frame.vec.neighbors(2, where="n in [3, 50, 77]")
    assert found.groupby("query").size().eq(2).all()
    assert len(found) == 160


def test_a_filter_that_nothing_satisfies_finds_nothing():
    frame = pd.DataFrame({"v": list(random()), "n": range(80)})
    found = frame.vec.neighbors(2, where="n > 1000")
    assert (len(found), found.columns.tolist()) == (0, ["query", "rank", "score", "distance", "n"])


def test_labels_that_repeat_name_rows_inside_by_position():
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], "n": [1, 2, 3]}, index=["a", "a", "b"])
    found = frame.vec.neighbors(1)
    assert found[["query", "n"]].to_numpy().tolist() == [["a", 2], ["a", 1], ["b", 2]]
    assert found.index.tolist() == ["a", "a", "a"]


def test_the_result_is_that_of_a_search_for_all_rows():
    frame = pd.DataFrame({"v": list(random(80)[:75]), "n": range(75)}, index=[f"r{i}" for i in range(75)])
    pd.testing.assert_frame_equal(frame.vec.neighbors(3), frame.vec.search(like=frame.index, k=3))


def test_rows_of_a_multiindex_are_told_by_tuples():
    index = pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])
    found = pd.DataFrame({"v": [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]}, index=index).vec.neighbors(1)
    assert found["query"].tolist() == [("a", 1), ("a", 2), ("b", 1)]
    assert found.index.tolist() == [("a", 2), ("a", 1), ("a", 2)]


def test_bad_rows_are_named_or_left_out():
    frame = pd.DataFrame({"v": [[1.0, 0.0], None, [0.9, 0.1], [0.0, 0.0]]}, index=list("abcd"))
    with pytest.raises(dkv.VectorError, match="vector missing in 'v' at 'b'"):
        frame.vec.neighbors(1)
    found = frame.vec.neighbors(1, on_bad="drop")
    assert (found["query"].tolist(), found.index.tolist()) == (["a", "c"], ["c", "a"])


def test_a_filter_and_dropped_rows_keep_to_the_same_rows():
    frame = pd.DataFrame({"v": [[1.0, 0.0], None, [0.9, 0.1], [0.0, 1.0]], "n": range(4)}, index=list("abcd"))
    found = frame.vec.neighbors(2, where="n >= 2", on_bad="drop")
    assert table(found).keys() == {"a", "c", "d"}
    assert found.index.tolist() == ["c", "d", "d", "c"]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("rows", [0, 1])
def test_without_others_there_are_no_neighbours(rows):
    frame = pd.DataFrame({"v": dkv.VectorArray(random()[:rows]), "n": range(rows)})
    found = frame.vec.neighbors(3)
    assert (len(found), found.columns.tolist()) == (0, ["query", "rank", "score", "distance", "n"])


def test_names_need_not_be_text_and_columns_are_chosen():
    frame = pd.DataFrame({("v", 1): list(random()), 7: range(80), "rank": 1.5, ("w", 2): list(random(dimensions=3))})
    found = frame.vec.neighbors(1, on=("v", 1))
    assert found.columns.tolist() == ["query", "rank", "score", "distance", 7, "rank_"]
    assert frame.vec.neighbors(1, on=("w", 2), columns=[7]).columns.tolist()[-1] == 7
    assert frame.vec.neighbors(1, on=("w", 2), columns=[], include_vectors=True).columns.tolist()[4:] == [
        ("v", 1),
        ("w", 2),
    ]
    with pytest.raises(dkv.SchemaError, match="several vector columns"):
        frame.vec.neighbors(1)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3"])
def test_k_is_a_whole_number(k):
    with pytest.raises(dkv.SchemaError, match="k must be a whole number of at least 1"):
        pd.DataFrame({"v": list(random())}).vec.neighbors(k)


def test_large_batches_agree_with_small_ones_whatever_the_engine(monkeypatch):
    matrix = np.random.default_rng(1).standard_normal((4500, 64)).astype("f4")
    frame = pd.DataFrame({"v": dkv.VectorArray(matrix)})
    by_faiss = frame.vec.neighbors(5)
    monkeypatch.setattr(_knn, "find_spec", lambda _: None)
    ours = frame.vec.neighbors(5)
    pd.testing.assert_frame_equal(by_faiss, ours, rtol=0, atol=5e-7)
    assert by_faiss.index.equals(ours.index)


@pytest.mark.usefixtures("engine")
def test_the_pairs_never_stand_in_memory_all_at_once():
    matrix = np.random.default_rng(1).standard_normal((20_000, 8)).astype("f4")
    frame = pd.DataFrame({"v": dkv.VectorArray(matrix)})
    tracemalloc.start()
    frame.vec.neighbors(5, metric="euclidean")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # all pairs would be 1,600 MB


def test_batches_show_how_far_they_are_and_can_be_stopped(capsys, monkeypatch):
    frame = pd.DataFrame({"v": dkv.VectorArray(np.random.default_rng(1).standard_normal((9000, 8)).astype("f4"))})
    frame.vec.neighbors(2, progress=True)
    assert "neighbours: 100%" in capsys.readouterr().err
    frame.vec.neighbors(2)
    assert capsys.readouterr().err == ""  # little to do
    monkeypatch.setattr(_knn, "MUCH", 1)
    frame.vec.neighbors(2)
    assert "neighbours: 100%" in capsys.readouterr().err

    calls = []

    def interrupted(*_: object, **__: object):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return search(*_, **__)

    search = _knn._topk.search
    monkeypatch.setattr(_knn._topk, "search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        frame.vec.neighbors(2)
    assert len(calls) == 2
