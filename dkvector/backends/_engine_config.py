"""The config of a store in a search engine: from the seed's dict or a URL to what the official clients take."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from dkvector.backends._bulk import Effort
from dkvector.counts import as_count
from dkvector.errors import SchemaError, hint
from dkvector.indexes import HNSW, IndexSpec, as_spec, knobs_of
from dkvector.metrics import DistanceMetric

INDEX = "dkvector"  # where no index is named
_NAME = re.compile(r"[a-z0-9\u0080-\U0010ffff][^\s\\/*?\"<>|,#:A-Z]*")
_LONGEST_NAME = 200  # bytes; ours add a number to it, and the engines take 255
_UNREADABLE = (
    "the URL can't be read: characters such as / ? # [ ] @ in a user's name or a password are written %2F, %3F and so "
    "on; or give user= and password= beside it"
)
_SIMILARITIES = {"l2_norm": "euclidean", "l2": "euclidean", "innerproduct": "dot_product", "cosinesimil": "cosine"}


@dataclass(frozen=True)
class VectorConfig:
    """What a config says of the vectors.

    Args:
        dimension: of them, checked at the first write.
        similarity: the metric; cosine by default.
        index: the index to build; `HNSW()` by default.
    """

    dimension: int | None = None
    similarity: DistanceMetric | str | None = None
    index: IndexSpec | str | Mapping[str, Any] | None = None

    @property
    def metric(self) -> DistanceMetric | None:
        """The metric, read from ours or the engines' own word."""
        if self.similarity is None:
            return None
        word = str(self.similarity)
        return DistanceMetric.of(_SIMILARITIES.get(word, word))

    @property
    def spec(self) -> IndexSpec:
        """The index."""
        return HNSW() if self.index is None else as_spec(self.index)


@dataclass(frozen=True)
class EngineConfig:
    """The config of a store.

    Args:
        url: "elasticsearch://user:password@host:9200/index", "elasticsearch+https://…", or plain http and https.
        hosts: "host:port" or URLs, of several nodes.
        index: the index, or the alias that names it.
        vector: what is known of the vectors, see `VectorConfig`.
        user: of basic authentication, with `password`; the environment's by default.
        password: of the user.
        api_key: in place of a user; the environment's by default.
        cloud_id: of Elastic's cloud, in place of hosts.
        ca_certs: file of the certificate authority that signed the server's certificate.
        verify_certs: whether the server's certificate must be good.
        client_cert: file of the client's own certificate, with `client_key`.
        client_key: file of its key.
        shards: of a new index; the engine's default is one.
        replicas: of a new index; the engine's default is one.
        refresh_interval: of a new index; the engine's default is a second.
        routing: a value that sends every row and every search of this store to one shard.
        analyzer: of text columns of a new index; the engine's own by default.
        engine: of OpenSearch's vectors: "lucene", or "faiss" where the server has its native library.
        timeout: seconds that a request may take.
        bulk_timeout: seconds that a bulk request may take, which an engine holds up while it merges graphs.
        compress: whether requests are compressed.
        bulk_bytes: of one bulk request, more or less.
        in_flight: bulk requests beside each other.
        oversample: candidates that are measured by their full vectors, as a multiple of k, in a quantised index.
    """

    url: str | None = field(default=None, repr=False)
    hosts: Sequence[str] | str | None = field(default=None, repr=False)
    index: str | None = None
    vector: Mapping[str, Any] = field(default_factory=dict)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    cloud_id: str | None = None
    ca_certs: str | None = None
    verify_certs: bool = True
    client_cert: str | None = None
    client_key: str | None = None
    shards: int | None = None
    replicas: int | None = None
    refresh_interval: str | None = None
    routing: str | None = None
    analyzer: str | None = None
    engine: str = "lucene"
    timeout: float = 60.0
    bulk_timeout: float = Effort.answer
    compress: bool = False
    bulk_bytes: int = Effort.bytes
    in_flight: int = Effort.in_flight
    oversample: float = 3.0

    @property
    def vectors(self) -> VectorConfig:
        """What is known of the vectors."""
        return knobs_of(VectorConfig, self.vector)

    @property
    def effort(self) -> Effort:
        """How hard a write may press."""
        return Effort(bytes=self.bulk_bytes, in_flight=self.in_flight, patience=self.timeout, answer=self.bulk_timeout)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of a new index."""
        said = {
            "number_of_shards": self.shards,
            "number_of_replicas": self.replicas,
            "refresh_interval": self.refresh_interval,
        }
        return {name: value for name, value in said.items() if value is not None}

    def tls(self, hosts: Sequence[str]) -> dict[str, Any]:
        """What either client takes for certificates; nothing where no host is reached by TLS, as all in a cloud are."""
        if self.cloud_id is None and not any(host.startswith("https") for host in hosts):
            return {}
        files = {"ca_certs": self.ca_certs, "client_cert": self.client_cert, "client_key": self.client_key}
        given = {name: file for name, file in files.items() if file is not None}
        # who has turned the check off knows it, and needs no warning at every connection
        return {"verify_certs": self.verify_certs, "ssl_show_warn": self.verify_certs, **given}

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of every request that reads or writes rows."""
        return {} if self.routing is None else {"routing": self.routing}


@dataclass(frozen=True)
class Access:
    """Where the servers are and how they are entered; secrets never show.

    Attributes:
        hosts: URLs with scheme and port, without credentials.
        user: and password of basic authentication.
        api_key: in place of them.
    """

    hosts: tuple[str, ...]
    user: tuple[str, str] | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)


