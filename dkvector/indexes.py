"""Index specs and search-time knobs: one vocabulary, mapped by every backend.

Names and meanings are those of the HNSW paper (Malkov & Yashunin 2016: m, ef_construction, ef_search) and of
inverted files as in Faiss and pgvector (lists, probes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, TypeVar, get_args

from dkvector.errors import SchemaError, hint

Quantization = Literal["float16", "int8", "int4", "pq", "rabitq", "binary"]
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT])?(i)?B?")


def _known(quantization: object) -> None:
    known = get_args(Quantization)
    if quantization is not None and quantization not in known:
        raise SchemaError(f"no quantization {quantization!r}; {hint(str(quantization), known)}")


def as_bytes(size: int | str) -> int:
    """Read a size of memory: bytes, or a text with a unit of a thousand (kB, MB, GB, TB) or 1,024 (KiB, MiB …).

    Raises:
        SchemaError: no such size.

    Example:
        >>> as_bytes("1.5GB"), as_bytes("2 MiB")
        (1500000000, 2097152)
    """
    found = _SIZE.fullmatch(str(size).strip())
    if isinstance(size, bool) or found is None or not float(found[1]):
        raise SchemaError(f'a size of memory is a number of bytes, or a text such as "2GB", not {size!r}')
    power = " kmgt".index((found[2] or " ").lower())
    return round(float(found[1]) * float((1024 if found[3] else 1000) ** power))


def _at_least(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SchemaError(f"{name} must be a whole number of at least {least}, not {value!r}")


@dataclass(frozen=True)
class Flat:
    """No approximation: every row is compared.

    Args:
        quantization: how vectors are compressed in the index; None keeps float32.
    """

    kind: ClassVar[str] = "flat"
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        _known(self.quantization)


@dataclass(frozen=True)
class HNSW:
    """A navigable small-world graph.

    Args:
        m: links of a node, per layer; more is better recall and more memory.
        ef_construction: candidates kept while building; more is better recall and a slower build.
        quantization: how vectors are compressed in the index; None keeps float32.

    Example:
        >>> HNSW(m=32)
        HNSW(m=32, ef_construction=64, quantization=None)
    """

    kind: ClassVar[str] = "hnsw"
    # the defaults of pgvector
    m: int = 16
    ef_construction: int = 64
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        _known(self.quantization)
        _at_least("m", self.m, 2)
        _at_least("ef_construction", self.ef_construction, 1)


@dataclass(frozen=True)
class IVF:
    """An inverted file: rows are kept in the list of their nearest centre, and some lists are searched.

    Args:
        lists: how many lists; "auto" takes about 2·√n, fewer where a list would hold under 39 rows.
        quantization: how vectors are compressed in the index; None keeps float32.
    """

    kind: ClassVar[str] = "ivf"
    lists: int | Literal["auto"] = "auto"
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        _known(self.quantization)
        if self.lists != "auto":
            _at_least("lists", self.lists, 1)


@dataclass(frozen=True)
class Auto:
    """The backend chooses by the number of rows, and the memory it may take.

    Args:
        recall: the share of true neighbours that the choice should find.
        memory: what the index may take, in bytes or as a text such as "2GB"; None leaves it to the backend.
    """

    kind: ClassVar[str] = "auto"
    recall: float = 0.95
    memory: int | str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise SchemaError(f"recall must be above 0 and at most 1, not {self.recall!r}")
        if self.memory is not None:
            as_bytes(self.memory)


T = TypeVar("T")
IndexSpec = Flat | HNSW | IVF | Auto
# "ivfflat" is pgvector's word
SPECS: dict[str, type[IndexSpec]] = {"flat": Flat, "hnsw": HNSW, "ivf": IVF, "ivfflat": IVF, "auto": Auto}


def as_spec(index: IndexSpec | str | Mapping[str, Any]) -> IndexSpec:
    """Read an index spec from an instance, a name or a dict.

    Args:
        index: a spec, a name such as "hnsw", or a dict such as ``{"kind": "ivf", "lists": 100}``.

    Returns:
        The spec.

    Raises:
        SchemaError: no such index or knob; names the nearest.

    Example:
        >>> as_spec({"kind": "ivf", "lists": 100})
        IVF(lists=100, quantization=None)
    """
    if isinstance(index, IndexSpec):
        return index
    knobs = dict(index) if isinstance(index, Mapping) else {"kind": index}
    name = str(knobs.pop("kind", "")).lower()
    if name not in SPECS:
        raise SchemaError(f"no index {name!r}; {hint(name, SPECS)}")
    return knobs_of(SPECS[name], knobs)


def knobs_of(cls: type[T], knobs: Mapping[str, Any]) -> T:
    """Build a dataclass of knobs, naming the nearest knob where one is unknown."""
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # only dataclasses come here
    for name in knobs:
        if name not in known:
            raise SchemaError(f"{cls.__name__} has no {name!r}; {hint(name, known)}")
    return cls(**knobs)


def spec_dict(spec: IndexSpec) -> dict[str, Any]:
    """Turn a spec into a dict that `as_spec` reads.

    Example:
        >>> spec_dict(Flat())
        {'kind': 'flat', 'quantization': None}
    """
    return {"kind": spec.kind, **asdict(spec)}


@dataclass(frozen=True)
class Tuning:
    """Search-time knobs; None leaves one to the backend.

    Args:
        ef_search: candidates that an HNSW search keeps; at least k is used.
        probes: lists that an IVF search reads.
        candidates: neighbours that a shard of a search engine gives, before the best k are taken.
        rescore: measure the answers of a quantised index again against the full vectors.
        exact: True searches without the index, False with it whatever the filter; None decides by cost.
    """

    ef_search: int | None = None
    probes: int | None = None
    candidates: int | None = None
    rescore: bool = True
    exact: bool | None = None

    def __post_init__(self) -> None:
        for name in ("ef_search", "probes", "candidates"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)

    @classmethod
    def of(cls, tuning: Tuning | Mapping[str, Any] | None) -> Tuning:
        """Read knobs from an instance or a dict.

        Example:
            >>> Tuning.of({"probes": 8}).probes
            8
        """
        if tuning is None:
            return USUAL
        return tuning if isinstance(tuning, Tuning) else knobs_of(cls, tuning or {})


USUAL = Tuning()
