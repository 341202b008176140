"""Vectors for rows that had none: a capability of databases, opt-in, and nothing else of the table is touched."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from dkvector.counts import as_count
from dkvector.encoders import Encoder, as_encoder
from dkvector.errors import SchemaError
from dkvector.filters import Filter
from dkvector.metrics import DistanceMetric, Floats
from dkvector.operations import VectorOperations
from dkvector.requests import Backfill
from dkvector.schema import Schema, Supports, VectorInfo
from dkvector.vectors import read_vectors


class Migration(VectorOperations):
    """Vector fields for rows that are there already."""

    name: ClassVar[str]
    supports: Supports

    @property
    @abstractmethod
    def known(self) -> Schema:
        """The schema; an error while nothing has been written."""

    @abstractmethod
    def _where(self, where: Any) -> Filter | None: ...

    async def add_vector_field(
        self,
        name: str,
        dimensions: int,
        *,
        metric: DistanceMetric | str = DistanceMetric.COSINE,
        dtype: str = "float32",
        model: str | None = None,
        version: str | None = None,
    ) -> VectorInfo:
        """Give every row a vector field, empty until `backfill` or a write fills it.

        Args:
            name: of the field.
            dimensions: of the vectors.
            metric: what it will be searched by.
            dtype: what the numbers are kept as: "float32" or "float16".
            model: the model that will make the vectors.
            version: its version.

        Returns:
            The field.

        Raises:
            UnsupportedError: a backend that can't.
            SchemaError: a name that is taken, or vectors that are too long.
        """
        self.supports.check_migration(self.name)
        taken = [self.known.id.name, *self.known.payload.names, *(one.name for one in self.known.vectors)]
        if name in taken:
            raise SchemaError(f"there is a column {name!r} already")
        info = VectorInfo(name, as_count(dimensions, "dimensions"), DistanceMetric.of(metric), dtype, model, version)
        await self._add_vector_field(info)
        return info

    async def backfill(
        self,
        field: str,
        encoder: Any,
        *,
        text: str | Sequence[str],
        where: Any = None,
        batch_size: int = 256,
        progress: bool | None = None,
    ) -> int:
        """Fill a vector field of the rows that lack it, batch by batch; one that was interrupted goes on from there.

        Args:
            field: the vector field.
            encoder: turns a list of n texts into vectors `(n, d)`: a function, or an object with `encode`.
            text: the column to encode, or several, whose texts are joined by line ends; rows without text are left.
            where: only rows that satisfy this filter.
            batch_size: rows that are encoded and written at a time.
            progress: show a bar; None shows one when there is much to do.

        Returns:
            How many rows were filled.

        Raises:
            VectorError: what the encoder made can't be used; what was filled before stays.
            SchemaError: something that is no encoder, or is of another model or length than the field.
        """
        self.supports.check_migration(self.name)
        info = self.known.vector(field)
        embeds = as_encoder(encoder)
        embeds.check_field(info)
        columns = tuple(self.known.text(text))
        wanted = Backfill(info, columns, self._where(where), as_count(batch_size, "batch_size"), progress)
        return await self._backfill(wanted, lambda texts: encoded(embeds, texts, info))

    async def index_columns(self, columns: str | Sequence[str], *, words: bool = False) -> None:
        """Index payload columns, so that filters on them, or searches for their words, need not read every row.

        Args:
            columns: their names.
            words: index the words of text columns for `keyword_search`, rather than values for filters.
        """
        self.supports.check_migration(self.name)
        names = [columns] if isinstance(columns, str) else list(columns)
        await self._index_columns(tuple(self.known.text(names) if words else self.known.select(names)), words=words)

    async def _add_vector_field(self, info: VectorInfo) -> None:
        raise NotImplementedError(info)

    async def _backfill(self, request: Backfill, encode: Callable[[list[str]], Floats]) -> int:
        raise NotImplementedError(request, encode)

    async def _index_columns(self, columns: tuple[str, ...], *, words: bool) -> None:
        raise NotImplementedError(columns, words)


def encoded(encoder: Encoder, texts: list[str], info: VectorInfo) -> Floats:
    """Encode texts, and check that the field can have what came.

    Raises:
        VectorError: vectors that the field's metric can't measure.
        SchemaError: vectors of another length than the field's.
    """
    made = encoder.encode(texts, progress=False)
    encoder.check_field(info)
    return read_vectors(made, dimensions=info.dimensions, metric=info.metric, name=info.name).matrix
