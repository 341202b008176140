"""Checks of the numbers themselves: what can't be used, what is wasted, which lengths don't suit the metric."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dkvector.errors import VectorError
from dkvector.metrics import DistanceMetric
from dkvector.vectors import read_vectors
from dkvector.verbs._subject import NEIGHBOURS, Subject
from dkvector.verbs.report import Finding

EVEN = 0.01  # spread of lengths, as a part of their mean, up to which they are alike


def unusable(subject: Subject) -> Iterator[Finding]:
    """Find missing, ragged, zero and not finite vectors."""
    kept = subject.rows.kept
    if kept is None:
        return
    try:
        # read once more, for the error that says what is wrong with which rows
        read_vectors(subject.frame[subject.name], metric=subject.metric, name=str(subject.name), way_out="")
        told = ""
    except VectorError as exc:
        told = str(exc)
    bad = subject.frame.index.delete(kept)
    message = f"{len(bad):,} of {len(subject.frame):,} rows have no vector that can be searched: {told}."
    yield Finding("unusable", "error", message, bad, subject.mend.rstrip())


def storage(subject: Subject) -> Iterator[Finding]:
    """Find vectors held in a form that takes more memory and time than the float32 that they are measured in."""
    if form := _form(subject.frame[subject.name]):
        dimensions = subject.rows.matrix.shape[1]
        fix = f"{subject.column} = {subject.column}.astype('vector[{dimensions}]')"
        message = f"The vectors are held as {form}. Distances are measured in float32, {4 * dimensions:,} bytes a row."
        yield subject.finding("storage", "info", message, fix)


def _form(column: pd.Series) -> str:
    """Say what is wasteful in how a column holds its vectors; "" where nothing is."""
    dtype = column.dtype
    if getattr(dtype, "element", None) == np.float64:
        return "float64, twice the memory"
    if isinstance(dtype, pd.ArrowDtype) and "double" in str(dtype.pyarrow_dtype):
        return "float64, twice the memory"
    first = column.dropna().iloc[0] if not hasattr(dtype, "dimensions") and column.notna().any() else None
    match first:
        case str():
            return "text, which is read anew by every call"
        case list() | tuple():
            return "Python lists, eight times the memory and more"
        case np.ndarray() if first.dtype == np.float64:
            return "arrays of float64, twice the memory"
    return ""


def constant(subject: Subject) -> Iterator[Finding]:
    """Find dimensions that are the same in all rows."""
    matrix = subject.rows.matrix
    if len(matrix) < NEIGHBOURS:
        return
    low, high = matrix.min(axis=0), matrix.max(axis=0)
    same = np.flatnonzero(low == high)
    if not len(same) or len(same) == len(low):
        return
    zero = "; all of them 0" if not low[same].any() else ""
    shown = ", ".join(map(str, same[:5])) + (", …" if len(same) > 5 else "")  # noqa: PLR2004 - as errors show
    message = (
        f"{len(same)} of {len(low)} dimensions are the same in all rows{zero} ({shown}): they cost memory and tell "
        "nothing. Without them the same must be left out of every query."
    )
    fix = (
        f"matrix = {subject.column}.vec.to_numpy()\nuseful = matrix.min(axis=0) < matrix.max(axis=0)\n"
        f"{subject.column} = dkv.VectorArray(matrix[:, useful])"
    )
    yield subject.finding("constant", "info", message, fix)


def lengths(subject: Subject) -> Iterator[Finding]:
    """Find lengths that decide, where only directions should."""
    norms = subject.norms
    if subject.metric is DistanceMetric.DOT_PRODUCT and len(norms) and norms.std() > EVEN * norms.mean():
        message = (
            f"Lengths go from {norms.min():.3g} to {norms.max():.3g}: by dot product long vectors win, whatever they "
            "point at. Unless the model was trained for that, measure by cosine."
        )
        yield subject.finding("lengths", "warning", message, f"{subject.column} = {subject.column}.vec.normalize()")


def short(subject: Subject) -> Iterator[Finding]:
    """Find vectors that are hardly there, and have a direction nonetheless."""
    norms = subject.norms
    middle = float(np.median(norms)) if len(norms) else 0.0
    rows = np.flatnonzero(norms < middle / 1000)
    if subject.metric is DistanceMetric.COSINE and len(rows):
        message = (
            f"{len(rows):,} vectors are less than a thousandth of the usual length, {middle:.3g}: under cosine the "
            "rounding noise that they are made of counts as much as any vector."
        )
        fix = f"norms = {subject.column}.vec.norms\ndf = df[norms >= norms.median() / 1000]"
        yield subject.finding("short", "warning", message, fix, rows)
