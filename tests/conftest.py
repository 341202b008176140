import os

import pytest
from hypothesis import settings

from dkvector.backends import _knn

# Figures are drawn without a screen, and a busy machine is no reason for a red test.
os.environ.setdefault("MPLBACKEND", "Agg")
settings.register_profile("dkvector", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("dkvector")


@pytest.fixture(params=["faiss", "ours"])
def engine(request, monkeypatch):
    """Let Faiss take every batch of an exact search, however small; or let it not be there."""
    if request.param == "ours":
        monkeypatch.setattr(_knn, "find_spec", lambda _: None)
    else:
        monkeypatch.setattr("dkvector.backends._faiss_knn.many", lambda _: True)
    return request.param
