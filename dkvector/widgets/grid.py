"""What an evaluation is asked for, as it is typed: read into a plan, and written as the line of code that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dkvector.errors import SchemaError
from dkvector.evaluation.planned import Plan
from dkvector.evaluation.settings import SWEEP
from dkvector.evaluation.timing import Timing
from dkvector.widgets.candidates import Candidate, specs_of
from dkvector.widgets.specs import read_specs, written

USUAL = {
    "ef_search": [one.ef_search for one in SWEEP["hnsw"] if one.ef_search is not None],
    "probes": [one.probes for one in SWEEP["ivf"] if one.probes is not None],
}
KINDS = {"hnsw": "ef_search", "ivf": "probes"}
KNOBS = (*USUAL, "candidates")


@dataclass(frozen=True)
class Names:
    """What things are called in code."""

    data: str = "data"
    queries: str = "queries"
    relevant: str = "relevant"


@dataclass(frozen=True)
class Fixed:
    """What the widget was given and doesn't change; `evaluate` tells what each means."""

    data: Any
    queries: Any = None
    by: str | list[str] | None = None
    relevant: Any = None
    on: str | None = None
    metric: Any = None
    seed: int = 0
    checkpoint: Any = None
    names: Names = field(default_factory=Names)


@dataclass(frozen=True)
class Grid:
    """What is asked for.

    Attributes:
        chosen: what is measured.
        indexes: the indexes of each, as they are typed.
        sweep: values of each knob; one that has none is tried over a usual range.
        k: neighbours of each query.
        where: a filter; blank for none.
        draw: rows drawn as queries, where none are given.
        repeats: times that every query is asked.
        clients: searches at once.
    """

    chosen: tuple[Candidate, ...]
    indexes: Mapping[str, str]
    sweep: Mapping[str, list[int]]
    k: int = 10
    where: str = ""
    draw: int = 200
    repeats: int = 1
    clients: int = 0

    def plan(self, given: Fixed) -> Plan:
        """Give what `evaluate` would run.

        Raises:
            SchemaError: nothing is chosen, or an index that can't be read.
        """
        return Plan(
            self._data(given.data),
            self._specs(),
            self.draw if given.queries is None else given.queries,
            self.k,
            sweep=self._sweep,
            where=self.where.strip() or None,
            by=given.by,
            relevant=given.relevant,
            on=given.on,
            metric=given.metric,
            timing=Timing(self.repeats, clients=self.clients, seed=given.seed),
            checkpoint=given.checkpoint,
        )

    def code(self, given: Fixed) -> str:
        """Write the call.

        Raises:
            SchemaError: an index that can't be read.
        """
        names, fixed = given.names, [name for name in ("by", "on", "seed", "checkpoint") if getattr(given, name)]
        options = {
            "k": self.k,
            "sweep": self._sweep,
            "where": self.where.strip() or None,
            **{name: getattr(given, name) for name in fixed},
            "metric": None if given.metric is None else str(given.metric),
        }
        written = [f"{name}={value!r}" for name, value in options.items() if value is not None]
        parts = [
            *self._first(given.data, names.data),
            f"queries={names.queries if given.queries is not None else self.draw}",
            *written,
            *([] if given.relevant is None else [f"relevant={names.relevant}"]),
            f"repeats={self.repeats}",
            f"clients={self.clients}",
        ]
        return f"dkv.evaluate({', '.join(parts)})"

    @property
    def _stores(self) -> bool:
        return any(one.store is not None for one in self.chosen)

    def _first(self, data: Any, name: str) -> list[str]:
        """Write what is measured: rows and indexes, or open stores."""
        if not self._stores:
            listed = (f"{one.code}: [{written(self._read(one), 'dkv.')}]" for one in self.chosen)
            return [name, f"{{{', '.join(listed)}}}"]
        if not isinstance(data, Mapping) or len(self.chosen) == len(data):
            return [name]
        return [f"{{{', '.join(f'{one.code}: {name}[{one.code}]' for one in self.chosen)}}}"]

    def _data(self, data: Any) -> Any:
        if not self.chosen:
            raise SchemaError("nothing is chosen that could be measured")
        if not isinstance(data, Mapping):
            return data
        return {name: store for name, store in data.items() if str(name) in {one.label for one in self.chosen}}

    def _specs(self) -> Any:
        return None if self._stores else specs_of(list(self.chosen), self.indexes)

    def _read(self, one: Candidate) -> Any:
        return read_specs(self.indexes.get(one.label, ""))

    @property
    def _sweep(self) -> dict[str, list[int]] | None:
        """Give the values of each knob; None where all are usual."""
        typed = {name: list(values) for name, values in self.sweep.items() if values}
        missing = {knob: USUAL[knob] for kind, knob in KINDS.items() if kind in self._kinds and knob not in typed}
        return missing | typed if typed else None

    @property
    def _kinds(self) -> set[str]:
        """Name the kinds of index that are measured; of open stores any."""
        return set(KINDS) if self._stores else {spec.kind for one in self.chosen for spec in self._read(one)}
