"""Elasticsearch 8 and 9: `dense_vector` fields, searched by the knn clause with the filter inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import elasticsearch
import numpy as np
import orjson
from elastic_transport import AiohttpHttpNode
from elasticsearch import ApiError, AsyncElasticsearch, TransportError, UnsupportedProductError
from elasticsearch.serializer import JsonSerializer

from dkvector.backends._dialect import Ask, Dialect, Known
from dkvector.backends._documents import encoded_vectors
from dkvector.backends._engine_config import EngineConfig, access
from dkvector.backends._layout import Layout
from dkvector.backends._querydsl import ALL
from dkvector.backends._search_engine import EngineStore
from dkvector.backends._wire import CLOSED, JSON, LINES, Server, Wire, WireError, as_json, basic, reason_of, streamed
from dkvector.errors import BackendUnavailableError
from dkvector.indexes import HNSW, Flat, IndexSpec
from dkvector.metrics import DistanceMetric
from dkvector.schema import Supports, VectorInfo

_SIMILARITIES = {
    DistanceMetric.COSINE: "cosine",
    DistanceMetric.EUCLIDEAN: "l2_norm",
    DistanceMetric.DOT_PRODUCT: "max_inner_product",  # "dot_product" takes unit vectors only
}
_METRICS = {word: metric for metric, word in _SIMILARITIES.items()} | {"dot_product": DistanceMetric.DOT_PRODUCT}
_COMPRESSED = {"int8": "int8", "int4": "int4", "binary": "bbq"}
_SCRIPTS = {
    DistanceMetric.COSINE: "(1.0 + cosineSimilarity(params.q, params.f)) / 2",
    DistanceMetric.EUCLIDEAN: "double d = l2norm(params.q, params.f); return 1 / (1 + d * d)",
    DistanceMetric.DOT_PRODUCT: "double s = dotProduct(params.q, params.f); return s < 0 ? 1 / (1 - s) : s + 1",
}
_BASE64 = (9, 3)  # first version that takes vectors in base64,
_LEFT_OUT = (9, 2)  # that leaves vectors out of the source,
_RESCORES = ((8, 18), (9, 0))  # and that measures candidates again


class ElasticsearchDialect(Dialect):
    """What Elasticsearch calls things."""

    engine: ClassVar[str] = "elasticsearch"
    majors: ClassVar[Mapping[int, tuple[int, ...]]] = {8: (8, 9), 9: (9,)}
    units = 1e-3
    pit: ClassVar[tuple[str, str, str]] = ("/_pit", "/_pit", "id")

    def __init__(self, server: Server, config: EngineConfig) -> None:
        super().__init__(server, config)
        self.packed = server.version >= _BASE64
        older, newer = _RESCORES
        self.rescores = server.version >= (newer if server.version >= newer else older)
        self.scripts = "lang-painless" in server.parts

    @property
    def supports(self) -> Supports:
        """What this server can do: another metric than a field's takes its scripts."""
        return Supports(
            indexes=frozenset({"flat", "hnsw", "auto"}),
            quantisations=frozenset(_COMPRESSED),
            other_metric=self.scripts,
            keyword=True,
            compile=True,
            migration=True,
        )

    def vector(self, info: VectorInfo, layout: Layout) -> dict[str, Any]:
        """Map a vector field; its index is always stated, for the default depends on the dimensions."""
        spec = layout.specs[info.name]
        compressed = _COMPRESSED.get(getattr(spec, "quantization", None) or "")
        options: dict[str, Any] = {"type": f"{compressed}_{spec.kind}" if compressed else spec.kind}
        if isinstance(spec, HNSW):
            options |= {"m": spec.m, "ef_construction": spec.ef_construction}
        return {
            "type": "dense_vector",
            "dims": info.dimensions,
            "index": True,
            "similarity": _SIMILARITIES[info.metric],
            "index_options": options,
        }

    def measure(self, metric: DistanceMetric) -> str:
        """Name the similarity of a metric."""
        return _SIMILARITIES[metric]

    def known(self, name: str, mapping: Mapping[str, Any]) -> Known | None:
        """Read a vector field of floats from a mapping."""
        if mapping.get("type") != "dense_vector" or mapping.get("element_type", "float") != "float":
            return None
        if "dims" not in mapping:
            return None  # no document has come yet to tell
        word = mapping.get("similarity", "cosine")
        indexed = mapping.get("index", True)
        info = VectorInfo(name, mapping["dims"], _METRICS[word])
        return Known(info, _spec(mapping.get("index_options") or {}), word if indexed else "")

    def settings(self, layout: Layout) -> dict[str, Any]:
        """Keep vectors in the source where the engine would give others back: it stores unit vectors for cosine."""
        if self.server.version < _LEFT_OUT:
            return {}
        cosine = any(info.metric is DistanceMetric.COSINE for info in layout.schema.vectors)
        return {"mapping.exclude_source_vectors": not cosine}

    def _query_vector(self, ask: Ask) -> Any:
        vector = ask.vector
        if ask.metric is DistanceMetric.COSINE:
            # the engine itself would leave what is nearly a unit vector as it is
            vector = (vector / np.linalg.norm(vector.astype(np.float64))).astype(np.float32)
        return encoded_vectors(vector[None], packed=True)[0] if self.packed else vector

    def near(self, ask: Ask) -> dict[str, Any]:
        """Search by the index, the filter inside."""
        knn: dict[str, Any] = {
            "field": ask.path,
            "query_vector": self._query_vector(ask),
            "k": ask.k,
            "num_candidates": ask.candidates,
        }
        if ask.filter is not None:
            knn["filter"] = ask.filter
        if getattr(ask.spec, "quantization", None) is not None and self.rescores:
            knn["rescore_vector"] = {"oversample": self.config.oversample if ask.rescore else 0}
        return {"knn": knn}

    def exact(self, ask: Ask) -> dict[str, Any] | None:
        """Search by a script over all rows, where the server runs scripts."""
        if not self.scripts:
            return None
        script = {"source": _SCRIPTS[ask.metric], "params": {"q": ask.vector, "f": ask.path}}
        return {"query": {"script_score": {"query": ask.filter or ALL, "script": script}}}

    def is_exact(self, spec: IndexSpec) -> bool:
        """Tell whether every row is compared by its full vector."""
        return isinstance(spec, Flat) and spec.quantization is None

    def source(self, paths: Sequence[str], *, vectors: bool) -> Any:
        """Ask for parts of documents; vectors only come where they are asked for twice."""
        if not paths:
            return False
        whole = vectors and self.server.version >= _LEFT_OUT
        return {"includes": list(paths), **({"exclude_vectors": False} if whole else {})}

    def page_order(self, layout: Layout) -> list[Any]:  # noqa: ARG002 - the other engine looks at it
        """Order by place, which costs nothing."""
        return ["_shard_doc"]


