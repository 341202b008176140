"""Searches in PostgreSQL: the plan, what it costs in recall, what `explain` tells, and what an index can't hold."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from clouds import DIMENSIONS, clustered

import dkvector as dkv
from dkvector.backends._pg_indexes import PgIndex, create_index, resolved
from dkvector.backends._pg_plan import chosen
from dkvector.requests import Request
from dkvector.schema import VectorInfo

COSINE, EUCLIDEAN, DOT = dkv.DistanceMetric


def request(k=10, dimensions=384, tuning=None, metric=COSINE, queries=1):
    info = VectorInfo("v", dimensions, metric)
    matrix = np.zeros((queries, dimensions), "f4")
    return Request(matrix, None, k, info, metric, None, tuning or dkv.Tuning(), (), include_vectors=False)


def index(spec, metric=COSINE):
    return PgIndex("i", '"i"', "v", spec, metric, ours=True)


GRAPH, LISTS = index(dkv.HNSW()), index(dkv.IVF(lists=400))


@pytest.mark.parametrize(
    ("asked", "built", "rows", "matching", "name", "setting"),
    [
        (request(), None, 0, None, "exact: there is no index for it", None),
        (request(), None, 0, 0, "exact over the matching rows", None),
        (request(), GRAPH, 0, None, "hnsw", "100"),
        (request(k=300), GRAPH, 0, None, "hnsw", "600"),
        (request(k=2000), GRAPH, 0, None, "hnsw", "1000"),
        (request(tuning=dkv.Tuning(ef_search=40)), GRAPH, 0, None, "hnsw", "40"),
        (request(tuning=dkv.Tuning(ef_search=5)), GRAPH, 0, None, "hnsw", "10"),  # at least k
        (request(tuning=dkv.Tuning(exact=True)), GRAPH, 0, None, "exact", None),
        (request(), GRAPH, 200_000, 100_000, "hnsw", "200"),  # half of what is kept is lost
        (request(), GRAPH, 200_000, 2_000, "exact over the matching rows", None),
        (request(), GRAPH, 10_000_000, 100_000, "exact over the matching rows", None),  # 1 %: no graph finds them
        (request(tuning=dkv.Tuning(exact=False)), GRAPH, 200_000, 2_000, "hnsw", "1000"),
        (request(), LISTS, 0, None, "ivf", "20"),
        (request(tuning=dkv.Tuning(probes=3)), LISTS, 0, None, "ivf", "3"),
        (request(), LISTS, 200_000, 100_000, "ivf", "40"),
        (request(), LISTS, 200_000, 2_000, "exact over the matching rows", None),
        (request(), index(dkv.HNSW(quantization="binary"), None), 0, None, "hnsw", "200"),
        (request(k=40), index(dkv.HNSW(quantization="binary"), None), 0, None, "hnsw", "800"),
    ],
    ids=str,
)
def test_the_plan(asked, built, rows, matching, name, setting):
    plan = chosen(asked, built, rows, matching)
    assert plan.name == name
    effort = plan.settings.get("hnsw.ef_search", plan.settings.get("ivfflat.probes"))
    assert effort == setting


def test_compressed_indexes_are_asked_for_more_than_k():
    binary = index(dkv.HNSW(quantization="binary"), None)
    assert chosen(request(k=10), binary, 0, None).candidates == 200
    assert chosen(request(k=10, tuning=dkv.Tuning(rescore=False)), binary, 0, None).candidates == 10
    assert chosen(request(k=10, tuning=dkv.Tuning(candidates=70)), binary, 0, None).candidates == 70
    assert chosen(request(k=10), index(dkv.HNSW(quantization="float16")), 0, None).candidates == 20
    assert chosen(request(k=10), GRAPH, 0, None).candidates is None


@pytest.mark.parametrize(
    ("spec", "rows", "dimensions", "expected"),
    [
        (dkv.Auto(), 9_999, 8, dkv.Flat()),
        (dkv.Auto(), 10_000, 8, dkv.HNSW()),
        (dkv.Auto(), 10_000, 3072, dkv.HNSW(quantization="float16")),
        (dkv.Auto(), 10_000, 8000, dkv.HNSW(quantization="binary")),
        (dkv.Auto(memory="15MB"), 10_000, 384, dkv.HNSW(quantization="float16")),
        (dkv.Auto(memory="5MB"), 10_000, 384, dkv.HNSW(quantization="binary")),
        (dkv.IVF(), 10_000, 8, dkv.IVF(lists=200)),
        (dkv.IVF(), 100, 8, dkv.IVF(lists=2)),
        (dkv.IVF(), 0, 8, dkv.IVF(lists=1)),
        (dkv.IVF(lists=7), 10, 8, dkv.IVF(lists=7)),
    ],
    ids=str,
)
def test_what_a_spec_leaves_open(spec, rows, dimensions, expected):
    assert resolved(spec, rows, VectorInfo("v", dimensions)) == expected


@pytest.mark.parametrize(
    ("spec", "dimensions", "metric", "message"),
    [
        (dkv.Auto(memory="1MB"), 384, COSINE, "no graph of 10,000 vectors of 384 dimensions fits in 1MB"),
        (dkv.HNSW(), 2001, COSINE, "indexes 2,000 dimensions of this kind, 'v' has 2,001.*'float16' takes 4,000"),
        (dkv.IVF(), 2001, COSINE, "2,000 dimensions"),
        (dkv.HNSW(quantization="float16"), 4001, COSINE, "4,000 dimensions"),
        (dkv.Flat(quantization="float16"), 8, COSINE, "there is none of kind 'flat'"),
        (dkv.HNSW(quantization="binary"), 8, EUCLIDEAN, "direction.*'euclidean'"),
        (dkv.HNSW(quantization="binary"), 8, DOT, "direction.*'dot_product'"),
    ],
    ids=str,
)
def test_what_can_not_be_indexed_is_refused(spec, dimensions, metric, message):
    with pytest.raises(dkv.UnsupportedError, match=message):
        resolved(spec, 10_000, VectorInfo("v", dimensions, metric))


def test_the_statement_of_an_index():
    info = VectorInfo('a"b', 8, DOT)
    assert create_index("t", "i", dkv.HNSW(m=5), info) == (
        'CREATE INDEX "i" ON t USING hnsw ("a""b" vector_ip_ops) WITH (m = 5, ef_construction = 64)'
    )
    half = create_index("t", "i", dkv.IVF(lists=3, quantization="float16"), info)
    assert half.endswith('ivfflat (("a""b"::halfvec(8)) halfvec_ip_ops) WITH (lists = 3)')


# On a server


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(4)
    rows = 8000
    return pd.DataFrame(
        {
            "u": rng.random(rows),
            "kind": rng.choice(["a", "b", "c"], rows),
            "tags": [["x", "y"][: i % 3] for i in range(rows)],
            "text": [f"word{i % 50} and more" for i in range(rows)],
            "v": dkv.VectorArray(clustered(rows)),
        }
    )


@pytest.fixture(scope="module")
def queries():
    return clustered(40, seed=1)


@pytest.fixture(scope="module")
def store(frame, postgres_url):
    config = {"backend": "pgvector", "url": postgres_url, "table": "searched", "filterable": ["u", "kind", "tags"]}
    with frame.vec.push(config, mode="replace", index=dkv.HNSW()) as store:
        yield store
        store.drop()


def recall(found, frame, queries, k, where=None):
    kth = frame.vec.search(queries, k, where=where).groupby("query")["distance"].max()
    return (found["distance"] <= found["query"].map(kth) + 1e-5).sum() / (len(queries) * k)


@pytest.mark.parametrize(
    ("metric", "spec", "floor"),
    [
        (COSINE, dkv.HNSW(), 0.97),
        (EUCLIDEAN, dkv.HNSW(), 0.97),
        (DOT, dkv.HNSW(), 0.95),
        (COSINE, dkv.IVF(lists=60), 0.97),
        (EUCLIDEAN, dkv.IVF(lists=60, quantization="float16"), 0.97),
        (COSINE, dkv.HNSW(quantization="float16"), 0.97),
        (COSINE, dkv.HNSW(quantization="binary"), 0.85),
        (COSINE, dkv.IVF(lists=60, quantization="binary"), 0.85),
    ],
    ids=str,
)
def test_recall_and_distances_of_every_index(frame, queries, postgres_url, table, metric, spec, floor):
    with frame[["v"]].vec.push(postgres_url, table=table, index=spec, metric=metric) as store:
        assert store.indexes() == {"v": spec}
        tuning = {"exact": False}
        found = store.search(queries, k=10, tuning=tuning)
        assert store.last.plan == spec.kind
        kth = frame.vec.search(queries, 10, metric=metric).groupby("query")["distance"].max()
        assert (found["distance"] <= found["query"].map(kth) + 1e-5).mean() >= floor
        for at in (0, 17):
            mine = found[found["query"] == at]
            exact = frame.loc[mine.index].vec.search(queries[at], k=10, metric=metric)["distance"]
            np.testing.assert_allclose(mine["distance"], exact.loc[mine.index], rtol=1e-5, atol=1e-5)
        with dkv.connect(postgres_url, table=table) as again:
            assert (again.indexes(), again.schema.vectors[0].metric) == ({"v": spec}, metric)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_a_filter_fills_k_with_the_nearest(store, frame, queries, share):
    where = dkv.col("u") < share
    expected = min(10, int((frame["u"] < share).sum()))
    found = store.search(queries, k=10, where=where)
    assert found.groupby("query").size().tolist() == [expected] * len(queries)
    assert recall(found, frame, queries, expected, where) >= (0.99 if share <= 0.1 else 0.97)


def test_an_index_that_gives_too_few_is_made_up_for(store, frame, queries, monkeypatch):
    """An estimate that is wrong: the plan goes through the index, and finds that it is starved."""

    async def wrong(_connection, _table, _request):
        return 8000.0

    monkeypatch.setattr("dkvector.backends._pg_planner.estimate", wrong)
    store.store._planner.forget()
    found = store.search(queries[:5], k=10, where="u < 0.0011 and kind != 'zzz'", tuning={"ef_search": 10})
    assert len(found) == 5 * min(10, int((frame["u"] < 0.0011).sum()))
    store.store._planner.forget()


def test_explain_tells_what_the_server_did(store, queries):
    told = store.explain(queries[0], k=5)
    assert (told.plan, told.rows, told.matching, told.returned) == ("hnsw", 8000, None, 5)
    assert told.native["index"].startswith("searched_v_hnsw_")
    assert told.native["index"] in told.native["server"]
    assert told.native["settings"].startswith("hnsw.ef_search = 100, hnsw.iterative_scan = strict_order")
    filtered = store.explain(queries[0], k=5, where="kind == 'a' and u < 0.01")
    assert filtered.plan == "exact over the matching rows"
    assert filtered.native["index"] == "none used: every row that matches is compared"
    assert filtered.native["parameters"] == ["vector[64]", "a", 0.01]
    assert '"kind" = $2::text' in filtered.native["SQL"]
    assert "filtered out" in filtered.native["server"] or "Index Scan by" in filtered.native["server"]


def test_explain_believes_the_server_and_not_the_plan(frame, postgres_url, table, queries):
    with (
        frame.vec.push(postgres_url, table=table, index="hnsw") as store,
        dkv.connect(postgres_url, table=table) as other,
    ):
        store.build_index("flat")  # the other has not heard of it
        told = other.explain(queries[0], k=5)
        assert told.plan.startswith("exact: the server did not use the index")
        assert told.native["index"].startswith("none used")
        assert other.indexes() == {"v": dkv.Flat()}
        assert other.explain(queries[0], k=5).plan == "exact: there is no index for it"


def test_columns_are_indexed_for_filters_and_words(store, sql):
    definitions = " ".join(one for (one,) in sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'searched'"))
    assert "btree (u)" in definitions
    assert "btree (kind)" in definitions
    assert "gin (tags)" in definitions
    store.index_columns("text", words=True)
    store.index_columns(["u"])
    assert (
        "to_tsvector('english'"
        in sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'searched' AND indexdef ~ 'tsv'")[0][0]
    )
    made, parameters, _ = keyword_statement(store, "word7")
    plan = sql_explained(store, made, parameters)
    assert "Bitmap Index Scan" in plan
    with pytest.raises(dkv.SchemaError, match="no words in"):
        store.index_columns("u", words=True)
    with pytest.raises(dkv.NotFoundError, match="no column 'nope'"):
        store.index_columns("nope")


def keyword_statement(store, text):
    from dkvector.backends._pg_keyword import statement
    from dkvector.requests import KeywordRequest

    return statement(KeywordRequest(text, 3, ("text",), None, (), highlight=False), store.store.table, "english")


def sql_explained(store, made, parameters):
    from dkvector._loop import LOOP

    return "\n".join(row[0] for row in LOOP.run(store.store._connections.fetch(f"EXPLAIN {made}", *parameters)))


def test_words_have_a_language(postgres_url, table):
    frame = pd.DataFrame({"text": ["die Häuser der Stadt", "the houses of the town"], "v": [[1.0, 0], [0, 1.0]]})
    config = {"backend": "pgvector", "url": postgres_url, "table": table, "language": "german"}
    with frame.vec.push(config) as store:
        assert store.keyword_search("Haus").index.tolist() == [0]
    with dkv.connect(config | {"language": "english"}) as store:
        assert store.keyword_search("house").index.tolist() == [1]
    with dkv.connect(config | {"language": "klingon"}) as store, pytest.raises(dkv.SchemaError, match="klingon"):
        store.keyword_search("house")


def test_stats_are_the_server_s(store, sql):
    stats = store.stats()
    ((table, indexes, disk),) = sql(
        "SELECT pg_table_size('searched'), pg_indexes_size('searched'), pg_total_relation_size('searched')"
    )
    assert stats.to_dict() == {"rows": 8000, "table_bytes": table, "index_bytes": indexes, "disk_bytes": disk}
    assert stats["table_bytes"] > 8000 * DIMENSIONS * 4


def test_the_same_numbers_as_the_exact_store(store, frame, queries):
    exact = frame.vec.push("exact")
    for k, where in ((10, None), (7, "kind == 'b'"), (3, "u > 0.999")):
        ours = store.search(queries, k=k, where=where, tuning={"exact": True})
        theirs = exact.search(queries, k=k, where=where)
        assert ours.index.tolist() == theirs.index.tolist()
        np.testing.assert_allclose(ours["distance"], theirs["distance"], atol=1e-5)
        pd.testing.assert_frame_equal(
            ours.drop(columns=["distance", "score"]), theirs.drop(columns=["distance", "score"])
        )


def test_many_queries_are_those_alone(store, queries):
    together = store.search(queries, k=5, columns=[])
    for at, query in enumerate(queries):
        alone = store.search(query, k=5, columns=[])
        mine = together[together["query"] == at]
        assert mine.index.tolist() == alone.index.tolist()
        np.testing.assert_array_equal(mine["distance"], alone["distance"])


def test_an_index_of_more_dimensions(postgres_url, table):
    matrix = np.random.default_rng(0).standard_normal((300, 2500)).astype("f4")
    frame = pd.DataFrame({"v": dkv.VectorArray(matrix)})
    with frame.vec.push(postgres_url, table=table, index=dkv.HNSW(quantization="float16")) as store:
        found = store.search(matrix[7], k=3, tuning={"exact": False})
        assert (found.index[0], found["distance"].iloc[0]) == (7, pytest.approx(0, abs=1e-6))
        with pytest.raises(dkv.UnsupportedError, match="2,000 dimensions"):
            store.build_index("hnsw")
        assert store.indexes() == {"v": dkv.HNSW(quantization="float16")}  # the old one stays


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("scale", [1e6, 1e-9])
def test_by_cosine_a_query_may_be_of_any_length_where_float16_is_compared(postgres_url, table, dtype, scale):
    """Its numbers are past what float16 holds, or less: rows came that were no neighbours, or none."""
    matrix = np.random.default_rng(0).standard_normal((300, 8)).astype("f4")
    config = {"backend": "pgvector", "url": postgres_url, "table": table, "vector": {"dtype": dtype}}
    spec = dkv.HNSW(quantization=None if dtype == "float16" else "float16")
    with pd.DataFrame({"v": dkv.VectorArray(matrix)}).vec.push(config, index=spec) as store:
        for exact in (True, False):
            wanted = store.search(matrix[:2], k=5, tuning={"exact": exact})
            found = store.search(matrix[:2] * np.float32(scale), k=5, tuning={"exact": exact})
            assert found.index.tolist() == wanted.index.tolist()
            np.testing.assert_allclose(found["distance"], wanted["distance"], atol=1e-3)


def test_an_index_that_was_replaced_is_gone(frame, postgres_url, table, sql):
    with frame.head(500).vec.push(postgres_url, table=table, index="hnsw") as store:
        for spec in (dkv.IVF(lists=5), dkv.HNSW(m=4), dkv.Flat()):
            assert store.build_index(spec) == spec
            names = sql(f"SELECT indexname FROM pg_indexes WHERE tablename = '{table}' AND indexname !~ 'pkey'")
            assert len(names) == (spec != dkv.Flat())


def test_workers_that_can_not_share_memory_are_done_without(frame, postgres_url, table, monkeypatch):
    from asyncpg import exceptions as pg

    from dkvector.backends._pg_build import Builder
    from dkvector.errors import BackendUnavailableError

    asked, build = [], Builder._build

    async def full(self, statement, name, memory, workers):
        asked.append(workers)
        if workers:
            raise BackendUnavailableError("no space left") from pg.DiskFullError("could not resize shared memory")
        await build(self, statement, name, memory, workers)

    monkeypatch.setattr(Builder, "_build", full)
    with frame.head(100).vec.push(postgres_url, table=table, index="hnsw") as store:
        assert (asked, store.indexes()) == ([7, 0], {"v": dkv.HNSW()})


def test_progress_is_shown(frame, postgres_url, table, capsys):
    with frame.vec.push(postgres_url, table=table, index="hnsw", progress=True):
        shown = capsys.readouterr().err
    assert f"rows to {table}: 100%" in shown
    assert f"index {table}_v_hnsw" in shown


def test_arrow_tables_are_pushed_and_ids_keep_their_type(postgres_url, table):
    vectors = pa.FixedSizeListArray.from_arrays(np.arange(6, dtype="f4"), 2)
    with dkv.connect(postgres_url, table=table) as store:
        store.upsert(pa.table({"id": pa.array([1, 2, 3], pa.int32()), "v": vectors}))
        assert store.search([2.0, 3], k=3).index.dtype == "int32"


@pytest.mark.parametrize("queries", [[[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]], ids=["one", "many"])
def test_of_rows_as_near_the_first_ids_come(postgres_url, table, queries):
    ids = np.random.default_rng(0).permutation(40)
    frame = pd.DataFrame({"v": [[1.0, 1.0]] * 40}, index=[f"id {one:02}" for one in ids])
    with frame.vec.push(postgres_url, table=table) as store:
        assert store.search(queries, k=3).index.tolist() == ["id 00", "id 01", "id 02"] * len(queries)
