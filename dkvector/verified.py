"""What a search finds of the true neighbours, as a sample of its own queries tells."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Verified:
    """An estimate of recall.

    Attributes:
        queries: how many queries were asked again, exactly.
        recall: the share of their true neighbours that had been found.
    """

    queries: int
    recall: float

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval at 95 %, each query taken as one trial: neighbours of one query are lost together."""
        return wilson(self.recall, self.queries)

    def __add__(self, other: Verified) -> Verified:
        queries = self.queries + other.queries
        return Verified(queries, (self.recall * self.queries + other.recall * other.queries) / queries)

    def __str__(self) -> str:
        low, high = self.interval
        asked = f"{self.queries:,} {'query' if self.queries == 1 else 'queries'}"
        return f"recall {self.recall:.3f} ({low:.3f} to {high:.3f}) by {asked} asked again, exactly"


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Give Wilson's interval of a share (JASA 22, 1927), which stays inside 0 and 1 and does not vanish at its ends.

    Example:
        >>> tuple(round(end, 3) for end in wilson(1.0, 20))
        (0.839, 1.0)
    """
    if not count:
        return 0.0, 1.0
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
