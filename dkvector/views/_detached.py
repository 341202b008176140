"""Answers that hold their rows themselves: those of a store in this process hold its snapshot until they are read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from dkvector.results import Hits, KeywordHits, TableSource

SLACK = 1_000  # bytes that may be held beside the rows


def detached(made: Any) -> Any:
    """Read what was found out of the snapshot that it was found in."""
    match made:
        case (Hits() as hits, told):
            return replace(hits, source=TableSource(_own(hits.rows))), told
        case KeywordHits():
            return replace(made, source=TableSource(_own(made.rows)))
        case pa.Table():
            return _own(made)
    return made


def _own(rows: pa.Table) -> pa.Table:
    """Copy rows that are part of something larger."""
    whole = rows.get_total_buffer_size() > 2 * rows.nbytes + SLACK
    return rows.take(pa.array(np.arange(len(rows)))) if whole else rows
