"""One search of the Faiss store: exactly, or through the index, whichever the plan says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from dkvector.backends import _plan, _topk
from dkvector.backends._faiss_index import EF_SEARCH, PROBES, FaissIndex, tail
from dkvector.backends._faiss_knn import FaissKnn, many, patched, products_for
from dkvector.backends._local import Candidates, Found
from dkvector.backends._marks import Mask
from dkvector.backends._plan import Effort
from dkvector.backends._rows import Rows
from dkvector.backends._topk import Block, Nearest, Positions
from dkvector.errors import UnsupportedError
from dkvector.indexes import HNSW, IVF, Tuning
from dkvector.metrics import DistanceMetric, Floats
from dkvector.requests import Request


@dataclass(frozen=True)
class Search:
    """A search over one snapshot.

    Attributes:
        rows: the snapshot.
        request: what is asked.
        candidates: the rows that may be found.
    """

    rows: Rows
    request: Request
    candidates: Candidates

    @property
    def blocks(self) -> list[Block]:
        """The vectors of the field."""
        return self.rows.blocks(self.request.info.name)

    def exactly(self, queries: Floats) -> Nearest:
        """Compare every candidate."""
        request, blocks = self.request, self.blocks
        alone = self.candidates.mask is None and len(blocks) == 1 and many(queries)
        # it can't divide by norms
        if alone and (request.metric is not DistanceMetric.COSINE or blocks[0].unit):
            return self._by_faiss(queries, blocks[0])
        return _topk.search(
            blocks,
            queries,
            request.k,
            request.metric,
            rows=self.candidates.positions,
            ranks=self.rows.ranks,
            products=products_for(len(queries)),
        )

    def _by_faiss(self, queries: Floats, block: Block) -> Nearest:
        """Let Faiss take the candidates; queries with more ties than it gave are searched again."""
        request = self.request
        return FaissKnn(block, request.metric).nearest(queries, request.k, self._slowly, self.rows.ranks)

    def _slowly(self, queries: Floats) -> Nearest:
        return _topk.search(self.blocks, queries, self.request.k, self.request.metric, ranks=self.rows.ranks)

    def through(self, index: FaissIndex, effort: Effort) -> Nearest:
        """Search the index, and compare the rows that it does not cover yet."""
        request, rows = self.request, self.rows
        mask = None if self.candidates.mask is None else self.candidates.mask[: index.rows]
        if index.spec.quantization is not None and request.tuning.rescore:
            near = self._rescored(self._coded(index, mask, effort))
        else:
            near = index.search(request.queries, mask, effort)
        if index.rows < rows.total:
            behind = tail(self.blocks, index.rows)
            among = self.candidates.positions
            rest = _topk.search(behind, request.queries, request.k, request.metric, rows=among, ranks=rows.ranks)
            near = merged([near, rest], request.k, rows)
        elif _topk.tied(near):
            near = merged([near], request.k, rows)
        return near

    def _rescored(self, positions: Positions) -> Nearest:
        """Measure candidates `(q, w)` again against the full vectors, and keep the k nearest; -1 stands for none."""
        request, blocks = self.request, self.rows.single(self.request.info.name)
        query, at = np.nonzero(positions >= 0)
        found = blocks, request.queries, query, positions[query, at]
        return _topk.measured(*found, k=request.k, metric=request.metric, ranks=self.rows.ranks)

    def _coded(self, index: FaissIndex, mask: Mask | None, effort: Effort) -> Positions:
        """Give the candidates of an index of codes, `(q, w)`."""
        if mask is None or index.selects:
            return index.candidates(self.request.queries, mask, effort)[1]
        positions = index.candidates(self.request.queries, None, effort)[1]
        return np.where((positions >= 0) & mask[positions], positions, -1)


def nearest(rows: Rows, index: FaissIndex | None, request: Request, candidates: Candidates) -> Found:
    """Answer a search.

    Args:
        rows: the snapshot.
        index: of the field; None where it is flat.
        request: what is asked.
        candidates: the rows that may be found.

    Returns:
        The neighbours: as many as asked for wherever so many rows match.
    """
    search, made = Search(rows, request, candidates), planned(rows, index, request, candidates)
    if index is None or made.effort is None:
        return Found(search.exactly(request.queries), made.plan, made.native)
    near = search.through(index, made.effort)
    want = min(request.k, candidates.count)
    if request.tuning.exact is not None or near.counts.min(initial=want) >= want:
        return Found(near, made.plan, made.native)
    short = np.flatnonzero(near.counts < want)
    near = patched(near, short, search.exactly(request.queries[short]))
    return Found(near, made.plan, made.native | {"completed": f"{len(short):,} queries exactly"})


@dataclass(frozen=True)
class Planned:
    """How a search would be answered.

    Attributes:
        effort: of the index; None where every candidate is compared.
        plan: in words.
        native: what Faiss is told.
    """

    effort: Effort | None
    plan: str
    native: dict[str, object]


def planned(rows: Rows, index: FaissIndex | None, request: Request, candidates: Candidates) -> Planned:
    """Choose how to answer a search: exactly, or through the index, whichever is right and cheaper."""
    among = "" if candidates.mask is None else f" over {candidates.count:,} candidates"
    if index is None or request.tuning.exact:
        return Planned(None, "exact" + among, {})
    effort = effort_of(index, request, candidates, rows)
    if request.tuning.exact is None and _exact_is_cheaper(candidates, effort, request):
        return Planned(None, "exact" + among, {})
    return Planned(effort, _plan_of(index, request, selector=bool(among)), _native(index, effort))


def effort_of(index: FaissIndex, request: Request, candidates: Candidates, rows: Rows) -> Effort:
    """Say how wide the index must be searched for the share of rows that match."""
    tuning, k, spec = request.tuning, request.k, index.spec
    share = 1.0 if candidates.mask is None else max(candidates.count, 1) / max(rows.total, 1)
    wide = _widened(index, tuning, k, share)
    ef_search = max(tuning.ef_search or EF_SEARCH, wide) if isinstance(spec, HNSW) else 0
    probes = 0 if isinstance(spec, HNSW) else min(tuning.probes or PROBES, index.index.nlist)
    if candidates.mask is None:
        # what it costs matters only beside an exact search, which who built an index does not want
        return Effort(ef_search, probes, wide)
    dimensions = int(index.index.d)
    if isinstance(spec, HNSW):
        found = _plan.graph_effort(
            ef_search, spec.m, share, dimensions, queries=len(request.queries), code=index.code.graph
        )
    else:
        found = _plan.lists_effort(probes, index.index.nlist, index.rows, share, dimensions, code=index.code.lists)
    again = 0 if wide == k else _plan.exact_cost(wide, 1, dimensions)
    return Effort(found.ef_search, found.probes, wide, found.cost + again)


def _widened(index: FaissIndex, tuning: Tuning, k: int, share: float) -> int:
    """Count the neighbours that the index is asked for: more than k where they are measured again."""
    quantization = index.spec.quantization
    if quantization is None:
        return k
    if not tuning.rescore:
        if quantization == "binary":
            raise UnsupportedError("a binary index counts bits, which are no distance: leave rescore=True")
        return k
    wide = max(tuning.candidates or k * index.code.widen, k)
    return min(wide if index.selects else ceil(wide / share), max(index.rows, k))


def _exact_is_cheaper(candidates: Candidates, effort: Effort, request: Request) -> bool:
    if candidates.mask is None:
        return False
    exact = _plan.exact_cost(candidates.count, len(request.queries), request.info.dimensions)
    return candidates.count <= request.k or exact <= effort.cost


def _plan_of(index: FaissIndex, request: Request, *, selector: bool) -> str:
    spec = index.spec
    coded = "" if spec.quantization is None else f" of {spec.quantization}"
    rescored = ", rescored" if coded and request.tuning.rescore else ""
    return spec.kind + coded + (" with a selector" if selector else "") + rescored


def _native(index: FaissIndex, effort: Effort) -> dict[str, object]:
    knobs: dict[str, object] = {"index": index.spec}
    if isinstance(index.spec, HNSW):
        knobs["ef_search"] = effort.ef_search
    elif isinstance(index.spec, IVF):
        knobs["probes"] = effort.probes
    if index.spec.quantization is not None:
        knobs["candidates"] = effort.candidates
    return knobs


def merged(parts: Sequence[Nearest], k: int, rows: Rows) -> Nearest:
    """Put answers to the same queries together, and keep the k nearest of each; ties by id."""
    query = np.concatenate([np.repeat(np.arange(len(part.counts)), part.counts) for part in parts])
    row = np.concatenate([part.positions for part in parts])
    distance = np.concatenate([part.distances for part in parts])
    return _topk.best_of(query, row, distance, len(parts[0].counts), k=k, ranks=rows.ranks)
