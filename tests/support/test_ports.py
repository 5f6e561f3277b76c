"""Ports that no other test process uses."""

import subprocess
import sys

from tests.support.processes.ports import PORTS_PER_PROCESS, free_port
from tests.support.root import ROOT

ASK = "from tests.support.processes.ports import free_port; print(free_port())"


def test_processes_have_ranges_of_their_own() -> None:
    """Those of another checkout, too: who comes later takes another range."""
    told = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    mine = [free_port() for _ in range(PORTS_PER_PROCESS)]
    assert int(told) not in mine
