"""Weights of a hybrid search, fitted on judged queries."""

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv
from dkvector.evaluation import fitting
from dkvector.evaluation.fitting import _best, _cross_validated

WORDS = "ape bee cat dog elk fox gnu hen ibis jay kite lynx mole newt owl pig".split()  # noqa: SIM905 - to be read


def world(noise_vector, noise_text, seed=0):
    """A hundred rows of two words each; queries find theirs by a vector, or by a word, as far as noise lets them."""
    rng = np.random.default_rng(seed)
    pairs = [(one, other) for at, one in enumerate(WORDS) for other in WORDS[at + 1 :]]
    matrix = rng.standard_normal((len(pairs), 8))
    rows = pd.DataFrame({"text": [" ".join(pair) for pair in pairs], "embedding": list(matrix)})
    rows.index = pd.Index([f"row {at:03}" for at in range(len(rows))])
    right = rng.permutation(len(rows))[:40]
    near = matrix[right] + noise_vector * rng.standard_normal((40, 8))
    texts = [
        rows["text"].iloc[at] if rng.random() > noise_text else " ".join(rng.permutation(WORDS)[:2]) for at in right
    ]
    labels = [f"q{at}" for at in range(40)]
    return rows, pd.Series(list(near), labels), pd.Series(texts, labels), pd.Series(rows.index[right], labels)


@pytest.mark.parametrize(
    ("noise", "low", "high"), [((0.01, 0.95), 0.55, 1), ((20, 0.0), 0, 0.5)], ids=["vectors know", "words know"]
)
def test_the_leg_that_knows_gets_the_weight(noise, low, high):
    rows, queries, texts, right = world(*noise)
    with rows.vec.push("exact") as store:
        fitted = dkv.fit_fusion(store, queries, texts, right)
        assert low <= fitted.alpha <= high
        assert fitted.ndcg >= max(fitted.vector, fitted.text) - 0.05
        found = store.search(queries, text=list(texts), fusion=fitted, k=10)
    assert isinstance(fitted, dkv.Weighted)
    assert (fitted.queries, len(fitted.by_fold), len(fitted.curve)) == (40, 5, 42)
    hit = found.index == found["query"].map(right)
    gain = (hit / np.log2(found["rank"] + 1)).sum() / 40
    assert gain == pytest.approx(fitted.curve["ndcg"].max())
    assert str(fitted).startswith(f"Weighted(alpha={fitted.alpha}, normalise=")


def test_ends_of_the_curve_are_the_legs():
    rows, queries, texts, right = world(1.0, 0.3)
    with rows.vec.push("exact") as store:
        fitted = dkv.fit_fusion(store, queries, texts, right, normalise=("minmax",), k=5)
        alone = store.search(queries, k=5)
        rrf = store.search(queries, text=list(texts), k=5, fusion=dkv.RRF())
    curve = fitted.curve.set_index("alpha")["ndcg"]
    assert curve[1.0] == pytest.approx(fitted.vector)
    for found, told in ((alone, fitted.vector), (rrf, fitted.rrf)):
        hit = found.index == found["query"].map(right)
        assert (hit / np.log2(found["rank"] + 1)).sum() / 40 == pytest.approx(told)
    assert curve[0.0] == pytest.approx(fitted.text)
    assert fitted.low <= fitted.ndcg <= fitted.high
    assert fitted == dkv.fit_fusion(world_store(rows), queries, texts, right, normalise=("minmax",), k=5)


def world_store(rows):
    return rows.vec.push("exact")


def test_what_is_told_was_not_chosen_on_itself():
    rng = np.random.default_rng(0)
    scores = rng.random((50, 30))  # no setting is better than another
    settings = [(at / 49, "minmax") for at in range(50)]
    best = scores[_best(scores, settings)].mean()
    held, chosen = _cross_validated(scores, settings, 5, 0)
    assert best > 0.57
    assert held.mean() < best - 0.03
    assert len(chosen) == 5
    assert _best(np.ones((50, 3)), settings) in {24, 25}


def test_what_can_not_be_fitted_is_refused_before_anything_is_asked(monkeypatch):
    rows, queries, texts, right = world(1.0, 0.5)
    monkeypatch.setattr(fitting, "_legs", lambda *_, **__: pytest.fail("the legs were asked for nothing"))
    with rows.vec.push("exact") as store:
        with pytest.raises(dkv.SchemaError, match="k must be a whole number"):
            dkv.fit_fusion(store, queries, texts, right, k=0)
        with pytest.raises(dkv.NotFoundError, match="nobody"):
            dkv.fit_fusion(store, queries, texts, right.replace(right.iloc[0], "nobody"))
        with pytest.raises(dkv.SchemaError, match="3 queries are judged, and 5 folds"):
            dkv.fit_fusion(store, queries, texts, right.head(3))
        with pytest.raises(dkv.SchemaError, match="40 queries and 39 texts"):
            dkv.fit_fusion(store, queries, texts.head(39), right)
        with pytest.raises(dkv.SchemaError, match="no normalisation"):
            dkv.fit_fusion(store, queries, texts, right, normalise=("none", "maxmin"))


def test_texts_alone_are_embedded():
    rows, queries, texts, right = world(0.01, 0.0)
    by_text = dict(zip(texts, queries, strict=True))
    with rows.vec.push("exact", encoder=lambda some: np.stack([by_text[one] for one in some])) as store:
        fitted = dkv.fit_fusion(store, None, texts, right)
        assert fitted.vector == pytest.approx(dkv.fit_fusion(store, queries, texts, right).vector)
