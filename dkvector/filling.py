"""Filling a vector field of rows that are there: what is asked, and a page of rows with their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dkvector.filters import Filter
from dkvector.schema import VectorInfo


@dataclass(frozen=True)
class Backfill:
    """Filling a vector field, checked.

    Attributes:
        info: the field.
        text: text columns to encode.
        where: the filter, its columns known.
        batch_size: rows at a time.
        progress: show a bar; None shows one when there is much to do.
    """

    info: VectorInfo
    text: tuple[str, ...]
    where: Filter | None
    batch_size: int
    progress: bool | None


@dataclass(frozen=True)
class Page:
    """Rows that lack a vector, and the texts to make theirs of.

    Attributes:
        ids: `(n,)` of the rows.
        texts: `n` texts, none of them empty.
        token: by which the backend finds the rows again, where it does not go by their ids.
    """

    ids: pd.Index
    texts: Sequence[str]
    token: Any = None

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def of(cls, ids: pd.Index, columns: Sequence[Sequence[str | None]]) -> Page:
        """Take rows by the values of their text columns; those that have no text in any are left out."""
        texts = joined(columns)
        kept = [at for at, text in enumerate(texts) if text is not None]
        return cls(ids[kept], [texts[at] or "" for at in kept])


def joined(columns: Sequence[Sequence[str | None]]) -> list[str | None]:
    r"""Join the texts of rows by line ends; None where a row has none.

    Example:
        >>> joined([["a", None, "", "b"], ["c", "d", None, ""]])
        ['a\nc', 'd', None, 'b\n']
    """
    rows = zip(*columns, strict=True)
    return ["\n".join(one for one in row if one is not None) if any(row) else None for row in rows]
