"""Evaluation: the recall that plain NumPy counts, runs that fail as rows, interrupts and what is kept."""

import asyncio
import dataclasses
import errno
import gc
import io
import tempfile
import threading

import numpy as np
import orjson
import pandas as pd
import pytest

import dkvector as dkv
from dkvector.backends.faiss import FaissStore
from dkvector.evaluation import bench, building, checkpoint, timing
from dkvector.evaluation.settings import read_wheres, tunings

DIGITS = dkv.datasets.load_digits()
WORDS = dkv.datasets.load_wordnet().drop(columns="lemmas").iloc[::4]
SENTENCES = dkv.datasets.load_wordnet_queries().head(80)
# Rows as near as each other, rows that come twice, and queries that are rows of the data.
TWICE = pd.concat([DIGITS, DIGITS.iloc[:300].set_axis(range(10_000, 10_300))])
QUICK = {"repeats": 0, "cache": False, "progress": False}


def plain_recall(frame, queries, answers, k, metric, keep=None):
    """Recall by distance as one would write it down: without ourselves, at most k, each row once."""
    matrix = np.stack(frame["embedding"].tolist()).astype("f8")
    shares = []
    for label, vector in queries.items():
        difference = matrix - np.asarray(vector, "f8")
        cosine = matrix @ vector / np.linalg.norm(matrix, axis=1) / np.linalg.norm(vector)
        far = pd.Series(1 - cosine if metric == "cosine" else np.sqrt((difference**2).sum(axis=1)), frame.index)
        far = far if keep is None else far[keep]
        far = far.drop(label, errors="ignore")
        want = min(k, len(far))
        kth = np.sort(far)[want - 1]
        found = [one for one in dict.fromkeys(answers[label]) if one in far.index][:k]
        shares.append(sum(far[one] <= kth + 1e-6 for one in found) / want)
    return shares


def answers_of(store, queries, k, **how):
    """What a store answers to each query, asked one by one, without the query's own row."""
    found = {label: store.search(vector, k + 1, columns=[], **how).index.tolist() for label, vector in queries.items()}
    return {label: [one for one in rows if one != label][:k] for label, rows in found.items()}


@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("probes", [1, 3])
def test_recall_on_digits_with_ties_duplicates_and_queries_that_are_rows(k, probes):
    queries = TWICE["embedding"].iloc[::23]
    with TWICE.vec.push("faiss", index=dkv.IVF(lists=40), metric="l2") as store:
        found = dkv.evaluate(store, None, queries, k, sweep=[{"probes": probes}], repeats=1, clients=0, cache=False)
        answers = answers_of(store, queries, k, tuning={"probes": probes})
    expected = plain_recall(TWICE, queries, answers, k, "euclidean")
    assert 0.2 < np.mean(expected) < 1
    np.testing.assert_allclose(found.queries["recall"], expected)
    assert found.runs["recall"][0] == pytest.approx(np.mean(expected))
    assert found.queries["query"].tolist() == queries.index.tolist()


@pytest.mark.parametrize("where", [None, "depth > 8", "depth > 14"])
def test_recall_on_words_with_a_filter_and_fewer_rows_than_k(where):
    queries = SENTENCES["embedding"]
    keep = np.ones(len(WORDS), bool) if where is None else WORDS.eval(where).to_numpy()
    tuning = {"probes": 2, "exact": False}
    with WORDS.vec.push("faiss", index=dkv.IVF(lists=100), columns=["depth"]) as store:
        found = dkv.evaluate(store, None, queries, 50, where=where, sweep=[tuning], repeats=1, clients=0, cache=False)
        answers = {one: store.search(v, 50, where=where, tuning=tuning).index.tolist() for one, v in queries.items()}
    expected = plain_recall(WORDS, queries, answers, 50, "cosine", keep)
    np.testing.assert_allclose(found.queries["recall"], expected)
    row = found.runs.iloc[0]
    assert (row["matching"], row["selectivity"]) == (keep.sum(), keep.mean())
    assert row["shortfall"] == sum(min(50, keep.sum()) - len(rows) for rows in answers.values())


