"""Near neighbours from a search engine: which way to search, what its scores mean, and what to do when hits lack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkvector.backends import _topk
from dkvector.backends._dialect import MOST, Ask
from dkvector.backends._documents import decoded_vectors, wanted
from dkvector.backends._engine_exact import Best, ordered
from dkvector.backends._engine_reader import Hit, Reader
from dkvector.backends._querydsl import ALL, Query, all_of
from dkvector.metrics import DistanceMetric, Floats, from_engine, of_pairs
from dkvector.requests import Request

LEAST = 100  # candidates of a shard
WIDER = 10  # times the candidates, where hits were missing
CLOSE = 5e-3  # a Euclidean distance below it is lost in the rounding of 1 / (1 + d²), and measured again
RIGHT_ANGLE = 1  # its distance under cosine
_SCANNED = "exact, over fetched vectors"

Positions = NDArray[np.intp]


@dataclass
class Answer:
    """What was found.

    Attributes:
        hits: of all queries, one after the other, nearest first.
        distances: `(h,)` float32.
        counts: `(q,)` hits of each query.
        plan: in words.
        shortfall: hits that are missing although enough rows match.
        matching: rows that satisfy the filter; None where the engine was not asked.
        native: what the engine was told.
    """

    hits: list[Hit] = field(default_factory=list)
    distances: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    counts: Positions = field(default_factory=lambda: np.empty(0, np.intp))
    plan: str = ""
    shortfall: int = 0
    matching: int | None = None
    native: dict[str, Any] = field(default_factory=dict)


class Search:
    """One search of an index.

    Args:
        reader: of the index.
        request: what is searched for.
    """

    def __init__(self, reader: Reader, request: Request) -> None:
        self.reader, self.request = reader, request
        self.layout, self.dialect = reader.layout, reader.dialect
        self.info, self.tuning = request.info, request.tuning
        self.path = self.layout.paths[self.info.name]
        self.spec = self.layout.specs[self.info.name]
        self.filter: Query | None = reader.query(request.where)
        self.exactly = bool(self.tuning.exact) or request.metric != self.info.metric
        self.quantised = getattr(self.spec, "quantization", None) is not None
        rescored = self.quantised and self.tuning.rescore and self.by_index
        self.measures = rescored and not self.dialect.rescores  # candidates are measured here, by their full vectors
        cosine = request.metric is self.info.metric is DistanceMetric.COSINE
        self.units = cosine and self.dialect.units > 0  # the engine takes some vectors for unit vectors
        self.answer = Answer()

    async def run(self) -> Answer:
        """Search."""
        queries = self.request.queries
        if not len(queries):
            return self.answer
        found = await self._scanned(range(len(queries))) if self._must_scan() else await self._complete()
        self.answer.hits, self.answer.distances, self.answer.counts = _joined(found)
        return self.answer

    def _must_scan(self) -> bool:
        """Tell whether only comparing every row here will do."""
        return self.request.k >= MOST or (not self.by_index and self.dialect.exact(self._ask(0, 1, 1)) is None)

    @cached_property
    def by_index(self) -> bool:
        """Whether the index answers."""
        own = self.request.metric == self.info.metric and self.dialect.indexed(self.spec)
        there = own and bool(self.layout.natives[self.info.name])
        return there and (not self.exactly or self.dialect.is_exact(self.spec))

    @cached_property
    def whole(self) -> bool:
        """Whether the engine compares every row."""
        return not self.by_index or self.dialect.is_exact(self.spec)

    def _ask(self, query: int, k: int, candidates: int) -> Ask:
        return Ask(
            self.path,
            self.request.queries[query],
            k,
            min(MOST, max(k, candidates)),
            self.filter if self.by_index else self._searchable(),
            self.request.metric,
            self.spec,
            self.tuning.rescore and self.quantised,
        )

    def _candidates(self) -> int:
        asked = self.tuning.candidates or self.tuning.ef_search
        return asked or max(LEAST, 2 * self.request.k)

    async def _complete(self) -> list[_Found]:
        """Search, and look again where hits are missing: with more candidates once, then by comparing every row."""
        queries, k = range(len(self.request.queries)), self.request.k
        found = await self._asked(queries, k, self._candidates())
        short = [at for at in queries if len(found[at].hits) < k]
        if not short:
            return found
        matching = await self.reader.count(self._searchable())
        self.answer.matching = matching if self.request.where is not None else None
        due = min(k, matching)
        short = [at for at in short if len(found[at].hits) < due]
        # once only: as many candidates as rows match are asked for, as far as the engine goes: more would bring nothing
        if short and not self.whole:
            again = await self._asked(short, k, min(MOST, max(WIDER * self._candidates(), matching)))
            found = _better(found, short, again)
            short = [at for at in short if len(found[at].hits) < due]
            if short and matching <= MOST:
                found = _better(found, short, await self._scanned(short))
        self.answer.shortfall = sum(due - min(due, len(one.hits)) for one in found)
        return found

    def _searchable(self) -> Query | None:
        """Find the rows that could be hits: those of others may lack a vector."""
        if self.layout.ours and not self.info.partial:
            return self.filter
        there: Query = {"exists": {"field": self.path}}
        return there if self.filter is None else all_of([self.filter, there])

    async def _asked(self, queries: Sequence[int], k: int, candidates: int) -> list[_Found]:
        """Let the engine search, and let ties at the end decide themselves by id where every row was compared."""
        wide = self._wide(k)
        while True:
            found = await self._hits(queries, wide, candidates)
            last = not self.whole or wide >= MOST
            if last or not any(_tied(hits, k, wide) for hits in found):
                best = await self._measured(queries, found, k)
                # rows of no length gave way: others may come in their place
                gone = (len(hits) == wide and len(one.hits) < k for hits, one in zip(found, best, strict=True))
                if last or not any(gone):
                    return best
            # four times as many at a time: ties are as many as there are copies of a row, which nobody knows before
            wide = min(MOST, 4 * wide)

    def _wide(self, k: int) -> int:
        """Count the hits to ask for: one more shows a tie, and candidates of a coarse index are measured here."""
        return min(MOST, math.ceil(k * self.reader.config.oversample)) if self.measures else k + self.whole

    async def _hits(self, queries: Sequence[int], k: int, candidates: int) -> list[list[Hit]]:
        bodies = [self._body(query, k, candidates) for query in queries]
        self._tell(bodies[0])
        shared = self._shared(k)
        return await self.reader.search([body | shared for body in bodies])

    def _body(self, query: int, k: int, candidates: int) -> dict[str, Any]:
        ask = self._ask(query, k, candidates)
        return self.dialect.near(ask) if self.by_index else self.dialect.exact(ask) or {}

    def _shared(self, k: int) -> dict[str, Any]:
        shared: dict[str, Any] = {"size": k, "track_total_hits": False, "_source": self._source()}
        if self.units and self.layout.ours:
            shared["docvalue_fields"] = [self.layout.length_of(self.info.name)]
        return shared

    def first(self) -> tuple[str, dict[str, Any]]:
        """Tell, in words, how the first query would be answered, and what would be sent, without its vector."""
        if self._must_scan():
            source = self.dialect.source([self.path], vectors=True)
            return _SCANNED, {"query": self._searchable() or ALL, "_source": source}
        wide = self._wide(self.request.k)
        return self._plan(), _brief({**self._body(0, wide, self._candidates()), **self._shared(wide)})

    def _source(self) -> Any:
        paths = wanted(self.layout, self.request.columns, vectors=self.request.include_vectors)
        return self.dialect.source(paths, vectors=self.request.include_vectors)

    def _plan(self) -> str:
        kind = self.spec.kind + (f" {self.spec.quantization}" if self.quantised else "")  # type: ignore[union-attr]
        plan = f"{kind} index" if self.by_index else "exact, by script"
        return plan + (", filtered inside" if self.filter is not None and self.by_index else "")

    def _tell(self, body: dict[str, Any]) -> None:
        self.answer.plan = self._plan()
        self.answer.native = {"index": self.reader.index, "dsl": _brief(body)}

    async def _measured(self, queries: Sequence[int], found: list[list[Hit]], k: int) -> list[_Found]:
        """Turn scores into distances, order by them and by id, and keep k."""
        hits = [hit for one in found for hit in one]
        query = np.repeat(np.arange(len(found)), [len(one) for one in found])
        scores = np.array([hit.score for hit in hits], np.float32)
        own = self.layout.natives[self.info.name] if self.by_index else ""
        lengths = np.array([hit.length for hit in hits]) if self.units else 1.0
        distances = from_engine(scores, own or self.dialect.measure(self.request.metric), lengths)
        if len(doubtful := np.flatnonzero(self._doubtful(distances))):
            await self._again(hits, np.asarray(queries, np.intp)[query], distances, doubtful)
            # a row of no length has no direction, and so no distance: it is no hit
            told = ~np.isnan(distances)
            hits, query, distances = [hits[at] for at in np.flatnonzero(told)], query[told], distances[told]
        if len(found) == 1 and (distances[1:] > distances[:-1]).all():  # in order already, as most single searches are
            return [_Found(hits[:k], distances[:k])]
        near = _topk.best_of(query, np.arange(len(hits)), distances, len(found), k=k, ranks=self._ranks(hits))
        ends = np.cumsum(near.counts)
        return [
            _Found([hits[at] for at in near.positions[end - count : end]], near.distances[end - count : end])
            for end, count in zip(ends, near.counts, strict=True)
        ]

    def _doubtful(self, distances: Floats) -> NDArray[np.bool_]:
        """Mark the hits to measure by their vectors, for the engine's score does not tell enough."""
        if self.quantised and not self.tuning.rescore:
            return np.zeros(len(distances), np.bool_)
        if self.measures or self._untold:
            return np.ones(len(distances), np.bool_)
        match self.request.metric:
            case DistanceMetric.EUCLIDEAN:
                return np.asarray(distances < CLOSE)
            case DistanceMetric.COSINE if self.info.metric is not DistanceMetric.COSINE:
                # OpenSearch scores a row of no length, which other metrics let in, as one at a right angle
                return np.asarray(distances == RIGHT_ANGLE)
        return np.zeros(len(distances), np.bool_)

    async def _again(self, hits: Sequence[Hit], query: Positions, distances: Floats, doubtful: Positions) -> None:
        """Measure some hits by their vectors."""
        at = doubtful.tolist()
        names = list(dict.fromkeys(hits[one].name for one in at))
        sources = await self.reader.named(names, [self.path])
        there = [one for one in at if hits[one].name in sources]
        vectors = decoded_vectors([_vector(sources[hits[one].name], self.path) for one in there], self.info)
        distances[there] = of_pairs(self.request.queries[query[there]], vectors, self.request.metric)

    @property
    def _untold(self) -> bool:
        """Whether an index of others may hold vectors taken for unit vectors, whose lengths nobody kept."""
        return self.units and not self.layout.ours

    def _ranks(self, hits: Sequence[Hit]) -> _topk.Ranks:
        return lambda rows: ordered([hits[at].name for at in rows], self.layout)

    async def _scanned(self, queries: Sequence[int]) -> list[_Found]:
        """Compare every row that matches with the queries here, page by page."""
        some = self.request.queries[np.asarray(queries, np.intp)]
        best = Best(some, self.request.k, self.request.metric, self.reader)
        count = 0
        async for page in self.reader.pages(self._searchable(), [self.path], MOST, vectors=True):
            vectors = decoded_vectors([_vector(hit.source, self.path) for hit in page], self.info)
            best.offer([hit.name for hit in page], vectors)
            count += len(page)
        self.answer.plan = _SCANNED + ("" if self.filter is None else " of the matching rows")
        self.answer.native = {"index": self.reader.index, "compared": count}
        self.answer.matching = count
        return await self._fetched(best)

    async def _fetched(self, best: Best) -> list[_Found]:
        paths = wanted(self.layout, self.request.columns, vectors=self.request.include_vectors)
        names = list(dict.fromkeys(best.names))
        sources = await self.reader.named(names, paths)
        found, at = [], 0
        for count in best.counts:
            mine = range(at, at + count)
            there = [place for place in mine if best.names[place] in sources]
            hits = [Hit(best.names[place], "", 0.0, sources[best.names[place]]) for place in there]
            found.append(_Found(hits, best.distances[there]))
            at += count
        return found


