"""The notebook on search engines is run where a server can be: always in CI, else with Java and Maven."""

import os
import shutil
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from engines import ELASTICSEARCH, OPENSEARCH, MissingError, java_home
from engines.fetching import cache


def runnable() -> bool:
    """Tell whether this machine can run the servers: they are there, or can be fetched."""
    try:
        java_home()
    except MissingError:
        return False
    there = all((cache() / one.folder / ".complete").exists() for one in (ELASTICSEARCH, OPENSEARCH))
    return there or shutil.which("mvn") is not None


collect_ignore = [] if "CI" in os.environ or runnable() else ["06_engines.ipynb"]
