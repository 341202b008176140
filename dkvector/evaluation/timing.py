"""Clocks: searches one by one, as a batch, and by several clients at once, in an order that no cache can learn."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector._loop import LOOP
from dkvector.backends._topk import Positions
from dkvector.blocking import VectorStore
from dkvector.counts import as_count
from dkvector.evaluation.settings import Setting
from dkvector.metrics import DistanceMetric, Floats

LEAST = 2e-3  # seconds below which one call of a batch is too short a time for a clock


@dataclass(frozen=True)
class Timing:
    """How time is taken.

    Attributes:
        repeats: times that every query is asked; 0 takes no times.
        warmup: queries asked before, which do not count.
        clients: searches at once, for the throughput under load; 0 leaves that out.
        seed: of the order of the queries, another for every repeat.
    """

    repeats: int = 3
    warmup: int = 50
    clients: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("repeats", "warmup", "clients", "seed"):
            as_count(getattr(self, name), name, least=0)


@dataclass(frozen=True)
class Trial:
    """A search with all but the query.

    Attributes:
        store: what is searched.
        name: the vector field.
        setting: the run.
        k: neighbours to ask for: one more where queries are rows.
        metric: what the answers are compared by; a store that has another and can't do without is an error.
    """

    store: VectorStore
    name: str
    setting: Setting
    k: int
    metric: DistanceMetric

    def search(self, queries: Any) -> pd.DataFrame:
        """Search as a user would, for ids and distances alone."""
        return self.store.search(queries, self.k, columns=[], **self.knobs)

    async def ask(self, query: Floats) -> None:
        """Search beside others."""
        await self.store.store.search(query, self.k, columns=[], **self.knobs)

    @cached_property
    def knobs(self) -> dict[str, Any]:
        """What every search has; made once, as the clock runs while it is used."""
        setting = self.setting
        return {"field": self.name, "where": setting.filter, "metric": self.metric, "tuning": setting.tuning}


@dataclass
class Times:
    """What was found, and how long it took.

    Attributes:
        found: the answer to each query, asked alone.
        plans: what each search did, in the store's words.
        latency: `(repeats, q)` seconds.
        batch: seconds of each call with all queries.
        load: seconds in which the clients had all queries answered, of each repeat.
    """

    found: list[pd.DataFrame] = field(default_factory=list)
    plans: list[str] = field(default_factory=list)
    latency: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    batch: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect garbage now, and not while the clock runs."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def measure(trial: Trial, queries: Floats, timing: Timing) -> Times:
    """Ask every query alone, then all at once, then by clients beside each other.

    Args:
        trial: what is searched, and how.
        queries: `(q, d)` float32.
        timing: how often.

    Returns:
        Answers and times. Answers are kept outside of the time that is taken.
    """
    times, rng = Times(), np.random.default_rng(timing.seed)
    if not timing.repeats:
        times.found = [one for _, one in _parts(trial.search(queries), len(queries))]
        # one call has answered them all
        times.plans = [_plan(trial.store)] * len(queries)
        return times
    for at in rng.permutation(len(queries))[: timing.warmup]:
        trial.search(queries[at])
    orders = [rng.permutation(len(queries)) for _ in range(timing.repeats)]
    with no_collection():
        times.latency = np.stack([_alone(trial, queries, order, times) for order in orders])
        # the first batch may pay for what the later ones find there
        trial.search(queries)
        times.batch = [_timed(lambda: trial.search(queries)) for _ in orders]
        if timing.clients:
            times.load = [_loaded(trial, queries[order], timing.clients) for order in orders]
    return times


def _parts(found: pd.DataFrame, queries: int) -> Iterator[tuple[int, pd.DataFrame]]:
    """Cut the answer of a batch into those of its queries."""
    ends = np.searchsorted(found["query"].to_numpy(), np.arange(queries + 1))
    yield from ((at, found.iloc[ends[at] : ends[at + 1]]) for at in range(queries))


def _plan(store: VectorStore) -> str:
    return "" if store.last is None else store.last.plan


def _alone(trial: Trial, queries: Floats, order: Positions, times: Times) -> NDArray[np.float64]:
    """Ask one query after the other; the first round keeps what was found."""
    took = np.empty(len(queries))
    keep = not times.found
    found: list[Any] = [None] * len(queries)
    # looked up here: nothing but the search stands between two readings of the clock
    plans, clock, search = [""] * len(queries), time.perf_counter, trial.search
    each = [queries[at] for at in range(len(queries))]
    for at in order.tolist():
        query = each[at]
        start = clock()
        answer = search(query)
        took[at] = clock() - start
        if keep:
            found[at], plans[at] = answer, _plan(trial.store)
    if keep:
        times.found, times.plans = found, plans
    return took


def _timed(call: Callable[[], object]) -> float:
    """Take the time of a call, and of several where one is too short for a clock."""
    start, calls = time.perf_counter(), 0
    while True:
        call()
        calls, took = calls + 1, time.perf_counter() - start
        if took >= LEAST:
            return took / calls


def _loaded(trial: Trial, queries: Floats, clients: int) -> float:
    """Have clients ask until no query is left; each asks its next one when the last is answered."""
    start = time.perf_counter()
    LOOP.run(_serve(trial, queries, clients))
    return time.perf_counter() - start


async def _serve(trial: Trial, queries: Floats, clients: int) -> None:
    # one for all clients: whoever is free takes the next query
    left = iter(queries)

    async def client() -> None:
        for query in left:
            await trial.ask(query)

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    try:
        await asyncio.gather(*tasks)
    finally:
        # where one fails the others would go on asking, and the store is closed next
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
