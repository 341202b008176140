"""Words of an in-process store, ranked by BM25 over the living rows of one snapshot."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dkvector.backends._marks import Mask
from dkvector.backends._rows import Rows
from dkvector.backends._topk import Positions
from dkvector.errors import MissingExtraError
from dkvector.metrics import Floats

K1, B = 1.2, 0.75  # what Lucene, and so the search engines, take
BETWEEN = " … "
WORD = re.compile(r"\w+")


@dataclass(frozen=True, eq=False)
class Words:
    """What is written in some text columns.

    Attributes:
        rows: the snapshot.
        on: the columns.
    """

    rows: Rows
    on: tuple[str, ...]

    @cached_property
    def positions(self) -> Positions:
        """The living rows `(n,)`."""
        return np.flatnonzero(~self.rows.dead)

    @cached_property
    def _index(self) -> Any:
        bm25 = _bm25s().BM25(k1=K1, b=B, method="lucene")
        tokens = [words(text) for text in self.texts(self.positions)]
        bm25.index(tokens, show_progress=False)
        return bm25

    def texts(self, positions: Positions) -> list[str]:
        """Give what stands in the columns of some rows, one column after the other."""
        table = self.rows.take(positions, self.on)
        columns = [table.column(name).to_pylist() for name in self.on]
        return [BETWEEN.join(filter(None, texts)) for texts in zip(*columns, strict=True)]

    def ranked(self, text: str, mask: Mask | None, k: int) -> tuple[Positions, Floats]:
        """Rank the rows that hold some of the words.

        Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, as Lucene computes it.

        Args:
            text: the words.
            mask: `(total,)` the rows that may be found; None for all that live.
            k: how many.

        Returns:
            Positions and scores, best first, ties by id.
        """
        if not len(self.positions) or not (asked := words(text)):
            return np.empty(0, np.intp), np.empty(0, np.float32)
        scores: Floats = self._index.get_scores(asked)
        found = scores > 0 if mask is None else (scores > 0) & mask[self.positions]
        at = np.flatnonzero(found)
        if len(at) > k:
            # what ties with the k-th stays until the ids decide
            at = at[scores[at] >= np.partition(scores[at], -k)[-k]]
        order = np.lexsort((self.rows.ranks(self.positions[at]), -scores[at]))[:k]
        return self.positions[at[order]], scores[at[order]]

    def marked(self, text: str, positions: Positions) -> list[str]:
        """Give the texts of some rows, with the words asked for between asterisks."""
        asked = set(words(text))
        return [WORD.sub(lambda word: _marked(word[0], asked), one) for one in self.texts(positions)]


def words(text: str) -> list[str]:
    """Take a text apart, whatever the case of its letters.

    Example:
        >>> words("It's a Dog's life")
        ['it', 's', 'a', 'dog', 's', 'life']
    """
    return WORD.findall(text.casefold())


def _marked(word: str, asked: set[str]) -> str:
    return f"**{word}**" if asked.intersection(words(word)) else word


def _bm25s() -> Any:
    try:
        import bm25s  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise MissingExtraError.of("bm25s", "keyword") from exc
    return bm25s