@dataclass(frozen=True)
class _Found:
    """Hits of one query, nearest first."""

    hits: list[Hit]
    distances: Floats


def _vector(source: Any, path: str) -> Any:
    for part in path.split("."):
        source = source[part]
    return source


def _tied(hits: Sequence[Hit], k: int, asked: int) -> bool:
    """Tell whether a tie goes on behind what was asked for, so that others of it may have smaller ids."""
    return len(hits) == asked and hits[k - 1].score == hits[-1].score


def _better(found: list[_Found], at: Sequence[int], again: list[_Found]) -> list[_Found]:
    """Take the second answer where it found more."""
    kept = list(found)
    for place, one in zip(at, again, strict=True):
        if len(one.hits) >= len(kept[place].hits):
            kept[place] = one
    return kept


def _joined(found: list[_Found]) -> tuple[list[Hit], Floats, Positions]:
    hits = [hit for one in found for hit in one.hits]
    distances = np.concatenate([np.empty(0, np.float32), *(one.distances for one in found)])
    return hits, distances, np.array([len(one.hits) for one in found], np.intp)


def _brief(body: Any) -> Any:
    """Give a body to be read: of a vector only its length."""
    if isinstance(body, np.ndarray):
        return f"<{len(body)} numbers>"
    if isinstance(body, dict):
        return {
            key: f"<{len(one)} characters of base64>" if key == "query_vector" and isinstance(one, str) else _brief(one)
            for key, one in body.items()
        }
    return [_brief(one) for one in body] if isinstance(body, list) else body
