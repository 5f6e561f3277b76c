"""What `reach check` shows of the settings, and how it looks on a terminal."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes.commands import ReachProcess
from tests.support.root import ROOT

SETTING = re.compile(r"[* ] (REACH_\w+)=(.*)")


def shown(data_dir: Path, *arguments: str, **environment: str) -> dict[str, str]:
    """List the settings that it shows, with their values."""
    variables = {"REACH_DATA_DIR": str(data_dir), **environment}
    with ReachProcess("check", *arguments, environment=variables) as process:
        process.wait(60)
        found = map(SETTING.fullmatch, process.output.splitlines())
        return {match[1]: match[2] for match in found if match}


def test_only_what_differs_from_its_default(tmp_path: Path) -> None:
    """What is set to its default is not told; with --all everything is. Secrets stay masked."""
    key = "canary-4711-canary-4711-canary-4711"
    given = {"REACH_SECRET_KEY": key, "REACH_PORT": "8000", "REACH_WORKER_SLOTS": "3"}
    assert shown(tmp_path, **given) == {
        "REACH_DATA_DIR": str(tmp_path),
        "REACH_SECRET_KEY": "********",
        "REACH_WORKER_SLOTS": "3",
    }
    everything = shown(tmp_path, "--all", **given)
    assert len(everything) > 50
    assert everything["REACH_PORT"] == "8000"
    assert everything["REACH_SECRET_KEY"] == "********"
    assert everything["REACH_CONFIRM"] == "optional"


def on_terminal(**environment: str) -> str:
    """Run it with stdout on a terminal, and give what it wrote there."""
    master, slave = os.openpty()
    variables = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
    variables |= {"PYTHONPATH": str(ROOT / "src"), "TERM": "xterm", **environment}
    command = [sys.executable, "-m", "reach", "check"]
    read = b""
    with subprocess.Popen(command, stdout=slave, stderr=subprocess.DEVNULL, env=variables):
        os.close(slave)
        try:
            while chunk := os.read(master, 4096):
                read += chunk
        except OSError:  # Linux says so when the other end is closed
            pass
    os.close(master)
    return read.decode()


GREEN, RED = "\x1b[32m", "\x1b[31m\x1b[1m"


def test_colours_on_a_terminal(tmp_path: Path) -> None:
    """Green for what is well, red for what is not; long lines are not cut."""
    said = on_terminal(REACH_DATA_DIR=str(tmp_path / "none"))
    assert f"{GREEN}ok variables: all known" in said
    assert f"{RED}!! database: No database of Reach at {tmp_path / 'none'}" in said
    assert f"{RED}   Set REACH_DATA_DIR (or REACH_DATABASE_URL) to where it is; `reach mi" in said


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_where_none_are_wanted(tmp_path: Path, variables: dict[str, str]) -> None:
    """Nor when it is piped."""
    assert "\x1b" not in on_terminal(REACH_DATA_DIR=str(tmp_path), **variables)


def test_no_colours_in_a_pipe(tmp_path: Path) -> None:
    """Nor if the environment forces others to have them."""
    environment = {"REACH_DATA_DIR": str(tmp_path), "TERM": "xterm", "FORCE_COLOR": "1"}
    with ReachProcess("check", environment=environment) as process:
        process.wait(60)
        assert "ok variables" in process.output
        assert "\x1b" not in process.output
