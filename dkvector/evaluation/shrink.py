"""`shrink`: what compressed vectors would cost and save, before any index is built of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dkvector import _html, plotting
from dkvector.backends import _topk
from dkvector.backends._knn import nearest
from dkvector.backends._topk import Block, Positions
from dkvector.counts import as_count
from dkvector.errors import SchemaError
from dkvector.evaluation import measures
from dkvector.evaluation.asked import Queries
from dkvector.evaluation.building import built
from dkvector.evaluation.ground import Wanted, truth_of
from dkvector.evaluation.measures import Answers, Values
from dkvector.evaluation.run import Ground
from dkvector.evaluation.settings import Build
from dkvector.evaluation.sources import Held
from dkvector.evaluation.subject import Subject, read_subject
from dkvector.evaluation.truth import Truth
from dkvector.indexes import Flat, Tuning
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric, Floats

SAMPLE = 50_000  # rows that are compressed, for a preview
CANDIDATES = 4  # times k rows are measured again
BITS: dict[str, float] = {"float16": 16, "int8": 8, "pq": 2, "rabitq": 1, "binary": 1}  # of a dimension


@dataclass(frozen=True)
class Shrink:
    """What compressed forms cost and save.

    Attributes:
        frame: a row for each form: `form`, `family`, `bytes_per_vector`, `bytes` of all rows, `share` of the full size,
            `recall` by the codes alone and `recall_rescored` once candidates are measured again by the full vectors,
            each with the ends of its interval, `k`, `candidates`.
        rows: how many rows were compressed; fewer than all where it was a sample.
    """

    frame: pd.DataFrame
    rows: int

    def plot(self, ax: Any = None) -> Any:
        """Draw recall against bytes, by codes alone and once measured again."""
        return plotting.plot_shrink(self.frame, ax)

    def __repr__(self) -> str:
        return self.frame.round(4).to_string()

    def _repr_html_(self) -> str:
        return _html.block(_html.heading(f"{self.rows:,} rows"), self.frame.round(4).to_html())


def shrink(
    data: Any,
    queries: Any = None,
    k: int = 10,
    *,
    forms: Sequence[str] = tuple(BITS),
    dimensions: Sequence[int] | None = None,
    candidates: int | None = None,
    on: str | None = None,
    metric: DistanceMetric | str | None = None,
    sample: int = SAMPLE,
    on_bad: OnBad = "raise",
    seed: int = 0,
) -> Shrink:
    """Preview compressed forms of the vectors: bytes, and the true neighbours that are still found.

    Args:
        data: a DataFrame, a store, an Arrow table or dataset, or the path of Parquet files.
        queries: vectors, a Series of them, or a frame with a vector column; or how many rows to draw, 1,000 by default.
        k: neighbours of each query.
        forms: compressions, as `quantization` of an index names them; they need Faiss.
        dimensions: the first so many dimensions alone, as for models trained to be cut (Kusupati et al., *Matryoshka
            representation learning*, NeurIPS 2022); a half, a quarter and an eighth of them by default.
        candidates: rows to measure again by the full vectors, at least k; 4·k by default.
        on: the vector column, where there are several.
        metric: what to measure by; a store's own, or cosine, by default.
        sample: rows to compress; where there are more, so many are drawn by chance.
        on_bad: "drop" leaves out the rows whose vectors can't be used.
        seed: of what is drawn.

    Returns:
        A row for each form, the largest first.

    Raises:
        SchemaError: a form that is none, or more dimensions than there are.
        MissingExtraError: Faiss is not installed.

    Example:
        >>> import dkvector as dkv
        >>> digits = dkv.datasets.load_digits()
        >>> small = dkv.shrink(digits, 200, metric="l2", forms=["int8"], dimensions=[16])
        >>> small.frame[["form", "bytes_per_vector", "recall", "recall_rescored"]].round(2)
              form  bytes_per_vector  recall  recall_rescored
        0  float32             256.0    1.00             1.00
        1     int8              64.0    1.00             1.00
        2  16 dims              64.0    0.19             0.46
    """
    if unknown := [one for one in forms if one not in BITS]:
        raise SchemaError(f"no form {unknown[0]!r}; there are {', '.join(BITS)}")
    subject = read_subject(data, [], on=on, metric=metric, on_bad=on_bad)
    total, full = subject.rows.matrix.shape
    cuts = sorted({full // 2, full // 4, full // 8} - {0, 1}) if dimensions is None else list(dimensions)
    if bad := [one for one in cuts if not 0 < one <= full]:
        raise SchemaError(f"vectors of {full} dimensions can't be cut to {bad[0]}")
    if total > sample:
        # in their own order, by which ties go
        subject = subject.some(np.sort(np.random.default_rng(seed).permutation(total)[:sample]))
    asked = subject.queries(queries, (), seed)
    k = as_count(k)
    many = CANDIDATES * k if candidates is None else max(k, as_count(candidates, "candidates"))
    preview = Preview(subject, asked, k, many, seed)
    made = pd.DataFrame(list(preview.rows(forms, cuts)))
    made.insert(3, "bytes", made["bytes_per_vector"] * total)
    made.insert(4, "share", made["bytes_per_vector"] / (4 * full))
    order = made["bytes_per_vector"].sort_values(ascending=False, kind="stable").index
    return Shrink(made.loc[order].reset_index(drop=True), len(subject.rows.matrix))


@dataclass(frozen=True)
class Preview:
    """What forms are compared by: see `shrink`."""

    subject: Subject
    asked: Queries
    k: int
    candidates: int
    seed: int

    def rows(self, forms: Sequence[str], cuts: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Compare the full vectors, each compression, and each number of dimensions."""
        truth = self._truth()
        full = self.subject.rows.matrix.shape[1]
        ones = np.where(truth.counts > 0, 1.0, np.nan)
        yield self._row("float32", "float32", 4.0 * full, ones, ones)
        for form in forms:
            yield self._row(form, "codes", BITS[form] * full / 8, *self._by_codes(form, truth))
        for cut in cuts:
            yield self._row(f"{cut} dims", "dimensions", 4.0 * cut, *self._by_part(cut, truth))

    def _truth(self) -> Truth:
        return truth_of(Held(self.subject.rows), self.asked, Wanted(self.k, self.subject.metric), cache=True)

    def _row(self, form: str, family: str, size: float, alone: Values, rescored: Values) -> dict[str, Any]:
        low, high = measures.interval(alone, self.seed)
        low_again, high_again = measures.interval(rescored, self.seed)
        return {
            "form": form,
            "family": family,
            "bytes_per_vector": size,
            "recall": measures.mean(alone),
            "recall_low": low,
            "recall_high": high,
            "recall_rescored": measures.mean(rescored),
            "rescored_low": low_again,
            "rescored_high": high_again,
            "k": self.k,
            "candidates": self.candidates,
        }

    def _by_codes(self, form: str, truth: Truth) -> tuple[Values, Values]:
        """Search the flat index of codes that a store would search."""
        build = Build("faiss", Flat(form), "faiss")  # type: ignore[arg-type]  # checked to be one
        with built(build, self.subject, []) as made:
            again = self._found(made.store.search, Tuning(candidates=self.candidates), truth)
            if form == "binary":  # a store measures these again, always
                return self._by_signs(truth), again
            return self._found(made.store.search, Tuning(rescore=False), truth), again

    def _found(self, search: Callable[..., pd.DataFrame], tuning: Tuning, truth: Truth) -> Values:
        found = search(self.asked.matrix, self.k + self._own(truth), tuning=tuning, columns=[])
        rows = self.subject.rows.labels.get_indexer(found.index)
        return self._recall(found["query"].to_numpy(), np.asarray(rows, np.intp), truth)

    def _by_signs(self, truth: Truth) -> Values:
        """Compare by how many dimensions are on the same side of the mean."""
        middle = self.subject.rows.matrix.mean(axis=0)
        rows, queries = (np.sign(part - middle) for part in (self.subject.rows.matrix, self.asked.matrix))
        return self._nearest(rows, queries, self.k, DistanceMetric.DOT_PRODUCT, truth)

    def _by_part(self, cut: int, truth: Truth) -> tuple[Values, Values]:
        """Compare by the first dimensions alone."""
        rows = np.ascontiguousarray(self.subject.rows.matrix[:, :cut])
        queries = np.ascontiguousarray(self.asked.matrix[:, :cut])
        by = self.subject.metric
        alone, again = (self._nearest(rows, queries, many, by, truth) for many in (self.k, self.candidates))
        return alone, again

    def _nearest(self, rows: Floats, queries: Floats, many: int, metric: DistanceMetric, truth: Truth) -> Values:
        """Find rows by compressed vectors, and keep the k nearest by the full ones."""
        near = nearest(Block(0, rows), queries, many + self._own(truth), metric)
        query = np.repeat(np.arange(len(near.counts)), near.counts)
        return self._recall(query, near.positions, truth, measured=many > self.k)

    def _recall(self, query: Positions, row: Positions, truth: Truth, *, measured: bool = False) -> Values:
        others = row != truth.own[query]
        query, row = query[others], row[others]
        ground = Ground(self.subject.rows, self.asked, self.subject.metric)
        distance = _topk.pair_distances(ground.rows.block, self.asked.matrix, query, row, self.subject.metric)
        if measured:
            near = _topk.best_of(query, row, distance, len(truth), k=self.k)
            query, row = np.repeat(np.arange(len(truth)), near.counts), near.positions
            distance = near.distances
        return measures.recall(Answers(query, row, distance, len(truth)), truth, ground.slack(truth))

    @staticmethod
    def _own(truth: Truth) -> int:
        """Ask for one more where queries are rows."""
        return int((truth.own >= 0).any())
