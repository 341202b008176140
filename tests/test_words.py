"""Words of an in-process store: BM25 as it is defined, over the rows that live."""

import math
import sys

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv

TEXTS = {"a": "red apple", "b": "Green APPLE apple", "c": "grey stone", "d": None, "e": "red red stone wall"}


@pytest.fixture
def frame():
    return pd.DataFrame(
        {"text": pd.Series(TEXTS, dtype="str"), "n": range(5), "v": list(np.eye(5, dtype="f4"))}, index=list(TEXTS)
    )


@pytest.fixture(params=["exact", "faiss"])
def store(request, frame):
    with frame.vec.push(request.param) as store:
        yield store


def bm25(word, text, texts, k1=1.2, b=0.75):
    """The formula of Robertson and Zaragoza as Lucene has it, for one word."""
    split = [one.casefold().split() for one in texts]
    having = sum(word in one for one in split)
    idf = math.log(1 + (len(split) - having + 0.5) / (having + 0.5))
    count, average = text.casefold().split().count(word), sum(map(len, split)) / len(split)
    return idf * count / (count + k1 * (1 - b + b * len(text.split()) / average))


def test_scores_are_those_of_the_formula(store):
    texts = [text or "" for text in TEXTS.values()]
    found = store.keyword_search("apple red")
    expected = {key: sum(bm25(word, text or "", texts) for word in ("apple", "red")) for key, text in TEXTS.items()}
    assert found.index.tolist() == ["a", "b", "e"]
    np.testing.assert_allclose(found["score"], [expected[key] for key in found.index], rtol=1e-5)


def test_rows_that_are_gone_count_no_more_and_new_ones_do(store, frame):
    before = store.keyword_search("stone").loc["c", "score"]
    store.delete("e")
    assert store.keyword_search("stone").index.tolist() == ["c"]
    assert store.keyword_search("stone").loc["c", "score"] > before  # a rarer word weighs more
    store.upsert(frame.loc[["e"]].assign(text="a pebble of stone"))
    assert store.keyword_search("red").index.tolist() == ["a"]
    assert store.keyword_search("pebble", columns=["n"]).to_dict("index") == {
        "e": {"rank": 1, "score": pytest.approx(0.9, abs=0.5), "n": 4}
    }


def test_ties_come_by_id_past_the_edge_of_k():
    many = pd.DataFrame({"text": "same words", "v": [[1.0, 2.0]] * 50}, index=list(range(50))[::-1])
    with many.vec.push("exact") as store:
        assert store.keyword_search("words", k=3).index.tolist() == [0, 1, 2]


def test_a_filter_comes_before_the_best(store):
    assert store.keyword_search("red", k=1, where="n > 3").index.tolist() == ["e"]


def test_marks_are_around_the_words_asked_for(store):
    found = store.keyword_search("APPLE green", highlight=True)
    assert found["highlight"].to_dict() == {"a": "red **apple**", "b": "**Green** **APPLE** **apple**"}


def test_words_that_are_nowhere_or_none(store):
    assert len(store.keyword_search("zebra")) == 0
    assert len(store.keyword_search("?!")) == 0
    store.delete(where="n >= 0")
    assert len(store.keyword_search("apple")) == 0


def test_without_the_package_the_extra_is_named(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(dkv.MissingExtraError, match=r"pip install 'dkvector\[keyword\]'"):
        store.keyword_search("apple")
