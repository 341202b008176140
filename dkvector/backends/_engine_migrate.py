"""What a store in a search engine does of vector fields that come later than its rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence

from dkvector.backends._engine_fields import Fields
from dkvector.backends._engine_indexes import TRIES, Held
from dkvector.filling import Backfill, Page
from dkvector.metrics import Floats
from dkvector.migration import Infos
from dkvector.schema import VectorInfo
from dkvector.store import AsyncVectorStore


class EngineFields(AsyncVectorStore):
    """Vector fields that come later than the rows: each step asks the engine first how things stand."""

    @property
    @abstractmethod
    def _fields(self) -> Fields: ...

    @abstractmethod
    async def _load(self) -> None: ...

    @abstractmethod
    def _hold(self, held: Held | None) -> None: ...

    async def _add_vector_field(self, info: VectorInfo) -> None:
        # anew: what another has added since is described with it
        await self._load()
        await self._fields.add(info)
        await self._load()

    async def _drop_vector_fields(self, names: Sequence[str]) -> None:
        await self._load()
        self._hold(await self._fields.drop(names))

    async def _redescribe(self, change: Callable[[Infos], Infos], whole: str | None) -> None:
        for _ in range(TRIES):
            await self._load()
            if await self._fields.describe(change, whole):
                break
        await self._load()

    async def _count_lacking(self, name: str) -> int:
        return await self._fields.lacking(name)

    def _lacking(self, request: Backfill) -> AsyncIterator[Page]:
        return self._fields.pages(request)

    async def _fill(self, request: Backfill, page: Page, made: Floats) -> int:
        return await self._fields.fill(request, page, made)
