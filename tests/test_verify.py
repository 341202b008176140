"""A sample of any search asked again exactly, and the reasons why a row is not found."""

import asyncio
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import dkvector as dkv
from dkvector import reasons, verifying
from dkvector.backends.exact import ExactStore
from dkvector.metrics import DistanceMetric
from dkvector.results import Hits, TableSource
from dkvector.verified import Verified, wilson

WORDS = dkv.datasets.load_wordnet().drop(columns="lemmas").iloc[::4]
SENTENCES = dkv.datasets.load_wordnet_queries()["embedding"].head(100)


@pytest.fixture(scope="module")
def ivf():
    with WORDS.vec.push("faiss", index=dkv.IVF(lists=70)) as store:
        yield store


def recall(store, queries, k, **how):
    found = store.search(queries, k, columns=[], **how)
    exact = store.search(queries, k, columns=[], tuning={"exact": True})
    hits = [set(found.index[found["query"] == one]) & set(exact.index[exact["query"] == one]) for one in queries.index]
    return np.array([len(one) / k for one in hits])


def test_all_queries_asked_again_tell_the_recall_of_the_call(ivf):
    found = ivf.search(SENTENCES, 10, tuning={"probes": 3}, columns=[], verify=1.0)
    told = ivf.last.verified
    expected = recall(ivf, SENTENCES, 10, tuning={"probes": 3})
    assert (told.queries, told.recall) == (100, pytest.approx(expected.mean()))
    assert 0.3 < told.recall < 0.95
    pd.testing.assert_frame_equal(found, ivf.search(SENTENCES, 10, tuning={"probes": 3}, columns=[]))
    assert ivf.last.verified is None


def test_a_sample_estimates_it_and_its_interval_holds_it(ivf):
    truth = recall(ivf, SENTENCES, 10, tuning={"probes": 3}).mean()
    held = 0
    for _ in range(20):
        ivf.search(SENTENCES, 10, tuning={"probes": 3}, columns=[], verify=0.1)
        assert ivf.last.verified.queries == 10
        low, high = ivf.last.verified.interval
        held += low <= truth <= high
    assert held >= 18


def test_single_queries_are_drawn_with_the_chance_and_counted_over_all_calls():
    with WORDS.head(500).vec.push("faiss", index=dkv.IVF(lists=20)) as store:
        assert store.verified is None
        drawn = []
        for query in [*SENTENCES, *SENTENCES]:
            store.search(query, 5, tuning={"probes": 1}, columns=[], verify=0.2)
            drawn.append(store.last.verified)
        asked = [one for one in drawn if one is not None]
        assert 20 <= len(asked) <= 65
        assert store.verified.queries == len(asked)
        assert store.verified.recall == pytest.approx(np.mean([one.recall for one in asked]))


def test_rows_that_are_searched_like_do_not_count_their_own(ivf):
    labels = WORDS.index[:50].tolist()
    ivf.search(like=labels, k=1, tuning={"probes": 1}, columns=[], verify=1)
    found = ivf.search(like=labels, k=1, tuning={"probes": 1}, columns=[])
    exact = ivf.search(like=labels, k=1, tuning={"exact": True}, columns=[])
    ivf.search(like=labels, k=1, tuning={"probes": 1}, columns=[], verify=1)
    assert ivf.last.verified.recall == pytest.approx((found.index == exact.index).mean())
    assert ivf.last.verified.recall < 1


def test_codes_whose_distances_are_no_distances_are_compared_by_rows():
    with WORDS.head(600).vec.push("faiss", index=dkv.Flat(quantization="int8")) as store:
        tuning = {"rescore": False}
        expected = recall(store, SENTENCES, 10, tuning=tuning).mean()
        store.search(SENTENCES, 10, tuning=tuning, columns=[], verify=1)
        assert store.last.verified.recall == pytest.approx(expected, abs=0.01)
        assert store.last.verified.recall < 1


def test_ties_are_as_good_as_each_other_and_filters_apply_to_both():
    frame = pd.DataFrame({"n": range(40), "v": [[1.0, 0.0]] * 20 + [[0.0, 1.0]] * 20})
    with frame.vec.push("faiss", index=dkv.HNSW()) as store:
        told = store.explain([1.0, 0.1], 5, where="n >= 10", tuning={"exact": False}, verify=1)
        assert (told.verified.recall, told.matching) == (1.0, 30)
        assert "verified  recall 1.000" in str(told)
        store.search([1.0, 0.1], 5, where="n > 100", verify=1)
        assert store.last.verified is None


