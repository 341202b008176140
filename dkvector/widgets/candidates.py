"""What may be measured: backends that indexes are built on, or open stores, each with the name that results give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dkvector.blocking import VectorStore
from dkvector.columns import dtype_name
from dkvector.detect import is_vector_column
from dkvector.errors import MissingExtraError
from dkvector.evaluation.configs import without_password
from dkvector.evaluation.settings import read_builds
from dkvector.indexes import Flat, IndexSpec
from dkvector.registry import backend, backends, read_target
from dkvector.schema import Supports
from dkvector.widgets.specs import read_specs, written

TRIED = {"flat": "Flat()", "hnsw": "HNSW(m=16)", "ivf": "IVF()"}
COMPRESSED = 'IVF(quantization="int8")'
FIRST = {"exact": "Flat()", "faiss": "Flat(), HNSW(m=16), IVF()"}


@dataclass(frozen=True)
class Candidate:
    """A backend, or an open store.

    Attributes:
        label: what results call it.
        code: what it is called in code; a URL without its password.
        target: where rows are pushed to.
        store: the store, where it is there already.
        tried: indexes that may be added.
    """

    label: str
    code: str
    target: Any = None
    store: VectorStore | None = None
    tried: tuple[str, ...] = ()


def candidates(data: Any, specs: Any) -> tuple[list[Candidate], dict[str, str]]:
    """Find what may be measured, and the indexes to begin with.

    Args:
        data: what `evaluate` takes: rows, a store, or stores by name.
        specs: what `evaluate` takes; None offers every embedded backend that is installed.

    Returns:
        The candidates, and for each that is to be measured its indexes, as they are typed.
    """
    if isinstance(data, Mapping) or (isinstance(data, VectorStore) and specs is None):
        stores = [(build.label, build.store) for build in read_builds(data, specs)]
        return [Candidate(label, repr(label), store=store) for label, store in stores], dict.fromkeys(dict(stores), "")
    if specs is None:
        offered = [one for one in map(_embedded, sorted(backends())) if one is not None]
        return offered, {one.label: FIRST[one.label] for one in offered if one.label == "faiss"} or {"exact": "Flat()"}
    found: dict[str, Candidate] = {}
    indexes: dict[str, list[IndexSpec]] = {}
    for build in read_builds(data, specs):
        name = read_target(build.target)[0]
        found[build.label] = Candidate(build.label, _code(build.target), build.target, tried=_tried(name))
        indexes.setdefault(build.label, []).append(build.spec or Flat())
    return list(found.values()), {label: written(some) for label, some in indexes.items()}


def specs_of(chosen: list[Candidate], indexes: Mapping[str, str]) -> dict[Any, list[IndexSpec]]:
    """Give the indexes of each target that is to be measured, as `evaluate` takes them."""
    return {one.target: read_specs(indexes.get(one.label, "")) for one in chosen}


def columns_of(data: Any) -> list[tuple[str, str]]:
    """Name the columns that a filter may read, with their types."""
    first = next(iter(data.values())) if isinstance(data, Mapping) else data
    if isinstance(first, VectorStore):
        known = first.store.known
        types = {one.name: dtype_name(one) for one in known.payload}
        return [(name, types.get(name, "id")) for name in known.columns]
    if not isinstance(first, pd.DataFrame):
        return []
    columns = [(name, first.iloc[:, at]) for at, name in enumerate(first.columns)]
    return [(str(name), str(one.dtype)) for name, one in columns if not is_vector_column(one)]


def _embedded(name: str) -> Candidate | None:
    """Offer a backend that needs no place."""
    try:
        embedded = backends()[name].table is None and backend(name).inline
    except MissingExtraError:
        return None
    return Candidate(name, repr(name), name, tried=_tried(name)) if embedded else None


def _tried(name: str) -> tuple[str, ...]:
    """Give indexes that a backend has, as examples to go on from."""
    supports = getattr(backend(name), "supports", None)
    if not isinstance(supports, Supports):
        return TRIED["flat"], TRIED["hnsw"]
    kinds = [text for kind, text in TRIED.items() if kind in supports.indexes]
    return *kinds, *([COMPRESSED] if "int8" in supports.quantisations and "ivf" in supports.indexes else [])


def _code(target: Any) -> str:
    return repr(without_password(target) if isinstance(target, str) and "://" in target else target)
