"""`evaluate`: how many neighbours each setting finds, and at what price."""

from __future__ import annotations

from os import PathLike
from typing import Any

from dkvector.evaluation.planned import Plan
from dkvector.evaluation.report import Evaluation
from dkvector.evaluation.timing import Timing
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric


def evaluate(
    data: Any,
    specs: Any = None,
    queries: Any = None,
    k: int | list[int] | tuple[int, ...] = 10,
    *,
    sweep: Any = None,
    where: Any = None,
    by: str | list[str] | None = None,
    relevant: Any = None,
    on: str | None = None,
    metric: DistanceMetric | str | None = None,
    exclude_self: bool | None = None,
    on_bad: OnBad = "raise",
    repeats: int = 3,
    warmup: int = 50,
    clients: int = 4,
    seed: int = 0,
    checkpoint: str | PathLike[str] | None = None,
    cache: bool | str | PathLike[str] = True,
    progress: bool | None = None,
) -> Evaluation:
    """Measure how many neighbours each setting finds, how fast it answers, and what it takes to build and to hold.

    Recall is counted by distance against exact search; the answers' own distances are not believed but measured again.
    Latency is that of whole calls, one query at a time, in shuffled order, warmed up, without garbage collection. Each
    store is made anew, in a folder or table of its own, and removed again; open stores are read as they are.

    Args:
        data: rows (a DataFrame, a store, an Arrow table or dataset, the path of Parquet files), or a dict of open
            stores with the same rows by name.
        specs: backend → index, or a list of them, such as ``{"faiss": [dkv.Flat(), dkv.HNSW()]}``; a URL is a backend
            too; indexes alone are for Faiss. None measures open stores as they are.
        queries: vectors, a Series of them, or a frame with a vector column; or how many rows to draw as queries, by
            default 1,000.
        k: neighbours of each query, or several values of k.
        sweep: search-time knobs to try: a list of tunings, a dict of them by kind of index, or a dict of values by
            knob. A usual range by default; ``[]`` leaves each store its own.
        where: a filter, a list of them, or a dict of them by name; None among them is no filter.
        by: columns of the queries that make slices; `slices()` tells how recall differs between them.
        relevant: rows that are right by somebody's judgement: a Series or dict of row labels by query label (or lists
            of them), or a frame with the columns `query`, `row` and, where they differ, `gain`; of one with a column
            `relevant`, such as thumbs give, those that it calls so.
        on: the vector column, where there are several.
        metric: what to measure by; a store's own, or cosine, by default.
        exclude_self: leave out the row that a query is itself, see `ground_truth`.
        on_bad: "drop" leaves out the rows whose vectors can't be used.
        repeats: times that every query is asked; 0 takes no times.
        warmup: queries asked before that.
        clients: searches at once, for the throughput under load; 0 leaves that out.
        seed: of the order of queries, of the rows drawn, and of the bootstrap.
        checkpoint: a file to which each run is written when it is finished; runs that are there are not measured again.
        cache: keep the true neighbours, see `ground_truth`.
        progress: show a bar; None shows one for more than a few runs.

    Returns:
        The evaluation: a row for each run, and methods that read and draw them. A run that failed is a row with its
        error. After an interrupt it holds the runs that were finished, and warns.

    Raises:
        VectorError: vectors or queries that can't be used; names the rows.
        FilterError: a filter that can't be read.
        SchemaError: nothing to measure.

    Example:
        >>> import dkvector as dkv
        >>> digits = dkv.datasets.load_digits()
        >>> found = dkv.evaluate(digits, dkv.IVF(lists=20), 200, sweep={"probes": [1, 20]}, repeats=0, metric="l2")
        >>> found.runs[["backend", "index", "tuning", "recall"]].round(2)
            backend          index     tuning  recall
        run...
        0     faiss  IVF(lists=20)   probes=1    0.82
        1     faiss  IVF(lists=20)  probes=20    1.00
    """
    plan = Plan(
        data,
        specs,
        queries,
        k,
        sweep=sweep,
        where=where,
        by=by,
        relevant=relevant,
        on=on,
        metric=metric,
        exclude_self=exclude_self,
        on_bad=on_bad,
        timing=Timing(repeats, warmup, clients, seed),
        checkpoint=checkpoint,
        cache=cache,
    )
    course = plan.read()
    return course.report(complete=course.run_all(progress))
