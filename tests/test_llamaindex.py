"""LlamaIndex's vector store over ours: what its own stores' tests ask, on three backends, and what they do not."""

import threading

import numpy as np
import pandas as pd
import pytest
import servers
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import Document, ImageNode, IndexNode, Node, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

import dkvector as dkv
from dkvector.interop._metadata import lines
from dkvector.interop.llamaindex import DkvectorVectorStore

Op, Mode = FilterOperator, VectorStoreQueryMode
A, B, C = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]


def letters(text):
    return [float(text.count(letter)) for letter in "abc"]


def node(name, text, document=None, /, **metadata):
    source = {} if document is None else {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)}
    return TextNode(text=text, id_=name, embedding=letters(text), relationships=source, metadata=metadata)


NODES = [
    node("w", "aaab", "one", page=1, tags=["red", "blue"], who="Ann"),
    node("x", "aab", "one", page=2, tags=[], who="ben", sizes=[1, 2]),
    node("y", "abb", "two", page=3, tags=["blue's\n;"], who="", sizes=[1.0, 0.5]),
    node("z", "c fox", more={"deep": [1]}, flag=True),
]


@pytest.fixture(params=["exact", "faiss", "pgvector"])
def backend(request, tmp_path):
    if request.param == "pgvector":
        servers.need_postgres()
        target = {"backend": "pgvector", "url": request.getfixturevalue("postgres_url")}
        target |= {"table": request.getfixturevalue("table")}
    else:
        target = {"faiss": tmp_path / "nodes"}.get(request.param, request.param)
    with dkv.connect(target) as store:
        yield store


@pytest.fixture
def nodes(backend):
    made = DkvectorVectorStore(backend)
    assert made.add(NODES) == ["w", "x", "y", "z"]
    return made


@pytest.fixture
def local():
    with dkv.connect("exact") as store:
        made = DkvectorVectorStore(store)
        made.add(NODES)
        yield made


def only(*filters, condition="and"):
    made = [MetadataFilter(key=key, operator=Op(op), value=value) for key, op, value in filters]
    return MetadataFilters(filters=made, condition=FilterCondition(condition))


def found(nodes, embedding=A, k=10, options=None, **query):
    given = VectorStoreQuery(query_embedding=embedding, similarity_top_k=k, **query)
    return nodes.query(given, **(options or {})).ids


def test_the_nearest_come_first_with_our_scores(nodes):
    result = nodes.query(VectorStoreQuery(query_embedding=A, similarity_top_k=3))
    assert result.ids == ["w", "x", "y"]
    np.testing.assert_allclose(result.similarities, [3 / 10**0.5, 2 / 5**0.5, 1 / 5**0.5], rtol=1e-6)
    assert [one.node_id for one in result.nodes] == result.ids


def test_nodes_come_back_whole(nodes):
    assert nodes.get_nodes(["z", "w", "nobody"]) == [
        one.model_copy(update={"embedding": None}) for one in (NODES[3], NODES[0])
    ]
    assert {one.node_id for one in nodes.get_nodes()} == {"w", "x", "y", "z"}
    assert nodes.get_nodes(["w"])[0].ref_doc_id == "one"


def test_nodes_of_every_kind_come_back_as_what_they_are(backend):
    kinds = [
        IndexNode(text="a", id_="i", index_id="other", embedding=A),
        ImageNode(text="b", id_="p", image_url="http://there/p.png", embedding=B),
        Node(id_="m", embedding=C, metadata={"n": 1}),
    ]
    made = DkvectorVectorStore(backend)
    made.add(kinds)
    got = made.get_nodes(["i", "p", "m"])
    assert [type(one) for one in got] == [IndexNode, ImageNode, Node]
    assert (got[0].index_id, got[1].image_url, got[2].metadata) == ("other", "http://there/p.png", {"n": 1})


