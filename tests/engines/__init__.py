"""Genuine Elasticsearch and OpenSearch servers from Maven packages, for tests and notebooks: no Docker, no root.

`make servers` runs one of each until Ctrl-C; the tests start what they need. Both need Maven and a JDK of at least 21.
Maven Central carries the engines' own test distributions: the engine itself with few of its modules.
"""

from engines.fetching import MissingError, fetched, java_home
from engines.recipes import ELASTICSEARCH, OPENSEARCH, Recipe
from engines.running import Server, started

__all__ = ["ELASTICSEARCH", "OPENSEARCH", "MissingError", "Recipe", "Server", "fetched", "java_home", "started"]
