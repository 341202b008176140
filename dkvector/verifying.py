"""`search(verify=0.02)`: some of the queries are asked again, exactly, and what the index had missed is counted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dkvector.blending import Find, Found
from dkvector.errors import SchemaError
from dkvector.indexes import Tuning
from dkvector.requests import Request
from dkvector.results import Counts, Hits
from dkvector.verified import Verified

SLACK = 1e-5  # by which two engines may differ about a distance, relative to it or to 1


@dataclass
class Verifier:
    """Draws queries, asks them again, and keeps count.

    Attributes:
        total: of all that were asked again since the store was opened; None before the first.
    """

    total: Verified | None = None

    def __post_init__(self) -> None:
        # seeded, so that a notebook that is run again asks the same queries again
        self._rng = np.random.default_rng(0)

    def around(self, find: Find, share: float) -> Find:
        """Let a search be verified.

        Args:
            find: the search.
            share: of the queries.

        Raises:
            SchemaError: a share that is none.
        """
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise SchemaError(f"verify is the share of queries to ask again, above 0 and at most 1, not {share!r}")

        async def verified(request: Request) -> Found:
            hits, told = await find(request)
            places = self._drawn(len(request.queries), share)
            if not len(places):
                return hits, told
            exactly = replace(request.some(places), tuning=Tuning(exact=True), columns=(), include_vectors=False)
            truth, _ = await find(exactly)
            made = _compared(hits.some(places), truth)
            if made is None:
                return hits, told
            self.total = made if self.total is None else self.total + made
            return hits, replace(told, verified=made)

        return verified

    def _drawn(self, queries: int, share: float) -> Counts:
        """Draw queries: of a batch at least one, a single one with this chance."""
        count = max(1, round(share * queries)) if queries > 1 else int(queries and self._rng.random() < share)
        return np.sort(self._rng.permutation(queries)[:count])


def _compared(found: Hits, truth: Hits) -> Verified | None:
    """Count the neighbours that were found; None where no query has any.

    A row counts that is among the true ones, or as near as the last of them: a distance alone may be that of a code.
    """
    shares = []
    ids, true_ids = found.ids, truth.ids
    ends, true_ends = np.cumsum(found.counts), np.cumsum(truth.counts)
    for at, want in enumerate(truth.counts):
        if not want:
            continue
        mine = slice(ends[at] - found.counts[at], ends[at])
        theirs = slice(true_ends[at] - want, true_ends[at])
        kth = float(truth.distances[theirs][-1])
        tied = np.abs(found.distances[mine] - kth) <= SLACK * max(1.0, abs(kth))
        good = np.asarray(ids[mine].isin(true_ids[theirs]), bool) | tied
        # of rows that tie with the last there may be more than places
        shares.append(min(int(good.sum()), int(want)) / int(want))
    return Verified(len(shares), float(np.mean(shares))) if shares else None


class Verifying:
    """What a store has of it."""

    _verifier: Verifier | None = None

    @property
    def verified(self) -> Verified | None:
        """The recall of all searches with `verify` since the store was opened, as those of their queries tell."""
        return None if self._verifier is None else self._verifier.total

    def _verifying(self, find: Find, share: float | None) -> Find:
        if share is None:
            return find
        self._verifier = self._verifier or Verifier()
        return self._verifier.around(find, share)
