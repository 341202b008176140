"""The k nearest rows of each of the nearest groups, by searches that leave no group short because another has many."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from dkvector.blending import Find, Found
from dkvector.errors import SchemaError
from dkvector.explanation import Explanation
from dkvector.filters import col
from dkvector.refinements import Group
from dkvector.requests import Request
from dkvector.results import Hits

LEAST = 64  # rows that are looked at first, for each query
ROOM = 4  # times the rows that are wanted


@dataclass
class _Ranking:
    """What one query has found so far: its groups in order, and of each its nearest rows."""

    groups: dict[Any, list[tuple[Any, float, dict[str, Any]]]] = field(default_factory=dict)
    whole: bool = False  # no other group is left to be found

    def lacks(self, groups: int) -> bool:
        return not self.whole and len(self.groups) < groups


@dataclass
class Grouping:
    """A search for the nearest groups.

    Attributes:
        find: the search for the nearest rows.
        request: what is searched for; k rows of each group.
        knob: which groups, and how many.
    """

    find: Find
    request: Request
    knob: Group
    searches: int = 0

    async def run(self) -> tuple[Hits, Explanation]:
        """Give the hits, without payload: `group` and `rank` are among them."""
        k, groups = self.request.k, self.knob.groups
        wide = max(LEAST, ROOM * k * groups)
        # only what tells the groups: the other columns are fetched of the rows that stay
        bare = replace(self.request, k=wide, columns=(self.knob.by,), include_vectors=False)
        hits, told = await self._found(bare)
        rankings = [_Ranking() for _ in range(self.request.count)]
        self._take(rankings, hits, wide)
        complete = [{name for name, rows in one.groups.items() if one.whole or len(rows) >= k} for one in rankings]
        for at, ranking in enumerate(rankings):
            while ranking.lacks(groups):
                complete[at] |= await self._further(bare, at, ranking)
        await self._fill(bare, rankings, complete)
        return self._hits(hits, rankings), self._told(told, rankings)

    async def _found(self, request: Request) -> Found:
        self.searches += 1
        return await self.find(request)

    def _take(self, rankings: list[_Ranking], hits: Hits, wide: int) -> None:
        """Take in hits, in order; rows without a value are in no group."""
        column = hits.source.columns()[self.knob.by]
        in_categories = isinstance(column.dtype, pd.CategoricalDtype)
        values = pd.Series(column, dtype=object)
        known = values.notna().to_numpy(bool)
        ids, names = hits.ids, list(hits.extra)
        for at, query in enumerate(hits.of_query):
            if known[at]:
                extra = {name: hits.extra[name][at] for name in names}
                row = ids[at], float(hits.distances[at]), extra
                rankings[query].groups.setdefault(self._value(values.iloc[at], in_categories), []).append(row)
        for ranking, count in zip(rankings, hits.counts, strict=True):
            # fewer came than were asked for: no row is left
            ranking.whole |= bool(count < wide)

    def _value(self, value: Any, in_categories: bool) -> Any:
        """Give a value as a filter finds it: intervals and periods as the text or number that they are kept as."""
        if isinstance(value, pd.Interval | pd.Period) and in_categories:
            return str(value)
        if isinstance(value, pd.Period):
            return value.ordinal
        if not isinstance(value, Hashable):
            raise SchemaError(f"{self.knob.by!r} holds {type(value).__name__}, and no groups: take a plain column")
        return value.item() if isinstance(value, np.generic) else value

    async def _further(self, bare: Request, at: int, ranking: _Ranking) -> set[Any]:
        """Find the groups that come after those that one query has found; give those that are complete."""
        by, new = col(self.knob.by), _Ranking()
        others = by.not_null() if not ranking.groups else ~by.isin(list(ranking.groups))
        hits, _ = await self._found(bare.some(np.array([at])).narrowed(others))
        self._take([new], hits, bare.k)
        # behind the others, as none of its rows was near enough to come with them
        ranking.groups |= new.groups
        ranking.whole = new.whole
        return {name for name, rows in new.groups.items() if new.whole or len(rows) >= self.request.k}

    async def _fill(self, bare: Request, rankings: list[_Ranking], complete: list[set[Any]]) -> None:
        """Search within each group that may have more near rows than were found."""
        lacking: dict[Any, list[int]] = {}
        for at, ranking in enumerate(rankings):
            for name in list(ranking.groups)[: self.knob.groups]:
                if name not in complete[at]:
                    lacking.setdefault(name, []).append(at)
        for name, places in lacking.items():
            among = bare.some(np.array(places)).narrowed(col(self.knob.by) == name)
            hits, _ = await self._found(replace(among, k=self.request.k))
            found = [_Ranking() for _ in places]
            self._take(found, hits, self.request.k)
            for at, one in zip(places, found, strict=True):
                # an approximate index may find fewer within the group than it found without the filter
                if len(inside := one.groups.get(name, [])) >= len(rankings[at].groups[name]):
                    rankings[at].groups[name] = inside

    def _hits(self, like: Hits, rankings: list[_Ranking]) -> Hits:
        """Put the groups of each query behind each other."""
        k = self.request.k
        groups = [[rows[:k] for rows in list(one.groups.values())[: self.knob.groups]] for one in rankings]
        rows = [row for query in groups for group in query for row in group]
        extra = {name: np.array([row[2][name] for row in rows], values.dtype) for name, values in like.extra.items()}
        number = [at for query in groups for at, group in enumerate(query, 1) for _ in group]
        rank = [at for query in groups for group in query for at, _ in enumerate(group, 1)]
        ids = like.ids[:0].append(pd.Index([row[0] for row in rows], dtype=like.ids.dtype)) if rows else like.ids[:0]
        if isinstance(like.ids, pd.MultiIndex) and rows:
            ids = pd.MultiIndex.from_tuples([row[0] for row in rows], names=like.ids.names)
        return replace(
            like,
            source=Named(ids),
            distances=np.array([row[1] for row in rows], np.float32),
            counts=np.array([sum(map(len, query)) for query in groups], np.intp),
            queries=self.request.labels,
            extra={"rank": np.array(rank, np.int64), "group": np.array(number, np.int64), **extra},
        )

    def _told(self, told: Explanation, rankings: list[_Ranking]) -> Explanation:
        k, groups = self.request.k, self.knob.groups
        returned = sum(len(rows[:k]) for one in rankings for rows in list(one.groups.values())[:groups])
        native = {**told.native, "grouped": f"{groups} groups by {self.knob.by!r}, {self.searches} searches"}
        return replace(told, plan=f"{told.plan}, by group", k=k, returned=returned, shortfall=0, native=native)


@dataclass(frozen=True)
class Named:
    """Rows of which only the ids are known yet."""

    ids: pd.Index

    def table(self) -> Any:
        """Give nothing: their columns are fetched in the end."""
        raise NotImplementedError(self)

    def labels(self) -> pd.Index:
        """Give the ids."""
        return self.ids

    def columns(self) -> dict[str, Any]:
        """Give no column."""
        return {}
