"""`Blend`: several vectors, rows and texts that are one query, and rows that its answer should not be like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.errors import SchemaError, VectorError, hint
from dkvector.metrics import DistanceMetric, Floats
from dkvector.vectors import read_queries

Combine = Literal["mean", "max", "rrf"]
Positions = NDArray[np.intp]


# arrays among the values would make == an array, which has no truth value
@dataclass(frozen=True, eq=False)
class Blend:
    """Several vectors as one query; `search(like=[a, b])` is two queries, `search(Blend(like=[a, b]))` is one.

    Let p_i be what the answer should be like: the vectors, then those of the rows `like`, then those of the texts; and
    n_j the vectors of the rows `unlike`. Under cosine, all are brought to length 1 first.

    - "mean" searches by one vector, P + away · (P - N), where P is the mean of the p_i and N that of the n_j (Rocchio
      1971, with weights that sum to 1, so that Euclidean distances make sense too). Without `unlike` the order is that
      of the mean of the scores, under Euclidean distance that of the mean of the squared distances.
    - weights do the same with P = Σ w_i · p_i / Σ w_i.
    - "max" gives a row the largest of its scores by the p_i, max_i s(p_i, v), so that it is enough to be like one of
      them. Rows with max_j s(n_j, v) > max_i s(p_i, v) are left out, and others come in their place.
    - "rrf" searches by each p_i, and fuses the answers by reciprocal rank; it takes no `unlike`.

    The rows that are named are not in the answer.

    Args:
        vectors: `(m, d)`, or one `(d,)`.
        like: labels of rows, or one label.
        unlike: labels of rows, or one label.
        text: texts for the encoder, or one text.
        combine: "mean", "max", "rrf", or a weight above 0 for each that the answer should be like.
        away: how far "mean" goes away from `unlike`; at least 0. Rocchio's method usually takes about 0.2.

    Raises:
        SchemaError: nothing to be like, an unknown way to combine, or `unlike` that it can't use.

    Example:
        >>> Blend(like=["dog", "wolf"], unlike="cat").combine
        'mean'
    """

    vectors: Any = None
    like: Any = ()
    unlike: Any = ()
    text: Any = ()
    combine: Combine | Sequence[float] = "mean"
    away: float = 0.25

    def __post_init__(self) -> None:
        for name in ("like", "unlike", "text"):
            object.__setattr__(self, name, _listed(getattr(self, name)))
        if self.vectors is None and not self.like and not self.text:
            raise SchemaError("a blend takes vectors, rows (like=) or texts (text=) that its answer should be like")
        if isinstance(self.combine, str) and self.combine not in get_args(Combine):
            raise SchemaError(
                f"no way to combine {self.combine!r}; {hint(self.combine, get_args(Combine))}, or weights"
            )
        if self.kind == "rrf" and self.unlike:
            raise SchemaError('"rrf" only looks at ranks, and takes no unlike=; "mean", "max" and weights do')
        if not self.away >= 0:
            raise SchemaError(f"away must be at least 0, not {self.away!r}")

    @property
    def kind(self) -> Combine:
        """The way to combine; weights are a kind of mean."""
        return self.combine if isinstance(self.combine, str) else "mean"

    @property
    def named(self) -> tuple[Any, ...]:
        """The rows that are named, which its answer leaves out."""
        return (*self.like, *self.unlike)


@dataclass(frozen=True)
class Parts:
    """The vectors of a blend.

    Attributes:
        blend: what it was made of.
        like: `(m, d)` float32.
        unlike: `(n, d)` float32.
        own: ids that its answer leaves out.
    """

    blend: Blend
    like: Floats
    unlike: Floats
    own: pd.Index

    def mean(self, metric: DistanceMetric) -> Floats:
        """Make one vector of all, `(d,)`; see `Blend` for the formula.

        Raises:
            SchemaError: not a weight above 0 for each.
            VectorError: they cancel out, and leave no direction under cosine.
        """
        weights = self._weights()
        like, unlike = (_directions(one.astype(np.float64), metric) for one in (self.like, self.unlike))
        towards = weights @ like / weights.sum()
        made = towards if not len(unlike) else towards + self.blend.away * (towards - unlike.mean(0))
        if metric is DistanceMetric.COSINE and np.linalg.norm(made) < 1e-6:  # noqa: PLR2004 - rounding of unit vectors
            raise VectorError("the vectors of a blend cancel each other out, and point nowhere")
        return np.asarray(made, np.float32)

    def _weights(self) -> NDArray[np.float64]:
        if isinstance(self.blend.combine, str):
            return np.ones(len(self.like))
        weights = np.asarray(self.blend.combine, np.float64)
        if weights.shape != (len(self.like),) or not (weights > 0).all() or not np.isfinite(weights).all():
            raise SchemaError(f"a weight above 0 for each of {len(self.like)} vectors, not {self.blend.combine!r}")
        return weights


@dataclass(frozen=True)
class Blended:
    """How the vectors of a request belong together, where each query has several.

    Attributes:
        sizes: `(q,)` vectors of each query.
        kind: "max" or "rrf".
        unlike: for each query, `(n, d)` vectors that its answer should not be like.
    """

    sizes: Positions
    kind: Combine
    unlike: tuple[Floats, ...]

    def some(self, places: Positions) -> tuple[Blended, Positions]:
        """Give some of the queries, and which vectors are theirs."""
        ends = np.cumsum(self.sizes)
        rows = [np.arange(ends[at] - self.sizes[at], ends[at]) for at in places]
        kept = replace(self, sizes=self.sizes[places], unlike=tuple(self.unlike[at] for at in places))
        return kept, np.concatenate([np.empty(0, np.intp), *rows])


def as_blends(queries: Any) -> tuple[list[Blend], bool] | None:
    """Find one blend, or several, and tell whether it was one; None where queries are something else.

    Raises:
        SchemaError: blends of several kinds.
    """
    if isinstance(queries, Blend):
        return [queries], True
    if not isinstance(queries, list | tuple) or not queries or not all(isinstance(one, Blend) for one in queries):
        return None
    if len({one.kind for one in queries}) > 1:
        raise SchemaError("blends of one search are combined in one way, all by mean or weights, by max, or by rrf")
    return list(queries), False


def read_vectors_of(blend: Blend, dimensions: int, metric: DistanceMetric) -> Floats:
    """Read the vectors that a blend brings itself, `(m, d)`.

    Raises:
        VectorError: another length, NaN or infinity, no direction under cosine.
    """
    if blend.vectors is None:
        return np.empty((0, dimensions), np.float32)
    return read_queries(blend.vectors, dimensions=dimensions, metric=metric)[0]


def _listed(given: Any) -> tuple[Any, ...]:
    # any other tuple is one label, of several columns
    many = isinstance(given, list | np.ndarray | pd.Index | pd.Series) or given == ()
    return tuple(given) if many else (given,)


def _directions(vectors: NDArray[np.float64], metric: DistanceMetric) -> NDArray[np.float64]:
    if metric is not DistanceMetric.COSINE:
        return vectors
    made: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return made
