"""Copies of a process that has imported Reach do what a process does that starts from nothing."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from reach.settings import Settings
from tests.support.processes import warm
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port

MakeSettings = Callable[..., Settings]
SERVING = {"up": "Reach is ready.", "api": "api started", "worker": "worker started"}

pytestmark = pytest.mark.skipif(not warm.CAN, reason="only Linux has what copies need")


@pytest.mark.parametrize(
    "command",
    ["--help", "migrate", "keys list", "keys revoke nobody", "check", "db backup FILE", "nonsense"],
)
def test_a_copy_says_and_does_the_same(
    sqlite: str, make_settings: MakeSettings, tmp_path: Path, command: str
) -> None:
    """Each command, with the same exit code."""
    settings = make_settings(database_url=sqlite, smtp_url="smtp://127.0.0.1:9")
    told = []
    for cold in (True, False):
        backup = tmp_path / "backup"
        words = [str(backup) if word == "FILE" else word for word in command.split()]
        with ReachProcess(*words, settings=settings, cold=cold) as process:
            code = process.wait(60)
            # But for times and the number of the process.
            told.append((code, process.output, re.sub(r"\d+", "0", process.errors)))
            assert isinstance(process.running, warm.Copy) is not cold
        backup.unlink(missing_ok=True)
    assert told[0] == told[1]


@pytest.mark.parametrize("command", SERVING)
@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
def test_what_serves_starts_and_stops(
    sqlite: str, make_settings: MakeSettings, command: str, cold: bool
) -> None:
    """In order, when it is asked to."""
    settings = make_settings(database_url=sqlite, port=free_port(), smtp_url="smtp://127.0.0.1:9")
    with ReachProcess(command, settings=settings, cold=cold) as process:
        process.wait_for(SERVING[command], 60)
        assert process.stop(60) == 0


def test_what_ended_it_is_known(sqlite: str, make_settings: MakeSettings) -> None:
    """The signal, as of any process; and it has a group of its own."""
    settings = make_settings(database_url=sqlite, port=free_port())
    with ReachProcess("api", settings=settings) as process:
        assert process.exit_code is None
        process.pause()
        process.running.kill()
        assert process.wait(60) == -signal.SIGKILL
        process.running.terminate()


@pytest.mark.parametrize("environment", [{"PYTHONPATH": "/nowhere"}, {"TZ": "Asia/Tokyo"}])
def test_one_with_variables_of_its_own_starts_from_nothing(environment: dict[str, str]) -> None:
    """Whatever is read from them while Reach is imported is read."""
    with ReachProcess("--help", environment=environment) as process:
        process.wait(60)
        assert not isinstance(process.running, warm.Copy)
