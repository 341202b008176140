"""`tune`: the cheapest setting that meets a target, found by few measurements, and proved on queries held out."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, Literal

import numpy as np

from dkvector.backends._topk import Positions
from dkvector.counts import as_count
from dkvector.errors import SchemaError, hint
from dkvector.evaluation.ground import Wanted, truth_of
from dkvector.evaluation.settings import read_builds
from dkvector.evaluation.sources import Held, columns_of
from dkvector.evaluation.subject import read_subject
from dkvector.evaluation.targets import Target
from dkvector.evaluation.timing import Timing
from dkvector.evaluation.tuned import Tuned
from dkvector.evaluation.tuner import CHEAP, FORMS, Tuner
from dkvector.filters import as_filter
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric
from dkvector.progress import bar

WARMUP = 20  # queries before the clock runs


def tune(
    data: Any,
    target: Target | Mapping[str, Any] | float = 0.95,
    backends: Any = ("faiss",),
    *,
    specs: Any = None,
    queries: Any = None,
    k: int = 10,
    where: Any = None,
    prefer: Literal["qps", "memory", "build"] = "qps",
    on: str | None = None,
    metric: DistanceMetric | str | None = None,
    on_bad: OnBad = "raise",
    held_out: float = 0.5,
    repeats: int = 2,
    seed: int = 0,
    cache: bool | str | PathLike[str] = True,
    progress: bool | None = None,
) -> Tuned:
    """Find the cheapest setting that meets a target, by measurement.

    Of each kind of index the least effort is looked for whose recall, less what chance may add, meets the target on one
    part of the queries; the best of the kinds is then measured on the other part, which no choice has seen.

    Args:
        data: rows: a DataFrame, a store, an Arrow table or dataset, or the path of Parquet files.
        target: such as ``{"recall": 0.95, "p95_ms": 5, "memory": "2GB", "build_s": 60}``; a number is a recall.
        backends: names or URLs.
        specs: indexes to try on each; by default Flat, IVF (also of float16 and int8), HNSW(m=16) and HNSW(m=32). Those
            that a backend has not are left out.
        queries: vectors, a Series of them, or a frame with a vector column; or how many rows to draw, 1,000 by default.
        k: neighbours of each query.
        where: a filter that every search will have.
        prefer: what is cheapest: "qps" the most queries a second, "memory" the smallest index, "build" the quickest
            to build.
        on: the vector column, where there are several.
        metric: what to measure by; a store's own, or cosine, by default.
        on_bad: "drop" leaves out the rows whose vectors can't be used.
        held_out: share of the queries that are kept for the proof.
        repeats: times that every query is asked for its latency.
        seed: of the split of queries, and of what is drawn.
        cache: keep the true neighbours, see `ground_truth`.
        progress: show a bar; None shows one.

    Returns:
        The setting: `config` for `connect` and the factory, `tuning` and `spec`, and all that was measured.

    Raises:
        SchemaError: a target that can't be read or that nothing measures, or too few queries to split.
        UnsupportedError: no such backend.

    Example:
        >>> import dkvector as dkv
        >>> digits = dkv.datasets.load_digits()
        >>> found = dkv.tune(digits, 0.9, specs=[dkv.IVF(lists=40)], metric="l2", queries=400, progress=False)
        >>> found.met, found.config["backend"], found.config["index_type"]
        (True, 'faiss', 'IVF')
    """
    if prefer not in CHEAP:
        raise SchemaError(f"no preference {prefer!r}; {hint(prefer, CHEAP)}")
    wanted, condition, timing = Target.of(target), as_filter(where), Timing(repeats, WARMUP, 0, seed)
    listed = [backends] if isinstance(backends, str) else list(backends)
    builds = read_builds(data, {one: list(FORMS if specs is None else _listed(specs)) for one in listed})
    if not repeats and (wanted.p95_ms is not None or (prefer == "qps" and len(builds) > 1)):
        raise SchemaError("with repeats=0 no time is taken: leave p95_ms out of the target, and prefer memory or build")
    columns = columns_of([condition])
    subject = read_subject(data, columns, on=on, metric=metric, on_bad=on_bad)
    asked = subject.queries(queries, (), seed)
    parts = [asked.some(places) for places in _split(len(asked), held_out, seed)]
    look_for = Wanted(as_count(k), subject.metric, condition)
    truths = [truth_of(Held(subject.rows), part, look_for, cache) for part in parts]
    tuner = Tuner(subject, parts, truths, condition, wanted, timing, columns)
    with bar(len(builds), "indexes", unit="indexes", show=progress is not False) as done:
        for build in builds:
            tuner.try_out(build)
            done(1)
    return tuner.result(prefer)


def _split(count: int, held_out: float, seed: int) -> tuple[Positions, Positions]:
    """Draw the queries that settings are chosen by, and those that are held out."""
    kept = round(count * held_out) if 0 < held_out < 1 else 0
    if not 1 < kept < count - 1:
        raise SchemaError(f"{count} queries can't be split with held_out={held_out!r}: give more of them")
    # another stream than the one that drew the queries
    order = np.random.default_rng([seed, 1]).permutation(count)
    return np.sort(order[kept:]), np.sort(order[:kept])


def _listed(specs: Any) -> list[Any]:
    return list(specs) if isinstance(specs, list | tuple) else [specs]
