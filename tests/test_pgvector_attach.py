"""A table that was there before us: read as it is, changed only where that is asked for."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import dkvector as dkv
from dkvector.backends._pg_config import PgConfig
from dkvector.backends.pgvector import PgVectorStore

DDL = """
CREATE TABLE {t} (
    doc_id integer PRIMARY KEY, title varchar(40), body text NOT NULL DEFAULT 'x', price numeric(8,2), free numeric,
    tags text[], seen timestamptz, day date, key uuid, meta jsonb, state {t}_state, ip inet, small smallint,
    real real, embedding vector(3), other halfvec(2)
)
"""
ROWS = """
INSERT INTO {t} VALUES
(1, 'one', 'first', 1.50, 0.1, '{{a,b}}', '2024-01-01 12:00+00', '2024-01-01', '00000000-0000-0000-0000-000000000005',
 '{{"n": 1}}', 'open', '10.0.0.1', 7, 0.1, '[1,0,0]', '[1,1]'),
(2, NULL, 'second', NULL, 'NaN', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'NaN', '[0,1,0]', NULL),
(3, 'three', 'third', -2, 3, '{{}}', 'infinity', '1000-01-01', NULL, '[]', 'shut', '::1', -1, 2, NULL, '[0,1]')
"""


@pytest.fixture
def docs(table, sql):
    sql(
        "CREATE EXTENSION IF NOT EXISTS vector",
        f"CREATE TYPE {table}_state AS ENUM ('open', 'shut')",
        DDL.format(t=table),
        ROWS.format(t=table),
        f"CREATE INDEX {table}_old ON {table} USING hnsw (embedding vector_l2_ops) WITH (m = 8)",
        f"COMMENT ON COLUMN {table}.title IS 'what the reader sees'",
    )
    yield table
    sql(f"DROP TABLE IF EXISTS {table} CASCADE", f"DROP TYPE {table}_state")


def definition(sql, table):
    """All that the catalogue knows of a table."""
    return [
        sql(f"SELECT {what} FROM pg_attribute WHERE attrelid = '{table}'::regclass")
        for what in ("attname::text, atttypid, col_description(attrelid, attnum)",)
    ] + [
        sql(f"SELECT indexdef FROM pg_indexes WHERE tablename = '{table}' ORDER BY 1"),
        sql(f"SELECT t::text FROM {table} t"),
    ]


def test_a_table_is_read_as_it_is(docs, postgres_url, sql):
    before = definition(sql, docs)
    with dkv.connect(postgres_url, table=docs) as store:
        assert [(one.name, one.dimensions, one.metric, one.dtype) for one in store.schema.vectors] == [
            ("embedding", 3, "euclidean", "float32"),  # as its index measures
            ("other", 2, "cosine", "float16"),
        ]
        assert store.indexes() == {"embedding": dkv.HNSW(m=8), "other": dkv.Flat()}
        found = store.search([1.0, 0, 0], k=5, field="embedding")
        assert (found.index.name, found.index.tolist(), found["distance"].tolist()) == (
            "doc_id",
            [1, 2],
            pytest.approx([0, 2**0.5]),
        )
        row = found.loc[1]
        assert (row.title, float(row.price), row.free, list(row.tags), row.small) == ("one", 1.5, 0.1, ["a", "b"], 7)
        assert (row.meta, row.state, row.ip, str(row.day)) == ('{"n": 1}', "open", "10.0.0.1/32", "2024-01-01")
        assert (str(row.seen), str(row.key)[-1]) == ("2024-01-01 12:00:00+00:00", "5")
        assert found.loc[2, ["title", "price", "tags", "seen", "day", "key", "meta", "state"]].isna().all()
        whole = store.to_frame()
        assert (len(whole), len(store), whole["embedding"].isna().tolist()) == (3, 3, [False, False, True])
    assert definition(sql, docs) == before


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("title == 'one'", [1]),
        ("price < 0", [3]),
        ("price.isna()", [2]),
        ("free > 0", [1, 3]),
        ("free.isna()", [2]),
        ("real.isna()", [2]),
        ("small == 7.0", [1]),
        ("small < 100000", [1, 3]),
        ("doc_id in [1, 3, 99999999999]", [1, 3]),
        ("state == 'open'", [1]),
        ("ip.like('10.%')", [1]),
        ("meta.like('%1%')", [1]),
        ("day < '2000-01-01'", [3]),
        ("seen > '2024-01-01T00:00:00+00:00'", [1, 3]),
        ("tags.notna()", [1, 3]),
    ],
)
def test_filters_on_a_table_that_was_there(docs, postgres_url, where, expected):
    with dkv.connect(postgres_url, table=docs) as store:
        assert sorted(one for batch in store.scan(where) for one in batch.index) == expected


def test_rows_are_written_only_in_columns_that_are_there(docs, postgres_url):
    with dkv.connect(postgres_url, table=docs) as store:
        rows = pd.DataFrame(
            {"title": ["uno", "four"], "embedding": [[1.0, 1, 1]] * 2, "other": [[1.0, 0]] * 2}, index=[1, 4]
        )
        assert (store.upsert(rows).replaced, store.written.inserted) == (1, 1)
        assert store.get([1])[["title", "body"]].iloc[0].tolist() == ["uno", "first"]  # what was not given stays
        with pytest.raises(dkv.SchemaError, match=r"no columns \['new'\], and was there before"):
            store.upsert(rows.assign(new=1))
        with pytest.raises(dkv.SchemaError, match="'small' does not fit a column of type smallint"):
            store.upsert(rows.assign(small=[1, 10**6]))
        assert store.delete([4]) == 1


def test_replace_keeps_a_table_that_was_there(table, postgres_url, sql):
    sql(
        "CREATE EXTENSION IF NOT EXISTS vector",
        f"CREATE TABLE {table} (id bigint PRIMARY KEY, body text DEFAULT 'x', v vector(2), own text DEFAULT 'kept')",
        f"CREATE INDEX {table}_old ON {table} USING hnsw (v vector_l2_ops)",
        f"INSERT INTO {table} SELECT i, 'b', '[1,2]' FROM generate_series(1, 5) i",
    )
    with dkv.connect(postgres_url, table=table) as store:
        store.upsert(pd.DataFrame({"body": ["new"], "v": [[1.0, 0]]}, index=[9]), mode="replace")
        assert store.indexes() == {"v": dkv.HNSW()}
    assert sql(f"SELECT id, body, own FROM {table}") == [(9, "new", "kept")]
    assert sql(f"SELECT count(*) FROM pg_indexes WHERE indexname = '{table}_old'") == [(1,)]


def pairs(ids, **columns: object):
    return pd.DataFrame({**columns, "v": [[float(at), 1.0] for at in range(len(ids))]}, index=pd.Index(ids, name="id"))


@pytest.mark.parametrize("key", ["filterable", "keywords"])
def test_a_column_to_index_that_rows_have_not_is_told_before_they_are_written(postgres_url, table, sql, key):
    with (
        dkv.connect({"backend": "pgvector", "url": postgres_url, "table": table, key: ["nope"]}) as store,
        pytest.raises(dkv.NotFoundError, match="no column 'nope'"),
    ):
        store.upsert(pairs([1, 2], n=[1, 2]))
    assert sql(f"SELECT to_regclass('{table}')") == [(None,)]


def test_rows_of_a_partitioned_table_are_replaced_and_measured(postgres_url, table, sql):
    sql(
        f"CREATE TABLE {table} (id bigint PRIMARY KEY, n int, v vector(2)) PARTITION BY HASH (id)",
        *(
            f"CREATE TABLE {table}_{at} PARTITION OF {table} FOR VALUES WITH (MODULUS 2, REMAINDER {at})"
            for at in (0, 1)
        ),
    )
    with dkv.connect(postgres_url, table=table) as store:
        assert store.upsert(pairs([1, 2, 3], n=[1, 2, 3])).inserted == 3
        written = store.upsert(pairs([2, 3, 4], n=[7, 8, 9]))
        assert (written.inserted, written.replaced) == (1, 2)
        assert store.to_frame()["n"].to_dict() == {1: 1, 2: 7, 3: 8, 4: 9}
        with pytest.raises(dkv.DuplicateIdError):
            store.upsert(pairs([4, 5], n=[0, 0]), mode="insert")
        assert store.upsert(pairs([5], n=[0]), mode="insert").inserted == 1
        sizes = store.stats()
        assert 0 < sizes["table_bytes"] < sizes["disk_bytes"] == sizes["table_bytes"] + sizes["index_bytes"]


def test_an_identity_takes_the_ids_that_it_is_given(postgres_url, table, sql):
    sql(f"CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int, v vector(2))")
    with dkv.connect(postgres_url, table=table) as store:
        store.upsert(pairs([1, 2], n=[1, 2]))
        assert store.upsert(pairs([2, 9], n=[3, 4])).replaced == 1
        assert store.to_frame()["n"].to_dict() == {1: 1, 2: 3, 9: 4}


def test_a_view_whose_id_is_no_key_says_so(postgres_url, table, sql):
    with pairs([1, 2], n=[5, 5]).vec.push(postgres_url, table=table):
        sql(f"CREATE VIEW {table}_view AS SELECT n AS id, v FROM {table}")
        with dkv.connect({"backend": "pgvector", "url": postgres_url, "table": f"{table}_view"}) as view:
            assert view.search([1.0, 0.0], k=5).index.tolist() == [5, 5]
            with pytest.raises(dkv.SchemaError, match="several rows of one id: 5"):
                view.get([5])


@pytest.mark.parametrize("others", [["[1,2,3]"], ["[1]", "[1,2,3]"]], ids=["more", "as many in all"])
def test_vectors_of_several_dimensions_in_one_column_are_told(postgres_url, table, sql, others):
    sql(f"CREATE TABLE {table} (id int PRIMARY KEY, v vector)", f"INSERT INTO {table} VALUES (1, '[1,2]')")
    sql(*(f"INSERT INTO {table} VALUES ({at}, '{one}')" for at, one in enumerate(others, 2)))
    with dkv.connect(postgres_url, table=table) as store:
        for ask in (store.to_frame, lambda: store.get([1, 2], include_vectors=True)):
            with pytest.raises(dkv.SchemaError, match=r"several dimensions.*vector\(n\)"):
                ask()


def test_keys_of_several_columns(table, postgres_url, sql):
    sql(
        "CREATE EXTENSION IF NOT EXISTS vector",
        f"CREATE TABLE {table} (lang text, n bigint, v vector(2), word text, PRIMARY KEY (lang, n))",
        f"INSERT INTO {table} SELECT l, i, ARRAY[i, 1]::float4[]::vector, l || i FROM "
        "unnest(ARRAY['de', 'en']) l, generate_series(1, 3) i",
    )
    with dkv.connect(postgres_url, table=table) as store:
        found = store.search([3.0, 1], k=2, metric="euclidean")
        assert found.index.tolist() == [("de", 3), ("en", 3)]
        assert found.index.names == ["lang", "n"]
        assert store.get([("en", 2), ("de", 1)])["word"].tolist() == ["en2", "de1"]
        with pytest.raises(dkv.NotFoundError, match=r"\('en', 9\) \(1 row\)"):
            store.get([("en", 9)])
        assert store.count("lang == 'de' and n > 1") == 2
        assert store.delete([("de", 1), ("fr", 1)]) == 1
        assert store.keyword_search("en2", on="word").index.tolist() == [("en", 2)]


@pytest.fixture
def words(table, sql):
    """A table whose primary key is of two columns, in another order than they stand in."""
    sql(
        "CREATE EXTENSION IF NOT EXISTS vector",
        f"CREATE TABLE {table} (n bigint, v vector(2), word text, lang text, PRIMARY KEY (lang, n))",
        f"INSERT INTO {table} SELECT i, ARRAY[i, 1]::float4[]::vector, l || i, l FROM "
        "unnest(ARRAY['de', 'en']) l, generate_series(1, 3) i",
    )
    return table


def keyed(*keys: object, names=("lang", "n"), **columns: object):
    vectors = [[float(at + 1), 2.0] for at in range(len(keys))]
    return pd.DataFrame({"v": vectors, **columns}, index=pd.MultiIndex.from_tuples(keys, names=names))


def test_rows_of_a_key_of_several_columns_are_written(words, postgres_url, sql):
    with dkv.connect(postgres_url, table=words) as store:
        written = store.upsert(keyed(("en", 2), ("fr", 7), word=["two", "sept"]))
        assert (written.replaced, written.inserted, written.ids.tolist()) == (1, 1, [("en", 2), ("fr", 7)])
        assert store.upsert(keyed((8, "fr"), names=("n", "lang"), word=["huit"])).inserted == 1  # by name
        assert store.upsert(keyed(("fr", 9), names=(None, None), word=["neuf"])).inserted == 1  # or by place
        flat = keyed(("it", 1), word=["uno"]).reset_index()
        assert store.upsert(pa.table({one: flat[one].tolist() for one in flat})).inserted == 1
        with pytest.raises(dkv.DuplicateIdError, match=r"\('fr', 7\).*nothing was written"):
            store.upsert(keyed(("fr", 6), ("fr", 7), word=["six", "sept"]), mode="insert")
        with pytest.raises(dkv.DuplicateIdError, match=r"given more than once: \('fr', 6\)"):
            store.upsert(keyed(("fr", 6), ("fr", 6), word=["six", "six"]))
        assert sql(f"SELECT lang, n, word, v::text FROM {words} WHERE lang IN ('fr', 'it') OR word = 'two' ORDER BY 3")[
            :4
        ] == [
            ("fr", 8, "huit", "[1,2]"),
            ("fr", 9, "neuf", "[1,2]"),
            ("fr", 7, "sept", "[2,2]"),
            ("en", 2, "two", "[1,2]"),
        ]
        assert store.search(like=("fr", 7), k=2, metric="euclidean").index.tolist() == [
            ("de", 2),
            ("en", 2),
        ]
        found = store.search(like=[("fr", 7), ("de", 1)], k=2, columns="word")
        assert found["query"].tolist() == [("fr", 7)] * 2 + [("de", 1)] * 2
        assert store.upsert(keyed(("xx", 1), word=["only"]), mode="replace").inserted == 1
    assert sql(f"SELECT lang, n, word FROM {words}") == [("xx", 1, "only")]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([1], r"made up of \['lang', 'n'\]: set_index"),
        (pd.MultiIndex.from_tuples([("en", 1, 2)]), "made up of"),
        (
            pd.MultiIndex.from_tuples([("en", 1)], names=["tongue", "n"]),
            r"the index of this frame of \['tongue', 'n'\]",
        ),
        (pd.MultiIndex.from_tuples([("en", "1")], names=["lang", "n"]), "the store's ids are struct<lang: "),
        (pd.MultiIndex.from_arrays([["en"], [None]], names=["lang", "n"]), "must not be missing; they are at rows 0"),
        (pd.MultiIndex.from_tuples([("en", 1)], names=["lang", 5]), r"the index of this frame of \['lang', 5\]"),
    ],
    ids=str,
)
def test_ids_that_are_none_of_the_table_s_are_refused(words, postgres_url, index, message):
    with dkv.connect(postgres_url, table=words) as store:
        with pytest.raises(dkv.SchemaError, match=message):
            store.upsert(pd.DataFrame({"v": [[1.0, 2.0]]}, index=index))
        assert len(store) == 6


async def test_records_have_ids_of_several_parts(words, postgres_url):
    store = await PgVectorStore.open({"url": postgres_url, "table": words})
    record = await store.read(("en", 2))
    assert (record.id, record["word"]) == (("en", 2), "en2")
    assert await store.update(("en", 2), dkv.Record({"word": "zwei", "v": [5.0, 1.0]}))
    assert (await store.read(("en", 2)))["word"] == "zwei"
    assert await store.create(dkv.Record({"word": "new", "v": [1.0, 1.0]}, id=("fr", 1))) == ("fr", 1)
    with pytest.raises(dkv.DuplicateIdError, match=r"\('fr', 1\)"):
        await store.create(dkv.Record({"word": "new", "v": [1.0, 1.0]}, id=("fr", 1)))
    with pytest.raises(dkv.SchemaError, match="made up of"):
        await store.create(dkv.Record({"word": "new", "v": [1.0, 1.0]}))
    with pytest.raises(dkv.SchemaError, match="as many parts"):
        await store.upsert([dkv.Record({"v": [1.0, 1.0]}, id=("fr", *range(n))) for n in (1, 2)])
    assert [one.id async for one in store.stream_read(dkv.Query().filter("word", "==", "new"))] == [("fr", 1)]
    assert (await store.read(("fr", 99)), await store.delete([("fr", 1), ("fr", 99)])) == (None, 1)
    await store.aclose()


@pytest.mark.parametrize("names", [["lang", "n"], [None, None], [None, "n"], ["kind", "when"]], ids=str)
def test_a_frame_with_a_multiindex_is_pushed_and_comes_back(postgres_url, table, sql, names):
    levels = [
        pd.Categorical(["b", "a", "b"], categories=["c", "b", "a"]),
        pd.to_datetime(["2024-01-01"] * 2 + ["2025-01-01"]),
    ]
    frame = pd.DataFrame({"t": ["x", "y", "z"], "v": dkv.VectorArray(np.eye(3, dtype="f4"))})
    frame.index = pd.MultiIndex.from_arrays(levels, names=names)
    with frame.vec.push(postgres_url, table=table, index="hnsw") as store:
        assert store.upsert(frame.iloc[[2, 0]].assign(t="new")).replaced == 2
        assert store.upsert(frame, mode="replace").inserted == 3
    with dkv.connect(postgres_url, table=table) as store:
        pd.testing.assert_frame_equal(store.to_frame().loc[frame.index], frame)
        pd.testing.assert_index_equal(store.search([0.0, 1, 0], k=1).index, frame.index[[1]], exact="equiv")
        assert store.indexes() == {"v": dkv.HNSW()}
        with pytest.raises(dkv.SchemaError, match="made up of"):
            store.upsert(frame.reset_index(drop=True))
    key = sql(
        f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '{table}'::regclass AND contype = 'p'"
    )
    assert key == [
        (
            "PRIMARY KEY ({}, {})".format(
                *(f"id_{at}" if name is None else name for at, name in enumerate(names))
            ).replace("when", '"when"'),
        )
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [(["t", "n"], "those of columns too"), (["n", "n"], "levels must differ"), (["n", 5], "must be text")],
    ids=str,
)
def test_names_of_an_index_that_can_not_be_columns(postgres_url, table, names, message):
    frame = keyed(("a", 1), names=names, t=["x"])
    with pytest.raises(dkv.SchemaError, match=message):
        frame.vec.push(postgres_url, table=table)


def test_a_store_of_single_ids_refuses_a_multiindex(postgres_url, table):
    frame = keyed(("a", 1))
    message = r"ids are int64, this frame has a MultiIndex: reset_index\(\)"
    with (
        frame.reset_index(drop=True).vec.push(postgres_url, table=table) as store,
        pytest.raises(dkv.SchemaError, match=message),
    ):
        store.upsert(frame)


def test_views_are_read(table, postgres_url, sql):
    frame = pd.DataFrame({"n": range(6), "v": [[1.0, i] for i in range(6)]})
    frame.vec.push(postgres_url, table=table, index="hnsw").close()
    sql(f"CREATE VIEW {table}_view AS SELECT id AS key, n * 10 AS tens, v FROM {table} WHERE n > 2")
    with pytest.raises(dkv.SchemaError, match=r"has no primary key: name the column.*'id'"):
        dkv.connect(postgres_url, table=f"{table}_view")
    config = {"backend": "pgvector", "url": postgres_url, "table": f"{table}_view", "id": "key"}
    with dkv.connect(config) as store:
        found = store.search([1.0, 0], k=10)
        assert (found.index.tolist(), found["tens"].tolist()) == ([3, 4, 5], [30, 40, 50])
        assert (len(store), store.count("tens > 30")) == (3, 2)
        for write in (lambda: store.upsert(frame.rename(columns={"n": "tens"})), store.drop):
            with pytest.raises(dkv.SchemaError, match="view"):
                write()
    with pytest.raises(dkv.NotFoundError, match="no column 'kez'; did you mean 'key'"):
        dkv.connect(config | {"id": "kez"})


def test_a_table_without_a_key_is_read_and_not_written(table, postgres_url, sql):
    sql(f"CREATE TABLE {table} (name text, v vector(2))", f"INSERT INTO {table} VALUES ('a', '[1,2]'), ('b', '[2,1]')")
    config = {"backend": "pgvector", "url": postgres_url, "table": table, "id": "name"}
    with dkv.connect(config) as store:
        assert store.search([1.0, 2], k=1).index.tolist() == ["a"]
        with pytest.raises(dkv.SchemaError, match="no primary key, so that no row can be replaced"):
            store.upsert(pd.DataFrame({"v": [[1.0, 1]]}, index=["c"]))
    sql(f"ALTER TABLE {table} ALTER name SET NOT NULL, ADD UNIQUE (name)")
    with dkv.connect(postgres_url, table=table) as store:  # as good as a primary key
        assert store.upsert(pd.DataFrame({"v": [[1.0, 1]]}, index=["b"])).replaced == 1


def test_a_schema_is_named_with_a_dot(postgres_url, sql):
    sql("DROP SCHEMA IF EXISTS dkv_apart CASCADE", "CREATE SCHEMA dkv_apart")
    frame = pd.DataFrame({"v": [[1.0, 2]]}, index=["a"])
    with frame.vec.push(postgres_url, table="dkv_apart.docs", index="hnsw") as store:
        store.upsert(frame, mode="replace")
        assert (len(store), store.indexes()) == (1, {"v": dkv.HNSW()})
    assert sql("SELECT id FROM dkv_apart.docs") == [("a",)]
    sql("DROP SCHEMA dkv_apart CASCADE")


# Vectors for a table that had none


@pytest.fixture
def articles(table, sql):
    sql(
        f"CREATE TABLE {table} (id bigint PRIMARY KEY, title text, body text)",
        f"INSERT INTO {table} SELECT i, 'title ' || i, CASE WHEN i % 10 = 0 THEN NULL ELSE 'body ' || i END FROM "
        "generate_series(1, 100) i",
        f"INSERT INTO {table} VALUES (101, NULL, NULL), (102, '', NULL)",
    )
    return table


def encode(texts):
    return np.float32([[len(text), int(re.findall(r"\d+", text)[0])] for text in texts])


def test_vectors_come_to_a_table_that_had_none(articles, postgres_url, sql):
    with dkv.connect(postgres_url, table=articles) as store:
        assert (store.count("id > 90"), store.schema.vectors) == (12, ())
        with pytest.raises(dkv.SchemaError, match="no vector field yet; add_vector_field"):
            store.search([1.0, 2])
        info = store.add_vector_field("embedding", dimensions=2, metric="l2", model="length", version="1")
        assert info == dkv.VectorInfo("embedding", 2, dkv.DistanceMetric.EUCLIDEAN, model="length", version="1")
        with pytest.raises(dkv.SchemaError, match="there is a column 'embedding' already"):
            store.add_vector_field("embedding", dimensions=3)
        asked = []

        def interrupted(texts):
            asked.append(len(texts))
            if len(asked) == 3:
                raise RuntimeError("out of memory")
            return encode(texts)

        with pytest.raises(RuntimeError, match="out of memory"):
            store.backfill("embedding", interrupted, text=["title", "body"], batch_size=20)
        assert sql(f"SELECT count(embedding) FROM {articles}") == [(40,)]
        assert store.backfill("embedding", encode, text=["title", "body"], batch_size=20) == 60
        assert store.backfill("embedding", encode, text=["title", "body"]) == 0
        assert sql(f"SELECT id FROM {articles} WHERE embedding IS NULL ORDER BY id") == [(101,), (102,)]
        assert sql(f"SELECT embedding::text FROM {articles} WHERE id = 7") == [("[14,7]",)]  # "title 7", "body 7"
        store.build_index("hnsw")
        assert store.search([14.0, 7.0], k=1).index.tolist() == [7]
    with dkv.connect(postgres_url, table=articles) as again:
        assert (again.schema.vectors[0], again.indexes()) == (info, {"embedding": dkv.HNSW()})
        rows = pd.DataFrame({"title": ["t"], "embedding": [[1.0, 1.0]]}, index=[1])
        with pytest.raises(dkv.SchemaError, match="model 'length'"):
            again.upsert(rows, reading=dkv.Reading(model="other"))


class Encoder:
    def encode(self, texts):
        return [[1.0, len(text)] for text in texts]


def test_only_some_rows_may_be_filled_and_by_an_object(articles, postgres_url):
    with dkv.connect(postgres_url, table=articles) as store:
        store.add_vector_field("v", 2, dtype="float16")
        assert store.backfill("v", Encoder(), text="title", where="id <= 5", progress=True) == 5
        assert store.explain([1.0, 7.0], k=50).matching is None
        assert store.search([1.0, 7.0], k=50).index.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("encoder", "error", "message"),
    [
        (lambda texts: np.ones((len(texts), 3)), dkv.SchemaError, "2 dimensions, the encoder gives 3"),
        (lambda texts: np.ones((len(texts) - 1, 2)), dkv.VectorError, "texts"),
        (lambda texts: np.full((len(texts), 2), np.nan), dkv.VectorError, "NaN"),
        (lambda texts: np.zeros((len(texts), 2)), dkv.VectorError, "zero"),
        ("minilm", dkv.SchemaError, "an encoder is a callable"),
    ],
)
def test_what_an_encoder_makes_is_checked(articles, postgres_url, encoder, error, message):
    with dkv.connect(postgres_url, table=articles) as store:
        store.add_vector_field("v", 2)
        with pytest.raises(error, match=message):
            store.backfill("v", encoder, text="title")
        assert store.to_frame()["v"].isna().all()


def test_local_stores_say_that_they_can_not():
    with pd.DataFrame({"t": ["x"], "v": [[1.0, 2]]}).vec.push("exact") as store:
        for ask in (lambda: store.index_columns("t"), lambda: store.index_columns("t", words=True)):
            with pytest.raises(dkv.UnsupportedError, match="exact has no indexes of payload columns"):
                ask()


# The design that this package grew from


async def test_the_seed_s_config_and_names(table, postgres_url, monkeypatch):
    from urllib.parse import parse_qs, urlsplit

    parts = urlsplit(postgres_url)
    monkeypatch.setenv("PGUSER", parts.username or "postgres")
    config = {
        "backend": "postgres_vector",
        "host": parts.hostname or parse_qs(parts.query)["host"][0],
        "port": parts.port or 5432,
        "database": parts.path[1:],
        "table": table,
        "pool": {"min_size": 5, "max_size": 20},
        "vector": {"dimension": 768, "index_type": "ivfflat", "lists": 100},
    }
    if parts.password:
        config["password"] = parts.password
    for name in ("postgres_vector", "pgvector"):
        db = await dkv.VectorStoreFactory.create(name, config)
        assert isinstance(db, PgVectorStore)
        rng = np.random.default_rng(0)
        records = [
            dkv.Record({"title": f"Document {i}", "embedding": dkv.VectorField(rng.random(768), 768)})
            for i in range(100)
        ]
        for record in records:
            await db.create(record)
        results = await db.search_similar(rng.random(768), k=10)
        assert len(results) == 10
        scores = [score for _, score in results]
        assert scores == sorted(scores, reverse=True)
        with pytest.raises(dkv.VectorError, match="5 dimensions, expected 768"):
            await db.index_vectors([dkv.Record({"embedding": dkv.VectorField(np.ones(5), 5)})], "embedding")
        await db.aclose()
    db = await dkv.VectorStoreFactory.create("pgvector", config | {"vector": {"index_type": "ivfflat", "lists": 2}})
    assert await db.index_vectors(records, "embedding")
    assert await db.indexes() == {"embedding": dkv.IVF(lists=2)}
    await db.aclose()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "name the table that holds the rows"),
        ({"tabel": "x"}, "has no 'tabel'; did you mean 'table'"),
        ({"table": "x", "pool": {"max": 3}}, "PoolConfig has no 'max'"),
        ({"table": "x", "vector": {"dims": 3}}, "VectorConfig has no 'dims'"),
        ({"table": "x", "vector": {"dtype": "int8"}}, "float32 or float16, not as 'int8'"),
        ({"table": "x", "pool": {"max_size": 0}}, "max_size of a pool must be a whole number of at least 1, not 0"),
        ({"table": "x", "pool": {"min_size": 5, "max_size": 2}}, "at least 5, not 2"),
        ({"table": "x", "pool": {"min_size": -1}}, "min_size of a pool must be a whole number"),
        ({"table": "x", "pool": 5}, "pool of a config can't be 5"),
        ({"table": "x", "vector": None}, "vector of a config can't be None"),
        ({"table": "x", "url": 5}, "url of a config can't be 5"),
        ({"table": "x", "port": "abc"}, "port must be a number, not 'abc'"),
        ({"table": "x", "statement_timeout": "1s"}, "a number of seconds, not '1s'"),
        ({"table": "x", "statement_cache_size": -1}, "statement_cache_size must be a whole number"),
        # the server would cut it, and take the table of another store for it
        ({"table": "t" * 64}, "at most 63 bytes: shorten table='t"),
        ({"table": "public." + "ü" * 32}, "at most 63 bytes"),
    ],
    ids=str,
)
def test_configs_that_do_not_fit_are_refused(config, message):
    with pytest.raises(dkv.SchemaError, match=message):
        dkv.connect({"backend": "pgvector", **config})


@pytest.mark.parametrize(
    "login", ["me:se/cret@h", "me:se#cret@h", "me:se?cret@h", "me:se[cret@h", "me:pass@h:secret", "/db?password=x&cret"]
)
def test_a_url_that_can_not_be_read_shows_no_secret(login):
    for target in (f"postgresql://{login}/db", {"backend": "pgvector", "url": f"postgresql+asyncpg://{login}/db"}):
        with pytest.raises(dkv.SchemaError, match="the URL can't be read") as error:
            dkv.connect(target, table="x")
        assert error.value.__cause__ is None
        assert "cret" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:p%2Fq@[::1]:5432,h:5433/db?application_name=x",
        "postgresql:///db?host=/var/run&port=5433",
        "postgresql://?host=a,b&port=1,2",
    ],
)
def test_urls_that_the_driver_reads_are_let_through(url):
    assert PgConfig.of({"table": "x", "url": url}).url == url
