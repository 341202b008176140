"""From the neighbours that a search finds to those that are given: each refinement makes a search out of a search."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import numpy as np

from dkvector.blending import Find, Found, Get, dressed
from dkvector.diversity import chosen_of
from dkvector.evidence import Chance, judged
from dkvector.grouping import Grouping
from dkvector.metrics import score
from dkvector.refinements import MMR, Cut, Evidence, Group, Refinement
from dkvector.requests import Request
from dkvector.results import Counts, Hits
from dkvector.vectors import to_matrix

Chances = Callable[[Request, Evidence], Awaitable[tuple[Chance, int]]]


@dataclass(frozen=True)
class Ways:
    """What refinements ask a store, or a frame, for.

    Attributes:
        get: rows by id, with the columns of a request, in the order of the ids; those that are gone are left out.
        chance: distances of random pairs, and how many rows match.
    """

    get: Get
    chance: Chances

    def refining(self, find: Find, refinements: tuple[Refinement, ...]) -> Find:
        """Make a search whose answers are refined, by one after the other."""
        for one in refinements:
            match one:
                case Cut():
                    find = _cutting(find, one)
                case Evidence():
                    find = self._judging(find, one)
                case MMR():
                    find = self._diverse(find, one)
                case Group():
                    find = self._grouped(find, one)
        return find

    def _judging(self, find: Find, knob: Evidence) -> Find:
        # of the first request: those that follow it ask among some of its rows
        known: list[tuple[Chance, int]] = []

        async def found(request: Request) -> Found:
            hits, told = await find(request)
            # nothing to weigh: no rows are drawn for it, and the columns come all the same
            if not len(hits.distances):
                none = np.empty(0)
                return replace(hits, extra={**hits.extra, "p_value": none, "e_value": none}), told
            known.append(known[0] if known else await self.chance(request, knob))
            hits = judged(hits, request, knob, *known[0])
            return hits, replace(told, returned=len(hits.distances))

        return found

    def _diverse(self, find: Find, knob: MMR) -> Find:
        async def found(request: Request) -> Found:
            # no payload yet: most candidates are left out again
            wide = replace(request, k=max(request.k, knob.candidates), columns=(), include_vectors=True)
            hits, told = await find(wide)
            best = await dressed(hits.taken(_chosen(hits, request, knob)), request, self.get)
            plan = f"{told.plan}, {request.k} of {wide.k} by marginal relevance"
            missing = max(0, min(told.shortfall, request.count * request.k - len(best.distances)))
            return best, replace(told, plan=plan, k=request.k, returned=len(best.distances), shortfall=missing)

        return found

    def _grouped(self, find: Find, knob: Group) -> Find:
        async def found(request: Request) -> Found:
            hits, told = await Grouping(find, request, knob).run()
            return await dressed(hits, request, self.get), told

        return found


def _cutting(find: Find, knob: Cut) -> Find:
    async def found(request: Request) -> Found:
        hits, told = await find(request)
        near = np.ones(len(hits.distances), bool)
        if knob.max_distance is not None:
            near &= hits.distances <= knob.max_distance
        if knob.min_score is not None:
            near &= score(hits.distances, hits.metric) >= knob.min_score
        if near.all():
            return hits, told
        hits = hits.taken(np.flatnonzero(near))
        return hits, replace(told, returned=len(hits.distances))

    return found


def _chosen(hits: Hits, request: Request, knob: MMR) -> Counts:
    """Choose of each query's hits, in the order of choice."""
    if not len(hits.distances):
        return np.empty(0, np.intp)
    vectors = to_matrix(hits.rows.column(request.info.name))[0]
    scores, ends = score(hits.distances, hits.metric), np.cumsum(hits.counts)
    chosen = []
    for end, count in zip(ends, hits.counts, strict=True):
        mine = slice(end - count, end)
        places = chosen_of(scores[mine], vectors[mine], request.k, knob.lambda_, request.metric)
        chosen.append(places + (end - count))
    return np.concatenate(chosen)
