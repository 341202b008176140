import os
import secrets
from contextlib import contextmanager

import faiss
import pytest
import servers
from engines import ELASTICSEARCH, OPENSEARCH, MissingError, started
from hypothesis import settings

from dkvector.backends import _knn

# Figures are drawn without a screen, and a busy machine is no reason for a red test.
os.environ.setdefault("MPLBACKEND", "Agg")
settings.register_profile("dkvector", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("dkvector")


@pytest.fixture(scope="session")
def postgres_url():
    yield from servers.postgres()


@pytest.fixture
def local_postgres():
    """Skip where our own PostgreSQL can't be run."""
    servers.need_postgres()


@pytest.fixture
def table(postgres_url):
    """Give the name of a table that is not there, and drop it in the end."""
    name = f"t_{secrets.token_hex(4)}"
    yield name
    servers.in_postgres(postgres_url, f'DROP VIEW IF EXISTS "{name}_view"', f'DROP TABLE IF EXISTS "{name}" CASCADE')


@pytest.fixture
def sql(postgres_url):
    """Give a function that runs SQL past our own code."""
    return lambda *statements: servers.in_postgres(postgres_url, *statements)


@pytest.fixture(params=["faiss", "ours"])
def engine(request, monkeypatch):
    """Let Faiss multiply matrices for every batch of an exact search, however small; or let it not be there."""
    if request.param == "ours":
        monkeypatch.setattr(_knn, "find_spec", lambda _: None)
    else:
        monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 1)
    return request.param


@contextmanager
def server_of(recipe, options=None, *, whole=False):
    """Give the URL of a server: one's own, named by the environment, or one that is started here; or that one whole."""
    named = os.environ.get(f"DKVECTOR_TEST_{recipe.name.upper()}")
    if named and not options:
        yield named
        return
    try:
        with started(recipe, **(options or {})) as server:
            yield server if whole else server.url
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
