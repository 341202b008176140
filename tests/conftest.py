import os
import secrets

import faiss
import pytest
import servers
from engines import ELASTICSEARCH, OPENSEARCH
from engines.serving import lacking, server_of
from hypothesis import settings

from dkvector.backends import _knn

# Figures are drawn without a screen, and a busy machine is no reason for a red test.
os.environ.setdefault("MPLBACKEND", "Agg")
settings.register_profile("dkvector", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("dkvector")


def pytest_collection_modifyitems(items):
    """Skip notebooks on search engines where no server can be run; continuous integration runs them, or fails."""
    cells = [one for one in items if one.path.name in {"03_choosing_an_index.ipynb", "06_engines.ipynb"}]
    if cells and (reason := lacking()):
        for cell in cells:
            cell.add_marker(pytest.mark.skip(reason))


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory):
    """Give a Jupyter server, where there is a browser to look at it."""
    import browser

    with browser.server(tmp_path_factory.mktemp("jupyter")) as made:
        yield made


@pytest.fixture(scope="module")
def lab(jupyter):
    """Give a JupyterLab in a browser; Playwright has a loop of its own, which must not outlive the file's tests."""
    import browser

    with browser.lab(jupyter) as made:
        yield made


@pytest.fixture
def clean(lab):
    """Find no error in the console of the browser, and no request that left this machine."""
    yield lab
    assert lab.errors == []
    assert lab.outside == []


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
