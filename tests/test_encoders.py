"""Texts to vectors: what encoders give is checked and remembered, and frames and stores take it from there."""

import gc
import math
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dkvector as dkv
from dkvector import _memory
from dkvector._memory import Memory
from dkvector.encoders import Encoder, as_encoder


def code(texts):
    """A vector that tells its text: length, first letter, and 1."""
    return [[len(text), ord(text[:1] or " "), 1] for text in texts]


class Recorded:
    """An encoder that keeps every batch it was given."""

    def __init__(self, give=code) -> None:
        self.give, self.batches = give, []

    def encode(self, texts):
        self.batches.append(texts)
        return self.give(texts)

    @property
    def texts(self):
        return [text for batch in self.batches for text in batch]


# What is an encoder


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: one.encode, lambda one: partial(one.encode), as_encoder])
def test_a_callable_or_an_object_with_encode(wrap):
    assert as_encoder(wrap(Recorded())).encode(["ab", "c"]).tolist() == [[2, 97, 1], [1, 99, 1]]


@pytest.mark.parametrize(
    "wrong", ["all-MiniLM-L6-v2", b"x", Recorded, None, 3], ids=["name", "bytes", "class", "nothing", "number"]
)
def test_what_is_no_encoder_is_refused(wrong):
    with pytest.raises(dkv.SchemaError, match=r"an encoder is a callable .* or an object with \.encode"):
        Encoder(wrong)


def test_encode_wins_over_call():
    class Both(Recorded):
        def __call__(self, texts) -> None:
            raise AssertionError(texts)

    assert Encoder(Both()).encode(["a"]).shape == (1, 3)


class Tensor:
    """What a tensor on another device does: an array only after `detach` and `cpu`."""

    def __init__(self, rows, steps=("detach", "cpu")) -> None:
        self.rows, self.steps = rows, list(steps)

    def detach(self):
        return Tensor(self.rows, [one for one in self.steps if one != "detach"])

    def cpu(self):
        return Tensor(self.rows, [one for one in self.steps if one != "cpu"])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if self.steps:
            raise TypeError(f"needs {self.steps}")
        return np.array(self.rows, dtype)


@pytest.mark.parametrize(
    "give",
    [
        np.array,
        np.float16,
        lambda rows: np.asfortranarray(rows, np.float64),
        lambda rows: [np.array(row) for row in rows],
        lambda rows: (row for row in rows),
        Tensor,
    ],
    ids=["int64", "float16", "Fortran", "list of arrays", "generator", "tensor"],
)
def test_every_form_of_answer_is_read(give):
    made = Encoder(lambda texts: give(code(texts))).encode(["ab", "c"])
    assert (made.dtype, made.flags.c_contiguous, made.tolist()) == (np.float32, True, [[2, 97, 1], [1, 99, 1]])


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda texts: code(texts)[1:], r"shape \(1, 3\) for 2 texts, not \(2, d\)"),
        (lambda texts: [*code(texts), [1, 2, 3]], r"shape \(3, 3\) for 2 texts"),
        (lambda texts: [1.0] * len(texts), r"shape \(2,\) for 2 texts"),
        (lambda texts: np.ones((len(texts), 0)), r"shape \(2, 0\)"),
        (lambda texts: np.ones((1, len(texts), 3)), r"shape \(1, 2, 3\)"),
        (lambda _: [[1, 2], [3]], "no vectors of one length for 2 texts"),
        (lambda texts: texts, "no vectors of one length"),
        (lambda _: None, "shape|no vectors"),
        (lambda _: [[math.nan, 1], [1, 2]], r"NaN or infinity at 'b' \(1 row\)"),
        (lambda _: [[1, 2], [1, 1e39]], r"NaN or infinity at 'long{56}…' \(1 row\)"),
    ],
    ids=["few", "many", "flat", "no dimensions", "3-d", "ragged", "text", "nothing", "NaN", "beyond float32"],
)
def test_answers_that_cannot_be_used_are_errors(give, message):
    with pytest.raises(dkv.VectorError, match=message):
        Encoder(give).encode(["b", "lon" + "g" * 80])


