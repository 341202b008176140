"""The embedded store: Faiss in this process, and a folder that keeps what was written.

A store without a path lives in a temporary folder and goes with it. Vectors stay in the folder's files, mapped into
memory; `Flat` compares them there, HNSW and IVF are Faiss indexes beside them.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from dkvector._loop import offload
from dkvector.backends import _faiss_index
from dkvector.backends._faiss_index import FaissIndex
from dkvector.backends._faiss_search import nearest
from dkvector.backends._folder import Folder, Manifest, Stored, write_segment
from dkvector.backends._local import Candidates, Found, LocalStore
from dkvector.backends._rows import Rows, Segment
from dkvector.errors import SchemaError
from dkvector.indexes import HNSW, IVF, Auto, Flat, IndexSpec, as_spec, knobs_of, spec_dict
from dkvector.metrics import DistanceMetric
from dkvector.requests import Request
from dkvector.schema import Schema, Supports, VectorInfo

GROWTH = 4  # an inverted file trained on fewer than a quarter of the rows is built anew
BEHIND = 2_000  # rows that an index may lack, which are compared one by one,
BEHIND_SHARE = 0.02  # or this share of all
SMALL, LARGE = 10_000, 1_000_000  # rows at which `Auto` goes over to lists, and to a graph


@dataclass(frozen=True)
class FaissConfig:
    """The config of a store.

    Args:
        dimension: of the vectors, checked at the first write.
        index_type: "Flat", "IVF", "HNSW" or "Auto".
        metric: of the vectors; cosine by default.
        index_path: the folder; a temporary one by default.
        hnsw_m: links of an HNSW node.
        hnsw_ef_construction: candidates kept while an HNSW graph is built.
        ivf_nlist: lists of an IVF index.
    """

    dimension: int | None = None
    index_type: str | None = None
    metric: DistanceMetric | str | None = None
    index_path: str | None = None
    hnsw_m: int = HNSW.m
    hnsw_ef_construction: int = HNSW.ef_construction
    ivf_nlist: int | str = "auto"

    @property
    def spec(self) -> IndexSpec | None:
        """The index that is asked for; None where the config does not say."""
        if self.index_type is None:
            return None
        spec = as_spec(self.index_type)
        if isinstance(spec, HNSW):
            return HNSW(m=self.hnsw_m, ef_construction=self.hnsw_ef_construction)
        return as_spec({"kind": "ivf", "lists": self.ivf_nlist}) if isinstance(spec, IVF) else spec


class FaissStore(LocalStore):
    """Rows in a folder, searched by Faiss in this process.

    Example:
        >>> import asyncio
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]}, index=["a", "b"])
        >>> async def nearest() -> list[str]:
        ...     store = await FaissStore.open({"index_type": "HNSW"})
        ...     await store.upsert(frame)
        ...     found = (await store.search([0.9, 0.1], k=1)).ids
        ...     await store.aclose()
        ...     return list(found)
        >>> asyncio.run(nearest())
        ['a']
    """

    name: ClassVar[str] = "faiss"
    supports: Supports = Supports(indexes=frozenset({"flat", "hnsw", "ivf", "auto"}), transactions=True)

    def __init__(self, config: FaissConfig) -> None:
        super().__init__()
        path = Path(config.index_path or tempfile.mkdtemp(prefix="dkvector-")).expanduser()
        self._folder = Folder(path, durable=bool(config.index_path))
        self._gone = None if config.index_path else weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        self._manifest = Manifest()
        self._files: dict[Segment, Stored] = {}
        self._specs: dict[str, IndexSpec] = {}
        self._spec = config.spec or Flat()
        self.dimension = config.dimension
        self.metric = None if config.metric is None else DistanceMetric.of(config.metric)

    @classmethod
    async def open(cls, config: Mapping[str, Any]) -> Self:
        """Open the store of a folder, or an empty one.

        Args:
            config: see `FaissConfig`.

        Raises:
            SchemaError: a config that does not fit what is stored.
        """
        store = cls(knobs_of(FaissConfig, config))
        await offload(store._load)
        return store

    @property
    def path(self) -> Path:
        """The folder."""
        return self._folder.path

    def _load(self) -> None:
        """Map what the folder holds, once more where a writer took files away meanwhile."""
        manifest = self._folder.manifest()
        try:
            rows = self._folder.rows(manifest)
            built = {} if rows is None else self._built(rows, manifest)
        except SchemaError:
            if self._folder.manifest() == manifest:
                raise
            return self._load()
        if rows is None:
            return self._forget()
        self._check(rows.schema.vectors)
        self._specs = {name: as_spec(spec) for name, spec in manifest.specs.items()}
        self._files = dict(zip(rows.segments, manifest.segments, strict=True))
        self._manifest, self._rows, self.schema = manifest, replace(rows, indexes=built), rows.schema
        return None

    def _forget(self) -> None:
        self._rows = self.schema = None
        self._files, self._specs, self._manifest = {}, {}, Manifest()

    def _check(self, infos: Sequence[VectorInfo]) -> None:
        for info in infos:
            if self.dimension not in {None, info.dimensions}:
                raise SchemaError(f"{self.path} holds {info.dimensions} dimensions, the config says {self.dimension}")
            if self.metric not in {None, info.metric}:
                raise SchemaError(f"{self.path} measures by {info.metric.value}, the config says {self.metric!s}")

    def _built(self, rows: Rows, manifest: Manifest) -> dict[str, FaissIndex]:
        """Open the indexes; one that is lost is built again by the next write, and rows are compared until then."""
        built = {}
        for name, stored in manifest.indexes.items():
            try:
                built[name] = self._opened(rows.schema.vector(name), stored)
            except (SchemaError, RuntimeError) as exc:
                if self._folder.manifest() != manifest:
                    raise SchemaError(f"{self.path} was written to meanwhile") from exc
                warnings.warn(f"{exc}; every row is compared until the next write, or build_index()", stacklevel=2)
        return built

    def _opened(self, info: VectorInfo, stored: Stored) -> FaissIndex:
        spec = as_spec(stored.spec or {})
        return _faiss_index.read(self._folder.whole(stored), spec, info.metric, trained=stored.rows)

    def _refreshed(self) -> Rows | None:
        """Become the writer, and start from the last commit, whoever made it."""
        self._folder.claim()
        if self._folder.manifest() != self._manifest:
            self._load()
        return self._rows

    def _nearest(self, rows: Rows, request: Request, candidates: Candidates) -> Found:
        return nearest(rows, rows.indexes.get(request.info.name), request, candidates)

    def _publish(self, rows: Rows, *, progress: bool) -> None:
        """Write what is new, then the manifest, and only then show it to searches."""
        files = dict(self._files)
        try:
            self._commit(rows, progress=progress)
        except BaseException:  # a full disk, an interrupt: the last commit stands, and nothing else is left
            self._files = files
            with suppress(OSError):
                self._folder.sweep()
            raise

    def _commit(self, rows: Rows, *, progress: bool) -> None:
        generation = self._manifest.generation + 1
        specs = {info.name: self._specs.get(info.name, self._spec) for info in rows.schema.vectors}
        rows = replace(rows, segments=tuple(self._kept(one, generation, rows.schema) for one in rows.segments))
        rows = replace(rows, indexes=self._indexed(rows, specs, progress=progress))
        manifest = Manifest(
            generation,
            tuple(info.to_dict() for info in rows.schema.vectors),
            tuple(self._files[one] for one in rows.segments),
            self._buried(rows, generation),
            self._index_files(rows, generation),
            {name: spec_dict(spec) for name, spec in specs.items()},
        )
        self._folder.publish(manifest)
        self._files = {one: self._files[one] for one in rows.segments}
        self._manifest, self._rows, self.schema, self._specs = manifest, rows, rows.schema, specs

    def _kept(self, segment: Segment, generation: int, schema: Schema) -> Segment:
        """Write a segment that is new, and give it back as mapped from its file."""
        if segment in self._files:
            return segment
        name = f"rows-{generation:06}.arrow"
        stored = self._folder.write(name, len(segment), lambda path: write_segment(path, segment, schema))
        mapped = self._folder.segment(stored, segment.start, schema.vectors)
        self._files[mapped] = stored
        return mapped

    def _buried(self, rows: Rows, generation: int) -> Stored | None:
        if not rows.buried:
            return None
        bits = np.packbits(rows.dead, bitorder="little")
        return self._folder.write(f"dead-{generation:06}.bits", rows.total, bits.tofile)

    def _indexed(self, rows: Rows, specs: Mapping[str, IndexSpec], *, progress: bool) -> dict[str, FaissIndex]:
        """Give every field its index: kept, extended by the rows it lacks, or built anew."""
        made = {}
        for name, wanted in specs.items():
            spec = chosen(wanted, rows.total)
            index = rows.indexes.get(name)
            if index is None or (isinstance(spec, IVF) and rows.total > GROWTH * index.trained):
                index = _faiss_index.build(spec, rows.blocks(name), rows.schema.vector(name).metric, progress=progress)
            elif rows.total - index.rows > max(BEHIND, BEHIND_SHARE * rows.total):
                path = self.path / self._manifest.indexes[name].file
                index = _faiss_index.extended(index, path, rows.blocks(name))
            if index is not None:
                made[name] = index
        return made

    def _index_files(self, rows: Rows, generation: int) -> dict[str, Stored]:
        """Write the indexes that are new; the others' files stand."""
        before = {} if self._rows is None else self._rows.indexes
        files = {}
        for at, (name, index) in enumerate(rows.indexes.items()):
            if before.get(name) is index:
                files[name] = self._manifest.indexes[name]
                continue
            file = f"index{at}-{generation:06}.index"
            files[name] = self._folder.write(file, index.trained, index.write, spec_dict(index.spec))
        return files

    async def _build_index(self, spec: IndexSpec, info: VectorInfo, *, progress: bool) -> IndexSpec:
        return await offload(self._write, lambda: self._build_now(spec, info, progress=progress))

    def _build_now(self, spec: IndexSpec, info: VectorInfo, *, progress: bool) -> IndexSpec:
        rows = self._refreshed() or self.rows
        before, self._specs = self._specs, {**self._specs, info.name: spec}
        try:
            others = {name: index for name, index in rows.indexes.items() if name != info.name}
            self._publish(replace(rows, indexes=others), progress=progress)
        except BaseException:
            self._specs = before
            raise
        return self._is(info.name)

    def _is(self, name: str) -> IndexSpec:
        index = self.rows.indexes.get(name)
        return Flat() if index is None else index.spec

    async def _indexes(self) -> dict[str, IndexSpec]:
        return {info.name: self._is(info.name) for info in self.known.vectors}

    async def stats(self) -> pd.Series:
        """Measure the store.

        Returns:
            `rows`, `deleted`; bytes of the vectors and the payload, which are mapped from disk; bytes of the indexes
            in memory; bytes of all files on disk.
        """
        rows = self._rows
        segments = () if rows is None else rows.segments
        measured = {
            "rows": 0 if rows is None else rows.living,
            "deleted": 0 if rows is None else rows.buried,
            "vector_bytes": sum(matrix.nbytes for one in segments for matrix in one.vectors.values()),
            "payload_bytes": sum(one.payload.nbytes + one.ids.nbytes for one in segments),
            "index_bytes": 0 if rows is None else sum(index.nbytes for index in rows.indexes.values()),
            "disk_bytes": sum(path.stat().st_size for path in self.path.glob("*")),
        }
        return pd.Series(measured, name=self.name)

    async def drop(self) -> None:
        """Remove the rows, the indexes, and the folder unless other files are in it."""
        self._folder.claim()
        self._forget()
        self._folder.remove()

    async def aclose(self) -> None:
        """Let another write; a temporary store goes."""
        self._folder.close()
        self._forget()
        self.closed = True
        if self._gone is not None:
            self._gone()


def chosen(spec: IndexSpec, rows: int) -> IndexSpec:
    """Choose what a spec leaves open, by the number of rows: every row below 10,000, lists to a million, then a graph.

    Example:
        >>> chosen(Auto(), 20_000)
        IVF(lists=283, quantization=None)
    """
    if isinstance(spec, Auto):
        spec = Flat() if rows < SMALL else IVF() if rows < LARGE else HNSW(m=32)
    return _faiss_index.resolved(spec, rows)
