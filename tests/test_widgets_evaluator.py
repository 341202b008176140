"""Evaluator, without a browser: what is typed, what runs, what is told of a run."""

import asyncio
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dkvector as dkv
from dkvector.backends.faiss import FaissStore
from dkvector.evaluation.planned import Plan
from dkvector.evaluation.settings import told
from dkvector.widgets.specs import read_knobs, read_specs, written
from dkvector.widgets.steps import Steps

DIGITS = dkv.datasets.load_digits()
QUANTIZATIONS = st.sampled_from([None, "float16", "int8", "pq", "rabitq", "binary"])
SPECS = st.one_of(
    st.builds(dkv.Flat, QUANTIZATIONS),
    st.builds(dkv.HNSW, st.integers(2, 99), st.integers(1, 999), QUANTIZATIONS),
    st.builds(dkv.IVF, st.integers(1, 999) | st.just("auto"), QUANTIZATIONS),
)
KNOB = st.none() | st.integers(1, 9999)


@given(st.lists(SPECS, max_size=4, unique=True))
def test_indexes_are_read_as_they_are_written(specs):
    assert read_specs(written(specs)) == specs
    assert read_specs(written(specs, "dkv.")) == specs


@given(st.builds(dkv.Tuning, KNOB, KNOB, KNOB, st.booleans(), st.none() | st.booleans()))
def test_knobs_are_read_as_runs_tell_them(tuning):
    assert read_knobs(told(tuning)) == tuning


def test_a_list_of_values_is_a_grid():
    found = read_specs("HNSW(m=[8, 16], ef_construction=(40, 80)), flat")
    assert found == [
        dkv.HNSW(m=8, ef_construction=40),
        dkv.HNSW(m=8, ef_construction=80),
        dkv.HNSW(m=16, ef_construction=40),
        dkv.HNSW(m=16, ef_construction=80),
        dkv.Flat(),
    ]


@pytest.mark.parametrize(
    ("text", "problem", "place"),
    [
        ("Flat(), HSNW(m=8)", "did you mean 'hnsw'", 8),
        ("IVF(list=8)", "IVF has no 'list'; did you mean 'lists'", 0),
        ("HNSW(16)", "knobs have names: HNSW(m=…)", 5),
        ("HNSW(m=open('x'))", "a number, a text, or a list", 7),
        ("__import__('os').remove", "an index is written as", 0),
        ("HNSW(m=1)", "m must be a whole number of at least 2", 0),
        ("HNSW(m=16", "an index is written as HNSW", 9),
    ],
)
def test_what_can_not_be_read_is_pointed_at(text, problem, place):
    with pytest.raises(dkv.DkvectorError) as raised:
        read_specs(text)
    message, shown, arrow = str(raised.value).splitlines()
    assert problem in message
    assert shown.strip() == text
    assert arrow.index("^") - 2 == place


def evaluator(data=DIGITS, specs=None, **how):
    specs = [dkv.Flat(), dkv.IVF(lists=20)] if specs is None and data is DIGITS else specs
    return dkv.widgets.Evaluator(data, specs, **{"metric": "l2", "sweep": {"probes": [1, 4]}, "draw": 40} | how)


def test_the_code_measures_what_the_widget_does():
    queries, relevant = DIGITS.iloc[:30], pd.DataFrame({"query": [0, 1], "row": [10, 11]})
    shown = evaluator(queries=queries, where="digit > 3", by="digit", relevant=relevant, name="digits")
    found = shown.run()
    names = {"dkv": dkv, "digits": DIGITS, "queries": queries, "relevant": relevant}
    again = eval(shown.code, names)  # noqa: S307 - our own code is what is tested
    same = ["backend", "index", "tuning", "k", "where", "recall", "ndcg", "matching"]
    pd.testing.assert_frame_equal(again.runs[same], found.runs[same])
    assert shown.value is found.runs
    assert found.complete
    assert found.slices().columns[4] == "where"


def test_knobs_without_values_are_tried_over_a_usual_range_where_an_index_has_them():
    shown = evaluator(specs=[dkv.HNSW(), dkv.IVF()])
    assert "sweep={'ef_search': [16, 32, 64, 128, 256], 'probes': [1, 4]}" in shown.code
    shown.sweep = {"ef_search": [8]}
    assert "sweep={'probes': [1, 4, 16, 64], 'ef_search': [8]}" in shown.code
    shown.indexes = {"faiss": "HNSW()"}
    assert "sweep={'ef_search': [8]}" in shown.code
    shown.sweep = {}
    assert "sweep" not in shown.code


