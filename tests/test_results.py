"""What a store and an explanation say of themselves."""

import pandas as pd

import dkvector as dkv

FRAME = pd.DataFrame({"word": ["cat", "dog", "cow"], "v": [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]})


def test_a_store_says_what_it_holds():
    with FRAME.vec.push("exact") as store:
        assert repr(store) == "<ExactStore: 3 rows; v vector[2] by cosine; 1 payload columns>"


def test_an_explanation_reads_as_text():
    with FRAME.vec.push("faiss", index=dkv.HNSW(m=4)) as store:
        told = store.explain([1.0, 0.1], k=2, where="word != 'dog'")
    assert str(told).splitlines() == [
        "faiss: exact over 2 candidates",
        "  field     v by cosine",
        "  rows      3, 2 match",
        "  asked     2 neighbours of 1 query",
        "  returned  2",
    ]
