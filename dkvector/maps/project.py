"""`dkv.project`: rows as points in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.backends._knn import nearest
from dkvector.backends._topk import Block
from dkvector.errors import SchemaError, hint
from dkvector.frame_columns import listed
from dkvector.ingest import OnBad
from dkvector.maps._layout import Layout, lay_out, umap
from dkvector.maps._linear import plane
from dkvector.maps._placing import NEIGHBOURS, between
from dkvector.maps._source import METHODS, Asked, Data, Method, Rows, directions, framed, rows_of
from dkvector.metrics import DistanceMetric, Floats

LAID, PLACED = 1, 2


def project(
    data: Data,
    *,
    on: Any = None,
    where: Any = None,
    n: int = 50_000,
    color: Any = None,
    columns: Sequence[Any] = (),
    method: Method = "umap",
    metric: DistanceMetric | str | None = None,
    neighbors: int = 15,
    min_dist: float = 0.1,
    diverse: bool = False,
    seed: int | None = 0,
    on_bad: OnBad = "raise",
    progress: bool | None = None,
) -> pd.DataFrame:
    """Make a map of the rows of a frame or a store: a point in the plane for each, near those of its neighbours.

    "umap" is umap-learn's layout (McInnes, Healy and Melville, 2018) on exact neighbours, begun from the principal
    components. Of more than `n` rows, `n` are laid out and the others placed beside their neighbours among them. The
    same rows, seed and machine give the same map. "pca" is the plane of the first two principal components.

    Args:
        data: a DataFrame with a vector column, or a store; of a store with more than `n` rows only `n` vectors are
            held in memory.
        on: the vector column or field, where there are several.
        where: a filter: only rows that satisfy it are on the map.
        n: rows that are laid out, at most.
        color: the column, or columns, that the map will be coloured by; carried along.
        columns: other columns to carry along.
        method: "umap" or "pca".
        metric: "cosine" or "euclidean"; that of the store, or cosine, by default.
        neighbors: rows that belong together in "umap", the row itself counted: fewer show detail, more the whole.
        min_dist: how near to each other points may come in "umap"; 0 packs clusters tightly.
        diverse: choose the `n` rows far from each other; by chance by default. It takes n looks at all vectors.
        seed: of every choice; None makes another map each time.
        on_bad: "drop" leaves out the rows whose vectors can't be used.
        progress: show a bar; by default where there is much to do.

    Returns:
        A frame with the labels and the order of the rows: `x` and `y` (float32), `placed` (whether the row was placed
        among others that were laid out), then the columns. A column of yours that is called like one of these three
        gets an underscore.

    Raises:
        VectorError: vectors that can't be used; names the rows.
        FilterError: a filter that can't be read.
        NotFoundError: no such column.
        MissingExtraError: "umap" without the extra `umap`.

    Example:
        >>> import dkvector as dkv
        >>> digits = dkv.datasets.load_digits()
        >>> view = dkv.project(digits, color="digit", method="pca", metric="euclidean")
        >>> view.astype({"x": float, "y": float}).head(2).round(1)
             x     y  placed  digit
        0 -1.3 -21.3   False      0
        1  8.0  20.8   False      1
    """
    if method not in METHODS:
        raise SchemaError(f"no method {method!r}; {hint(str(method), METHODS)}")
    knobs = Layout(neighbors, min_dist, seed)
    carried = tuple(dict.fromkeys([*(listed(color) or []), *(listed(columns) or [])]))
    if method == "umap":
        umap()  # who lacks the extra hears of it before anything is read
    rows = rows_of(data, Asked(on, where, n, carried, metric, diverse, seed, on_bad, progress))
    points, known = _spread(rows, method, knobs, progress)
    view = framed(points, known == PLACED, rows.payload, rows.labels)
    # rows without a usable vector, or gone from the store meanwhile, have no place
    return view if known.all() else view[known > 0]


def _spread(rows: Rows, method: Method, knobs: Layout, progress: bool | None) -> tuple[Floats, NDArray[np.int8]]:
    """Give every row a point, `(n, 2)`, and tell how each row came by it, `(n,)`; 0 has none."""
    points, known = np.zeros((len(rows.labels), 2), np.float32), np.zeros(len(rows.labels), np.int8)
    vectors = directions(rows.vectors, rows.metric)
    flat = plane(vectors)
    laid = flat.points(vectors)
    if method == "umap":
        laid = _laid_out(rows, laid, knobs, progress)
    points[rows.chosen], known[rows.chosen] = laid, LAID
    block = Block(0, rows.vectors)
    for at, others in rows.rest():
        if method == "pca":
            points[at] = flat.points(directions(others, rows.metric))
        elif len(at):
            points[at] = between(nearest(block, others, NEIGHBOURS, rows.metric), laid)
        known[at] = PLACED
    return points, known


def _laid_out(rows: Rows, start: Floats, knobs: Layout, progress: bool | None) -> Floats:
    count = len(rows.vectors)
    if count < 2:  # noqa: PLR2004 - a single point has no neighbours
        return np.zeros((count, 2), np.float32)
    k, every = min(knobs.neighbors, count) - 1, np.arange(count)
    near = nearest(Block(0, rows.vectors), rows.vectors, k, rows.metric, own=every, progress=progress)
    return lay_out(near, start, knobs, progress=progress)
