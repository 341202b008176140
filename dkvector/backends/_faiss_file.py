"""A store's index file: opened, and extended, only as far as it can be trusted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from dkvector.backends import _faiss_build, _faiss_index
from dkvector.backends._checks import compare
from dkvector.backends._faiss_index import FaissIndex
from dkvector.backends._faiss_nodes import has_map
from dkvector.backends._faiss_sound import sound
from dkvector.backends._folder import Folder
from dkvector.backends._manifest import Stored
from dkvector.backends._rows import Rows
from dkvector.backends._topk import Block
from dkvector.errors import SchemaError
from dkvector.indexes import HNSW, as_spec


def opened(folder: Folder, stored: Stored, name: str, rows: Rows) -> FaissIndex:
    """Map the index of a vector field.

    Raises:
        SchemaError: the file is missing, or damaged where opening looks.
    """
    info = rows.schema.vector(name)
    path, compared = folder.index(stored)
    try:
        index = _faiss_index.read(path, as_spec(stored.spec or {}), info.metric, trained=stored.rows)
    except (RuntimeError, MemoryError) as exc:
        # a length that is damaged asks for more memory than there is
        raise SchemaError(f"{path} is damaged: {exc}") from exc
    # of a kind whose structure is not known here, all of it is compared after all
    if not compared and not sound(index.index, path, rows.total, info.dimensions):
        compare(path, stored)
    return index


def extended(
    index: FaissIndex, folder: Path, stored: Stored, blocks: Sequence[Block], *, anew: bool = False
) -> FaissIndex | None:
    """Add the rows that an index lacks; None where it is to be built anew.

    That is one whose file is damaged, so that no damage gets a fresh checksum, and a graph of an older version.
    """
    path = folder / stored.file
    if isinstance(index.spec, HNSW) and not has_map(index.index):
        return None
    try:
        compare(path, stored)
    except SchemaError as exc:
        warnings.warn(f"{exc}; the index is built anew", stacklevel=2)
        return None
    return _faiss_build.extended(index, path, blocks, anew=anew)
