"""What a vector field is: its dimensions and metric, the model that made its vectors, and which version of it serves.

Fields that hold the same rows' vectors by different models are versions of one another: one of them is searched by
default, and has the highest turn. Changing that one number changes what serves.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dkvector.errors import SchemaError
from dkvector.metrics import DistanceMetric
from dkvector.probes import Probes


@dataclass(frozen=True, repr=False)
class VectorInfo:
    """A vector field of a store.

    Args:
        name: the column's name.
        dimensions: how long each vector is.
        metric: how near two vectors are.
        dtype: how the store keeps the numbers.
        model: the embedding model, where known; searches and writes that name another are refused.
        version: its version.
        probes: texts, and what the model made of them: what another model makes is refused by them.
        of: the field that this one is a later version of; None for a field of its own.
        turn: counts the versions that have served; None for one that does not serve yet, or no longer.
        partial: rows may lack a vector here.
    """

    name: str
    dimensions: int
    metric: DistanceMetric = DistanceMetric.COSINE
    dtype: str = "float32"
    model: str | None = None
    version: str | None = None
    probes: Probes | None = field(default=None, compare=False)
    of: str | None = None
    turn: int | None = 0
    partial: bool = field(default=False, compare=False)

    def __repr__(self) -> str:
        named = self.model or self.version
        return f"VectorInfo({self}, of {self.made_by})" if named else f"VectorInfo({self})"

    def __str__(self) -> str:
        return f"{self.name} vector[{self.dimensions}] by {self.metric.value}"

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, for JSON; what only fields with versions have is left out of others."""
        values = asdict(self) | {"metric": self.metric.value}
        # a dkvector from before versions refuses a manifest that has any of these
        usual = {"probes": None, "of": None, "turn": 0, "partial": False}
        return {name: value for name, value in values.items() if name not in usual or value != usual[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VectorInfo:
        """Read what `to_dict` gave."""
        probes = None if values.get("probes") is None else Probes.from_dict(values["probes"])
        return cls(**dict(values) | {"metric": DistanceMetric.of(values["metric"]), "probes": probes})

    @property
    def family(self) -> str:
        """The name that all versions have in common: that of the first."""
        return self.of or self.name

    @property
    def made_by(self) -> str:
        """The model and version, for messages."""
        return " ".join(one for one in (self.model, self.version) if one) or "an unnamed model"

    def check_same(self, other: VectorInfo) -> None:
        """Refuse vectors of another length, metric or model: mixed spaces answer without an error, and wrongly."""
        for knob in ("dimensions", "metric", "model", "version"):
            ours, theirs = getattr(self, knob), getattr(other, knob)
            same = same_model if knob == "model" else operator.eq
            if theirs is not None and ours is not None and not same(ours, theirs):
                raise SchemaError(
                    f"the store's field {self.name!r} has {knob} {_plain(ours)}, these vectors have {_plain(theirs)}; "
                    "write them to a store of their own"
                )


def same_model(one: str, other: str) -> bool:
    """Tell whether two names mean one model: an organisation that only one of them has is passed over.

    Example:
        >>> same_model("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"), same_model("a/m", "b/m")
        (True, False)
    """
    whole = "/" in one and "/" in other
    return one == other if whole else one.rpartition("/")[2] == other.rpartition("/")[2]


def _plain(value: object) -> str:
    return repr(getattr(value, "value", value))


def serving(infos: Iterable[VectorInfo]) -> tuple[VectorInfo, ...]:
    """Give of each family of versions the one that is searched by default: the last whose turn it was.

    Example:
        >>> both = VectorInfo("v", 2), VectorInfo("v_2", 3, of="v", turn=1)
        >>> serving(both)
        (VectorInfo(v_2 vector[3] by cosine),)
    """
    found: dict[str, VectorInfo] = {}
    for info in infos:
        best = found.get(info.family)
        if best is None or _turn(info) > _turn(best):
            found[info.family] = info
    return tuple(found.values())


def _turn(info: VectorInfo) -> int:
    return -1 if info.turn is None else info.turn
