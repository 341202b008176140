import os

import pytest
import servers
from hypothesis import settings

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
