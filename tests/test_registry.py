"""The doors to a store: by name, URL, folder and config; and what is not there says what is."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import dkvector as dkv
from dkvector import registry
from dkvector.backends.exact import ExactStore
from dkvector.registry import BACKENDS, Backend, backend, read_target


@pytest.fixture
def frame():
    return pd.DataFrame({"n": [1, 2], "v": [[1.0, 0.0], [0.0, 1.0]]}, index=["a", "b"])


@pytest.fixture
def folder(frame, tmp_path):
    frame.vec.push("faiss", path=tmp_path / "a folder").close()
    return tmp_path / "a folder"


@pytest.mark.parametrize(
    "target",
    [
        lambda folder: folder,
        str,
        lambda folder: f"faiss:{folder}",
        lambda folder: f"faiss://{folder}".replace(" ", "%20"),
        lambda folder: {"backend": "faiss", "index_path": str(folder)},
        lambda folder: {"backend": "faiss", "index_path": folder, "dimension": 2, "metric": "cosine"},
    ],
    ids=["Path", "text", "URL", "quoted URL", "dict", "whole dict"],
)
def test_a_store_is_found_by_every_kind_of_name(folder, target):
    with dkv.connect(target(folder)) as store:
        assert (store.name, len(store)) == ("faiss", 2)
        assert store.search([0.1, 1], k=1).index.tolist() == ["b"]


def test_a_folder_is_named_beside_the_backend_too(folder):
    with dkv.connect("faiss", path=folder) as store:
        assert len(store) == 2


def test_a_folder_of_the_home_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    with dkv.connect("~/a folder") as store:
        assert len(store) == 2


@pytest.mark.parametrize("path", ["rows", "./rows", "sub/rows"])
def test_a_relative_folder_is_relative(frame, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    frame.vec.push(f"faiss:{path}").close()
    assert (tmp_path / path / "manifest.json").exists()


def test_connecting_to_nothing_writes_nothing(tmp_path):
    with dkv.connect(tmp_path / "new") as store:
        assert (len(store), store.schema, store.to_frame().shape) == (0, None, (0, 0))
        with pytest.raises(dkv.SchemaError, match="this faiss store is empty: write rows to it first"):
            store.search([1, 2])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name, one in BACKENDS.items() if one.table is None])
def test_our_backends_are_there(name):
    with dkv.connect(name) as store:
        assert (store.name, backend(name).name) == (name, name)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("fais", "no backend 'fais'; did you mean 'faiss'"),
        ("exat", "no backend 'exat'; did you mean 'exact'"),
        ({"backend": "fiass"}, "no backend 'fiass'; did you mean 'faiss'"),
        ("chroma://host/db", "no backend 'chroma'; there are: 'exact', 'faiss'"),
        ("", "no backend ''"),
    ],
)
def test_an_unknown_backend_names_the_nearest(target, message):
    with pytest.raises(dkv.UnsupportedError, match=message):
        dkv.connect(target)


@pytest.fixture
def servers(monkeypatch):
    known = {
        "exact": Backend("dkvector.backends.exact:ExactStore", table=None),
        "pgvector": Backend("nowhere:Store"),
        "elasticsearch": Backend("nowhere:Store", table="index"),
        "opensearch": Backend("nowhere:Store", table="index"),
    }
    monkeypatch.setattr(registry, "backends", lambda: known)


@pytest.mark.parametrize(
    ("target", "name", "config"),
    [
        ("postgresql://h/db", "pgvector", {"url": "postgresql://h/db", "table": "docs"}),
        ("postgres://h/db", "pgvector", {"url": "postgres://h/db", "table": "docs"}),
        ("postgresql+asyncpg://h/db", "pgvector", {"url": "postgresql+asyncpg://h/db", "table": "docs"}),
        ("pgvector", "pgvector", {"table": "docs"}),
        ({"backend": "postgres_vector", "table": "other"}, "pgvector", {"table": "docs"}),
        ("elasticsearch://h:9200", "elasticsearch", {"url": "elasticsearch://h:9200", "index": "docs"}),
        ("elasticsearch+https://h", "elasticsearch", {"url": "elasticsearch+https://h", "index": "docs"}),
        ({"backend": "es_vector", "hosts": ["h"]}, "elasticsearch", {"hosts": ["h"], "index": "docs"}),
        ("opensearch+https://h", "opensearch", {"url": "opensearch+https://h", "index": "docs"}),
        ("opensearch_vector", "opensearch", {"index": "docs"}),
    ],
    ids=str,
)
@pytest.mark.usefixtures("servers")
def test_a_table_goes_where_the_backend_names_it(target, name, config):
    assert read_target(target, table="docs") == (name, config)


@pytest.mark.usefixtures("servers")
def test_a_table_where_there_are_none_is_refused(frame):
    with pytest.raises(dkv.SchemaError, match="exact keeps its rows in no table: leave table='docs' out"):
        dkv.connect("exact", table="docs")
    with pytest.raises(dkv.SchemaError, match="no table"):
        frame.vec.push("exact", table="docs")


def test_capabilities_may_be_an_instance_s_own(frame):
    with frame.vec.push("exact") as store:
        store.store.supports = dataclasses.replace(store.supports, metrics=frozenset({"euclidean"}))
        assert store.supports.metrics == {"euclidean"}
        with pytest.raises(dkv.UnsupportedError, match="exact has no metric 'cosine'; it has euclidean"):
            store.search([1, 0])


def test_a_password_is_not_told():
    with pytest.raises(dkv.UnsupportedError) as told:
        dkv.connect("nosuch://me:secret@host/db")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, "the config names no 'backend'; there are: 'exact', 'faiss'"),
        ({"backend": "faiss", "index_pth": "x"}, "no 'index_pth'; did you mean 'index_path'"),
        ({"backend": "faiss", "hnsw_M": 16}, "no 'hnsw_M'; did you mean 'hnsw_m'"),
        ({"backend": "faiss", "index_type": "hsnw"}, "no index 'hsnw'; did you mean 'hnsw'"),
        ({"backend": "exact", "dimensions": 4}, r"\['dimensions'\]; it takes 'dimension' and 'metric'"),
        (None, "not by NoneType"),
        (3, "not by int"),
    ],
    ids=str,
)
def test_a_config_that_can_not_be_read_says_why(target, message):
    with pytest.raises(dkv.SchemaError, match=message):
        dkv.connect(target)


def test_targets_are_read_without_opening_anything():
    assert read_target("exact") == ("exact", {})
    assert read_target("postgresql://host/db") == ("pgvector", {"url": "postgresql://host/db"})
    assert read_target(Path("rows")) == ("faiss", {"index_path": "rows"})
    config = {"backend": "faiss", "dimension": 3}
    assert read_target(config, path="rows") == ("faiss", {"dimension": 3, "index_path": "rows"})
    assert config == {"backend": "faiss", "dimension": 3}


@pytest.mark.parametrize("metric", ["euclidean", "l2", dkv.DistanceMetric.EUCLIDEAN])
def test_the_metric_of_rows_may_be_given_by_its_name(metric):
    reading = dkv.Reading(metric=metric)
    assert reading.metric is dkv.DistanceMetric.EUCLIDEAN
    with dkv.connect("exact") as store:
        store.upsert(pd.DataFrame({"v": [[1.0, 0.0]]}), reading=reading)
        assert store.schema.vector().metric is dkv.DistanceMetric.EUCLIDEAN
    with dkv.connect({"backend": "exact", "metric": "cosine"}) as store:
        with pytest.raises(dkv.SchemaError, match="these rows ask for euclidean: its config says so"):
            store.upsert(pd.DataFrame({"v": [[1.0, 0.0]]}), reading=reading)
        store.upsert(pd.DataFrame({"v": [[1.0, 0.0]]}))
        with pytest.raises(dkv.SchemaError, match=r"drop\(\) the store first"):
            store.upsert(pd.DataFrame({"v": [[1.0, 0.0]]}), mode="replace", reading=reading)


async def test_the_factory_opens_by_name_and_config(tmp_path):
    store = await dkv.VectorStoreFactory.create("exact", {"backend": "exact", "dimension": 2, "metric": "l2"})
    assert (type(store), store.dimension, store.metric) == (ExactStore, 2, "euclidean")
    with pytest.raises(dkv.UnsupportedError, match="did you mean 'faiss'"):
        await dkv.VectorStoreFactory.create("faisss", {"index_path": str(tmp_path)})


# What is not installed, and what others bring


def run(code, *path: Path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-W", "error", "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603 - our code
    assert out.returncode == 0, out.stderr
    return out.stdout.splitlines()


WITHOUT_FAISS = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "faiss":
            raise ModuleNotFoundError("No module named 'faiss'", name="faiss")

sys.meta_path.insert(0, Blocker())
import pandas as pd
import dkvector as dkv

frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]})
print(frame.vec.search([1, 0], k=1).index.tolist(), len(frame.vec.push("exact")))
for call in (lambda: frame.vec.push("faiss"), lambda: dkv.connect("./rows")):
    try:
        call()
    except dkv.MissingExtraError as error:
        print(isinstance(error, ImportError), error)
"""


