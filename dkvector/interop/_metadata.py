"""LlamaIndex's metadata in columns that every backend can filter by, and its filters as filters of ours.

A filter means what LlamaIndex's own `build_metadata_filter_fn` does: "!=" and "nin" are true of a missing value, NOT is
true where none of its filters is. Lists become text, one item a line, so that "contains", "any" and "all" look for
lines; an item is JSON, in which no line ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from dkvector.errors import FilterError, SchemaError, hint
from dkvector.filters import Compare, Filter, IsIn, IsNull, TextMatch
from dkvector.interop._filters import EVERY, NONE, either, every, untrue

REF = "ref_doc_id"
ALIASES = {"doc_id": REF, "document_id": REF}  # what LlamaIndex's other stores call it
LISTS = "[]"  # after the name of a column that holds lists
_COMPARED = {"==": "==", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_ITEMS = ("contains", "any", "all")
_OPERATORS = (*_COMPARED, "!=", "in", "nin", *_ITEMS, "text_match", "text_match_insensitive", "is_empty")

Values = Callable[[str], Iterable[Any]]


def filterable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    r"""Give what of a node's metadata goes into columns: single values, and lists of them.

    Example:
        >>> filterable({"page": 1, "tags": ["a", "b"], "more": {"deep": 1}})
        {'page': 1, 'tags[]': '\n"a"\n"b"\n'}
    """
    found: dict[str, Any] = {}
    for name, value in metadata.items():
        if isinstance(value, str | bool | int | float | date):
            found[name] = value
        elif isinstance(value, list | tuple | set) and all(isinstance(one, str | int | float) for one in value):
            found[name + LISTS] = lines(value)
    return found


def lines(items: Iterable[Any]) -> str:
    """Write a list as text, an item a line."""
    return "\n" + "".join(_item(one) + "\n" for one in items)


def _item(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # equal, so to be found by each other
    return json.dumps(value)


@dataclass(frozen=True)
class Reader:
    """Reads metadata filters.

    Args:
        columns: the payload of the store.
        values: gives the values of a text column, for matches that take no notice of case.
    """

    columns: pa.Schema
    values: Values

    def where(self, filters: Any) -> Filter:
        """Turn `MetadataFilters`, nested or not, into a filter.

        Args:
            filters: LlamaIndex's object.

        Returns:
            The filter; every row where there are no filters.

        Raises:
            FilterError: an operator that there is not, a value that does not go with it.
        """
        terms = [self.where(one) if hasattr(one, "filters") else self._one(one) for one in filters.filters]
        condition = "and" if filters.condition is None else filters.condition.value
        if not terms:
            return EVERY
        if condition == "not":
            return untrue(either(terms))
        return (either if condition == "or" else every)(terms)

    def _one(self, asked: Any) -> Filter:
        key, operator, value = self._key(asked.key), asked.operator.value, asked.value
        if operator not in _OPERATORS:
            raise FilterError(f"no operator {operator!r}; {hint(operator, _OPERATORS)}")
        if operator == "is_empty":
            return self._empty(key)
        if value is None:
            raise FilterError(f"{asked.key!r} {operator} None: a missing value is asked for with IS_EMPTY")
        if operator in {"!=", "nin"}:
            return untrue(self._positive(key, "==" if operator == "!=" else "in", value))
        return self._positive(key, operator, value)

    def _key(self, key: str) -> str:
        return key if key in self.columns.names else ALIASES.get(key, key)

    def _positive(self, key: str, operator: str, value: Any) -> Filter:
        """Ask the column of single values and that of lists, as far as they are there."""
        listed = key + LISTS
        terms = [_of_lists(listed, operator, value)] if listed in self.columns.names else []
        # of a key that no node has the store is asked too: it refuses it by name
        if key in self.columns.names or not terms:
            terms.append(self._of_values(key, operator, value))
        return either(terms)

    def _of_values(self, key: str, operator: str, value: Any) -> Filter:
        value = self._as_stored(key, value)
        if operator in _COMPARED:
            return NONE if isinstance(value, list) else Compare(key, operator, value)  # type: ignore[arg-type]
        if operator == "in":
            return IsIn(key, tuple(_several(key, operator, value)))
        if operator == "text_match_insensitive":
            return self._whatever_case(key, value)
        return _in_text(key, operator, value)

    def _as_stored(self, key: str, value: Any) -> Any:
        """Turn 0 and 1, which is all that these filters have for them, into booleans where the column holds such."""
        at = self.columns.get_field_index(key)
        if at < 0 or not pa.types.is_boolean(self.columns.field(at).type):
            return value
        return [bool(one) for one in value] if isinstance(value, list) else bool(value)

    def _whatever_case(self, key: str, value: Any) -> Filter:
        """Look at the values that there are: no backend's filter folds case as Python does."""
        if not isinstance(value, str):
            raise FilterError(f"{key!r} text_match_insensitive {value!r}: a text is wanted")
        wanted = value.lower()
        return IsIn(key, tuple({one for one in self.values(key) if isinstance(one, str) and wanted in one.lower()}))

    def _empty(self, key: str) -> Filter:
        listed, terms = key + LISTS, list[Filter]()
        if listed in self.columns.names:
            terms.append(either([IsNull(listed), Compare(listed, "==", lines([]))]))
        if key in self.columns.names:
            blank = [Compare(key, "==", "")] if _is_text(self.columns.field(key).type) else []
            terms.append(either([IsNull(key), *blank]))
        return every(terms) if terms else EVERY


def _of_lists(column: str, operator: str, value: Any) -> Filter:
    if operator in _ITEMS:
        items = [value] if operator == "contains" else _several(column, operator, value)
        return _all_or_any(operator, column, ["\n" + _item(one) + "\n" for one in items])
    if operator == "==" and isinstance(value, list):
        return Compare(column, "==", lines(value))
    return NONE


def _in_text(key: str, operator: str, value: Any) -> Filter:
    texts = _several(key, operator, value) if operator in {"any", "all"} else [value]
    return _all_or_any(operator, key, texts)


def _all_or_any(operator: str, column: str, texts: Sequence[str]) -> Filter:
    terms: list[Filter] = [TextMatch(column, "contains", one) for one in texts]
    if operator == "any":
        return either(terms)
    # of no texts all are there, but not in a value that is missing
    return every([IsNull(column, negated=True), *terms])


def _several(key: str, operator: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise FilterError(f"{key!r} {operator} {value!r}: a list of values is wanted")
    return value


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def check_names(metadata: Iterable[Mapping[str, Any]], ours: Sequence[str]) -> None:
    """Refuse metadata that is called as a column of ours.

    Raises:
        SchemaError: names it.
    """
    names = {name for one in metadata for name in one}
    if lists := sorted(name for name in names if str(name).endswith(LISTS)):
        raise SchemaError(f"{lists}: names that end in {LISTS!r} are those of columns that hold lists")
    if taken := sorted(names & {*ours}):
        raise SchemaError(f"{taken} hold the texts or belong to LlamaIndex: no metadata can be called so")
