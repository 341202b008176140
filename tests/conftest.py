import os

import faiss
import pytest
from hypothesis import settings

from dkvector.backends import _knn

# Figures are drawn without a screen, and a busy machine is no reason for a red test.
os.environ.setdefault("MPLBACKEND", "Agg")
settings.register_profile("dkvector", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("dkvector")


@pytest.fixture(params=["faiss", "ours"])
def engine(request, monkeypatch):
    """Let Faiss multiply matrices for every batch of an exact search, however small; or let it not be there."""
    if request.param == "ours":
        monkeypatch.setattr(_knn, "find_spec", lambda _: None)
    else:
        monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 1)
    return request.param
