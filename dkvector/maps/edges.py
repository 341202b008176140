"""`dkv.ann_edges` and `dkv.edge_recall`: the neighbours that an index misses, as edges of a map and by cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.backends._knn import nearest
from dkvector.backends._topk import Nearest, Positions
from dkvector.blocking import VectorStore
from dkvector.errors import NotFoundError, SchemaError, some
from dkvector.indexes import Tuning
from dkvector.progress import bar
from dkvector.results import assemble, ranks
from dkvector.verbs._ground import Ground, ground, whole

BATCH = 1000  # rows that ask the store at a time
MUCH = 20_000  # rows that ask from which a progress bar shows by itself
ROUNDING = 1e-5  # of a distance, from engine to engine


def ann_edges(
    store: VectorStore,
    k: int = 10,
    *,
    field: str | None = None,
    where: Any = None,
    tuning: Tuning | Mapping[str, Any] | None = None,
    n: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Give every edge from a row to its exact nearest rows, and tell whether the store's index finds it.

    The exact neighbours are those of the vectors that the store gives back, all of which are held in memory. Where
    rows tie for the last place, it is no miss to find another of them.

    Args:
        store: the store, with an index or without.
        k: neighbours of each row.
        field: the vector field, where there are several.
        where: a filter of the rows, which the index has to obey too.
        tuning: search-time knobs.
        n: rows that ask, drawn by chance; all by default.
        seed: of the drawing.
        progress: show a bar; by default where there is much to do.

    Returns:
        A frame as `df.vec.neighbors` gives it, indexed by the label of the neighbour: `query` (the row that asks),
        `rank`, `score`, `distance`, and `found`. Its mean is the recall of the index; `edge_recall` gives it by cluster
        and `plot_map(…, missed=…)` draws the edges that are not found.

    Raises:
        SchemaError: an empty store.

    Example:
        >>> import dkvector as dkv
        >>> digits = dkv.datasets.load_digits()
        >>> with digits.vec.push("faiss", index="ivf", metric="euclidean") as store:
        ...     edges = dkv.ann_edges(store, k=5, tuning={"probes": 1})
        >>> round(edges["found"].mean(), 2)
        0.84
    """
    whole(k, "k")
    if store.schema is None:
        raise SchemaError("the store is empty: there are no edges")
    info = store.schema.vector(field)
    rows = ground(store.to_frame(where, columns=[]), info.name, info.metric, on_bad="drop")
    asking = _drawn(len(rows), n, seed)
    near = nearest(rows.block, rows.matrix[asking], k, info.metric, own=asking, progress=progress)
    found = np.empty(len(near.positions), np.bool_)
    ends = np.cumsum(near.counts)
    show = len(asking) >= MUCH if progress is None else progress
    with bar(len(asking), "edges", unit="rows", show=show) as done:
        for at in range(0, len(asking), BATCH):
            some_rows = asking[at : at + BATCH]
            part = slice(int(ends[at] - near.counts[at]), int(ends[at + len(some_rows) - 1]))
            exact = Nearest(near.positions[part], near.distances[part], near.counts[at : at + BATCH])
            found[part] = hit(exact, _answers(store, rows, some_rows, k, info.name, where, tuning), len(rows))
            done(len(some_rows))
    index = rows.frame.index
    queries = index.take(asking)
    labels = index.take(near.positions)
    payload = {"found": found}
    return assemble(labels, near.distances, near.counts, info.metric, queries=queries, payload=payload)


def _drawn(rows: int, n: int | None, seed: int) -> Positions:
    if n is None or whole(n, "n") >= rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))


def _answers(
    store: VectorStore,
    rows: Ground,
    asking: Positions,
    k: int,
    field: str,
    where: Any,
    tuning: Tuning | Mapping[str, Any] | None,
) -> Nearest:
    """Ask the store for the neighbours of some of its rows."""
    index = rows.frame.index
    asked = index.take(asking)
    frame = store.search(like=asked, k=k, field=field, where=where, tuning=tuning, columns=[])
    query, positions = asked.get_indexer(pd.Index(frame["query"])), index.get_indexer(frame.index)
    known = positions >= 0  # a row that came since the vectors were read is none of the exact neighbours
    counts = np.bincount(query[known], minlength=len(asked))
    return Nearest(positions[known], frame["distance"].to_numpy()[known], counts)


def hit(exact: Nearest, answers: Nearest, rows: int) -> NDArray[np.bool_]:
    """Tell which exact neighbours are among the answers.

    An answer as near as the last exact neighbour stands for it: of the neighbours that were not given, as many are
    missed as there are such answers too few, the nearest of them.

    Args:
        exact: the neighbours of some rows, nearest first.
        answers: what the index gave for the same rows.
        rows: how many rows there are to be found.

    Returns:
        `(h,)` for each exact neighbour.

    Example:
        >>> exact = Nearest(np.array([4, 7]), np.float32([0.1, 0.2]), np.array([2]))
        >>> hit(exact, Nearest(np.array([7, 9]), np.float32([0.2, 0.2]), np.array([2])), rows=10)
        array([False,  True])
    """
    asks, answered = (np.repeat(np.arange(len(one.counts)), one.counts) for one in (exact, answers))
    last = np.full(len(exact.counts), -np.inf)
    last[asks] = exact.distances  # the last one written is the farthest
    near = answers.distances <= (last + ROUNDING * np.maximum(1, np.abs(last)))[answered]
    too_few = exact.counts - np.bincount(answered[near], minlength=len(exact.counts))
    given = np.isin(asks * rows + exact.positions, answered * rows + answers.positions)
    lost = np.flatnonzero(~given)
    places = ranks(np.bincount(asks[lost], minlength=len(exact.counts)))
    given[lost[places > too_few[asks[lost]]]] = True
    return given


def edge_recall(edges: pd.DataFrame, by: Any) -> pd.DataFrame:
    """Sum up by cluster which edges of its rows an index finds.

    Args:
        edges: what `ann_edges` gives.
        by: the cluster of each row: a Series indexed by row label, such as `df["lexname"]` or `df.vec.cluster(20)`.

    Returns:
        A frame indexed by cluster, the least recall first: `rows` that asked, their `edges`, those `missed`, `recall`.

    Raises:
        NotFoundError: rows that have no cluster in `by`.

    Example:
        >>> edges = pd.DataFrame({"query": [1, 1, 2, 2], "found": [True, False, True, True]}, index=[2, 3, 1, 3])
        >>> edge_recall(edges, pd.Series(["a", "b", "b"], index=[1, 2, 3], name="kind"))
              rows  edges  missed  recall
        kind
        a        1      2       1     0.5
        b        1      2       0     1.0
    """
    if not isinstance(by, pd.Series) or not by.index.is_unique:
        raise SchemaError("by must be a Series with a cluster for each row label, and no label twice")
    at = by.index.get_indexer(pd.Index(edges["query"]))
    if (at < 0).any():
        raise NotFoundError(f"no cluster in by= for {some(edges['query'][at < 0].unique())}")
    found, query = edges["found"].to_numpy(bool), edges["query"].to_numpy()
    told = pd.DataFrame({"query": query, "found": found, "by": by.array.take(at)})
    groups = told.groupby("by", observed=True, dropna=False)
    table = pd.DataFrame({"rows": groups["query"].nunique(), "edges": groups.size()})
    table["missed"] = table["edges"] - groups["found"].sum()
    table["recall"] = groups["found"].mean()
    return table.rename_axis(by.name).sort_values("recall", kind="stable")
