"""Checks of how the vectors lie to each other: copies, near-duplicates, hubs, a common direction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dkvector.backends._topk import Positions
from dkvector.metrics import DistanceMetric, Floats
from dkvector.norms import normalize
from dkvector.verbs._ground import Ground
from dkvector.verbs._subject import NEIGHBOURS, Subject
from dkvector.verbs.duplicates import radius
from dkvector.verbs.report import Finding

NEAR = 0.02  # 1 - cosine of near-duplicates
HUBS = 1.4  # skewness of the k-occurrence from which there are hubs
COMMON = 0.5  # cosine of two rows drawn by chance from which they are said to point the same way
ENOUGH = 100  # rows for a statement about all of them


def copies(subject: Subject) -> Iterator[Finding]:
    """Find vectors that occur several times, bit by bit."""
    groups = same(subject.rows.matrix)
    again = np.flatnonzero(np.bincount(groups, minlength=1)[groups] > 1) if len(groups) else groups
    if not len(again):
        return
    kinds = len(np.unique(groups[again]))
    message = (
        f"{len(again):,} rows share {kinds:,} vectors, bit by bit: they crowd out other neighbours, and a copy of a "
        "query's own row makes any evaluation look good."
    )
    fix = f"df = df.vec.drop_duplicates(1, {subject.arguments(subject.by)})"
    yield subject.finding("copies", "warning", message, fix, again)


def near_duplicates(subject: Subject) -> Iterator[Finding]:
    """Find vectors that are nearly the same as another, but not copies of it."""
    few = subject.few
    if len(few) < 2:  # noqa: PLR2004 - it takes two
        return
    threshold = _threshold(subject)
    near = subject.near if subject.by is subject.metric else few.by(subject.by).neighbors(1, subject.progress)
    query, groups = np.repeat(np.arange(len(few)), near.counts), same(few.matrix)
    close = (near.distances <= radius(threshold, subject.by)) & (groups[query] != groups[near.positions])
    if not close.any():
        return
    rows = np.unique(query[close])
    message = (
        f"{len(rows):,} rows{subject.compared} have a near-duplicate (score {threshold:.4g} and more by {subject.by}): "
        "the same thing said twice fills result lists."
    )
    fix = f"df = df.vec.drop_duplicates({threshold:.4g}, {subject.arguments(subject.by)})"
    yield subject.finding("near_duplicates", "info", message, fix, subject.places[rows])


def _threshold(subject: Subject) -> float:
    """Give the score of near-duplicates; by Euclidean distance it goes by how far the vectors spread."""
    if subject.by is DistanceMetric.COSINE:
        return 1 - NEAR
    spread = float(np.sqrt(subject.few.matrix.var(axis=0, dtype=np.float64).sum()))
    # unit vectors with a cosine of 1 - NEAR are √(2·NEAR) apart: the spread takes the place of their length
    return float(f"{1 / (1 + np.sqrt(2 * NEAR) * spread):.2g}")


def hubs(subject: Subject) -> Iterator[Finding]:
    """Find rows that are among the neighbours of far too many others.

    Radovanović, Nanopoulos and Ivanović, *Hubs in space*, JMLR 2010: the skewness of the k-occurrence.
    """
    few = subject.few
    if len(few) < ENOUGH:
        return
    counts = occurrences(few, subject)
    skewness = skew(counts)
    if skewness <= HUBS:
        return
    rows = np.flatnonzero(counts > counts.mean() + 2 * counts.std())
    rows = rows[np.argsort(-counts[rows], kind="stable")]
    never = (counts == 0).mean()
    message = (
        f"Neighbours are shared unevenly{subject.compared}: k-occurrence for k = {NEIGHBOURS} has skewness "
        f"{skewness:.2f} (above {HUBS} there are hubs). One row is among the {NEIGHBOURS} nearest of "
        f"{counts.max():,} others, {len(rows):,} rows are hubs, {never:.1%} of the rows are nobody's neighbour. "
    )
    mended = _centred_skewness(few, subject)
    helps = mended < HUBS
    tried = f"Without the mean of all vectors it is {mended:.2f}" + ("." if helps else ", which is not enough.")
    fix = _centring(subject) if helps else ""
    yield subject.finding("hubs", "warning", message + tried, fix, subject.places[rows])


def occurrences(rows: Ground, subject: Subject) -> NDArray[np.intp]:
    """Count among how many rows' neighbours each row is, `(n,)`."""
    near = subject.near if rows is subject.few else rows.neighbors(NEIGHBOURS, progress=subject.progress)
    return np.bincount(near.positions, minlength=len(rows))


def skew(counts: NDArray[np.intp]) -> float:
    """Give the skewness of a distribution: its third standardised moment.

    Example:
        >>> skew(np.array([0, 0, 0, 4]))
        1.1547005383792515
    """
    apart = counts - counts.mean()
    spread = (apart**2).mean()
    return float((apart**3).mean() / spread**1.5) if spread else 0.0


def _centred_skewness(few: Ground, subject: Subject) -> float:
    """Try what centring would give, which lowers hubs by inner product (Suzuki et al., EMNLP 2013)."""
    if subject.metric is DistanceMetric.EUCLIDEAN:
        return float("inf")  # distances don't change
    centred = few.matrix - few.matrix.mean(axis=0)
    if not (np.sqrt((centred**2).sum(axis=1)) > 0).all():
        return float("inf")
    return skew(occurrences(Ground(few.frame, centred, few.metric), subject))


def common_direction(subject: Subject) -> Iterator[Finding]:
    """Find vectors that all point the same way.

    Ethayarajh, *How contextual are contextualized word representations?*, EMNLP 2019: anisotropy as the mean cosine
    of two rows drawn by chance; here over all pairs of rows, from the length of their mean.
    """
    count = len(subject.rows)
    if count < ENOUGH or subject.metric is DistanceMetric.EUCLIDEAN:
        return
    mean = normalize(subject.rows.matrix).mean(axis=0, dtype=np.float64)
    # the sum over all pairs, without those of a row and itself
    cosine = (count * float(mean @ mean) - 1) / (count - 1)
    # of copies of one vector nothing is left without the mean
    if not COMMON < cosine < 1 - NEAR:
        return
    message = (
        f"Two rows drawn by chance have a cosine of {cosine:.2f} in the mean: all vectors share a direction, so that "
        "scores crowd together and a fixed threshold says little. The mean must be taken from every query too."
    )
    yield subject.finding("common_direction", "info", message, _centring(subject))


def same(matrix: Floats) -> Positions:
    """Number the groups of rows that are equal bit by bit, `(n,)`."""
    if not len(matrix):
        return np.empty(0, np.intp)
    # each row as one value of so many bytes: as numbers 0 and -0 would be equal
    rows = np.ascontiguousarray(matrix).view(np.dtype((np.void, matrix.shape[1] * 4)))[:, 0]
    return np.unique(rows, return_inverse=True)[1].reshape(-1)


def _centring(subject: Subject) -> str:
    column = subject.column
    return (
        f"matrix = {column}.vec.to_numpy()\nmean = matrix.mean(axis=0)  # take it from every query too\n"
        f"{column} = dkv.VectorArray(matrix - mean)"
    )
