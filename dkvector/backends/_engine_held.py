"""Which index a store reads and writes now: another process may put one in its place at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from dkvector.backends._dialect import Dialect
from dkvector.backends._engine_config import EngineConfig
from dkvector.backends._engine_fields import Fields
from dkvector.backends._engine_indexes import Held, Indexes
from dkvector.backends._engine_migrate import EngineFields
from dkvector.backends._engine_reader import Reader
from dkvector.backends._engine_writer import Writer
from dkvector.backends._querydsl import beyond
from dkvector.backends._wire import Wire
from dkvector.errors import BackendUnavailableError, NotFoundError, SchemaError
from dkvector.indexes import IndexSpec

T = TypeVar("T")
PAUSES = (0.05, 0.2)  # seconds: an engine lets go of a replaced index a moment before it knows the new one


class EngineHolding(EngineFields):
    """Holds what is known of an index, and what reads and writes it."""

    def __init__(self, wire: Wire, dialect: Dialect, config: EngineConfig) -> None:
        self._wire, self._dialect, self._config = wire, dialect, config
        self._index = config.index or ""
        self._places = Indexes(wire, dialect, self._index, config.settings, config.analyzer)
        self._held: Held | None = None
        self._patient = False  # many writes are to come: the engine need not show each
        self.supports = dialect.supports
        self.dimension = config.vectors.dimension
        self.metric = config.vectors.metric

    def _specs_known(self) -> Mapping[str, IndexSpec]:
        return {} if self._held is None else self._held.layout.specs

    async def _load(self) -> None:
        """Find what the index holds now."""
        held = await self._places.find()
        if held is not None and not held.layout.ours:
            held = replace(held, layout=await self._limited(held))
        self._hold(held)

    async def refresh(self) -> bool:
        """See columns, fields and versions that others have added or changed since; rows are seen anyway."""
        before = (self.empty, self.schema)
        await self._load()
        return before != (self.empty, self.schema)

    def _hold(self, held: Held | None) -> None:
        self._held = held
        self.schema = None if held is None else held.layout.schema
        for info in () if held is None else held.layout.schema.serving:
            if self.dimension not in {None, info.dimensions}:
                raise SchemaError(f"{self._index} holds {info.dimensions} dimensions, the config says {self.dimension}")
            if self.metric not in {None, info.metric}:
                raise SchemaError(f"{self._index} measures by {info.metric.value}, the config says {self.metric!s}")

    async def _limited(self, held: Held) -> Any:
        """Keep the limits of columns that hold texts too long to be compared, or may hold some."""
        layout, kept = held.layout, {}
        reader = Reader(self._wire, self._dialect, self._config, self._index, layout)
        for name, limit in layout.limits.items():
            longer = beyond(layout.target(name), told=self._dialect.tells_ignored)
            if longer is None or await reader.count(longer):
                kept[name] = limit
        return replace(layout, limits=kept)

    @property
    def _there(self) -> Held:
        """The index; an error while there is none."""
        _ = self.known
        if self._held is None:  # pragma: no cover - `known` has raised
            raise AssertionError
        return self._held

    @property
    def _reader(self) -> Reader:
        return Reader(self._wire, self._dialect, self._config, self._index, self._there.layout)

    @property
    def _writer(self) -> Writer:
        return Writer(self._wire, self._dialect, self._config, self._places, patient=self._patient)

    @property
    def _fields(self) -> Fields:
        return Fields(self._writer, self._reader, self._there)

    async def _read(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        """Read, and once more where another process has put an index in place of ours meanwhile."""
        held = self._there
        for pause in (*PAUSES, None):
            try:
                return await work(self._reader)
            except (BackendUnavailableError, NotFoundError):
                if pause is None:
                    raise
                await self._after_replacement(held)
                if self._there.concrete == held.concrete:
                    await asyncio.sleep(pause)
        raise AssertionError  # pragma: no cover - the last try returns or raises

    async def _after_replacement(self, before: Held) -> Reader:
        """Take up the index that another process has put in place of ours."""
        await self._load()
        if self._held is None or self._held.layout.schema != before.layout.schema:
            raise SchemaError(f"{self._index} was replaced meanwhile, and holds other columns now: search again")
        return self._reader