def test_an_encoder_that_changes_its_dimensions_is_an_error():
    encoder = Encoder(lambda texts: np.ones((len(texts), len(texts[0]))), batch_size=1)
    with pytest.raises(dkv.VectorError, match="gave 2 dimensions, 1 before"):
        encoder.encode(["a", "bb"])


@pytest.mark.parametrize(("texts", "message"), [("one", r"\[text\]"), (["a", None, 3], r"None, at 1, 2 \(2 rows\)")])
def test_what_is_no_text_is_an_error(texts, message):
    encoder = Recorded()
    with pytest.raises(dkv.SchemaError, match=message):
        Encoder(encoder).encode(texts)
    assert encoder.batches == []


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "8"])
def test_batch_size_is_a_count(size):
    with pytest.raises(dkv.SchemaError, match="batch_size must be a whole number"):
        Encoder(code).encode(["a"], batch_size=size)


# Batches and memory


@given(st.lists(st.text(max_size=4), max_size=30), st.integers(1, 8))
def test_every_text_gets_its_own_vector_and_each_is_embedded_once(texts, size):
    source = Recorded()
    encoder = Encoder(source, batch_size=size)
    expected = np.array(code(texts), np.float32).reshape(-1, 3)
    for _ in range(2):
        assert encoder.encode(texts).reshape(-1, 3).tolist() == expected.tolist()
    assert sorted(source.texts) == sorted(set(texts))
    assert all(len(batch) == size for batch in source.batches[:-1])


def test_texts_of_like_length_go_together():
    source = Recorded()
    Encoder(source, batch_size=2).encode(["dddd", "a", "ccc", "bb"])
    assert source.batches == [["a", "bb"], ["ccc", "dddd"]]


def test_vectors_are_remembered_by_the_encoders_object_not_by_its_value():
    @dataclass(frozen=True)
    class Model:
        weight: float = field(compare=False)

        def encode(self, texts):
            return np.full((len(texts), 1), self.weight)

        def other(self, texts):
            return np.full((len(texts), 1), -self.weight)

    one, two = Model(1.0), Model(2.0)
    assert one == two
    made = [as_encoder(each).encode(["x"]).item() for each in (one, two, one.encode, one.other, one)]
    assert made == [1, 2, 1, -1, 1]


def test_a_new_encoder_never_gets_the_vectors_of_one_that_is_gone():
    for weight in range(50):
        assert as_encoder(lambda texts, weight=weight: [[weight]] * len(texts)).encode(["x"]).item() == weight
    gc.collect()
    before = len(_memory._MEMORIES)
    source = Recorded()
    as_encoder(source).encode(["a"])
    assert len(_memory._MEMORIES) == before + 1
    del source
    gc.collect()
    assert len(_memory._MEMORIES) == before


def test_a_remembered_vector_is_not_the_callers_to_change():
    encoder = Encoder(Recorded())
    encoder.encode(["a"])[:] = 7
    assert encoder.encode(["a"]).tolist() == [[1, 97, 1]]


def test_an_encoder_may_use_its_buffer_again():
    buffer = np.empty((1, 3), np.float32)

    def reusing(texts):
        buffer[:] = code(texts)
        return buffer

    encoder = Encoder(reusing, batch_size=1)
    for _ in range(2):
        assert encoder.encode(["a", "bb"]).tolist() == code(["a", "bb"])


def test_a_memory_keeps_rows_not_their_batches():
    memory = Memory(limit=100)
    memory.add({"a": np.zeros((1000, 2), np.float32)[0]}, using=0)
    assert memory.known(["a"])["a"].base is None


