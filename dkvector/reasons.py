"""`store.why_not(row, query)`: why a search does not give a row, found out by asking the store itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector import _html
from dkvector._loop import offload
from dkvector.blending import barring
from dkvector.blends import as_blends
from dkvector.columns import to_index
from dkvector.encoders import Encoder, needed
from dkvector.errors import NotFoundError, SchemaError
from dkvector.filters import And, Filter, Ids
from dkvector.indexes import Tuning
from dkvector.metrics import DistanceMetric, Floats, from_inner_product, from_squared
from dkvector.norms import squared_norms
from dkvector.requests import Request, Search, labels_of
from dkvector.results import Explanation, Hits
from dkvector.schema import VectorInfo
from dkvector.vectors import to_matrix

Verdict = Literal["found", "not stored", "no vector", "other model", "filtered", "own row", "too far", "missed"]
WIDE = 1_000  # neighbours to look among for the row's exact rank, before all rows are measured
WIDEST = 4_096  # effort up to which one that finds the row is looked for


@dataclass(frozen=True)
class WhyNot:
    """Why a search does not give a row.

    Attributes:
        row: its label.
        verdict: "found", or the reason: "not stored", "no vector", "other model", "filtered", "own row", "too far" to
            be among the k nearest, or "missed" by the index.
        message: the reason in words, and the way out.
        rank: its place among the rows that match, by exact search; None where it has none.
        distance: between it and the query.
        kth: distance of the last row that is among the k nearest.
        failed: the parts of the filter that it does not satisfy.
        tuning: knobs with which the index finds it, where looking wider helped.
        plan: what the search did.
    """

    row: Any
    verdict: Verdict
    message: str
    rank: int | None = None
    distance: float | None = None
    kth: float | None = None
    failed: tuple[str, ...] = ()
    tuning: Tuning | None = None
    plan: str = ""

    def __str__(self) -> str:
        return f"{self.row!r}: {self.verdict}: {self.message}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        numbers = {"rank": self.rank, "distance": self.distance, "k-th distance": self.kth}
        told = {"why": self.message, **{name: f"{value:.6g}" for name, value in numbers.items() if value is not None}}
        return _html.facts(f"{self.row!r}: {self.verdict}", told | ({"plan": self.plan} if self.plan else {}))


@dataclass(frozen=True)
class Case:
    """One row, and one search.

    Attributes:
        store: an `AsyncVectorStore`, which stands above this module.
        row: the label of the row.
        search: as it was asked for.
    """

    store: Any
    row: Any
    search: Search

    async def reason(self) -> WhyNot:
        """Find the reason."""
        search = self.search.unfolded()
        if as_blends(search.queries) is not None:
            raise SchemaError("why_not looks at a search by one vector, not at a blend of several")
        request = search.checked(self.store.name, self.store.supports, self.store.known)
        try:
            stored = await self.store.get([self.row], include_vectors=True)
        except (NotFoundError, SchemaError):
            # a label of another type than the ids is a SchemaError
            return self._not_stored()
        # from the reason that is found at once to the one that takes searches
        spoiled = _spoiled(stored.column(request.info.name), request.metric)
        if spoiled:
            return WhyNot(self.row, "no vector", f"its {request.info.name!r} {spoiled}: no search can find it")
        other = await self._other_model(search, request.info)
        if other:
            return WhyNot(self.row, "other model", other)
        failed = await self._failed(request.where, stored)
        if failed:
            said = "; ".join(failed)
            return WhyNot(self.row, "filtered", f"it does not satisfy {said}", failed=tuple(failed))
        if search.like is not None and self.row in labels_of(search.like)[0]:
            return WhyNot(self.row, "own row", "it is the row that is searched like, which is no neighbour of its own")
        return await self._measured(search, stored)

    def _not_stored(self) -> WhyNot:
        ids = self.store.known.id
        kind = f"; ids here are {ids.type}, this is {type(self.row).__name__}" if _is_other(self.row, ids.type) else ""
        way_out = "if another process has written it since, refresh() shows it"
        return WhyNot(self.row, "not stored", f"the store has no such id{kind}; {way_out}")

    async def _other_model(self, search: Search, info: VectorInfo) -> str:
        """Tell of an encoder whose vectors are not of the field's space; a vector itself does not tell its model."""
        if search.text is None:
            return ""
        encoder: Encoder = needed(self.store.encoder, "connect(…, encoder=…) or store.encoder = …")
        try:
            await offload(encoder.check_field, info)
        except SchemaError as exc:
            return str(exc)
        return ""

    async def _failed(self, where: Filter | None, stored: pa.Table) -> list[str]:
        """Ask the store itself, part by part: what a filter means is the engine's to say."""
        failed = []
        for term in () if where is None else where.terms if isinstance(where, And) else (where,):
            if not await self.store.count(And((Ids((self.row,)), term))):
                held = [name for name in sorted(term.columns()) if name in stored.column_names]
                values = ", ".join(f"{name} is {stored.column(name)[0].as_py()!r}" for name in held)
                failed.append(f"{term!s}" + (f" ({values})" if values else ""))
        return failed

    async def _measured(self, search: Search, stored: pa.Table) -> WhyNot:
        """Compare where the row is with what the search gives."""
        asked: list[Request] = []

        async def noted(request: Request) -> tuple[Hits, Explanation]:
            asked.append(request)
            found: tuple[Hits, Explanation] = await self.store._search(request)  # noqa: SLF001 - the checked request, not another check
            return found

        own = None if search.like is None else labels_of(search.like)[0]
        search = replace(search, columns=(), include_vectors=False)
        hits, told = await self.store._answer(search, barring(noted))  # noqa: SLF001
        request = asked[0]
        if len(request.queries) != 1:
            raise SchemaError(f"why_not looks at one query, not at {len(request.queries)}")
        vector = to_matrix(stored.column(request.info.name))[0]
        far = float(_distances(vector, request.queries[0], request.metric)[0])
        rank, kth = await self._rank(request, far, own)
        place = {"rank": rank, "distance": far, "kth": kth, "plan": told.plan}
        given = np.flatnonzero(np.asarray(hits.ids == self.row, bool))
        if len(given):
            return WhyNot(self.row, "found", f"the search gives it, at rank {int(given[0]) + 1}", **place)
        if rank > self.search.k:
            said = f"it is the {_nth(rank)} nearest at {far:.6g}, the {_nth(self.search.k)} is at {kth:.6g}"
            return WhyNot(self.row, "too far", f"{said}: k={rank} reaches it", **place)
        found = await self._wider(request)
        said = f"it is the {_nth(rank)} nearest, at {far:.6g}, but the index does not meet it ({told.plan})"
        way_out = "tuning={'exact': True} does" if found is None else f"{_told(found)} does"
        return WhyNot(self.row, "missed", f"{said}; {way_out}", tuning=found, **place)

    async def _rank(self, request: Request, far: float, own: pd.Index | None) -> tuple[int, float]:
        """Give the row's place by exact search, and the distance of the k-th."""
        k = self.search.k
        # one more, as the row that is searched like may come first
        wide = replace(request, k=max(WIDE, 10 * k) + 1, tuning=Tuning(exact=True))
        hits, _ = await self.store._search(wide)  # noqa: SLF001
        others = np.asarray(~hits.ids.isin([] if own is None else own), bool)
        ids, distances = hits.ids[others], hits.distances[others]
        kth = float(distances[min(k, len(distances)) - 1]) if len(distances) else far
        at = np.flatnonzero(np.asarray(ids == self.row, bool))
        if len(at):
            return int(at[0]) + 1, kth
        nearer = 0
        # farther out the rank is a count of the rows nearer by, which nothing has to sort
        async for batch in self.store.scan(request.where, [], 1 << 14, include_vectors=True):
            matrix, missing = to_matrix(batch.column(request.info.name))
            counts = np.ones(len(matrix), bool) if missing is None else ~missing
            if own is not None:
                counts &= ~to_index(batch.column(0), batch.schema.field(0)).isin(own)
            nearer += int((_distances(matrix[counts], request.queries[0], request.metric) < far).sum())
        return nearer + 1, kth

    async def _wider(self, request: Request) -> Tuning | None:
        """Look wider, twice as wide each time, until the index meets the row; None where that does not help."""
        spec = (await self.store.indexes()).get(request.info.name)
        if spec is None or spec.kind not in {"hnsw", "ivf"}:
            return None
        graph = spec.kind == "hnsw"
        effort = (request.tuning.ef_search if graph else request.tuning.probes) or 8
        while effort < WIDEST:
            effort *= 2
            wide = replace(request.tuning, ef_search=effort) if graph else replace(request.tuning, probes=effort)
            hits, _ = await self.store._search(replace(request, tuning=wide))  # noqa: SLF001
            if self.row in hits.ids:
                return wide
        return None


