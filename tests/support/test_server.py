"""Servers of the tests end with the tests, however these end."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.clock import wait_until
from tests.support.root import ROOT


@pytest.mark.parametrize(("module", "name"), [("postgres", "Postgres"), ("redis", "Redis")])
def test_no_server_outlives_a_killed_test_run(module: str, name: str) -> None:
    """After kill -9 of the tests their servers are ended, paused ones too; folders are removed."""
    script = (
        f"from tests.support.servers.{module} import {name}\n"
        f"server = {name}()\n"
        "server.start()\n"
        "server.pause()\n"
        "print(server.pid, server.folder, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as tests:
        assert tests.stdout is not None
        pid, folder = tests.stdout.readline().split()
        tests.kill()
    wait_until(lambda: not is_alive(int(pid)), seconds=20)
    wait_until(lambda: not Path(folder).exists(), seconds=20)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