CASES = [
    (("page", "==", 2), "x"),
    (("page", ">", 1), "xy"),
    (("page", ">=", 2), "xy"),
    (("page", "<", 3), "wx"),
    (("page", "<=", 1), "w"),
    (("page", "!=", 1), "xyz"),
    (("page", "in", [1, 3]), "wy"),
    (("page", "nin", [1, 3]), "xz"),
    (("tags", "contains", "blue"), "w"),
    (("tags", "contains", "blue's\n;"), "y"),
    (("tags", "any", ["red", "blue's\n;"]), "wy"),
    (("tags", "all", ["red", "blue"]), "w"),
    (("tags", "all", []), "wxy"),
    (("tags", "any", []), ""),
    (("sizes", "contains", 1), "xy"),
    (("sizes", "contains", 2.0), "x"),
    (("sizes", "contains", "1"), ""),
    (("tags", "==", ["red", "blue"]), "w"),
    (("tags", "is_empty", None), "xz"),
    (("who", "is_empty", None), "yz"),
    (("nobody", "is_empty", None), "wxyz"),
    (("who", "text_match", "nn"), "w"),
    (("who", "text_match", "NN"), ""),
    (("who", "text_match_insensitive", "B"), "x"),
    (("who", "contains", "en"), "x"),
    (("doc_id", "==", "one"), "wx"),
    (("flag", "==", 1), "z"),
]


@pytest.mark.parametrize(("asked", "expected"), CASES, ids=lambda one: str(one)[:40])
def test_every_operator_means_what_it_does_in_llamaindex(local, asked, expected):
    assert "".join(sorted(found(local, filters=only(asked)))) == expected
    assert "".join(sorted(one.node_id for one in local.get_nodes(filters=only(asked)))) == expected


def test_every_operator_is_tested():
    assert {asked[1] for asked, _ in CASES} == {one.value for one in FilterOperator}


def test_operators_mean_the_same_on_every_backend(nodes):
    got = {str(asked): "".join(sorted(found(nodes, filters=only(asked)))) for asked, _ in CASES}
    assert got == {str(asked): expected for asked, expected in CASES}


def test_filters_nest_and_come_before_the_neighbours(nodes):
    inner = only(("page", "==", 3), ("who", "==", "ben"), condition="or")
    nested = MetadataFilters(filters=[inner, only(("page", ">", 2), condition="not")])
    assert found(nodes, k=1, filters=nested) == ["x"]
    assert set(found(nodes, filters=only(("page", "==", 1), ("page", "==", 2), condition="not"))) == {"y", "z"}
    assert found(nodes, k=1, filters=only(("page", ">=", 3))) == ["y"]


def test_ids_documents_and_filters_restrict_together(nodes):
    assert found(nodes, doc_ids=["one"]) == ["w", "x"]
    assert found(nodes, node_ids=["x", "y", "nobody"]) == ["x", "y"]
    assert found(nodes, node_ids=["x", "y"], doc_ids=["one"], filters=only(("page", ">", 0))) == ["x"]
    assert found(nodes, options={"where": dkv.col("page") > 1}, doc_ids=["one"]) == ["x"]
    assert found(nodes, k=1, node_ids=[], doc_ids=[]) == ["w"]  # as every index asks that restricts nothing


KEYS = {
    "n": st.integers(-2, 2),
    "s": st.sampled_from(["", "a", "A", "ab", "b\n", '"']),
    "f": st.sampled_from([0.5, 1.0]),
}
ITEMS = st.lists(KEYS["s"], max_size=3)
ROWS = st.lists(
    st.fixed_dictionaries({}, optional=KEYS | {"l": ITEMS, "i": st.lists(KEYS["n"], max_size=2)}),
    min_size=1,
    max_size=6,
)
ORDER = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


def compared(key):
    values = st.lists(KEYS[key], min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just(key), ORDER, KEYS[key]), st.tuples(st.just(key), st.sampled_from(["in", "nin"]), values)
    )