def test_the_distances_that_an_engine_tells_are_not_believed(monkeypatch):
    queries = DIGITS["embedding"].iloc[::50]
    with DIGITS.vec.push("faiss", index=dkv.IVF(lists=40), metric="l2") as store:
        honest = dkv.evaluate(store, None, queries, 5, sweep=[{"probes": 1}], **QUICK)
        search = FaissStore._search

        async def lying(self, request):
            hits, told = await search(self, request)
            return dataclasses.replace(hits, distances=hits.distances * 0), told

        monkeypatch.setattr(FaissStore, "_search", lying)
        lying = dkv.evaluate(store, None, queries, 5, sweep=[{"probes": 1}], **QUICK)
    assert honest.queries["recall"].mean() < 1
    pd.testing.assert_series_equal(lying.queries["recall"], honest.queries["recall"])


def test_rows_that_the_filter_forbids_do_not_count(monkeypatch):
    search = FaissStore._search

    async def unfiltered(self, request):
        return await search(self, dataclasses.replace(request, where=None))

    monkeypatch.setattr(FaissStore, "_search", unfiltered)
    with DIGITS.vec.push("faiss", metric="l2") as store:
        found = dkv.evaluate(store, None, 30, 5, where="digit < 5", **QUICK)
        answers = answers_of(store, DIGITS.loc[found.queries["query"], "embedding"], 5)
    allowed = [sum(DIGITS.loc[rows, "digit"] < 5) / 5 for rows in answers.values()]
    assert 0.2 < np.mean(allowed) < 0.8
    assert found.runs["recall"][0] == pytest.approx(np.mean(allowed))


def test_a_store_with_other_rows_finds_none_of_ours():
    other = DIGITS.set_axis(DIGITS.index + 100_000)
    stores = {"ours": DIGITS.vec.push("exact", metric="l2"), "others": other.vec.push("exact", metric="l2")}
    found = dkv.evaluate(stores, None, 20, 5, **QUICK)
    assert found.runs.set_index("backend")["recall"].to_dict() == {"ours": 1.0, "others": 0.0}


@pytest.fixture(scope="module")
def words():
    return dkv.evaluate(
        WORDS,
        {"faiss": [dkv.Flat(), dkv.IVF(lists=64), dkv.IVF(lists=64, quantization="int8")], "exact": dkv.Flat()},
        SENTENCES,
        k=[5, 10],
        sweep={"probes": [1, 4, 16]},
        where=[None, "depth > 6"],
        by=["pos", "lexname"],
        relevant=SENTENCES["name"].where(SENTENCES["name"].isin(WORDS.index)),
        repeats=1,
        warmup=5,
        clients=0,
        cache=False,
        progress=False,
    )


def test_there_is_a_row_for_every_index_tuning_filter_and_k(words):
    runs = words.runs
    assert len(runs) == (1 + 3 + 3 + 1) * 2 * 2
    assert runs.index.name == "run"
    assert (runs["error"] == "").all()
    assert runs.groupby(["backend", "index"]).size().to_dict() == {
        ("exact", "Flat()"): 4,
        ("faiss", "Flat()"): 4,
        ("faiss", "IVF(lists=64)"): 12,
        ("faiss", "IVF(lists=64, quantization='int8')"): 12,
    }
    assert runs.attrs == words.queries.attrs == {}


def test_figures_are_in_order(words):
    runs = words.runs
    assert (runs["recall_low"] <= runs["recall"]).all()
    assert (runs["recall"] <= runs["recall_high"]).all()
    assert (runs["p50_ms"] <= runs["p95_ms"]).all()
    assert (runs["p95_ms"] <= runs["p99_ms"]).all()
    assert (runs[["qps", "qps_batch", "p50_ms"]] > 0).all(axis=None)
    assert (runs.loc[runs["index"] == "Flat()", "recall"] == 1).all()
    ivf = runs[(runs["index"] == "IVF(lists=64)") & (runs["where"] == "") & (runs["k"] == 10)]
    assert ivf["recall"].is_monotonic_increasing
    assert ivf["recall"].iloc[0] < 0.8 < ivf["recall"].iloc[2]
    assert runs["engine"].str.startswith(("Faiss ", "NumPy ")).all()
    small = runs[runs["index"].str.contains("int8")]["index_bytes"]
    assert small.max() < 0.3 * ivf["index_bytes"].iloc[0]


