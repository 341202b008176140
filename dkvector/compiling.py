"""`dkv.compile`: what several stores would send for one search, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dkvector.blocking import VectorStore
from dkvector.compiled import side_by_side
from dkvector.errors import SchemaError
from dkvector.fusion import Fusion
from dkvector.metrics import DistanceMetric
from dkvector.refinements import Refinement


def compile(  # noqa: A001 - the word for it; Python's own is not for searches
    stores: Sequence[VectorStore],
    queries: Any = None,
    k: int = 10,
    *,
    text: Any = None,
    like: Any = None,
    field: str | Sequence[str] | None = None,
    where: Any = None,
    metric: DistanceMetric | str | None = None,
    columns: Sequence[str] | None = None,
    fusion: Fusion | None = None,
    text_on: str | Sequence[str] | None = None,
    refine: Refinement | Sequence[Refinement] | None = None,
) -> pd.DataFrame:
    """Tell what stores would send for a search, without searching.

    Args:
        stores: the stores; and all else as their `search` takes it.
        queries: vectors, or `Blend`.
        k: neighbours of each query.
        text: a text for each store's encoder, or words beside a query.
        like: instead of a query, the label of a row.
        field: the vector field or fields.
        where: the filter.
        metric: what to measure by.
        columns: payload columns to give.
        fusion: how answers are fused.
        text_on: text columns to look for words in.
        refine: what is done with the neighbours.

    Returns:
        A frame indexed by backend and leg: `plan`, `sent` (SQL, query DSL, or the plan of an engine in this process),
        `parameters`.

    Raises:
        SchemaError: no store.
        UnsupportedError: a store that can't tell.

    Example:
        >>> import dkvector as dkv
        >>> frame = pd.DataFrame({"n": [1, 2], "v": [[1.0, 0.0], [0.0, 1.0]]})
        >>> with frame.vec.push("exact") as exact, frame.vec.push("faiss") as faiss:
        ...     dkv.compile([exact, faiss], [1.0, 0.0], where="n > 1")["plan"].tolist()
        ['exact over the matching rows', 'exact over 1 candidates']
    """
    if isinstance(stores, VectorStore) or not stores:
        raise SchemaError("compile takes a list of stores; store.compile(…) tells of one")
    return side_by_side(
        [
            one.compile(
                queries,
                k,
                text=text,
                like=like,
                field=field,
                where=where,
                metric=metric,
                columns=columns,
                fusion=fusion,
                text_on=text_on,
                refine=refine,
            )
            for one in stores
        ]
    )
