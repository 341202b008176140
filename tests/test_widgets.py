"""The widgets' models, without a browser."""

import asyncio
import datetime as dt
import time
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv
from dkvector.widgets.question import ids_of, label_of, vector_of

LETTERS = "abcdefgh"


def encode(texts):
    return [[text.count(letter) + 0.01 for letter in LETTERS] for text in texts]


@pytest.fixture
def store():
    names = ["abba", "bad", "cab", "dad", "face", "gag", "head"]
    frame = pd.DataFrame({"size": [len(n) for n in names], "v": encode(names)}, index=pd.Index(names, name="name"))
    return frame.vec.push("exact", encoder=encode)


@pytest.mark.parametrize(
    "asked",
    [
        {"query": "bed"},
        {"query": "dad", "by": "row", "where": "size > 3"},
        {"query": encode(["gag"])[0]},
        {"query": "bed", "metric": "euclidean"},
    ],
)
def test_the_code_gives_the_value_again(store, asked):
    explorer = dkv.widgets.Explorer(store, k=3, **asked)
    again = eval(explorer.code, {"store": store, "dkv": dkv, "pd": pd})  # noqa: S307 - our own code is what is tested
    pd.testing.assert_frame_equal(again, explorer.value)
    explorer.less_like(explorer.value.index[0])
    again = eval(explorer.code, {"store": store, "dkv": dkv, "pd": pd})  # noqa: S307
    pd.testing.assert_frame_equal(again, explorer.value)
    assert explorer.less[0] not in again.index


def test_less_like_a_row_is_a_blend(store):
    explorer = dkv.widgets.Explorer(store, query="dad", by="row", k=3)
    explorer.less_like("bad")
    assert explorer.code == "store.search(dkv.Blend(like='dad', unlike=['bad'], away=0.5), k=3)"
    pd.testing.assert_frame_equal(explorer.value, store.search(dkv.Blend(like="dad", unlike="bad", away=0.5), k=3))
    assert not {"dad", "bad"} & set(explorer.value.index)


@pytest.mark.parametrize("own", [True, False], ids=["the store's encoder", "an encoder of its own"])
def test_words_find_no_row_that_is_not_wanted(own):
    frame = pd.DataFrame({"word": ["a cab", "a bad cab", "a face"]}, index=["x", "y", "z"])
    frame["v"] = encode(frame["word"])
    with frame.vec.push("exact", encoder=encode if own else None) as store:
        explorer = dkv.widgets.Explorer(store, None if own else encode, query="cab", by="words", k=3)
        explorer.less_like("x")
        assert sorted(explorer.value.index) == ["y", "z"]
        names = {"store": store, "dkv": dkv, "encoder": encode}
        pd.testing.assert_frame_equal(eval(explorer.code, names), explorer.value)  # noqa: S307 - our own code


def test_an_error_is_shown_and_raised_by_run(store):
    explorer = dkv.widgets.Explorer(store, query="nobody", by="row")
    assert explorer.error.startswith("NotFoundError")
    with pytest.raises(dkv.NotFoundError, match="nobody"):
        explorer.run()


def test_a_click_on_rows_that_are_no_longer_shown_does_nothing(store):
    explorer = dkv.widgets.Explorer(store, query="dad", by="row", k=2)
    shown = explorer.value.index.tolist()
    click = {"do": "right", "at": 0, "label": "gag"}
    explorer._told(None, click, [])
    assert explorer.relevance.empty
    explorer._told(None, click | {"label": shown[0]}, [])
    assert explorer.relevance["row"].tolist() == [shown[0]]
    explorer._told(None, {"do": "more", "at": 1, "label": shown[1]}, [])
    assert (explorer.query, explorer.by) == (shown[1], "row")


def test_what_a_button_did_is_given_back_to_the_page_to_write(store):
    explorer = dkv.widgets.Explorer(store, query="dad", by="row", k=2)
    explorer.query = "gag"
    assert explorer._noticed == 0
    explorer._told(None, {"do": "complete", "label": "g"}, [])
    assert explorer._noticed == 0
    explorer._told(None, {"do": "more", "at": 0, "label": explorer.value.index[0]}, [])
    assert explorer._noticed == 1


def test_what_is_selected_is_labels_and_those_out_of_sight_stay(store):
    explorer = dkv.widgets.Explorer(store, query="dad", by="row", k=2)
    first, second = explorer.value.index
    explorer.selection = ["gag", second]
    assert explorer._selected == [1]
    for at, row in enumerate([first, second]):
        explorer._told(None, {"do": "select", "at": at, "label": row}, [])
    assert (explorer.selection, explorer._selected) == (["gag", first], [0])
    explorer.query = "gag"
    explorer._told(None, {"do": "select", "at": 0, "label": first}, [])  # pressed before the page showed other rows
    assert explorer.selection == ["gag", first]
    explorer._told(None, {"do": "clear"}, [])
    assert explorer.selection == []


