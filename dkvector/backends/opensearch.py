"""OpenSearch 2 and 3: `knn_vector` fields by Lucene's graphs, or compared in full by the plugin's own script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

import opensearchpy
import orjson
from opensearchpy import AIOHttpConnection, AsyncOpenSearch, JSONSerializer, TransportError
from opensearchpy.exceptions import ConnectionError as Unconnected

from dkvector.backends._dialect import MOST, Ask, Dialect, Known
from dkvector.backends._engine_config import EngineConfig, access
from dkvector.backends._layout import ID, Layout
from dkvector.backends._querydsl import ALL
from dkvector.backends._search_engine import EngineStore
from dkvector.backends._wire import JSON, LINES, Server, Wire, WireError, as_json, basic, reason_of, streamed
from dkvector.errors import BackendUnavailableError, SchemaError, UnsupportedError
from dkvector.indexes import HNSW, Flat, IndexSpec
from dkvector.metrics import DistanceMetric
from dkvector.schema import Supports, VectorInfo

_SPACES = {
    DistanceMetric.COSINE: "cosinesimil",
    DistanceMetric.EUCLIDEAN: "l2",
    DistanceMetric.DOT_PRODUCT: "innerproduct",
}
_METRICS = {word: metric for metric, word in _SPACES.items()}
_MEASURES = {
    DistanceMetric.COSINE: "cosine",
    DistanceMetric.EUCLIDEAN: "l2_norm",
    DistanceMetric.DOT_PRODUCT: "max_inner_product",
}
_ENCODERS: dict[str, dict[str, dict[str, Any]]] = {
    "lucene": {"int8": {"name": "sq", "parameters": {"bits": 7}}},
    "faiss": {"float16": {"name": "sq", "parameters": {"type": "fp16"}}, "binary": {"name": "binary"}},
}
_LEAST = 100  # candidates that are measured again: seven bits tell neighbours apart badly
_HALVED = (3, 6)  # a version whose script is known to give (1 + cos θ) / 2, as the index does; it was 1 + cos θ
_COSINE = "(1.0 + cosineSimilarity(params.query_value, doc[params.field])) / 2"
_PLACES = (3, 3)  # first version that orders by place
_ABSENT = 404
_PLUGIN = "opensearch-knn"


class OpenSearchDialect(Dialect):
    """What OpenSearch calls things.

    The engine of vectors is stated always: where it is not, the server takes Faiss, whose native library is not in
    every package, and dies without it.
    """

    engine: ClassVar[str] = "opensearch"
    majors: ClassVar[Mapping[int, tuple[int, ...]]] = {2: (2,), 3: (2, 3)}
    pit: ClassVar[tuple[str, str, str]] = ("/_search/point_in_time", "/_search/point_in_time", "pit_id")
    whole_pit: ClassVar[Mapping[str, str]] = {"allow_partial_pit_creation": "false"}
    tells_ignored = False
    rescores = True

    @property
    def supports(self) -> Supports:
        """What this server can do; a script compares by any metric."""
        return Supports(
            indexes=frozenset({"flat", "hnsw", "auto"}),
            quantisations=frozenset(_ENCODERS[self.config.engine]),
            other_metric=True,
            keyword=True,
            compile=True,
            migration=True,
        )

    def resolved(self, spec: IndexSpec) -> IndexSpec:
        """Refuse a flat index that is compressed: rows without a graph are compared by their full vectors here."""
        if isinstance(spec, Flat) and spec.quantization is not None:
            raise UnsupportedError(f"opensearch has no flat index compressed to {spec.quantization!r}; HNSW can be")
        return super().resolved(spec)

    def vector(self, info: VectorInfo, layout: Layout) -> dict[str, Any]:
        """Map a vector field; beside a field that has a graph every other must have one."""
        if not self.settings(layout)["knn"]:
            return {"type": "knn_vector", "dimension": info.dimensions}
        spec = layout.specs[info.name]
        graph = spec if isinstance(spec, HNSW) else HNSW()
        parameters: dict[str, Any] = {"m": graph.m, "ef_construction": graph.ef_construction}
        if graph.quantization is not None:
            parameters["encoder"] = _ENCODERS[self.config.engine][graph.quantization]
        method = {
            "name": "hnsw",
            "engine": self.config.engine,
            "space_type": _SPACES[info.metric],
            "parameters": parameters,
        }
        return {"type": "knn_vector", "dimension": info.dimensions, "method": method}

    def measure(self, metric: DistanceMetric) -> str:
        """Name how fields of a metric are measured."""
        return _MEASURES[metric]

    def known(self, name: str, mapping: Mapping[str, Any]) -> Known | None:
        """Read a vector field of floats from a mapping."""
        if mapping.get("type") != "knn_vector" or mapping.get("data_type", "float") != "float":
            return None
        method = mapping.get("method") or {}
        space = method.get("space_type") or mapping.get("space_type") or "l2"
        if "dimension" not in mapping or space not in _METRICS:
            return None
        info = VectorInfo(name, mapping["dimension"], _METRICS[space])
        parameters = method.get("parameters") or {}
        spec = HNSW(parameters.get("m", 16), parameters.get("ef_construction", 100)) if method else Flat()
        return Known(info, spec, _MEASURES[info.metric])

    def settings(self, layout: Layout) -> dict[str, Any]:
        """Have graphs built only where some field has one."""
        return {"knn": any(isinstance(spec, HNSW) for spec in layout.specs.values())}

    def indexed(self, spec: IndexSpec) -> bool:
        """Tell whether a field has an index."""
        return not isinstance(spec, Flat)

    def near(self, ask: Ask) -> dict[str, Any]:
        """Search by the index, the filter inside; candidates of a quantised one are measured again by script."""
        wide = min(MOST, max(_LEAST, math.ceil(ask.k * self.config.oversample))) if ask.rescore else ask.k
        knn: dict[str, Any] = {"vector": ask.vector, "k": wide}
        if self.server.version >= (2, 16):
            knn["method_parameters"] = {"ef_search": max(wide, ask.candidates)}
        if ask.filter is not None:
            knn["filter"] = ask.filter
        body: dict[str, Any] = {"query": {"knn": {ask.path: knn}}}
        if ask.rescore:
            again = {"rescore_query": self._script(ask, ALL), "query_weight": 0, "rescore_query_weight": 1}
            body["rescore"] = {"window_size": wide, "query": again}
        return body

    def _script(self, ask: Ask, among: Any) -> dict[str, Any]:
        parameters = {"field": ask.path, "query_value": ask.vector, "space_type": _SPACES[ask.metric]}
        script = {"lang": "knn", "source": "knn_score", "params": parameters}
        if ask.metric is DistanceMetric.COSINE and self.server.version < _HALVED:
            script = {"source": _COSINE, "params": parameters}
        return {"script_score": {"query": among, "script": script}}

    def exact(self, ask: Ask) -> dict[str, Any] | None:
        """Search by the plugin's script over all rows that match."""
        return {"query": self._script(ask, ask.filter or ALL)}

    def is_exact(self, spec: IndexSpec) -> bool:  # noqa: ARG002 - the other engine has such an index
        """No index compares every row."""
        return False

    def source(self, paths: Sequence[str], *, vectors: bool) -> Any:  # noqa: ARG002 - the other engine asks twice
        """Ask for parts of documents."""
        return {"includes": list(paths)} if paths else False

    def page_order(self, layout: Layout) -> list[Any]:
        """Order by place where the server can, which costs nothing; else by id."""
        return ["_shard_doc"] if self.server.version >= _PLACES else [{ID if layout.ours else "_id": "asc"}]


