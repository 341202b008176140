"""Versions of a vector field: another model fills a field beside the one that serves, and takes its place in one step.

The field that serves is searched by default, and a write must bring its vectors; those of other versions may be
lacking. So a new version is filled while the old one serves, compared with it, switched to, and can be switched back
from, until the old one is pruned.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from dkvector._loop import offload
from dkvector.encoders import Encoder, as_encoder
from dkvector.errors import NotFoundError, SchemaError
from dkvector.indexes import Flat, IndexSpec
from dkvector.migration import Infos, put
from dkvector.recording import Recording
from dkvector.schema import VectorInfo


@dataclass(frozen=True)
class Reembedded:
    """What `reembed` did.

    Attributes:
        field: the field of the new version.
        filled: rows that got their vector by this call.
        lacking: rows that have none, for they have no text; `switch` asks for each, or for `incomplete=True`.
    """

    field: VectorInfo
    filled: int
    lacking: int


class Versions(Recording):
    """Versions of the vector fields of a store."""

    async def reembed(
        self,
        encoder: Any,
        version: str,
        *,
        text: str | Sequence[str] | None = None,
        field: str | None = None,
        name: str | None = None,
        dtype: str | None = None,
        batch_size: int = 256,
        progress: bool | None = None,
    ) -> Reembedded:
        """Make the vectors of all rows anew by another model, in a field beside the one that serves.

        Searches and writes go on meanwhile. What was interrupted, or killed, goes on where it stopped when it is
        called again; so do rows that were written since, which lack the new vector. The field gets the index that the
        one that serves has, once it is full.

        Args:
            encoder: the other model.
            version: what it will be called, such as "v2"; one that is there, also the one that serves, has the rows
                filled that lack it.
            text: the column to encode, or several, whose texts are joined by line ends; by default the only one.
            field: the vector field that serves, where there are several.
            name: of the new field; by default that of the family and the version, as in "embedding_v2".
            dtype: what the numbers are kept as; as in the field that serves by default.
            batch_size: rows that are encoded at a time.
            progress: show a bar; None shows one when there is much to do.

        Returns:
            The new field, and how many rows were filled.

        Raises:
            SchemaError: a version that another model began; something that is no encoder; several
                text columns and none named.
            VectorError: what the encoder made can't be used; what was filled before stays.
            UnsupportedError: a backend that can't.
        """
        self.supports.check_migration(self.name)
        columns, embeds = self._texts(text), as_encoder(encoder)
        serving = self.known.vector(field)
        there = self._version(serving.family, version)
        if there is None:
            there = await self._begun(serving, version, embeds, name, dtype)
        filled = await self.backfill(there.name, embeds, text=columns, batch_size=batch_size, progress=progress)
        await self._indexed_like(serving, there, progress=progress)
        return Reembedded(self.known.vector(there.name), filled, await self._count_lacking(there.name))

    def _texts(self, text: str | Sequence[str] | None) -> list[str]:
        columns = self.known.text(text)
        if text is None and len(columns) > 1:
            raise SchemaError(f"several columns of text: name that to embed as text=…; there are {columns}")
        return columns

    async def _begun(
        self, serving: VectorInfo, version: str, encoder: Encoder, name: str | None, dtype: str | None
    ) -> VectorInfo:
        """Add the field of a version, once the encoder has shown how long its vectors are."""
        if encoder.dimensions is None:
            await offload(encoder.probes, ["one text"])
        name = f"{serving.family}_{version}" if name is None else name
        made = VectorInfo(
            name,
            encoder.dimensions or 0,
            serving.metric,
            dtype or serving.dtype,
            encoder.model,
            version,
            of=serving.family,
            turn=None,
            partial=True,
        )
        await self._added(made)
        return made

    async def _indexed_like(self, serving: VectorInfo, made: VectorInfo, *, progress: bool | None) -> None:
        specs = await self.indexes()
        wanted = specs.get(serving.name, Flat())
        if specs.get(made.name) != wanted:
            await self.build_index(wanted, field=made.name, progress=progress)

    async def switch(self, version: str, *, field: str | None = None, incomplete: bool = False) -> VectorInfo:
        """Let another version serve, in one step: searches that name no field use it from then on.

        A reader sees the one or the other. One that has the store open sees the new one after its next write or
        `refresh()`. The version before stays as it is, for `rollback`; rows that are written from now on lack it.

        Args:
            version: which; the name of its field will do, as for one that was never given a version.
            field: a vector field of the family, where there are several families.
            incomplete: let it serve although rows lack its vector, which no search finds then.

        Returns:
            The field that serves now.

        Raises:
            NotFoundError: no such version.
            SchemaError: rows that lack a vector of it.
        """
        self.supports.check_migration(self.name)
        family = self.known.vector(field).family
        found = self._version(family, version)
        if found is None:
            raise NotFoundError.of("version", version, [str(one.version) for one in self._family(family)])
        name = found.name
        await self._redescribe(lambda infos: _turned(infos, family, name), None if incomplete else name)
        return self.known.vector(name)

    async def rollback(self, *, field: str | None = None, incomplete: bool = False) -> VectorInfo:
        """Let the version before serve again, in one step.

        Args:
            field: a vector field of the family, where there are several families.
            incomplete: let it serve although rows that were written since lack its vector; `reembed` with its encoder
                and version fills them.

        Returns:
            The field that serves now.

        Raises:
            SchemaError: none served before, or rows lack its vector.
        """
        self.supports.check_migration(self.name)
        family = self.known.vector(field).family
        served = sorted((one for one in self._family(family) if one.turn is not None), key=_turn_of)
        if len(served) < 2:  # noqa: PLR2004 - the one that serves, and one before
            raise SchemaError(f"no version of {family!r} served before {self.known.vector(field).name!r}")
        before, now = served[-2].name, served[-1].name
        await self._redescribe(lambda infos: _turned_back(infos, before, now), None if incomplete else before)
        return self.known.vector(before)

    async def prune(self, *, field: str | None = None) -> list[str]:
        """Remove all versions but the one that serves, with their vectors and indexes; there is no way back.

        Args:
            field: a vector field of the family, where there are several families.

        Returns:
            The names of the fields that went.
        """
        self.supports.check_migration(self.name)
        serving = self.known.vector(field)
        # the field that was named may be another version of the one that serves
        serving = next(one for one in self.known.serving if one.family == serving.family)
        gone = [one.name for one in self._family(serving.family) if one.name != serving.name]
        if gone:
            await self._drop_vector_fields(gone)
        for name in gone:
            self._embedders.pop(name, None)
        return gone

    async def versions(self) -> pd.DataFrame:
        """Tell of every vector field which model made it, whether it serves, and how many rows lack it.

        Returns:
            A frame indexed by field: family, version, model, dimensions, serving, lacking, and whether the model is
            known by `probes`.
        """
        known = self.known
        told = [
            {
                "field": one.name,
                "family": one.family,
                "version": one.version,
                "model": one.model,
                "dimensions": one.dimensions,
                "serving": one in known.serving,
                "lacking": await self._count_lacking(one.name) if self.supports.migration else 0,
                "probes": one.probes is not None,
            }
            for one in known.vectors
        ]
        return pd.DataFrame(told).set_index("field")

    def _family(self, family: str) -> list[VectorInfo]:
        return [one for one in self.known.vectors if one.family == family]

    def _version(self, family: str, version: str) -> VectorInfo | None:
        return next((one for one in self._family(family) if version in {one.version, one.name}), None)

    @abstractmethod
    async def indexes(self) -> dict[str, IndexSpec]:
        """Give the index spec of every vector field."""

    @abstractmethod
    async def build_index(self, spec: Any, field: str | None = None, *, progress: bool | None = None) -> IndexSpec:
        """Build the index of a vector field."""


def _turn_of(info: VectorInfo) -> int:
    return -1 if info.turn is None else info.turn


def _turned(infos: Infos, family: str, name: str) -> Infos:
    """Give a field the next turn of its family; rows may lack the others from then on."""
    kin = [one for one in infos if one.family == family]
    if name == max(kin, key=_turn_of).name:
        return infos
    turn = 1 + max(map(_turn_of, kin))
    lacked = tuple(replace(one, partial=True) if one.family == family else one for one in infos)
    return put(lacked, name, lambda one: replace(one, turn=turn))


def _turned_back(infos: Infos, before: str, now: str) -> Infos:
    """Take its turn from the field that serves, if it still does."""
    kin = {one.name: _turn_of(one) for one in infos}
    # somebody else has turned back meanwhile
    if kin.get(now, -1) < kin.get(before, -1):
        return infos
    return put(infos, now, lambda one: replace(one, turn=None))


def check_whole(name: str, lacking: int) -> None:
    """Refuse to let a version serve that rows lack.

    Raises:
        SchemaError: tells how many.
    """
    if lacking:
        raise SchemaError(
            f"{lacking:,} {'row has' if lacking == 1 else 'rows have'} no vector in {name!r}, and would not be found: "
            "reembed() fills those with a text; incomplete=True goes without the others"
        )