LEAF = st.one_of(
    *map(compared, KEYS),
    st.tuples(st.just("s"), st.sampled_from(["text_match", "text_match_insensitive", "contains"]), KEYS["s"]),
    st.tuples(st.sampled_from(["l", "s"]), st.sampled_from(["any", "all"]), ITEMS),
    st.tuples(st.just("l"), st.just("contains"), KEYS["s"]),
    st.tuples(st.just("i"), st.just("contains"), KEYS["n"] | st.just("1")),
    st.tuples(st.just("l"), st.sampled_from(["==", "!="]), ITEMS),
    st.tuples(st.sampled_from([*KEYS, "l", "i"]), st.just("is_empty"), st.none()),
)
FILTERS = st.builds(
    lambda leaves, condition: only(*leaves, condition=condition),
    st.lists(LEAF, max_size=3),
    st.sampled_from(["and", "or", "not"]),
)
TREES = st.recursive(
    FILTERS,
    lambda inner: st.builds(
        lambda filters, condition: MetadataFilters(filters=filters, condition=condition),
        st.lists(inner, min_size=1, max_size=3),
        st.sampled_from(list(FilterCondition)),
    ),
    max_leaves=6,
)


def holds(filters, metadata):
    """LlamaIndex's own function, which reads no nested filters, and Python's logic around it."""
    if not any(isinstance(one, MetadataFilters) for one in filters.filters):
        return build_metadata_filter_fn(lambda _: metadata, filters)("any")
    each = [holds(one, metadata) for one in filters.filters]
    return {"and": all(each), "or": any(each), "not": not any(each)}[filters.condition.value]


FULL = {"n": 9, "s": "zz", "f": 9.5, "l": ["zz"], "i": [9]}  # a row that has every column


@given(ROWS, TREES)
def test_filters_mean_what_llamaindex_own_function_does(rows, filters):
    rows = [FULL, *rows]
    with dkv.connect("exact") as store:
        made = DkvectorVectorStore(store)
        made.add([node(str(at), "a", **row) for at, row in enumerate(rows)])
        got = found(made, k=len(rows), filters=filters)
    assert set(got) == {str(at) for at, row in enumerate(rows) if holds(filters, row)}


ITEM = st.text('a\n"\\1', max_size=3) | st.integers(0, 1)  # what could be taken for another, or for its part


@given(ITEM, ITEM)
def test_an_item_of_a_list_is_found_whole_or_not_at_all(one, other):
    text = lines([one, "between"])
    assert ("\n" + lines([other])[1:] in text) == (other in {one, "between"})


@pytest.mark.parametrize("value", ["x' OR '1'='1", "%", "_", "*", "\\", '"}]', "a' --"])
def test_values_are_never_code(nodes, value):
    for asked in (
        ("who", "==", value),
        ("who", "text_match", value),
        ("tags", "contains", value),
        ("doc_id", "==", value),
    ):
        assert found(nodes, filters=only(asked)) == []
    nodes.delete(value)
    assert nodes.client.count() == 4


def test_a_filter_by_what_no_node_has_is_an_error_that_names_the_nearest(nodes):
    with pytest.raises(dkv.FilterError, match=r"no column 'pagge'.*page"):
        found(nodes, filters=only(("pagge", "==", 1)))
    with pytest.raises(dkv.FilterError, match="IS_EMPTY"):
        found(nodes, filters=only(("page", "==", None)))
    with pytest.raises(dkv.FilterError, match="a list of values"):
        found(nodes, filters=only(("page", "in", 1)))


def test_deleting(nodes):
    nodes.delete("two")
    nodes.delete("nobody")
    assert set(found(nodes)) == {"w", "x", "z"}
    nodes.delete_nodes(filters=only(("page", "==", 1)))
    nodes.delete_nodes(["x", "nobody"], filters=only(("page", "==", 7)))
    nodes.delete_nodes([])
    nodes.delete_nodes([], filters=only(("page", "==", 2)))
    assert set(found(nodes)) == {"x", "z"}
    nodes.delete_nodes(["x", "nobody"])
    assert found(nodes) == ["z"]
    with pytest.raises(dkv.SchemaError, match=r"clear\(\) removes all"):
        nodes.delete_nodes()
    nodes.clear()
    assert (found(nodes), nodes.get_nodes()) == ([], [])
    nodes.add(NODES[:1])
    assert found(nodes) == ["w"]


