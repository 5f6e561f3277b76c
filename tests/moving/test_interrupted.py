"""A copy that is cut off goes on when it is run again: whole, verified, nothing twice.

`make torture` runs this with a million people (REACH_TEST_PEOPLE).
"""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from reach.db.copy.side import BATCH_ROWS, CannotCopy
from reach.db.migrate import newest
from reach.settings import Settings
from tests.conftest import migrate
from tests.support.eventually import wait_until
from tests.support.moving.copied import Noted, Place, copied
from tests.support.moving.filled import counts, different, fill
from tests.support.plain import NO_CERTIFICATES
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.processes import HEARS_CTRL_C, ReachProcess, api_process

PEOPLE = int(os.environ.get("REACH_TEST_PEOPLE", "20000"))
#: How long a run may take: the slowest machine copies so many rows in a second.
SECONDS = 60 + PEOPLE * 3 / 2000
#: The message at which everything is stuck: in the middle, and not the first of a batch.
MIDDLE = PEOPLE // 2 + 17
ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
ENDED += " AND datname = current_database()"
HALF = "holds half a copy of another one. Run the same `reach db copy` again"

pytestmark = pytest.mark.timeout(120 + 10 * SECONDS)


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
    last = MIDDLE // BATCH_ROWS * BATCH_ROWS
    said = f"copying messages: {last:,} of {PEOPLE:,}"
    wait_until(lambda: "copying messages:" in process.errors, SECONDS)
    process.wait_for(said, SECONDS)
    if target.is_sqlite:  # it computes for ever
        of_it = psutil.Process(process.pid)
        began = of_it.cpu_times().user
        wait_until(lambda: of_it.cpu_times().user > began + 0.3, SECONDS)
        return
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    wait_until(lambda: target.run(sleeping), SECONDS)


def whole(process: ReachProcess) -> str:
    """Wait until it has ended well; what it said."""
    status, peaks, began = Path(f"/proc/{process.pid}/status"), [0], time.monotonic()

    def has_ended() -> bool:
        peaks.extend(int(kib) * 1024 for kib in re.findall(r"VmHWM:\s+(\d+)", status.read_text()))
        return process.exit_code is not None

    wait_until(has_ended, SECONDS, every=0.05)
    assert process.wait() == 0, process.errors
    assert "verified by count and checksum" in process.output
    report(process.errors.splitlines()[1], time.monotonic() - began, max(peaks))
    return process.errors


def test_killed_in_the_middle_and_run_again(
    many: tuple[Place, str],
    target: Place,
    make_settings: Callable[..., Settings],
    tmp_path: Path,
) -> None:
    """SIGKILL among the messages. Half a copy serves nobody; the next run makes it whole."""
    source, key = many
    migrate(target.url)
    target.get_stuck("messages", MIDDLE)
    with copying(source, target) as first:
        stuck(first, target)
        first.kill()
    if not target.is_sqlite:
        target.run(ENDED)  # the server would notice once it has slept
    assert target.count("people") == PEOPLE
    assert target.count("messages") == MIDDLE // BATCH_ROWS * BATCH_ROWS
    assert target.count("attempts") == 0
    nobody_starts_on(make_settings(database_url=target.url, port=0))
    target.be_well("messages")
    with copying(source, target) as second:
        said = whole(second)
    assert "Going on with the copy that was interrupted." in said
    assert "beginning anew" not in said
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


def report(what: str, seconds: float, peak_bytes: float = 0) -> None:
    """Say how long it took, for those who run it with ``--capture=no``."""
    memory = f", {peak_bytes / 1e6:.0f} MB at most" if peak_bytes else ""
    sys.stderr.write(f"\n{PEOPLE:,} people: {what}: {seconds:.1f} s{memory}\n")


def nobody_starts_on(settings: Settings) -> None:
    """Half a copy is refused by all that could use it, with what to do."""
    smtp = {"REACH_SMTP_URL": "smtp://127.0.0.1:1"}
    with ExitStack() as stack:
        for process in [
            stack.enter_context(ReachProcess(command, settings=settings, environment=smtp))
            for command in ("api", "worker", "migrate", "up")
        ]:
            assert process.wait(60) == 1
            assert HALF in process.errors


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
    many: tuple[Place, str], private_postgres: Postgres, tmp_path: Path
) -> None:
    """130, and 1; one line says to run it again, which goes on from there each time."""
    source, _ = many
    target = Place(private_postgres.url)
    target.get_stuck("messages", MIDDLE)
    with copying(source, target) as interrupted:
        stuck(interrupted, target)
        os.kill(interrupted.pid, signal.SIGINT)
        assert interrupted.wait(SECONDS) == 130
        assert interrupted.errors.endswith("Run the same command again: it goes on from here.\n")
    with copying(source, target) as cut:
        stuck(cut, target)
        private_postgres.stop()
        assert cut.wait(SECONDS) == 1
        assert cut.errors.splitlines()[-1].startswith("The target is away. ")
        assert "Going on" in cut.errors
    with copying(source, target) as early:
        assert early.wait(SECONDS) == 1
        assert early.errors.splitlines()[-1].startswith("The target is away. ")
    private_postgres.start()
    assert 0 < target.count("messages") < PEOPLE
    target.be_well("messages")
    with copying(source, target) as last:
        assert "Going on" in whole(last)
    back = Place(f"sqlite:///{tmp_path / 'back.sqlite3'}")
    copied(target, back)
    assert different(source.file, back.file) is None


def test_a_failure_after_the_last_commit_is_none(
    source: Place, new_postgres: Callable[[], Place]
) -> None:
    """All is there: whatever is in the way of ANALYZE. Who copies again is told how to see it."""
    target = new_postgres()
    migrate(target.url)
    target.run(
        "CREATE FUNCTION cut(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN "
        "IF current_query() LIKE 'ANALYZE%' THEN RAISE connection_failure; END IF; "
        "RETURN $1; END $$",
        "CREATE INDEX cut ON people (cut(email))",
    )
    lines = Noted()
    assert copied(source, target, watching=lines) == counts(source.file)
    assert [line for line in lines.noted if "ANALYZE" in line]
    assert target.revision == newest()
    with pytest.raises(CannotCopy, match="cut off at its very end, it is whole"):
        copied(source, target)
