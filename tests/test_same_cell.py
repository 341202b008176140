"""The promise: a notebook cell gives the same frame on every backend, with only the URL changed."""

import secrets

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv

TARGETS = ["faiss", "pgvector", "elasticsearch", "opensearch"]


@pytest.fixture(scope="module")
def words():
    return dkv.datasets.load_wordnet().iloc[::20].drop(columns="lemmas")


@pytest.fixture(scope="module")
def queries():
    return dkv.datasets.load_wordnet_queries().head(8)["embedding"]


@pytest.fixture(params=TARGETS)
def target(request, tmp_path):
    """Give what stands in the cell: a target, and the name of a table where there is one."""
    if request.param == "faiss":
        return f"faiss:{tmp_path / 'words'}", None
    table = f"cell_{secrets.token_hex(4)}"
    if request.param == "pgvector":
        return request.getfixturevalue("postgres_url"), table
    url = request.getfixturevalue(f"{request.param}_url")
    return url.replace("http", request.param, 1), table


def cell(words, queries, target, table=None):
    """What a notebook does: every frame that it shows."""
    store = words.vec.push(target, table=table, index="flat")
    shown = [
        store.search(queries.iloc[0], k=5),
        store.search(queries, k=10, where="pos == 'noun' and depth > 4", columns=["gloss", "depth"]),
        store.search(queries, k=3, where=dkv.col("lexname").startswith("verb.") | (dkv.col("depth") == 0)),
        store.search(like="dog.n.01" if "dog.n.01" in words.index else words.index[7], k=4, columns=["pos"]),
        store.search(queries.iloc[1], k=4, where="depth > 99"),
        store.search(queries.iloc[2], k=2, columns=[], include_vectors=True),
        store.get(words.index[[5, 3]]),
        pd.DataFrame({"count": [len(store), store.count("depth > 4"), store.delete(where="depth > 4"), len(store)]}),
    ]
    store.upsert(words.head(3).assign(gloss="new"))
    shown.append(store.search(words["embedding"].iloc[1], k=2, columns=["gloss"]))
    store.drop()
    store.close()
    return shown


@pytest.fixture(scope="module")
def expected(words, queries):
    return cell(words, queries, "exact")


def test_the_same_cell_gives_the_same_frames(words, queries, target, expected):
    for shown, frame in zip(cell(words, queries, *target), expected, strict=True):
        numbers = [name for name in ("distance", "score") if name in frame]
        pd.testing.assert_frame_equal(shown.drop(columns=numbers), frame.drop(columns=numbers))
        for name in numbers:
            np.testing.assert_allclose(shown[name], frame[name], atol=1e-5)
            assert shown[name].dtype == frame[name].dtype