def test_what_compares_every_row_is_not_sold_as_an_index(words):
    runs = words.runs
    assert (runs.loc[runs["index"] != "Flat()"].query("where == ''")["index_used"] == 1).all()
    exact = runs[runs["plan"].str.startswith("exact")]
    assert (exact["index_used"] == 0).all()
    assert (exact["recall"] == 1).all()
    assert "Flat()" in set(exact["index"])


def test_an_index_that_the_store_does_not_use_for_a_rare_filter_is_told():
    where = ["depth > 0", "depth > 13"]
    found = dkv.evaluate(WORDS, dkv.IVF(lists=64), SENTENCES.head(5), where=where, sweep=[], repeats=1, clients=0)
    assert found.runs["index_used"].tolist() == [1, 0]
    assert found.runs["plan"][1].startswith("exact over ")


def test_quality_by_judgement_is_counted_too(words):
    flat = words.runs[(words.runs["index"] == "Flat()") & (words.runs["where"] == "") & (words.runs["k"] == 10)].iloc[0]
    known = SENTENCES[SENTENCES["name"].isin(WORDS.index)]
    found = WORDS.vec.search(known["embedding"], 10, columns=[])
    rank = found[found.index == found["query"].map(known["name"])].set_index("query")["rank"].reindex(known.index)
    assert flat["relevant_recall"] == pytest.approx(rank.notna().mean())
    assert flat["mrr"] == pytest.approx((1 / rank).fillna(0).mean())
    assert flat["ndcg"] == pytest.approx((1 / np.log2(rank + 1)).fillna(0).mean())


def test_slices_add_up_to_the_whole(words):
    run = int(words.runs.index[words.runs["index"] == "IVF(lists=64)"][0])
    slices = words.slices("pos")
    some = slices[slices["run"] == run]
    assert some["queries"].to_dict() == dict(zip(some.index, SENTENCES["pos"].value_counts()[some["pos"]], strict=True))
    assert np.average(some["recall"], weights=some["queries"]) == pytest.approx(words.runs["recall"][run])
    assert some["recall"].is_monotonic_increasing
    with pytest.raises(dkv.SchemaError, match="name the column of the slices"):
        words.slices()
    with pytest.raises(dkv.NotFoundError, match="no slice 'po'; did you mean 'pos'"):
        words.slices("po")


def test_queries_of_no_known_group_are_a_group_too():
    kinds = DIGITS.assign(kind=DIGITS["digit"].map({0: "round", 1: "straight"}))
    found = dkv.evaluate(kinds, dkv.Flat(), 100, metric="l2", by="kind", **QUICK)
    slices = found.slices().set_index("kind")["queries"]
    assert slices.sum() == 100
    assert slices[slices.index.isna()].tolist() == [(~found.queries["kind"].isin(["round", "straight"])).sum()]


def test_the_hardest_queries_come_with_what_is_known_of_them(words):
    hard = words.hardest(5)
    assert hard["recall"].is_monotonic_increasing
    assert hard["query"].tolist() == SENTENCES.loc[hard.index, "query"].tolist()
    used = words.runs.index[words.runs["index_used"] > 0]
    means = words.queries[words.queries["run"].isin(used)].groupby("query")["recall"].mean()
    assert hard["recall"].iloc[0] == means.min()
    one = words.hardest(3, run=int(used[0]))
    assert (one["runs"] == 1).all()


