"""A copy that is cut off leaves nothing in the target; run again, it is whole.

`make torture` runs this with a million people (REACH_TEST_PEOPLE).
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from reach.settings import Settings
from tests.support.clock import wait_until
from tests.support.database.copies import Place, copied, counts, different, fill, is_untouched
from tests.support.database.databases import migrate
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.commands import HEARS_CTRL_C, ReachProcess, api_process
from tests.support.processes.ports import free_port
from tests.support.servers.postgres import Postgres

PEOPLE = int(os.environ.get("REACH_TEST_PEOPLE", "12000"))
#: How long a run may take: the slowest machine copies so many rows in a second.
SECONDS = 60 + PEOPLE * 3 / 2000
#: The message at which everything is stuck: in the middle, and neither in the first batch nor the
#: first of another.
MIDDLE = PEOPLE * 5 // 6 + 17

pytestmark = pytest.mark.timeout(120 + 10 * SECONDS)

#: A copy that stops where it is told to, until it is killed.
HELD = """
import asyncio, sys
from reach.transfer import Watcher
from reach.transfer.copy import copy
from reach.settings.database_url import DatabaseUrl

class Held(Watcher):
    def begin(self, what, rows):
        self.note(what)
        super().begin(what, rows)
    def note(self, text):
        if text.startswith(sys.argv[3]):
            print(flush=True)
            sys.stdin.read()

asyncio.run(copy(*map(DatabaseUrl.parse, sys.argv[1:3]), Held()))
"""


@pytest.mark.parametrize(
    "point",
    [
        *("The source is read", "copying people", "copying messages", "copying attempts"),
        *("verifying people", "verifying attempts", "Counts and checksums are"),
    ],
)
def test_killed_at_each_point_it_leaves_nothing(source: Place, target: Place, point: str) -> None:
    """SIGKILL: no row, no lock; from the first step to the last before the commit."""
    migrate(target.url)
    command = (sys.executable, "-c", HELD, source.url, target.url, point)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        process.kill()
    assert is_untouched(target)
    assert copied(source, target) == counts(source.file)
    if target.is_sqlite:
        assert different(source.file, target.file) is None
        assert target.run("PRAGMA journal_mode") == [("wal",)]


@pytest.fixture
def many(empty_file: Callable[[str], Place]) -> tuple[Place, str]:
    """A file with many people, and an operator's key."""
    place = empty_file("many")
    return place, fill(place.file, PEOPLE)


def copying(source: Place, target: Place) -> ReachProcess:
    """Run the command."""
    return ReachProcess(
        *("db", "copy", "--from", source.url),
        environment={"REACH_DATABASE_URL": target.url},
        wrapper=(sys.executable, "-c", HEARS_CTRL_C),
    )


def stuck(process: ReachProcess, target: Place) -> None:
    """Wait until it is in the middle of the messages, and cannot go on."""
    wait_until(lambda: "copying messages:" in process.errors, SECONDS)
    if target.is_sqlite:  # it computes for ever
        of_it = psutil.Process(process.pid)
        began = of_it.cpu_times().user
        wait_until(lambda: of_it.cpu_times().user > began + 1, SECONDS)
        return
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    wait_until(lambda: target.run(sleeping), SECONDS)


def whole(process: ReachProcess) -> None:
    """Wait until it has ended well."""
    status, peaks, began = Path(f"/proc/{process.pid}/status"), [0], time.monotonic()

    def has_ended() -> bool:
        peaks.extend(int(kib) * 1024 for kib in re.findall(r"VmHWM:\s+(\d+)", status.read_text()))
        return process.exit_code is not None

    wait_until(has_ended, SECONDS, every=0.05)
    assert process.wait() == 0, process.errors
    assert "verified by count and checksum" in process.output
    report(process.errors.splitlines()[1], time.monotonic() - began, max(peaks))


