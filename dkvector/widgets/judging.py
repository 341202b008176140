"""Thumbs up and down: judgements of rows, by query."""

from __future__ import annotations

from typing import Any

import pandas as pd


class Judgements:
    """Which rows somebody judged to be right, or wrong, for which query."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, Any], bool] = {}

    def judge(self, query: str, row: Any, relevant: bool | None) -> None:
        """Judge a row; the same judgement again, or None, takes it back."""
        if relevant is None or self._given.get((query, row)) is relevant:
            self._given.pop((query, row), None)
        else:
            self._given[query, row] = relevant

    def of(self, query: str) -> dict[Any, bool]:
        """Give the judgements of one query, by row."""
        return {row: relevant for (asked, row), relevant in self._given.items() if asked == query}

    def to_frame(self) -> pd.DataFrame:
        """Give all judgements.

        Returns:
            A frame with the columns `query`, `row` and `relevant`.

        Example:
            >>> given = Judgements()
            >>> given.judge("a pet", "dog", True)
            >>> given.to_frame()
               query  row  relevant
            0  a pet  dog      True
        """
        rows = [(query, row, relevant) for (query, row), relevant in self._given.items()]
        return pd.DataFrame(rows, columns=["query", "row", "relevant"]).astype({"relevant": bool})