def test_queries_of_one_label_are_one_of_the_hardest():
    twice = pd.concat([DIGITS.head(20), DIGITS.iloc[20:40].set_axis(range(20))])
    found = dkv.evaluate(DIGITS, dkv.IVF(lists=20), twice, sweep=[{"probes": 1}], exclude_self=False, **QUICK)
    assert found.hardest(4).index.is_unique
    assert len(found.hardest(4)) == 4


def test_a_store_without_the_vectors_that_are_measured_says_so():
    stores = {"ours": DIGITS.vec.push("exact"), "other": DIGITS.rename(columns={"embedding": "v"}).vec.push("exact")}
    errors = dkv.evaluate(stores, None, 20, **QUICK).runs["error"].tolist()
    assert errors[0] == ""
    assert errors[1].startswith("NotFoundError: no vector field 'embedding'")


def test_the_frontier_holds_what_nothing_beats(words):
    frontier = words.frontier()
    for (k, where), group in words.runs.groupby(["k", "where"]):
        kept = frontier[(frontier["k"] == k) & (frontier["where"] == where)]
        for run, row in group.iterrows():
            beaten = ((group["recall"] >= row["recall"]) & (group["qps"] > row["qps"])).any() or (
                (group["recall"] > row["recall"]) & (group["qps"] >= row["qps"])
            ).any()
            assert beaten != (run in kept.index)


def test_the_best_run_is_sure_of_its_recall(words):
    best = words.best(0.85, where="")
    good = words.runs[(words.runs["recall_low"] >= 0.85) & (words.runs["where"] == "")]
    assert best["qps"] == good["qps"].max()
    assert words.best(0.5, by="p50_ms")["p50_ms"] == words.runs[words.runs["recall_low"] >= 0.5]["p50_ms"].min()
    with pytest.raises(dkv.NotFoundError, match=r"no run reaches recall 1\.1"):
        words.best(1.1)
    with pytest.raises(dkv.NotFoundError, match=r"with recall 0\.5 answers within 1e-09 ms; the quickest takes"):
        words.best(0.5, p95_ms=1e-9)
    with pytest.raises(dkv.NotFoundError, match="no filter 'depth > 66'; did you mean 'depth > 6'"):
        words.best(0.5, where="depth > 66")
    with pytest.raises(dkv.NotFoundError, match="no column 'qp'"):
        words.best(0.5, by="qp")
    with pytest.raises(dkv.SchemaError, match="no run has a qps_concurrent"):
        words.best(0.5, by="qps_concurrent")


def test_it_is_written_and_shown(words, tmp_path):
    words.to_parquet(tmp_path / "out")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "runs.parquet"), words.runs)
    assert len(pd.read_parquet(tmp_path / "out" / "queries.parquet")) == len(words.queries)
    assert "CPU" in orjson.loads((tmp_path / "out" / "environment.json").read_bytes())["environment"]
    assert repr(words).startswith("32 runs of 80 queries\n")
    assert "IVF(lists=64)" in words._repr_html_()


def test_what_fails_is_a_row_with_its_error_and_the_others_run():
    found = dkv.evaluate(
        DIGITS,
        {"exact": [dkv.HNSW(), dkv.Flat()]},
        10,
        metric="l2",
        sweep={"ef_search": [10, 20]},
        **QUICK,
    )
    assert found.runs["error"].tolist() == [
        "UnsupportedError: exact has no index 'hnsw'; it has auto, flat",
        "UnsupportedError: exact has no index 'hnsw'; it has auto, flat",
        "",
    ]
    assert found.runs["recall"].isna().tolist() == [True, True, False]
    assert repr(found).startswith("3 runs of 10 queries, 2 failed\n")
    assert len(found.done) == 1


def test_a_search_that_fails_is_a_row_too(monkeypatch):
    search = building.VectorStore.search

    def failing(self, *args, tuning=None, **more):
        if getattr(tuning, "probes", None) == 2:
            raise dkv.BackendUnavailableError("gone")
        return search(self, *args, tuning=tuning, **more)

    monkeypatch.setattr(building.VectorStore, "search", failing)
    found = dkv.evaluate(DIGITS, dkv.IVF(lists=20), 10, sweep={"probes": [1, 2, 3]}, metric="l2", **QUICK)
    assert found.runs["error"].tolist() == ["", "BackendUnavailableError: gone", ""]
    assert found.runs["build_s"].notna().all()


