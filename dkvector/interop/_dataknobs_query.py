"""dataknobs' queries as filters of ours: what they mean is what its own `Filter.matches` does."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dkvector.errors import FilterError, UnsupportedError
from dkvector.filters import And, Compare, Filter, IsIn, IsNull, TextMatch
from dkvector.interop._dataknobs_rows import JSON, as_json
from dkvector.interop._filters import EVERY, NONE, either, every, untrue
from dkvector.records import ID
from dkvector.schema import Schema

_COMPARED = {"=": "==", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_WITHOUT_VALUE = {"exists", "not_exists"}


def leaves(query: Any) -> Iterator[Any]:
    """Give every filter of a `Query` or a `ComplexQuery`."""
    if hasattr(query, "filters"):
        yield from query.filters
    elif getattr(query, "condition", None) is not None:
        yield from _conditions(query.condition)


def _conditions(condition: Any) -> Iterator[Any]:
    if hasattr(condition, "filter"):
        yield condition.filter
    else:
        for one in condition.conditions:
            yield from _conditions(one)


@dataclass(frozen=True)
class Reader:
    """Reads queries.

    A field that no record has is missing in all of them, as in every database of dataknobs. `like` is the store's: with
    case, `%` any text, `_` any one character.

    Args:
        known: what the store holds.
        values: field → its values, for those that a regular expression asks for.
    """

    known: Schema
    values: Mapping[str, Collection[Any]] = field(default_factory=dict)

    def where(self, query: Any) -> Filter | None:
        """Turn the conditions of a query into a filter.

        Args:
            query: a `Query` or a `ComplexQuery`; None for every row.

        Returns:
            The filter; None for every row.

        Raises:
            FilterError: a value that does not go with its operator.
            UnsupportedError: something that no column tells: what is inside of lists and dicts, or of vectors.
        """
        if hasattr(query, "filters"):
            return every([self._one(one) for one in query.filters]) if query.filters else None
        condition = getattr(query, "condition", None)
        return None if condition is None else self._condition(condition)

    def _condition(self, condition: Any) -> Filter:
        if hasattr(condition, "filter"):
            return self._one(condition.filter)
        terms = [self._condition(one) for one in condition.conditions]
        match condition.operator.value:
            case "and":
                return every(terms)
            case "or":
                return either(terms)
        return untrue(either(terms))

    def _one(self, asked: Any) -> Filter:
        name, operator, value = asked.field, asked.operator.value, asked.value
        # dataknobs says "id", whatever the store calls its ids
        column = self.known.id.name if name == ID and ID not in self.known.payload.names else name
        if operator in _WITHOUT_VALUE:
            there = self._there(column)
            return there if operator == "exists" else untrue(there)
        if column in {info.name for info in self.known.vectors}:
            raise UnsupportedError(f"{name!r} holds vectors: similar_to() searches them, EXISTS asks whether they are")
        if column + JSON in self.known.payload.names:
            return self._of_json(column, operator, value)
        if (head := column.partition(".")[0]) != column and head + JSON in self.known.payload.names:
            raise UnsupportedError(f"{name!r} is inside of JSON, where a store looks for nothing: make it a field")
        return self._of_values(column, operator, value) if column in self.known.columns else NONE

    def _there(self, column: str) -> Filter:
        names = [one for one in (column, column + JSON) if one in self.known.columns]
        if (info := next((one for one in self.known.vectors if one.name == column), None)) is not None:
            # filters read no vectors, so that none tells the rows of a version that does not serve from the others
            if info.partial:
                raise UnsupportedError(f"rows may lack {column!r}, and no filter tells which: versions() counts them")
            return EVERY
        return either([IsNull(one, negated=True) for one in names])

    def _of_json(self, column: str, operator: str, value: Any) -> Filter:
        match operator:
            case "=" | "!=":
                return Compare(column + JSON, "==" if operator == "=" else "!=", as_json(value))
            case "in" | "not_in":
                return IsIn(column + JSON, tuple(map(as_json, value)), operator == "not_in")
        raise UnsupportedError(f"{column!r} holds lists or dicts: they are compared with =, !=, in and not_in only")

    def _of_values(self, column: str, operator: str, value: Any) -> Filter:
        if value is None:  # nothing is None, and everything that is there is not
            return IsNull(column, negated=True) if operator == "!=" else NONE
        match operator:
            case "in" | "not_in":
                return IsIn(column, tuple(one for one in value if one is not None), operator == "not_in")
            case "like" | "not_like":
                return TextMatch(column, "like", value, operator == "not_like")
            case "between" | "not_between":
                within = _between(column, value)
                return within if operator == "between" else ~within
            case "regex":
                return self._matching(column, value)
        return Compare(column, _COMPARED[operator], value)  # type: ignore[arg-type]

    def _matching(self, column: str, pattern: Any) -> Filter:
        """Look at the values that there are: no backend reads patterns as Python does."""
        try:
            read = re.compile(pattern)
        except (re.error, TypeError) as exc:
            raise FilterError(f"{column!r} regex {pattern!r}: {exc}") from exc
        texts = (one for one in self.values.get(column, ()) if isinstance(one, str))
        return IsIn(column, tuple(one for one in texts if read.search(one)))


def _between(column: str, value: Any) -> Filter:
    if not isinstance(value, list | tuple) or len(value) != 2:  # noqa: PLR2004 - low and high
        raise FilterError(f"{column!r} between {value!r}: a pair (low, high) is wanted")
    return And((Compare(column, ">=", value[0]), Compare(column, "<=", value[1])))
