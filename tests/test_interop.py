"""Every interface to another library names its extra where the library is missing; none is loaded unasked."""

import subprocess
import sys
from pathlib import Path

import pytest

# module of dkvector.interop, which is its extra too → what it needs
LIBRARIES = {"langchain": "langchain_core", "sklearn": "sklearn"}
MODULES = Path(__file__).parents[1] / "dkvector" / "interop"


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_interface_is_listed():
    assert {file.stem for file in MODULES.glob("[!_]*.py")} == set(LIBRARIES)


@pytest.mark.parametrize("module", LIBRARIES)
def test_a_missing_library_is_an_error_that_names_the_extra(module):
    code = f"""
import sys
sys.modules[{LIBRARIES[module]!r}] = None  # as if it were not installed
import dkvector as dkv
try:
    import dkvector.interop.{module}
except dkv.MissingExtraError as error:
    print(error)
"""
    assert f"pip install 'dkvector[{module.replace('_', '-')}]'" in run(code)


def test_the_package_loads_no_library():
    code = "import sys, dkvector.interop; print(sorted(sys.modules.keys() & set(sys.argv[1:])))"
    assert run(code.replace("sys.argv[1:]", repr(list(LIBRARIES.values())))) == "[]\n"
