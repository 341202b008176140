"""What holds for every verb: labels of any kind, vectors of any form, frames left as they were."""

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv

VERBS = {
    "neighbors": lambda frame: frame.vec.neighbors(2),
    "join": lambda frame: frame.vec.join(frame, 2),
    "left join": lambda frame: frame.vec.join(frame, how="left", min_score=0.999, where="n > 20"),
    "duplicates": lambda frame: frame.vec.duplicates(0.9),
    "drop_duplicates": lambda frame: frame.vec.drop_duplicates(0.9),
    "drop_duplicates, all": lambda frame: frame.vec.drop_duplicates(0.9, keep=False),
    "cluster": lambda frame: frame.vec.cluster(3),
    "outliers": lambda frame: frame.vec.outliers(3),
    "outliers, lof": lambda frame: frame.vec.outliers(3, method="lof"),
    "sample": lambda frame: frame.vec.sample(5),
    "sample, by chance": lambda frame: frame.vec.sample(5, diverse=False),
    "check": lambda frame: frame.vec.check().to_frame(),
}
PLAIN = pd.DataFrame({"n": np.arange(30), "v": list(np.random.default_rng(0).standard_normal((30, 3)).astype("f4"))})


@pytest.fixture(params=VERBS)
def verb(request):
    return VERBS[request.param]


def without_vectors(result):
    """The columns that can be compared by their values."""
    return result.drop(columns="v", errors="ignore") if isinstance(result, pd.DataFrame) else result


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([f"r{i}" for i in range(30)], name="word"),
        pd.MultiIndex.from_product([list("abc"), range(10)], names=["one", "two"]),
        pd.date_range("2024-01-01", periods=30),
        pd.CategoricalIndex([f"c{i}" for i in range(30)]),
    ],
    ids=["text", "levels", "dates", "categories"],
)
def test_labels_of_every_kind_name_the_rows_that_positions_would(verb, index):
    by_position, by_label = without_vectors(verb(PLAIN)), without_vectors(verb(PLAIN.set_axis(index)))
    if "fix" in by_position:  # a report has rows of its own, and names labels in its findings
        assert by_label["check"].tolist() == by_position["check"].tolist() == ["near_duplicates"]
        return
    assert by_label.index.equals(index.take(by_position.index))
    assert by_label.index.names == index.names
    for name in ("query", "match"):
        if name in by_position:
            rows = by_position[name]
            expected = [None if pd.isna(row) else index[int(row)] for row in rows]
            assert [None if row is pd.NaT or row != row else row for row in by_label[name]] == expected  # noqa: PLR0124
    same = [name for name in by_position if name not in {"query", "match"}] if by_position.ndim > 1 else None
    one, two = (result if same is None else result[same] for result in (by_position, by_label))
    assert one.reset_index(drop=True).equals(two.reset_index(drop=True))


@pytest.mark.parametrize(
    "form",
    [
        lambda column: column.astype("vector[3]"),
        lambda column: pd.Series([row.tolist() for row in column]),
        lambda column: pd.Series([row.astype("f8") for row in column]),
    ],
    ids=["vector", "lists", "doubles"],
)
def test_vectors_of_every_form_give_the_same(verb, form):
    result, expected = without_vectors(verb(PLAIN.assign(v=form(PLAIN["v"])))), without_vectors(verb(PLAIN))
    if "fix" in expected:
        expected, result = (frame[frame["check"] != "storage"].reset_index(drop=True) for frame in (expected, result))
    assert result.equals(expected)


def test_the_frame_is_left_as_it_was_and_so_is_what_it_gave(verb):
    frame = PLAIN.copy()
    frame["v"] = frame["v"].astype("vector[3]")
    before = frame.copy(deep=True)
    result = verb(frame)
    assert result.attrs == {}
    if isinstance(result, pd.DataFrame) and "n" in result:
        result["n"] = -1
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("name", VERBS)
def test_of_no_rows_there_is_nothing_to_give_and_none_to_take(name):
    frame = pd.DataFrame({"n": np.empty(0, np.int64), "v": dkv.VectorArray(np.empty((0, 3), "f4"))})
    if name in {"cluster", "sample", "sample, by chance"}:
        with pytest.raises(dkv.SchemaError, match=r"[35] (clusters of 0 rows|rows of 0)"):
            VERBS[name](frame)
    else:
        assert len(VERBS[name](frame)) == 0
