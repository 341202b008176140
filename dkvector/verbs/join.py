"""`df.vec.join`: two frames put together by the nearness of their rows, in the way of `merge`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.backends._knn import nearest
from dkvector.backends._topk import Block, Nearest, Positions
from dkvector.columns import kept
from dkvector.counts import as_count
from dkvector.errors import SchemaError, VectorError, hint, some
from dkvector.frame_columns import payload, vector_column
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric, score
from dkvector.results import framed, free, ranks
from dkvector.verbs._ground import Ground, ground

How = Literal["inner", "left"]
Suffixes = tuple[str | None, str | None]

OURS = ("match", "rank", "score", "distance")
# Which side may meet a row of the other at most once, in merge's words.
_ONCE = {"one_to_one": "lr", "1:1": "lr", "one_to_many": "r", "1:m": "r", "many_to_one": "l", "m:1": "l"}
_KINDS = {**_ONCE, "many_to_many": "", "m:m": ""}


@dataclass(frozen=True)
class Joining:
    """How two frames are put together.

    Attributes:
        k: rows of the right frame that a row of the left one may meet.
        min_score: the least score of a pair; None where there is none.
        how: "inner" leaves rows without a partner out, "left" keeps them.
        suffixes: what tells columns of one name apart.
        validate: what must hold of the pairs, in merge's words.
    """

    k: int = 1
    min_score: float | None = None
    how: How = "inner"
    suffixes: Suffixes = ("_x", "_y")
    validate: str | None = None

    def __post_init__(self) -> None:
        as_count(self.k, "k")
        # NaN is below no score, so that no pair would be left
        if self.min_score is not None and (not isinstance(self.min_score, Real) or np.isnan(float(self.min_score))):
            raise SchemaError(f"min_score must be a number, not {self.min_score!r}")
        if self.how not in {"inner", "left"}:
            raise SchemaError(f"how must be 'inner' or 'left', not {self.how!r}: which rows of the right meet is asked")
        if self.validate is not None and self.validate not in _KINDS:
            raise SchemaError(f"validate can't be {self.validate!r}; {hint(str(self.validate), _KINDS)}")
        if isinstance(self.suffixes, str) or len(self.suffixes) != 2:  # noqa: PLR2004 - one for each side
            raise SchemaError(f"suffixes are two, one for each frame, not {self.suffixes!r}")


@dataclass(frozen=True)
class Side:
    """One of the two frames.

    Attributes:
        rows: its usable rows.
        whole: the frame with all its rows.
        columns: the columns it gives.
    """

    rows: Ground
    whole: pd.DataFrame
    columns: Sequence[Any]

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        on: Any,
        metric: DistanceMetric,
        *,
        include_vectors: bool,
        on_bad: OnBad,
        where: Any = None,
        option: str = "on",
    ) -> Self:
        """Read one of the frames."""
        rows = ground(frame, vector_column(frame, on, option=option), metric, where=where, on_bad=on_bad)
        return cls(rows, frame, payload(frame, None, include_vectors=include_vectors))

    def positions(self, at: Positions) -> Positions:
        """Give the rows of the whole frame for usable rows."""
        return at if self.rows.kept is None else self.rows.kept[at]


def join(left: Side, right: Side, joining: Joining, *, progress: bool | None) -> pd.DataFrame:
    """Put the rows of two frames together that are near each other.

    Args:
        left: the frame whose rows look for partners.
        right: the frame in which they are found; its mask tells where.
        joining: how.
        progress: show a bar.

    Returns:
        The joined frame.
    """
    near = _partners(left.rows, right.rows, joining.k, progress)
    query = np.repeat(np.arange(len(near.counts)), near.counts)
    pairs = _Pairs(left.positions(query), right.positions(near.positions), near.distances, ranks(near.counts))
    if joining.min_score is not None:
        # in the precision of the scores, so that one right at the threshold counts
        pairs = pairs.take(score(near.distances, left.rows.metric) >= np.float32(joining.min_score))
    _check(pairs, left.whole.index, right.whole.index, joining.validate)
    if joining.how == "left":
        pairs = pairs.with_all(len(left.whole))
    return _together(left, right, pairs, joining)


def _partners(left: Ground, right: Ground, k: int, progress: bool | None) -> Nearest:
    ours, theirs = left.matrix.shape[1], right.matrix.shape[1]
    if len(left) == 0 or len(right) == 0:
        return Nearest(np.empty(0, np.intp), np.empty(0, np.float32), np.zeros(len(left), np.intp))
    if ours != theirs:
        raise VectorError.wrong_dimensions(theirs, ours, "the vector column of the other frame")
    if right.mask is None:
        return nearest(right.block, left.matrix, k, left.metric, progress=progress)
    found = np.flatnonzero(right.mask)
    near = nearest(Block(0, right.matrix[found]), left.matrix, k, left.metric, progress=progress)
    return Nearest(found[near.positions], near.distances, near.counts)


@dataclass(frozen=True)
class _Pairs:
    """Rows of the left and of the right frame, `(p,)` each, by the left; -1 on the right where there is none."""

    left: Positions
    right: Positions
    distance: NDArray[np.float32]
    rank: NDArray[np.int64]

    def take(self, at: NDArray[Any]) -> _Pairs:
        return _Pairs(self.left[at], self.right[at], self.distance[at], self.rank[at])

    def with_all(self, rows: int) -> _Pairs:
        """Add the rows of the left frame that have no partner, in their places."""
        alone = np.setdiff1d(np.arange(rows), self.left)
        none = np.full(len(alone), -1)
        every = _Pairs(
            np.concatenate([self.left, alone]),
            np.concatenate([self.right, none]),
            np.concatenate([self.distance, np.full(len(alone), np.nan, np.float32)]),
            np.concatenate([self.rank, none]),
        )
        return every.take(np.argsort(every.left, kind="stable"))


def _check(pairs: _Pairs, left: pd.Index, right: pd.Index, validate: str | None) -> None:
    """Refuse pairs that are not what was promised."""
    wanted = "" if validate is None else _KINDS[validate]
    for side, positions, index in (("l", pairs.left, left), ("r", pairs.right, right)):
        again = np.flatnonzero(np.bincount(positions, minlength=1) > 1)
        if side in wanted and len(again):
            name = "this frame" if side == "l" else "the other frame"
            labels = some(index.take(again[:6]), len(again))
            raise SchemaError(f"not {validate}: rows of {name} that have several partners: {labels}")


def _together(left: Side, right: Side, pairs: _Pairs, joining: Joining) -> pd.DataFrame:
    ours, theirs = _names(left.columns, right.columns, joining.suffixes)
    columns = {name: left.whole[one].array.take(pairs.left) for name, one in ours.items()}
    labels = right.whole.index
    # a column holds no MultiIndex: its labels become tuples
    labels = pd.Index(labels.to_numpy(), tupleize_cols=False) if isinstance(labels, pd.MultiIndex) else labels
    columns["match"] = _maybe(labels.array, pairs, joining.how)
    counted = joining.how == "left"
    columns["rank"] = pd.arrays.IntegerArray(pairs.rank, pairs.right < 0) if counted else pairs.rank
    columns["score"] = score(pairs.distance, left.rows.metric)
    columns["distance"] = pairs.distance
    columns |= {name: _maybe(right.whole[one].array, pairs, joining.how) for name, one in theirs.items()}
    return framed({name: kept(values) for name, values in columns.items()}, left.whole.index.take(pairs.left))


def _maybe(values: Any, pairs: _Pairs, how: How) -> Any:
    """Take values of the right frame, missing where a row has no partner: as a left merge has them."""
    if how == "inner" or not (pairs.right < 0).any():
        return values.take(pairs.right)
    return pd.Series(values, copy=False).reindex(pairs.right).array  # no row is called -1


def _names(left: Sequence[Any], right: Sequence[Any], suffixes: Suffixes) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Give the columns of both sides the names they have in the result: name → column.

    Example:
        >>> _names(["a", "rank"], ["a", "b"], ("_x", "_y"))
        ({'a_x': 'a', 'rank_': 'rank'}, {'a_y': 'a', 'b': 'b'})
    """
    both = set(left) & set(right)
    sides = [
        [f"{name}{end}" if name in both and end else name for name in names]
        for names, end in zip((left, right), suffixes, strict=True)
    ]
    if twice := [name for name, count in Counter(chain(*sides)).items() if count > 1]:
        raise SchemaError(f"suffixes {suffixes!r} leave several columns of one name: {twice[:5]}")
    taken = {*OURS, *chain(*sides)}
    ours, theirs = (
        {free(name, taken) if name in OURS else name: column for name, column in zip(names, columns, strict=True)}
        for names, columns in zip(sides, (left, right), strict=True)
    )
    return ours, theirs
