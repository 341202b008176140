"""Tuning meets its target on queries that it has not seen; parity and shrink tell what plain NumPy tells."""

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv
from dkvector.evaluation import parity as agreement
from dkvector.evaluation import tuner
from dkvector.evaluation.configs import config_of
from dkvector.evaluation.subject import Subject
from dkvector.evaluation.targets import Target
from dkvector.metrics import DistanceMetric

WORDS = dkv.datasets.load_wordnet().drop(columns="lemmas").iloc[::5]
FEW = WORDS.iloc[::3]
SENTENCES = dkv.datasets.load_wordnet_queries()
DIGITS = dkv.datasets.load_digits()
QUIET = {"progress": False, "cache": False}


def test_the_target_is_met_on_held_out_queries_in_nineteen_of_twenty_seeds():
    met = 0
    for seed in range(20):
        found = dkv.tune(FEW, 0.9, specs=dkv.IVF(lists=40), queries=SENTENCES.head(300), repeats=1, seed=seed, **QUIET)
        met += found.proof["recall"] >= 0.9
        assert found.met == (found.proof["recall"] >= 0.9)
        assert found.tuning.probes < 40
    assert met >= 19


def test_held_out_queries_are_others_and_the_figures_are_those_of_a_store_made_of_the_config(monkeypatch):
    asked = []
    run = tuner.run
    monkeypatch.setattr(
        tuner, "run", lambda made, s, ground, *more: asked.append(ground.queries) or run(made, s, ground, *more)
    )
    found = dkv.tune(WORDS, {"recall": 0.9}, specs=[dkv.IVF(lists=63)], queries=SENTENCES.head(400), **QUIET)
    chosen_by, held_out = (set(part.labels) for part in (asked[0], asked[-1]))
    assert not chosen_by & held_out
    assert len(chosen_by | held_out) == 400
    with dkv.connect(found.config) as store:
        store.upsert(WORDS[["embedding"]])
        assert store.indexes()["embedding"] == found.spec
        queries = SENTENCES.loc[sorted(held_out), "embedding"]
        got = store.search(queries, 10)
        exact = WORDS.vec.search(queries, 10, columns=[])
        hits = [set(got.index[got["query"] == one]) & set(exact.index[exact["query"] == one]) for one in queries.index]
        assert np.mean([len(one) / 10 for one in hits]) == pytest.approx(found.proof["recall"], abs=0.01)
        assert store.last.native["probes"] == found.tuning.probes


def test_settings_are_chosen_by_other_queries_than_those_that_prove_them(monkeypatch):
    seen = {}
    result = tuner.Tuner.result

    def watched(self, prefer):
        seen.update({self.trials[at].part: proof.part for at, proof in self.proofs.items()})
        return result(self, prefer)

    monkeypatch.setattr(tuner.Tuner, "result", watched)
    found = dkv.tune(DIGITS, 0.9, specs=[dkv.Flat(), dkv.IVF(lists=20)], queries=100, metric="l2", repeats=1, **QUIET)
    assert seen == {0: 1}
    assert found.proof["queries"] == "held out"


def test_the_least_effort_that_suffices_is_found_in_few_measurements():
    found = dkv.tune(WORDS, 0.9, specs=dkv.IVF(lists=63), queries=SENTENCES.head(400), repeats=1, **QUIET)
    runs = found.runs[found.runs["queries"] == "chosen by"]
    assert len(runs) <= 6
    fewer = runs[runs["recall_sure"] < 0.9]["tuning"].str.removeprefix("probes=").astype(int)
    assert fewer.max() < found.tuning.probes
    steps = [one for one in tuner.PROBES if one < 63]
    assert fewer.max() == steps[steps.index(found.tuning.probes) - 1]
    assert (runs["recall_sure"] < runs["recall"] - 0.005).all()


def test_the_cheapest_by_what_is_preferred_is_chosen():
    specs = [dkv.IVF(lists=63), dkv.IVF(lists=63, quantization="int8"), dkv.Flat()]
    given = {"specs": specs, "queries": SENTENCES.head(300), "repeats": 1, **QUIET}
    small = dkv.tune(WORDS, {"recall": 0.9, "memory": "2MB"}, prefer="memory", **given)
    assert small.spec == dkv.Flat()  # which needs no index at all
    quick = dkv.tune(WORDS, {"recall": 0.9, "memory": "2MB"}, **given)
    assert quick.spec in {dkv.Flat(), specs[1]}  # the other one is too large
    timed = quick.runs[quick.runs["queries"] == "chosen by"].dropna(subset=["qps"])
    fits = timed[(timed["index_bytes"] <= 2e6) & (timed["recall_sure"] >= 0.9)]
    assert fits["qps"].max() == timed[timed["index"] == tuner.told(quick.spec)]["qps"].max()