def test_nodes_of_known_ids_are_replaced(nodes):
    nodes.add([node("w", "ccc", "one", page=9)])
    assert nodes.client.count() == 4
    assert nodes.get_nodes(["w"])[0].metadata == {"page": 9}
    assert found(nodes, C, k=1) == ["w"]


def test_diverse_nodes_are_no_twins(nodes):
    assert found(nodes, k=2) == ["w", "x"]
    assert found(nodes, k=2, mode=Mode.MMR) == ["w", "z"]
    assert found(nodes, k=2, mode=Mode.MMR, options={"mmr_prefetch_k": 3}, mmr_threshold=0.2) == ["w", "y"]
    assert found(nodes, k=2, mode=Mode.MMR, mmr_threshold=1.0) == ["w", "x"]
    assert found(nodes, k=2, mode=Mode.MMR, options={"mmr_prefetch_factor": 1}) == ["w", "x"]


def test_words_alone_and_words_beside_a_vector(nodes):
    assert found(nodes, None, mode=Mode.TEXT_SEARCH, query_str="fox") == ["z"]
    assert found(nodes, None, mode=Mode.SPARSE, query_str="fox", sparse_top_k=1) == ["z"]
    assert found(nodes, None, mode=Mode.TEXT_SEARCH, query_str="fox", filters=only(("page", ">", 0))) == []
    assert found(nodes, k=4, mode=Mode.HYBRID, query_str="fox", options={"fusion": dkv.RRF(k=0)})[0] in {"w", "z"}
    assert found(nodes, mode=Mode.HYBRID, query_str="fox", alpha=0.0, hybrid_top_k=1) == ["z"]
    assert found(nodes, mode=Mode.HYBRID, query_str="fox", alpha=1.0, hybrid_top_k=1) == ["w"]
    result = nodes.query(VectorStoreQuery(C, 1, mode=Mode.HYBRID, query_str="fox"))
    assert (result.ids, result.similarities) == (["z"], [pytest.approx(2 / 61)])


def test_what_a_query_lacks_or_no_store_has_is_said(local):
    for mode, missing in (
        (Mode.HYBRID, "query_str"),
        (Mode.TEXT_SEARCH, "query_str"),
        (Mode.DEFAULT, "query_embedding"),
    ):
        with pytest.raises(dkv.SchemaError, match=f"{mode.value}.*{missing}"):
            found(local, A if missing == "query_str" else None, mode=mode)
    with pytest.raises(dkv.UnsupportedError, match="no query mode 'svm'; it has default, hybrid, mmr"):
        found(local, mode=Mode.SVM)
    with pytest.raises(TypeError, match=r"unexpected \['filtre'\]"):
        found(local, options={"filtre": 1})
    with pytest.raises(dkv.UnsupportedError, match="nodes come whole"):
        found(local, output_fields=["text"])


def test_a_text_that_looks_like_a_vector_is_a_text(backend):
    nodes = DkvectorVectorStore(backend)
    nodes.add([TextNode(text="[0.5, 0.7]", id_="n", embedding=A, metadata={"more": "[1.0, 2.0]"})])
    assert [(one.text, one.metadata) for one in nodes.get_nodes(["n"])] == [("[0.5, 0.7]", {"more": "[1.0, 2.0]"})]


def test_what_does_not_fit_is_refused_and_nothing_written(nodes):
    with pytest.raises(dkv.VectorError, match=r"no embedding at 'n'.*VectorStoreIndex"):
        nodes.add([TextNode(text="a", id_="n")])
    with pytest.raises(dkv.SchemaError, match="'page' has no common type"):
        nodes.add([node("n", "a", page="one")])
    with pytest.raises(dkv.SchemaError, match=r"\['text'\] hold the texts"):
        nodes.add([node("n", "a", text="b")])
    with pytest.raises(dkv.SchemaError, match=r"\['tags\[\]'\]: names that end"):
        nodes.add([node("n", "a", **{"tags[]": "b"})])
    with pytest.raises(dkv.DuplicateIdError, match="'n'"):
        nodes.add([node("n", "a"), node("n", "b")])
    with pytest.raises(TypeError, match="bulk"):
        nodes.add(NODES, bulk=True)
    assert nodes.add([]) == []
    assert nodes.client.count() == 4


