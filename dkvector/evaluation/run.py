"""One run: search every query with one setting, and compare what was found with what is true."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dkvector.backends import _topk
from dkvector.backends._topk import Positions
from dkvector.evaluation import measures
from dkvector.evaluation.asked import Queries
from dkvector.evaluation.building import Built
from dkvector.evaluation.checkpoint import Outcome
from dkvector.evaluation.measures import Answers, Relevances
from dkvector.evaluation.settings import Setting
from dkvector.evaluation.sources import Chunk
from dkvector.evaluation.timing import Times, Timing, Trial, measure
from dkvector.evaluation.truth import Truth
from dkvector.metrics import DistanceMetric, Floats
from dkvector.norms import squared_norms

ROUNDING = 2e-6  # by which two ways to measure one pair in float32 may differ, relative to its scale


@dataclass(frozen=True)
class Ground:
    """What answers are compared with.

    Attributes:
        rows: all rows.
        queries: the queries.
        metric: what distances are measured in.
        relevances: rows that somebody judged to be right.
    """

    rows: Chunk
    queries: Queries
    metric: DistanceMetric
    relevances: Relevances | None = None

    def answers(self, found: list[pd.DataFrame], truth: Truth, among: Positions | None) -> Answers:
        """Find the rows that were found, and measure them again: an engine may err, and codes do.

        Args:
            found: the answer to each query.
            truth: whose `own` rows are left out.
            among: the only rows that may be found; None for all.
        """
        query = np.repeat(np.arange(len(found)), [len(one) for one in found])
        labels = pd.Index([]) if not len(query) else found[0].index.append([one.index for one in found[1:]])
        row: Positions = np.asarray(self.rows.labels.get_indexer(labels), np.intp)
        # -1 is a row that is not known on the left, and no row at all on the right
        others = (row < 0) | (row != truth.own[query])
        query, row = query[others], row[others]
        if among is not None:
            # the last stands for rows that are not there
            allowed = np.zeros(len(self.rows.matrix) + 1, bool)
            allowed[among] = True
            row = np.where(allowed[row], row, -1)
        distance = np.full(len(row), np.inf, np.float32)
        there = np.flatnonzero(row >= 0)
        distance[there] = _topk.pair_distances(
            self.rows.block, self.queries.matrix, query[there], row[there], self.metric
        )
        return Answers(query, row, distance, len(found))

    def slack(self, truth: Truth) -> Floats:
        """Say how far rounding may take a distance beyond the k-th of each query, `(q,)`."""
        match self.metric:
            case DistanceMetric.COSINE:
                scale = np.ones(len(truth))
            case DistanceMetric.EUCLIDEAN:
                scale = np.maximum(truth.kth, 0).astype(np.float64)
            case DistanceMetric.DOT_PRODUCT:
                longest = float(np.sqrt(squared_norms(self.rows.matrix).max(initial=0)))
                scale = np.sqrt(squared_norms(self.queries.matrix)) * longest
        return np.where(np.isfinite(scale), scale * ROUNDING, 0).astype(np.float32)


def run(made: Built, setting: Setting, ground: Ground, truth: Truth, timing: Timing) -> Outcome:
    """Measure one setting of a store.

    Args:
        made: the store.
        setting: what is asked.
        ground: what answers are compared with.
        truth: the k nearest rows under this filter.
        timing: how time is taken.

    Returns:
        The figures, and those of each query.
    """
    has_own = bool((truth.own >= 0).any())
    # one more, for a query that is a row finds itself
    trial = Trial(made.store, made.name, setting, setting.k + has_own, ground.metric)
    times = measure(trial, ground.queries.matrix, timing)
    among = ground.rows.matching(setting.filter)
    answers = ground.answers(times.found, truth, among)
    recalls = measures.recall(answers, truth, ground.slack(truth))
    low, high = measures.interval(recalls, timing.seed)
    returned = np.bincount(answers.first(truth.k).query, minlength=len(truth))
    figures = {
        "selectivity": truth.matching / max(truth.rows, 1),
        "recall": measures.mean(recalls),
        "recall_low": low,
        "recall_high": high,
        **_judged(answers, ground, among, setting.k),
        "shortfall": int(np.maximum(truth.counts - returned, 0).sum()),
        **_times(times, timing, len(truth)),
        **_evidence(trial, ground.queries.matrix[0], times),
    }
    each = {"recall": recalls.tolist(), "returned": returned.tolist()}
    if times.latency.size:
        each["latency_ms"] = (np.median(times.latency, axis=0) * 1e3).tolist()
    return {"run": figures, "queries": each}


def _judged(answers: Answers, ground: Ground, among: Positions | None, k: int) -> dict[str, float]:
    """Compare with the rows that somebody judged to be right; those that the filter forbids can't be found."""
    known = ground.relevances
    if known is None:
        return {}
    if among is not None:
        keep = np.isin(known.row, among)
        known = Relevances(known.query[keep], known.row[keep], known.gain[keep], known.queries, known.rows)
    return {
        "ndcg": measures.mean(known.ndcg(answers, k)),
        "mrr": measures.mean(known.mrr(answers, k)),
        "relevant_recall": measures.mean(known.recall(answers, k)),
    }


def _times(times: Times, timing: Timing, queries: int) -> dict[str, Any]:
    """Give latencies over all repeats, and throughput of the best one."""
    if not times.latency.size:
        return {}
    # whatever else the machine does only takes time from a search: the best repeat is the least disturbed
    p50, p95, p99 = np.quantile(times.latency * 1e3, [0.5, 0.95, 0.99])
    taken = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "qps": queries / times.latency.sum(axis=1).min()}
    taken["qps_batch"] = queries / min(times.batch)
    if times.load:
        taken |= {"qps_concurrent": queries / min(times.load), "clients": timing.clients}
    return {name: float(value) for name, value in taken.items()}


def _evidence(trial: Trial, query: Floats, times: Times) -> dict[str, Any]:
    """Tell what really ran: what most searches say of themselves, unless the engine, asked to explain, knows better."""
    used = float(np.mean([not is_exact(plan) for plan in times.plans])) if times.plans else float("nan")
    plan = Counter(times.plans).most_common(1)[0][0] if times.plans else ""
    told = trial.store.explain(query, trial.k, **trial.knobs)
    if is_exact(told.plan) and not is_exact(plan):
        plan, used = told.plan, 0.0
    return {"plan": plan, "index_used": used}


def is_exact(plan: str) -> bool:
    """Tell whether a plan compares every row that matches."""
    return plan.startswith(("exact", "sequential")) or not plan
