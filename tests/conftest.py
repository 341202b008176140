import os
from contextlib import contextmanager

import pytest
from engines import ELASTICSEARCH, OPENSEARCH, MissingError, started
from hypothesis import settings

# Figures are drawn without a screen, and a busy machine is no reason for a red test.
os.environ.setdefault("MPLBACKEND", "Agg")
settings.register_profile("dkvector", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("dkvector")


@contextmanager
def server_of(recipe, options=None):
    """Give the URL of a server: one's own, named by the environment, or one that is started here."""
    named = os.environ.get(f"DKVECTOR_TEST_{recipe.name.upper()}")
    if named and not options:
        yield named
        return
    try:
        with started(recipe, **(options or {})) as server:
            yield server.url
    except MissingError as exc:
        if os.environ.get("CI"):
            raise  # in CI both engines are always tested
        pytest.skip(f"no {recipe.name}: {exc}; or name one of yours by DKVECTOR_TEST_{recipe.name.upper()}")


@pytest.fixture(scope="session")
def elasticsearch_url():
    with server_of(ELASTICSEARCH) as url:
        yield url


@pytest.fixture(scope="session")
def opensearch_url():
    with server_of(OPENSEARCH) as url:
        yield url


@pytest.fixture(scope="session", params=["elasticsearch", "opensearch"])
def engine_url(request):
    """Give the URL of either search engine, as `connect` takes it."""
    url = request.getfixturevalue(f"{request.param}_url")
    return url.replace("http", request.param if url.startswith("http:") else f"{request.param}+http", 1)
