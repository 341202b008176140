"""`HybridVectorDatabase`: records in one backend, their vectors in another, kept in step under failure of either.

What the data backend holds is true, the vector with each record included; the vector backend is derived from it. So the
order of every write is the whole protocol, and no log of its own is needed:

- a record is written to the data first, then to the vectors: a failure between leaves a record that no search finds;
- it is deleted from the vectors first, then from the data: a failure between leaves the same.

Whatever fails or is killed, the data holds every record whose write returned, and `repair` makes the vectors follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkvector.bridge.drift import DIGEST, Drift, compared, digest
from dkvector.bridge.sides import BATCH, DataSide, data_side, with_id
from dkvector.columns import to_index
from dkvector.counts import as_count
from dkvector.errors import DkvectorError, PartialWriteError, SchemaError, VectorError
from dkvector.fields import VectorField
from dkvector.filters import Filter, Ids
from dkvector.metrics import DistanceMetric
from dkvector.operations import Scored
from dkvector.progress import bar
from dkvector.records import Record
from dkvector.requests import shown
from dkvector.schema import VectorInfo
from dkvector.store import AsyncVectorStore
from dkvector.vectors import read_vectors

Found = list[tuple[Any, float]]  # ids and scores, best first
FEW = 1_000
"""Matching records up to which their ids are sent.

