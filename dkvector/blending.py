"""Queries that are more than a vector: rows left out of their own answers, answers of several vectors made one.

Each function makes a search out of a search, so that it works on every backend.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from dkvector.blends import Blend, Blended, Parts, read_vectors_of
from dkvector.errors import SchemaError
from dkvector.explanation import Explanation
from dkvector.fusion import RRF, Fused, Fusion, Leg, fuse
from dkvector.metrics import DistanceMetric, Floats, of_pairs
from dkvector.metrics import distance as as_distance
from dkvector.requests import Request, Search
from dkvector.results import Counts, Hits, HybridHits, Picked, Source, ranks
from dkvector.vectors import to_matrix

Found = tuple[Hits, Explanation]
Find = Callable[[Request], Awaitable[Found]]
Get = Callable[[pd.Index, Request], Awaitable[Source]]  # of rows by id, what a request wants of them, in order
WIDER = 4  # times as many neighbours, where too many were nearer to what they should not be like


def parts_of(
    blends: Sequence[Blend], ids: pd.Index, stored: Floats | None, made: Floats | None, request: Request
) -> list[Parts]:
    """Give each blend its vectors.

    Args:
        blends: queries of several vectors.
        ids: of the rows that they name, one blend after the other.
        stored: `(rows, d)` vectors of those rows.
        made: `(texts, d)` vectors of their texts.
        request: tells length and metric.

    Raises:
        VectorError: vectors of another length, NaN or infinity, no direction under cosine.
    """
    parts, row, text = [], 0, 0
    for one in blends:
        own = read_vectors_of(one, request.info.dimensions, request.metric)
        rows = own[:0] if stored is None else stored[row : row + len(one.named)]
        texts = own[:0] if made is None else made[text : text + len(one.text)]
        like = np.concatenate([own, rows[: len(one.like)], texts])
        parts.append(Parts(one, like, rows[len(one.like) :], ids[row : row + len(one.named)]))
        row, text = row + len(one.named), text + len(one.text)
    return parts


def blended_request(parts: Sequence[Parts], request: Request, *, single: bool) -> Request:
    """Make a request of blends: one vector for each mean, all of them where each answers by itself."""
    own = tuple(one.own for one in parts)
    labels = None if single else pd.RangeIndex(len(parts))
    if parts[0].blend.kind == "mean":
        made = request.of(np.stack([one.mean(request.metric) for one in parts]))
        return replace(made, labels=labels, own=own)
    made = request.of(np.concatenate([one.like for one in parts]))
    sizes = np.array([len(one.like) for one in parts], np.intp)
    if not sizes.all():
        raise SchemaError("a blend of no vectors has no answer")
    blend = Blended(sizes, parts[0].blend.kind, tuple(one.unlike for one in parts))
    return replace(made, labels=labels, own=own, blend=blend)


def check_refined(search: Search, request: Request) -> None:
    """Refuse to refine answers that are fused already."""
    if search.refinements and request.blend is not None and request.blend.kind == "rrf":
        raise SchemaError('refine= works on one ranking by distance: combine the blend by "mean" or "max"')


def barring(find: Find) -> Find:
    """Leave out the rows that a request bars, with as many neighbours more in their place."""

    async def found(request: Request) -> Found:
        if request.own is None:
            return await find(request)
        more = max(map(len, request.own), default=0)
        hits, told = await find(replace(request, k=request.k + more, own=None))
        hits = hits.without(request.own, request.k)
        return hits, told.without_own(request.k, len(hits.distances))

    return found


async def dressed(hits: Hits, request: Request, get: Get) -> Hits:
    """Fetch what a request wants of rows that were found without it; rows that are gone since are no hits."""
    ids = hits.ids
    source = await get(ids.unique(), request)
    at = source.labels().get_indexer(ids)
    there = np.flatnonzero(at >= 0)
    return replace(hits if len(there) == len(at) else hits.taken(there), source=Picked(source, at[there]))


def blending(find: Find, get: Get) -> Find:
    """Answer queries of several vectors: search by each, and make one ranking of the answers."""

    async def found(request: Request) -> Found:
        blend = request.blend
        if blend is None:
            return await find(request)
        if blend.kind == "rrf":
            hits, told = await _by_rank(find, request, blend)
        elif any(map(len, blend.unlike)):
            hits, told = await _away(find, request, blend)
            hits = await dressed(hits, request, get)
        else:
            apart, told = await find(_apart(request, blend, request.k))
            hits = nearest_of(apart, request, blend, request.k)
        return hits, _told(told, request, blend.kind, len(hits.distances))

    return found


def _apart(request: Request, blend: Blended, k: int) -> Request:
    """Ask by each vector alone."""
    own = request.own
    if own is not None:
        own = tuple(one for one, size in zip(own, blend.sizes, strict=True) for _ in range(size))
    return replace(request, k=k, labels=pd.RangeIndex(len(request.queries)), own=own, blend=None)


def nearest_of(hits: Hits, request: Request, blend: Blended, k: int) -> Hits:
    """Give the k nearest rows of each query out of the answers to its vectors; the nearest of them counts.

    A row among the k nearest of a query is among the k nearest of the vector that it is nearest to: none is missing.
    """
    query = np.repeat(np.arange(request.count), blend.sizes)[hits.of_query]
    codes, uniques = pd.factorize(hits.ids, use_na_sentinel=False)
    # ids of any type are compared once, here; below their ranks stand for them
    by_id = np.argsort(np.argsort(uniques, kind="stable"), kind="stable")[codes]
    order = np.lexsort((by_id, hits.distances, query))
    pair = query[order] * max(len(uniques), 1) + codes[order]
    # the first place of a pair of query and row, which in this order is that of its nearest vector
    once = order[np.sort(np.unique(pair, return_index=True)[1])]
    keep = once[ranks(np.bincount(query[once], minlength=request.count)) <= k]
    counts, source = np.bincount(query[keep], minlength=request.count), Picked(hits.source, keep)
    return replace(hits, source=source, distances=hits.distances[keep], counts=counts, queries=request.labels)


async def _away(find: Find, request: Request, blend: Blended) -> Found:
    """Look on until enough rows are nearer to what they should be like than to what they should not."""
    wide, first = 2 * request.k, np.cumsum(blend.sizes) - blend.sizes
    while True:
        # bare: many of the rows are looked at and left out, and only those that stay get their payload
        hits, told = await find(replace(_apart(request, blend, wide), columns=(), include_vectors=True))
        near = nearest_of(hits, request, blend, wide)
        good = near.taken(np.flatnonzero(~_nearer_to_unlike(near, request, blend)))
        # fewer than were asked for: there are no other rows to look at
        ended = np.maximum.reduceat(hits.counts, first) < wide
        if (ended | (good.counts >= request.k)).all():
            return good.taken(np.flatnonzero(ranks(good.counts) <= request.k)), told
        wide *= WIDER


def _nearer_to_unlike(near: Hits, request: Request, blend: Blended) -> Counts:
    """Mark the hits that are nearer to a vector of `unlike` than to all others of their query."""
    vectors = to_matrix(near.rows.column(request.info.name))[0]
    ends, bounds = np.cumsum(near.counts), np.cumsum(blend.sizes)
    marked = np.zeros(len(vectors), bool)
    for at, unlike in enumerate(blend.unlike):
        mine = slice(ends[at] - near.counts[at], ends[at])
        like = request.queries[bounds[at] - blend.sizes[at] : bounds[at]]
        marked[mine] = _least(unlike, vectors[mine], request.metric) < _least(like, vectors[mine], request.metric)
    return marked


def _least(examples: Floats, vectors: Floats, metric: DistanceMetric) -> Floats:
    """Measure how far each vector is from the nearest example, `(n,)`; infinitely far where there is none."""
    least = np.full(len(vectors), np.inf, np.float32)
    for one in examples:
        least = np.minimum(least, of_pairs(np.broadcast_to(one, vectors.shape), vectors, metric))
    return least


async def _by_rank(find: Find, request: Request, blend: Blended) -> Found:
    """Fuse the answers to the vectors of each query by reciprocal rank."""
    fusion, width = RRF(), int(blend.sizes.max(initial=0))
    hits, told = await find(_apart(request, blend, max(fusion.window, request.k)))
    legs, ends, ids = legs_of(hits), np.cumsum(blend.sizes), hits.ids
    each = [legs[end - size : end] for end, size in zip(ends, blend.sizes, strict=True)]
    fused = [_fused(some, fusion, request.k, width) for some in each]
    places = np.flatnonzero(~ids.duplicated())
    once = ids.take(places)
    keep = np.concatenate([np.empty(0, np.intp), *(once.get_indexer(one.ids) for one in fused)]).astype(np.intp)
    names = tuple(f"vector_{at}" for at in range(1, width + 1))
    return hybrid_hits(hits, Picked(hits.source, places[keep]), fused, names, request), told


def _fused(legs: Sequence[Leg], fusion: Fusion, k: int, width: int) -> Fused:
    """Fuse the answers to one query, and leave place for as many legs as the widest query has."""
    fused = fuse(legs, fusion, k)
    lacking = width - len(legs)
    return replace(
        fused,
        ranks=np.pad(fused.ranks, ((0, lacking), (0, 0))),
        of_legs=np.pad(fused.of_legs, ((0, lacking), (0, 0)), constant_values=np.nan),
    )


def hybrid_hits(
    near: Hits, source: Picked, fused: Sequence[Fused], legs: tuple[str, ...], request: Request, *, words: bool = False
) -> HybridHits:
    """Make hits of fused rankings; their distance is that of the nearest vector that found them."""
    # in front of all, so that no query at all still makes arrays of the right shape
    none = np.empty((len(legs), 0))
    scores: Floats = np.concatenate([none.astype(np.float32), *(one.of_legs for one in fused)], axis=1)
    vectors = scores[: len(legs) - words]
    return HybridHits(
        source,
        # NaN where a leg has not found the row: fmax passes over it
        as_distance(np.fmax.reduce(vectors, axis=0), near.metric),
        np.array([len(one.ids) for one in fused], np.intp),
        near.metric,
        request.labels,
        fused=np.concatenate([none[0], *(one.scores for one in fused)]),
        ranks=np.concatenate([none.astype(np.int64), *(one.ranks for one in fused)], axis=1),
        of_legs=scores,
        legs=legs,
    )


def legs_of(near: Hits) -> list[Leg]:
    """Take the hits of many queries apart."""
    ids, scores, ends = near.ids, near.scores, np.cumsum(near.counts)
    return [
        Leg(ids[end - count : end], scores[end - count : end]) for end, count in zip(ends, near.counts, strict=True)
    ]


def _told(told: Explanation, request: Request, kind: str, returned: int) -> Explanation:
    plan = f"{told.plan}, {kind} of {len(request.queries)} vectors"
    missing = min(told.shortfall, max(0, request.count * request.k - returned))
    return replace(told, plan=plan, k=request.k, queries=request.count, returned=returned, shortfall=missing)
