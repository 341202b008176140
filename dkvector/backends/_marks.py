"""Which rows are dead: a mask that snapshots share, and the few that died since, so that one more copies nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dkvector.backends._topk import Positions

Mask = NDArray[np.bool_]

FEW = 64  # positions that are looked up one by one


def _none() -> Positions:
    return np.zeros(0, np.intp)


@dataclass(frozen=True, eq=False)
class Marks:
    """The dead among the positions `0 … total`.

    Attributes:
        mask: `(m,)` marks of the first positions, m ≤ total.
        total: positions in use.
        before: how many the mask marks.
        died: `(f,)` the positions that are dead beside it, each once.
    """

    mask: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    total: int = 0
    before: int = 0
    died: Positions = field(default_factory=_none)

    @classmethod
    def of(cls, mask: Mask) -> Marks:
        """Take a mask `(total,)` as it is.

        Example:
            >>> marks = Marks.of(np.array([False, True])).grown(1).without(np.array([2]))
            >>> marks.whole, marks.count
            (array([False,  True,  True]), 2)
        """
        return cls(mask, len(mask), int(np.count_nonzero(mask)))

    @property
    def count(self) -> int:
        """How many are dead."""
        return self.before + len(self.died)

    @cached_property
    def whole(self) -> Mask:
        """The marks of all positions, `(total,)`."""
        if len(self.mask) == self.total and not len(self.died):
            return self.mask
        whole = np.zeros(self.total, np.bool_)
        whole[: len(self.mask)] = self.mask
        whole[self.died] = True
        return whole

    def at(self, positions: Positions) -> Mask:
        """Tell which of some positions are dead, `(p,)`."""
        # a snapshot of one small write would make a mask of all rows for the few that are asked for
        if "whole" in vars(self) or len(positions) > FEW:
            return self.whole[positions]
        return np.array([self._is(at) for at in positions.tolist()], np.bool_)

    def _is(self, at: int) -> bool:
        return bool((at < len(self.mask) and self.mask[at]) or (self.died == at).any())

    def grown(self, rows: int) -> Marks:
        """Add living rows at the end."""
        return Marks(self.mask, self.total + rows, self.before, self.died)

    def without(self, positions: Positions) -> Marks:
        """Mark living rows dead."""
        died = np.concatenate([self.died, positions])
        return Marks(self.mask, self.total, self.before, died) if len(positions) else self
