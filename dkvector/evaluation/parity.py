"""`parity`: how far stores agree about the same queries: two backends, or two embedding models of the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector import _html, plotting
from dkvector.blocking import VectorStore
from dkvector.counts import as_count
from dkvector.errors import NotFoundError, SchemaError
from dkvector.evaluation import measures
from dkvector.evaluation.asked import read_asked
from dkvector.evaluation.sources import columns_of
from dkvector.indexes import Tuning
from dkvector.metrics import scale_of

PERSISTENCE = 0.9  # of rank-biased overlap: the first ten ranks have about 86 % of the weight
SLACK = 1e-5  # of the scale of distances: rows that change places within it do not diverge


@dataclass(frozen=True)
class Parity:
    """How far stores agree.

    Attributes:
        frame: a row for each pair of stores: `overlap` (the share of the first k rows in both) with its interval, `rbo`
            (rank-biased overlap), `same` (the share of queries with the same rows in the same order, ties aside),
            `divergence` (the median rank at which the others part), `score_mean` and `score_max` (differences of the
            scores of rows in both).
        queries: the same of each query; `divergence` is the rank, 0 where there is none.
        depths: `overlap` of each pair at every depth.
        k: rows compared.
    """

    frame: pd.DataFrame
    queries: pd.DataFrame
    depths: pd.DataFrame
    k: int

    def plot(self, ax: Any = None) -> Any:
        """Draw the share of the first rows that both have, at every depth."""
        return plotting.plot_parity(self.depths, ax)

    def worst(self, n: int = 10) -> pd.DataFrame:
        """Give the queries about which stores agree least."""
        return self.queries.sort_values(["overlap", "rbo"], kind="stable", ignore_index=True).head(n)

    def __repr__(self) -> str:
        return self.frame.round(4).to_string()

    def _repr_html_(self) -> str:
        return _html.block(self.frame.round(4).to_html())


def parity(
    stores: Mapping[str, VectorStore | pd.DataFrame],
    queries: Any,
    k: int = 10,
    *,
    where: Any = None,
    tuning: Mapping[str, Tuning | Mapping[str, Any]] | None = None,
    fields: Mapping[str, str] | None = None,
) -> Parity:
    """Compare what stores answer to the same queries.

    Args:
        stores: two or more by name: stores, or frames, which are searched exactly.
        queries: vectors, a Series of them, or a frame with a vector column; a dict of such by the stores' names, where
            each has a model of its own. A query that is a row finds itself in every store, which counts as agreement.
        k: rows of each answer.
        where: a filter.
        tuning: search-time knobs by the stores' names.
        fields: vector fields by the stores' names, so that one store may be given twice: two versions of its vectors.

    Returns:
        A row for each pair, and for each query of each pair.

    Raises:
        SchemaError: fewer than two stores, or numbers of queries that differ.
        NotFoundError: queries or knobs for no store, or a store without queries.

    Example:
        >>> import dkvector as dkv
        >>> words = dkv.datasets.load_wordnet().head(500)
        >>> short = words.assign(embedding=dkv.VectorArray(words["embedding"].vec.to_numpy()[:, :96].copy()))
        >>> asked = words["embedding"].head(50)
        >>> both = {"whole": asked, "short": short["embedding"].head(50)}
        >>> dkv.parity({"whole": words, "short": short}, both, k=5).frame[["overlap", "rbo"]].round(2)
                     overlap   rbo
        one   other...
        whole short     0.71  0.76
    """
    if len(stores) < 2:  # noqa: PLR2004 - one has nothing to agree with
        raise SchemaError("parity compares two stores or more: give a dict of them by name")
    k, knobs, named = as_count(k), tuning or {}, fields or {}
    asked = _by_name(queries, stores)
    _check_names(knobs, stores)
    _check_names(named, stores)
    answers = {
        name: _answer(store, asked[name], k, where, knobs.get(name), field=named.get(name))
        for name, store in stores.items()
    }
    counts = [len(one.frames) for one in answers.values()]
    if len(set(counts)) > 1:
        raise SchemaError(f"the stores were asked different numbers of queries: {counts}")
    pairs = {pair: _compared(answers[pair[0]], answers[pair[1]], k) for pair in combinations(stores, 2)}
    each = pd.concat([made.assign(one=one, other=other) for (one, other), (made, _) in pairs.items()])
    frame = pd.DataFrame([_summary(made) for made, _ in pairs.values()], index=_index(list(pairs)))
    depths = [
        pd.DataFrame({"pair": f"{one} / {other}", "depth": np.arange(1, k + 1), "overlap": shared})
        for (one, other), (_, shared) in pairs.items()
    ]
    names = ["one", "other", *(name for name in each.columns if name not in {"one", "other"})]
    return Parity(frame, each[names].reset_index(drop=True), pd.concat(depths, ignore_index=True), k)


def _index(pairs: Sequence[tuple[str, str]]) -> pd.MultiIndex:
    return pd.MultiIndex.from_tuples(pairs, names=["one", "other"])


def _check_names(given: Mapping[str, Any], stores: Mapping[str, Any]) -> None:
    for name in given:
        if name not in stores:
            raise NotFoundError.of("store", name, stores)


def _by_name(queries: Any, stores: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(queries, Mapping):
        return dict.fromkeys(stores, queries)
    _check_names(queries, stores)
    if missing := [name for name in stores if name not in queries]:
        raise NotFoundError(f"no queries for {missing[0]!r}: give those of every store, by its name")
    return dict(queries)


@dataclass(frozen=True)
class _Answers:
    """What a store answers to each query, and how far apart distances that are one may be."""

    frames: list[pd.DataFrame]
    slack: float


def _answer(store: Any, queries: Any, k: int, where: Any, tuning: Any, *, field: str | None) -> _Answers:
    """Search, and cut the answer into those of the queries; labels are of the caller's own, and may come twice."""
    if isinstance(store, pd.DataFrame):
        # with no more than the filter reads: answers are compared by their rows
        store = store.vec.push("exact", columns=columns_of([where]))
    info = store.store.known.vector(field)
    matrix = read_asked(queries, info.dimensions, info.metric).matrix
    found = store.search(matrix, k, field=info.name, where=where, tuning=tuning, columns=[])
    ends = np.searchsorted(found["query"].to_numpy(), np.arange(len(matrix) + 1))
    frames = [found.iloc[ends[at] : ends[at + 1]] for at in range(len(matrix))]
    return _Answers(frames, SLACK * scale_of(found["distance"].to_numpy(np.float32), info.metric))


