"""Every Python block of README.md runs, in order, in one namespace, in a folder of its own, without a warning."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)


def blocks(text):
    """The code of each block, on the lines on which it stands in the text, so that an error names its line."""
    return ["\n" * text.count("\n", 0, found.start(1)) + found[1] for found in BLOCK.finditer(text)]


def test_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    found = blocks(README.read_text("utf-8"))
    assert found, "the README shows no Python"
    for code in found:
        exec(compile(code, str(README), "exec"), namespace)  # noqa: S102 - our own text


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", README.read_text("utf-8"))
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_blocks_are_found_with_their_lines():
    text = "a\n```python\nx = 1\n```\nb\n```sh\nno\n```\n```python\nraise ValueError\n```\n"
    assert blocks(text) == ["\n\nx = 1\n", "\n" * 9 + "raise ValueError\n"]
    with pytest.raises(ValueError) as told:  # noqa: PT011 - the line is what is tested
        exec(compile(blocks(text)[1], "text", "exec"))  # noqa: S102
    assert told.traceback[-1].lineno + 1 == 10
