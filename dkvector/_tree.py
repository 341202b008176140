"""The immutable tree of filters that every backend compiles.

A missing value (null, or NaN in a float column) satisfies nothing but ``is_null()``. ``~`` builds the dual of a filter,
so a tree has no "not" node and each leaf is simply false where its value is missing, as it is its negation.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NoReturn, get_args

from dkvector import _scalars
from dkvector._scalars import Scalar, scalar
from dkvector.errors import FilterError, hint

Op = Literal["==", "!=", "<", "<=", ">", ">="]
TextKind = Literal["like", "contains", "startswith"]

DUAL: dict[Op, Op] = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
METACHARACTERS = re.compile(r"[\\.^$*+?{}\[\]|()]")
_SHOWN = 200  # characters of a filter in a repr; str() has them all


class Filter(ABC):
    """A condition on the columns of a row; combine filters with ``&``, ``|`` and ``~``.

    ``str(filter)`` is its string form, which `dkvector._where.parse` reads back to an equal filter.

    Example:
        >>> Compare("pos", "==", "noun") & ~Compare("depth", ">", 4)
        <Filter: pos == 'noun' and depth <= 4>
    """

    __slots__ = ()
    __array_ufunc__ = None  # NumPy must not spread a filter over its elements

    def __and__(self, other: Filter) -> Filter:
        return And((self, _filter(other)))

    def __or__(self, other: Filter) -> Filter:
        return Or((self, _filter(other)))

    @abstractmethod
    def __invert__(self) -> Filter: ...

    @abstractmethod
    def __str__(self) -> str: ...

    @abstractmethod
    def columns(self) -> frozenset[str]:
        """Name the columns that the filter reads."""

    def to_dict(self) -> dict[str, Any]:
        """Turn the filter into JSON-able data; `Filter.from_dict` turns it back."""
        data = {field.name: _to_json(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]
        return {"filter": type(self).__name__, **data}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Filter:
        """Build the filter that `to_dict` wrote.

        Args:
            data: the mapping, as written or after a trip through JSON.

        Returns:
            An equal filter.

        Raises:
            FilterError: the mapping is not a filter's.

        Example:
            >>> Filter.from_dict(Compare("a", ">", 1).to_dict())
            <Filter: a > 1>
        """
        values = dict(data)
        kind = values.pop("filter", None)
        # a mapping can name no class but these
        if kind not in _NODES:
            raise FilterError(f"{kind!r} is not a kind of filter; {hint(str(kind), _NODES)}")
        try:
            node: Filter = _NODES[kind](**{name: _from_json(value) for name, value in values.items()})
        except TypeError as error:
            raise FilterError(f"{dict(data)!r} is not a filter: {error}") from error
        return node

    def __repr__(self) -> str:
        shown = str(self)
        return f"<Filter: {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}>"

    def __bool__(self) -> NoReturn:
        raise TypeError("a filter has no truth value: combine filters with & | ~, not with and, or, not")


def _filter(value: object) -> Filter:
    if not isinstance(value, Filter):
        raise FilterError(f"& and | combine filters, not {type(value).__name__}: use dkv.col(...) or parentheses")
    return value


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_json(one) for one in value]
    return value.to_dict() if isinstance(value, Filter) else _scalars.encode(value)


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_from_json(one) for one in value)
    return Filter.from_dict(value) if isinstance(value, dict) and "filter" in value else _scalars.decode(value)


class _Leaf(Filter):
    """A condition on one column."""

    __slots__ = ()
    column: str

    def columns(self) -> frozenset[str]:
        return frozenset({self.column})

    def _set(self, **values: object) -> None:
        """Set checked fields of a frozen dataclass while it is being made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, repr=False)
class Compare(_Leaf):
    """``column op value``."""

    column: str
    op: Op
    value: Scalar

    def __post_init__(self) -> None:
        if self.op not in DUAL:
            raise FilterError(f"no comparison {self.op!r}; there are: {', '.join(DUAL)}")
        self._set(column=_scalars.text(self.column), value=scalar(self.value))

    def __invert__(self) -> Filter:
        return Compare(self.column, DUAL[self.op], self.value)

    def __str__(self) -> str:
        return f"{_quoted(self.column)} {self.op} {_scalars.write(self.value)}"


