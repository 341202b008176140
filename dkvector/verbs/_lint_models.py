"""Checks whether the vectors come from one model, and went through one pipeline.

Only what can be known is said: a column that names the models; marks of a pipeline that no vector bears by chance
(length 1, numbers that float16 holds, zeros at the end); and the split of the whole space that `_mixture` describes.
Two topics, two languages or two kinds of picture are no finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.backends._knn import nearest
from dkvector.backends._topk import Positions
from dkvector.metrics import Floats
from dkvector.verbs._mixture import Graph, two_models
from dkvector.verbs._subject import NEIGHBOURS, Subject
from dkvector.verbs.report import Finding

Mask = NDArray[np.bool_]

CUT = 4000  # rows that are enough to see two spaces
SHARE = 0.01  # of the rows, from which a second kind is one
UNIT, RING = 1e-3, 5e-2  # lengths that are 1 but for rounding to float16; the lengths around
PRECISE = 8  # numbers of a row, not whole, that tell its precision
HALF = 65504  # the largest number of float16

_ABOUT = re.compile(r"embed.*(model|version)|model.*embed|encoder|vector_model", re.IGNORECASE)
_MODEL = re.compile(r"model|model_(name|id|version)", re.IGNORECASE)
_KNOWN = re.compile(
    r"embed|minilm|mpnet|bert|\bbge|\be5\b|\bgte|ada-00|clip|jina|nomic|cohere|voyage|glove|word2vec|fasttext|dino",
    re.IGNORECASE,
)


def named(subject: Subject) -> Iterator[Finding]:
    """Find several models in a column that names them."""
    frame = subject.rows.frame
    for at, name in enumerate(frame.columns):
        values = frame.iloc[:, at]
        if not isinstance(name, str) or not _names_models(name, values):
            continue
        counts = values.value_counts()
        if (counts > 0).sum() < 2:  # noqa: PLR2004 - one model is as it should be
            continue
        most = counts.index[0]
        listed = ", ".join(f"{model} ({count:,})" for model, count in counts.head(5).items() if count)
        message = (
            f"{name!r} names several models: {listed}. Vectors of two models can't be compared, whatever distance "
            "comes out: search one at a time, or embed all rows anew."
        )
        others = np.flatnonzero((values != most).fillna(value=True).to_numpy(bool))
        yield subject.finding("models", "error", message, f"df = df[df[{name!r}] == {str(most)!r}]", others)


def _names_models(name: str, values: pd.Series) -> bool:
    texts = values.dropna()
    if not len(texts) or not isinstance(texts.iloc[0], str):
        return False
    if _ABOUT.search(name):
        return True
    return bool(_MODEL.fullmatch(name)) and any(_KNOWN.search(str(one)) for one in texts.unique()[:20])


def lengths_of_two_kinds(subject: Subject) -> Iterator[Finding]:
    """Find vectors of unit length among others: some were normalised, some were not."""
    norms = subject.norms
    unit, around = np.abs(norms - 1) < UNIT, np.abs(norms - 1) < RING
    if not _both(unit) or unit.sum() < 0.5 * around.sum():  # by chance 1 in 50 of those around
        return
    message = (
        f"{unit.sum():,} vectors have length 1, {(~unit).sum():,} have other lengths ({np.median(norms[~unit]):.3g} in "
        "the middle): two pipelines made them, or two models."
    )
    fix = f"{subject.column} = {subject.column}.vec.normalize()"
    yield subject.finding("mixed_lengths", "warning", message, fix, _fewer(unit))


def precisions(subject: Subject) -> Iterator[Finding]:
    """Find vectors that went through float16 among others that did not."""
    half = through_half(subject.rows.matrix)
    if half is None or not _both(half):
        return
    message = (
        f"{half.sum():,} vectors hold only numbers of float16, {(~half).sum():,} hold finer ones: they went through "
        "two pipelines. If it was one model, rounding all alike is enough."
    )
    column = subject.column
    fix = f"{column} = dkv.VectorArray({column}.vec.to_numpy().astype('float16').astype('float32'))"
    yield subject.finding("mixed_precision", "info", message, fix, _fewer(half))


def through_half(matrix: Floats) -> Mask | None:
    """Mark the rows that float16 can hold, `(n,)`; None where that tells nothing: large, whole or few numbers."""
    marks = np.empty(len(matrix), np.bool_)
    for at in range(0, len(matrix), 1 << 13):
        block = matrix[at : at + (1 << 13)]
        if np.abs(block).max(initial=0) > HALF or (np.sum(block % 1 != 0, axis=1) < PRECISE).any():
            return None
        marks[at : at + (1 << 13)] = (block.astype(np.float16) == block).all(axis=1)
    return marks


def padding(subject: Subject) -> Iterator[Finding]:
    """Find vectors that end in zeros, all from the same place, among others that don't."""
    matrix = subject.rows.matrix
    dimensions = matrix.shape[1]
    # argmax of a row of zeros is 0, so that it counts as full: it has no end to be filled up
    used = dimensions - (matrix[:, ::-1] != 0).argmax(axis=1) if len(matrix) else np.empty(0, np.intp)
    short = used < dimensions
    if not _both(short) or len(np.unique(used[short])) > 1 or dimensions - used[short][0] < max(8, dimensions // 8):
        return
    message = (
        f"{short.sum():,} vectors are 0 from dimension {used[short][0]} on, the others are not: they were filled up to "
        f"{dimensions}, and come from another model."
    )
    column = subject.column
    fix = f"full = {column}.vec.to_numpy()[:, {used[short][0]}:].any(axis=1)\ndf = df[full == (full.mean() > 0.5)]"
    yield subject.finding("padding", "error", message, fix, _fewer(short))


def unrelated(subject: Subject) -> Iterator[Finding]:
    """Find a part of the rows whose space has nothing to do with that of the others."""
    rows, few = subject.rows, subject.few
    near = subject.near
    if len(few) > CUT:
        few = rows.some(subject.draw(CUT))
        near = few.neighbors(NEIGHBOURS, subject.progress)
    second = two_models(few.matrix, Graph(np.repeat(np.arange(len(few)), near.counts), near.positions, len(few)))
    if second is None:
        return
    if few is not rows:  # each of the others is on the side of its nearest
        second = second[nearest(few.block, rows.matrix, 1, rows.metric, progress=subject.progress).positions]
    message = (
        f"{second.sum():,} rows lie in a space of their own: no neighbours in common with the other "
        f"{(~second).sum():,}, and no direction in which both vary. So it is when two models made the vectors, or when "
        "the dimensions of some were put in another order. Scores between the two parts mean nothing."
    )
    fix = f"df = df.drop(index=df.vec.check({subject.arguments(subject.metric)})['two_spaces'].rows)"
    yield subject.finding("two_spaces", "error", message, fix, np.flatnonzero(second))


def _both(mask: Mask) -> bool:
    """Tell whether there are enough of both kinds."""
    return len(mask) > 0 and bool(min(mask.sum(), (~mask).sum()) >= max(2, SHARE * len(mask)))


def _fewer(mask: Mask) -> Positions:
    """Give the rows of the rarer kind."""
    return np.flatnonzero(mask if mask.sum() * 2 <= len(mask) else ~mask)