def _spoiled(column: pa.ChunkedArray, metric: DistanceMetric) -> str:
    """Say what keeps a stored vector from being found."""
    if column.null_count:
        return "is missing"
    vector = to_matrix(column)[0][0]
    if not np.isfinite(vector).all():
        return "holds NaN or infinity"
    return "has no length, and no direction" if metric is DistanceMetric.COSINE and not vector.any() else ""


def _is_other(row: Any, kind: pa.DataType) -> bool:
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return isinstance(row, str) != bool(text)


def _distances(matrix: Floats, query: Floats, metric: DistanceMetric) -> Floats:
    """Measure rows against one query, without the rounding of a blocked product."""
    if metric is DistanceMetric.EUCLIDEAN:
        return from_squared(squared_norms(matrix - query))
    dots = np.einsum("nd,d->n", matrix, query)
    if metric is DistanceMetric.COSINE:
        with np.errstate(invalid="ignore"):  # what has no direction is nearer than nothing
            dots /= np.sqrt(squared_norms(matrix) * squared_norms(query[None])[0])
    return from_inner_product(dots, metric)


def _nth(number: int) -> str:
    tens = 10 <= number % 100 <= 20  # noqa: PLR2004 - eleventh, twelfth
    return f"{number:,}{'th' if tens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _told(tuning: Tuning) -> str:
    knobs = {name: value for name in ("ef_search", "probes") if (value := getattr(tuning, name)) is not None}
    return f"tuning={knobs}"
