"""What the front end offers to choose from: what the store holds, and what its backend can do."""

from __future__ import annotations

from typing import Any

from dkvector.columns import dtype_name
from dkvector.schema import Supports
from dkvector.widgets.asking import Asker

KNOBS = {"hnsw": ("ef_search",), "ivf": ("probes",)}


def choices(asker: Asker, other: Asker | None) -> dict[str, Any]:
    """Give ways to ask, columns, fields, metrics and runs to compare with, each as (value, words)."""
    known, supports = asker.store.store.known, asker.store.supports
    ways = [("text", "Text")] if asker.embeds else []
    ways += [("words", "Text and words")] if asker.embeds and supports.keyword else []
    ways += [("row", "Row"), ("vector", "Vector")]
    types = {one.name: dtype_name(one) for one in known.payload}
    fields = [info.name for info in known.vectors]
    own = known.vectors[0].metric.value if len(fields) == 1 else "the field's own"
    metrics = [(one.value, one.value) for one in sorted(supports.metrics) if one.value != own]
    return {
        "ways": ways,
        "columns": [(name, types.get(name, "id")) for name in known.columns],
        "fields": [(name, name) for name in fields] if len(fields) > 1 else [],
        "metrics": [("", own), *metrics] if supports.other_metric else [],
        "knobs": _knobs(supports),
        "runs": [("exact", "an exact run"), *([("other", f"{other.name}: {other.store.name}")] if other else [])],
    }


def _knobs(supports: Supports) -> list[str]:
    knobs = [knob for kind, names in KNOBS.items() if kind in supports.indexes for knob in names]
    return [*knobs, *(["candidates"] if supports.quantisations else []), *(["exact"] if knobs else [])]
