"""`dkv.ann_edges` and `dkv.edge_recall`: the neighbours that an index misses, as edges of a map and by cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.backends._knn import nearest
from dkvector.backends._topk import Nearest, Positions
from dkvector.blocking import VectorStore
from dkvector.counts import as_count
from dkvector.errors import NotFoundError, SchemaError, some
from dkvector.indexes import Tuning
from dkvector.metrics import scale_of
from dkvector.progress import bar
from dkvector.results import assemble, ranks
from dkvector.verbs._ground import Ground, ground

BATCH = 1000  # rows that ask the store at a time
MUCH = 20_000  # rows that ask from which a progress bar shows by itself
ROUNDING = 1e-5  # of the scale of distances, from engine to engine


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
        >>> float(edges["found"].mean().round(2))
        0.76
    """
    as_count(k, "k")
    if store.schema is None:
        raise SchemaError("the store is empty: there are no edges")
    info = store.schema.vector(field)
    rows = ground(store.to_frame(where, columns=[]), info.name, info.metric, on_bad="drop")
    own, index = _drawn(len(rows), n, seed), rows.frame.index
    near = nearest(rows.block, rows.matrix[own], k, info.metric, own=own, progress=progress)
    found = _found(Asking(store, k, info.name, where, tuning), rows, own, near, progress)
    labels, payload = index.take(near.positions), {"found": found}
    return assemble(labels, near.distances, near.counts, info.metric, queries=index.take(own), payload=payload)


def _drawn(rows: int, n: int | None, seed: int) -> Positions:
    if n is None or as_count(n, "n") >= rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))


@dataclass(frozen=True)
class Asking:
    """How the store is asked: see `AsyncVectorStore.search`."""

    store: VectorStore
    k: int
    field: str
    where: Any
    tuning: Tuning | Mapping[str, Any] | None

    def answers(self, index: pd.Index, asking: Positions) -> Nearest:
        """Ask for the neighbours of some of the rows of an index."""
        own = index.take(asking)
        frame = self.store.search(
            like=own, k=self.k, field=self.field, where=self.where, tuning=self.tuning, columns=[]
        )
        query, positions = own.get_indexer(pd.Index(frame["query"])), index.get_indexer(frame.index)
        # a row that came since the vectors were read is none of the exact neighbours
        known = positions >= 0
        counts = np.bincount(query[known], minlength=len(own))
        return Nearest(positions[known], frame["distance"].to_numpy()[known], counts)


def _found(asking: Asking, rows: Ground, own: Positions, near: Nearest, progress: bool | None) -> NDArray[np.bool_]:
    """Ask for the rows that ask, some at a time, and tell which of their exact neighbours the store gives."""
    found, ends = np.empty(len(near.positions), np.bool_), np.cumsum(near.counts)
    slack = ROUNDING * scale_of(near.distances, rows.metric)
    with bar(len(own), "edges", unit="rows", show=len(own) >= MUCH if progress is None else progress) as done:
        for at in range(0, len(own), BATCH):
            some_own, counts = own[at : at + BATCH], near.counts[at : at + BATCH]
            part = slice(int(ends[at] - counts[0]), int(ends[at + len(counts) - 1]))
            exact = Nearest(near.positions[part], near.distances[part], counts)
            found[part] = hit(exact, asking.answers(rows.frame.index, some_own), len(rows), slack)
            done(len(some_own))
    return found


def hit(exact: Nearest, answers: Nearest, rows: int, slack: float) -> NDArray[np.bool_]:
    """Tell which exact neighbours are among the answers.

    Any answer as far as the last exact neighbour stands for one of those that are as far: no order is among them.

    Args:
        exact: the neighbours of some rows, nearest first.
        answers: what the index gave for the same rows.
        rows: how many rows there are to be found.
        slack: how far apart rounding may take distances that are one.

    Returns:
        `(h,)` for each exact neighbour.

    Example:
        >>> exact = Nearest(np.array([4, 7]), np.float32([0.1, 0.2]), np.array([2]))
        >>> hit(exact, Nearest(np.array([8, 9]), np.float32([0.2, 0.2]), np.array([2])), rows=10, slack=1e-5)
        array([False,  True])
    """
    count = len(exact.counts)
    asks, answered = (np.repeat(np.arange(count), one.counts) for one in (exact, answers))
    last = np.zeros(count)
    last[asks] = exact.distances  # the last one written is the farthest
    given = np.isin(asks * rows + exact.positions, answered * rows + answers.positions)
    tied = exact.distances >= (last - slack)[asks]
    beside = np.abs(answers.distances - last[answered]) <= slack
    lost = np.flatnonzero(tied & ~given)
    too_few = np.bincount(asks[tied], minlength=count) - np.bincount(answered[beside], minlength=count)
    # answers as far as the last stand for as many of those lost; the first of them stay lost
    place = ranks(np.bincount(asks[lost], minlength=count))
    given[lost[place > too_few[asks[lost]]]] = True
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
    told = pd.DataFrame({"query": edges["query"].to_numpy(), "found": edges["found"].to_numpy(bool)})
    told["by"] = by.array.take(at)
    groups = told.groupby("by", observed=True, dropna=False)
    table = pd.DataFrame({"rows": groups["query"].nunique(), "edges": groups.size()})
    table["missed"] = table["edges"] - groups["found"].sum()
    table["recall"] = groups["found"].mean()
    table.index.name = by.name
    sorted_by_recall: pd.DataFrame = table.sort_values("recall", kind="stable")
    return sorted_by_recall