So far they cost what a filter costs, and they are what the data says now; 10,000 cost three times as much
(tests/benchmarks/bench_bridge.py).
"""
SENT = 10_000  # ids of one search


@dataclass(frozen=True)
class HybridPlan:
    """How a filtered search was answered.

    Attributes:
        way: "all rows", "ids" or "filter": what was sent to the vector backend.
        matching: records that satisfy the filter; None where there is none.
        searches: how many searches that took.
        again: rows that were found and left out, for the data no longer has them so: then it was asked again by ids.
    """

    way: str
    matching: int | None
    searches: int = 1
    again: int = 0


class HybridVectorDatabase:
    """Structured data in one backend, vectors in another.

    Args:
        data_backend: an `AsyncVectorStore`, or an `AsyncDatabase` of dataknobs-data (extra `dataknobs`).
        vector_backend: an `AsyncVectorStore`, which this bridge alone writes to.
        mirrored: fields that the vector backend keeps beside the vectors, so that filters on them can be sent to it;
            all by default, none by `()`.

    Example:
        >>> import asyncio
        >>> from dkvector import VectorStoreFactory
        >>> async def nearest() -> list[str]:
        ...     data = await VectorStoreFactory.create("exact", {})
        ...     vectors = await VectorStoreFactory.create("exact", {})
        ...     both = HybridVectorDatabase(data, vectors)
        ...     for name, vector in {"one": [1, 0], "two": [0, 1]}.items():
        ...         await both.store_with_embedding(Record({"name": name}), np.array(vector, float))
        ...     found = await both.hybrid_search(np.array([0.1, 1]), "name in ['one', 'two']", k=1)
        ...     return [record["name"] for record, _ in found]
        >>> asyncio.run(nearest())
        ['two']
    """

    def __init__(
        self, data_backend: Any, vector_backend: AsyncVectorStore, *, mirrored: Sequence[str] | None = None
    ) -> None:
        if not isinstance(vector_backend, AsyncVectorStore):
            raise SchemaError(
                f"the vector backend must be an AsyncVectorStore, as VectorStoreFactory.create gives it, not "
                f"{type(vector_backend).__name__}"
            )
        if vector_backend is data_backend:
            raise SchemaError("the two backends are one: a store alone keeps records with their vectors")
        self.data: DataSide = data_side(data_backend)
        self.vectors = vector_backend
        self.mirrored = None if mirrored is None else tuple(mirrored)
        self.last: HybridPlan | None = None

    async def store_with_embedding(
        self, record: Record, embedding: Any, vector_field: str = "embedding", *, model: str | None = None
    ) -> Any:
        """Write a record and its vector, in place of those of its id where there are any.

        Args:
            record: the record; one without an id is given one.
            embedding: its vector `(d,)`.
            vector_field: what the vector is called.
            model: what made it; a vector backend that knows of another refuses it.

        Returns:
            The id, as the data backend has it: as text in a database of dataknobs-data.

        Raises:
            VectorError: a vector that can't be used; nothing is written.
            PartialWriteError: the record is stored, and its vector is not searchable: writing it again is safe, and
                `repair` makes up for it.
        """
        whole = with_id(record, self.data)
        fields = {**whole.fields, vector_field: VectorField(np.asarray(embedding))}
        whole = Record(fields, whole.id, whole.metadata)
        self._check(whole, vector_field, model)
        await self.data.write(whole)
        try:
            await self.vectors.upsert([self._derived(whole)])
        except DkvectorError as exc:
            why = f"in the data, but not among the vectors, so that no search finds it before repair(): {exc}"
            raise PartialWriteError({whole.id: why}, 0) from exc
        return whole.id

    def _check(self, record: Record, vector_field: str, model: str | None) -> None:
        """Refuse what the vector side would refuse, before the data is written."""
        vector = record[vector_field]
        if vector.ndim != 1:
            raise VectorError(f"an embedding is one vector (d,), not {vector.shape}")
        metric, dimensions = self.vectors.metric or DistanceMetric.COSINE, self.vectors.dimension
        if not self.vectors.empty:
            info = self.vectors.known.vector(vector_field)
            info.check_same(VectorInfo(vector_field, info.dimensions, info.metric, model=model))
            metric, dimensions = info.metric, info.dimensions
        read_vectors(vector[None], dimensions=dimensions, metric=metric, labels=[record.id], name=vector_field)

    def _derived(self, record: Record) -> Record:
        """Give what the vector side keeps of a record."""
        names = [name for name, field in record.fields.items() if self._is_kept(name, field)]
        return Record({name: record.fields[name] for name in names} | {DIGEST: digest(record, names)}, record.id)

    def _is_kept(self, name: str, field: Any) -> bool:
        return isinstance(field, VectorField) or self.mirrored is None or name in self.mirrored

    async def read(self, id: Any) -> Record | None:  # noqa: A002 - the interface's own word
        """Give a record by its id, with its vector, as the data holds it; None where there is none."""
        key = self.data.key(id)
        return (await self.data.read([key])).get(key)

    async def delete(self, id: Any) -> bool:  # noqa: A002 - the interface's own word
        """Remove a record and its vector.

        Returns:
            Whether there was one.

        Raises:
            DkvectorError: whatever failed; the record is still in the data then, and `repair` has it searched again.
        """
        key = self.data.key(id)
        await self.vectors.delete([key])
        return await self.data.delete(key)

    async def hybrid_search(
        self, vector: Any, structured_filter: Any = None, k: int = 10, *, vector_field: str | None = None
    ) -> Scored:
        """Find the k records nearest to a vector among those that satisfy a filter.

        The data says how many match. Few are named to the vector backend by their ids, which compares just those; where
        many do, it is given the filter, if it keeps all that the filter reads. Never is a filter applied to neighbours
        that were found without it, so that k records come wherever k match and have a vector.

        Args:
            vector: `(d,)` numbers.
            structured_filter: any form of `where`, or a query of the data backend; None for all.
            k: how many.
            vector_field: where there are several.

        Returns:
            (record, score) pairs, best first, each record as the data holds it.
        """
        as_count(k)
        if self.vectors.empty:
            return []
        where = self.data.filter(structured_filter)
        if structured_filter is None:
            found, plan = await self._pushed(vector, None, k, vector_field), HybridPlan("all rows", None)
        else:
            matching = await self.data.count(structured_filter)
            if matching > FEW and where is not None and self._can_run(where):
                found, plan = await self._pushed(vector, where, k, vector_field), HybridPlan("filter", matching)
            else:
                return await self._by_ids(vector, await self.data.ids(structured_filter), k, vector_field)
        pairs, stale = await self._true(found, structured_filter)
        # fewer than match in the data: the vectors lag behind, or their index has missed some
        if not stale and len(pairs) >= min(k, plan.matching or 0):
            self.last = plan
            return pairs
        return await self._by_ids(vector, await self.data.ids(structured_filter), k, vector_field, again=stale)

    def _can_run(self, where: Filter) -> bool:
        return where.columns() <= set(self.vectors.known.columns)

    async def _pushed(self, vector: Any, where: Filter | None, k: int, field: str | None) -> Found:
        hits = await self.vectors.search(vector, k, field=field, where=where, columns=[])
        return list(zip(hits.ids.tolist(), hits.scores.tolist(), strict=True))

    async def _by_ids(self, vector: Any, ids: Sequence[Any], k: int, field: str | None, *, again: int = 0) -> Scored:
        """Search among ids, so many at a time, and keep the best of all."""
        found: Found = []
        starts = range(0, len(ids), SENT)
        for at in starts:
            found += await self._pushed(vector, Ids(tuple(ids[at : at + SENT])), k, field)
        best = sorted(found, key=lambda pair: -pair[1])[:k]
        self.last = HybridPlan("ids", len(ids), len(starts), again)
        pairs, _ = await self._true(best, None)
        return pairs

    async def _true(self, found: Found, structured_filter: Any) -> tuple[Scored, int]:
        """Take the records from the data, and count those that it has no more, or that satisfy the filter no more."""
        records = await self.data.read([one for one, _ in found])
        kept = [(records[one], score) for one, score in found if one in records]
        if structured_filter is not None and kept:
            true = await self.data.among([record for record, _ in kept], structured_filter)
            kept = [(record, score) for record, score in kept if record.id in true]
        return kept, len(found) - len(kept)

    async def verify(self, *, progress: bool | None = None) -> Drift:
        """Compare both sides, and change nothing.

        Returns:
            The ids that are missing among the vectors, changed in the data since, or orphaned; `.to_frame()` lists
            them. Empty where the two are in step.
        """
        data: dict[Any, str] = {}
        # the vectors first: a record written meanwhile looks missing then, not orphaned, which repair() would delete
        vectors = await self._digests()
        with bar(len(vectors), "verify", unit="records", show=shown(progress, len(vectors))) as done:
            # what an error or an interrupt leaves in the middle is closed at once, down to the engine's cursor
            async with aclosing(self.data.scan()) as each:
                async for batch in each:
                    data |= {one.id: self._derived(one)[DIGEST] for one in batch if _has_vector(one)}
                    done(len(batch))
        return compared(data, vectors)

    async def _digests(self) -> dict[Any, Any]:
        if self.vectors.empty:
            return {}
        told = DIGEST in self.vectors.known.payload.names
        found: dict[Any, Any] = {}
        async for rows in self.vectors.scan(columns=[DIGEST] if told else [], batch_size=1 << 16):
            ids = to_index(rows.column(0), rows.schema.field(0)).tolist()
            found |= dict(zip(ids, rows.column(1).to_pylist() if told else [None] * len(ids), strict=True))
        return found

    async def repair(self, *, progress: bool | None = None) -> Drift:
        """Make the vectors follow the data: write what is missing or changed, remove what is orphaned.

        One that is interrupted goes on when it is called again.

        Returns:
            What it has mended.
        """
        drift = await self.verify(progress=progress)
        behind = [*drift.missing, *drift.changed]
        with bar(len(drift), "repair", unit="records", show=shown(progress, len(drift))) as done:
            for at in range(0, len(behind), BATCH):
                # as they are by now, which may be later than the comparison
                records = await self.data.read(behind[at : at + BATCH])
                derived = [self._derived(one) for one in records.values() if _has_vector(one)]
                if derived:
                    await self.vectors.upsert(derived)
                done(len(records))
            if drift.orphaned:
                await self.vectors.delete(list(drift.orphaned))
        return drift


def _has_vector(record: Record) -> bool:
    return any(isinstance(field, VectorField) for field in record.fields.values())