async def test_coroutines_do_the_same(backend):
    nodes = DkvectorVectorStore(backend)
    assert await nodes.async_add(NODES) == ["w", "x", "y", "z"]
    assert (await nodes.aquery(VectorStoreQuery(A, 1))).ids == ["w"]
    assert [one.node_id for one in await nodes.aget_nodes(["y"])] == ["y"]
    await nodes.adelete("one")
    await nodes.adelete_nodes(["y"])
    assert [one.node_id for one in await nodes.aget_nodes()] == ["z"]
    await nodes.aclear()
    assert await nodes.aget_nodes() == []


@pytest.mark.parametrize(
    ("coroutine", "method", "given"),
    [
        ("async_add", "add", ([],)),
        ("adelete", "delete", ("one",)),
        ("adelete_nodes", "delete_nodes", (["w"],)),
        ("aget_nodes", "get_nodes", (["w"], None)),
        ("aclear", "clear", ()),
        ("aquery", "query", (VectorStoreQuery(),)),
    ],
)
async def test_coroutines_leave_the_loop_to_others(local, monkeypatch, coroutine, method, given):
    threads = []
    monkeypatch.setattr(DkvectorVectorStore, method, lambda *_, **__: threads.append(threading.get_ident()))
    await getattr(local, coroutine)(*given)
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


class Letters(BaseEmbedding):
    """How often a, b and c are in a text."""

    def _get_text_embedding(self, text):
        return letters(text)

    def _get_query_embedding(self, query):
        return letters(query)

    async def _aget_query_embedding(self, query):
        return letters(query)


def test_an_index_of_llamaindex_works_on_it(backend):
    context = StorageContext.from_defaults(vector_store=DkvectorVectorStore(backend))
    documents = [
        Document(text="aaab", id_="one", metadata={"n": 1}, excluded_embed_metadata_keys=["n"]),
        Document(text="c", id_="two", metadata={"n": 2}, excluded_embed_metadata_keys=["n"]),
    ]
    index = VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=Letters())
    assert [one.text for one in index.as_retriever(similarity_top_k=1).retrieve("aa")] == ["aaab"]
    retriever = index.as_retriever(similarity_top_k=1, filters=only(("n", "==", 2)), vector_store_query_mode="mmr")
    assert [one.text for one in retriever.retrieve("aac")] == ["c"]
    index.delete_ref_doc("two")
    again = VectorStoreIndex.from_vector_store(DkvectorVectorStore(backend), embed_model=Letters())
    assert [one.text for one in again.as_retriever().retrieve("c a")] == ["aaab"]


def test_rows_pushed_from_a_frame_are_nodes():
    frame = dkv.datasets.load_wordnet().head(20)
    with frame.vec.push("exact", columns=["gloss", "pos"]) as store:
        nodes = DkvectorVectorStore(store, text="gloss")
        got = nodes.query(VectorStoreQuery(frame["embedding"].iloc[3].tolist(), 1)).nodes[0]
        assert (got.node_id, got.text, got.metadata) == (
            frame.index[3],
            frame["gloss"].iloc[3],
            {"pos": frame["pos"].iloc[3]},
        )
        nodes.delete("a document of which there are no nodes")
        assert store.count() == 20


def test_rows_without_the_column_of_texts_are_told():
    frame = pd.DataFrame({"body": ["a wolf"], "v": [[1.0, 0.0]]}, index=["w"])
    with frame.vec.push("exact") as store:
        with pytest.raises(dkv.NotFoundError, match="no column 'text'; there are: 'body'"):
            DkvectorVectorStore(store).query(VectorStoreQuery(query_embedding=[1.0, 0.0]))
        assert DkvectorVectorStore(store, text="body").get_nodes(["w"])[0].text == "a wolf"