async def test_a_cell_reads_what_it_caused(store):
    explorer = dkv.widgets.Explorer(store, query="face", k=2)
    explorer.query = "gag"
    assert explorer.busy
    assert explorer.value.index[0] == "gag"
    assert explorer.code == "store.search(text='gag', k=2)"
    explorer.query = "bad"
    explorer.judge("bad", relevant=True)
    explorer.query, explorer.by = "nobody", "row"
    assert explorer.error.startswith("NotFoundError")
    explorer.judge("dad", relevant=False)
    told = explorer.relevance.to_numpy().tolist()
    assert told == [["bad", "bad", True], ["bad", "dad", False]]
    explorer.by = "text"
    sent = explorer.get_state()
    assert sent["busy"]
    assert explorer._latest.busy, "the front end is told what stands, and kept waiting for nothing"
    assert explorer.value is not None
    assert not explorer.busy


async def test_the_loop_stays_free_and_the_newest_question_wins(store):
    store.encoder = lambda texts: (time.sleep(0.2), encode(texts))[1]
    explorer = dkv.widgets.Explorer(store)
    explorer.query = "face"
    ticks = 0
    await asyncio.sleep(0)
    explorer.query = "gag"
    while explorer._latest.busy:
        await asyncio.sleep(0.01)
        ticks += 1
    assert explorer.value.index[0] == "gag"
    assert ticks > 10


def test_labels_and_vectors_are_read_as_they_are_typed(store):
    assert label_of("dad", store.schema.id) == "dad"
    np.testing.assert_array_equal(vector_of("array([1, 2.5])"), np.float32([1, 2.5]))
    with pytest.raises(dkv.VectorError, match="numbers"):
        vector_of("[a]")


@pytest.mark.parametrize(
    "label",
    [
        UUID(int=7),
        pd.Timedelta("4 days 3s"),
        dt.time(1, 3, 0, 5),
        b"b'\x00",
        dt.date(2024, 5, 1),
        pd.Timestamp("2024-05-01 02:00:00.000000007", tz="Europe/Berlin"),
        Decimal("0.75"),
        0.1,
        " a",
    ],
    ids=lambda label: type(label).__name__,
)
def test_a_row_is_asked_for_whatever_its_label_is(label):
    index = pd.Index([label])
    store = pd.DataFrame({"v": [[1.0, 0.0]]}, index=index).vec.push("exact")
    explorer = dkv.widgets.Explorer(store, by="row")
    explorer.more_like(index[0])
    assert explorer.error == ""
    assert label_of(str(index[0]), store.schema.id) == index[0]
    parts = pd.MultiIndex.from_arrays([index, ["x"]])
    if not isinstance(label, dt.date | dt.time) or isinstance(
        label, pd.Timestamp
    ):  # which are printed by several numbers
        assert label_of(str(parts[0]), ids_of(parts)) == parts[0]


def test_judgements_both_ways_are_what_evaluate_takes(store):
    explorer = dkv.widgets.Explorer(store, query="dad", by="row", k=2)
    explorer.judge("dad", relevant=True)
    explorer.judge("gag", relevant=False)
    frame = pd.concat(store.scan(include_vectors=True))
    queries = pd.DataFrame({"v": [frame.loc["dad", "v"]]}, index=["dad"])
    how = {"repeats": 0, "cache": False, "exclude_self": False, "relevant": explorer.relevance}
    found = dkv.evaluate(frame, {"exact": [dkv.Flat()]}, queries, k=2, **how)
    assert found.runs["relevant_recall"][0] == 1


@pytest.mark.parametrize("change", [{"query": "cab"}, {"where": "size > 3"}, {"k": 2}], ids=str)
def test_a_store_that_was_closed_is_told_where_it_is_asked(change):
    store = pd.DataFrame({"size": [1, 2], "v": encode(["cab", "dad"])}, index=["cab", "dad"]).vec.push("faiss")
    explorer = dkv.widgets.Explorer(store, query="dad", by="row")
    shown = dkv.widgets.Map(store, method="pca", query="dad", by="row")
    store.close()
    for widget in (explorer, shown):
        for name, value in change.items():
            setattr(widget, name, value)
        assert widget.error.startswith("BackendUnavailableError: this faiss store was closed")
        assert not widget.busy
        with pytest.raises(dkv.BackendUnavailableError):
            widget.run()


async def test_who_may_search_and_not_read_is_offered_no_rows(store):
    explorer = dkv.widgets.Explorer(store.restricted(can="search"), query="dad", by="row")
    assert explorer.value.index[0] != "dad"
    explorer._told(None, {"do": "complete", "label": "a"}, [])
    await explorer._rows._task
    assert explorer._offered == {"begun": "a", "labels": []}


def test_knobs_and_the_metric_are_taken_as_search_takes_them(store):
    explorer = dkv.widgets.Explorer(store, query="dad", by="row", metric=None, tuning=dkv.Tuning(exact=True))
    assert explorer.code == "store.search(like='dad', k=10, tuning={'exact': True})"
    explorer = dkv.widgets.Explorer(store, query="dad", by="row", metric=dkv.DistanceMetric.EUCLIDEAN)
    assert explorer.code == "store.search(like='dad', k=10, metric='euclidean')"
