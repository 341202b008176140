"""What is promised of old versions holds: the stores run on the lowest that are named."""

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = ("cache", "faiss", "keyword", "limit")
TOOLS = ("hypothesis", "nbval", "psutil", "pytest-asyncio", "pytest>=8.3", "trustme")
SUITES = ("test_exact.py", "test_log.py", "test_topk.py", "test_filters.py", "test_accessor.py", "test_graph_layout.py")
NEWER = "test_graph_layout and binary"  # graphs of bits need a newer Faiss, and say so


def floors():
    """The lowest versions that are named, exactly."""
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(one for name in EXTRAS for one in extras[name])]
    return [re.fullmatch(r"([\w-]+)>=([\w.]+)", one).expand(r"\1==\2") for one in wanted]


def test_every_floor_is_a_version():
    assert [one.partition("==")[0] for one in floors()] == [
        *("numpy", "orjson", "pandas", "pyarrow", "tqdm"),
        *("cachetools", "faiss-cpu", "bm25s", "aiolimiter"),
    ]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the lowest NumPy has no wheel for this Python")
def test_the_stores_run_on_the_lowest_versions(tmp_path):
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installed = subprocess.run(  # noqa: S603 - names from our own file
        [*pip, *floors(), *TOOLS], capture_output=True, text=True, check=False
    )
    if installed.returncode and "CI" not in os.environ:
        pytest.skip(f"pip can't install the lowest versions here: {installed.stderr[-300:]}")
    assert not installed.returncode, installed.stderr
    # warnings stay warnings: old versions of some packages import what others have deprecated since
    run = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", "-k", f"not ({NEWER})", *SUITES]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(  # noqa: S603 - our own tests
        run, cwd=ROOT / "tests", env=alone | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stdout[-5000:] + done.stderr[-2000:]
