"""Filters as SQL: one rule per node, every value a bound parameter, every name quoted.

A value is first cut to its column's own type, as over Arrow columns, so that 2.5 compares with whole numbers and a
date with times as it does everywhere. NaN counts as missing, and text is ordered by code point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from dkvector._scalars import Scalar, scalar
from dkvector._tree import And, Compare, Filter, Ids, IsIn, IsNull, Op, Or, TextMatch
from dkvector.backends._arrow import cut
from dkvector.backends._pg_types import EPOCH_DAYS, EPOCH_US
from dkvector.errors import FilterError

NUL = "\0"  # a character that the server's text can't hold
_SIGNS = {"==": "=", "!=": "<>"}
# ESCAPE '': a backslash in a pattern is a character like others
_LITERAL = {"contains": "strpos({0}, {1}) > 0", "startswith": "{0} ^@ {1}", "like": "{0} LIKE {1} ESCAPE ''"}


def quoted(name: str) -> str:
    """Quote an identifier.

    Example:
        >>> quoted('a"b')
        '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text, where no parameter can stand.

    Example:
        >>> literal("it's")
        "E'it''s'"
    """
    # E'…' means the same whatever standard_conforming_strings is set to
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


@dataclass(frozen=True)
class SqlColumn:
    """A column that a filter may read.

    Args:
        sql: the expression that gives its value.
        kind: the Arrow type that it stands for.
        type: the server's type of the expression.
        by_code_point: its text is ordered by code point already.
    """

    sql: str
    kind: pa.DataType
    type: str
    by_code_point: bool = True

    @property
    def plain(self) -> pa.DataType:
        """The Arrow type that values are compared in."""
        kind = self.kind.value_type if pa.types.is_dictionary(self.kind) else self.kind
        if kind == pa.uuid():
            return pa.large_string()
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        if pa.types.is_timestamp(kind):
            return pa.timestamp("us", kind.tz)
        return pa.date32() if pa.types.is_date(kind) else kind

    @property
    def value(self) -> str:
        """The expression as it is compared: the server has no text order of UUIDs that we need to know."""
        return f"{self.sql}::text" if self.kind == pa.uuid() else self.sql

    @property
    def ordered(self) -> str:
        """The expression as it is ordered."""
        return self.value if self.by_code_point else f'{self.value} COLLATE "C"'

    @property
    def bound(self) -> str:
        """The type of values compared with it."""
        return "text" if self.kind == pa.uuid() else "bigint" if self.kind == pa.int64() else self.type

    @property
    def has_nan(self) -> bool:
        """Whether NaN can be among its values."""
        return self.type in {"real", "double precision"} or self.type.startswith("numeric")

    @property
    def present(self) -> str:
        """A condition that holds where there is a value."""
        there = f"{self.sql} IS NOT NULL"
        return f"({there} AND {self.sql} <> 'NaN')" if self.has_nan else there

    def sent(self, value: Any) -> Any:
        """Turn a value as Arrow counts it into the one that the driver sends."""
        if pa.types.is_timestamp(self.plain):
            return value - EPOCH_US
        return value - EPOCH_DAYS if pa.types.is_date(self.plain) else value


@dataclass
class Statement:
    """A statement in the making: its columns, and the parameters bound so far.

    Args:
        columns: the columns that a filter may read.
        keys: the columns that make up the id.
        parameters: what `$1`, `$2`, … stand for.
    """

    columns: Mapping[str, SqlColumn]
    keys: Sequence[SqlColumn]
    parameters: list[Any] = field(default_factory=list)

    def bind(self, value: Any, kind: str) -> str:
        """Bind a parameter, and give what stands for it."""
        self.parameters.append(value)
        return f"${len(self.parameters)}::{kind}"

    def where(self, tree: Filter | None) -> str:  # noqa: PLR0911 - one rule for each node
        """Compile a filter to a condition.

        Raises:
            FilterError: a value that doesn't fit its column's type.
        """
        match tree:
            case None:
                return "TRUE"
            case Compare(name, op, value):
                return self._compare(name, op, value)
            case IsIn(name, values, negated):
                return self._isin(name, values, negated=negated)
            case IsNull(name, negated):
                present = self.columns[name].present
                return present if negated else f"NOT {present}"
            case TextMatch(name):
                return self._match(self.columns[name], tree)
            case Ids(values, negated):
                return f"{'NOT ' * negated}({self.ids(values)})"
            case And(terms):
                return "(" + " AND ".join(["TRUE", *map(self.where, terms)]) + ")"
            case Or(terms):
                return "(" + " OR ".join(["FALSE", *map(self.where, terms)]) + ")"
        raise FilterError(f"no SQL rule for {type(tree).__name__}: {tree!r}")

    def ids(self, values: Sequence[Any]) -> str:
        """Compile membership among ids; a value that can't be an id is passed over."""
        if len(self.keys) == 1:
            key = self.keys[0]
            return f"{key.value} = ANY({self.bind(_ids(key, values), key.bound + '[]')})"
        rows = [row for row in values if isinstance(row, tuple) and len(row) == len(self.keys)]
        rows = [row for row in rows if all(_ids(key, [part]) for key, part in zip(self.keys, row, strict=True))]
        lists = [[_ids(key, [row[at]])[0] for row in rows] for at, key in enumerate(self.keys)]
        bound = [self.bind(one, f"{key.bound}[]") for key, one in zip(self.keys, lists, strict=True)]
        return f"({', '.join(key.value for key in self.keys)}) IN (SELECT * FROM unnest({', '.join(bound)}))"

    def _compare(self, name: str, op: Op, value: Scalar) -> str:
        column = self.columns[name]
        if pa.types.is_null(column.kind):
            return "FALSE"
        if pa.types.is_boolean(column.kind) and op not in {"==", "!="}:
            raise FilterError(f"column {name!r} is boolean, which has no order: use == or !=, not {op}")
        found = cut(name, column.plain, op, value)
        if isinstance(found, bool):
            return column.present if found else "FALSE"
        op, sent = found[0], column.sent(found[1].as_py())
        if isinstance(sent, str) and NUL in sent:
            if op in {"==", "!="}:
                return column.present if op == "!=" else "FALSE"
            # no text without NUL lies between what comes before it and the whole
            op, sent = ("<=" if op in {"<", "<="} else ">"), sent.partition(NUL)[0]
        side = column.value if op in {"==", "!="} else column.ordered
        # to the server NaN equals itself, and is more than every number
        test = f"{side} {_SIGNS.get(op, op)} {self.bind(sent, column.bound)}"
        return f"({test} AND {column.sql} <> 'NaN')" if column.has_nan and op in {">", ">=", "!="} else test

    def _isin(self, name: str, values: Sequence[Scalar], *, negated: bool) -> str:
        column = self.columns[name]
        if pa.types.is_null(column.kind):
            return "FALSE"
        cuts = [cut(name, column.plain, "==", value) for value in values]
        sent = [column.sent(one[1].as_py()) for one in cuts if not isinstance(one, bool)]
        sent = [one for one in sent if not (isinstance(one, str) and NUL in one)]
        array = self.bind(sent, f"{column.bound}[]")
        if negated:
            return f"({column.present} AND {column.value} <> ALL({array}))"
        return f"{column.value} = ANY({array})"

    def _match(self, column: SqlColumn, tree: TextMatch) -> str:
        if pa.types.is_null(column.kind):
            return "FALSE"
        if not pa.types.is_large_string(column.plain) and not pa.types.is_string(column.plain):
            raise FilterError(f"column {tree.column!r} is {column.kind}, not text: {tree.kind} matches text only")
        if NUL in tree.text:
            return column.present if tree.negated else "FALSE"
        test = _LITERAL[tree.kind].format(column.ordered, self.bind(tree.text, "text"))
        return f"({column.present} AND NOT {test})" if tree.negated else test


def _ids(key: SqlColumn, values: Sequence[Any]) -> list[Any]:
    """Turn ids into what the driver sends; bytes and durations, which no filter compares, are ids all the same."""
    sent: list[Any] = []
    if pa.types.is_duration(key.plain):
        wanted = (one for one in values if isinstance(one, timedelta | np.timedelta64))
        return [int(np.timedelta64(one, "us").astype(np.int64)) for one in wanted]
    if not pa.types.is_fixed_size_binary(key.plain) and key.type == "bytea":
        return [one for one in values if isinstance(one, bytes)]
    for value in values:
        try:
            found = cut("id", key.plain, "==", scalar(value))
        except FilterError:
            continue
        if not isinstance(found, bool):
            sent.append(key.sent(found[1].as_py()))
    return [one for one in sent if not (isinstance(one, str) and NUL in one)]
