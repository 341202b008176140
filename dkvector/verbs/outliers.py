"""`df.vec.outliers`: rows that are far from their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.backends._topk import Nearest
from dkvector.columns import kept
from dkvector.counts import as_count
from dkvector.errors import SchemaError, hint
from dkvector.results import framed, free
from dkvector.verbs._ground import Ground

Method = Literal["distance", "lof"]
Doubles = NDArray[np.float64]

NEVER_ZERO = 1e-10  # added to a mean distance before it is divided by: rows with k copies have none


def outliers(rows: Ground, k: int, columns: Sequence[Any], *, method: Method, progress: bool | None) -> pd.DataFrame:
    """Rank the rows by how far they are from their neighbours.

    Args:
        rows: the frame.
        k: neighbours to look at.
        columns: columns to give.
        method: how the distance is judged.
        progress: show a bar.

    Returns:
        All rows, the farthest first: `rank`, `outlier_score`, then the columns.
    """
    if method not in METHODS:
        raise SchemaError(f"no method {method!r}; {hint(method, METHODS)}")
    near = rows.neighbors(as_count(k, "k"), progress)
    scores = METHODS[method](near, len(rows))
    order = np.argsort(-scores, kind="stable")
    ours = {"rank": np.arange(1, len(rows) + 1), "outlier_score": scores[order]}
    taken = {*ours, *columns}
    payload = {free(name, taken) if name in ours else name: v for name, v in rows.take(columns, order).items()}
    return framed({name: kept(v) for name, v in (ours | payload).items()}, rows.frame.index.take(order))


def mean_distance(near: Nearest, rows: int) -> Doubles:
    """Average the distances to the k nearest, `(n,)`; 0 where there is no other row.

    The sum of these distances is the weight of Angiulli and Pizzuti, *Fast outlier detection in high dimensional
    spaces*, PKDD 2002.
    """
    query = np.repeat(np.arange(rows), near.counts)
    sums = np.bincount(query, near.distances, minlength=rows)
    mean: Doubles = sums / np.maximum(near.counts, 1)
    return mean


def local_outlier_factor(near: Nearest, rows: int) -> Doubles:
    """Compare the density around each row with that around its neighbours, `(n,)`: near 1 for one like them.

    Breunig, Kriegel, Ng and Sander, *LOF: identifying density-based local outliers*, SIGMOD 2000. Of several rows as
    far as the k-th only the first count, so that each row has k neighbours.
    """
    if not near.counts.any():
        return np.ones(rows)
    query = np.repeat(np.arange(rows), near.counts)
    distance = near.distances.astype(np.float64)
    kth = np.zeros(rows)
    kth[query] = distance  # the last one written is the farthest
    reach = np.maximum(distance, kth[near.positions])
    density = 1 / (np.bincount(query, reach, minlength=rows) / near.counts + NEVER_ZERO)
    factor: Doubles = np.bincount(query, density[near.positions], minlength=rows) / near.counts / density
    return factor


METHODS: dict[str, Callable[[Nearest, int], Doubles]] = {"distance": mean_distance, "lof": local_outlier_factor}