def _compared(one: _Answers, other: _Answers, k: int) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Compare answers query by query; gives the mean overlap at every depth too."""
    rows, shared, slack = [], np.zeros((len(one.frames), k)), max(one.slack, other.slack)
    for at, (mine, theirs) in enumerate(zip(one.frames, other.frames, strict=True)):
        depths = overlaps(mine.index.tolist(), theirs.index.tolist(), k)
        shared[at] = depths
        both = mine["score"].to_frame("mine").join(theirs["score"].to_frame("theirs"), how="inner")
        apart = (both["mine"] - both["theirs"]).abs()
        rows.append(
            {
                "query": at,
                "overlap": depths[-1],
                "rbo": rank_biased(depths),
                "divergence": _divergence(mine, theirs, slack),
                "score_mean": apart.mean(),
                "score_max": apart.max(),
            }
        )
    return pd.DataFrame(rows), shared.mean(axis=0)


def _summary(each: pd.DataFrame) -> dict[str, float]:
    low, high = measures.interval(each["overlap"].to_numpy(np.float64))
    parted = each.loc[each["divergence"] > 0, "divergence"]
    return {
        "overlap": each["overlap"].mean(),
        "overlap_low": low,
        "overlap_high": high,
        "rbo": each["rbo"].mean(),
        "same": float((each["divergence"] == 0).mean()),
        "divergence": parted.median(),
        "score_mean": each["score_mean"].mean(),
        "score_max": each["score_max"].max(),
    }


def overlaps(one: Sequence[Any], other: Sequence[Any], k: int) -> NDArray[np.float64]:
    """Give the share of the first d rows that both have, for every d up to k, `(k,)`; two that end early agree so far.

    Example:
        >>> overlaps("abc", "bad", 3)
        array([0.        , 1.        , 0.66666667])
    """
    shares = np.empty(k)
    for depth in range(1, k + 1):
        mine, theirs = set(one[:depth]), set(other[:depth])
        longest = max(len(mine), len(theirs))
        shares[depth - 1] = len(mine & theirs) / longest if longest else 1.0
    return shares


def rank_biased(depths: NDArray[np.float64], persistence: float = PERSISTENCE) -> float:
    """Give rank-biased overlap: a mean of the overlaps at all depths in which the first ranks weigh most.

    Extrapolated beyond the last depth by its overlap, equation 23 of Webber, Moffat and Zobel, *A similarity measure
    for indefinite rankings*, TOIS 28 (2010), for lists of one length.

    Example:
        >>> rank_biased(np.ones(5)), round(rank_biased(np.array([0.0, 1.0])), 3)
        (1.0, 0.9)
    """
    depth = np.arange(1, len(depths) + 1)
    weights = (1 - persistence) / persistence * persistence**depth
    # agreement that is perfect must be 1, and not a last digit less
    return float(np.round((weights * depths).sum() + depths[-1] * persistence ** len(depths), 12))


def _divergence(one: pd.DataFrame, other: pd.DataFrame, slack: float) -> int:
    """Give the rank at which two answers first differ, but for rows as near as each other; 0 where they never do."""
    mine, theirs = one.index.tolist(), other.index.tolist()
    near, far = one["distance"].tolist(), other["distance"].tolist()
    places = {label: at for at, label in enumerate(mine)}
    for at in range(min(len(mine), len(theirs))):
        if mine[at] == theirs[at]:
            continue
        # where it is not among ours, it may be as near as the last of ours
        there = places.get(theirs[at])
        as_near = [near[there]] if there is not None else [near[-1], far[at]]
        if any(abs(near[at] - one) > slack for one in as_near):
            return at + 1
    return 0 if len(mine) == len(theirs) else min(len(mine), len(theirs)) + 1
