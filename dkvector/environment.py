"""What a figure depends on beside the code: this machine, its threads, and the versions of the engines."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

# Asked by name of the distribution, so that none of them is imported.
CORE = ("numpy", "pandas", "pyarrow", "orjson", "tqdm")
OPTIONAL = ("faiss-cpu", "asyncpg", "elasticsearch", "opensearch-py", "tokenizers", "safetensors", "matplotlib")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def versions() -> dict[str, str]:
    """Give what `show_versions` prints, name → text, but for paths; nothing is imported for it."""
    return {
        "dkvector": _version("dkvector"),
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "OS": platform.platform(),
        "CPU": _cpu(),
        "threads": _threads(),
        "SIMD": _simd(),
        "BLAS": _blas(),
        **{name: _version(name) for name in (*CORE, *OPTIONAL)},
    }


def show_versions() -> None:
    """Print the versions and the machine: for a bug report, or beside a measurement.

    Example:
        >>> show_versions()
        dkvector       ...
        Python         3...
    """
    # the path is for a bug report; an evaluation's facts are stored in notebooks, which others read
    for name, told in {**versions(), "interpreter": sys.executable}.items():
        print(f"{name:<14} {told}")  # noqa: T201 - printing is what it is for


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    """Name the processor; Linux tells it in a file only."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _threads() -> str:
    """Tell how many cores there are, how many this process may use, and what limits the libraries."""
    cores = os.cpu_count() or 1
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    limits = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    return ", ".join([f"{ours} of {cores} cores", *limits])


def _config() -> dict[str, Any]:
    config: dict[str, Any] = np.show_config(mode="dicts")  # type: ignore[assignment]  # a dict in this mode
    return config


def _simd() -> str:
    """Tell what the processor has of the instructions that NumPy was built to use."""
    told = _config().get("SIMD Extensions", {})
    return " ".join([*told.get("baseline", ()), *told.get("found", ())]) or "unknown"


def _blas() -> str:
    told = _config().get("Build Dependencies", {}).get("blas", {})
    return f"{told.get('name', 'unknown')} {told.get('version', '')}".strip()
