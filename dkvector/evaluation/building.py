"""Stores that an evaluation makes: rows written, an index built, both timed and weighed, all of it removed again."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dkvector.blocking import VectorStore
from dkvector.errors import SchemaError
from dkvector.evaluation.settings import Build
from dkvector.evaluation.subject import Subject
from dkvector.indexes import Flat, IndexSpec
from dkvector.ingest import Reading
from dkvector.registry import connect

NAN = float("nan")


@dataclass(frozen=True)
class Built:
    """A store that can be searched.

    Attributes:
        store: the store.
        name: its vector field.
        spec: its index, nothing left open.
        facts: what building it took: seconds, bytes; the engine's name.
    """

    store: VectorStore
    name: str
    spec: IndexSpec
    facts: dict[str, Any]


@contextmanager
def built(build: Build, subject: Subject, columns: Sequence[str]) -> Iterator[Built]:
    """Open or make the store of a build; what was made is dropped in the end.

    Args:
        build: which.
        subject: the rows.
        columns: those of them that are written beside the vectors.

    Raises:
        SchemaError: a place that holds rows already: they would be dropped.
    """
    if build.store is not None:
        name = build.store.store.known.vector(subject.name).name
        facts = {"engine": build.store.engine(), **_sizes(build.store, None)}
        yield Built(build.store, name, build.store.indexes()[name], facts)
        return
    spec = Flat() if build.spec is None else build.spec
    name, config = build.opened
    resident = _resident()
    store = connect({"backend": name, **config})
    # asked before anything is written: only what was empty may be dropped in the end
    ours = store.store.empty
    try:
        if not ours:
            raise SchemaError("there are rows already where the evaluation would write its own, and drop them again")
        yield _filled(store, spec, subject, columns, resident)
    finally:
        with suppress(Exception):  # an error on the way out must not hide the one that matters
            if ours:
                store.drop()
        with suppress(Exception):
            store.close()


def _filled(store: VectorStore, spec: IndexSpec, subject: Subject, columns: Sequence[str], resident: float) -> Built:
    # before all rows are written for nothing
    store.supports.check_index(store.name, spec)
    frame = subject.frame(columns)
    start = time.perf_counter()
    store.upsert(frame, reading=Reading(vectors=(subject.name,), metric=subject.metric), progress=False)
    written = time.perf_counter()
    # between the two clocks, so that neither counts it
    before = store.stats()
    ready = time.perf_counter()
    made = store.build_index(spec, subject.name, progress=False)
    done = time.perf_counter()
    # what the first search makes and keeps, such as norms, is weighed too
    store.search(subject.rows.matrix[0], 1, field=subject.name, columns=[])
    facts: dict[str, Any] = {
        "insert_s": written - start,
        "build_s": done - ready,
        "engine": store.engine(),
        **_sizes(store, before),
    }
    # an engine that is another process takes nothing of this one's memory
    if np.isnan(facts["resident_bytes"]) and store.store.inline:
        facts["resident_bytes"] = _resident() - resident
    return Built(store, subject.name, made, facts)


def _sizes(store: VectorStore, before: pd.Series | None) -> dict[str, float]:
    """Weigh the index, less what other indexes of the store took before it was built, and what is held in memory."""
    stats = store.stats()
    index = float(stats.get("index_bytes", NAN)) - (0.0 if before is None else float(before.get("index_bytes", 0)))
    return {"index_bytes": index, "resident_bytes": float(stats.get("memory_bytes", NAN))}


def _resident() -> float:
    """Give the bytes that this process holds in memory; NaN where the system has no file that tells."""
    # what nobody holds any more must not be counted
    gc.collect()
    if sys.platform != "linux":
        return NAN
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    import resource  # noqa: PLC0415 - not on every system

    return float(pages * resource.getpagesize())
