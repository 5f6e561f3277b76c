"""Somebody else is at a database while it is copied."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import httpx
import pytest

from reach.db.schema import newest
from reach.settings import Settings
from reach.transfer import databases
from reach.transfer.copy import WRITTEN_TO
from reach.transfer.databases import CannotCopy
from tests.support.database.copies import ADA, LAST, NOW, Noted, Place, copied, counts, different
from tests.support.database.databases import migrate
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.commands import ReachProcess, api_process
from tests.support.processes.ports import free_port

START_SECONDS = 30


class Caller(Noted):
    """Signs somebody up while the copy waits: at its beginning, and once all rows are there."""

    def __init__(self, settings: Settings) -> None:
        """Call nobody yet."""
        super().__init__()
        self._url = f"{settings.origin}/v1/signups"
        self.answers: list[httpx.Response] = []

    def begin(self, what: str, rows: int) -> None:
        """Call at two of the steps."""
        super().begin(what, rows)
        if what in ("copying people", "verifying people"):
            self.answers.append(self.sign_up())

    def sign_up(self) -> httpx.Response:
        """Sign somebody up."""
        person = {"email": f"late{len(self.answers)}@example.com", "name": "Late"}
        return httpx.post(
            self._url, json=person, verify=NO_CERTIFICATES, trust_env=False, timeout=30
        )


@contextmanager
def idle(settings: Settings) -> Iterator[Caller]:
    """Run an API that has asked nothing of its database yet: no connection of it is open."""
    with ReachProcess("api", settings=settings) as process:
        process.wait_for("api started", START_SECONDS)
        yield Caller(settings)


def test_a_source_that_runs_is_read_as_it_was(
    source: Place, target: Place, make_settings: Callable[..., Settings]
) -> None:
    """One moment of it: who signs up meanwhile is told 202, stays there, and is warned of."""
    with idle(make_settings(database_url=source.url, port=free_port())) as caller:
        caller.answers.append(caller.sign_up())
        before = counts(source.file)
        assert copied(source, target, caller) == before
    assert [answer.status_code for answer in caller.answers] == [202] * 3
    assert WRITTEN_TO in caller.noted
    assert (source.count("people"), target.count("people")) == (313, 311)
    counted = "SELECT CAST(sum(count) AS bigint) FROM counters WHERE name = 'people'"
    assert target.run(counted) == [(311,)]


def test_a_source_of_postgres_that_is_written_to(
    source: Place, new_postgres: Callable[[], Place], target: Place
) -> None:
    """It is read in one snapshot as well; one that stands still is not warned of."""
    postgres, lines = new_postgres(), Noted()
    copied(source, postgres, lines)
    assert WRITTEN_TO not in lines.noted
    writer = Writer(postgres)
    assert copied(postgres, target, writer) == counts(source.file)
    assert WRITTEN_TO in writer.noted
    assert (postgres.count("people"), target.count("people")) == (311, 310)


class Writer(Noted):
    """Writes to a database by SQL, while people are copied."""

    def __init__(self, place: Place) -> None:
        """Write nothing yet."""
        super().__init__()
        self._place = place

    def begin(self, what: str, rows: int) -> None:
        """Write at one of the steps."""
        super().begin(what, rows)
        if what == "copying people":
            at = NOW if self._place.is_sqlite else "now()"
            self._place.run(ADA.format(LAST, now=at))


def test_an_idle_api_of_the_target_is_told_to_wait(
    source: Place, target: Place, make_settings: Callable[..., Settings]
) -> None:
    """503 while the copy is under way, which ends well; then it serves, without a new start."""
    migrate(target.url)
    settings = make_settings(database_url=target.url, port=free_port(), database_seconds=2)
    with idle(settings) as caller:
        assert copied(source, target, caller) == counts(source.file)
        answers = [(answer.status_code, answer.json()["type"]) for answer in caller.answers]
        assert [code for code, _ in answers] == [503, 503], answers
        assert target.count("people") == 310
        assert target.revision == newest()
        assert caller.sign_up().status_code == httpx.codes.ACCEPTED
    assert target.count("people") == 311


def test_a_target_that_runs_on_sqlite_is_refused(
    source: Place, empty_file: Callable[[str], Place], make_settings: Callable[..., Settings]
) -> None:
    """A file is locked as a whole, which fails while others have it open."""
    target = empty_file("target")
    with (
        api_process(make_settings(database_url=target.url, port=free_port())),
        pytest.raises(CannotCopy, match=r"target is in use\. Stop all of Reach"),
    ):
        copied(source, target)
    assert copied(source, target) == counts(source.file)
    assert different(source.file, target.file) is None


async def test_who_writes_to_the_target_is_named_and_who_reads_is_not_waited_for(
    source: Place, new_postgres: Callable[[], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres: a transaction that has written holds what a copy needs; one that reads does not."""
    target = new_postgres()
    await asyncio.to_thread(migrate, target.url)
    monkeypatch.setitem(databases.SESSION, "lock_timeout", "200ms")
    connection = await asyncpg.connect(target.url, timeout=20)
    try:
        await connection.execute("BEGIN; DELETE FROM people")
        with pytest.raises(CannotCopy, match="Somebody is writing to the target's tables"):
            await asyncio.to_thread(copied, source, target)
        await connection.execute("ROLLBACK; BEGIN; SELECT count(*) FROM people")
        assert await asyncio.to_thread(copied, source, target) == counts(source.file)
    finally:
        await connection.close()