def read_config(engine: str, config: Mapping[str, Any]) -> EngineConfig:
    """Read a config, and what its URL says.

    Args:
        engine: "elasticsearch" or "opensearch".
        config: see `EngineConfig`.

    Raises:
        SchemaError: an unknown knob, an index that can't be, or nothing that leads to a server.
    """
    config = {"user" if key == "username" else key: one for key, one in config.items()}
    known = knobs_of(EngineConfig, config)
    if known.url is not None:
        parts = _split(known.url)
        if "@" in parts.path:
            raise SchemaError(_UNREADABLE)
        said = {"index": unquote(parts.path.strip("/")) or None, **_knobs(parts.query)}
        # what the config says itself goes before what its URL says
        known = knobs_of(EngineConfig, {**{key: one for key, one in said.items() if one is not None}, **config})
    index = INDEX if known.index is None else known.index
    check_name(index)
    _check_numbers(known)
    if known.routing is not None and (not known.routing or "," in known.routing):
        # rows are written by the whole, and searched by its parts
        raise SchemaError(f"routing is one value, without a comma, not {known.routing!r}")
    if known.engine not in {"lucene", "faiss"}:
        raise SchemaError(f"no engine {known.engine!r} in {engine}; {hint(known.engine, ['lucene', 'faiss'])}")
    return knobs_of(EngineConfig, {**{one.name: getattr(known, one.name) for one in fields(known)}, "index": index})


def _check_numbers(known: EngineConfig) -> None:
    for name in ("bulk_bytes", "in_flight"):
        as_count(getattr(known, name), name)
    for name in ("timeout", "bulk_timeout", "oversample"):
        value = getattr(known, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise SchemaError(f"{name} must be a number above 0, not {value!r}")


def _split(url: str) -> SplitResult:
    """Split a URL; what can't be read of it stays out of the error, and so does the cause, for it may be a password."""
    try:
        return urlsplit(url)
    except ValueError:
        raise SchemaError(_UNREADABLE) from None


def check_name(index: str) -> None:
    """Refuse a name that an index can't have, or that would name several.

    Raises:
        SchemaError: says what a name may be.
    """
    if not isinstance(index, str) or not _NAME.fullmatch(index) or len(index.encode()) > _LONGEST_NAME:
        raise SchemaError(
            f"an index can't be called {index!r}: lower-case letters, digits, . _ - and +, starting with a letter or "
            f"digit, at most {_LONGEST_NAME} bytes"
        )


def _knobs(query: str) -> dict[str, Any]:
    """Read knobs from the query of a URL, each to the type it has."""
    kinds = {one.name: one.type for one in fields(EngineConfig)}
    read: dict[str, Any] = {}
    for name, text in parse_qsl(query):
        if name not in kinds or name in {"url", "hosts", "vector"}:
            raise SchemaError(f"a URL takes no {name!r}; {hint(name, kinds)}")
        read[name] = _typed(name, str(kinds[name]), text)
    return read


def _typed(name: str, kind: str, text: str) -> Any:
    if kind == "bool":
        return text.lower() in {"true", "1", "yes"}
    try:
        return int(text) if kind.startswith("int") else float(text) if kind == "float" else text
    except ValueError:
        raise SchemaError(f"{name} must be a number, not {text!r}") from None


def access(engine: str, config: EngineConfig, environment: Mapping[str, str] | None = None) -> Access:
    """Find the servers, and what opens them: from the URL, the config, or the environment.

    The environment's words are ELASTIC_API_KEY, ELASTIC_USERNAME and ELASTIC_PASSWORD for Elasticsearch,
    OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD for OpenSearch.
    """
    given = os.environ if environment is None else environment
    listed = [config.hosts] if isinstance(config.hosts, str) else list(config.hosts or ())
    named = [*([config.url] if config.url else []), *listed] or ([] if config.cloud_id else ["localhost:9200"])
    hosts, logins = zip(*map(_host, named), strict=True) if named else ((), ())
    login = next((one for one in logins if one is not None), None)
    prefix = "ELASTIC" if engine == "elasticsearch" else "OPENSEARCH"
    if config.user is not None:
        login = (config.user, config.password or given.get(f"{prefix}_PASSWORD", ""))
    key = config.api_key
    # the environment is asked only where the config is silent
    if login is None and key is None:
        key = given.get(f"{prefix}_API_KEY")
        if key is None and (password := given.get(f"{prefix}_PASSWORD")):
            login = (given.get(f"{prefix}_USERNAME", "elastic" if prefix == "ELASTIC" else "admin"), password)
    # one of the two: Elasticsearch's client refuses both
    return Access(tuple(hosts), None if key else login, key)


def _host(text: str) -> tuple[str, tuple[str, str] | None]:
    """Split a host into its URL and its login."""
    parts = _split(text if "://" in text else f"http://{text}")
    scheme = "https" if parts.scheme.endswith("https") else "http"
    try:
        # read only here; the text stays out of the error, and so does the cause, for both may show a password
        port = parts.port or 9200
    except ValueError:
        raise SchemaError("the port of a host must be a number") from None
    name = parts.hostname or "localhost"
    host = f"[{name}]" if ":" in name else name
    login = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
    return f"{scheme}://{host}:{port}", login
