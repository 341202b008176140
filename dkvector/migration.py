"""Vectors for rows that had none: a field is added, and filled from the rows' texts, batch by batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from dkvector._loop import offload
from dkvector.counts import as_count
from dkvector.encoders import Encoder, as_encoder
from dkvector.errors import AccessDeniedError, SchemaError
from dkvector.filling import Backfill, Page
from dkvector.filters import Filter
from dkvector.metrics import DistanceMetric, Floats
from dkvector.operations import VectorOperations
from dkvector.progress import bar
from dkvector.requests import shown
from dkvector.schema import Schema, Supports, VectorInfo
from dkvector.vectors import read_vectors

Infos = tuple[VectorInfo, ...]


class Migration(VectorOperations):
    """Vector fields for rows that are there already.

    A backend implements the six methods at the end, or declares no `supports.migration`.
    """

    name: ClassVar[str]
    supports: Supports

    @property
    @abstractmethod
    def known(self) -> Schema:
        """The schema; an error while nothing has been written."""

    @abstractmethod
    def _where(self, where: Any) -> Filter | None: ...

    @property
    @abstractmethod
    def _embedders(self) -> dict[str, Encoder]: ...

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
        """Give every row a vector field, empty until `backfill` fills it; rows written from now on must bring it.

        Args:
            name: of the field.
            dimensions: of the vectors.
            metric: what it will be searched by.
            dtype: what the numbers are kept as: "float32", or "float16" where the backend has it.
            model: the model that will make the vectors.
            version: its version.

        Returns:
            The field.

        Raises:
            UnsupportedError: a backend that can't.
            SchemaError: a name that is taken, or vectors that are too long.
        """
        self.supports.check_migration(self.name)
        size, measure = as_count(dimensions, "dimensions"), DistanceMetric.of(metric)
        self.supports.check_metric(self.name, measure, measure)
        info = VectorInfo(name, size, measure, dtype, model, version, partial=True)
        await self._added(info)
        return info

    async def _added(self, info: VectorInfo) -> None:
        taken = [*self.known.columns, self.known.id.name, *(one.name for one in self.known.vectors)]
        if info.name in taken:
            raise SchemaError(f"there is a column {info.name!r} already")
        await self._add_vector_field(info)

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

        A row that is replaced meanwhile keeps what it was replaced with, and gets the vector of its new text.

        Args:
            field: the vector field.
            encoder: turns a list of n texts into vectors `(n, d)`: a function, or an object with `encode`.
            text: the column to encode, or several, whose texts are joined by line ends; rows without text are left.
            where: only rows that satisfy this filter.
            batch_size: rows that are encoded at a time; an in-process store keeps them 16 times in all.
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
        await offload(embeds.check_field, info)
        columns = tuple(self.known.text(text))
        wanted = Backfill(info, columns, self._where(where), as_count(batch_size, "batch_size"), progress)
        return await self._backfill(wanted, embeds)

    async def _backfill(self, request: Backfill, encoder: Encoder) -> int:
        """Fill, and again as long as rows were replaced while theirs were made."""
        rows = await self._count_lacking(request.info.name)
        filled, again = 0, True
        show = shown(request.progress, rows)
        with bar(rows, f"vectors of {request.info.name}", unit="rows", show=show) as count:
            while again:
                again = False
                async for page in self._lacking(request):
                    made = await offload(_encoded, encoder, page.texts, request, count)
                    if not filled and request.info.probes is None:
                        await self._remember(request, encoder, page.texts)
                    done = await self._fill(request, page, made)
                    filled, again = filled + done, again or done < len(page)
        self._embedders[request.info.name] = encoder
        return filled

    async def _remember(self, request: Backfill, encoder: Encoder, texts: Sequence[str]) -> None:
        """Keep probes of the model with the field, before its first vector."""
        probes = await offload(encoder.probes, texts)

        def known(one: VectorInfo) -> VectorInfo:
            return replace(one, probes=one.probes or probes, model=one.model or encoder.model)

        # who may write vectors need not be one who may describe them
        with suppress(AccessDeniedError):
            await self._redescribe(lambda infos: put(infos, request.info.name, known), None)

    async def index_columns(self, columns: str | Sequence[str], *, words: bool = False) -> None:
        """Index payload columns, so that filters on them, or searches for their words, need not read every row.

        Args:
            columns: their names.
            words: index the words of text columns for `keyword_search`, rather than values for filters.
        """
        self.supports.check_column_indexes(self.name)
        names = [columns] if isinstance(columns, str) else list(columns)
        await self._index_columns(tuple(self.known.text(names) if words else self.known.select(names)), words=words)

    async def _index_columns(self, columns: tuple[str, ...], *, words: bool) -> None:
        raise NotImplementedError(columns, words)

    async def _add_vector_field(self, info: VectorInfo) -> None:
        """Add a field that no row has a vector in."""
        raise NotImplementedError(info)

    async def _drop_vector_fields(self, names: Sequence[str]) -> None:
        """Remove fields with their vectors and indexes."""
        raise NotImplementedError(names)

    async def _redescribe(self, change: Callable[[Infos], Infos], whole: str | None) -> None:
        """Change what is known of the fields, in one step.

        Args:
            change: gives the new ones for those that are there now, whoever described them last.
            whole: a field that no row may lack, which `versions.check_whole` refuses; looked at in the same step as
                far as the engine has such.
        """
        raise NotImplementedError(change, whole)

    def _lacking(self, request: Backfill) -> AsyncIterator[Page]:
        """Give the rows that lack their vector and have a text, as they stand now, page by page."""
        raise NotImplementedError(request)

    async def _fill(self, request: Backfill, page: Page, made: Floats) -> int:
        """Give rows their vectors, but for those that have got one or another text meanwhile; tells how many."""
        raise NotImplementedError(request, page, made)

    async def _count_lacking(self, name: str) -> int:
        """Count the rows that lack a vector in a field."""
        raise NotImplementedError(name)


def put(infos: Infos, name: str, change: Callable[[VectorInfo], VectorInfo]) -> Infos:
    """Change one of the fields.

    Example:
        >>> put((VectorInfo("v", 2), VectorInfo("w", 2)), "w", lambda one: replace(one, model="m"))[1].model
        'm'
    """
    return tuple(change(one) if one.name == name else one for one in infos)


def _encoded(encoder: Encoder, texts: Sequence[str], request: Backfill, done: Callable[[int], object]) -> Floats:
    """Encode a page, a batch at a time, so that the bar moves."""
    made = []
    for at in range(0, len(texts), request.batch_size):
        made.append(encoded(encoder, texts[at : at + request.batch_size], request.info))
        done(len(made[-1]))
    return np.concatenate(made)


def encoded(encoder: Encoder, texts: Sequence[str], info: VectorInfo) -> Floats:
    """Encode texts, and check that the field can have what came.

    Raises:
        VectorError: vectors that the field's metric can't measure.
        SchemaError: vectors of another length than the field's.
    """
    made = encoder.encode(texts, progress=False)
    # once more: by now the encoder's length is known
    encoder.check_field(info)
    return read_vectors(made, dimensions=info.dimensions, metric=info.metric, name=info.name).matrix
