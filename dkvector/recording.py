"""Which model made the vectors of a field: kept with it, once the model has made a few of them again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pyarrow as pa

from dkvector._loop import offload
from dkvector.encoders import Encoder, as_encoder
from dkvector.errors import SchemaError
from dkvector.filling import joined
from dkvector.migration import Migration, put
from dkvector.probes import ALIKE, Probes
from dkvector.schema import VectorInfo
from dkvector.vectors import to_matrix

_LOOKED_AT, _COMPARED = 64, 8  # rows that are read to find a few with text and vector, and those few


class Recording(Migration):
    """The models of the vector fields of a store."""

    async def record_model(
        self,
        encoder: Any,
        *,
        field: str | None = None,
        version: str | None = None,
        text: str | Sequence[str] | None = None,
    ) -> VectorInfo:
        """Keep with a field which model made its vectors, so that searches and writes by another are refused.

        Args:
            encoder: what made the vectors.
            field: the vector field, where there are several.
            version: of the model.
            text: the column, or the columns joined by line ends, that the vectors were made of: a few rows are
                embedded again and compared. Without it, nothing is compared, and usual texts are kept.

        Returns:
            The field as it is known now.

        Raises:
            SchemaError: the encoder did not make the vectors, or is of another length or model than is known.
            UnsupportedError: a backend that can't keep it.
        """
        self.supports.check_migration(self.name)
        info, embeds = self.known.vector(field), as_encoder(encoder)
        await offload(embeds.check_field, info)
        texts = [] if text is None else await self._proved(info, embeds, self.known.text(text))
        probes = await offload(embeds.probes, texts)

        def told(one: VectorInfo) -> VectorInfo:
            known_version = one.version if version is None else version
            return replace(one, probes=probes, model=embeds.model or one.model, version=known_version)

        await self._redescribe(lambda infos: put(infos, info.name, told), None)
        return self.known.vector(info.name)

    async def _proved(self, info: VectorInfo, encoder: Encoder, columns: Sequence[str]) -> list[str]:
        """Embed the texts of a few rows again, compare them with what is stored, and give the texts."""
        async with aclosing(self.scan(columns=columns, batch_size=_LOOKED_AT, include_vectors=True)) as each:
            async for rows in each:
                matrix, missing = to_matrix(rows.column(info.name))
                texts = joined([rows.column(name).to_pylist() for name in columns])
                there = [at for at, one in enumerate(texts) if one and (missing is None or not missing[at])]
                if usable := there[:_COMPARED]:
                    found = [texts[at] or "" for at in usable]
                    made = await offload(encoder.encode, found, progress=False)
                    _check_made(info.name, columns, Probes.of(found, matrix[usable]).least(made), len(found))
                    return found
        return []

    @abstractmethod
    def scan(
        self,
        where: Any = None,
        columns: Sequence[str] | None = None,
        batch_size: int = 1000,
        *,
        include_vectors: bool = False,
    ) -> AsyncGenerator[pa.Table, None]:
        """Give the rows that satisfy `where`, batch by batch."""


def _check_made(name: str, columns: Sequence[str], least: float, rows: int) -> None:
    """Refuse an encoder that makes other vectors of a few rows than are stored."""
    if least < ALIKE:
        raise SchemaError(
            f"the encoder did not make the vectors of {name!r} out of {', '.join(columns)}: those of {rows} rows, "
            f"made anew, have a cosine as low as {least:.3f} with what is stored"
        )
