"""The record-level interface that every store offers, as designed for record-based code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from dkvector.metrics import DistanceMetric
from dkvector.records import Record

Scored = list[tuple[Record, float]]


class VectorOperations(ABC):
    """Vector operations on records."""

    @abstractmethod
    async def index_vectors(
        self, records: Sequence[Record], vector_field: str, index_params: Mapping[str, Any] | None = None
    ) -> bool:
        """Write records and make their vectors searchable.

        Args:
            records: records that each hold a vector.
            vector_field: the field that holds it.
            index_params: an index spec as a dict, such as ``{"kind": "hnsw", "m": 32}``; None leaves the index.

        Returns:
            True; whatever could not be written is an error.
        """

    @abstractmethod
    async def search_similar(
        self,
        query_vector: Any,
        k: int = 10,
        metric: DistanceMetric | str | None = None,
        filter: Any = None,  # noqa: A002 - the interface's own word
    ) -> Scored:
        """Find the k records nearest to one vector.

        Args:
            query_vector: `(d,)` numbers.
            k: how many.
            metric: what to measure by; the field's own by default.
            filter: a `Query`, or any other form of `where`.

        Returns:
            (record, score) pairs, best first.
        """

    @abstractmethod
    async def update_vector(self, id: Any, vector_field: str, new_vector: Any) -> bool:  # noqa: A002 - as designed
        """Replace one vector of one record.

        Returns:
            False where there is no such record.
        """

    @abstractmethod
    async def delete_from_index(self, ids: Sequence[Any]) -> bool:
        """Remove records from the store and its index.

        Returns:
            True where any of them was there.
        """
