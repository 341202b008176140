"""The indexes of a Faiss store from commit to commit: opened, kept, extended, built anew, and written."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from dkvector.backends import _faiss_build
from dkvector.backends._faiss_auto import chosen
from dkvector.backends._faiss_file import extended, opened
from dkvector.backends._faiss_fit import codes_serve, is_slow_to_train
from dkvector.backends._faiss_index import FaissIndex, has_index
from dkvector.backends._folder import Folder
from dkvector.backends._manifest import Manifest, Stored
from dkvector.backends._rows import Rows
from dkvector.errors import SchemaError
from dkvector.indexes import HNSW, IndexSpec, spec_dict

GROWTH = 4  # lists trained on fewer than a quarter of the rows are built anew
BEHIND = 2_000  # rows that an index may lack, which are compared one by one,
BEHIND_SHARE = 0.02  # or this share of all,
UNFIT_SHARE = 0.1  # or this one, where it would have to be trained anew for them, which takes long

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
        found = {}
        for name, stored in manifest.indexes.items():
            try:
                # its file is the one that is mapped already
                same = self.indexes.get(name) if self.manifest.indexes.get(name) == stored else None
                found[name] = same or opened(self.folder, stored, name, rows)
            except SchemaError as exc:
                if self.folder.manifest() != manifest:
                    raise SchemaError(f"{self.folder.path} was written to meanwhile") from exc
                warnings.warn(f"{exc}; every row is compared until the next write, or build_index()", stacklevel=2)
        return found

    def made(self, rows: Rows, specs: Mapping[str, IndexSpec], *, progress: bool) -> Indexes:
        """Give every field its index: kept, extended by the rows it lacks, or built anew."""
        made = {}
        for name, wanted in specs.items():
            spec = chosen(wanted, rows.total, rows.schema.vector(name).dimensions)
            index = rows.indexes.get(name)
            if index is not None:
                index = self._kept(index, name, rows)
            if index is None and has_index(spec):
                _prove(rows)
                index = _faiss_build.build(spec, rows.blocks(name), rows.schema.vector(name).metric, progress=progress)
            if index is not None:
                made[name] = index
        return made

    def _kept(self, index: FaissIndex, name: str, rows: Rows) -> FaissIndex | None:
        """Give an index as it is, or extended; None where it is to be built anew."""
        graph, behind = isinstance(index.spec, HNSW), rows.total - index.rows
        if not graph and rows.total > GROWTH * index.trained:
            return None
        if behind <= max(BEHIND, BEHIND_SHARE * rows.total):
            return index
        serves = codes_serve(index, rows.blocks(name))
        if not serves and is_slow_to_train(index.spec) and behind <= UNFIT_SHARE * rows.total:
            return index
        if not serves and not graph:
            return None
        if not serves:
            _prove(rows)
        stored = self.manifest.indexes[name]
        return extended(index, self.folder.path, stored, rows.blocks(name), anew=not serves)

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


def _prove(rows: Rows) -> None:
    """Refuse damaged vectors: an index of them would get a checksum, and pass for whole."""
    for one in rows.segments:
        one.prove()