def test_what_can_not_be_met_is_said_with_what_is_nearest():
    specs = [dkv.IVF(lists=63)]
    big = dkv.tune(
        WORDS, {"recall": 0.9, "memory": "1kB"}, specs=specs, queries=SENTENCES.head(200), repeats=1, **QUIET
    )
    assert not big.met
    assert "IVF(lists=63) probes=" in str(big)
    assert "index_bytes" in str(big)
    for ask in (lambda: big.config, lambda: big.spec, lambda: big.tuning):
        with pytest.raises(dkv.NotFoundError, match="settings that find enough miss something else"):
            ask()
    none = dkv.tune(DIGITS, 1.0, "exact", specs=dkv.HNSW(), queries=40, metric="l2", **QUIET)
    assert "no setting is sure of recall 1.0" in none.note
    assert none.runs["error"].tolist() == ["UnsupportedError: exact has no index 'hnsw'; it has auto, flat"]


def test_what_nobody_measured_is_not_taken_for_reached():
    found = dkv.tune(DIGITS, {"recall": 0.9, "memory": "1GB"}, "exact", specs="flat", queries=40, repeats=1, **QUIET)
    assert not found.met  # the store tells no size of an index
    assert found.note.endswith("Flat(): index_bytes nan")
    assert Target(p95_ms=1, build_s=1).lacks({"build_s": 0.5}, recall=1.0) == ["p95_ms"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": {"recal": 0.9}}, "a target has no 'recal'; did you mean 'recall'"),
        ({"target": 1.2}, "recall must be above 0"),
        ({"target": {"memory": "much"}}, "a size of memory"),
        ({"prefer": "speed"}, "no preference 'speed'"),
        ({"queries": 2}, "2 queries can't be split"),
        ({"held_out": 1.0}, "can't be split with held_out=1.0"),
        ({"target": {"p95_ms": 5}, "repeats": 0}, "with repeats=0 no time is taken"),
        ({"specs": [dkv.Flat(), dkv.IVF()], "repeats": 0}, "with repeats=0 no time is taken"),
    ],
)
def test_what_is_no_target_is_refused_before_anything_is_built(given, message, monkeypatch):
    monkeypatch.setattr(tuner.Tuner, "try_out", lambda *_: pytest.fail("it was measured for nothing"))
    with pytest.raises(dkv.SchemaError, match=message):
        dkv.tune(DIGITS, **{"specs": dkv.Flat(), "queries": 20, "repeats": 1, "target": 0.9, **QUIET, **given})


@pytest.mark.parametrize(
    ("target", "spec", "expected"),
    [
        (
            "faiss",
            dkv.HNSW(m=8),
            {"index_type": "HNSW", "hnsw_m": 8, "hnsw_ef_construction": 64, "metric": "euclidean"},
        ),
        ("faiss", dkv.Flat("int8"), {"index_type": "Flat", "quantization": "int8", "metric": "euclidean"}),
        ("pgvector", dkv.IVF(lists=9), {"vector": {"index_type": "ivf", "lists": 9, "metric": "euclidean"}}),
        ("pgvector", dkv.HNSW(quantization="float16"), {"vector": {"metric": "euclidean"}}),
        ("exact", dkv.Flat(), {}),
    ],
)
def test_configs(target, spec, expected):
    subject = Subject(type("Rows", (), {"matrix": np.ones((2, 3), "f4")})(), "v", DistanceMetric.EUCLIDEAN)
    made = config_of(target, spec, dkv.Tuning(probes=4), subject)
    assert made.pop("backend") == target
    assert made.pop("tuning") == {"probes": 4}
    for where in (made, made.get("vector", {})):
        if where:
            where.pop("dimension", None)
    assert made == expected


def test_a_config_holds_no_password():
    subject = Subject(type("Rows", (), {"matrix": np.ones((2, 3), "f4")})(), "v", DistanceMetric.COSINE)
    made = config_of("postgresql://ann:secret@host:5432/db?password=other", dkv.HNSW(), dkv.Tuning(), subject)
    assert made["url"] == "postgresql://ann@host:5432/db"
    assert "tuning" not in made


def test_parity_is_what_sets_and_ranks_tell():
    one = pd.DataFrame({"v": [[1.0, at / 10] for at in range(8)]}, index=list("abcdefgh"))
    other = one.set_axis(list("abdcefgx"))
    found = dkv.parity({"one": one, "other": other}, [[1.0, 0.0], [1.0, 0.7]], k=4)
    # abcd and abdc; hgfe and xgfe
    assert found.queries["overlap"].tolist() == [1.0, 0.75]
    assert found.queries["divergence"].tolist() == [3, 1]
    assert found.depths["overlap"].round(4).tolist() == [0.5, 0.75, round((2 / 3 + 2 / 3) / 2, 4), 0.875]
    row = found.frame.loc[("one", "other")]
    assert (row["overlap"], row["same"], row["divergence"]) == (0.875, 0, 2)
    far = one["v"].vec.similarity([1.0, 0.0])
    assert found.queries["score_max"][0] == pytest.approx(abs(far["c"] - far["d"]), abs=1e-6)
    assert found.worst(1)["query"].tolist() == [1]


def test_ties_that_change_places_do_not_part():
    def parted(mine, theirs, near=(0.0, 0.5, 0.5), far=(0.0, 0.5, 0.5)):
        one, other = (pd.DataFrame({"distance": d}, index=list(rows)) for rows, d in ((mine, near), (theirs, far)))
        return agreement._divergence(one, other, 1e-5)

    assert parted("abc", "abc") == 0
    assert parted("abc", "acb") == 0
    assert parted("abc", "adc") == 0  # a row as near as the last one may have its place
    assert parted("abc", "acb", near=(0.0, 0.4, 0.5)) == 2
    assert parted("abc", "abd", far=(0.0, 0.5, 0.6)) == 3
    assert parted("abc", "dbc") == 1
    assert parted("abc", "ab", far=(0.0, 0.5)) == 3


def test_rows_that_are_very_near_part_as_any_others():
    near, parted = [DIGITS, DIGITS.assign(embedding=list(np.stack(DIGITS["embedding"]) * np.float32(2**-20)))], []
    for rows in near:
        exact, lists = rows.vec.push("exact", metric="l2"), rows.vec.push("faiss", index=dkv.IVF(lists=40), metric="l2")
        queries, knobs = rows["embedding"].iloc[::20], {"lists": {"probes": 1}}
        found = dkv.parity({"exact": exact, "lists": lists}, queries, k=5, tuning=knobs)
        parted.append(found.queries["divergence"].tolist())
        assert 0 < found.frame["same"].iloc[0] < 1
    assert parted[0] == parted[1]


def test_one_store_agrees_with_itself_and_all_pairs_are_compared():
    found = dkv.parity({"a": WORDS, "b": WORDS, "c": WORDS}, SENTENCES.head(20), k=5)
    assert found.frame.index.tolist() == [("a", "b"), ("a", "c"), ("b", "c")]
    assert (found.frame[["overlap", "rbo", "same"]] == 1).all(axis=None)
    assert (found.frame["score_max"] == 0).all()


def test_rank_biased_overlap_is_that_of_the_paper():
    one, other, p = list("abcdefg"), list("bacdxyz"), 0.9
    shared = [len(set(one[:d]) & set(other[:d])) for d in range(1, 8)]
    expected = shared[-1] / 7 * p**7 + (1 - p) / p * sum(shared[d - 1] / d * p**d for d in range(1, 8))
    assert agreement.rank_biased(agreement.overlaps(one, other, 7), p) == pytest.approx(expected)


def test_parity_refuses_what_can_not_be_compared():
    with pytest.raises(dkv.SchemaError, match="two stores or more"):
        dkv.parity({"a": WORDS}, SENTENCES)
    with pytest.raises(dkv.NotFoundError, match="no queries for 'b'"):
        dkv.parity({"a": WORDS, "b": WORDS}, {"a": SENTENCES})
    with pytest.raises(dkv.NotFoundError, match="no store 'c'"):
        dkv.parity({"a": WORDS, "b": WORDS}, SENTENCES, tuning={"c": {}})
    with pytest.raises(dkv.SchemaError, match="different numbers of queries"):
        dkv.parity({"a": WORDS, "b": WORDS}, {"a": SENTENCES.head(2), "b": SENTENCES.head(3)})


