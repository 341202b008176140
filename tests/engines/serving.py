"""Servers that tests run on: one that the environment names, or one that is started here."""

import os
from contextlib import contextmanager

import pytest

from engines import MissingError, started


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
