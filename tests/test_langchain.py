"""LangChain's own suite over our stores, and what it does not ask."""

import math
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
import servers
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_tests.integration_tests.vectorstores import VectorStoreIntegrationTests

import dkvector as dkv
from dkvector.interop.langchain import DkvectorVectorStore


class Letters(Embeddings):
    """How often a, b and c are in a text."""

    def embed_documents(self, texts):
        return [[float(text.count(letter)) for letter in "abc"] for text in texts]

    def embed_query(self, text):
        return self.embed_documents([text])[0]


class Words(Letters):
    """Likewise, and one more number that is never 0."""

    def embed_documents(self, texts):
        return [[*row, 1.0] for row in super().embed_documents(texts)]


class OfLangChain(VectorStoreIntegrationTests):
    """Nothing of the suite is left out, and nothing overridden but the fixture that it asks for."""

    @pytest.fixture
    def vectorstore(self, backend):
        with backend() as store:
            yield DkvectorVectorStore(store, self.get_embeddings())


class TestExact(OfLangChain):
    @pytest.fixture
    def backend(self):
        return lambda: dkv.connect("exact")


class TestFaiss(OfLangChain):
    @pytest.fixture
    def backend(self, tmp_path):
        return lambda: dkv.connect("faiss", path=tmp_path / "documents")


class TestPgVector(OfLangChain):
    @pytest.fixture
    def backend(self, postgres_url, table):
        return lambda: dkv.connect(postgres_url, table=table)


TEXTS = {"w": "aaab", "x": "aab", "y": "abb", "z": "c"}
PAGES = [{"page": 1}, {"page": 2, "kind": "k"}, {"page": 3}, {}]


@pytest.fixture(params=["exact", "faiss"])
def documents(request):
    with dkv.connect(request.param) as store:
        made = DkvectorVectorStore(store, Letters())
        assert made.add_texts(TEXTS.values(), PAGES, ids=list(TEXTS)) == list(TEXTS)
        yield made


def ids(found):
    return [one.id for one in found]


def test_scores_are_ours_and_best_first(documents):
    found = documents.similarity_search_with_score("a", k=3)
    assert ids(one for one, _ in found) == ["w", "x", "y"]
    expected = [3 / 10**0.5, 2 / 5**0.5, 1 / 5**0.5]
    np.testing.assert_allclose([score for _, score in found], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "where", ["page >= 2", dkv.col("page") >= 2, {"page": [2, 3]}], ids=["string", "expression", "dict"]
)
def test_a_filter_is_any_where_of_ours_and_comes_first(documents, where):
    assert ids(documents.similarity_search("a", k=2, filter=where)) == ["x", "y"]
    assert ids(documents.similarity_search_by_vector([1, 0, 0], k=2, filter=where)) == ["x", "y"]
    assert ids(documents.max_marginal_relevance_search("a", k=2, filter=where)) == ["x", "y"]


def test_metadata_come_back_as_they_were(documents):
    assert [one.metadata for one in documents.get_by_ids(list(TEXTS))] == PAGES
    assert type(documents.get_by_ids(["w"])[0].metadata["page"]) is int


def test_documents_come_in_the_order_of_the_ids_and_missing_ones_are_left_out(documents):
    assert ids(documents.get_by_ids(["z", "nobody", "w"])) == ["z", "w"]
    assert documents.get_by_ids([]) == []


def test_diverse_documents_are_no_twins(documents):
    assert ids(documents.similarity_search("a", k=2)) == ["w", "x"]
    assert ids(documents.max_marginal_relevance_search("a", k=2)) == ["w", "z"]
    assert ids(documents.max_marginal_relevance_search("a", k=2, fetch_k=3, lambda_mult=0.2)) == ["w", "y"]
    assert ids(documents.max_marginal_relevance_search("a", k=2, lambda_mult=1)) == ["w", "x"]


def test_relevance_is_between_0_and_1_and_has_a_threshold(documents):
    documents.add_texts(["abc"], ids=["o"])
    documents.store.update_vector("o", "embedding", [-1.0, 0.0, 0.0])
    found = documents.similarity_search_with_relevance_scores("a", k=5)
    assert [round(score, 3) for _, score in found] == [0.949, 0.894, 0.447, 0, 0]
    near = documents.as_retriever(search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.8})
    assert ids(near.invoke("a")) == ["w", "x"]