def test_an_interrupt_keeps_the_runs_that_were_finished(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run, calls = bench.run, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(*args)

    monkeypatch.setattr(bench, "run", interrupted)
    with pytest.warns(UserWarning, match="interrupted: these are the 2 runs that were finished"):
        found = dkv.evaluate(DIGITS, dkv.IVF(lists=20), 10, sweep={"probes": [1, 2, 3, 4]}, metric="l2", **QUICK)
    assert (len(found.runs), found.complete) == (2, False)
    assert "interrupted" in repr(found)
    assert list(tmp_path.iterdir()) == []  # the store is gone
    calls[:] = [1, 1]
    with pytest.raises(KeyboardInterrupt):
        dkv.evaluate(DIGITS, dkv.IVF(lists=20), 10, sweep={"probes": [1]}, metric="l2", **QUICK)


@pytest.fixture
def built(monkeypatch):
    calls = []
    build = building.VectorStore.build_index
    monkeypatch.setattr(
        building.VectorStore, "build_index", lambda self, *args, **more: calls.append(1) or build(self, *args, **more)
    )
    return calls


def test_finished_runs_are_not_measured_again(tmp_path, built):
    def ask(frame=DIGITS, probes=(1, 2), **more):
        given = {"sweep": {"probes": list(probes)}, "metric": "l2", "checkpoint": tmp_path / "runs", **QUICK, **more}
        return dkv.evaluate(frame, dkv.IVF(lists=20), 30, **given)

    first = ask()
    again = ask()
    assert len(built) == 1
    pd.testing.assert_frame_equal(again.runs, first.runs)
    pd.testing.assert_frame_equal(again.queries, first.queries)
    more = ask(probes=(1, 2, 3))
    assert len(built) == 2
    assert more.runs["recall"].tolist()[:2] == first.runs["recall"].tolist()
    assert len((tmp_path / "runs").read_bytes().splitlines()) == 3
    for other in ({"seed": 1}, {"k": 5}, {"where": "digit > 2"}, {"exclude_self": False}):
        ask(**other)
    ask(DIGITS.assign(embedding=dkv.VectorArray(np.stack(DIGITS["embedding"]) * np.float32(2))))
    assert len(built) == 7


def test_a_run_is_known_by_the_rows_that_its_filter_lets_through_and_comes_under_the_name_of_now(tmp_path):
    def ask(frame, where, **more):
        given = {"sweep": [{"probes": 2, "exact": False}], "metric": "l2", **QUICK, **more}
        return dkv.evaluate(frame, dkv.IVF(lists=20), 30, where=where, **given).runs

    kept, turned = {"checkpoint": tmp_path / "runs"}, DIGITS.assign(digit=9 - DIGITS["digit"])
    first, other = ask(DIGITS, {"high": "digit > 2"}, **kept), ask(turned, {"high": "digit > 2"}, **kept)
    assert first["matching"].tolist() == [(DIGITS["digit"] > 2).sum()]
    pd.testing.assert_series_equal(other["recall"], ask(turned, "digit > 2")["recall"])
    assert other["matching"].tolist() == [(turned["digit"] > 2).sum()]
    again = ask(DIGITS, {"three or more": "digit > 2"}, **kept)
    assert again["where"].tolist() == ["three or more"]
    pd.testing.assert_frame_equal(again.drop(columns="where"), first.drop(columns="where"))


def test_a_run_is_known_by_the_place_of_its_store_but_not_by_its_password(tmp_path, built):
    for target in (f"faiss:{tmp_path}/one", f"faiss:{tmp_path}/other", f"faiss:{tmp_path}/one"):
        dkv.evaluate(DIGITS, {target: dkv.Flat()}, 5, metric="l2", checkpoint=tmp_path / "runs", **QUICK)
    assert len(built) == 2
    one, same, other = (bench._place(f"postgresql://ann:{word}@{host}/db") for word, host in ("ax", "bx", "ay"))
    assert one == same != other
    assert bench._place(None) == ()


def test_a_run_of_several_open_stores_is_known_by_what_each_of_them_holds(tmp_path):
    given = {"metric": "l2", "checkpoint": tmp_path / "runs", **QUICK}
    with DIGITS.vec.push("exact", metric="l2") as whole, DIGITS.vec.push("exact", metric="l2") as other:
        before = dkv.evaluate({"whole": whole, "other": other}, None, 50, **given).runs
        other.delete(where="digit > 2")
        after = dkv.evaluate({"whole": whole, "other": other}, None, 50, **given).runs
    assert before["recall"].tolist() == [1, 1]
    assert after["recall"].iloc[0] == 1
    assert after["recall"].iloc[1] < 0.7


def test_an_open_store_is_measured_with_its_own_knobs_and_by_the_metric_that_is_asked_for(tmp_path):
    given = {"sweep": [], "checkpoint": tmp_path / "runs", **QUICK}
    with DIGITS.vec.push("faiss", index=dkv.IVF(lists=40), metric="l2") as store:
        found = []
        for probes in (1, 40):
            store.tuning = dkv.Tuning(probes=probes, exact=False)
            found.append(dkv.evaluate(store, None, 50, **given).runs.iloc[0])
    assert [one["tuning"] for one in found] == ["probes=1, exact=False", "probes=40, exact=False"]
    assert found[0]["recall"] < 0.95 < found[1]["recall"] == 1
    by_angle = {"exact": DIGITS.vec.push("exact"), "faiss": DIGITS.vec.push("faiss")}
    runs = dkv.evaluate(by_angle, None, 50, metric="l2", **QUICK).runs
    # the one measures by any metric, the other says that it can't
    assert runs["recall"].tolist()[:1] == [1]
    assert runs["error"].str.partition(":")[0].tolist() == ["", "UnsupportedError"]


def test_a_run_that_can_not_be_kept_is_not_lost(tmp_path, monkeypatch):
    path = tmp_path / "runs"

    class Full(io.FileIO):
        def write(self, line):
            super().write(line[:50])
            raise OSError(errno.ENOSPC, "no space left on device")

    class OfFullDisk(type(path)):
        def open(self, mode):
            return Full(self, mode) if mode == "ab" else super().open(mode)

    def ask(*probes):
        given = {"sweep": {"probes": list(probes)}, "metric": "l2", "checkpoint": path, **QUICK}
        return dkv.evaluate(DIGITS, dkv.IVF(lists=20), 20, **given).runs

    ask(1)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "Path", OfFullDisk)
        with pytest.warns(UserWarning, match=r"a run is not kept, as .*runs can't be written to: .*no space left"):
            runs = ask(1, 2, 3)
    assert runs["error"].tolist() == [""] * 3
    assert runs["recall"].is_monotonic_increasing
    assert path.read_bytes() == before  # not with half a line
    with pytest.raises(OSError, match="Is a directory"):
        dkv.evaluate(DIGITS, dkv.Flat(), 20, metric="l2", checkpoint=tmp_path, **QUICK)


def test_a_line_that_was_cut_off_is_measured_again_and_another_file_is_left_alone(tmp_path, built):
    path = tmp_path / "runs"
    given = {"sweep": {"probes": [1, 2]}, "metric": "l2", "checkpoint": path, **QUICK}
    first = dkv.evaluate(DIGITS, dkv.IVF(lists=20), 30, **given)
    path.write_bytes(path.read_bytes()[:-100])
    pd.testing.assert_series_equal(
        dkv.evaluate(DIGITS, dkv.IVF(lists=20), 30, **given).runs["recall"], first.runs["recall"]
    )
    assert len(built) == 2
    assert len(path.read_bytes().splitlines()) == 2
    # what was cut off may be no more than the end of the line, after which another one comes
    path.write_bytes(path.read_bytes()[:-1])
    dkv.evaluate(DIGITS, dkv.IVF(lists=20), 30, **{**given, "sweep": {"probes": [3]}})
    assert [orjson.loads(line)["run"]["tuning"] for line in path.read_bytes().splitlines()] == [
        "probes=1",
        "probes=2",
        "probes=3",
    ]
    path.write_bytes(b"a,b\n1,2")
    with pytest.raises(dkv.SchemaError, match="holds no runs of an evaluation: see its line 1"):
        dkv.evaluate(DIGITS, dkv.IVF(lists=20), 30, **given)
    assert path.read_bytes() == b"a,b\n1,2"


