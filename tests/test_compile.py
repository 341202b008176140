"""What would be sent, told without sending it."""

import pytest

import dkvector as dkv
from dkvector.indexes import Tuning
from dkvector.testing import sample_frame, sample_queries

QUERY = sample_queries(1)[0]


@pytest.fixture
def frame():
    return sample_frame()


def test_stores_stand_side_by_side(frame):
    with frame.vec.push("exact") as exact, frame.vec.push("faiss", index="hnsw") as faiss:
        told = dkv.compile([exact, faiss], QUERY, k=3, text="plain", text_on="name", where="x > 0")
        assert told.index.tolist() == [(one, leg) for one in ("exact", "faiss") for leg in ("vector", "text")]
        assert told.columns.tolist() == ["plan", "sent", "parameters"]
        assert told["plan"].tolist()[::2] == [
            "exact over the matching rows",
            f"exact over {(frame.x > 0).sum()} candidates",
        ]
        assert told.loc[("faiss", "text"), "sent"].splitlines() == [
            "words: 'plain'",
            "in: name",
            "k: 100",
            "where: x > 0",
        ]
        assert exact.last is None
    with pytest.raises(dkv.SchemaError, match="list of stores"):
        dkv.compile(exact, QUERY)


def test_the_plan_of_an_index_is_told(frame):
    with frame.vec.push("faiss", index=dkv.HNSW(m=8)) as store:
        (told,) = store.compile(QUERY, tuning={"ef_search": 77, "exact": False}, where="flag").statements
        assert told.plan == "hnsw with a selector"
        assert f"rows: {frame.flag.sum()} of 300" in told.sent
        assert "HNSW(m=8" in told.sent
        assert "where: flag" in told.sent
        (exactly,) = store.compile(QUERY, tuning=Tuning(exact=True)).statements
        assert exactly.plan == "exact"


def test_it_can_be_read(frame):
    with frame.vec.push("exact") as store:
        made = store.compile(QUERY, where="name == '<b>'")
        assert str(made).splitlines()[:2] == ["exact", "vector: exact over the matching rows"]
        assert "of shape (1, 16)" in str(made)
        assert "&lt;b&gt;" in made._repr_html_()
        assert "<b>" not in made._repr_html_()


def test_diverse_rows_ask_for_their_candidates(frame):
    with frame.vec.push("exact") as store:
        (told,) = store.compile(QUERY, k=5, refine=dkv.MMR(candidates=40)).statements
        assert "k: 40" in told.sent
        (told,) = store.compile(like="id 0003", k=5).statements
        assert "k: 6" in told.sent


def test_sql_is_told_with_its_parameters(frame, postgres_url, table):
    with frame.vec.push(postgres_url, table=table) as store:
        told = store.compile(QUERY, k=7, text="O'Neil", text_on="name", where={"name": "O'Neil"})
        vector, words = told.statements
        assert vector.sent.startswith("SELECT")
        assert vector.sent.endswith("LIMIT 100")
        assert "O'Neil" not in vector.sent + words.sent
        assert vector.parameters[1:] == ("O'Neil",)
        assert words.parameters[0] == "O'Neil"
        assert "hnsw.ef_search" not in vector.sent
        store.build_index("hnsw")
        (told,) = store.compile(QUERY, tuning={"exact": False, "ef_search": 123}).statements
        assert "E'hnsw.ef_search', E'123'" in told.sent
        assert told.sent.startswith("SET LOCAL enable_seqscan = off")
