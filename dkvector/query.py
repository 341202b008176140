"""Queries: conditions, order and limits built step by step, and the vector search that goes with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dkvector.errors import FilterError, VectorError, hint
from dkvector.fields import as_vectors
from dkvector.filters import Filter, as_filter, col
from dkvector.metrics import DistanceMetric

_FILTERS: dict[str, Callable[[col, Any], Filter]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    "in": lambda column, value: column.isin(value),
    "not_in": lambda column, value: ~column.isin(value),
    "like": lambda column, value: column.like(value),
    "not_like": lambda column, value: ~column.like(value),
    "contains": lambda column, value: column.contains(value),
    "startswith": lambda column, value: column.startswith(value),
    "exists": lambda column, _: column.not_null(),
    "not_exists": lambda column, _: column.is_null(),
    "between": lambda column, value: column.between(*value),
    "not_between": lambda column, value: ~column.between(*value),
}
_ALIASES = {"==": "=", "<>": "!="}


class Operator(StrEnum):
    """How a field is compared with a value.

    Example:
        >>> Operator.of(">=")
        <Operator.GTE: '>='>
    """

    EQ = "="
    NEQ = "!="
    GT = ">"
    GTE = ">="
    LT = "<"
    LTE = "<="
    IN = "in"
    NOT_IN = "not_in"
    LIKE = "like"
    NOT_LIKE = "not_like"
    CONTAINS = "contains"
    STARTS_WITH = "startswith"
    EXISTS = "exists"
    NOT_EXISTS = "not_exists"
    BETWEEN = "between"
    NOT_BETWEEN = "not_between"

    @classmethod
    def of(cls, operator: Operator | str) -> Operator:
        """Read an operator from its sign or name.

        Args:
            operator: an operator, or text such as ``">="`` or ``"not_in"``; ``"=="`` and ``"<>"`` are understood.

        Returns:
            The operator.

        Raises:
            FilterError: no such operator.
        """
        name = str(operator).lower().replace(" ", "_")
        try:
            return cls(_ALIASES.get(name, name))
        except ValueError:
            raise FilterError(f"no operator {str(operator)!r}; {hint(str(operator), cls)}") from None

    def filter(self, field: str, value: Any = None) -> Filter:
        """Make the filter that compares a field with a value.

        Args:
            field: the field's name.
            value: what it is compared with; a list for ``in``, a pair for ``between``, nothing for ``exists``.

        Returns:
            The filter.

        Raises:
            FilterError: a value that doesn't go with the operator.
        """
        if self in {Operator.EXISTS, Operator.NOT_EXISTS} and value is not None:
            raise FilterError(f"{self.value!r} takes no value, got {value!r}")
        pair = isinstance(value, tuple | list) and len(value) == 2  # noqa: PLR2004 - low and high
        if self in {Operator.BETWEEN, Operator.NOT_BETWEEN} and not pair:
            raise FilterError(f"{self.value!r} takes a pair (low, high), got {value!r}")
        return _FILTERS[self.value](col(field), value)


@dataclass(frozen=True)
class Query:
    """Which rows, in which order, how many of them; each method gives a new query.

    Attributes:
        where_filter: the condition, None for every row.
        order: (field, ascending) pairs, the first one decides first.
        limit_value: at most so many rows, None for all.
        offset_value: so many rows are passed over first.
        columns: the fields that come back, None for all.
        vector_query: the vector search that goes with it.

    Raises:
        FilterError: a limit or an offset that is no count.

    Example:
        >>> Query().filter("pos", "=", "noun").filter("depth", Operator.GT, 4).limit(10).where_filter
        <Filter: pos == 'noun' and depth > 4>
    """

    where_filter: Filter | None = None
    order: tuple[tuple[str, bool], ...] = ()
    limit_value: int | None = None
    offset_value: int = 0
    columns: tuple[str, ...] | None = None
    vector_query: VectorQuery | None = None

    def __post_init__(self) -> None:
        if self.limit_value is not None:
            object.__setattr__(self, "limit_value", _count("limit", self.limit_value))
        object.__setattr__(self, "offset_value", _count("offset", self.offset_value))

    def filter(self, field: str, operator: Operator | str = Operator.EQ, value: Any = None) -> Query:
        """Add a condition that must hold as well.

        Args:
            field: the field's name.
            operator: an `Operator`, or its sign or name.
            value: what the field is compared with.

        Returns:
            A new query.

        Raises:
            FilterError: no such operator, or a value that doesn't go with it.
        """
        return self.where(Operator.of(operator).filter(field, value))

    def where(self, where: object) -> Query:
        """Add any form of `where` that must hold as well: a text, ``dkv.col(...) > 4``, a dict, a boolean Series."""
        added = as_filter(where)
        if added is None:
            return self
        both = added if self.where_filter is None else self.where_filter & added
        # conditions that are added after the vector hold for its search too
        vector_query = self.vector_query and replace(self.vector_query, filter=Query(both))
        return replace(self, where_filter=both, vector_query=vector_query)

    def sort(self, field: str, *, ascending: bool = True) -> Query:
        """Order the rows by a field, after the fields named before."""
        return replace(self, order=(*self.order, (field, ascending)))

    def limit(self, count: int) -> Query:
        """Give at most so many rows."""
        return replace(self, limit_value=_count("limit", count))

    def offset(self, count: int) -> Query:
        """Pass over so many rows first."""
        return replace(self, offset_value=count)

    def select(self, *columns: str) -> Query:
        """Give only these fields."""
        return replace(self, columns=columns)

    def with_vector_search(
        self, vector: ArrayLike, field: str = "embedding", k: int = 10, metric: DistanceMetric | str = "cosine"
    ) -> Query:
        """Search the rows that satisfy the conditions by a vector.

        Args:
            vector: the vector to search with, shape (d,).
            field: the vector field to search.
            k: how many rows to find.
            metric: how near is measured.

        Returns:
            A new query; the filter of its `vector_query` is this query's conditions, without the vector search.

        Raises:
            VectorError: not one finite vector.
        """
        conditions = None if self.where_filter is None else Query(self.where_filter)
        vector_query = VectorQuery(np.asarray(vector), field, k, DistanceMetric.of(metric), conditions)
        return replace(self, vector_query=vector_query)

    def to_dict(self) -> dict[str, Any]:
        """Turn the query into JSON-able data; `Query.from_dict` turns it back."""
        return {
            "filter": None if self.where_filter is None else self.where_filter.to_dict(),
            "sort": [{"field": field, "ascending": ascending} for field, ascending in self.order],
            "limit": self.limit_value,
            "offset": self.offset_value,
            "columns": None if self.columns is None else list(self.columns),
            "vector_query": None if self.vector_query is None else self.vector_query.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Query:
        """Build the query that `to_dict` wrote, also after a trip through JSON."""
        where, columns, vector_query = data.get("filter"), data.get("columns"), data.get("vector_query")
        return cls(
            None if where is None else Filter.from_dict(where),
            tuple((one["field"], one["ascending"]) for one in data.get("sort", ())),
            data.get("limit"),
            data.get("offset", 0),
            None if columns is None else tuple(columns),
            None if vector_query is None else VectorQuery.from_dict(vector_query),
        )


# == of arrays is no truth value, and is written out below
@dataclass(frozen=True, eq=False)
class VectorQuery:
    """A search for the vectors nearest to one.

    Attributes:
        vector: what to search with, shape (d,), float32.
        vector_field: the field to search.
        k: how many rows to find.
        metric: how near is measured: a `DistanceMetric` or its name.
        filter: the conditions that the rows satisfy, None for every row.
        include_scores: whether scores come back with the rows.

    Raises:
        VectorError: not one finite vector.
        FilterError: ``k`` is less than 1.

    Example:
        >>> VectorQuery(np.ones(2), k=3).to_dict()["vector"]
        [1.0, 1.0]
    """

    vector: NDArray[np.float32]
    vector_field: str = "embedding"
    k: int = 10
    metric: DistanceMetric = DistanceMetric.COSINE
    filter: Query | None = None
    include_scores: bool = True

    def __post_init__(self) -> None:
        vector = as_vectors(self.vector)
        if vector.ndim != 1:
            raise VectorError(f"a vector query takes one vector, shape (d,), not {vector.shape}")
        _count("k", self.k, least=1)
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "metric", DistanceMetric.of(self.metric))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VectorQuery):
            return NotImplemented
        return self._rest() == other._rest() and np.array_equal(self.vector, other.vector)

    def __hash__(self) -> int:
        return hash((self.vector.tobytes(), *self._rest()))

    def _rest(self) -> tuple[Any, ...]:
        return self.vector_field, self.k, self.metric, self.filter, self.include_scores

    def to_dict(self) -> dict[str, Any]:
        """Turn the query into JSON-able data; `VectorQuery.from_dict` turns it back."""
        return {
            "vector": self.vector.tolist(),
            "vector_field": self.vector_field,
            "k": self.k,
            "metric": self.metric.value,
            "filter": None if self.filter is None else self.filter.to_dict(),
            "include_scores": self.include_scores,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VectorQuery:
        """Build the query that `to_dict` wrote, also after a trip through JSON."""
        where = data.get("filter")
        conditions = None if where is None else Query.from_dict(where)
        return cls(**{**data, "filter": conditions})


def _count(name: str, count: int, least: int = 0) -> int:
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < least:
        raise FilterError(f"{name} must be a whole number of at least {least}, not {count!r}")
    return int(count)