def hits_of(rows, *distances):
    source = TableSource(pa.table({"id": list(rows)}))
    return Hits(source, np.float32(distances), np.array([len(rows)]), DistanceMetric.COSINE)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (hits_of("abc", 0.1, 0.2, 0.2), 1.0),
        (hits_of("abx", 0.1, 0.2, 0.2), 1.0),  # as near as the last of the true ones
        (hits_of("abx", 0.1, 0.2, 0.3), 2 / 3),
        (hits_of("abx", 0.1, 0.2, 0.15), 2 / 3),  # nearer than any row is: the distance of a code
        (hits_of("axy", 0.1, 0.2, 0.2), 1.0),
        (hits_of("", *()), 0.0),
    ],
)
def test_neighbours_are_compared_by_row_and_by_distance(found, expected):
    truth = hits_of("abc", 0.1, 0.2, 0.2)
    assert verifying._compared(found, truth) == Verified(1, pytest.approx(expected))


def test_an_awaited_search_is_verified_too():
    async def run():
        store = await dkv.VectorStoreFactory.create("exact", {})
        await store.upsert(WORDS.head(100))
        await store.search(SENTENCES, 3, verify=0.05)
        return store.last.verified

    assert asyncio.run(run()) == Verified(5, 1.0)


@pytest.mark.parametrize("share", [0, -0.1, 1.5, "all", True])
def test_a_share_is_a_share(ivf, share):
    with pytest.raises(dkv.SchemaError, match="verify is the share of queries"):
        ivf.search(SENTENCES, 3, verify=share)


def test_intervals_stay_inside_and_sums_weigh():
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0.0, 10)[0] == 0
    assert wilson(1.0, 10)[1] == 1
    assert wilson(1.0, 0) == (0, 1)
    assert Verified(10, 1.0) + Verified(30, 0.8) == Verified(40, pytest.approx(0.85))


def test_a_store_keeps_its_tuning_and_a_search_may_bring_its_own():
    with dkv.connect({"backend": "faiss", "index_type": "IVF", "ivf_nlist": 20, "tuning": {"probes": 3}}) as store:
        store.upsert(WORDS.head(500))
        assert store.explain(SENTENCES.iloc[0]).native["probes"] == 3
        assert store.explain(SENTENCES.iloc[0], tuning={"probes": 5}).native["probes"] == 5
        store.tuning = {"probes": 7}
        store.search(SENTENCES.iloc[0], 3)
        assert store.last.native["probes"] == 7
        store.tuning = None
        assert store.explain(SENTENCES.iloc[0]).native["probes"] == 20
    with pytest.raises(dkv.SchemaError, match="did you mean 'probes'"):
        dkv.connect({"backend": "faiss", "tuning": {"probe": 3}})


def nearest(query, k=30):
    return WORDS.vec.search(query, k, columns=[])


def test_a_row_that_is_found_is_said_to_be(ivf):
    query = SENTENCES.iloc[0]
    exact = nearest(query)
    why = ivf.why_not(exact.index[2], query, k=5, tuning={"exact": True})
    assert (why.verdict, why.rank, str(why)) == (
        "found",
        3,
        f"{exact.index[2]!r}: found: the search gives it, at rank 3",
    )


def test_a_row_beyond_k_is_told_its_rank_and_the_k_that_reaches_it(ivf):
    query = SENTENCES.iloc[0]
    exact = nearest(query, len(WORDS))
    for rank in (11, 2_500, len(WORDS)):  # the last are beyond those that are looked at by one search
        why = ivf.why_not(exact.index[rank - 1], query, k=10, tuning={"exact": True})
        assert (why.verdict, why.rank) == ("too far", rank)
        assert why.distance == pytest.approx(exact["distance"].iloc[rank - 1], abs=1e-6)
        assert why.kth == pytest.approx(exact["distance"].iloc[9], abs=1e-6)
        assert f"k={rank} reaches it" in why.message


def test_a_row_that_the_index_misses_is_told_with_knobs_that_find_it(ivf):
    tuning = {"probes": 1}
    for query in SENTENCES:
        exact, found = nearest(query, 10), ivf.search(query, 10, tuning=tuning, columns=[])
        if lost := [row for row in exact.index if row not in found.index]:
            break
    why = ivf.why_not(lost[0], query, k=10, tuning=tuning)
    assert (why.verdict, why.rank) == ("missed", exact.index.tolist().index(lost[0]) + 1)
    assert lost[0] in ivf.search(query, 10, tuning=why.tuning).index
    assert why.tuning.probes > 1
    assert "the index does not meet it (ivf)" in why.message
    assert why.message.endswith(f"tuning={{'probes': {why.tuning.probes}}} does")


