"""Filters as query DSL, which Elasticsearch and OpenSearch share: one rule per node, exact and safe for missing values.

Values are JSON values of term, range, prefix and wildcard queries: nothing that is data is ever read as a query.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dkvector._scalars import Scalar
from dkvector._tree import And, Compare, Filter, Ids, IsIn, IsNull, Op, Or, TextMatch
from dkvector.backends._arrow import cut
from dkvector.backends._field_types import FieldType, units
from dkvector.errors import FilterError

Query = dict[str, Any]

ALL: Query = {"match_all": {}}
NONE: Query = {"match_none": {}}
PRESENT = "%present"  # a field of ours: which columns the row has among those that the engine only stores
MOST_TERMS = 50_000  # of one query; the engines take 65,536
BYTES = 32_766  # of an exact text, at most
_RANGE = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


@dataclass(frozen=True)
class Target:
    """Where a filter finds a column.

    Attributes:
        path: of the field.
        kind: the column's Arrow type.
        type: how the engine keeps it.
        longer: texts of more than this many characters are not there to be compared; None where none is longer.
        marked: rows that have a value which the engine only stores are marked as such.
    """

    path: str
    kind: pa.DataType
    type: FieldType
    longer: int | None = None
    marked: bool = True

    @property
    def exact(self) -> str:
        """The field that holds exact values."""
        return f"{self.path}{self.type.searched or ''}"


def compiled(  # noqa: PLR0911 - one rule for each node
    where: Filter,
    target: Callable[[str], Target],
    ids: Callable[[Sequence[Scalar]], list[str]],
) -> Query:
    """Turn a filter into query DSL.

    Args:
        where: the filter.
        target: finds a column by its name.
        ids: turns ids into the engine's own, leaving out those that no row can have.

    Returns:
        A query that scores nothing.

    Raises:
        FilterError: a value that doesn't fit its column's type, or a column that can't be looked at this way.

    Example:
        >>> from dkvector.backends._field_types import field_type
        >>> depth = Target("depth", pa.int64(), field_type(pa.int64()))
        >>> compiled(Compare("depth", ">", 4), {"depth": depth}.__getitem__, list)
        {'range': {'depth': {'gt': 4}}}
    """
    match where:
        case Compare(name, op, value):
            return _compare(name, target(name), op, value)
        case IsIn(name, accepted, negated):
            return _isin(name, target(name), accepted, negated=negated)
        case TextMatch(name):
            return _match(target(name), where)
        case IsNull(name, negated):
            there = present(target(name))
            return there if negated else none_of(there)
        case Ids(accepted, negated):
            found = any_of([{"ids": {"values": some}} for some in _chunks(ids(accepted))])
            return none_of(found) if negated else found
        case And(terms):
            return all_of([compiled(term, target, ids) for term in terms])
        case Or(terms):
            return any_of([compiled(term, target, ids) for term in terms])
    raise FilterError(f"no rule in query DSL for {type(where).__name__}: {where!r}")


def all_of(queries: list[Query]) -> Query:
    """Join queries by "and"."""
    return {"bool": {"filter": queries}} if len(queries) > 1 else queries[0] if queries else ALL


def any_of(queries: list[Query]) -> Query:
    """Join queries by "or"."""
    if len(queries) > 1:
        return {"bool": {"should": queries, "minimum_should_match": 1}}
    return queries[0] if queries else NONE


def none_of(query: Query) -> Query:
    """Turn a query around."""
    return {"bool": {"must_not": [query]}}


def present(target: Target) -> Query:
    """Find the rows that have a value."""
    if target.type.mapping is None:
        return NONE
    if target.type.searched is None and target.marked:
        return {"term": {PRESENT: target.path}}
    there: Query = {"exists": {"field": target.exact}}
    if target.longer is None:
        return there
    # OpenSearch does not note in `_ignored` what was too long: the analysed field knows of it
    return any_of([there, {"exists": {"field": target.path}}, {"term": {"_ignored": target.exact}}])


def beyond(target: Target, *, told: bool) -> Query | None:
    """Find the rows whose text was too long to be compared.

    Args:
        target: a column that has a limit.
        told: the engine notes such texts in `_ignored`.

    Returns:
        None where the engine does not know them.
    """
    if told:
        return {"term": {"_ignored": target.exact}}
    if target.exact == target.path:
        return None
    return {"bool": {"filter": [{"exists": {"field": target.path}}], "must_not": [{"exists": {"field": target.exact}}]}}


def _but(target: Target, query: Query) -> Query:
    """Find the rows that have a value which a query does not find."""
    return {"bool": {"filter": [present(target)], "must_not": [query]}}


def _compare(name: str, target: Target, op: Op, value: Scalar) -> Query:
    kind = _value_type(target.kind)
    if pa.types.is_null(kind):
        return NONE
    if pa.types.is_boolean(kind) and op not in {"==", "!="}:
        raise FilterError(f"column {name!r} is boolean, which has no order: use == or !=, not {op}")
    bound = cut(name, kind, op, value)
    if isinstance(bound, bool):  # no value of this type lies on the other side
        return present(target) if bound else NONE
    op, found = bound[0], bound[1].as_py()
    if op in {"==", "!="}:
        same = _terms(name, target, [found])
        return same if op == "==" else _but(target, same)
    return _range(name, target, op, found)


def _range(name: str, target: Target, op: Op, value: Any) -> Query:
    _check_order(name, target)
    if isinstance(value, float) and math.isinf(value):
        return present(target) if (value > 0) == (op in {"<", "<="}) else NONE
    if isinstance(value, str) and not _fits(value):
        # no text that fits lies between what is left of it and the whole
        op, value = ("<=" if op in {"<", "<="} else ">"), value.encode()[:BYTES].decode(errors="ignore")
    # the engines put -0.0 below 0.0
    if value == 0 and isinstance(value, float):
        value = -0.0 if op in {"<", ">="} else 0.0
    coarse = target.type.coarse
    if coarse is not None and op in {"<", ">="} and _on_milliseconds(target.kind, value):
        return {"range": {f"{target.path}{coarse}": {_RANGE[op]: target.type.literal(value)}}}
    return {"range": {target.exact: {_RANGE[op]: target.type.literal(value)}}}


def _on_milliseconds(kind: pa.DataType, count: int) -> bool:
    """Tell whether a time says the same when all values are cut to milliseconds, as the engines' dates are."""
    per = {"us": 10**3, "ns": 10**6}
    return count % per[kind.unit] == 0