def test_open_stores_are_measured_as_they_are_and_some_may_be_left_out():
    stores = {name: DIGITS.vec.push("faiss", index=dkv.IVF(lists=n), metric="l2") for name, n in (("a", 4), ("b", 40))}
    shown = evaluator(stores, name="stores", metric=None, draw=30)
    assert shown.code.startswith("dkv.evaluate(stores, queries=30, k=10, sweep=")
    shown.chosen = ["b"]
    assert shown.code.startswith("dkv.evaluate({'b': stores['b']}, queries=30")
    shown.run()
    assert shown.value[["backend", "index", "tuning"]].to_numpy().tolist() == [
        ["b", "IVF(lists=40)", "probes=1"],
        ["b", "IVF(lists=40)", "probes=4"],
    ]
    shown.selection = 1
    assert shown.config["ivf_nlist"] == 40
    for store in stores.values():
        store.close()


def test_a_run_tells_its_config_and_its_worst_queries():
    shown = evaluator()
    found = shown.run()
    shown.selection = 1
    assert shown.config == {
        "backend": "faiss",
        "index_type": "IVF",
        "ivf_nlist": 20,
        "metric": "euclidean",
        "dimension": 64,
        "tuning": {"probes": 1},
    }
    with dkv.connect(shown.config) as store:
        store.upsert(DIGITS)
        assert store.indexes()["embedding"] == dkv.IVF(lists=20)
    each = found.queries[found.queries["run"] == 1]
    assert shown.worst["recall"].tolist() == sorted(each["recall"])[:10]
    assert set(shown.worst.index) <= set(each["query"])
    shown.selection = None
    with pytest.raises(dkv.NotFoundError, match="no run is selected"):
        _ = shown.config


def test_a_password_shows_nowhere():
    shown = evaluator(specs={"postgresql://ann:secret@db.example/words": [dkv.HNSW()]})
    assert "postgresql://ann@db.example/words" in shown.code
    assert "secret" not in str(shown.get_state()) + repr(shown) + str(shown._repr_mimebundle_())


def test_what_can_not_be_read_is_shown_and_raised():
    shown = evaluator()
    shown.indexes = {"faiss": "HSNW()"}
    assert "did you mean 'hnsw'" in shown.indexes_error["faiss"]
    assert shown.code == ""
    with pytest.raises(dkv.SchemaError, match="hnsw"):
        shown.run()
    shown.indexes = {"faiss": "IVF(lists=8)"}
    shown.where = "digt > 3"
    assert shown.where_error == "no column 'digt'; did you mean 'digit'?"
    with pytest.raises(dkv.FilterError, match="digit"):
        shown.run()
    assert shown.error.startswith("FilterError")
    shown.where = ""
    shown.chosen = []
    with pytest.raises(dkv.SchemaError, match="nothing is chosen"):
        shown.run()
    assert shown.error.startswith("SchemaError: nothing is chosen")


def test_a_run_that_fails_is_a_row_with_its_error():
    shown = evaluator(specs={"faiss": [dkv.HNSW(quantization="int4")], "exact": [dkv.Flat()]})
    shown.run()
    assert shown.status == "6 runs, 5 failed"
    assert shown.value["error"].str.len().gt(0).tolist() == [*[True] * 5, False]
    shown.selection = 0
    assert shown.config == {}
    assert [bool(row["error"]) for row in shown._runs["rows"]] == [*[True] * 5, False]


@pytest.fixture
def gate(monkeypatch):
    """Hold every build of an index until it is let through."""
    opened = threading.Event()
    build = FaissStore.build_index

    async def held(self, *args, **kwargs):
        assert opened.wait(30)
        return await build(self, *args, **kwargs)

    monkeypatch.setattr(FaissStore, "build_index", held)
    yield opened
    opened.set()