def test_rows_of_others_are_not_dropped(tmp_path):
    DIGITS.vec.push("faiss", path=tmp_path / "mine").close()
    found = dkv.evaluate(DIGITS, {f"faiss:{tmp_path / 'mine'}": dkv.Flat()}, 5, **QUICK)
    assert found.runs["error"][0].startswith("SchemaError: there are rows already")
    with dkv.connect("faiss", path=tmp_path / "mine") as store:
        assert store.count() == len(DIGITS)


def test_the_clock_runs_without_collection_of_garbage_and_queries_are_shuffled(monkeypatch):
    seen = []
    search = timing.Trial.search

    def watched(self, queries):
        if np.ndim(queries) == 1:
            seen.append((gc.isenabled(), bytes(queries)))
        return search(self, queries)

    monkeypatch.setattr(timing.Trial, "search", watched)
    dkv.evaluate(DIGITS, dkv.Flat(), 40, repeats=2, warmup=7, clients=0, cache=False, progress=False)
    assert gc.isenabled()
    assert [enabled for enabled, _ in seen] == [True] * 7 + [False] * 80
    one, two = ([query for _, query in seen[start : start + 40]] for start in (7, 47))
    assert sorted(one) == sorted(two)
    assert one != two


def test_clients_ask_at_once_and_each_query_once(monkeypatch):
    running, most, asked, lock = [], [], [], threading.Lock()
    ask = timing.Trial.ask

    async def watched(self, query):
        with lock:
            running.append(1)
            most.append(len(running))
            asked.append(bytes(query))
        await asyncio.sleep(0)
        await ask(self, query)
        running.pop()

    monkeypatch.setattr(timing.Trial, "ask", watched)
    found = dkv.evaluate(DIGITS, dkv.Flat(), 30, repeats=1, warmup=0, clients=3, cache=False, progress=False)
    assert max(most) == 3
    assert (len(asked), len(set(asked))) == (30, 30)
    assert found.runs["qps_concurrent"][0] > 0


def test_where_one_client_fails_the_others_have_stopped_when_it_is_told(monkeypatch):
    asked, ended = [], []

    async def failing(_trial, _query):
        asked.append(1)
        if len(asked) == 3:
            raise dkv.BackendUnavailableError("gone")
        try:
            await asyncio.sleep(600)
        finally:
            # as a driver takes its time to let go of a connection
            await asyncio.sleep(0.1)
            ended.append(1)

    monkeypatch.setattr(timing.Trial, "ask", failing)
    trial = timing.Trial(None, "embedding", None, 5, dkv.DistanceMetric.COSINE)
    with pytest.raises(dkv.BackendUnavailableError, match="gone"):
        timing._loaded(trial, np.ones((30, 2), "f4"), 3)
    assert (len(asked), len(ended)) == (3, 2)


