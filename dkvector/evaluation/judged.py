"""Relevances: rows that answer a query by somebody's judgement, in whatever form they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from dkvector.errors import NotFoundError, SchemaError, some
from dkvector.evaluation.measures import Relevances

Pair = tuple[Any, Any, float]


def read_relevances(relevant: Any, queries: pd.Index, rows: pd.Index) -> Relevances | None:
    """Read which rows are right for which query.

    Args:
        relevant: a Series or dict, query label → row label, list of them, or dict of row label → gain; or a frame with
            the columns `query`, `row` and, where they differ, `gain`; of one with a column `relevant` those rows only.
            A pair that is judged more than once counts once, by its largest gain.
        queries: labels of the queries.
        rows: labels of the rows.

    Returns:
        The relevances; None where none are given.

    Raises:
        NotFoundError: labels that no row has; names them.
        SchemaError: a form that can't be read, or gains that are not above 0.
    """
    if relevant is None:
        return None
    pairs = list(pairs_of(relevant))
    query = queries.get_indexer_for(pd.Index([one for one, _, _ in pairs]))
    if not queries.is_unique:
        raise SchemaError("several queries have the same label: reset_index() gives each its own")
    row = rows.get_indexer(pd.Index([one for _, one, _ in pairs]))
    if absent := [pairs[at][1] for at in np.flatnonzero(row < 0)]:
        raise NotFoundError(f"relevant rows that are not there: {some(absent)}")
    gain = np.array([one for _, _, one in pairs], np.float64)
    if not (gain > 0).all():
        raise SchemaError("gains must be above 0: leave out rows that are not relevant")
    known = query >= 0  # judgements of queries that are not asked
    if not known.any():
        raise NotFoundError(f"no query has a label among the relevances; queries are {some(queries)}")
    # by descending gain, so that of a pair that was judged twice the first is its best
    order = np.flatnonzero(known)[np.argsort(-gain[known], kind="stable")]
    once = order[np.unique(query[order] * len(rows) + row[order], return_index=True)[1]]
    return Relevances(query[once], row[once], gain[once], len(queries), len(rows))


def pairs_of(relevant: Any) -> Iterator[Pair]:
    """Go through relevances of any form: query, row, gain."""
    if isinstance(relevant, pd.DataFrame):
        if missing := [name for name in ("query", "row") if name not in relevant.columns]:
            raise SchemaError(f"relevances need the columns 'query' and 'row'; {missing} is not among {list(relevant)}")
        if "relevant" in relevant.columns:  # judged both ways, as by thumbs
            relevant = relevant[relevant["relevant"].astype(bool)]
        gains = relevant["gain"] if "gain" in relevant.columns else [1.0] * len(relevant)
        yield from zip(relevant["query"], relevant["row"], map(float, gains), strict=True)
        return
    if not isinstance(relevant, Mapping | pd.Series):
        raise SchemaError(f"relevances are a Series, a dict or a frame, not {type(relevant).__name__}")
    for query, found in relevant.items():
        if isinstance(found, Mapping):
            yield from ((query, row, float(gain)) for row, gain in found.items())
        elif isinstance(found, list | set | tuple | np.ndarray | pd.Index):
            yield from ((query, row, 1.0) for row in found)
        elif not pd.isna(found):
            yield query, found, 1.0