async def until(true):
    for _ in range(3000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


async def test_runs_arrive_while_the_loop_stays_free_and_a_stop_keeps_what_is_finished(gate, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []
    shown = evaluator(specs=[dkv.IVF(lists=8), dkv.IVF(lists=9)])
    shown.observe(lambda change: seen.append(change.new), "value")
    shown.start()
    await asyncio.sleep(0)
    assert shown.busy
    with pytest.raises(dkv.SchemaError, match="already"):
        shown.run()
    gate.set()
    await until(lambda: any(one is not None for one in seen))
    shown.stop()
    found = await shown.done()
    assert not shown.busy
    assert not found.complete
    assert 1 <= len(shown.value) < 4
    assert shown.status.endswith("stopped")
    assert list(tmp_path.iterdir()) == []
    shown.start()
    found = await shown.done()
    assert found.complete
    assert len(shown.value) == 4
    assert [len(one) for one in seen[-5:]] == [1, 2, 3, 4, 4]


def test_runs_that_the_page_started_are_given_back_to_it_to_write_once_they_are_done():
    shown = evaluator(specs=[dkv.IVF(lists=8)])
    shown.run()
    assert shown._noticed == 0
    shown._heard(None, {"do": "start"}, [])
    assert (shown._noticed, shown.busy) == (1, False)
    shown.run()
    assert shown._noticed == 1


def test_an_interrupt_keeps_what_is_finished_and_leaves_no_store_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shown = evaluator()

    def interrupted(_):
        if shown.value is not None and len(shown.value) == 2:
            raise KeyboardInterrupt

    shown.observe(interrupted, "progress")
    with pytest.raises(KeyboardInterrupt):
        shown.run()
    assert shown.value["tuning"].tolist() == ["", "probes=1"]
    assert not shown.evaluation.complete
    assert shown.status == "2 runs, stopped"
    assert not shown.busy
    assert list(tmp_path.iterdir()) == []


async def test_an_error_on_the_way_is_shown_and_raised_to_who_waits():
    broken = DIGITS.assign(embedding=[np.full(64, np.nan), *DIGITS["embedding"].iloc[1:]])
    shown = evaluator(broken, [dkv.Flat()], queries=DIGITS["embedding"].iloc[:3])
    shown.start()
    with pytest.raises(dkv.VectorError, match="NaN"):
        await shown.done()
    assert shown.error.startswith("VectorError")
    assert not shown.busy


async def test_steps_end_between_two_and_close_what_they_opened():
    closed, told = [], []

    def work():
        try:
            yield from range(100)
        finally:
            closed.append(threading.current_thread().name)

    steps = Steps(lambda one: told.append(one) or (one == 2 and steps.stop()), lambda *how: told.append(how))
    steps.start(work)
    await steps.done()
    assert told == [0, 1, 2, (None, True)]
    assert closed[0].startswith("dkvector-steps")


def test_what_is_left_where_no_kernel_runs_is_a_picture_and_a_table():
    shown = evaluator()
    shown.run()
    bundle = shown._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "data:image/png;base64," in data["text/html"]
    assert "IVF(lists=20)" in data["text/html"]
    assert data["text/plain"] == f"<Evaluator: {shown.code}; 3 runs>"


@pytest.mark.parametrize("values", ["many", [2.5], [0], None], ids=str)
def test_values_of_a_knob_are_counts(values):
    with pytest.raises(dkv.SchemaError, match="probes must be a whole number of at least 1"):
        evaluator(sweep={"probes": values})


def test_a_loop_that_ends_leaves_nothing_busy():
    shown = evaluator(specs=dkv.Flat())

    async def begun():
        shown.start()
        await asyncio.sleep(0)

    asyncio.run(begun())
    assert (shown.busy, shown.status) == (False, "0 runs, stopped")
    assert len(shown.run().runs) == 1


def test_a_loop_that_ended_brings_no_rows_of_its_own_into_the_next_run(monkeypatch):
    shown, real, threads = evaluator(specs=dkv.Flat()), Plan.read, []
    entered, late = threading.Event(), threading.Event()

    def read(plan):
        threads.append(threading.current_thread())
        if len(threads) == 1:
            entered.set()
            late.wait(10)
        return real(plan)

    def after_the_other(outcome):
        late.set()
        threads[0].join()
        arrived(outcome)

    async def begun():
        shown.start()
        await asyncio.sleep(0)

    monkeypatch.setattr(Plan, "read", read)
    asyncio.run(begun())
    assert entered.wait(10)
    arrived, shown._steps._step = shown._arrived, after_the_other
    assert len(shown.run().runs) == 1