def by_hand(matrix, small, queries, small_queries, k, candidates):
    """Recall by squared distances of compressed vectors, alone and with candidates measured again."""
    full = ((queries[:, None] - matrix[None]) ** 2).sum(axis=2)
    part = ((small_queries[:, None] - small[None]) ** 2).sum(axis=2)
    kth = np.sort(full, axis=1)[:, k - 1]
    order = np.argsort(part, axis=1, kind="stable")
    alone = [(full[at, order[at, :k]] <= kth[at] * (1 + 1e-6)).mean() for at in range(len(full))]
    again = [min(k, (full[at, order[at, :candidates]] <= kth[at] * (1 + 1e-6)).sum()) / k for at in range(len(full))]
    return np.mean(alone), np.mean(again)


def test_shrink_tells_what_the_first_dimensions_find():
    matrix = np.stack(DIGITS["embedding"]).astype("f8")
    queries = matrix[::40] + np.random.default_rng(0).normal(0, 1, matrix[::40].shape).astype("f4")
    found = dkv.shrink(DIGITS, queries.astype("f4"), 10, forms=[], dimensions=[16, 32], metric="l2").frame
    for cut in (16, 32):
        row = found[found["form"] == f"{cut} dims"].iloc[0]
        alone, again = by_hand(matrix, matrix[:, :cut], queries, queries[:, :cut], 10, 40)
        assert (row["recall"], row["recall_rescored"]) == (
            pytest.approx(alone, abs=5e-3),
            pytest.approx(again, abs=5e-3),
        )
        assert row["bytes_per_vector"] == 4 * cut
    assert found["form"].tolist() == ["float32", "32 dims", "16 dims"]
    assert found["bytes"][0] == 1797 * 256


def test_shrink_tells_what_signs_find_and_leaves_rows_themselves_out():
    few = WORDS.head(600)
    matrix = np.stack(few["embedding"]).astype("f8")
    asked = few["embedding"].iloc[::10]
    found = dkv.shrink(few, asked, 5, forms=["binary"], dimensions=[], candidates=20).frame
    signs = np.sign(matrix - matrix.mean(axis=0))
    own = np.arange(0, 600, 10)
    full, part = 1 - matrix[own] @ matrix.T, -(signs[own] @ signs.T)
    full[np.arange(60), own] = part[np.arange(60), own] = np.inf
    kth = np.sort(full, axis=1)[:, 4]
    order = np.argsort(part, axis=1, kind="stable")[:, :5]
    alone = (np.take_along_axis(full, order, axis=1) <= kth[:, None] + 1e-6).mean()
    row = found[found["form"] == "binary"].iloc[0]
    assert row["recall"] == pytest.approx(alone, abs=0.01)
    assert row["recall"] < row["recall_rescored"] <= 1
    assert row["bytes_per_vector"] == 48


def test_shrink_orders_forms_and_previews_a_sample():
    found = dkv.shrink(WORDS, SENTENCES.head(100), sample=600)
    assert found.rows == 600
    frame = found.frame.set_index("form")
    assert frame["bytes_per_vector"].is_monotonic_decreasing
    assert frame.loc["float32", "bytes"] == len(WORDS) * 1536
    assert (frame["recall_rescored"] >= frame["recall"] - 1e-9).all()
    assert frame.loc["float16", "recall"] > 0.99 > frame.loc["pq", "recall"] > frame.loc["binary", "recall"]
    assert (frame["recall_low"] <= frame["recall"]).all()
    assert "pq" in found._repr_html_()
    few = dkv.shrink(DIGITS, 50, 10, forms=["int8"], dimensions=[16], metric="l2", candidates=3).frame
    assert (few["recall_rescored"] >= few["recall"]).all()  # as for a store, which measures k at least again


@pytest.mark.parametrize(
    ("given", "message"),
    [({"forms": ["int4"]}, "no form 'int4'"), ({"dimensions": [65]}, "can't be cut to 65"), ({"k": 0}, "k must be")],
)
def test_shrink_refuses_what_is_no_form(given, message):
    with pytest.raises(dkv.SchemaError, match=message):
        dkv.shrink(DIGITS, 10, metric="l2", **given)
