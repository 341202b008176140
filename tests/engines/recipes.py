"""What the servers are made of: pinned packages with their checksums, and settings for one node on loopback."""

from __future__ import annotations

from dataclasses import dataclass, field

# C1 and the serial collector halve the start; a test run is too short for more.
QUICK = "-XX:-AlwaysPreTouch -XX:TieredStopAtLevel=1 -XX:-UseG1GC -XX:+UseSerialGC"


@dataclass(frozen=True)
class Package:
    """A zip on Maven Central.

    Attributes:
        coordinates: "group:artifact:version".
        sha256: of the zip.
    """

    coordinates: str
    sha256: str

    @property
    def file(self) -> str:
        """What Maven calls it."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.zip"


@dataclass(frozen=True)
class Recipe:
    """How a server is put together and started.

    Attributes:
        name: the engine's name, which is that of its script and its settings file too.
        version: of the engine.
        package: the engine.
        plugins: what is unpacked below its `plugins`.
        needless: modules that are removed.
        prefix: of its environment variables.
        settings: lines of its settings file.
    """

    name: str
    version: str
    package: Package
    prefix: str
    plugins: tuple[Package, ...] = ()
    needless: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Where it is kept, below the cache."""
        return f"{self.name}-{self.version}"


ELASTICSEARCH = Recipe(
    "elasticsearch",
    "9.5.3",
    Package(
        "org.elasticsearch.distribution.integ-test-zip:elasticsearch:9.5.3",
        "bec49f3b8d00e75c8d1cec85c35298635ec9fbd3ae80ef5aeb6bc05abdb3db2d",
    ),
    "ES",
    settings={"xpack.security.enabled": "false"},
)

OPENSEARCH = Recipe(
    "opensearch",
    "3.6.0",
    Package(
        "org.opensearch.distribution.integ-test-zip:opensearch:3.6.0",
        "a91faa1dc1cadc78cb278b4f63847e19e1627a4e9de698e14e7efc14ee37b286",
    ),
    "OPENSEARCH",
    plugins=(
        Package(
            "org.opensearch.plugin:opensearch-knn:3.6.0.0",
            "ac392ca28a39b3bf290648a422ef30cb149dda2963a9d7feb26060e932341c9a",
        ),
        Package(
            "org.opensearch.plugin:neural-search:3.6.0.0",
            "6ef1b206e79391e2e36268e32dc34d27fd8b8a59a8eb0a7393c97d53b038e433",
        ),
    ),
    needless=("ingest-geoip", "opensearch-dashboards"),
)

COMMON = {
    "discovery.type": "single-node",
    "network.host": "127.0.0.1",
    "http.port": "0",
    "transport.port": "0",
    "node.portsfile": "true",
    "cluster.routing.allocation.disk.threshold_enabled": "false",
    "action.auto_create_index": "false",
}
