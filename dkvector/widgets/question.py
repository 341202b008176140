"""What is asked of a store, as it is typed; read here into labels, vectors and filters."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any, Literal
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector.columns import to_arrow, to_index
from dkvector.errors import NotFoundError, VectorError
from dkvector.filters import Filter, Ids, as_filter, check_columns, parse
from dkvector.indexes import Tuning
from dkvector.metrics import Floats
from dkvector.schema import Schema

Way = Literal["text", "row", "vector", "words"]
_BETWEEN = re.compile(r"[\s,;]+")
_FRAME = re.compile(r"^\s*(?:np\.|numpy\.)?(?:array\()?\s*[\[(]?(.*?)[\])]?\s*(?:,\s*dtype=[\w.]+)?\)?\s*$", re.DOTALL)


@dataclass(frozen=True)
class Question:
    """What is asked, as it is typed.

    Attributes:
        query: a text, the label of a row, or the numbers of a vector.
        by: how that is read; "words" looks for a text by its meaning and by its words.
        k: rows wanted.
        where: a filter; blank for none.
        field: the vector field; blank where there is only one.
        metric: what to measure by; blank for the field's own.
        tuning: search-time knobs.
        less: labels of rows to move away from.
    """

    query: str = ""
    by: Way = "text"
    k: int = 10
    where: str = ""
    field: str = ""
    metric: str = ""
    tuning: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    less: tuple[Any, ...] = ()

    @property
    def blank(self) -> bool:
        """Whether nothing is asked."""
        return not self.query.strip()


def typed(query: Any) -> tuple[str, Way | None]:
    """Write a query as it would be typed, and tell how it is read where its type says so.

    Example:
        >>> typed("a pet"), typed(7), typed(np.float32([0.5, 2]))
        (('a pet', None), ('7', 'row'), ('[0.5, 2.0]', 'vector'))
    """
    if isinstance(query, str):
        return query, None
    if isinstance(query, list | np.ndarray):
        return str(np.asarray(query, np.float32).tolist()), "vector"
    return str(query), "row"


def vector_of(text: str) -> Floats:
    """Read a vector as it is pasted: a list, what NumPy prints, or bare numbers.

    Raises:
        VectorError: names what is no number.

    Example:
        >>> vector_of("array([0.5, -1e-3], dtype=float32)"), vector_of("0.5 2")
        (array([ 0.5  , -0.001], dtype=float32), array([0.5, 2. ], dtype=float32))
    """
    if "..." in text or "…" in text:
        raise VectorError("a vector that was printed in part can't be read: paste vector.tolist()")
    inner = _FRAME.sub(r"\1", text)
    numbers = [one for one in _BETWEEN.split(inner) if one]
    try:
        return np.array([float(one) for one in numbers], np.float32)
    except ValueError as exc:
        raise VectorError(f"a vector is numbers such as [0.1, 0.2]: {exc}") from exc


def label_of(text: str, ids: pa.Field) -> Any:
    """Read a row's label, typed as the ids of a store are.

    Raises:
        NotFoundError: a text that can be no label of it.

    Example:
        >>> label_of("7", pa.field("id", pa.int64())), label_of("7", pa.field("id", pa.string()))
        (7, '7')
    """
    kind = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
    try:
        if pa.types.is_struct(kind):
            return tuple(label_of(part, one) for part, one in zip(_parts(text), kind, strict=True))
        label = to_index(pa.chunked_array([_typed(text, kind)]), pa.field(ids.name, kind))[0]
    except (pa.ArrowException, ValueError, SyntaxError, TypeError) as exc:
        kinds = f"({', '.join(str(one.type) for one in kind)})" if pa.types.is_struct(kind) else kind
        raise NotFoundError(f"no row {text!r}; labels are {kinds}") from exc
    return label.item() if isinstance(label, np.generic) else label


def ids_of(index: pd.Index) -> pa.Field:
    """Give the type of a frame's labels; those of a MultiIndex are structs, as a store's of several columns are."""
    if isinstance(index, pd.MultiIndex):
        return pa.field("", pa.struct([ids_of(level).with_name(str(at)) for at, level in enumerate(index.levels)]))
    field = to_arrow(index.rename(None), "")[0]
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _parts(text: str) -> list[str]:
    """Take a tuple apart as it is printed: its parts are literals, or made of one, as in Timestamp('2024-05-01')."""
    node = ast.parse(text.strip(), mode="eval").body
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return [str(ast.literal_eval(one.args[0] if isinstance(one, ast.Call) and one.args else one)) for one in parts]


def _typed(text: str, kind: pa.DataType) -> pa.Array:
    """Read a label by the way of Python where Arrow has none from texts."""
    # not stripped: a text may begin or end with a blank
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.array([text], kind)
    text = text.strip()
    if pa.types.is_duration(kind):
        return pa.array([pd.Timedelta(text)], kind)
    if pa.types.is_time(kind):
        return pa.array([time.fromisoformat(text)], kind)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.array([ast.literal_eval(text)], kind)
    return pa.array([UUID(text).bytes], kind) if kind == pa.uuid() else pa.array([text]).cast(kind)


def filter_read(where: str, schema: Schema) -> Filter | None:
    """Read a filter as it is typed, and check its columns.

    Raises:
        FilterError: points at the place, or names the nearest column.
    """
    if not where.strip():
        return None
    read = parse(where)
    check_columns(read, schema.columns)
    return read


def where_typed(where: Any) -> str:
    """Write a filter as it would be typed.

    Example:
        >>> where_typed({"pos": "noun"}), where_typed(None)
        ("pos == 'noun'", '')
    """
    if isinstance(where, str):
        return where
    read = as_filter(where)
    return "" if read is None else str(read)


def knobs_typed(tuning: Tuning | Mapping[str, Any] | None) -> dict[str, Any]:
    """Give the knobs that are set, by name.

    Example:
        >>> knobs_typed(Tuning(probes=8)), knobs_typed({"exact": True}), knobs_typed(None)
        ({'probes': 8}, {'exact': True}, {})
    """
    if isinstance(tuning, Tuning):
        return {name: value for name, value in dataclasses.asdict(tuning).items() if value != getattr(Tuning, name)}
    return dict(tuning or {})


def filter_text(where: str, without: Iterable[Any]) -> str | None:
    """Give the filter that leaves out some rows too, as text; None for every row."""
    left_out = tuple(without)
    if not left_out:
        return where.strip() or None
    others = ~Ids(left_out)
    return str(parse(where) & others if where.strip() else others)


def literal(value: Any) -> str:
    """Write a label or a list of them as code, with `pd` for pandas.

    Example:
        >>> literal([np.int64(3), pd.Timestamp("2024-05-01"), ("a", 1)])
        "[3, pd.Timestamp('2024-05-01 00:00:00'), ('a', 1)]"
    """
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, pd.Timestamp | pd.Timedelta):
        return f"pd.{value!r}"
    return repr(value.item() if isinstance(value, np.generic) else value)
