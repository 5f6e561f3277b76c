"""systemd's units: as systemd reads them, and with Reach's real commands."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.root import ROOT

UNITS = ROOT / "deploy" / "systemd"
NAMES = ("reach-migrate", "reach-api", "reach-worker", "reach-inbound")
KEY = "a-key-that-is-long-enough-for-tests"


def unit(name: str) -> dict[str, list[str]]:
    """Read a unit: the values of each setting, in order."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / f"{name}.service").read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def test_systemd_takes_them(tmp_path: Path) -> None:
    """`systemd-analyze verify` has no complaint; the only change is where `reach` is."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("there is no systemd-analyze here")
    for name in NAMES:
        text = (UNITS / f"{name}.service").read_text(encoding="utf-8")
        text = text.replace("/opt/reach/.venv/bin/reach", "/bin/true")
        (tmp_path / f"{name}.service").write_text(text, encoding="utf-8")
    files = [str(tmp_path / f"{name}.service") for name in NAMES]
    done = subprocess.run([verify, "verify", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_they_start_reach_and_stop_it_in_order(tmp_path: Path) -> None:
    """Each with its own variables and command; SIGTERM ends it well before systemd does."""
    for secret in ("secret-key", "smtp-url"):
        (tmp_path / secret).write_text("smtp://127.0.0.1:9" if "smtp" in secret else KEY)
    given = {"REACH_DATA_DIR": str(tmp_path / "data"), "REACH_PUBLIC_URL": "https://example.org"}
    given |= {"REACH_RETURN_PATH": "bounces@mail.example.org"}
    for name in NAMES:
        found = unit(name)
        pairs = [pair for line in found["Environment"] for pair in shlex.split(line)]
        variables = dict(pair.replace("%d", str(tmp_path)).split("=", 1) for pair in pairs)
        if "REACH_METRICS_PORT" in variables:
            variables |= {"REACH_METRICS_PORT": str(free_port()), "REACH_PORT": str(free_port())}
        if "REACH_INBOUND_BIND" in variables:
            variables |= {"REACH_INBOUND_BIND": f"lmtp://127.0.0.1:{free_port()}"}
        (command,) = found["ExecStart"]
        program, *arguments = shlex.split(command)
        assert program == "/opt/reach/.venv/bin/reach"
        with ReachProcess(*arguments, environment={**given, **variables}) as process:
            if found["Type"] == ["oneshot"]:
                assert process.wait(60) == 0, process.errors
                continue
            process.wait_for(f"{arguments[0]} started", 60)
            assert process.stop(60) == 0
        grace = re.search(r"REACH_GRACE_SECONDS \((\d+)\)", (UNITS / f"{name}.service").read_text())
        assert grace, "it says how long that may take"
        assert int(found["TimeoutStopSec"][0]) > int(grace[1])
        assert found["RestartPreventExitStatus"] == ["2"], "what is wrong stays wrong"


def test_they_hold_reach_to_what_it_needs() -> None:
    """All the same: no root, no capability, and nothing to write but its own folder."""
    held = [{name: unit(one)[name] for name in HELD} for one in NAMES]
    assert held == [HELD] * len(NAMES)


HELD = {
    "User": ["reach"], "CapabilityBoundingSet": [""], "NoNewPrivileges": ["yes"],
    "ProtectSystem": ["strict"], "ProtectHome": ["yes"], "PrivateDevices": ["yes"],
    "StateDirectory": ["reach"], "StateDirectoryMode": ["0700"], "UMask": ["0077"],
    "SystemCallFilter": ["@system-service", "~@privileged"], "SystemCallErrorNumber": ["EPERM"],
}  # fmt: skip