def test_every_part_of_a_filter_that_a_row_fails_is_told(ivf):
    row = WORDS.index[0]
    pos, depth = WORDS.loc[row, "pos"], int(WORDS.loc[row, "depth"])
    where = f"pos == {pos!r} and depth > {depth} and lexname.isna()"
    why = ivf.why_not(row, SENTENCES.iloc[0], where=where)
    assert why.verdict == "filtered"
    assert why.failed == (
        f"depth > {depth} (depth is {depth})",
        f"lexname.isna() (lexname is {WORDS.loc[row, 'lexname']!r})",
    )
    assert ivf.why_not(row, SENTENCES.iloc[0], where=f"pos == {pos!r}").verdict in {"found", "too far"}
    either = ivf.why_not(row, SENTENCES.iloc[0], where=f"depth > {depth} or depth < {depth}")
    assert either.failed == (f"depth > {depth} or depth < {depth} (depth is {depth})",)


def test_ranks_are_among_the_rows_that_match(ivf):
    query = SENTENCES.iloc[0]
    exact = WORDS.vec.search(query, 5000, where="pos == 'verb'", columns=[])
    why = ivf.why_not(exact.index[1_400 if len(exact) > 1_400 else -1], query, where="pos == 'verb'")
    assert why.rank == (1_401 if len(exact) > 1_400 else len(exact))


def test_rows_that_can_not_be_found_at_all(ivf):
    query = SENTENCES.iloc[0]
    assert ivf.why_not("nosuch", query).verdict == "not stored"
    assert "ids here are large_string, this is int" in ivf.why_not(5, query).message
    own = WORDS.index[3]
    assert ivf.why_not(own, like=own).verdict == "own row"
    other = ivf.search(like=own, k=4, tuning={"exact": True}).index[3]
    assert ivf.why_not(other, like=own, k=2, tuning={"exact": True}).rank == 4
    with pytest.raises(dkv.SchemaError, match="why_not looks at one query, not at 3"):
        ivf.why_not(own, SENTENCES.head(3))


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot_product"])
@pytest.mark.parametrize("where", [None, "n > 0", "n != 1"])
def test_a_row_far_behind_one_that_is_searched_like_is_told_its_rank(metric, where):
    matrix = np.random.default_rng(0).random((1_500, 8), np.float32)
    matrix[1] /= 100  # by the dot product it is the farthest from itself
    frame = pd.DataFrame({"n": range(1_500), "v": list(matrix)}, index=[f"r{at}" for at in range(1_500)])
    exact = frame.vec.search(like="r1", k=1_400, metric=metric, where=where, columns=[])
    with frame.vec.push("exact", metric=metric) as store:
        why = store.why_not(exact.index[-1], like="r1", where=where)
    assert (why.verdict, why.rank) == ("too far", 1_400)


def test_what_has_no_direction_has_no_distance():
    measured = reasons._distances(np.float32([[0, 0], [2, 0]]), np.float32([1, 0]), DistanceMetric.COSINE)
    np.testing.assert_array_equal(measured, np.float32([np.nan, 0]))


async def test_an_encoder_is_compared_beside_the_loop(monkeypatch):
    encoder = dkv.Encoder(lambda texts: [[len(text), 1.0] for text in texts], model="lengths")
    store = await ExactStore.open({})
    await store.upsert(pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]}, index=["a", "b"]))
    store.encoder = encoder
    threads = set()
    monkeypatch.setattr(dkv.Encoder, "check_field", lambda *_: threads.add(threading.get_ident()))
    await store.why_not("b", text="abc", k=1)
    assert threads
    assert threading.get_ident() not in threads


def test_a_text_of_another_model_is_told():
    encoder = dkv.Encoder(lambda texts: [[len(text), 1.0] for text in texts], model="lengths")
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]}, index=["a", "b"])
    with frame.vec.push("exact", encoder=encoder) as store:
        assert store.why_not("b", text="abc", k=1).verdict == "too far"
        store.store._encoder = dkv.Encoder(lambda texts: [[1.0, 1.0] for _ in texts], model="other")
        why = store.why_not("b", text="abc", k=1)
        assert why.verdict == "other model"
        assert "'lengths'" in why.message
        assert "other model" in why._repr_html_()
