"""What a notebook shows of stores, schemas and searches: short, whole, never code, never a question to the engine."""

import re
import sys

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv
from dkvector.environment import versions
from dkvector.results import Explanation

EVIL = "<script>alert('x')</script>"


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "n": pd.array([1, None], "Int64"),
            "kind": pd.Categorical(["a", "b"]),
            EVIL: [EVIL, EVIL],
            "v": [[1.0, 0.0], [0.0, 1.0]],
        },
        index=pd.Index(["x", "y"], name="key"),
    )


def cells(html):
    """The texts of all cells, row by row, and of the heading."""
    heading = re.sub("<.*?>", "", re.search(r"<p.*?</p>", html)[0])
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return heading, [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def test_a_store_tells_where_it_lives_and_what_it_holds(frame, tmp_path):
    with frame.vec.push("faiss", path=tmp_path / "a&b", index=dkv.HNSW(m=8), model="org/m", version="2") as store:
        heading, rows = cells(store._repr_html_())
        assert heading == f"FaissStore: 2 rows in {tmp_path}/a&amp;b"
        assert rows == [
            ["vectors", "dimensions", "metric", "index", "model"],
            ["v", "2", "cosine", "hnsw m=8, ef_construction=64", "org/m 2"],
            ["column", "type"],
            ["key (id)", "str" if pd.__version__ >= "3" else "string"],
            ["n", "Int64"],
            ["kind", "category"],
            ["&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;", rows[-1][1]],
        ]
        assert store.store._repr_html_() == store._repr_html_()
        assert repr(store) == repr(store.store) == "<FaissStore: 2 rows; v vector[2] by cosine; 3 payload columns>"
    assert repr(store) == "<FaissStore: closed>"
    assert cells(store._repr_html_()) == (f"FaissStore: closed in {tmp_path}/a&amp;b", [])


def test_stores_without_rows_and_without_a_folder(frame):
    assert cells(dkv.connect("exact")._repr_html_()) == ("ExactStore: empty in memory", [])
    with frame[["v"]].vec.push("faiss") as store:
        heading, rows = cells(store._repr_html_())
        assert heading == "FaissStore: 2 rows in a temporary folder, which goes with it"
        assert rows[1] == ["v", "2", "cosine", "flat", ""]


def test_of_many_columns_the_first_forty_are_shown():
    wide = pd.DataFrame({f"c{at}": [at] for at in range(50)} | {"v": [[1.0, 2.0]]})
    store = wide.vec.push("exact")
    _, rows = cells(store._repr_html_())
    assert rows[-2:] == [["c39", "int64"], ["…", "10 more"]]
    assert repr(store.schema).endswith("c6 int64, c7 int64, … (50 columns))")


def test_a_picture_asks_the_engine_nothing(frame, monkeypatch):
    store = frame.vec.push("exact")

    for name in ("_search", "_get", "_count", "_indexes", "stats"):
        monkeypatch.setattr(store.store, name, None)
    assert "2 rows" in repr(store)
    assert "2 rows" in store._repr_html_()


def test_schemas_and_capabilities_are_short(frame):
    schema = frame.drop(columns=EVIL).vec.push("exact", model="org/m").schema
    told = repr(schema).replace(str(pd.Series(["a"]).dtype), "text")
    assert told == "Schema(id: key text; vectors: v vector[2] by cosine; payload: n Int64, kind category)"
    assert repr(schema.vector()) == "VectorInfo(v vector[2] by cosine, of org/m)"
    assert repr(dkv.VectorInfo("v", 3, dkv.DistanceMetric.EUCLIDEAN)) == "VectorInfo(v vector[3] by euclidean)"
    supports = dkv.Supports(indexes=frozenset({"hnsw", "flat"}), transactions=True)
    assert repr(supports) == "Supports(metrics: cosine, dot_product, euclidean; indexes: flat, hnsw; transactions)"


def test_an_explanation_is_told_twice_alike(frame):
    store = frame.vec.push("exact")
    told = store.explain(np.float32([[1, 0], [0, 1]]), k=3, where="n == 1")
    assert str(told) == (
        "exact: exact over the matching rows\n"
        "  field     v by cosine\n"
        "  rows      2, 1 match\n"
        "  asked     3 neighbours of 2 queries\n"
        "  returned  2"
    )
    heading, rows = cells(told._repr_html_())
    assert heading == "exact: exact over the matching rows"
    assert rows == [
        ["field", "v by cosine"],
        ["rows", "2, 1 match"],
        ["asked", "3 neighbours of 2 queries"],
        ["returned", "2"],
    ]


def test_what_an_engine_was_told_is_shown_as_text():
    told = Explanation("pg", "v", "cosine", EVIL, 1, 1, 9, shortfall=1, native={"dsl": "knn\n  on " + EVIL})
    html = told._repr_html_()
    assert EVIL not in html
    assert "knn\n  on &lt;script&gt;" in html
    assert "0, 1 short" in html


def test_the_last_search_is_told(frame):
    store = frame.vec.push("exact")
    assert store.last is None
    store.search([1.0, 0.0], k=1, where="n == 1")
    assert (store.last.k, store.last.matching, store.last.returned) == (1, 1, 1)
    store.search(like="x", k=1)
    assert (store.last.k, store.last.returned, store.last.shortfall) == (1, 1, 0)


def test_versions_name_engines_whether_installed_or_not(capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr("dkvector.environment.OPTIONAL", ("faiss-cpu", "no-such-engine"))
    told = versions()
    assert (told["dkvector"], told["numpy"], told["no-such-engine"]) == (
        dkv.__version__,
        np.__version__,
        "not installed",
    )
    assert "OMP_NUM_THREADS=3" in told["threads"]
    assert re.fullmatch(r"\d+\.\d+.*", told["faiss-cpu"])
    assert all(told.values())
    assert sys.executable not in "".join(told.values())
    dkv.show_versions()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*told, "interpreter"]
    assert lines[-1].endswith(sys.executable)
