"""Refinements against loops over all rows, on frames and on stores; the knobs themselves."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dkvector as dkv
from dkvector import evidence
from dkvector.evidence import Chance, chance_of, drawn
from dkvector.metrics import DistanceMetric, of_pairs
from dkvector.refinements import as_refinements
from dkvector.testing import naive_distance, sample_frame, sample_queries
from dkvector.testing.naive import naive_groups, naive_score
from dkvector.testing.oracle import naive_search

COSINE = DistanceMetric.COSINE


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=12, max_size=60),
    k=st.integers(1, 5),
    groups=st.integers(1, 5),
)
def test_groups_are_those_of_all_rows(seed, kinds, k, groups):
    frame = sample_frame(len(kinds), seed=seed).assign(kind=pd.array(kinds, dtype="str"))
    query = sample_queries(1, seed=seed)[0]
    found = frame.vec.search(query, k=k, refine=dkv.Group("kind", groups))
    got = list(zip(found["group"], found["rank"], found.index, strict=True))
    assert got == naive_groups(frame, query, k, "kind", groups)


@pytest.mark.parametrize("backend", ["exact", "faiss"])
def test_a_crowd_starves_nobody_and_costs_few_searches(backend):
    rng = np.random.default_rng(0)
    near = rng.standard_normal((3000, 4)) * 0.01 + np.repeat([[1, 0, 0, 0], [0, 1, 0, 0]], 1500, axis=0)
    far = rng.standard_normal((20, 4)) * 0.01 + [-1, 0, 0, 0]
    users = ["crowd"] * 1500 + ["mob"] * 1500 + [f"u{at % 4}" for at in range(20)]
    near[17], users[17] = [1, 0, 0, 0], "u1"  # the nearest of all, while its other rows are far
    frame = pd.DataFrame({"user": users, "embedding": list(np.concatenate([near, far]))})
    with frame.vec.push(backend) as store:
        found = store.search([1.0, 0, 0, 0], k=3, refine=dkv.Group("user", 5))
        assert found.groupby("group").size().tolist() == [3] * 5
        assert found.groupby("group")["user"].nunique().tolist() == [1] * 5
        assert store.last.native["grouped"] == "5 groups by 'user', 4 searches"
        assert store.last.returned == 15
        tail = store.search([1.0, 0, 0, 0], k=6, refine=dkv.Group("user", 2))
        assert tail["user"].tolist() == ["u1"] * 6 + ["crowd"] * 6
        assert tail["distance"].iloc[0] == 0


def test_groups_by_other_types_and_their_refusals():
    frame = sample_frame(40)
    frame["kind"] = pd.Categorical(np.where(frame["flag"], "yes", "no"))
    frame["list"] = [[1]] * 40
    query = sample_queries(1)[0]
    for by in ("kind", "when", "x", "flag"):
        found = frame.vec.search(query, k=2, refine=dkv.Group(by, 3))
        got = list(zip(found["group"], found["rank"], found.index, strict=True))
        assert got == naive_groups(frame, query, 2, by, 3)
    with pytest.raises(dkv.SchemaError, match="holds list, and no groups"):
        frame.vec.search(query, refine=dkv.Group("list"))
    with pytest.raises(dkv.NotFoundError, match="nope"):
        frame.vec.search(query, refine=dkv.Group("nope"))


DAYS = pd.PeriodIndex(pd.date_range("2000-01-01", periods=50), freq="D")


@pytest.mark.parametrize("where", ["frame", "exact", "faiss"])
@pytest.mark.parametrize(
    "groups", [pd.cut(range(50), 50), DAYS, pd.Categorical(DAYS)], ids=["cut", "periods", "categories of periods"]
)
def test_more_groups_of_intervals_and_periods_are_searched_for(groups, where):
    at = np.repeat(np.arange(50), 40)
    vectors = np.float32([np.cos(at / 20), np.sin(at / 20)]).T  # one group behind the other
    frame = pd.DataFrame({"v": dkv.VectorArray(vectors), "of": groups[at]})
    store = frame.vec if where == "frame" else frame.vec.push(where)
    found = store.search([1, 0], k=3, refine=dkv.Group("of", 20))
    assert found["of"].tolist() == [one for one in groups[:20] for _ in range(3)]


@pytest.mark.parametrize("metric", list(DistanceMetric))
@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 12), balance=st.floats(0, 1))
def test_each_choice_has_the_largest_gain(metric, seed, k, balance):
    frame, query = sample_frame(15, seed=seed), sample_queries(1, seed=seed)[0]
    found = frame.vec.search(query, k=k, metric=metric, refine=dkv.MMR(balance, candidates=10))
    scores = {one: naive_score(distance, metric) for one, distance in naive_search(frame, query, max(k, 10), metric)}
    assert len(found) == k
    assert found["rank"].tolist() == list(range(1, k + 1))
    chosen = []
    for label in found.index:
        gains = {one: gain(frame, one, chosen, scores, balance, metric) for one in scores if one not in chosen}
        assert gains[label] == pytest.approx(max(gains.values()), abs=1e-4, rel=1e-4)
        chosen.append(label)


def gain(frame, label, chosen, scores, balance, metric):
    near = [naive_score(naive_distance(frame.embedding[label], frame.embedding[one], metric), metric) for one in chosen]
    return balance * scores[label] - (1 - balance) * max(near) if near else scores[label]


def test_cuts_of_a_frame():
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]}, index=list("abc"))
    assert frame.vec.search([1, 0], refine=dkv.Cut(min_score=0.6)).index.tolist() == ["a", "b"]
    assert frame.vec.search([1, 0], refine=dkv.Cut(max_distance=0.1)).index.tolist() == ["a"]
    assert frame.vec.search([1, 0], refine=dkv.Cut(min_score=2)).columns.tolist() == ["rank", "score", "distance"]
    assert frame.vec.search(like="a", refine=dkv.Cut(min_score=0.5)).index.tolist() == ["b"]


@pytest.mark.parametrize("backend", ["exact", "faiss"])
@pytest.mark.parametrize(
    ("query", "refine"),
    [
        (dkv.Blend(like=["id 0001", "id 0002"], unlike="id 0003"), None),
        (dkv.Blend(like=["id 0001", "id 0002"], unlike="id 0003", combine="max"), dkv.MMR()),
        ([dkv.Blend(like="id 0001", combine="max"), dkv.Blend(sample_queries(3), combine="max")], dkv.Group("name", 3)),
        (dkv.Blend(sample_queries(2), combine="rrf"), None),
        (sample_queries(2), [dkv.Group("flag"), dkv.Cut(min_score=0.2)]),
    ],
    ids=["mean", "max", "groups", "rrf", "cut"],
)
def test_a_frame_and_a_store_answer_alike(backend, query, refine):
    frame = sample_frame()
    asked = {"k": 4, "where": "x > -1", "columns": ["n", "when"], "refine": refine}
    with frame.vec.push(backend) as store:
        pd.testing.assert_frame_equal(frame.vec.search(query, **asked), store.search(query, **asked), rtol=1e-5)


@pytest.mark.parametrize("metric", list(DistanceMetric))
def test_chance_is_all_pairs(metric, monkeypatch):
    monkeypatch.setattr(evidence, "BLOCK", 7)
    matrix = np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32)
    one, other = np.triu_indices(20, 1)
    expected = np.sort(of_pairs(matrix[one], matrix[other], metric))
    chance = chance_of(matrix, metric)
    np.testing.assert_allclose(chance.pairs, expected, atol=1e-5)
    # a little nearer than a pair, beyond what rounding does, is nearer
    below = chance.p_values(chance.pairs - np.float32(1e-4 * np.abs(expected).max()))
    assert (below <= np.arange(1, 191) / 191).all()


@pytest.mark.parametrize("metric", list(DistanceMetric))
def test_chance_of_rows_that_lie_far_from_the_origin(metric):
    matrix = (np.random.default_rng(0).standard_normal((30, 64)) + 1000).astype(np.float32)
    one, other = np.triu_indices(30, 1)
    expected = np.sort(of_pairs(matrix[one], matrix[other], metric))
    np.testing.assert_allclose(chance_of(matrix, metric).pairs, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("backend", ["exact", "faiss"])
@pytest.mark.parametrize("dimensions", [63, 100])  # at which products of matrices round otherwise than those of rows
@pytest.mark.parametrize("metric", [COSINE, DistanceMetric.EUCLIDEAN])
def test_copies_are_as_near_as_a_copy(backend, dimensions, metric):
    matrix = np.random.default_rng(1).standard_normal((230, dimensions)).astype(np.float32)
    matrix[::4] = matrix[0]
    copies = len(matrix[::4])
    with pd.DataFrame({"v": list(matrix)}).vec.push(backend, metric=metric) as store:
        found = store.search(matrix[0], k=1, refine=dkv.Evidence())
    assert found["p_value"].tolist() == pytest.approx([(copies * (copies - 1) / 2 + 1) / (230 * 229 / 2 + 1)])


def test_rows_of_no_length_make_no_pairs_by_an_angle():
    matrix = np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32)
    some = np.concatenate([np.zeros((3, 5), np.float32), matrix])
    np.testing.assert_array_equal(chance_of(some, COSINE).pairs, chance_of(matrix, COSINE).pairs)
    with pytest.raises(dkv.SchemaError, match="not two rows"):
        chance_of(some[:4], COSINE)
    assert len(chance_of(some, DistanceMetric.EUCLIDEAN).pairs) == 23 * 22 / 2


def test_p_values_by_hand():
    chance = Chance(np.float32([1, 2, 3, 4]))
    assert chance.p_values(np.float32([0.5, 2, 5])).tolist() == pytest.approx([1 / 5, 3 / 5, 1])
    twice = chance.p_values(np.float32([0.5, 2]), np.array([2, 1]))
    assert twice.tolist() == pytest.approx([1 - (4 / 5) ** 2, 3 / 5])
    with pytest.raises(dkv.SchemaError, match="not two rows"):
        chance_of(np.ones((1, 2), np.float32), COSINE)


@pytest.mark.parametrize("ids", [pd.RangeIndex(500), pd.Index([f"id {at}" for at in range(500)])], ids=["int", "text"])
def test_a_draw_is_by_id_and_by_seed(ids):
    drew = drawn(ids, 100, 0)
    assert set(drawn(ids[::-1], 100, 0)) == set(drew)
    assert len(set(drawn(ids, 100, 1)) & set(drew)) < 50
    halves = drawn(drawn(ids[:200], 100, 0).append(ids[200:]), 100, 0)  # as pages of a scan come
    assert set(halves) == set(drew)
    places = ids.get_indexer(drew)
    assert 180 < places.mean() < 320


def test_noise_has_no_evidence_and_a_copy_has():
    words = dkv.datasets.load_wordnet().head(3000)
    noise = np.random.default_rng(0).standard_normal(384)
    with words.vec.push("exact", columns=[]) as store:
        found = store.search([noise, words["embedding"].iloc[0]], k=1, refine=dkv.Evidence(sample=500))
        assert found["p_value"].iloc[0] > 0.02
        assert found["p_value"].iloc[1] < 1e-4
        assert store.search(noise, refine=dkv.Evidence(500, max_p=0.02)).empty
        assert len(store.search(words["embedding"].iloc[0], k=3, refine=dkv.Evidence(500, max_e=0.1))) == 1


def test_a_sample_is_drawn_once_for_each_state_of_a_store(monkeypatch):
    drew = []
    monkeypatch.setattr(evidence, "chance_of", lambda *given: drew.append(1) or chance_of(*given))
    frame, query = sample_frame(50), sample_queries(1)[0]
    with frame.vec.push("exact") as store:
        for _ in range(3):
            store.search(query, where="flag", refine=dkv.Evidence())
        assert len(drew) == 1
        store.search(query, refine=dkv.Evidence(seed=1))
        store.upsert(frame.head(1))
        store.search(query, refine=dkv.Evidence())
        store.delete(frame.index[:1])
        store.search(query, refine=dkv.Evidence())
        assert len(drew) == 4


@pytest.mark.parametrize("other", [dkv.Group("user", 4), dkv.MMR(candidates=30)], ids=["groups", "diverse"])
def test_evidence_is_of_the_whole_search_whatever_is_chosen_by(other):
    frame, query = sample_frame(), sample_queries(1)[0]
    near = frame.vec.search(query, k=300).index  # a crowd is nearest, so that others are found by searches of their own
    users = pd.Series(["crowd"] * 280 + [f"user {at % 4}" for at in range(20)], index=near)
    frame["user"] = users.reindex(frame.index)
    with frame.vec.push("exact") as store:
        found = store.search(query, k=3, where="x > -1", refine=[other, dkv.Evidence()])
        plain = store.search(query, k=300, where="x > -1", refine=dkv.Evidence())
    for name in ("p_value", "e_value"):
        assert found[name].tolist() == plain[name].reindex(found.index).tolist()
    assert (found["e_value"] / found["p_value"]).tolist() == pytest.approx([(frame["x"] > -1).sum()] * len(found))


def test_no_row_is_among_its_own_groups_in_a_batch_either():
    frame = sample_frame()
    own = frame.index[50]
    far = frame.vec.search(like=own, k=299).index[-5:]  # of its group, and found by a search of their own
    frame["user"] = [f"user {at % 3}" for at in range(300)]
    frame.loc[[own, *far], "user"] = "lone"
    like = [frame.index[9], own, frame.index[70]]
    with frame.vec.push("exact") as store:
        found = store.search(like=like, k=3, refine=dkv.Group("user", 4))
        for label in like:
            expected = naive_groups(frame.drop(label), frame.embedding[label], 3, "user", 4)
            assert found[found["query"] == label].index.tolist() == [row for _, _, row in expected]


def test_rows_with_ids_of_several_columns(postgres_url, table):
    frame = sample_frame(60).assign(part=[f"p{at % 3}" for at in range(60)], number=range(60))
    keyed, own, other = frame.set_index(["part", "number"]), [("p1", 1), ("p2", 5)], ["id 0001", "id 0005"]
    with keyed.vec.push(postgres_url, table=table) as store, frame.vec.push("exact") as exact:
        for combine in ("mean", "max", "rrf"):
            found = store.search(dkv.Blend(like=own, combine=combine), k=4)
            assert found.index.tolist() == _keys(exact.search(dkv.Blend(like=other, combine=combine), k=4))
        away = store.search(dkv.Blend(like=own, unlike=[("p0", 6)], combine="max"), k=4)
        assert away.index.tolist() == _keys(exact.search(dkv.Blend(like=other, unlike="id 0006", combine="max"), k=4))
        for refine in (dkv.MMR(), dkv.Group("name", 3), dkv.Evidence()):
            found = store.search(like=own, k=3, refine=refine)
            assert found.index.tolist() == _keys(exact.search(like=other, k=3, refine=refine))


def _keys(found):
    return list(zip(found["part"], found["number"], strict=True))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (dkv.Cut, "min_score=, max_distance="),
        (lambda: dkv.Cut("0.5"), "min_score must be a number"),
        (lambda: dkv.Cut(max_distance=float("nan")), "max_distance must be a number"),
        (lambda: dkv.MMR(1.1), r"lambda_ must be in \[0, 1\]"),
        (lambda: dkv.MMR(float("nan")), "lambda_"),
        (lambda: dkv.MMR(candidates=0), "candidates"),
        (lambda: dkv.Group("a", 0), "groups"),
        (lambda: dkv.Evidence(1), "sample"),
        (lambda: dkv.Evidence(max_p=-1), "max_p"),
        (lambda: dkv.Evidence(seed=-1), "seed"),
        (lambda: as_refinements([dkv.MMR(), 3]), "not 3"),
    ],
)
def test_bad_knobs_are_refused(make, says):
    with pytest.raises(dkv.SchemaError, match=says):
        make()


WAYS = {
    "words": {"text": "word", "columns": ["n"]},
    "fields": {"queries": {"v": [1.0, 0.2], "w": [0.0, 1.0]}, "columns": ["n"]},
    "diverse": {"refine": dkv.MMR(candidates=6), "field": "v", "columns": ["n"]},
    "groups": {"refine": dkv.Group("g", groups=2), "field": "v", "columns": ["n"]},
}


@pytest.mark.parametrize("kind", ["exact", "faiss", "pgvector", "elasticsearch", "opensearch"])
@pytest.mark.parametrize("way", WAYS)
def test_rows_that_are_deleted_while_they_are_looked_for_are_no_hits(kind, way, request, monkeypatch, table):
    """They were found by one question, and gone when the next one asked for their columns."""
    at = {"pgvector": "postgres_url", "elasticsearch": "elasticsearch_url", "opensearch": "opensearch_url"}.get(kind)
    where = {"url": request.getfixturevalue(at)} if at else {}
    named = {} if at is None else {"table" if kind == "pgvector" else "index": table}
    frame = pd.DataFrame(
        {
            "n": range(6),
            "g": list("aabbab"),
            "t": "word",
            "v": [[1.0, 0.1 * i] for i in range(6)],
            "w": [[0.1, 1.0]] * 6,
        },
        index=list("abcdef"),
    )
    with dkv.connect({"backend": kind, **where, **named}) as store:
        store.upsert(frame, reading=dkv.Reading(vectors=("v", "w")))
        asked = {"queries": {"v": [1.0, 0.2]} if way == "words" else [1.0, 0.2], "k": 4} | WAYS[way]
        before = store.search(**asked)
        get, gone = store.store._get, [before.index[0]]

        async def late(*args: object, **knobs: object):
            if gone:
                await store.store.delete([gone.pop()])
            return await get(*args, **knobs)

        monkeypatch.setattr(store.store, "_get", late)
        found = store.search(**asked)
        assert (gone, set(found.index)) == ([], set(before.index[1:]))
        assert found["n"].tolist() == frame["n"][found.index].tolist()
        if kind not in {"exact", "faiss"}:
            store.drop()
