"""What is measured: every index on every backend, with every tuning, filter and k that was asked for."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import pandas as pd

from dkvector.blocking import VectorStore
from dkvector.errors import FilterError, SchemaError, UnsupportedError, hint
from dkvector.filters import Filter, as_filter
from dkvector.indexes import SPECS, Flat, IndexSpec, Tuning, as_spec
from dkvector.registry import backends, read_target

# From quick to thorough; the first is so low that a curve shows where recall begins to fall.
SWEEP: dict[str, list[Tuning]] = {
    "hnsw": [Tuning(ef_search=ef) for ef in (16, 32, 64, 128, 256)],
    "ivf": [Tuning(probes=probes) for probes in (1, 4, 16, 64)],
}
KNOBS = tuple(one.name for one in fields(Tuning))


@dataclass(frozen=True)
class Build:
    """One index on one backend.

    Attributes:
        label: what the backend is called in the results; never a URL, which may hold a password.
        spec: the index; None takes what the store has.
        target: where rows are pushed to; None where the store is there.
        store: the store that is there.
    """

    label: str
    spec: IndexSpec | None
    target: Any = None
    store: VectorStore | None = None

    @property
    def opened(self) -> tuple[str, dict[str, Any]]:
        """Give the backend and the config of a store of its own: a new table where the backend has tables."""
        name, config = read_target(self.target)
        key = backends()[name].table if name in backends() else None
        if key is not None:
            # a name that nobody has, for the table is dropped in the end
            config = {**config, key: f"dkv_evaluation_{secrets.token_hex(4)}"}
        return name, config


@dataclass(frozen=True)
class Setting:
    """One run.

    Attributes:
        tuning: search-time knobs.
        k: neighbours of each query.
        where: name of the filter; "" for none.
        filter: the filter.
    """

    tuning: Tuning
    k: int
    where: str
    filter: Filter | None


def read_builds(data: Any, specs: Any) -> list[Build]:
    """Read what is to be measured.

    Args:
        data: rows, a store, or stores by name.
        specs: backend → index, or a list of them; indexes alone are for Faiss. None takes open stores as they are.

    Raises:
        SchemaError: no index to build, no store, or indexes for stores that are open already.
    """
    if isinstance(data, VectorStore) and specs is None:
        return [Build(data.name, None, store=data)]
    if isinstance(data, Mapping):
        if specs is not None:
            raise SchemaError("open stores are measured as they are: leave specs out, or give rows in place of stores")
        if not data or not all(isinstance(one, VectorStore) for one in data.values()):
            raise SchemaError("nothing to measure: a dict has open stores by name, at least one")
        return [Build(str(name), None, store=store) for name, store in data.items()]
    specs = [Flat()] if specs is None else specs
    by_target = specs if isinstance(specs, Mapping) and not _is_spec(specs) else {"faiss": specs}
    builds: list[Build] = []
    for target, wanted in by_target.items():
        name = read_target(target)[0]
        if name not in backends():
            raise UnsupportedError(f"no backend {name!r}; {hint(name, backends())}")
        label = _label(name, [one.label for one in builds])
        listed = wanted if isinstance(wanted, list | tuple) else [wanted]
        builds += [Build(label, as_spec(spec), target) for spec in listed]
    if not builds:
        raise SchemaError('nothing to measure: give indexes, such as {"faiss": [dkv.HNSW(), dkv.IVF()]}')
    return builds


def _is_spec(specs: Mapping[Any, Any]) -> bool:
    return "kind" in specs


def _label(name: str, taken: Sequence[str]) -> str:
    return name if name not in taken else f"{name} {1 + len({one for one in taken if one.split()[0] == name})}"


def tunings(spec: IndexSpec, sweep: Any, own: Tuning | None = None) -> list[Tuning]:
    """Give the knobs to try for an index.

    Args:
        spec: the index.
        sweep: None for a usual range; a list of tunings for every index; a dict of them by kind of index; or a dict of
            values by knob, of which every combination is tried that the index has knobs for.
        own: the knobs that an open store has, for searches that bring none.

    Returns:
        The tunings, at least one.

    Example:
        >>> [told(one) for one in tunings(as_spec("hnsw"), {"ef_search": [32, 64], "probes": [8]})]
        ['ef_search=32', 'ef_search=64']
    """
    if sweep is None:
        found = SWEEP.get(spec.kind, [])
    elif isinstance(sweep, Mapping):
        found = list(_of_mapping(spec, sweep))
    else:
        found = [Tuning.of(one) for one in sweep]
    return found or [own or Tuning()]


def _of_mapping(spec: IndexSpec, sweep: Mapping[str, Any]) -> Iterator[Tuning]:
    if unknown := [name for name in sweep if name not in KNOBS and name not in SPECS]:
        raise SchemaError(f"sweep has no {unknown[0]!r}; {hint(str(unknown[0]), [*KNOBS, *SPECS])}")
    if any(name in SPECS for name in sweep):
        yield from (Tuning.of(one) for one in sweep.get(spec.kind, ()))
        return
    names = [name for name in sweep if _has(spec, name)]
    values = (sweep[name] if isinstance(sweep[name], list | tuple) else [sweep[name]] for name in names)
    yield from (Tuning.of(dict(zip(names, chosen, strict=True))) for chosen in product(*values))


def _has(spec: IndexSpec, knob: str) -> bool:
    """Tell whether an index has a knob."""
    match knob:
        case "ef_search":
            return spec.kind == "hnsw"
        case "probes":
            return spec.kind == "ivf"
        case "candidates":
            return getattr(spec, "quantization", None) is not None
    return True


def read_wheres(where: Any) -> dict[str, Any]:
    """Read one filter, a list of them, or a dict of them by name; names without one are their text.

    Example:
        >>> read_wheres(["depth > 4", None])
        {'depth > 4': 'depth > 4', '': None}
    """
    if isinstance(where, Mapping) and all(_is_filter(one) for one in where.values()):
        return {str(name): one for name, one in where.items()} or {"": None}
    listed = where if isinstance(where, list | tuple) else [where]
    return {_name(one, at): one for at, one in enumerate(listed)} or {"": None}


def _is_filter(value: Any) -> bool:
    """Tell a filter, to be called by its key, from a value that a column is compared with."""
    if value is None or isinstance(value, Filter | pd.Series | Mapping):
        return True
    # a bare name reads as a boolean column, and is rather a value to compare with, such as "noun"
    if not isinstance(value, str) or value.isidentifier():
        return False
    try:
        return as_filter(value) is not None
    except FilterError:
        return False


def _name(where: Any, at: int) -> str:
    if where is None:
        return ""
    return f"rows {at + 1}" if isinstance(where, pd.Series) else str(as_filter(where))


def told(knobs: Any) -> str:
    """Write the knobs that are set, as code; and the links of a graph, for they are what it is known by.

    Example:
        >>> told(Tuning(ef_search=64)), told(as_spec("ivf"))
        ('ef_search=64', 'IVF()')
        >>> told(as_spec("hnsw"))
        'HNSW(m=16)'
    """
    default = type(knobs)()
    held = {one.name: getattr(knobs, one.name) for one in fields(knobs)}
    told_of = [name for name, value in held.items() if name == "m" or value != getattr(default, name)]
    listed = ", ".join(f"{name}={held[name]!r}" for name in told_of)
    return listed if isinstance(knobs, Tuning) else f"{type(knobs).__name__}({listed})"
