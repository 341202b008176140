"""Evaluation of a server: tables that come and go, plans that the server itself is asked for, rows without a vector."""

import pandas as pd
import pytest

import dkvector as dkv

WORDS = dkv.datasets.load_wordnet().drop(columns="lemmas")
SENTENCES = dkv.datasets.load_wordnet_queries().head(20)
LEFT = "SELECT count(*) FROM pg_class WHERE relname LIKE 'dkv_evaluation_%'"


def test_an_index_of_a_server_is_built_measured_and_removed(postgres_url, sql):
    found = dkv.evaluate(
        WORDS.head(3000),
        {postgres_url: [dkv.HNSW(m=8), dkv.Flat(), dkv.HNSW(quantization="pq")], "faiss": dkv.Flat()},
        SENTENCES,
        sweep={"ef_search": [10, 200]},
        where=[None, "depth > 6"],
        repeats=1,
        clients=3,
        cache=False,
        progress=False,
    )
    runs = found.runs
    assert runs["backend"].tolist() == ["pgvector"] * 10 + ["faiss"] * 2
    graph = runs[(runs["index"] == "HNSW(m=8)") & (runs["where"] == "")]
    assert (graph["index_used"] == 1).all()
    assert graph["plan"].tolist() == ["hnsw", "hnsw"]
    assert graph["recall"].iloc[0] < graph["recall"].iloc[1] <= 1
    flat = runs[runs["index"] == "Flat()"]
    assert (flat["recall"] == 1).all()
    assert (flat["index_used"] == 0).all()
    assert (graph["index_bytes"] > 1e6).all()
    assert (flat["index_bytes"] == 0).all()  # that of the primary key is no index of the vectors
    assert (runs.loc[runs["error"] == "", ["insert_s", "build_s", "qps", "qps_concurrent"]] >= 0).all(axis=None)
    assert graph["engine"].str.fullmatch(r"pgvector \d.* on PostgreSQL \d+.*").all()
    failed = runs[runs["error"] != ""]
    assert failed["error"].str.startswith("UnsupportedError: pgvector has no quantization 'pq'").tolist() == [True] * 4
    assert sql(LEFT) == [(0,)]


def test_a_sequential_scan_is_not_sold_as_an_index(postgres_url, table):
    with WORDS.head(60).vec.push(postgres_url, table=table, columns=[], index=dkv.HNSW()) as store:
        found = dkv.evaluate(store, None, SENTENCES, 5, sweep=[], repeats=1, clients=0, cache=False)
    row = found.runs.iloc[0]
    assert (row["index"], row["index_used"], row["recall"]) == ("HNSW(m=16)", 0, 1)
    assert row["plan"].startswith("exact: the server did not use the index")
    written = [one.get_text() for one in found.plot().texts]
    assert written == ["HNSW(m=16) — index not used"]


def test_a_server_that_is_not_there_is_a_row_and_its_password_is_not_told():
    url = "postgresql://ann:secret@127.0.0.1:9/nosuch"
    found = dkv.evaluate(WORDS.head(50), {url: dkv.HNSW(), "exact": dkv.Flat()}, 5, sweep=[], repeats=0, cache=False)
    assert found.runs["backend"].tolist() == ["pgvector", "exact"]
    assert found.runs["error"][0].startswith("BackendUnavailableError")
    assert found.runs["error"][1] == ""
    assert "secret" not in repr(found.runs.to_dict()) + found._repr_html_()


def test_rows_without_a_vector_are_told_and_do_not_count(postgres_url, table, sql):
    frame = pd.DataFrame({"n": [1, 2, 3], "v": [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]}, index=["a", "b", "c"])
    with frame.vec.push(postgres_url, table=table) as store:
        sql(f'ALTER TABLE "{table}" ALTER COLUMN v DROP NOT NULL', f'UPDATE "{table}" SET v = NULL WHERE n = 2')
        why = store.why_not("b", [0.0, 1.0])
        assert (why.verdict, why.message) == ("no vector", "its 'v' is missing: no search can find it")
        assert store.why_not("c", [0.0, 1.0], where="n < 3").failed == ("n < 3 (n is 3)",)
        assert store.why_not("a", [0.0, 1.0], k=1).rank == 2
        assert dkv.ground_truth(store, [[0.0, 1.0]], 3, cache=False).labels.tolist() == ["c", "a"]
        store.search([[0.0, 1.0]], 1, verify=1)
        assert store.last.verified.recall == 1


@pytest.mark.parametrize("spec", [dkv.HNSW(m=9, ef_construction=70), dkv.IVF(lists=7)])
def test_the_config_of_a_tuned_setting_makes_the_same_index(postgres_url, table, spec):
    frame = WORDS[["embedding"]].head(1000)
    found = dkv.tune(frame, 0.5, postgres_url, specs=spec, queries=60, repeats=1, progress=False, cache=False)
    assert found.met
    with dkv.connect(found.config | {"url": postgres_url}, table=table) as store:
        store.upsert(frame)
        assert store.indexes()["embedding"] == found.spec == spec
        assert store.tuning == found.tuning
