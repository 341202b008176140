"""The indexes of a Faiss store from commit to commit: opened, kept, extended, built anew, and written."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from dkvector.backends import _faiss_index, _faiss_sound
from dkvector.backends._checks import compare
from dkvector.backends._faiss_auto import chosen
from dkvector.backends._faiss_index import FaissIndex
from dkvector.backends._folder import Folder
from dkvector.backends._manifest import Manifest, Stored
from dkvector.backends._rows import Rows
from dkvector.errors import SchemaError
from dkvector.indexes import HNSW, IndexSpec, as_spec, spec_dict
from dkvector.schema import VectorInfo

GROWTH = 4  # lists trained on fewer than a quarter of the rows are built anew
BEHIND = 2_000  # rows that an index may lack, which are compared one by one,
BEHIND_SHARE = 0.02  # or this share of all

Indexes = dict[str, FaissIndex]


@dataclass(frozen=True)
class Upkeep:
    """The indexes that the last commit left, and the folder that they are in.

    Attributes:
        folder: of the store.
        manifest: of the last commit.
        indexes: field → index, as searches have it.
    """

    folder: Folder
    manifest: Manifest
    indexes: Mapping[str, FaissIndex]

    def opened(self, rows: Rows, manifest: Manifest) -> Indexes:
        """Open what a manifest names; an index that is lost is built again by the next write, and told by a warning.

        Raises:
            SchemaError: another process has committed meanwhile.
        """
        opened = {}
        for name, stored in manifest.indexes.items():
            try:
                same = self.indexes.get(name) if self.manifest.indexes.get(name) == stored else None
                opened[name] = same or self._open(rows.schema.vector(name), stored, rows)
            except (SchemaError, RuntimeError, MemoryError) as exc:
                if self.folder.manifest() != manifest:
                    raise SchemaError(f"{self.folder.path} was written to meanwhile") from exc
                warnings.warn(f"{exc}; every row is compared until the next write, or build_index()", stacklevel=2)
        return opened

    def _open(self, info: VectorInfo, stored: Stored, rows: Rows) -> FaissIndex:
        path, compared = self.folder.index(stored)
        spec = as_spec(stored.spec or {})
        index = _faiss_index.read(path, spec, info.metric, trained=stored.rows)
        if not compared and not _faiss_sound.sound(index.index, path, rows.total, info.dimensions):
            compare(path, stored)
        return index

    def made(self, rows: Rows, specs: Mapping[str, IndexSpec], *, progress: bool) -> Indexes:
        """Give every field its index: kept, extended by the rows it lacks, or built anew."""
        made = {}
        for name, wanted in specs.items():
            spec = chosen(wanted, rows.total, rows.schema.vector(name).dimensions)
            index = rows.indexes.get(name)
            if index is not None and not isinstance(spec, HNSW) and rows.total > GROWTH * index.trained:
                index = None
            if index is not None and rows.total - index.rows > max(BEHIND, BEHIND_SHARE * rows.total):
                index = self._extended(name, index, rows)
            if index is None and _faiss_index.has_index(spec):
                for one in rows.segments:
                    one.prove()
                index = _faiss_index.build(spec, rows.blocks(name), rows.schema.vector(name).metric, progress=progress)
            if index is not None:
                made[name] = index
        return made

    def _extended(self, name: str, index: FaissIndex, rows: Rows) -> FaissIndex | None:
        """Extend an index whose file is whole; None where it is not, so that no damage gets a fresh checksum."""
        stored = self.manifest.indexes[name]
        path = self.folder.path / stored.file
        try:
            compare(path, stored)
        except SchemaError as exc:
            warnings.warn(f"{exc}; the index is built anew", stacklevel=2)
            return None
        return _faiss_index.extended(index, path, rows.blocks(name))

    def written(self, rows: Rows, generation: int) -> dict[str, Stored]:
        """Write the indexes that are new; the others' files stand."""
        files = {}
        for at, (name, index) in enumerate(rows.indexes.items()):
            if self.indexes.get(name) is index:
                files[name] = self.manifest.indexes[name]
                continue
            file = f"index{at}-{generation:06}.index"
            files[name] = self.folder.write(file, index.trained, index.write, spec_dict(index.spec))
        return files
