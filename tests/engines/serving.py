"""Servers that tests run on: one that the environment names, or one that is started here."""

import os
import shutil
from contextlib import contextmanager

import pytest

from engines import ELASTICSEARCH, OPENSEARCH, MissingError, java_home, started
from engines.fetching import cache


def lacking():
    """Tell what this machine lacks to run both servers: nothing, where they are there or can be fetched.

    In continuous integration it is nothing too: what is missing there must fail, not be passed over.
    """
    if "CI" in os.environ:
        return None
    try:
        java_home()
    except MissingError as exc:
        return str(exc)
    there = all((cache() / one.folder / ".complete").exists() for one in (ELASTICSEARCH, OPENSEARCH))
    return None if there or shutil.which("mvn") else "the servers are fetched by Maven: install it"


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
