"""Where the two sides of a bridge differ, and how that is found out without reading a vector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

import numpy as np
import pandas as pd

from dkvector.records import Record

DIGEST = "_dkvector_digest"  # the column of the vector side that tells which state of a record it holds


@dataclass(frozen=True)
class Drift:
    """The ids at which two sides differ.

    Attributes:
        missing: in the data with a vector, and not among the vectors: not found by any search.
        changed: in both, and written to the data later.
        orphaned: among the vectors only.
    """

    missing: tuple[Any, ...] = ()
    changed: tuple[Any, ...] = ()
    orphaned: tuple[Any, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.missing) + len(self.changed) + len(self.orphaned)

    def to_frame(self) -> pd.DataFrame:
        """Give a row for each id, indexed by it, with its kind of drift."""
        kinds = {"missing": self.missing, "changed": self.changed, "orphaned": self.orphaned}
        told = [(one, kind) for kind, ids in kinds.items() for one in ids]
        index = pd.Index([one for one, _ in told], name="id", tupleize_cols=False)
        return pd.DataFrame({"drift": pd.array([kind for _, kind in told], dtype="string")}, index=index)


def compared(data: Mapping[Any, str], vectors: Mapping[Any, Any]) -> Drift:
    """Compare what the data says with what the vector side was told.

    Args:
        data: id → digest of each record that has a vector.
        vectors: id → digest kept with its vector; anything else where it was written by others.

    Example:
        >>> compared({"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "0", "d": "4"})
        Drift(missing=('a',), changed=('c',), orphaned=('d',))
    """
    return Drift(
        tuple(one for one in data if one not in vectors),
        tuple(one for one, digest in data.items() if one in vectors and vectors[one] != digest),
        tuple(one for one in vectors if one not in data),
    )


def digest(record: Record, names: Iterable[str]) -> str:
    """Name the state of a record by what the vector side is told of it.

    Values that databases write in several ways count as one: times as text, numbers by their value, and what is missing
    as what is null.

    Example:
        >>> one, same = Record({"n": 1, "v": [1.0, 0.5]}), Record({"v": [1, 0.5], "n": 1.0, "gone": None})
        >>> digest(one, ["n", "v"]) == digest(same, same.fields)
        True
    """
    told = {name: _canonical(record.get(name)) for name in names if record.get(name) is not None}
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()


def _canonical(value: Any) -> Any:  # noqa: PLR0911 - one rule for each kind
    if isinstance(value, np.ndarray):
        return np.asarray(value, np.float32).tolist() if value.dtype.kind == "f" else value.tolist()
    if isinstance(value, np.generic):
        return _canonical(value.item())
    # before numbers: bool is an int
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        # from there on a float does not tell every integer from its neighbours
        return float(value) if abs(value) < 2**53 else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_canonical(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _canonical(one) for name, one in value.items() if one is not None}
    return str(value)
