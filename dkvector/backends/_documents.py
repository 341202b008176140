"""Rows to documents and back: NDJSON for bulk requests out of Arrow columns, Arrow columns out of `_source`."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from dkvector.backends._layout import CREATED, ID, UPDATED, Layout, id_texts, id_type, ids_of
from dkvector.backends._querydsl import PRESENT
from dkvector.errors import SchemaError
from dkvector.ingest import Batch
from dkvector.metrics import DistanceMetric, Floats
from dkvector.schema import VectorInfo

STEP = 256  # rows encoded at a time
LONGEST_ID = 512  # bytes
ROUNDING = 1e-7  # of a squared length in float32

Source = Mapping[str, Any]


@dataclass(frozen=True)
class Piece:
    """Some rows of a batch, as lines of a bulk request.

    Attributes:
        rows: their positions in the batch.
        lines: of each row, its action and its document, both with their newline.
    """

    rows: Sequence[int]
    lines: Sequence[bytes]

    @property
    def body(self) -> bytes:
        """The request."""
        return b"".join(self.lines)

    @property
    def size(self) -> int:
        """Bytes of the request."""
        return sum(map(len, self.lines))

    def only(self, places: Sequence[int]) -> Piece:
        """Give some of the rows, by their place here."""
        return Piece([self.rows[at] for at in places], [self.lines[at] for at in places])


def check_ids(texts: Sequence[str], ids: pa.Array) -> None:
    """Refuse ids that no document can have.

    Raises:
        SchemaError: names the rows.
    """
    bad = [at for at, text in enumerate(texts) if not text or len(text.encode()) > LONGEST_ID]
    if bad:
        shown = [_shortened(ids[at].as_py()) for at in bad[:5]]
        raise SchemaError(
            f"ids must have from 1 to {LONGEST_ID} bytes, these have not: {', '.join(shown)} ({len(bad):,} rows); "
            "nothing was written"
        )


def _shortened(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:38]}…'"  # noqa: PLR2004 - enough to know it by


@dataclass(frozen=True)
class Encoder:
    """Turns rows into lines of bulk requests.

    Attributes:
        layout: where the columns go.
        action: "index" or "create".
        packed: the engine takes vectors in base64.
        units: how near to 1 a squared length must be for the engine to take it for 1.
        now: the moment of the write.
        created: document → when it was first written, of those that were there.
    """

    layout: Layout
    action: str
    packed: bool
    units: float
    now: str
    created: Mapping[str, str]

    def pieces(self, batch: Batch, texts: Sequence[str], size: int) -> Iterator[Piece]:
        """Encode a batch, piece by piece.

        Args:
            batch: the rows.
            texts: the names of their documents.
            size: bytes of a piece, more or less.
        """
        first, held = 0, 0
        lines: list[bytes] = []
        for start in range(0, len(batch), STEP):
            new = self.lines(batch, texts, range(start, min(start + STEP, len(batch))))
            lines += new
            held += sum(map(len, new))
            if held >= size:
                yield Piece(range(first, first + len(lines)), lines)
                first, held, lines = first + len(lines), 0, []
        if lines:
            yield Piece(range(first, first + len(lines)), lines)

    def lines(self, batch: Batch, texts: Sequence[str], rows: range) -> list[bytes]:
        """Encode some rows, an action and a document each."""
        names = texts[rows.start : rows.stop]
        documents = self._documents(batch, names, rows)
        # orjson writes no line break: no value can begin a line, and so an action, of its own
        action, option = self.action.encode(), orjson.OPT_SERIALIZE_NUMPY
        return [
            b'{"%b":{"_id":%b}}\n%b\n' % (action, orjson.dumps(name), orjson.dumps(document, option=option))
            for name, document in zip(names, documents, strict=True)
        ]

    def _documents(self, batch: Batch, names: Sequence[str], rows: range) -> list[dict[str, Any]]:
        layout = self.layout
        documents: list[dict[str, Any]] = [{} for _ in names]
        if layout.ours:
            documents = [{CREATED: self.created.get(name, self.now), UPDATED: self.now} for name in names]
            ids = batch.ids.slice(rows.start, len(rows))
            _fill(documents, ID, id_type(ids.type).encode(ids))
        for name in batch.payload.column_names:
            column = batch.payload.column(name)
            # nothing but nulls: the column gets its field with its first value
            if pa.types.is_null(column.type):
                continue
            encoded = layout.type(name).encode(_slice(column, rows))
            _fill(documents, layout.paths[name], encoded)
            if layout.ours and layout.type(name).searched is None:
                # the engine does not look at what it only stores: by this mark filters know that there is a value
                _mark(documents, layout.paths[name], encoded)
        for name, matrix in batch.vectors.items():
            self._fill_vectors(documents, name, matrix[rows.start : rows.stop])
        return documents

    def vectors(self, name: str, matrix: Floats) -> list[dict[str, Any]]:
        """Encode vectors `(n, d)` alone, each as a part of a document."""
        documents: list[dict[str, Any]] = [{} for _ in matrix]
        self._fill_vectors(documents, name, matrix)
        return documents

    def _fill_vectors(self, documents: Sequence[dict[str, Any]], name: str, matrix: Floats) -> None:
        layout = self.layout
        _fill(documents, layout.paths[name], encoded_vectors(matrix, packed=self.packed))
        if layout.ours and self.units and layout.schema.vector(name).metric is DistanceMetric.COSINE:
            _fill(documents, layout.length_of(name), nearly_units(matrix, self.units))


def _slice(column: pa.ChunkedArray, rows: range) -> pa.Array:
    part = column.slice(rows.start, len(rows))
    return part.chunk(0) if part.num_chunks == 1 else part.combine_chunks()


def _fill(documents: Sequence[dict[str, Any]], path: str, values: Sequence[Any]) -> None:
    # fields of ours have no dot in their names; those of others may lie inside objects
    *above, last = path.split(".")
    for document, value in zip(documents, values, strict=True):
        if value is not None:
            at = document
            for part in above:
                at = at.setdefault(part, {})
            at[last] = value


def _mark(documents: Sequence[dict[str, Any]], path: str, values: Sequence[Any]) -> None:
    for document, value in zip(documents, values, strict=True):
        if value is not None:
            document.setdefault(PRESENT, []).append(path)


def nearly_units(matrix: Floats, slack: float) -> list[float | None]:
    """Give the lengths of vectors `(n, d)` that an engine takes for 1 although they are not.

    Example:
        >>> nearly_units(np.float32([[3, 4], [1, 0], [1.0001, 0]]), 1e-3)[:2]
        [None, None]
    """
    # float32 rounds as much as is to be told apart here
    wide = matrix.astype(np.float64)
    squared = np.einsum("nd,nd->n", wide, wide)
    near = (np.abs(squared - 1) <= slack) & (np.abs(squared - 1) > ROUNDING)
    return [float(one) if kept else None for one, kept in zip(np.sqrt(squared), near, strict=True)]


def encoded_vectors(matrix: Floats, *, packed: bool) -> Sequence[Any]:
    """Encode vectors `(n, d)`: as base64 of big-endian float32, or as they are, for JSON."""
    if not packed:
        return list(np.ascontiguousarray(matrix))
    width = matrix.shape[1] * 4
    data = memoryview(matrix.astype(">f4").tobytes())
    return [base64.b64encode(data[at : at + width]).decode() for at in range(0, len(data), width)]


def decoded_vectors(values: Sequence[Any], info: VectorInfo) -> Floats:
    """Decode vectors, in either form.

    Returns:
        The matrix `(n, d)` float32.
    """
    matrix = np.empty((len(values), info.dimensions), np.float32)
    for row, value in enumerate(values):
        matrix[row] = np.frombuffer(base64.b64decode(value), ">f4") if isinstance(value, str) else value
    return matrix


def wanted(layout: Layout, columns: Sequence[str], *, vectors: bool) -> list[str]:
    """List the paths to ask a search for."""
    names = [*columns, *([info.name for info in layout.schema.vectors] if vectors else [])]
    return [layout.paths[name] for name in names]


def table(
    layout: Layout, texts: Sequence[str], sources: Sequence[Source], columns: Sequence[str], *, vectors: bool
) -> pa.Table:
    """Put rows together: the id, the columns, and the vectors where asked.

    Args:
        layout: where the columns are.
        texts: names of the documents.
        sources: what the documents hold.
        columns: payload columns to give.
        vectors: give the vector fields too.

    Raises:
        SchemaError: an index of others that holds what its mapping does not tell; names the column.
    """
    fields, made = [layout.schema.id], [ids_of(texts, layout.schema.id.type)]
    for name in columns:
        of = layout.schema.payload.field(name)
        fields.append(of)
        made.append(_column(layout, of, [at_path(source, layout.paths[name]) for source in sources]))
    for info in layout.schema.vectors if vectors else ():
        fields.append(vector_field(info))
        found = [at_path(source, layout.paths[info.name]) for source in sources]
        made.append(_vectors(found, info))
    return pa.Table.from_arrays(made, schema=pa.schema(fields))


def vector_field(info: VectorInfo) -> pa.Field:
    """Describe a column of vectors."""
    kind = pa.list_(pa.float32(), info.dimensions)
    return pa.field(info.name, kind, metadata={b"pandas": f"vector[{info.dimensions}]".encode()})


def _vectors(found: Sequence[Any], info: VectorInfo) -> pa.Array:
    if None not in found:
        flat = pa.array(decoded_vectors(found, info).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, info.dimensions)
    rows = [None if one is None else decoded_vectors([one], info)[0] for one in found]
    return pa.array(rows, pa.list_(pa.float32(), info.dimensions))


def at_path(source: Source, path: str) -> Any:
    """Find a value in a document, whose objects may be nested or written with dots."""
    found = source.get(path)
    if found is not None or "." not in path:
        return found
    head, _, rest = path.partition(".")
    below = source.get(head)
    return at_path(below, rest) if isinstance(below, Mapping) else None


def _column(layout: Layout, of: pa.Field, values: Sequence[Any]) -> pa.Array:
    try:
        made = layout.type(of.name).decode(values)
    except (pa.ArrowException, TypeError, ValueError, AttributeError) as exc:
        raise SchemaError(
            f"column {of.name!r} holds values that are not {of.type}: leave it out with columns=[…]"
        ) from exc
    if not pa.types.is_dictionary(of.type):
        return made
    known = pa.array(layout.categories.get(of.name, ()), of.type.value_type)
    at = pa.compute.index_in(made, known)
    if at.null_count > made.null_count:
        # more categories than are remembered
        known = pa.concat_arrays([known, made.filter(pa.compute.is_null(at)).drop_null().unique()])
        at = pa.compute.index_in(made, known)
    return pa.DictionaryArray.from_arrays(at.cast(of.type.index_type), known, ordered=of.type.ordered)


def categories_after(layout: Layout, payload: pa.Table, most: int) -> dict[str, list[Any]]:
    """Tell the categories of every column once some rows are written, in the order they came."""
    known = {name: list(values) for name, values in layout.categories.items()}
    for name in payload.column_names:
        column = payload.column(name)
        if pa.types.is_dictionary(column.type):
            values = [one for chunk in column.chunks for one in chunk.dictionary.to_pylist()]
            merged = list(dict.fromkeys([*known.get(name, []), *values]))
            known[name] = _jsonable(merged[:most])
    return known


def _jsonable(values: list[Any]) -> list[Any]:
    """Keep what JSON has; other categories are those that rows come with."""
    return values if all(isinstance(one, str | int | float | bool) for one in values) else []


def texts_of(batch: Batch) -> list[str]:
    """Name the documents of a batch.

    Raises:
        SchemaError: ids that no document can have.
    """
    texts = id_texts(batch.ids)
    check_ids(texts, batch.ids)
    return texts