def test_forgetting_and_not_remembering():
    source = Recorded()
    Encoder(source).encode(["a"])
    as_encoder(source).encode(["a"])
    assert source.texts == ["a"]
    Encoder(source, remember=False).encode(["a"])
    assert source.texts == ["a", "a"]
    Encoder(source).forget()
    Encoder(source).encode(["a"])
    assert source.texts == ["a", "a", "a"]


def test_an_interruption_loses_nothing_that_was_embedded():
    source = Recorded()

    def interrupted(texts):
        if len(source.batches) == 3 and texts[-1] == "dd":
            raise KeyboardInterrupt
        return code(texts)

    source.give = interrupted
    texts = ["a", "b", "c", "dd"]
    with pytest.raises(KeyboardInterrupt):
        Encoder(source, batch_size=1).encode([*texts[:2], "dd"])
    source.give = code
    assert Encoder(source).encode(texts).tolist() == code(texts)
    assert source.texts == ["a", "b", "dd", "c", "dd"]


def test_a_memory_is_bounded_and_keeps_what_was_used_last():
    memory = Memory(limit=3 * 4)
    memory.add({text: np.float32([at]) for at, text in enumerate("abc")}, using=0)
    assert list(memory.known("a")) == ["a"]
    memory.add({"d": np.float32([9])}, using=1)
    assert list(memory.known("abcd")) == ["a", "c", "d"]


def test_a_call_larger_than_the_memory_keeps_its_beginning(monkeypatch):
    monkeypatch.setattr(_memory, "REMEMBERED", 4 * 12)
    source = Recorded()
    texts = [f"{at:02}" for at in range(10)]
    for _ in range(2):
        assert Encoder(source, batch_size=3).encode(texts).tolist() == code(texts)
    assert source.texts == texts + texts[4:]


def test_a_bar_is_shown_where_it_is_wanted(capsys):
    Encoder(code).encode([str(at) for at in range(50)])
    assert capsys.readouterr().err == ""
    Encoder(Recorded()).encode([str(at) for at in range(50)], progress=True)
    assert "50/50" in capsys.readouterr().err


# The model's name


@pytest.mark.parametrize(
    ("told", "model"),
    [
        ({"model_name": "a/b"}, "a/b"),
        ({"model": "text-embedding-3-small"}, "text-embedding-3-small"),
        ({"model": object()}, None),
        ({"model_card_data": SimpleNamespace(model_id="me/mine", base_model="bert")}, "me/mine"),
        ({"model_card_data": SimpleNamespace(model_id=None, base_model="bert")}, "bert"),
        ({}, None),
    ],
    ids=["model_name", "model", "a model object", "model_id", "base_model", "nothing"],
)
def test_the_models_name_is_read_from_the_encoder(told, model):
    source = Recorded()
    source.__dict__ |= told
    assert (Encoder(source).model, Encoder(source.encode).model) == (model, model)
    assert Encoder(source, model="mine").model == "mine"


@pytest.fixture
def notes():
    return pd.DataFrame({"note": ["aa", "b", "ccc"]}, index=["x", "y", "z"]).vec.embed("note", Recorded(), into="v")


def named(model):
    source = Recorded()
    source.model_name = model
    return source


def test_push_keeps_the_encoders_model_and_refuses_another(notes, tmp_path):
    with notes.vec.push("faiss", path=tmp_path / "s", encoder=named("org/m")) as store:
        assert (store.schema.vector().model, store.encoder.model) == ("org/m", "org/m")
        assert store.search(text="aa", k=1).index.tolist() == ["x"]
    for wrong in ({"encoder": named("org/other")}, {"model": "org/other"}):
        with pytest.raises(dkv.SchemaError, match=r"'org/m'.*'org/other'"):
            notes.head(1).vec.push("faiss", path=tmp_path / "s", mode="upsert", **wrong)
    with pytest.raises(dkv.SchemaError, match=r"'org/m'.*'org/other'"):
        dkv.connect("faiss", path=tmp_path / "s", encoder=named("org/other"))
    with dkv.connect("faiss", path=tmp_path / "s", encoder=named("m")) as store:  # the same, without its organisation
        assert (len(store), store.search(text=["b"], k=1)["query"].tolist()) == (3, ["b"])