def test_relevance_of_inner_products_is_refused():
    with dkv.connect({"backend": "exact", "metric": "dot_product"}) as store:
        documents = DkvectorVectorStore.from_texts(["a"], Letters(), store=store)
        assert documents.similarity_search_with_score("aaa")[0][1] == 3
        with pytest.raises(dkv.UnsupportedError, match="no scale"):
            documents.similarity_search_with_relevance_scores("a")


def test_words_beside_the_vector_make_a_hybrid_search(documents):
    found = documents.similarity_search_with_score("c", k=2, fusion=dkv.RRF(k=0))
    assert found[0][0].id == "z"
    assert found[0][1] == pytest.approx(2)  # first by vector and by word
    assert ids(documents.similarity_search("c", k=1, text_on="kind")) == ["z"]


def test_a_retriever_passes_what_it_was_given(documents):
    retriever = documents.as_retriever(search_type="mmr", search_kwargs={"k": 1, "filter": "page == 3"})
    assert ids(retriever.invoke("a")) == ["y"]


def test_misspelt_keywords_are_refused(documents):
    with pytest.raises(TypeError, match=r"unexpected \['filtre'\].*'filter', 'tuning'"):
        documents.similarity_search("a", filtre="page > 1")
    with pytest.raises(TypeError, match="fusion"):
        documents.similarity_search_by_vector([1, 0, 0], fusion=dkv.RRF())
    with pytest.raises(TypeError, match="bulk"):
        documents.add_texts(["a"], bulk=True)


def test_rows_pushed_from_a_frame_are_documents(tmp_path):
    frame = dkv.datasets.load_wordnet().head(50)
    with frame.vec.push("faiss", path=tmp_path / "words", columns=["gloss", "pos"]) as store:
        documents = DkvectorVectorStore(store, text="gloss")
        found = documents.similarity_search_by_vector(frame["embedding"].iloc[3], k=1)
        assert found == [Document(frame["gloss"].iloc[3], id=frame.index[3], metadata={"pos": frame["pos"].iloc[3]})]
        with pytest.raises(dkv.SchemaError, match=r"needs an encoder: DkvectorVectorStore\(store, embedding\)"):
            documents.similarity_search("dog")


def test_ids_are_those_of_the_store():
    frame = pd.DataFrame({"text": ["a", "b"], "v": [[1.0, 0, 0], [0, 1.0, 0]]}, index=[7, 8])
    with frame.vec.push("exact", encoder=Letters().embed_documents) as store:
        documents = DkvectorVectorStore(store)
        assert ids(documents.similarity_search("b", k=1)) == ["8"]
        documents.add_texts(["c"], ids=["9"])
        assert store.to_frame().index.tolist() == [7, 8, 9]
        assert documents.delete(["7"])
        assert store.to_frame().index.tolist() == [8, 9]
        with pytest.raises(dkv.SchemaError, match="the store's ids are int64"):
            documents.add_texts(["d"])


def test_what_does_not_fit_is_refused_and_nothing_written(documents):
    with pytest.raises(dkv.SchemaError, match="'page' has no common type with the store, which has int64"):
        documents.add_texts(["a"], [{"page": "one"}])
    with pytest.raises(dkv.SchemaError, match="1 ids for 2 texts"):
        documents.add_texts(["a", "b"], ids=["1"])
    with pytest.raises(dkv.SchemaError, match="'text' holds the texts"):
        documents.add_texts(["a"], [{"text": "b"}])
    with pytest.raises(dkv.SchemaError, match=r"\['embedding'\] name the ids or the vectors"):
        documents.add_texts(["a"], [{"embedding": "b"}])
    with pytest.raises(dkv.DuplicateIdError, match="'i'"):
        documents.add_texts(["a", "b"], ids=["i", "i"])
    assert documents.store.count() == 4