def test_without_faiss_the_rest_works_and_the_extra_is_named():
    message = "True this needs faiss-cpu, which is not installed: pip install 'dkvector[faiss]'"
    assert run(WITHOUT_FAISS) == ["[0] 2", message, message]


PLUGIN = """
from dkvector.backends.exact import ExactStore

class Store(ExactStore):
    name = "theirs"

    @classmethod
    async def open(cls, config):
        print("opened with", config)
        return await super().open({})
"""
ENTRY_POINTS = """[dkvector.backends]
theirs = their_plugin:Store
exact = their_plugin:Store
broken = no_such_module:Store
wrong = their_plugin:Nothing
"""
USE = """
import pandas as pd
import dkvector as dkv

frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]})
print(frame.vec.push("theirs://host/rows").search([0, 1], k=1).index.tolist())
print(dkv.connect("exact").name)
for name in ("broken", "wrong"):
    try:
        dkv.connect(name)
    except Exception as error:
        print(type(error).__name__, error)
try:
    dkv.connect("thiers")
except dkv.UnsupportedError as error:
    print(error)
"""


def test_backends_of_others_are_found_and_can_not_take_over_ours(tmp_path):
    (tmp_path / "their_plugin.py").write_text(PLUGIN)
    info = tmp_path / "their_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    assert run(USE, tmp_path) == [
        "opened with {'url': 'theirs://host/rows'}",
        "[1]",
        "exact",
        "ModuleNotFoundError No module named 'no_such_module'",
        "AttributeError module 'their_plugin' has no attribute 'Nothing'",
        "no backend 'thiers'; did you mean 'theirs'?",
    ]
