"""A backup is the database at one moment, whatever is written meanwhile; and can be restored."""

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
from pydantic import SecretStr

from reach.settings import Settings
from reach.transfer import Watcher
from reach.transfer.backup import back_up
from tests.support.clock import eventually
from tests.support.database.copies import Place, counts, different, fill
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, ended, running_api, worker
from tests.support.servers.mail import MailServer

SHARED_LEASE_SECONDS = 2.0
#: Enough pages for several steps.
PEOPLE = 12_000


class Writer(Watcher):
    """Writes to the database whenever it is told how far the backup is."""

    def __init__(self, other: sqlite3.Connection) -> None:
        """Write nothing yet."""
        super().__init__()
        self._other = other
        self.steps = self.pages_left = 0

    def begin(self, what: str, rows: int) -> None:
        """Note how many pages there are."""
        super().begin(what, rows)
        self.pages_left = rows

    def advance(self, rows: int) -> None:
        """Write."""
        super().advance(rows)
        self.pages_left -= rows
        self.steps += 1
        self._other.execute("UPDATE people SET name = 'Written' WHERE rowid % 97 = 0")
        self._other.execute("DELETE FROM attempts WHERE rowid % 89 = ?", (self.steps % 89,))


def test_others_write_at_each_step(empty_file: Callable[[str], Place], tmp_path: Path) -> None:
    """They wait for nobody; the backup is of one moment, in one file, for its owner alone."""
    source, file = empty_file("busy"), tmp_path / "backup.sqlite3"
    fill(source.file, PEOPLE)
    before = tmp_path / "before.sqlite3"
    shutil.copy(source.file, before)
    with (
        closing(sqlite3.connect(source.file, timeout=0, isolation_level=None)) as other,
    ):
        writer = Writer(other)
        back_up(source.file, file, writer)
    assert writer.steps >= 5
    assert writer.pages_left == 0
    assert different(before, file) is None
    assert different(source.file, file) is not None
    assert file.stat().st_mode & 0o777 == 0o600
    assert {found.name for found in tmp_path.iterdir() if "backup" in found.name} == {file.name}


@asynccontextmanager
async def signing_up(http: httpx.AsyncClient, acknowledged: list[str]) -> AsyncIterator[None]:
    """Have people sign up all the time; each who is told so is in ``acknowledged``."""

    async def sign_up_for_ever(name: str) -> None:
        for n in range(10**9):
            email = f"{name}{n}@example.com"
            answer = await http.post("/v1/signups", json={"email": email, "name": "Ada"})
            assert answer.status_code == httpx.codes.ACCEPTED
            acknowledged.append(email)

    callers = [asyncio.create_task(sign_up_for_ever(name)) for name in "ab"]
    try:
        yield
    finally:
        for caller in callers:
            caller.cancel()
        ends = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


async def test_taken_under_load_it_restores_to_a_consistent_state(
    make_settings: Callable[..., Settings],
    mail_server: MailServer,
    empty_file: Callable[[str], Place],
    tmp_path: Path,
) -> None:
    """API and worker at work: all that was acknowledged before is in it, and all of it fits.

    What was queued then is sent after restoring it; and again, if it was sent in between.
    """
    place, backup = empty_file("busy"), tmp_path / "backup.sqlite3"
    settings = make_settings(
        database_url=place.url,
        smtp_url=SecretStr(mail_server.url),
        port=free_port(),
        lease_seconds=SHARED_LEASE_SECONDS,
    )
    acknowledged: list[str] = []
    async with (
        running_api(settings),
        worker(settings),
        client(settings) as http,
        signing_up(http, acknowledged),
    ):
        await eventually(lambda: len(mail_server.messages) > 30, 30)
        mail_server.stall()
        await eventually(mail_server.is_stalled)
        known = len(acknowledged)
        await eventually(lambda: len(acknowledged) > known + 30, 30)
        before = set(acknowledged)
        with ReachProcess("db", "backup", str(backup), settings=settings) as process:
            assert await ended(process, 60) == 0, process.errors
            assert "REACH_SECRET_KEY" in process.output
        assert len(acknowledged) > len(before)
        mail_server.resume()
        sent = len(mail_server.messages)
        await eventually(lambda: len(mail_server.messages) > sent + 30, 30)
    restored = Place(f"sqlite:///{tmp_path / 'restored.sqlite3'}")
    shutil.copy(backup, restored.file)
    people = is_consistent(restored)
    assert people >= before
    assert not people >= set(acknowledged)
    queued = restored.run("SELECT message_id FROM messages WHERE state = 'queued'")
    assert len(queued) > 30
    moved = settings.model_copy(update={"database_url": SecretStr(restored.url)})
    unsent = "SELECT count(*) FROM messages WHERE state <> 'sent'"
    async with running_api(moved), worker(moved):
        await eventually(lambda: restored.run(unsent) == [(0,)], 60, every=0.1)
    copies = Counter(mail.message_id for mail in mail_server.messages)
    assert all(copies[message_id] >= 1 for (message_id,) in queued)
    assert any(copies[message_id] > 1 for (message_id,) in queued)


def is_consistent(place: Place) -> set[str]:
    """Check all that must fit together; everybody's address."""
    assert place.run("PRAGMA integrity_check") == [("ok",)]
    assert place.run("PRAGMA foreign_key_check") == []
    assert place.run(
        "SELECT count(*) FROM people WHERE id NOT IN (SELECT person_id FROM messages)"
    ) == [(0,)]
    counted = dict(place.run("SELECT name, count FROM counters WHERE hour = 0"))
    assert counted["people"] == counts(place.file)["people"]
    assert place.run("SELECT state, count(*) FROM messages GROUP BY 1 ORDER BY 1") == sorted(
        (state, counted[state]) for state in ("queued", "sent") if counted[state]
    )
    return {email for (email,) in place.run("SELECT email FROM people")}


def test_the_command_says_what_else_to_keep(source: Place, tmp_path: Path) -> None:
    """The secret key, by where it is, which it never replaces. A failure is 1.

    Of Postgres it says whose tools to use: 2.
    """
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "secret-key").write_text("canary" * 9)
    data_dir = {"REACH_DATA_DIR": str(keys)}
    file = tmp_path / "backup"
    environment = {**data_dir, "REACH_DATABASE_URL": source.url}
    for code in (0, 1):
        with ReachProcess("db", "backup", str(file), environment=environment) as process:
            assert process.wait() == code
            assert (f"in {keys / 'secret-key'}" in process.output) == (code == 0)
            assert "canary" not in process.output + process.errors
            assert ("There is such a file" in process.errors) == (code == 1)
    for name in ("secret-key", "operator-key"):
        own = ("db", "backup", "--force", str(keys / name))
        with ReachProcess(*own, environment=environment) as process:
            assert process.wait() == 1
            assert "That is a file of Reach's own." in process.errors
    assert [(path.name, path.read_text()) for path in keys.iterdir()] == [
        ("secret-key", "canary" * 9)
    ]
    url = "postgresql://u:canary@127.0.0.1:1/reach"
    environment = {**data_dir, "REACH_DATABASE_URL": url}
    with ReachProcess("db", "backup", str(file), environment=environment) as process:
        assert process.wait() == 2
        assert "pg_dump" in process.errors
        assert "canary" not in process.errors