def test_killed_in_the_middle_and_run_again(
    many: tuple[Place, str],
    target: Place,
    make_settings: Callable[..., Settings],
    tmp_path: Path,
) -> None:
    """SIGKILL within a batch of messages: the target serves, and has nobody; then everybody."""
    source, key = many
    migrate(target.url)
    target.get_stuck("messages", MIDDLE)
    with copying(source, target) as first:
        stuck(first, target)
        first.kill()
    if not target.is_sqlite:
        target.run(ENDED)  # the server would notice once it has slept
    with api_process(make_settings(database_url=target.url, port=free_port())):
        assert is_untouched(target)  # of a file, what was written is undone by opening it
    target.be_well("messages")
    with copying(source, target) as second:
        whole(second)
    back = target
    if not target.is_sqlite:
        back = Place(f"sqlite:///{tmp_path / 'back.sqlite3'}")
        began = time.monotonic()
        copied(target, back)
        report("and back, in this process", time.monotonic() - began)
    assert counts(back.file) == counts(source.file)
    assert different(source.file, back.file) is None
    if not target.is_sqlite:
        same_service(source, target, key, make_settings)


ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
ENDED += " AND datname = current_database()"


def report(what: str, seconds: float, peak_bytes: float = 0) -> None:
    """Say how long it took, for those who run it with ``--capture=no``."""
    memory = f", {peak_bytes / 1e6:.0f} MB at most" if peak_bytes else ""
    sys.stderr.write(f"\n{PEOPLE:,} people: {what}: {seconds:.1f} s{memory}\n")


def same_service(
    source: Place, target: Place, key: str, make_settings: Callable[..., Settings]
) -> None:
    """Ask the same of a Reach on each: the same people, messages and numbers."""
    person = f"/v1/people/01900000-0000-7000-8000-{MIDDLE:012x}"
    asked = (person, f"{person}/messages", "/v1/stats", "/v1/people?limit=50", "/v1/messages")
    answers: list[list[Any]] = []
    for place in (source, target):
        settings = make_settings(database_url=place.url, port=free_port())
        with (
            api_process(settings),
            httpx.Client(
                base_url=settings.origin, verify=NO_CERTIFICATES, trust_env=False, timeout=30
            ) as http,
        ):
            headers = {"Authorization": f"Bearer {key}"}
            found = [http.get(path, headers=headers) for path in asked]
        assert [answer.status_code for answer in found] == [200] * len(asked)
        answers.append([answer.json() for answer in found])
    one, other = answers
    (hours, hours_later) = (
        {hour.pop("hour"): hour for hour in answer[2].pop("per_hour")} for answer in answers
    )
    both = hours.keys() & hours_later.keys()  # an hour may have passed
    assert len(both) >= 47
    assert all(hours[hour] == hours_later[hour] for hour in both)
    for name in ("as_of", "oldest_due_seconds"):
        assert one[2].pop(name) != other[2].pop(name)
    assert one == other
    assert one[0]["name"] == f"Zoë {MIDDLE}"
    assert one[2]["people"] == PEOPLE


def test_cut_off_by_ctrl_c_and_by_the_server(
    many: tuple[Place, str], private_postgres: Postgres
) -> None:
    """130, and 1; one line says so, and nothing is there."""
    source, _ = many
    target = Place(private_postgres.url)
    target.get_stuck("messages", MIDDLE)
    with copying(source, target) as interrupted:
        stuck(interrupted, target)
        os.kill(interrupted.pid, signal.SIGINT)
        assert interrupted.wait(SECONDS) == 130
        assert interrupted.errors.endswith("nothing was copied. Run the same command again.\n")
    assert is_untouched(target)
    with copying(source, target) as cut:
        stuck(cut, target)
        private_postgres.stop()
        assert cut.wait(SECONDS) == 1
        assert cut.errors.splitlines()[-1].startswith("The target is unavailable. ")
    with copying(source, target) as early:
        assert early.wait(SECONDS) == 1
        assert early.errors.splitlines()[-1].startswith("The target is unavailable. ")
    private_postgres.start()
    assert is_untouched(target)
    target.be_well("messages")
    with copying(source, target) as last:
        whole(last)
