"""`df.vec.neighbors`: the table of every row's nearest other rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dkvector.counts import as_count
from dkvector.results import assemble
from dkvector.verbs._ground import Ground


def neighbors(rows: Ground, k: int, columns: Sequence[Any], *, progress: bool | None) -> pd.DataFrame:
    """Find the k nearest other rows of every row.

    Args:
        rows: the frame; its mask tells which rows may be found.
        k: how many neighbours a row gets, at most.
        columns: columns of the rows found.
        progress: show a bar.

    Returns:
        The table, in the form of a search for many queries.
    """
    near = rows.neighbors(as_count(k, "k"), progress)
    index = rows.frame.index
    return assemble(
        index.take(near.positions),
        near.distances,
        near.counts,
        rows.metric,
        queries=index,
        payload=rows.take(columns, near.positions),
    )
