"""A folder survives what torture.py does to it; run that by hand for more rounds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).parent / "torture"
ROUNDS = 60


@pytest.mark.parametrize("kind", ["kill", "fill", "tear"])
def test_every_reopening_gives_a_committed_state_or_a_clear_refusal(kind):
    command = [sys.executable, TORTURE, "--rounds", str(ROUNDS), "--seed", "4", "--kind", kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)  # noqa: S603 - our own code
    assert done.returncode == 0, done.stderr[-5000:]
    (rounds,) = re.findall(rf"^{kind}: (\d+) rounds", done.stdout, re.MULTILINE)
    assert int(rounds) == ROUNDS
