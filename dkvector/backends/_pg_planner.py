"""From a request to a statement: the plan, by the rows that the server thinks match; both are remembered."""

from __future__ import annotations

import time

from dkvector.backends._pg_indexes import PgIndex
from dkvector.backends._pg_plan import Plan, chosen
from dkvector.backends._pg_pool import Connections
from dkvector.backends._pg_search import Search, estimate, search
from dkvector.backends._pg_table import Table
from dkvector.metrics import DistanceMetric
from dkvector.requests import Request
from dkvector.schema import VectorInfo

REMEMBERED = 30.0  # seconds that an estimate of the matching rows is good for
MOST = 256  # estimates, and statements, that are remembered


class Planner:
    """Plans the searches of one table.

    Args:
        connections: to the server.

    Attributes:
        rows: in the table, about, as the server last told; negative where it was not asked.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._table: Table | None = None
        self._estimates: dict[str, tuple[float, float]] = {}
        self._searches: dict[tuple[object, ...], Search] = {}
        self._analysed = True
        self.rows = -1.0

    def take(self, table: Table | None) -> None:
        """Plan for a table as it is now."""
        self._table = table
        self._searches.clear()
        self.forget()
        self.rows = -1.0

    def forget(self) -> None:
        """Forget the estimates."""
        self._estimates.clear()

    def written(self) -> None:
        """Have the server look at its rows before it estimates again."""
        self._analysed = False

    async def search(self, request: Request, table: Table) -> Search:
        """Give the statement of a search; that of one without a filter is written once."""
        if request.where is not None or table.restricted:
            return search(request, table, await self.plan(request, table))
        single = len(request.queries) == 1
        asked = (request.info.name, request.metric, request.k, request.columns, request.include_vectors)
        shape = (*asked, request.tuning, single)
        known = self._searches.get(shape)
        if known is not None:
            return known.of(request)
        if len(self._searches) >= MOST:
            self._searches.clear()
        made = search(request, table, await self.plan(request, table))
        if table is self._table:
            # and has not changed meanwhile
            self._searches[shape] = made
        return made

    async def plan(self, request: Request, table: Table) -> Plan:
        """Choose how to answer a search."""
        index = index_for(table, request.info, request.metric)
        if index is None:
            return chosen(request, None, 0, None if request.where is None else 0)
        filtered = request.where is not None or table.restricted
        if filtered and request.tuning.exact is None:
            await self._analyse(table)
        matching = await self._matching(request, table) if filtered else None
        return chosen(request, index, await self._about(table) if filtered else 0, matching)

    async def _matching(self, request: Request, table: Table) -> float:
        """Estimate the rows that match; an estimate is good for a while."""
        key, now = str(request.where), time.monotonic()
        known = self._estimates.get(key)
        if known is None or now - known[1] > REMEMBERED:
            if len(self._estimates) >= MOST:
                self._estimates.clear()
            rows = await self._connections.read(lambda connection: estimate(connection, table, request))
            self._estimates[key] = known = (rows, now)
        return known[0]

    async def _about(self, table: Table) -> float:
        """Tell about how many rows there are, as the server knows without counting."""
        if self.rows < 0:
            known = "SELECT greatest(reltuples, 0)::float8 FROM pg_class WHERE oid = to_regclass($1)"
            told = await self._connections.fetch(known, table.sql)
            # before its first ANALYZE the server knows of no rows
            told = told if told[0][0] else await self._connections.fetch(f"SELECT count(*) FROM {table.sql}")
            self.rows = float(told[0][0])
        return self.rows

    async def _analyse(self, table: Table) -> None:
        """Have the server look at rows that were written by us, so that it can estimate."""
        if not self._analysed and table.owned:
            self._analysed = True
            async with self._connections.transaction() as connection:
                await connection.execute(f"ANALYZE {table.sql}")
            self.rows = -1.0
            self.forget()


def index_for(table: Table, info: VectorInfo, metric: DistanceMetric) -> PgIndex | None:
    """Find the index that answers by a metric: the last one that was built."""
    metrics = {metric, None} if metric is info.metric else {metric}
    fitting = [one for one in table.indexes if one.field == info.name and one.metric in metrics]
    return fitting[-1] if fitting else None
