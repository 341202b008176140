import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet
from sklearn import datasets as sklearn_datasets

import dkvector
from dkvector import datasets

DOG = (
    "a member of the genus Canis (probably descended from the common wolf) that has been domesticated by man since "
    "prehistoric times; occurs in many breeds"
)
ROOT = Path(dkvector.__file__).parents[1]


@pytest.fixture(scope="module")
def words():
    return datasets.load_wordnet()


@pytest.fixture(scope="module")
def queries():
    return datasets.load_wordnet_queries()


def matrix(frame):
    return frame["embedding"].array.matrix


def stored(file, row):
    """A stored vector, read by another way than the loader's."""
    return parquet.read_table(ROOT / "datasets" / file)["embedding"][row].as_py()


def test_wordnet_columns(words):
    text = pd.Series(["a"]).dtype  # `str` since pandas 3
    assert words.dtypes.astype(str).to_dict() == {
        "synset_id": str(text),
        "lemmas": "object",
        "pos": "category",
        "lexname": "category",
        "gloss": str(text),
        "text": str(text),
        "depth": "int16",
        "n_hyponyms": "int32",
        "n_descendants": "int32",
        "tag_count": "int32",
        "embedding": "vector[384]",
    }


def test_wordnet_rows(words):
    assert len(words) == 20_000
    assert words.index.name == "name"
    assert words.index.is_unique
    assert words["synset_id"].is_unique
    assert not words.isna().any(axis=None)
    assert words["pos"].value_counts().to_dict() == {"noun": 16_380, "verb": 3_620}
    assert words.attrs == {}


def test_wordnet_row(words):
    assert words.loc["dog.n.01"].drop("embedding").to_dict() == {
        "synset_id": "02084071-n",
        "lemmas": ["dog", "domestic dog", "Canis familiaris"],
        "pos": "noun",
        "lexname": "noun.animal",
        "gloss": DOG,
        "text": f"dog, domestic dog, Canis familiaris: {DOG}",
        "depth": 8,
        "n_hyponyms": 18,
        "n_descendants": 189,
        "tag_count": 42,
    }


def test_wordnet_text_is_lemmas_and_gloss(words):
    assert (words["text"] == words["lemmas"].str.join(", ") + ": " + words["gloss"]).all()


@pytest.mark.parametrize("row", [0, 4095, 4096, 19_999])
def test_wordnet_vectors_are_the_stored_ones(words, row):
    assert words["embedding"].iloc[row].tolist() == stored("wordnet.parquet", row)


def test_wordnet_vectors_are_float32_of_unit_length(words):
    assert matrix(words).dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(matrix(words), axis=1), 1, atol=1e-4)


def test_a_loaded_frame_can_be_edited(words):
    edited = words.copy()
    edited.loc["dog.n.01", ["depth", "tag_count"]] = [3, 4]
    assert edited.loc["dog.n.01", ["depth", "tag_count"]].tolist() == [3, 4]
    assert matrix(datasets.load_digits()).flags.writeable


def test_queries_columns(queries):
    assert queries.columns.tolist() == ["query", "synset_id", "name", "pos", "lexname", "embedding"]
    assert queries.index.name == "query_id"
    assert queries.index.tolist() == list(range(1000))
    assert str(queries["embedding"].dtype) == "vector[384]"
    assert not queries.isna().any(axis=None)


def test_queries_name_their_answer(words, queries):
    assert words.loc[queries["name"], "synset_id"].tolist() == queries["synset_id"].tolist()


def test_queries_find_their_answer(words, queries):
    scores = matrix(queries) @ matrix(words).T
    own = scores[np.arange(len(queries)), words.index.get_indexer(queries["name"])]
    better = (scores > own[:, None]).sum(axis=1)
    assert [int((better < k).sum()) for k in (1, 10)] == pytest.approx([191, 491], abs=2)


def test_search_finds_the_answers_as_often_as_the_model_allows(words, queries):
    found = words.vec.search(queries["embedding"], k=100, columns=[])
    hits = found[found.index == found["query"].map(queries["name"])]
    assert (hits["rank"] <= 10).sum() / len(queries) == pytest.approx(0.491, abs=0.002)
    assert (1 / hits["rank"]).sum() / len(queries) == pytest.approx(0.293, abs=0.002)


def test_digits_are_those_of_scikit_learn():
    frame = datasets.load_digits()
    pixels, digits = sklearn_datasets.load_digits(return_X_y=True)
    assert frame.columns.tolist() == ["digit", "embedding"]
    assert frame.index.equals(pd.RangeIndex(1797))
    assert frame.dtypes.astype(str).to_dict() == {"digit": "int8", "embedding": "vector[64]"}
    assert frame["digit"].tolist() == digits.tolist()
    assert (matrix(frame) == pixels).all()


def test_a_lost_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "_FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"digits\.parquet"):
        datasets.load_digits()


