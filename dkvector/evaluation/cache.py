"""Where computed neighbours are kept: a folder of Arrow files, each named by a digest of all that it depends on."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa

from dkvector.columns import called, to_arrow, to_index
from dkvector.errors import SchemaError
from dkvector.evaluation.truth import Truth
from dkvector.metrics import DistanceMetric

LEAST = 2e9  # multiplications below which neighbours are found anew: that takes some tenths of a second
LIMIT = 1 << 28  # bytes that the user's cache keeps; the files used longest ago go first
FORMAT = 1


def folder_of(cache: bool | str | os.PathLike[str]) -> Path | None:
    """Give the folder; None where nothing is to be kept."""
    if cache is False:
        return None
    return _users() if cache is True else Path(cache).expanduser()


def _users() -> Path:
    """Give the user's cache folder, by the custom of the system; DKVECTOR_CACHE overrides it."""
    if named := os.environ.get("DKVECTOR_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    else:
        home = "~/Library/Caches" if sys.platform == "darwin" else os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(home).expanduser() / "dkvector" / "truth"


def load(folder: Path, key: str) -> Truth | None:
    """Give what was kept; None where there is nothing, or a file that can't be read."""
    path = folder / f"{key}.arrow"
    try:
        with pa.OSFile(str(path)) as file:
            hits, queries, facts = (pa.ipc.open_stream(file).read_all() for _ in range(3))
        # files used long ago are removed first
        os.utime(path)
    except (OSError, pa.ArrowException):
        return None
    known = facts.to_pylist()[0]
    if known["format"] != FORMAT:
        return None
    return Truth(
        to_index(hits["label"], hits.schema.field("label")),
        hits["position"].to_numpy().astype(np.intp),
        hits["distance"].to_numpy(),
        queries["count"].to_numpy().astype(np.intp),
        known["k"],
        DistanceMetric.of(known["metric"]),
        # the caller's own labels take their place
        to_index(queries["count"], queries.schema.field("count")),
        queries["own"].to_numpy().astype(np.intp),
        known["matching"],
        known["rows"],
        cached=True,
    )


def save(folder: Path, key: str, truth: Truth) -> None:
    """Keep neighbours; a folder that can't be written to, or labels that Arrow has no type for, keep nothing."""
    with suppress(OSError, SchemaError):
        tables = _tables(truth)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"{key}.arrow", tables)
        # any other folder is the caller's own to clear
        if folder == _users():
            _prune(folder)


def _write(path: Path, tables: list[pa.Table]) -> None:
    # beside the others: only within one file system is the replacement one step
    part = path.with_suffix(f".{uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            for table in tables:
                with pa.ipc.new_stream(file, table.schema) as stream:
                    stream.write_table(table)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _tables(truth: Truth) -> list[pa.Table]:
    field, labels = to_arrow(truth.labels, "label")
    hits = pa.table([labels, truth.positions, truth.distances], names=["label", "position", "distance"])
    facts = {"format": FORMAT, "k": truth.k, "metric": truth.metric.value}
    facts |= {"matching": truth.matching, "rows": truth.rows}
    return [
        hits.cast(hits.schema.set(0, called(field, None if truth.labels.name is None else str(truth.labels.name)))),
        pa.table({"count": truth.counts, "own": truth.own}),
        pa.Table.from_pylist([facts]),
    ]


def _prune(folder: Path) -> None:
    """Remove the files used longest ago until the rest fits."""
    # with the parts that killed processes have left
    found = [*folder.glob("*.arrow"), *folder.glob("*.part")]
    files = sorted(found, key=lambda one: one.stat().st_mtime, reverse=True)
    used = 0
    for file in files:
        used += file.stat().st_size
        if used > LIMIT:
            file.unlink(missing_ok=True)
