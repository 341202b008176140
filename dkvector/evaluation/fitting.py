"""`fit_fusion`: how much a vector and how much words should count, by judged queries, and what that is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.blocking import VectorStore
from dkvector.counts import as_count
from dkvector.errors import SchemaError
from dkvector.evaluation.judged import pairs_of, read_relevances
from dkvector.evaluation.measures import Answers, Relevances, Values, interval, mean
from dkvector.fusion import RRF, Fusion, Leg, Normalisation, Weighted, aligned
from dkvector.progress import bar

STEPS = 21  # values of alpha, evenly from 0 to 1
MUCH = 100  # queries from which a progress bar shows by itself


@dataclass(frozen=True)
class FittedFusion(Weighted):
    """A `Weighted` that was fitted, with what it is worth on queries that the fit has not seen.

    Attributes:
        k: of the figures.
        queries: that were judged.
        ndcg: mean nDCG@k by cross-validation: each query is measured with weights fitted on the other folds.
        low: of its 95 % interval, by bootstrap over the queries.
        high: likewise.
        vector: mean nDCG@k of the vector leg alone.
        text: of the words alone.
        rrf: of `RRF()`, which needs no fit.
        by_fold: alpha and normalisation that each fold's others chose: how sure the choice is.
        curve: a frame with alpha, normalise and mean nDCG@k on all queries, on which the final choice was made.
    """

    k: int = 10
    queries: int = 0
    ndcg: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    vector: float = float("nan")
    text: float = float("nan")
    rrf: float = float("nan")
    by_fold: tuple[tuple[float, str], ...] = ()
    curve: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False, compare=False)

    def __str__(self) -> str:
        return (
            f"Weighted(alpha={self.alpha}, normalise={self.normalise!r}): nDCG@{self.k} {self.ndcg:.3f} "
            f"({self.low:.3f} to {self.high:.3f}) on {self.queries:,} queries, cross-validated; "
            f"vectors alone {self.vector:.3f}, words alone {self.text:.3f}, RRF {self.rrf:.3f}"
        )


def fit_fusion(
    store: VectorStore,
    queries: Any,
    texts: Sequence[str] | pd.Series,
    relevances: Any,
    *,
    k: int = 10,
    normalise: Sequence[Normalisation] = ("minmax", "zscore"),
    folds: int = 5,
    seed: int = 0,
    window: int = 100,
    field: str | None = None,
    where: Any = None,
    text_on: str | Sequence[str] | None = None,
    progress: bool | None = None,
) -> FittedFusion:
    """Fit the weights of a hybrid search by queries whose right answers are known.

    Each leg is asked once. Of 21 values of alpha with each normalisation, the one with the largest mean nDCG@k is
    taken, of equal ones that nearest to 0.5. What it is worth is measured by cross-validation, since the best of many
    looks better on the queries that chose it than it is (Stone, "Cross-validatory choice and assessment of statistical
    predictions", 1974).

    Args:
        store: has vectors and words.
        queries: vectors `(q, d)`, labelled as the relevances are; None embeds the texts.
        texts: the words of each query.
        relevances: a Series or dict, query label → row label, list of them, or dict of row label → gain; or a frame
            with the columns `query`, `row` and, where they differ, `gain`.
        k: ranks that count.
        normalise: the normalisations to try.
        folds: of the cross-validation, at least 2.
        seed: of the folds.
        window: rows that each leg gives.
        field: the vector field, where there are several.
        where: a filter for both legs.
        text_on: text columns to look for words in; all by default.
        progress: show a bar; None shows one when there is much to do.

    Returns:
        The fusion, for `search(…, fusion=…)`, with its figures.

    Raises:
        SchemaError: fewer judged queries than folds, or not a text for each query.
        NotFoundError: relevant rows that the store does not have.
        UnsupportedError: a store without keyword search.
    """
    as_count(folds, "folds", 2)
    as_count(k)
    labels, words = _labelled(queries, texts)
    pairs = list(pairs_of(relevances))
    count = int(labels.isin([query for query, _, _ in pairs]).sum())
    if count < folds:
        raise SchemaError(f"{count} queries are judged, and {folds} folds need as many at least")
    rows = pd.Index([row for _, row, _ in pairs]).unique()
    # only to refuse rows that are not there before anything is asked
    store.get(rows, columns=[])
    # which weight stands here does not matter, as all are tried
    fusions = [Weighted(0.5, one, max(window, k)) for one in normalise]
    legs = _legs(store, queries, words, window=max(window, k), field=field, where=where, on=text_on, progress=progress)
    # those that are right, and those that any leg has found
    known = rows.append([leg.ids for both in legs for leg in both]).unique()
    relevant = read_relevances(relevances, labels, known)
    if relevant is None:
        raise SchemaError("fit_fusion needs relevances: the right rows of some queries")
    fit = _Fit(legs, known, relevant, int(k))
    alphas = np.linspace(0, 1, STEPS).round(4)
    settings = [(float(alpha), one.normalise) for one in fusions for alpha in alphas]
    scores = np.concatenate([fit.scores(one, np.stack([alphas, 1 - alphas], axis=1)) for one in fusions])
    judged = np.flatnonzero(relevant.counts > 0)
    held, chosen = _cross_validated(scores[:, judged], settings, folds, seed)
    alpha, by = settings[_best(scores[:, judged], settings)]
    low, high = interval(held)
    curve = pd.DataFrame(settings, columns=["alpha", "normalise"]).assign(ndcg=[mean(one) for one in scores])
    # all the weight on one leg is that leg alone
    ends = fit.scores(fusions[0], np.eye(2))
    rrf = fit.scores(RRF(window=max(window, k)), np.ones((1, 2)))[0]
    worth = (mean(held), low, high, mean(ends[0]), mean(ends[1]), mean(rrf))
    return FittedFusion(alpha, by, max(window, k), int(k), len(judged), *worth, chosen, curve)


@dataclass(frozen=True)
class _Fit:
    """What both legs found for each query, and which rows are right."""

    legs: list[list[Leg]]
    rows: pd.Index
    relevant: Relevances
    k: int

    def scores(self, fusion: Fusion, weights: NDArray[np.float64]) -> Values:
        """Measure nDCG@k of each query with each pair of weights, `(weights, q)`; NaN where nothing is relevant."""
        found: list[list[NDArray[np.intp]]] = [[] for _ in weights]
        for both in self.legs:
            beside = aligned(both, fusion)
            order = np.argsort(beside.ids, kind="stable")  # ties by id, as in a search
            place, values = self.rows.get_indexer(beside.ids.take(order)), beside.added[:, order]
            # as a search rounds them, so that the same rows tie
            totals = np.round(weights @ values, 12)
            best = np.argsort(-totals, axis=1, kind="stable")[:, : self.k]
            for mine, at in zip(found, best, strict=True):
                mine.append(place[at])
        return np.stack([self._ndcg(mine) for mine in found])

    def _ndcg(self, found: list[NDArray[np.intp]]) -> Values:
        query = np.repeat(np.arange(len(found)), [len(one) for one in found])
        row = np.concatenate(found)
        return self.relevant.ndcg(Answers(query, row, np.zeros(len(row), np.float32), len(found)), self.k)


def _labelled(queries: Any, texts: Sequence[str] | pd.Series) -> tuple[pd.Index, pd.Series]:
    """Give the labels of the queries, and their texts by those."""
    of = queries if isinstance(queries, pd.Series) else texts
    labels = of.index if isinstance(of, pd.Series) else pd.RangeIndex(len(texts))
    if queries is not None and len(queries) != len(texts):
        raise SchemaError(f"a text for each query: there are {len(queries)} queries and {len(texts)} texts")
    if not labels.is_unique:
        raise SchemaError("several queries have the same label: reset_index() gives each its own")
    return labels, pd.Series(list(texts), index=labels, dtype=object)


def _legs(
    store: VectorStore,
    queries: Any,
    words: pd.Series,
    *,
    window: int,
    field: str | None,
    where: Any,
    on: Any,
    progress: bool | None,
) -> list[list[Leg]]:
    """Ask both legs for each query."""
    asked: dict[str, Any] = {"text": words} if queries is None else {"queries": _relabelled(queries, words.index)}
    near = store.search(k=window, field=field, where=where, columns=[], **asked)
    by_query: dict[Any, pd.DataFrame] = dict(iter(near.groupby("query", sort=False)))
    legs = []
    with bar(len(words), "words", unit="queries", show=len(words) >= MUCH if progress is None else progress) as count:
        for label, text in words.items():
            mine = by_query.get(label, near.head(0))
            found = store.keyword_search(text, k=window, on=on, where=where, columns=[])
            legs.append([Leg(one.index, one["score"].to_numpy(np.float32)) for one in (mine, found)])
            count(1)
    return legs


def _relabelled(queries: Any, labels: pd.Index) -> pd.Series:
    return queries if isinstance(queries, pd.Series) else pd.Series(list(queries), index=labels, dtype=object)


def _best(scores: Values, settings: Sequence[tuple[float, str]]) -> int:
    """Choose the setting with the largest mean; of equal ones that nearest to the middle, then the first."""
    means = np.round(np.nanmean(scores, axis=1), 12)
    apart = np.array([abs(alpha - 0.5) for alpha, _ in settings])
    return int(np.lexsort((apart.round(6), -means))[0])


def _cross_validated(
    scores: Values, settings: Sequence[tuple[float, str]], folds: int, seed: int
) -> tuple[Values, tuple[tuple[float, str], ...]]:
    """Measure each fold with the setting that the other folds choose."""
    order = np.random.default_rng(seed).permutation(scores.shape[1])
    held, chosen = np.empty(scores.shape[1]), []
    for at in range(folds):
        mine = order[at::folds]
        best = _best(np.delete(scores, mine, axis=1), settings)
        held[mine] = scores[best, mine]
        chosen.append(settings[best])
    return held, tuple(chosen)
