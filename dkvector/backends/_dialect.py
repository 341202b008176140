"""Where Elasticsearch and OpenSearch differ: vectors in a mapping, searches near one, points in time. No I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dkvector.backends._engine_config import EngineConfig
from dkvector.backends._layout import Layout
from dkvector.backends._querydsl import Query
from dkvector.backends._wire import Server
from dkvector.errors import BackendUnavailableError
from dkvector.indexes import HNSW, Auto, IndexSpec
from dkvector.metrics import DistanceMetric, Floats
from dkvector.schema import Supports, VectorInfo

MOST = 10_000  # hits of one request, and candidates of a shard
KEEP = "5m"  # that a point in time is kept between two pages


@dataclass(frozen=True)
class Ask:
    """A search near one vector.

    Attributes:
        path: the vector field.
        vector: `(d,)` float32.
        k: hits.
        candidates: of each shard, at least k.
        filter: what hits must satisfy.
        metric: what to measure by.
        spec: the index of the field.
        rescore: whether a quantised index is measured again by the full vectors.
    """

    path: str
    vector: Floats
    k: int
    candidates: int
    filter: Query | None
    metric: DistanceMetric
    spec: IndexSpec
    rescore: bool


@dataclass(frozen=True)
class Known:
    """A vector field that an index has.

    Attributes:
        info: what it holds.
        spec: its index.
        measure: the engine's word for how it measures; None where it can't be searched by its index.
    """

    info: VectorInfo
    spec: IndexSpec
    measure: str


class Dialect(ABC):
    """What one engine calls things.

    Args:
        server: what the server says of itself.
        config: of the store.
    """

    engine: ClassVar[str]
    majors: ClassVar[Mapping[int, tuple[int, ...]]]  # of the client → of the servers it talks to
    packed: bool = False  # vectors travel as base64
    units: float = 0.0  # a vector whose squared length is as near to 1 is taken for a unit vector under cosine
    tells_ignored: bool = True  # the engine notes in `_ignored` what was too long for a keyword
    rescores: bool = False  # the engine measures candidates of a quantised index again
    pit: ClassVar[tuple[str, str, str]]  # how a point in time is opened, how closed, and what its id is called
    whole_pit: ClassVar[Mapping[str, str]] = {}  # has it refused where a shard is down

    def __init__(self, server: Server, config: EngineConfig) -> None:
        self.server = server
        self.config = config

    @property
    @abstractmethod
    def supports(self) -> Supports:
        """What this server can do."""

    def resolved(self, spec: IndexSpec) -> IndexSpec:
        """Choose what a spec leaves open: a graph, which serves an index of any size.

        Raises:
            UnsupportedError: an index that the engine has not.
        """
        self.supports.check_index(self.engine, spec)
        return HNSW() if isinstance(spec, Auto) else spec

    @abstractmethod
    def vector(self, info: VectorInfo, layout: Layout) -> dict[str, Any]:
        """Map a vector field of a layout."""

    @abstractmethod
    def measure(self, metric: DistanceMetric) -> str:
        """Name how fields of a metric are measured, as `metrics.from_engine` knows it."""

    @abstractmethod
    def known(self, name: str, mapping: Mapping[str, Any]) -> Known | None:
        """Read a vector field from a mapping; None where it is another field."""

    @abstractmethod
    def settings(self, layout: Layout) -> dict[str, Any]:
        """Give the settings that a new index needs for its vectors."""

    @abstractmethod
    def near(self, ask: Ask) -> dict[str, Any]:
        """Search by the index."""

    @abstractmethod
    def exact(self, ask: Ask) -> dict[str, Any] | None:
        """Search by comparing every row in the engine, scored as an index of the metric does; None if it can't."""

    @abstractmethod
    def is_exact(self, spec: IndexSpec) -> bool:
        """Tell whether a search by the index compares every row by its full vector."""

    def indexed(self, spec: IndexSpec) -> bool:  # noqa: ARG002 - of one engine only
        """Tell whether the engine has an index for a field of a spec."""
        return True

    @abstractmethod
    def source(self, paths: Sequence[str], *, vectors: bool) -> Any:
        """Ask for parts of documents."""

    @abstractmethod
    def page_order(self, layout: Layout) -> list[Any]:
        """Order the pages of a point in time, by what differs in every row."""

    def check_major(self, client: tuple[int, ...]) -> None:
        """Refuse a client that doesn't talk to the server.

        Raises:
            BackendUnavailableError: names the extra that brings the right one.
        """
        if not self.server.version:
            return
        major, version = self.server.version[0], ".".join(map(str, self.server.version))
        # a client newer than those known here will talk to servers of its own major
        if major in self.majors.get(client[0], (client[0],)):
            return
        newest = max(self.majors)
        # the newest client has the plain extra, those before it one with their number
        extra = self.engine if major >= newest else f"{self.engine}{major}"
        raise BackendUnavailableError(
            f"the server is {self.engine} {version}, the client is {'.'.join(map(str, client))}: "
            f"pip install 'dkvector[{extra}]'"
        )
