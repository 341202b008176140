"""Blends, several columns and refinements on a frame: the store's own, over rows that are found by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector._loop import run_inline
from dkvector.backends import _topk
from dkvector.blending import Find, Found, barring, blended_request, blending, check_refined, parts_of
from dkvector.blends import as_blends
from dkvector.encoders import needed, queries_of
from dkvector.errors import NotFoundError
from dkvector.evidence import Chance, chance_of, drawn
from dkvector.explanation import Explanation
from dkvector.frames import located, matching
from dkvector.fusion import RRF
from dkvector.hybrid import Hybrid
from dkvector.indexes import Tuning
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric, Floats
from dkvector.refinements import Evidence
from dkvector.refining import Ways
from dkvector.requests import Request, Search
from dkvector.results import Counts, Hits
from dkvector.schema import VectorInfo
from dkvector.vectors import read_vectors


@dataclass(frozen=True)
class Placed:
    """Rows of a frame by position.

    Attributes:
        of: the frame.
        positions: `(h,)` which rows.
        columns_of: what the columns are called, by their text.
        named: whether their labels are those of the frame; else their positions.
    """

    of: FrameRows
    positions: Counts
    columns_of: dict[str, Any]
    named: bool = False

    def labels(self) -> pd.Index:
        """Give positions, which differ in every row, or labels."""
        return self.of.frame.index.take(self.positions) if self.named else pd.Index(self.positions)

    def columns(self) -> dict[Any, Any]:
        """Give columns as the frame has them."""
        return {name: self.of.frame[name].array.take(self.positions) for name in self.columns_of.values()}

    def table(self) -> pa.Table:
        """Give positions and vectors."""
        vectors = self.of.matrix[self.positions]
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        return pa.table({"": pa.array(self.positions), self.of.info.name: lists})


@dataclass(frozen=True)
class FrameRows:
    """Rows of a frame whose vectors can be used.

    Attributes:
        frame: the rows.
        matrix: `(n, d)` their vectors.
        info: what the column holds.
        mask: `(n,)` the rows that satisfy the filter of the search; None where all do.
    """

    frame: pd.DataFrame
    matrix: Floats
    info: VectorInfo
    mask: Any

    async def find(self, request: Request) -> Found:
        """Find neighbours, exactly."""
        mask = self._matching(request)
        rows = None if mask is None else np.flatnonzero(mask)
        blocks = [_topk.Block(0, self.matrix)]
        near = _topk.search(blocks, request.queries, request.k, request.metric, rows=rows)
        names = {str(name): name for name in self.frame.columns}
        if unknown := [name for name in request.columns if name not in names]:
            raise NotFoundError.of("column", unknown[0], list(names))
        source = Placed(self, near.positions, {name: names[name] for name in request.columns})
        hits = Hits(source, near.distances, near.counts, request.metric, request.labels)
        metric, queries = request.metric.value, len(request.queries)
        return hits, Explanation("frame", self.info.name, metric, "exact", request.k, queries, len(self.frame))

    def _matching(self, request: Request) -> Any:
        if request.where is None:
            return self.mask
        further = matching(self.frame, request.where)
        return further if self.mask is None else self.mask & further

    async def get(self, ids: pd.Index, request: Request) -> Placed:
        """Give rows by position."""
        return Placed(self, ids.to_numpy(np.intp), {name: name for name in request.columns})

    async def chance(self, request: Request, knob: Evidence) -> tuple[Chance, int]:
        """Measure random pairs, and count the rows that match."""
        drew = drawn(pd.RangeIndex(len(self.matrix)), knob.sample, knob.seed)
        mask = self._matching(request)
        count = len(self.frame) if mask is None else int(np.count_nonzero(mask))
        return chance_of(self.matrix[drew.to_numpy()], request.metric), count


def search(
    frame: pd.DataFrame,
    names: Sequence[Any],
    asked: Search,
    metric: DistanceMetric,
    *,
    encoder: Any,
    columns: Sequence[Any],
    on_bad: OnBad,
) -> pd.DataFrame:
    """Search a frame by blends or by several columns, or refine what is found."""
    fields = _fields(frame, names, matching(frame, asked.where), metric, on_bad)
    requests = []
    for rows, one in zip(fields.values(), asked.by_field(), strict=True):
        none = np.empty((0, rows.info.dimensions), np.float32)
        plain = Request(none, None, asked.k, rows.info, metric, None, Tuning(), (), include_vectors=False)
        requests.append(_asked(rows, one, plain, encoder))
        check_refined(asked, requests[-1])

    async def find(request: Request) -> Found:
        return await fields[request.info.name].find(request)

    async def found() -> pd.DataFrame:
        rows = next(iter(fields.values()))
        hits, _ = await _answered(rows, tuple(requests), asked, find)
        positions = hits.ids.to_numpy(np.intp)
        # the keys only have to differ: 1 and "1" are two columns
        source = Placed(rows, positions, {str(at): one for at, one in enumerate(columns)}, named=True)
        return replace(hits, source=source).to_frame()

    # nothing in it waits: it runs to its end here, without the way to a loop's thread and back
    return run_inline(found())


def _fields(
    frame: pd.DataFrame, names: Sequence[Any], mask: Any, metric: DistanceMetric, on_bad: OnBad
) -> dict[str, FrameRows]:
    """Read the columns; a row that is bad in one of them is left out of all."""
    read = [read_vectors(frame[name], metric=metric, on_bad=on_bad, name=str(name)) for name in names]
    every = [np.arange(len(frame)) if one.rows is None else np.asarray(one.rows, np.intp) for one in read]
    kept = every[0]
    for rows in every[1:]:
        kept = np.intersect1d(kept, rows, assume_unique=True)
    if len(kept) < len(frame):
        frame, mask = frame.iloc[kept], None if mask is None else mask[kept]
    made = {}
    for name, one, rows in zip(names, read, every, strict=True):
        # both ascend, so that places are found by bisection
        matrix = one.matrix if len(kept) == len(rows) else one.matrix[np.searchsorted(rows, kept)]
        made[str(name)] = FrameRows(frame, matrix, VectorInfo(str(name), matrix.shape[1], metric), mask)
    return made


async def _answered(rows: FrameRows, requests: tuple[Request, ...], asked: Search, find: Find) -> Found:
    """Search by one column, or by several and fuse the answers."""
    find = blending(barring(find), rows.get)
    if len(requests) == 1:
        return await Ways(rows.get, rows.chance).refining(find, asked.refinements)(requests[0])

    async def get(ids: pd.Index) -> Placed:
        return await rows.get(ids, requests[0])

    return await Hybrid(requests, None, asked.fusion or RRF()).run(find, None, get)


def _asked(rows: FrameRows, asked: Search, plain: Request, encoder: Any) -> Request:
    """Turn what is searched for into vectors."""
    if asked.like is not None:
        own, single, labels = located(rows.frame.index, asked.like)
        vectors = pd.Series(list(rows.matrix[own]), index=labels, dtype=object)
        request = plain.of(vectors.iloc[0] if single else vectors)
        # by position, as several rows may have one label
        return replace(request, own=tuple(pd.Index([at]) for at in own))
    blends = as_blends(asked.queries)
    if blends is None:
        return plain.of(asked.queries)
    named = [label for one in blends[0] for label in one.named]
    at = located(rows.frame.index, named)[0]
    texts = [text for one in blends[0] for text in one.text]
    way_out = "search(Blend(text=…), encoder=…)"
    made = plain.of(queries_of(texts, needed(encoder, way_out))).queries if texts else None
    parts = parts_of(blends[0], pd.Index(at), rows.matrix[at], made, plain)
    return blended_request(parts, plain, single=blends[1])
