"""Texts with metadata, as frameworks for language models have them, in the rows of a store and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector._tree import Ids
from dkvector.blocking import VectorStore, blocking
from dkvector.dtype import VectorArray
from dkvector.errors import NotFoundError, SchemaError
from dkvector.ingest import Reading
from dkvector.schema import Schema
from dkvector.store import AsyncVectorStore

ID = "document_id"  # the ids' column of a new store: metadata often has an "id" of its own

hits_of = blocking(AsyncVectorStore.search)
rows_by_id = blocking(AsyncVectorStore.get)


def write(
    store: VectorStore,
    ids: Sequence[Any],
    columns: Mapping[str, Sequence[Any]],
    vectors: Any,
    field: str,
    *,
    called: str = ID,
) -> list[str]:
    """Write documents; a known id's is replaced.

    Args:
        store: where to.
        ids: one each; None gets a random one.
        columns: name → values, None where a document has none.
        vectors: `(n, d)`.
        field: name of the vector field.
        called: name of the ids in a new store.

    Returns:
        The ids, as text.

    Raises:
        SchemaError: ids or values of another type than the store's, a name that is taken by ids or vectors.
    """
    known = None if store.store.empty else store.store.known
    named = [uuid4().hex if one is None else one for one in ids]
    index = pd.Index(pd.array(keys(known, named)), name=called if known is None else known.id.name)
    if taken := sorted({index.name, field} & {*columns}):
        raise SchemaError(f"{taken} name the ids or the vectors of the store, so that no metadata can be called so")
    frame = pd.DataFrame(index=index)
    for name, values in columns.items():
        array = _values(name, values, known)
        if not pa.types.is_null(array.type):  # a column of nothing would be of no type
            frame[name] = pd.arrays.ArrowExtensionArray(pa.chunked_array([array]))
    frame[field] = VectorArray(np.asarray(vectors, np.float32))
    # a text such as "[0.5, 0.7]" is no vector here; a store that is there knows which columns are
    store.upsert(frame, reading=Reading(vectors=(field,)) if known is None else None)
    return [str(one) for one in named]


def keys(known: Schema | None, ids: Sequence[Any]) -> pa.Array:
    """Turn ids as frameworks have them, texts, into those of the store.

    Raises:
        SchemaError: they can't be.
    """
    texts = pa.array([str(one) for one in ids], pa.large_string())
    if known is None:
        return texts
    try:
        return texts.cast(known.id.type)
    except pa.ArrowException as exc:
        raise SchemaError(f"the store's ids are {known.id.type}: {exc}") from exc


def there(store: VectorStore, ids: Sequence[Any]) -> pa.Table:
    """Give the rows of those ids that are in the store, in the order of the ids."""
    wanted = list(dict.fromkeys(keys(store.schema, ids).to_pylist()))
    if not wanted:
        return rows_by_id(store, wanted)
    # get() refuses ids that are not there
    found = {label for batch in store.scan(Ids(tuple(wanted)), columns=[]) for label in batch.index}
    return rows_by_id(store, [one for one in wanted if one in found])


def _values(name: str, values: Sequence[Any], known: Schema | None) -> pa.Array:
    """Turn values into Arrow, of the type that the store has for them."""
    at = -1 if known is None else known.payload.get_field_index(name)
    kind = None if known is None or at < 0 else known.payload.field(at).type
    beside = "" if kind is None else f" with the store, which has {kind}"
    try:
        made = pa.array(list(values), None if kind is None or pa.types.is_null(kind) else kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as exc:
        raise SchemaError(f"metadata {name!r} has no common type{beside}: {exc}") from exc
    for value, got in zip(values, made.to_pylist(), strict=True):
        if not _is_kept(value, got):
            raise SchemaError(f"metadata {name!r} has no common type{beside}: {value!r} would become {got!r}")
    return made


def _is_kept(value: Any, got: Any) -> bool:
    """Tell whether Arrow has a value as it was: it cuts numbers and times to a type, drops zones, takes True for 1."""
    if isinstance(value, Mapping):
        return all(_is_kept(one, (got or {}).get(name)) for name, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_kept, value, got))
    if value is None or value != value:  # noqa: PLR0124 - the definition of NaN
        return True
    return bool(value == got) and isinstance(value, bool | np.bool_) == isinstance(got, bool)


def without_vectors(rows: pa.Table, known: Schema, text: str) -> pa.Table:
    """Take the vectors out of rows, of which Python lists would be made; the texts must be there.

    Raises:
        NotFoundError: no column of that name.
    """
    if text not in known.payload.names:
        raise NotFoundError.of("column", text, known.payload.names)
    return rows.drop_columns([info.name for info in known.vectors if info.name in rows.column_names])


def told(row: Mapping[str, Any], without: Sequence[str]) -> dict[str, Any]:
    """Give a row's metadata: what it has values for."""
    return {name: value for name, value in row.items() if value is not None and name not in without}


def columns_of(metadata: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Turn metadata of each document into columns.

    Example:
        >>> columns_of([{"a": 1}, {"b": 2}])
        {'a': [1, None], 'b': [None, 2]}
    """
    names = dict.fromkeys(name for one in metadata for name in one)
    if odd := [name for name in names if not isinstance(name, str)]:
        raise SchemaError(f"metadata must be named by text, not by {odd[:5]}")
    return {name: [one.get(name) for one in metadata] for name in names}


def refuse(given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Let no misspelt keyword pass for one that was heeded."""
    if odd := sorted({*given} - {*known}):
        raise TypeError(f"unexpected {odd}; these are known: {list(known)}")