@dataclass(frozen=True, repr=False)
class IsIn(_Leaf):
    """The column's value is one of ``values``, or (``negated``) is there and none of them."""

    column: str
    values: tuple[Scalar, ...]
    negated: bool = False

    def __post_init__(self) -> None:
        self._set(column=_scalars.text(self.column), values=_scalars_of(self.values))

    def __invert__(self) -> Filter:
        return IsIn(self.column, self.values, not self.negated)

    def __str__(self) -> str:
        return f"{_quoted(self.column)} {'not ' * self.negated}in {_listed(self.values)}"


@dataclass(frozen=True, repr=False)
class IsNull(_Leaf):
    """The column's value is missing, or (``negated``) is there."""

    column: str
    negated: bool = False

    def __post_init__(self) -> None:
        self._set(column=_scalars.text(self.column))

    def __invert__(self) -> Filter:
        return IsNull(self.column, not self.negated)

    def __str__(self) -> str:
        return f"{_quoted(self.column)}.{'notna' if self.negated else 'isna'}()"


@dataclass(frozen=True, repr=False)
class TextMatch(_Leaf):
    """The column's text contains or starts with ``text``, or is like it (``%`` any text, ``_`` any one character)."""

    column: str
    kind: TextKind
    text: str
    negated: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(TextKind):
            raise FilterError(f"no text match {self.kind!r}; {hint(str(self.kind), get_args(TextKind))}")
        self._set(column=_scalars.text(self.column), text=_scalars.text(self.text))

    def __invert__(self) -> Filter:
        return TextMatch(self.column, self.kind, self.text, not self.negated)

    def __str__(self) -> str:
        # pandas reads a pattern in str.contains: say literally where the two would differ
        literal = ", regex=False" if self.kind == "contains" and METACHARACTERS.search(self.text) else ""
        method = "like" if self.kind == "like" else f"str.{self.kind}"
        return f"{'not ' * self.negated}{_quoted(self.column)}.{method}({self.text!r}{literal})"


@dataclass(frozen=True, repr=False)
class Ids(Filter):
    """The row's id is one of ``values``, or (``negated``) none of them."""

    values: tuple[Scalar, ...]
    negated: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _scalars_of(self.values))

    def columns(self) -> frozenset[str]:
        return frozenset()

    def __invert__(self) -> Filter:
        return Ids(self.values, not self.negated)

    def __str__(self) -> str:
        return f"{'not ' * self.negated}ids({_listed(self.values)})"


class _Junction(Filter):
    """Several filters as one; nested ones of the same kind are flattened."""

    __slots__ = ()
    terms: tuple[Filter, ...]

    def __post_init__(self) -> None:
        flat = (term.terms if isinstance(term, type(self)) else (_filter(term),) for term in self.terms)
        # a loop of & would otherwise build a tree as deep as it is long, and compilers descend by recursion
        object.__setattr__(self, "terms", tuple(term for terms in flat for term in terms))

    def columns(self) -> frozenset[str]:
        return frozenset().union(*(term.columns() for term in self.terms))

    def _joined(self, word: str, neutral: str) -> str:
        shown = [f"({term})" if isinstance(term, _Junction) and term.terms else str(term) for term in self.terms]
        # with the neutral word a junction of one or no term still reads back as itself
        return f" {word} ".join(shown if len(shown) > 1 else [*shown, neutral])


@dataclass(frozen=True, repr=False)
class And(_Junction):
    """All of ``terms`` hold; of no terms: every row."""

    terms: tuple[Filter, ...]

    def __invert__(self) -> Filter:
        return Or(tuple(~term for term in self.terms))

    def __str__(self) -> str:
        return self._joined("and", "True")


@dataclass(frozen=True, repr=False)
class Or(_Junction):
    """At least one of ``terms`` holds; of no terms: no row."""

    terms: tuple[Filter, ...]

    def __invert__(self) -> Filter:
        return And(tuple(~term for term in self.terms))

    def __str__(self) -> str:
        return self._joined("or", "False")


_NODES: dict[str, type[Any]] = {node.__name__: node for node in (Compare, IsIn, IsNull, TextMatch, Ids, And, Or)}


def _scalars_of(values: Iterable[object]) -> tuple[Scalar, ...]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise FilterError(f"expected a list of values, got {values!r}")
    return tuple(scalar(value) for value in values)


def _quoted(column: str) -> str:
    # Python reads an identifier by its NFKC form, which may be another column's name
    plain = column.isidentifier() and not keyword.iskeyword(column) and unicodedata.normalize("NFKC", column) == column
    return column if plain else "`" + column.replace("`", "``") + "`"


def _listed(values: tuple[Scalar, ...]) -> str:
    return f"[{', '.join(map(_scalars.write, values))}]"
