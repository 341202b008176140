"""What may be done with the neighbours that a search finds: knobs for `search(refine=…)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dkvector.counts import as_count
from dkvector.errors import SchemaError


@dataclass(frozen=True)
class Cut:
    """Leave out neighbours that are too far: the k nearest of those that are near enough come.

    Args:
        min_score: the least score that is given.
        max_distance: the largest distance that is given.

    Example:
        >>> Cut(min_score=0.6)
        Cut(min_score=0.6, max_distance=None)
    """

    min_score: float | None = None
    max_distance: float | None = None

    def __post_init__(self) -> None:
        if self.min_score is None and self.max_distance is None:
            raise SchemaError("Cut takes min_score=, max_distance=, or both")
        for name in ("min_score", "max_distance"):
            _check_number(name, getattr(self, name))


@dataclass(frozen=True)
class Evidence:
    """Tell how likely chance is to bring a row as near: columns `p_value` and `e_value`.

    Rows of the store are drawn, and all pairs of them measured. Where b of the m pairs are at least as near as a hit,
    its p_value is (b + 1) / (m + 1), which is never zero (Phipson and Smyth, "Permutation P-values should never be
    zero", SAGMB 2010); for a query of several vectors, of which the nearest counts, 1 - (1 - p)^vectors (Šidák 1967).
    Its e_value is p_value · n (as in BLAST: Altschul, Gish, Miller, Myers and Lipman, 1990): of the n rows that match,
    so many are as near to a row of the store on the average. The nearest hit of an e_value about 1 is as near as rows
    usually have their nearest; one of a p_value above 0.05 is no real match, for one row in twenty is as near. Rows
    that belong together are among the pairs too, so that both numbers rather understate the evidence. A query is taken
    to be like the rows: texts that are much shorter than theirs may lie elsewhere.

    The draw is seeded and by id, so that every backend draws the same rows; it is kept until the store changes.

    Args:
        sample: rows to draw, at least 2.
        seed: of the draw.
        max_p: hits with a larger p_value are left out.
        max_e: hits with a larger e_value are left out.
    """

    sample: int = 2_000
    seed: int = 0
    max_p: float | None = None
    max_e: float | None = None

    def __post_init__(self) -> None:
        as_count(self.sample, "sample", 2)
        as_count(self.seed, "seed", 0)
        for name in ("max_p", "max_e"):
            _check_number(name, getattr(self, name), least=0)


@dataclass(frozen=True)
class MMR:
    """Choose neighbours that do not say the same thing twice: maximal marginal relevance.

    One after the other, the row with the largest lambda_ · score - (1 - lambda_) · max score with those chosen is
    taken, out of the nearest `candidates`. Carbonell and Goldstein, "The use of MMR, diversity-based reranking for
    reordering documents and producing summaries", SIGIR 1998. The answer is in the order of choice.

    Args:
        lambda_: in [0, 1]: 1 looks at the query alone, 0 (after the first) at the other rows alone.
        candidates: how many of the nearest rows are chosen from; k where that is more.
    """

    lambda_: float = 0.5
    candidates: int = 100

    def __post_init__(self) -> None:
        if not _is_number(self.lambda_) or not 0 <= self.lambda_ <= 1:
            raise SchemaError(f"lambda_ must be in [0, 1], not {self.lambda_!r}")
        as_count(self.candidates, "candidates")


@dataclass(frozen=True)
class Group:
    """Give the k nearest rows of each of the nearest groups: of each user, author or document.

    A group are the rows that match and have the same value in a payload column; rows without a value are in none.
    Groups come in the order of their nearest rows, and of each its k nearest rows, or all where it has fewer: never
    less because another group has many. `group` counts the groups of a query from 1, `rank` the rows of a group.

    Args:
        by: the payload column.
        groups: how many groups to give, at most.
    """

    by: str
    groups: int = 10

    def __post_init__(self) -> None:
        as_count(self.groups, "groups")


Refinement = Cut | Evidence | MMR | Group
# what leaves rows out comes before what chooses among them
_ORDER = (Cut, Evidence, MMR, Group)


def as_refinements(refine: Refinement | Sequence[Refinement] | None) -> tuple[Refinement, ...]:
    """Read one refinement or several, in the order in which they work, whatever order they are given in.

    Raises:
        SchemaError: something else, two of a kind, or both MMR and Group.

    Example:
        >>> as_refinements([MMR(), Cut(min_score=0.5)])
        (Cut(min_score=0.5, max_distance=None), MMR(lambda_=0.5, candidates=100))
    """
    given = () if refine is None else tuple(refine) if isinstance(refine, list | tuple) else (refine,)
    kinds = [type(one) for one in given]
    if other := [one for one in given if not isinstance(one, Refinement)]:
        raise SchemaError(f"refine takes Cut(…), Evidence(…), MMR(…), Group(…) or several of them, not {other[0]!r}")
    if len(set(kinds)) < len(kinds):
        raise SchemaError(f"refine takes one of a kind, not {given!r}")
    if MMR in kinds and Group in kinds:
        raise SchemaError("MMR and Group both choose rows, each its own way: take one of them")
    return tuple(sorted(given, key=lambda one: _ORDER.index(type(one))))


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__float__") and float(value) == float(value)


def _check_number(name: str, value: Any, least: float = float("-inf")) -> None:
    if value is not None and (not _is_number(value) or value < least):
        raise SchemaError(f"{name} must be a number" + (f" of at least {least}" if least == 0 else "") + f": {value!r}")