def test_of_several_columns_none_is_taken_to_be_the_encoders(notes):
    both = notes.assign(other=[[1.0, 2.0]] * 3)
    models = {one.name: one.model for one in both.vec.push("exact", encoder=named("m")).schema.vectors}
    assert models == {"v": None, "other": None}
    assert both.vec.push("exact", on="v", encoder=named("m")).schema.vector("v").model == "m"


def test_a_model_that_contradicts_the_encoder_is_refused_before_anything_is_written(notes, tmp_path):
    with pytest.raises(dkv.SchemaError, match=r"model='one' is given with an encoder that is 'two'"):
        notes.vec.push("faiss", path=tmp_path / "s", encoder=named("two"), model="one")
    assert not (tmp_path / "s").exists()


def test_an_encoder_of_another_length_than_the_field_is_refused(notes):
    store = notes.vec.push("exact")
    source = Recorded(lambda texts: np.ones((len(texts), 2)))
    source.dimensions = 2
    with pytest.raises(dkv.SchemaError, match="'v' has 3 dimensions, the encoder gives 2"):
        store.encoder = source
    store.encoder = Recorded()
    assert store.search(text="ccc", k=1).index.tolist() == ["z"]
    store.encoder = None
    with pytest.raises(dkv.SchemaError, match="needs an encoder"):
        store.search(text="ccc")


def test_a_store_that_refuses_its_encoder_is_closed(notes, tmp_path, monkeypatch):
    notes.vec.push("faiss", path=tmp_path / "s", model="one").close()
    closed, close = [], dkv.VectorStore.close
    monkeypatch.setattr(dkv.VectorStore, "close", lambda store: closed.append(close(store)))
    with pytest.raises(dkv.SchemaError, match=r"'one'.*'two'"):
        dkv.connect("faiss", path=tmp_path / "s", encoder=named("two"))
    assert len(closed) == 1

    def broken(_):
        raise LookupError("no such layer")

    with dkv.connect("faiss", path=tmp_path / "t") as store:
        store.upsert(notes[["v"]])
        store.record_model(named("one"))
    closed.clear()
    source = named("one")
    source.encode = broken
    with pytest.raises(LookupError, match="no such layer"):
        dkv.connect("faiss", path=tmp_path / "t", encoder=source)
    assert len(closed) == 1


def test_no_encoder_is_left_with_an_open_store(tmp_path):
    with pytest.raises(dkv.SchemaError, match="an encoder is a callable"):
        dkv.connect("faiss", path=tmp_path / "s", encoder="minilm")
    assert not (tmp_path / "s").exists()


# df.vec


def test_a_frame_of_text_can_be_embedded_and_nothing_else():
    frame = pd.DataFrame({"n": [1, 2], "note": ["aa", "b"]})
    assert frame.vec.fields == {}
    with pytest.raises(dkv.SchemaError, match=r"no column holds vectors.*embed\(column, encoder\)"):
        frame.vec.search([1.0, 2.0])
    with pytest.raises(dkv.SchemaError, match="no vector column"):
        frame.vec.push("exact")
    made = frame.vec.embed("note", code)
    assert made.columns.tolist() == ["n", "note", "embedding"]
    assert made["embedding"].array.matrix.tolist() == [[2, 97, 1], [1, 98, 1]]
    assert frame.columns.tolist() == ["n", "note"]


