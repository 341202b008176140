"""`import dkvector` is light: what belongs to an engine, a plot or a progress bar is loaded where it is used."""

import subprocess
import sys

HEAVY = """anywidget asyncpg elasticsearch faiss ipywidgets matplotlib numba opensearchpy orjson pgvector scipy sklearn
tqdm umap"""


def test_import_loads_nothing_heavy_and_warns_of_nothing():
    code = f"import sys, dkvector; print(*sorted(sys.modules.keys() & set({HEAVY.split()})))"
    run = subprocess.run(  # noqa: S603 - this Python, our own code
        [sys.executable, "-I", "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr, run.returncode) == ("\n", "", 0)