@pytest.mark.parametrize(
    ("sweep", "hnsw", "ivf", "flat"),
    [
        (None, 5, 4, 1),
        ([], 1, 1, 1),
        ({}, 1, 1, 1),
        ({"ef_search": [1, 2], "probes": 3}, 2, 1, 1),
        ({"hnsw": [{"ef_search": 9}, {"ef_search": 10}]}, 2, 1, 1),
        ([{"exact": True}, dkv.Tuning()], 2, 2, 2),
        ({"rescore": [True, False], "ef_search": [1, 2, 3]}, 6, 2, 2),
    ],
)
def test_sweeps(sweep, hnsw, ivf, flat):
    assert [len(tunings(spec, sweep)) for spec in (dkv.HNSW(), dkv.IVF(), dkv.Flat())] == [hnsw, ivf, flat]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (None, [""]),
        ("depth > 4", ["depth > 4"]),
        ({"pos": "noun"}, ["pos == 'noun'"]),
        ({"city": "new york"}, ["city == 'new york'"]),
        ({"deep": "depth > 4", "all": None}, ["deep", "all"]),
        ([None, dkv.col("depth") > 4], ["", "depth > 4"]),
    ],
)
def test_filters_have_names(where, names):
    assert list(read_wheres(where)) == names


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"sweep": {"ef": [1]}}, dkv.SchemaError, "sweep has no 'ef'"),
        ({"by": "nosuch"}, dkv.NotFoundError, "no column of the queries 'nosuch'"),
        ({"where": "nosuch > 1"}, dkv.FilterError, "no column 'nosuch'"),
        ({"k": 0}, dkv.SchemaError, "k must be a whole number"),
        ({"relevant": {0: "nosuch"}}, dkv.NotFoundError, "relevant rows that are not there: 'nosuch'"),
        ({"relevant": pd.DataFrame({"q": [1]})}, dkv.SchemaError, "relevances need the columns 'query' and 'row'"),
        ({"specs": {"nosuch": dkv.Flat()}}, dkv.UnsupportedError, "no backend 'nosuch'"),
        ({"specs": "hnws"}, dkv.SchemaError, "did you mean 'hnsw'"),
        ({"queries": np.ones((2, 3), "f4")}, dkv.VectorError, "3 dimensions, expected 64"),
        ({"queries": 0}, dkv.SchemaError, "queries must be a whole number of at least 1, not 0"),
        ({"queries": -5}, dkv.SchemaError, "queries must be a whole number of at least 1, not -5"),
        ({"repeats": -1}, dkv.SchemaError, "repeats must be a whole number of at least 0, not -1"),
        ({"warmup": -1}, dkv.SchemaError, "warmup must be a whole number of at least 0"),
        ({"clients": -1}, dkv.SchemaError, "clients must be a whole number of at least 0"),
        ({"clients": 1.5}, dkv.SchemaError, "clients must be a whole number of at least 0"),
        ({"k": []}, dkv.SchemaError, "nothing to measure: k is how many neighbours"),
        ({"by": "index"}, dkv.SchemaError, "slices have a column 'index' of their own"),
        ({"by": ["digit", "recall"]}, dkv.SchemaError, "slices have a column 'recall' of their own"),
    ],
)
def test_what_can_not_be_measured_is_refused_before_anything_is_built(given, error, message, built):
    asked = {"specs": dkv.Flat(), "queries": 5, "metric": "l2", **QUICK, **given}
    with pytest.raises(error, match=message):
        dkv.evaluate(DIGITS, **asked)
    assert built == []


def test_open_stores_that_are_none_and_knobs_that_none_has_are_refused():
    for data in ({}, {"rows": DIGITS}):
        with pytest.raises(dkv.SchemaError, match="a dict has open stores by name, at least one"):
            dkv.evaluate(data, None, 5, **QUICK)
    with DIGITS.vec.push("exact") as store:
        for sweep in ({"ef": [1]}, [{"ef": 1}], {"hnsw": [{"ef": 1}]}):
            with pytest.raises(dkv.SchemaError, match=r"no 'ef'"):
                dkv.evaluate(store, None, 5, sweep=sweep, **QUICK)


def test_no_filter_in_a_list_is_none_and_numbers_of_numpy_count_queries():
    found = dkv.evaluate(DIGITS, dkv.Flat(), np.int64(7), where=[], metric="l2", **QUICK)
    assert found.runs["where"].tolist() == [""]
    assert len(found.queries) == 7