def _isin(name: str, target: Target, accepted: tuple[Scalar, ...], *, negated: bool) -> Query:
    kind = _value_type(target.kind)
    if pa.types.is_null(kind):
        return NONE
    bounds = [cut(name, kind, "==", value) for value in accepted]
    found = _terms(name, target, [bound[1].as_py() for bound in bounds if not isinstance(bound, bool)])
    return _but(target, found) if negated else found


def _terms(name: str, target: Target, values: list[Any]) -> Query:
    """Find the rows whose value is one of some."""
    if target.type.searched is None:
        raise FilterError(f"column {name!r} is {target.kind}, which is only tested with is_null()")
    # no row has infinity, which is refused when it is written, and JSON has no word for it
    values = [value for value in values if not (isinstance(value, float) and math.isinf(value))]
    if any(isinstance(value, float) and value == 0 for value in values):
        values = [*values, -0.0, 0.0]
    if target.longer is not None and any(isinstance(value, str) and units(value) > target.longer for value in values):
        raise _too_long(name, target)
    literals = [target.type.literal(value) for value in values if not isinstance(value, str) or _fits(value)]
    if len(literals) == 1:
        return {"term": {target.exact: {"value": literals[0]}}}
    return any_of([{"terms": {target.exact: some}} for some in _chunks(literals)])


def _fits(text: str) -> bool:
    """Tell whether a row can have a text as an exact value: a longer one is refused even in a question."""
    return len(text) <= BYTES // 4 or len(text.encode()) <= BYTES


def _chunks(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[at : at + MOST_TERMS] for at in range(0, len(values), MOST_TERMS)]


def _match(target: Target, where: TextMatch) -> Query:
    kind = _value_type(target.kind)
    if pa.types.is_null(kind):
        return NONE
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise FilterError(f"column {where.column!r} is {kind}, not text: {where.kind} matches text only")
    _check_order(where.column, target)
    found = _matching(target, where)
    return _but(target, found) if where.negated else found


def _matching(target: Target, where: TextMatch) -> Query:
    text = where.text
    if where.kind != "like" and not _fits(text):
        return NONE
    if where.kind == "startswith":
        return {"prefix": {target.exact: {"value": text}}}
    if where.kind == "contains":
        return {"wildcard": {target.exact: {"value": f"*{_escaped(text)}*"}}} if text else present(target)
    if "%" not in text and "_" not in text:
        return {"term": {target.exact: {"value": text}}} if _fits(text) else NONE
    wild = {"%": "*", "_": "?"}
    pattern = "".join(wild.get(part) or _escaped(part) for part in re.split("([%_])", text))
    return {"wildcard": {target.exact: {"value": pattern}}}


def _escaped(text: str) -> str:
    # all that a wildcard query takes for more than itself
    return re.sub(r"([*?\\])", r"\\\1", text)


def _check_order(name: str, target: Target) -> None:
    if target.type.searched is None:
        raise FilterError(f"column {name!r} is {target.kind}, which is only tested with is_null()")
    if target.longer is not None:
        raise _too_long(name, target)


def _too_long(name: str, target: Target) -> FilterError:
    return FilterError(
        f"column {name!r} has texts of more than {target.longer:,} characters, which the engine can't compare: "
        "use keyword_search, or write the column shortened"
    )


def _value_type(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind
