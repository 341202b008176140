"""Servers of the tests leave nothing behind, whatever becomes of the process that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engines.serving import lacking

SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from engines import OPENSEARCH, started
with started(OPENSEARCH) as server:
    print(server.process.pid, server.folder, flush=True)
    time.sleep(600)
"""


def gone(group, folder):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            if not Path(folder).exists():
                return True
        time.sleep(0.1)
    return False


def test_a_server_ends_with_a_process_that_is_killed():
    if reason := lacking():
        pytest.skip(reason)
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    group, folder = process.stdout.readline().split()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert gone(int(group), folder)