@pytest.mark.parametrize(
    "dtype", ["str", "object", "string", "string[pyarrow]", "category", pd.ArrowDtype(pa.large_string())], ids=str
)
def test_every_dtype_of_text_is_embedded_and_missing_texts_stay_missing(dtype):
    frame = pd.DataFrame({"note": pd.Series(["aa", None, "b", "aa"], index=list("wxyz")).astype(dtype)})
    source = Recorded()
    made = frame.vec.embed("note", source, into="v")
    assert made["v"].isna().tolist() == [False, True, False, False]
    assert made["v"].dropna().tolist()[2].tolist() == [2, 97, 1]
    assert source.texts == ["b", "aa"]
    assert made["v"].dtype == "vector[3]"


def test_embed_refuses_what_it_cannot_do_before_it_embeds():
    frame = pd.DataFrame({"note": ["a", "b"], "n": [1, 2], "mixed": ["a", 2]}, index=["x", "y"])
    source = Recorded()
    for arguments, error, message in [
        (("nope",), dkv.NotFoundError, "no column 'nope'"),
        (("n",), dkv.SchemaError, r"'n' holds what is no text, such as 1, at 'x', 'y' \(2 rows\); df\['n'\]"),
        (("mixed",), dkv.SchemaError, r"such as 2, at 'y' \(1 row\)"),
        (("note", "n"), dkv.SchemaError, "there is a column 'n' already"),
    ]:
        column, into = [*arguments, "embedding"][:2]
        with pytest.raises(error, match=message):
            frame.vec.embed(column, source, into)
    twice = pd.concat([frame["note"], frame["note"]], axis=1)
    with pytest.raises(dkv.SchemaError, match="several columns are called 'note'"):
        twice.vec.embed("note", source)
    assert source.batches == []


def test_a_column_without_any_text_is_an_error_unless_the_encoder_tells_its_length():
    frame = pd.DataFrame({"note": pd.Series([None, None], dtype="str")})
    with pytest.raises(dkv.SchemaError, match="'note' holds no text"):
        frame.vec.embed("note", Recorded())
    source = Recorded()
    source.dimensions = 3
    assert frame.vec.embed("note", source)["embedding"].isna().all()
    assert frame.head(0).vec.embed("note", source)["embedding"].dtype == "vector[3]"


def test_a_frame_is_searched_by_text(notes):
    encoder = Recorded()
    assert notes.vec.search(text="ccc", encoder=encoder, k=1).index.tolist() == ["z"]
    found = notes.vec.search(text=["aa", "b"], encoder=encoder, k=1)
    assert (found["query"].tolist(), found.index.tolist()) == (["aa", "b"], ["x", "y"])
    labelled = notes.vec.search(text=pd.Series(["b"], index=["mine"]), encoder=encoder, k=1)
    assert (labelled["query"].tolist(), labelled.index.tolist()) == (["mine"], ["y"])
    for arguments, message in [
        ({"text": "b"}, r"search\(text=…, encoder=…\)"),
        ({"text": 3, "encoder": encoder}, "not int"),
        ({"text": "b", "like": "x", "encoder": encoder}, "takes a query vector"),
        ({}, "takes a query vector"),
    ]:
        with pytest.raises(dkv.SchemaError, match=message):
            notes.vec.search(**arguments)


def test_a_frame_is_not_searched_by_vector_and_text_at_once(notes):
    with pytest.raises(dkv.UnsupportedError, match=r'push\("exact"\)'):
        notes.vec.search([1, 0, 0], text="b")


def test_a_frame_takes_the_vector_query_that_stores_take(notes):
    frame = notes.assign(n=[1, 2, 3]).rename(columns={"v": "embedding"})
    conditions = dkv.Query().filter("n", ">", 1).with_vector_search([2, 97, 1], k=1, metric="euclidean")
    for query in (conditions, conditions.vector_query):
        found = frame.vec.search(query)
        stored = frame.vec.push("exact", metric="euclidean").search(query)
        pd.testing.assert_frame_equal(found, stored, check_names=False)
        assert (found.index.tolist(), found["distance"].tolist()) == (["y"], [pytest.approx(math.sqrt(2))])
