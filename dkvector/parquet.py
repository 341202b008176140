"""Frames with vector columns ↔ Parquet files that any reader opens.

A vector column is written as a plain list column, which every reader knows (a fixed-size list, or the name of a dtype
that pandas has not met, stops ``pd.read_parquet``); what it was stands in the schema, under the key ``dkvector``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dkvector._vector_array import VectorArray
from dkvector._vector_arrow import to_lists
from dkvector._vector_dtype import VectorDtype

_OURS, _PANDAS = b"dkvector", b"pandas"

Compression = Literal["zstd", "snappy", "gzip", "brotli", "lz4", "none"]


def to_parquet(
    frame: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    compression: Compression = "zstd",
    row_group_size: int | None = None,
) -> None:
    """Write a frame to a Parquet file that readers without dkvector open too.

    Args:
        frame: any frame; columns of dtype `vector[d]` become lists of floats.
        path: the file; an older one is replaced at the end, in one step, so an interrupted write leaves it whole.
        compression: how the pages are packed.
        row_group_size: rows in a group, 1,048,576 by default.

    Example:
        >>> frame = pd.DataFrame({"v": pd.Series([[1, 2], None]).astype("vector[2]")})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     to_parquet(frame, f"{folder}/v.parquet")
        ...     read_parquet(f"{folder}/v.parquet")
                           v
        0  [1.00, 2.00] ‖2.24‖
        1                 <NA>
    """
    table, vectors = _as_table(frame)
    # a dictionary of floats that hardly ever repeat is all cost
    paths = [name for name in table.column_names if name not in vectors]
    target = Path(path)
    # beside the file: only within one file system is the replacement one step
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        pq.write_table(
            table, temporary, compression=compression, row_group_size=row_group_size, use_dictionary=paths or False
        )
        temporary.chmod(_mode(target))
        temporary.replace(target)
    except BaseException:
        # Arrow has removed it where it could not write a column
        temporary.unlink(missing_ok=True)
        raise


def _mode(target: Path) -> int:
    """Give the file the rights it had, or would have had without the detour."""
    if target.exists():
        return target.stat().st_mode & 0o777
    # a process learns its mask only by setting it
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _as_table(frame: pd.DataFrame) -> tuple[pa.Table, dict[str, str]]:
    table = pa.Table.from_pandas(frame)
    vectors = {}
    for at in range(frame.shape[1]):
        array = frame.iloc[:, at].array
        if isinstance(array, VectorArray):
            # Arrow puts the index behind the columns, whose places stay
            name = table.column_names[at]
            vectors[name] = str(array.dtype)
            table = table.set_column(at, name, to_lists(array.matrix, array.missing))
    metadata = {**table.schema.metadata, _OURS: json.dumps({"columns": vectors}).encode()}
    metadata[_PANDAS] = _with_dtypes(metadata[_PANDAS], dict.fromkeys(vectors, "object"))
    return table.replace_schema_metadata(metadata), vectors


def _with_dtypes(metadata: bytes, dtypes: dict[str, str]) -> bytes:
    """Rewrite the dtypes of some columns in what pandas keeps of a frame."""
    kept = json.loads(metadata)
    for column in kept["columns"]:
        if column["field_name"] in dtypes:
            column["numpy_type"] = dtypes[column["field_name"]]
    return json.dumps(kept).encode()


def read_parquet(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file, with its vector columns as `vector[d]`.

    Args:
        path: a file from `to_parquet`, from pandas, or from anybody else.
        columns: the columns to read; all of them by default. The index comes along.

    Returns:
        The frame with the index and the dtypes it was written with; fixed-size lists of floats become `vector[d]`.

    Example:
        See `to_parquet`.
    """
    table = pq.read_table(Path(path), columns=None if columns is None else list(columns), use_pandas_metadata=True)
    return from_table(table)


def from_table(table: pa.Table) -> pd.DataFrame:
    """Turn what was read of a Parquet file into a frame, with its vector columns as `vector[d]`."""
    metadata = dict(table.schema.metadata or {})
    vectors: dict[str, str] = json.loads(metadata.get(_OURS, b"{}")).get("columns", {})
    if vectors and _PANDAS in metadata:
        metadata[_PANDAS] = _with_dtypes(metadata[_PANDAS], vectors)
        table = table.replace_schema_metadata(metadata)
    frame: pd.DataFrame = table.to_pandas(types_mapper=_vector_of)
    return frame


def _vector_of(kind: pa.DataType) -> Any:
    if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
        return VectorDtype(kind.list_size, kind.value_type.to_pandas_dtype())
    # those of pandas, which are told of an index only by this
    dtype = kind.to_pandas_dtype() if isinstance(kind, pa.BaseExtensionType) else None
    return dtype if isinstance(dtype, pd.api.extensions.ExtensionDtype) else None
