"""The embedded store: Faiss in this process, and a folder that keeps what was written.

A store without a path lives in a temporary folder and goes with it. Vectors stay in the folder's files, mapped into
memory; `Flat` compares them there, HNSW and IVF are Faiss indexes beside them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import pandas as pd

from dkvector._loop import offload
from dkvector.backends._checks import verify
from dkvector.backends._faiss_config import FaissConfig
from dkvector.backends._faiss_search import nearest, planned
from dkvector.backends._faiss_upkeep import Upkeep
from dkvector.backends._folder import Folder
from dkvector.backends._journal import Journal
from dkvector.backends._local import Candidates, Found, LocalStore, is_worn
from dkvector.backends._manifest import Manifest, Stored
from dkvector.backends._rows import Rows
from dkvector.backends._segment import Segment
from dkvector.backends._topk import Positions
from dkvector.errors import BackendUnavailableError, SchemaError
from dkvector.indexes import Flat, IndexSpec, as_spec, knobs_of, spec_dict
from dkvector.ingest import Batch
from dkvector.metrics import DistanceMetric
from dkvector.requests import Request, shown
from dkvector.schema import Schema, Supports, VectorInfo, serving


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
    supports: Supports = Supports(
        indexes=frozenset({"flat", "hnsw", "ivf", "auto"}),
        quantisations=frozenset({"float16", "int8", "pq", "rabitq", "binary"}),
        keyword=True,
        transactions=True,
        compile=True,
        migration=True,
    )

    def __init__(self, config: FaissConfig) -> None:
        super().__init__()
        path = Path(config.index_path or tempfile.mkdtemp(prefix="dkvector-")).expanduser()
        self._folder = Folder(path, durable=bool(config.index_path))
        self._gone = None if config.index_path else weakref.finalize(self, _remove, path, os.getpid())
        self._journal = Journal(self._folder)
        self._manifest = Manifest()
        self._files: dict[Segment, Stored] = {}
        self._specs: dict[str, IndexSpec] = {}
        self._doubtful = False  # there may be a commit that this store does not know
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

    @property
    def _upkeep(self) -> Upkeep:
        return Upkeep(self._folder, self._manifest, {} if self._rows is None else self._rows.indexes)

    def _load(self) -> None:
        self._folder.steadily(self._map)

    def _map(self, manifest: Manifest) -> None:
        """Map what a manifest names; what is mapped already is kept."""
        self._journal.stop()
        if not manifest.vectors:
            return self._forget()
        # nothing is assigned before all is read: a commit that can't be leaves the snapshot as it was
        rows, files = self._folder.rows(manifest, self._files, self.schema)
        self._check(rows.schema.vectors)
        built = self._upkeep.opened(rows, manifest)
        self._specs = {name: as_spec(spec) for name, spec in manifest.specs.items()}
        self._files, self._manifest = files, manifest
        self._rows, self.schema = replace(rows, indexes=built), rows.schema
        return None

    def _forget(self) -> None:
        self._journal.stop()
        self._rows = self.schema = self._words = None
        self._files, self._specs, self._manifest = {}, {}, Manifest()

    def _check(self, infos: Sequence[VectorInfo]) -> None:
        for info in serving(infos):
            if self.dimension not in {None, info.dimensions}:
                raise SchemaError(f"{self.path} holds {info.dimensions} dimensions, the config says {self.dimension}")
            if self.metric not in {None, info.metric}:
                raise SchemaError(f"{self.path} measures by {info.metric.value}, the config says {self.metric!s}")

    async def refresh(self) -> bool:
        """See what another process has committed since this store was opened, or last refreshed."""
        _ = self.empty
        return bool(await offload(self._write, self._renewed))

    def _renewed(self) -> bool:
        if not self._folder.changed(self._manifest, 0 if self._rows is None else self._rows.log_end):
            return False
        self._load()
        return True

    async def verify(self, *, progress: bool | None = None) -> pd.DataFrame:
        """Compare every file of the newest commit with its checksum."""
        check = partial(verify, self.path, progress=shown(progress, await self.count()))
        return await offload(self._folder.steadily, check)

    def _refreshed(self) -> Rows | None:
        """Become the writer, and start from the last commit, whoever made it."""
        self._doubtful |= self._folder.claim()
        # cleared only once the look has succeeded: after an error the next write looks again
        if self._doubtful:
            self._renewed()
            self._doubtful = False
        return self._rows

    def _nearest(self, rows: Rows, request: Request, candidates: Candidates) -> Found:
        return nearest(rows, rows.indexes.get(request.info.name), request, candidates)

    def _planned(self, rows: Rows, request: Request, candidates: Candidates) -> tuple[str, dict[str, Any]]:
        made = planned(rows, rows.indexes.get(request.info.name), request, candidates)
        return made.plan, made.native

    def _change(self, rows: Rows, died: Positions, batch: Batch | None, *, progress: bool = False) -> None:
        """Take a small write to the log; any other is a commit of its own."""
        if rows is not self._rows:
            # all rows at once
            self._journal.pause()
        elif self._noted(rows.without(died), died, batch):
            return
        super()._change(rows, died, batch, progress=progress)

    def _noted(self, rows: Rows, died: Positions, batch: Batch | None) -> bool:
        """Write to the log what makes the living rows what they are, and show it to searches."""
        if is_worn(rows):
            return False
        try:
            with self._folder.writing():
                after = self._journal.note(rows, died, batch)
        except BaseException:
            # what was committed stands; whether this is in the log is seen by the next write
            self._journal.pause()
            self._doubtful = True
            raise
        if after is not None:
            self._rows = after
        return after is not None

    def _publish(self, rows: Rows, *, progress: bool, upkeep: bool = True) -> None:
        """Write what is new, then the manifest, and only then show it to searches."""
        files = dict(self._files)
        try:
            with self._folder.writing():
                self._commit(rows, progress=progress, upkeep=upkeep)
        except BaseException:
            # a full disk, an interrupt: the last commit stands, and nothing else is left
            self._journal.pause()
            self._files, self._doubtful = files, True
            with suppress(OSError, SchemaError):
                # by the manifest that is there now, which may be the new one: the error can have come after its rename
                self._folder.sweep()
            raise

    def _republish(self, rows: Rows) -> None:
        """Commit rows whose fields were changed; one that is new has no index before it is full."""
        self._journal.pause()
        with self._wanting({info.name: self._specs.get(info.name, Flat()) for info in rows.schema.vectors}):
            self._publish(rows, progress=False)

    @contextmanager
    def _wanting(self, specs: dict[str, IndexSpec]) -> Iterator[None]:
        """Commit with other indexes; where that fails, those from before are wanted again."""
        before, self._specs = self._specs, specs
        try:
            yield
        except BaseException:
            self._specs = before
            raise

    def _fold(self) -> None:
        self._journal.pause()
        self._publish(self.rows.folded(), progress=False, upkeep=False)

    def _commit(self, rows: Rows, *, progress: bool, upkeep: bool) -> None:
        generation = self._manifest.generation + 1
        specs = {info.name: self._specs.get(info.name, self._spec) for info in rows.schema.vectors}
        rows = replace(rows, segments=tuple(self._kept(one, generation, rows.schema) for one in rows.segments))
        if upkeep:
            rows = replace(rows, indexes=self._upkeep.made(rows, specs, progress=progress))
        # the mask of the last commit: deaths that are in its log alone are new to the manifest
        known = rows.dead[:0] if self._rows is None else self._rows.marks.mask
        manifest = Manifest(
            generation,
            tuple(info.to_dict() for info in rows.schema.vectors),
            tuple(self._files[one] for one in rows.segments),
            *self._folder.bury(self._manifest, known, rows.dead, generation),
            self._upkeep.written(rows, generation),
            {name: spec_dict(spec) for name, spec in specs.items()},
            self._journal.begun(generation),
        )
        self._folder.publish(manifest, self._manifest)
        self._journal.follow(manifest, rows.schema)
        # only now: searches see nothing that is not durable
        self._files = {one: self._files[one] for one in rows.segments}
        self._manifest, self._rows, self.schema, self._specs = manifest, rows, rows.schema, specs

    def _kept(self, segment: Segment, generation: int, schema: Schema) -> Segment:
        """Write a segment that is new, and give it back as mapped from its file."""
        if segment in self._files:
            return segment
        stored, mapped = self._folder.write_rows(generation, segment, schema)
        self._files[mapped] = stored
        return mapped

    async def _build_index(self, spec: IndexSpec, info: VectorInfo, *, progress: bool) -> IndexSpec:
        return await offload(self._write, lambda: self._build_now(spec, info, progress=progress))

    def _build_now(self, spec: IndexSpec, info: VectorInfo, *, progress: bool) -> IndexSpec:
        rows = self._refreshed() or self.rows
        self._journal.pause()
        others = {name: index for name, index in rows.indexes.items() if name != info.name}
        with self._wanting({**self._specs, info.name: spec}):
            self._publish(replace(rows.folded(), indexes=others), progress=progress)
        return self._is(info.name)

    def _is(self, name: str) -> IndexSpec:
        index = self.rows.indexes.get(name)
        return Flat() if index is None else index.spec

    async def _indexes(self) -> dict[str, IndexSpec]:
        return self._specs_known()

    def _specs_known(self) -> dict[str, IndexSpec]:
        return {} if self.schema is None else {info.name: self._is(info.name) for info in self.schema.vectors}

    async def engine(self) -> str:
        """Name Faiss."""
        return f"Faiss {faiss.__version__}"

    def _place(self) -> str:
        return f"in {self.path}" if self._gone is None else "in a temporary folder, which goes with it"

    async def stats(self) -> pd.Series:
        """Measure the store.

        Returns:
            `rows`, `deleted`; bytes of the vectors and the payload, which are mapped from disk, and of the indexes;
            bytes in memory, which are the indexes and what is kept of each row; bytes of all files on disk.
        """
        _ = self.empty  # an error once closed
        rows = self._rows
        segments = () if rows is None else rows.segments
        indexes = 0 if rows is None else sum(index.nbytes for index in rows.indexes.values())
        measured = {
            "rows": 0 if rows is None else rows.living,
            "deleted": 0 if rows is None else rows.buried,
            "vector_bytes": sum(matrix.nbytes for one in segments for matrix in one.vectors.values()),
            "payload_bytes": sum(one.payload.nbytes + one.ids.nbytes for one in segments),
            "index_bytes": indexes,
            "memory_bytes": indexes + (0 if rows is None else rows.kept_bytes),
            "disk_bytes": sum(path.stat().st_size for path in self.path.glob("*")),
        }
        return pd.Series(measured, name=self.name)

    async def drop(self) -> None:
        """Remove the rows, the indexes, and the folder unless other files are in it."""
        self._folder.claim()
        self._doubtful = True
        self._forget()
        # the lock goes too: another may have written before this store does again, hence the doubt above
        self._folder.remove()

    async def aclose(self) -> None:
        """Let another write; a temporary store goes, and of any other the log is made a row file."""
        if self._gone is None and self._journal.behind and self._folder.is_claimed:
            # what is in the log is durable there
            with suppress(BackendUnavailableError, SchemaError):
                await offload(self._write, self._fold)
        self._folder.close()
        self._forget()
        self.closed = True
        if self._gone is not None:
            self._gone()


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child that ends leaves its parent the folder
        shutil.rmtree(path, ignore_errors=True)