class _Json(JSONSerializer):
    """JSON by orjson, which reads and writes NumPy's arrays as they are."""

    def dumps(self, data: Any) -> Any:
        return data if isinstance(data, str | bytes) else as_json(data)

    def loads(self, s: Any) -> Any:
        return orjson.loads(s)


class _Connection(AIOHttpConnection):
    """A connection that sends large bodies as aiohttp likes them."""

    async def perform_request(  # type: ignore[override]  # it is called by position as far as the body
        self, method: str, url: str, params: Any = None, body: Any = None, **knobs: Any
    ) -> Any:
        whole = streamed(body, compressed=bool(self.http_compress))
        return await super().perform_request(method, url, params, whole, **knobs)


class OpenSearchWire(Wire):
    """The official client."""

    engine = "opensearch"

    def __init__(self, config: EngineConfig) -> None:
        super().__init__()
        self._config, self._access = config, access(self.engine, config)
        self.hosts = self._access.hosts
        if self._access.api_key is not None or config.cloud_id is not None:
            raise SchemaError("OpenSearch takes a user and a password, not an api_key or a cloud_id")

    def made(self) -> AsyncOpenSearch:
        """Make a client."""
        config, found = self._config, self._access
        return AsyncOpenSearch(
            list(found.hosts),
            headers=None if found.user is None else {"authorization": f"Basic {basic(*found.user)}"},
            timeout=config.timeout,
            http_compress=config.compress,
            max_retries=2,
            retry_on_status=(),
            serializer=_Json(),
            connection_class=_Connection,
            **config.tls(found.hosts),
        )

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        patience: float | None = None,
    ) -> Any:
        """Send a request by the client."""
        headers = {"accept": JSON, "content-type": LINES if isinstance(body, bytes) else JSON}
        ask = (await self.client()).transport.perform_request
        # the client would read some parameters as its own, such as `timeout`
        url = f"{path}?{urlencode(params)}" if params else path
        try:  # a 404 is asked for, lest the client write a warning into the notebook
            answer = await ask(method, url, headers=headers, body=body, ignore=(_ABSENT,), timeout=patience)
        except Unconnected as exc:
            raise BackendUnavailableError(f"opensearch can't be reached: {exc.error}") from exc
        except TransportError as exc:
            raise WireError(int(exc.status_code), *reason_of(exc.info)) from exc
        if isinstance(answer, dict) and answer.get("status") == _ABSENT and "error" in answer:
            raise WireError(_ABSENT, *reason_of(answer))
        return answer


class OpenSearchStore(EngineStore):
    """Rows as documents of an index in OpenSearch.

    `connect("opensearch://host:9200", table="documents")` opens one; see `EngineConfig` for all that it takes.
    """

    name: ClassVar[str] = "opensearch"

    @classmethod
    def _connected(cls, config: EngineConfig) -> tuple[Wire, tuple[int, ...]]:
        return OpenSearchWire(config), tuple(int(part) for part in opensearchpy.__versionstr__.split(".")[:2])

    @classmethod
    def _speaking(cls, server: Server, config: EngineConfig) -> Dialect:
        if any(part.startswith("x-pack") for part in server.parts):
            raise BackendUnavailableError("the server is Elasticsearch, not OpenSearch: elasticsearch://…")
        if server.parts and _PLUGIN not in server.parts:
            raise BackendUnavailableError(f"the server has no plugin {_PLUGIN!r}, which vectors need: install it there")
        return OpenSearchDialect(server, config)