def hatch(target, folder, out):
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 - this Python, our own files
    return next(out.iterdir())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that is built from the sdist, as an installer would: what either of them lacks is missing here."""
    sdist = hatch("sdist", ROOT, tmp_path_factory.mktemp("sdist"))
    source = tmp_path_factory.mktemp("source")
    with tarfile.open(sdist) as archive:
        archive.extractall(source, filter="data")
    return hatch("wheel", next(source.iterdir()), tmp_path_factory.mktemp("wheel"))


def test_the_wheel_loads_its_data_offline_and_anywhere(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)  # noqa: S202 - built a moment ago
    code = (
        "import dkvector, dkvector.datasets as d; print(dkvector.__file__); "
        "print([len(load()) for load in (d.load_wordnet, d.load_wordnet_queries, d.load_digits)])"
    )
    path = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = [sys.executable, "-P", "-c", code]
    out = subprocess.check_output(run, cwd=tmp_path.parent, env=path, text=True)  # noqa: S603 - as above
    assert out.splitlines() == [str(tmp_path / "dkvector" / "__init__.py"), "[20000, 1000, 1797]"]


def test_the_wheel_carries_the_licences_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
    licences = {"LICENSE", "datasets/LICENSE.WordNet", "datasets/LICENSE.digits"}
    assert {f"{info}/licenses/{licence}" for licence in licences} <= set(names)
    assert {"dkvector/_datasets/LICENSE.WordNet", "dkvector/_datasets/LICENSE.digits"} <= set(names)
    assert "dkvector/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"dkvector", info}


def neighbour_dimension(vectors, k=12):
    """The intrinsic dimension by Levina and Bickel's estimator (NIPS 2004), with MacKay and Ghahramani's mean."""
    squared = (vectors**2).sum(axis=1)
    apart = squared[:, None] + squared - 2 * vectors @ vectors.T
    near = np.sqrt(np.maximum(np.sort(apart, axis=1)[:, 1 : k + 1], 1e-12))
    return 1 / np.log(near[:, -1:] / near[:, :-1]).mean()


@pytest.mark.parametrize("intrinsic", [2, 5])
def test_clusters_have_the_intrinsic_dimension_asked_for(intrinsic):
    frame = datasets.make_clustered(6000, dimensions=40, clusters=3, intrinsic=intrinsic)
    for _, own in frame.groupby("cluster"):
        vectors = matrix(own).astype("f8")
        strengths = np.linalg.svd(vectors, compute_uv=False)
        assert (strengths > 1e-4 * strengths[0]).sum() == intrinsic + 1  # the flat, and the way to it
        assert neighbour_dimension(vectors) == pytest.approx(intrinsic, rel=0.12)


def test_clusters_are_apart_and_as_wide_as_asked():
    frame = datasets.make_clustered(4000, dimensions=64, clusters=8, intrinsic=10, spread=0.5)
    assert frame.dtypes.astype(str).to_dict() == {"cluster": "int32", "embedding": "vector[64]"}
    assert frame["cluster"].value_counts().between(400, 600).all()
    np.testing.assert_allclose(np.linalg.norm(matrix(frame), axis=1), 1, atol=1e-5)
    neighbours = frame.vec.neighbors(5, columns=["cluster"])
    kinds = frame["cluster"].loc[neighbours["query"]].to_numpy()
    assert (neighbours["cluster"].to_numpy() == kinds).mean() > 0.99
    means = frame.groupby("cluster")["embedding"].mean()
    centres = np.stack(means[frame["cluster"]].to_numpy())
    cosines = (matrix(frame) * centres).sum(axis=1) / np.linalg.norm(centres, axis=1)
    assert np.mean(cosines) == pytest.approx(1 / np.sqrt(1 + 0.5**2), abs=0.02)


def test_more_rows_begin_with_those_of_fewer():
    few, more = (datasets.make_clustered(n, dimensions=16, clusters=5, intrinsic=3, seed=4) for n in (500, 2000))
    assert few["cluster"].equals(more["cluster"].head(500))
    np.testing.assert_allclose(matrix(few), matrix(more)[:500], atol=1e-6)
    other = datasets.make_clustered(500, dimensions=16, clusters=5, intrinsic=3, seed=5)
    assert not np.allclose(matrix(other), matrix(few))


@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        ({"n": -1}, "n must be at least 0"),
        ({"clusters": 0}, "clusters must be at least 1"),
        ({"intrinsic": 384}, "must be less than dimensions=384"),
    ],
)
def test_clusters_that_cannot_be_are_refused(numbers, match):
    with pytest.raises(dkvector.SchemaError, match=match):
        datasets.make_clustered(**{"n": 10, **numbers})


def test_no_rows_of_clusters_keep_their_dtypes():
    frame = datasets.make_clustered(0, dimensions=8, intrinsic=3)
    assert frame.dtypes.astype(str).to_dict() == {"cluster": "int32", "embedding": "vector[8]"}