def _spec(options: Mapping[str, Any]) -> IndexSpec:
    word = str(options.get("type", "hnsw"))
    compressed, _, kind = word.rpartition("_")
    ours = {theirs: name for name, theirs in _COMPRESSED.items()}.get(compressed)
    if kind == "flat":
        return Flat(ours)  # type: ignore[arg-type]
    return HNSW(options.get("m", 16), options.get("ef_construction", 100), ours)  # type: ignore[arg-type]


class _Json(JsonSerializer):
    """JSON by orjson, which reads and writes NumPy's arrays as they are."""

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else as_json(data)

    def json_loads(self, data: bytes) -> Any:
        return orjson.loads(data)


class _Node(AiohttpHttpNode):
    """A connection that sends large bodies as aiohttp likes them."""

    async def perform_request(self, method: str, target: str, body: Any = None, *rest: Any, **knobs: Any) -> Any:  # type: ignore[override]
        whole = streamed(body, compressed=bool(self._http_compress))
        return await super().perform_request(method, target, whole, *rest, **knobs)


class ElasticsearchWire(Wire):
    """The official client."""

    engine = "elasticsearch"

    def __init__(self, config: EngineConfig) -> None:
        super().__init__()
        self._config, self._access = config, access(self.engine, config)
        self.hosts = self._access.hosts or ("Elastic's cloud",)

    def made(self) -> AsyncElasticsearch:
        """Make a client."""
        config, found = self._config, self._access
        return AsyncElasticsearch(
            list(found.hosts) or None,
            cloud_id=config.cloud_id,
            basic_auth=None if found.user is None else basic(*found.user),
            api_key=found.api_key,
            request_timeout=config.timeout,
            http_compress=config.compress,
            # of connections only: what is refused for want of room is sent again after a pause, see `_bulk`
            max_retries=2,
            retry_on_status=(),
            serializers={JSON: _Json()},
            node_class=_Node,
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
        try:
            client = await self.client()
            client = client if patience is None else client.options(request_timeout=patience)
            answer = await client.perform_request(method, path, params=params, headers=headers, body=body)
        except UnsupportedProductError as exc:
            raise BackendUnavailableError("the server is not Elasticsearch; OpenSearch is opensearch://…") from exc
        except ApiError as exc:
            raise WireError(exc.meta.status, *reason_of(exc.body)) from exc
        except TransportError as exc:
            raise BackendUnavailableError(f"elasticsearch can't be reached: {exc.message}") from exc
        except RuntimeError as exc:
            if not self.closed:
                raise
            # what aiohttp says whose session was closed meanwhile
            raise BackendUnavailableError(CLOSED.format(self.engine)) from exc
        return answer.body


class ElasticsearchStore(EngineStore):
    """Rows as documents of an index in Elasticsearch.

    `connect("elasticsearch://host:9200", table="documents")` opens one; see `EngineConfig` for all that it takes.
    """

    name: ClassVar[str] = "elasticsearch"

    @classmethod
    def _connected(cls, config: EngineConfig) -> tuple[Wire, tuple[int, ...]]:
        return ElasticsearchWire(config), tuple(int(part) for part in elasticsearch.__version__[:2])

    @classmethod
    def _speaking(cls, server: Server, config: EngineConfig) -> Dialect:
        return ElasticsearchDialect(server, config)