AWARE = datetime(2024, 1, 2, 12, 0, 5, 7, tzinfo=UTC)
NOON = AWARE.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, 2.5),
        (1.5, True),
        (date(2024, 1, 1), NOON),
        (NOON, AWARE),
        (AWARE, NOON),
        ("text", b"bytes"),
        ([1, 2], [2.5]),
        ({"deep": 1}, {"deep": 2.5}),
        ({"deep": 1}, {"other": 2}),
        (1.5, 2**53 + 1),
    ],
    ids=str,
)
def test_metadata_are_never_kept_otherwise_than_they_are(first, second):
    with dkv.connect("exact") as store:
        documents = DkvectorVectorStore(store, Letters())
        documents.add_texts(["a"], [{"m": first}], ids=["1"])
        with pytest.raises(dkv.SchemaError, match=r"metadata 'm' "):
            documents.add_texts(["b"], [{"m": second}], ids=["2"])
        assert documents.get_by_ids(["1"])[0].metadata == {"m": first}
        documents.add_texts(["c"], [{"m": None}], ids=["3"])
        assert len(store) == 2


@pytest.mark.parametrize("values", [[1.5, True], [date(2024, 1, 1), NOON], ["text", b"bytes"], [NOON, AWARE]], ids=str)
def test_metadata_of_one_write_are_of_one_type(values):
    with dkv.connect("exact") as store, pytest.raises(dkv.SchemaError, match=r"metadata 'm' "):
        DkvectorVectorStore(store, Letters()).add_texts(["a", "b"], [{"m": one} for one in values])


def test_metadata_of_numbers_lists_and_dicts_go_together():
    metadata = [{"n": 1, "l": [1], "d": {"a": 1}, "x": math.nan}, {"n": 2.5, "l": [2.5], "d": {"b": 1.5}, "x": 1}]
    with dkv.connect("exact") as store:
        documents = DkvectorVectorStore(store, Letters())
        documents.add_texts(["a", "b"], metadata, ids=["1", "2"])
        documents.add_texts(["c"], [{"n": 3, "l": [], "d": {"a": 7}, "x": np.float32(0.5)}], ids=["3"])
        assert [one.metadata["n"] for one in documents.get_by_ids(["1", "2", "3"])] == [1, 2.5, 3]


def test_a_text_that_looks_like_a_vector_is_a_text():
    with dkv.connect("exact") as store:
        documents = DkvectorVectorStore.from_texts(
            ["[0.5, 0.7]"], Words(), [{"more": "[1.0, 2.0]"}], ids=["1"], store=store
        )
        documents.add_texts(["abc"])
        assert documents.get_by_ids(["1"]) == [Document("[0.5, 0.7]", id="1", metadata={"more": "[1.0, 2.0]"})]


def test_no_texts_are_no_write():
    documents = DkvectorVectorStore.from_texts([], Letters())
    assert documents.add_texts([]) == []
    assert documents.delete() is True


def test_delete_without_ids_removes_all(documents):
    documents.delete()
    assert documents.similarity_search("a") == []
    documents.add_texts(["c"], ids=["again"])
    assert ids(documents.similarity_search("a b c")) == ["again"]


async def test_coroutines_search_a_server(postgres_url, table):
    servers.need_postgres()
    with dkv.connect(postgres_url, table=table) as store:
        documents = await DkvectorVectorStore.afrom_texts(list(TEXTS.values()), Letters(), PAGES, store=store)
        found = await documents.amax_marginal_relevance_search("a", k=2, filter="page < 3")
        assert [one.page_content for one in found] == ["aaab", "aab"]


def test_rows_without_the_column_of_texts_are_told():
    frame = pd.DataFrame({"body": ["a wolf"], "v": [[1.0, 0.0]]}, index=["w"])
    with frame.vec.push("exact") as store:
        documents = DkvectorVectorStore(store)
        for asked in (lambda: documents.similarity_search_by_vector([1.0, 0.0]), lambda: documents.get_by_ids(["w"])):
            with pytest.raises(dkv.NotFoundError, match="no column 'text'; there are: 'body'"):
                asked()
        assert DkvectorVectorStore(store, text="body").get_by_ids(["w"])[0].page_content == "a wolf"
