"""`df.vec.diff(store)`: by content, not by position; nothing is changed before it is applied."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dkvector as dkv
from dkvector.comparing import differing, differing_vectors
from dkvector.mending import Applied

ROWS = st.dictionaries(
    st.integers(0, 12),
    st.tuples(st.sampled_from([1.0, 2.0, 0.5]), st.sampled_from([None, 1, 2]), st.sampled_from([None, "a", "ä 'b'"])),
    max_size=8,
)
COUNTS = ["added", "changed", "deleted", "orphaned", "same"]


def frame_of(rows):
    return pd.DataFrame(
        {
            "n": pd.array([one[1] for one in rows.values()], dtype="Int64"),
            "s": pd.array([one[2] for one in rows.values()], dtype="str"),
            "v": list(np.array([[1.0, one[0]] for one in rows.values()], np.float32).reshape(-1, 2)),
        },
        index=pd.Index(list(rows), name="id", dtype="int64"),
    )


def test_half_floats_differ_like_all_others():
    rows = frame_of({1: (1.0, 1, "a"), 2: (1.0, 1, "a"), 3: (1.0, 1, "a")})
    rows["half"] = np.array([1, np.nan, 3], np.float16)
    with rows.vec.push("exact") as store:
        assert not rows.vec.diff(store)
        rows.loc[3, "half"] = np.float16(3.002)
        assert rows.vec.diff(store).changed.index.tolist() == [3]
        rows.loc[2, "half"] = 0
        assert rows.vec.diff(store).changed.index.tolist() == [2, 3]


@given(before=ROWS.filter(bool), after=ROWS.filter(bool), delete=st.booleans())
def test_what_a_dict_would_tell(before, after, delete):
    frame = frame_of(after)
    with frame_of(before).vec.push("exact") as store:
        diff = frame.vec.diff(store, batch_size=3)
        both = before.keys() & after.keys()
        changed = {key for key in both if before[key] != after[key]}
        assert set(diff.added.index) == after.keys() - before.keys()
        assert set(diff.changed.index) == changed
        assert set(diff.deleted.index) == before.keys() - after.keys()
        told = diff.changes.to_dict("index")
        assert told == {
            key: {
                "n": before[key][1] != after[key][1],
                "s": before[key][2] != after[key][2],
                "v": before[key][0] != after[key][0],
            }
            for key in changed
        }
        assert bool(diff) == (before != after)
        assert len(store) == len(before)  # nothing is changed yet
        diff.apply(delete=delete, batch_size=2)
        again = frame.vec.diff(store)
        kept = 0 if delete else len(before.keys() - after.keys())
        assert again.counts[COUNTS].tolist() == [0, 0, kept, 0, len(after)]


@pytest.fixture
def frame():
    return frame_of({1: (1.0, 5, "a"), 2: (2.0, None, None), 3: (0.5, 7, "c")})


def test_columns_that_only_the_store_has_stay(frame):
    with frame.vec.push("exact") as store:
        less = frame.drop(columns="s").assign(n=[5, 6, 7])
        diff = less.vec.diff(store)
        assert diff.counts[COUNTS].tolist() == [0, 1, 0, 0, 2]
        diff.apply()
        assert store.get([1, 3])["s"].tolist() == ["a", "c"]
        store.update_vector(1, "v", [3.0, 4.0])
        less.vec.diff(store).apply()
        assert store.get([1])["s"].tolist() == ["a"]
        assert store.get([1], include_vectors=True)["v"].iloc[0].tolist() == [1.0, 1.0]


def test_columns_that_only_the_frame_has_are_new(frame):
    with frame.vec.push("exact") as store:
        more = frame.assign(new=["x", None, "z"])
        diff = more.vec.diff(store)
        assert diff.changed.index.tolist() == [1, 3]
        assert more.vec.diff(store, columns=["n"]).counts["changed"] == 0
        diff.apply()
        assert not more.vec.diff(store)
        assert store.get([1, 3])["new"].tolist() == ["x", "z"]


def test_an_interrupted_apply_goes_on(frame, monkeypatch):
    rows = {at: (1.0, at, "a") for at in range(10)}
    frame = frame_of(rows)
    with frame.head(2).vec.push("exact") as store:
        diff = frame.vec.diff(store)
        writes, upsert = [], store.store.upsert

        async def failing(rows, **knobs):
            writes.append(rows.index.tolist())
            if len(writes) == 2:
                raise KeyboardInterrupt
            return await upsert(rows, **knobs)

        monkeypatch.setattr(store.store, "upsert", failing)
        with pytest.raises(KeyboardInterrupt):
            diff.apply(batch_size=3)
        assert len(store) == 5
        assert diff.apply(batch_size=3) == Applied(inserted=8)
        assert writes == [[2, 3, 4], [5, 6, 7], [5, 6, 7], [8, 9]]
        assert diff.apply() == Applied(inserted=8)


def test_rows_that_the_engine_does_not_take_keep_no_others_back(monkeypatch):
    frame = frame_of({at: (1.0, at, "a") for at in range(9)})
    old = frame_of({at: (2.0, at, "a") for at in (0, 1, 2, 20)})
    with old.vec.push("exact") as store:
        diff = frame.vec.diff(store)
        refused, upsert = {1, 5}, store.store.upsert

        async def picky(rows, **knobs):
            odd = rows.index.isin(refused)
            written = await upsert(rows[~odd], **knobs)
            if odd.any():
                raise dkv.PartialWriteError(dict.fromkeys(rows.index[odd], "odd"), written.inserted + written.replaced)
            return written

        monkeypatch.setattr(store.store, "upsert", picky)
        with pytest.raises(dkv.PartialWriteError, match=r"7 rows stored; not stored: 5, 1 \(2 rows\)"):
            diff.apply(delete=True, batch_size=2)
        assert set(store.to_frame().index) == {0, 1, 2, 3, 4, 6, 7, 8, 20}  # nothing is deleted before all is written
        refused.remove(5)
        with pytest.raises(dkv.PartialWriteError, match=r"8 rows stored; not stored: 1 \(1 row\)"):
            diff.apply(delete=True)
        refused.clear()
        assert diff.apply(delete=True).deleted == 1
        assert not frame.vec.diff(store)


def test_rows_that_are_left_out_are_of_no_kind(frame):
    with frame.vec.push("exact") as store:
        spoiled = frame.assign(v=[[1.0, 1.0], [np.nan, 1.0], [1.0, 0.5]])
        with pytest.raises(dkv.VectorError, match="at 2"):
            spoiled.vec.diff(store)
        assert spoiled.vec.diff(store, on_bad="drop").counts[COUNTS].tolist() == [0, 0, 0, 0, 2]


def test_it_shows_what_it_found(frame):
    with frame.vec.push("exact") as store:
        diff = frame.drop(index=3).assign(n=pd.array([8, None], "Int64")).rename({2: 9}).vec.diff(store)
        assert repr(diff) == "1 added, 1 changed, 2 deleted, 0 orphaned, 0 the same"
        shown = diff._repr_html_()
        assert "<td" in shown
        assert "2, 3" in shown
        assert "changed in" in shown
        assert diff.deleted.columns.tolist() == ["n", "s"]
        assert len(diff.orphaned) == 0
        assert diff.orphaned.columns.tolist() == ["n", "s"]


def test_an_empty_store(frame):
    with dkv.connect("exact") as store:
        diff = frame.vec.diff(store)
        assert (diff.counts["added"], len(diff.deleted)) == (3, 0)
        diff.apply()
        assert not frame.vec.diff(store)


def test_rows_of_another_kind_are_refused(frame):
    with frame.vec.push("exact") as store:
        with pytest.raises(dkv.SchemaError, match="ids are"):
            frame.set_axis(["a", "b", "c"]).vec.diff(store)
        with pytest.raises(dkv.SchemaError, match="column 'n'"):
            frame.assign(n=["x", "y", "z"]).vec.diff(store)


def test_a_view_shows_its_own_rows_only(frame):
    with frame.vec.push("exact") as store:
        mine = store.restricted(where="n >= 5")
        assert frame.dropna(subset="n").vec.diff(mine).counts[COUNTS].tolist() == [0, 0, 0, 0, 2]
        with pytest.raises(dkv.AccessDeniedError):
            frame.vec.diff(store.restricted(can={"read"}))


def test_a_vector_that_is_missing_is_like_no_other():
    stored = pa.chunked_array([pa.array([None, [0.0, 0.0]], pa.list_(pa.float32(), 2))])
    assert differing_vectors(np.zeros((2, 2), np.float32), stored, "float32").tolist() == [True, False]


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (pa.array(["a", None, "b"]).dictionary_encode(), pa.chunked_array([["a"], ["b", "b"]]), [False, True, False]),
        (pa.array([[1, 2], [3], None]), pa.array([[1, 2], [4], None]), [False, True, False]),
        (pa.array([{"a": 1.0}, {"a": float("nan")}]), pa.array([{"a": 1.0}, {"a": float("nan")}]), [False, False]),
        (pa.array([1, None]), pa.nulls(2), [True, False]),
        (pa.array([], pa.int64()), pa.chunked_array([], pa.int64()), []),
        (pa.array([0.0, 1.0]), pa.array([-0.0, float("nan")]), [False, True]),
    ],
    ids=["dictionary", "lists", "structs", "nulls", "nothing", "floats"],
)
def test_columns_of_every_kind_are_compared(one, other, differ):
    assert differing(one, other).tolist() == differ


@pytest.mark.usefixtures("local_postgres")
class TestPostgres:
    def test_precision_and_orphans(self, frame, postgres_url, table, sql):
        config = {"backend": "pgvector", "url": postgres_url, "table": table, "vector": {"dtype": "float16"}}
        frame = frame.assign(v=[[0.1, 0.2], [0.3, 1.0], [1 / 3, 0.7]])
        with frame.vec.push(config) as store:
            assert not frame.vec.diff(store)
            assert frame.assign(v=[[0.1, 0.21], [0.3, 1.0], [1 / 3, 0.7]]).vec.diff(store).changed.index.tolist() == [1]
            sql(
                f'ALTER TABLE "{table}" ALTER v DROP NOT NULL',
                f'INSERT INTO "{table}" (id, n) VALUES (70, 4), (80, 5)',
                f'UPDATE "{table}" SET v = NULL WHERE id = 2',
                "SELECT 1",
            )
            diff = frame.vec.diff(store)
            assert diff.counts[COUNTS].tolist() == [0, 1, 0, 2, 2]
            assert diff.orphaned["n"].sort_index().tolist() == [4, 5]
            assert diff.changed.index.tolist() == [2]
            diff.apply(delete=True)
            assert not frame.vec.diff(store)
            assert len(store) == 3

    def test_ids_of_several_columns(self, frame, postgres_url, table):
        frame = frame.set_index(pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["p", "q"]))
        with frame.iloc[:2].vec.push(postgres_url, table=table) as store:
            turned = frame.iloc[1:].reorder_levels(["q", "p"])
            diff = turned.vec.diff(store)
            assert diff.counts[COUNTS].tolist() == [1, 0, 1, 0, 1]
            diff.apply(delete=True)
            assert not turned.vec.diff(store)


def test_versions_that_do_not_serve_are_compared_where_the_frame_has_them():
    frame = pd.DataFrame({"t": ["a", "bb", "ccc"], "v": list(np.eye(3, dtype="f4"))}, index=["x", "y", "z"])
    beyond = pd.DataFrame({"t": ["d", None], "v": list(np.eye(3, dtype="f4")[:2])}, index=["m", "n"])
    with frame.vec.push("exact") as store:
        store.upsert(beyond)
        store.reembed(lambda texts: [[len(one), 1.0] for one in texts], "v2", text="t")
        assert not pd.concat([frame, beyond]).vec.diff(store)
        found = frame.vec.diff(store)
        # the row without a text has no vector of the version, and is found by the one that serves all the same
        assert (found.deleted.index.tolist(), found.orphaned.index.tolist()) == (["m", "n"], [])
        both = frame.assign(v_v2=[[1.0, 1.0], [2.0, 1.0], [9.0, 1.0]])
        found = both.vec.diff(store)
        assert found.changes.to_dict() == {"t": {"z": False}, "v": {"z": False}, "v_v2": {"z": True}}
        assert found.apply(delete=True).deleted == 2
        assert not both.vec.diff(store)
        assert store.get(["z"], include_vectors=True)["v_v2"].iloc[0].tolist() == [9, 1]
