"""Postgres alone: `reach migrate` on a database that others use, killed, refused, too early."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Engine, ExceptionContext, event

from reach.db.migrate import CannotMigrate, Patience, migrate, upgrade
from reach.db.migrate_postgres import LOCK, require_turn
from reach.db.schema import VERSIONS, names, newest, revision
from reach.db.transaction import Transaction
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database import rule
from tests.support.database.databases import create_database, drop_database
from tests.support.database.locks import ADD_PERSON, ask, fetch, held
from tests.support.database.releases import NEXT_REVISION, SOURCE, next_release
from tests.support.database.stored import addresses, sign_up
from tests.support.people import everybody, operator
from tests.support.processes.commands import ReachProcess
from tests.support.processes.reach import running_reach
from tests.support.processes.running import START_SECONDS, ended, said

#: As a transaction does that has written, and has not ended.
WRITES = "LOCK TABLE people IN ROW EXCLUSIVE MODE"
MAIL = "LOCK TABLE messages IN ROW EXCLUSIVE MODE"
TURN = f"SELECT pg_advisory_lock({LOCK})"
BUILDS = (
    "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
    "AND query ~ '(CREATE|DROP) INDEX CONCURRENTLY'"
)
INDEX = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_people_display_name')"
#: The one that follows renames what is in use, for which it must have it to itself.
BEFORE_RENAMED = "0008"


@pytest.fixture
def fresh(make_settings: Callable[..., Settings], postgres_url: str) -> Iterator[Settings]:
    """Settings for a Postgres database with nothing in it."""
    url = create_database(postgres_url)
    yield make_settings(database_url=url)
    drop_database(postgres_url, url)


def url_of(settings: Settings) -> str:
    """The database's URL."""
    return settings.database_url.get_secret_value()


@pytest.mark.parametrize("how", ["killed", "cancelled"])
async def test_interrupted_while_it_builds_an_index(
    fresh: Settings, tmp_path: Path, how: str
) -> None:
    """By kill -9, or the statement is ended: the next `reach migrate` completes it."""
    newer = next_release(tmp_path / "next")
    folder = tmp_path / "next/reach" / VERSIONS.parent.relative_to(SOURCE)
    await rule.run(url_of(fresh), partial(upgrade, to="0102", folder=folder))
    process = partial(ReachProcess, "migrate", settings=fresh, environment=newer)

    async def one_waits() -> bool:
        return await fetch(fresh, f"SELECT count(*) {BUILDS}") == 1

    with ExitStack() as running:
        async with held(fresh, WRITES):
            first = running.enter_context(process())
            await eventually(one_waits, START_SECONDS)
            if how == "killed":
                first.kill()
            else:
                await fetch(fresh, f"SELECT pg_cancel_backend(pid) {BUILDS}")
                assert await ended(first, START_SECONDS) == 1
            assert await fetch(fresh, INDEX) is False
            second = running.enter_context(process())
            if how == "killed":  # what it had begun, its server process is still at
                await said(second, "Another `reach migrate` is at work")
            else:
                await eventually(one_waits, START_SECONDS)
        assert await ended(second, START_SECONDS) == 0, second.errors
        assert f"The schema is at {NEXT_REVISION}." in second.output
    assert await fetch(fresh, INDEX) is True


async def test_a_lock_that_is_not_to_be_had(fresh: Settings) -> None:
    """It is given up in time, again and again, while others go on; and in the end for good."""
    await rule.run(url_of(fresh), partial(upgrade, to=BEFORE_RENAMED))
    lines: list[str] = []
    patience = Patience(lock_seconds=0.2, migration_seconds=2.5)
    to_newest = partial(migrate, fresh.database, say=lines.append, patience=patience)
    async with opened(fresh) as database, held(fresh, WRITES), held(fresh, MAIL):
        async with anyio.create_task_group() as group:

            async def in_vain() -> None:
                with pytest.raises(CannotMigrate, match=r"was not done: .*pg_stat_activity"):
                    await anyio.to_thread.run_sync(to_newest)

            group.start_soon(in_vain)
            await eventually(lambda: any("trying again" in line for line in lines), START_SECONDS)
            # As the version before does: this one needs what is not there yet.
            assert await fetch(fresh, f"{ADD_PERSON} RETURNING 1", "ada@example.com") == 1
        assert await database.read(revision) == BEFORE_RENAMED
        assert lines
    assert await anyio.to_thread.run_sync(to_newest) == newest()
    assert lines[-1].startswith(f"{names()[-1]}: done in")


async def test_waiting_for_another_ends(fresh: Settings) -> None:
    """A process that waits for a `reach migrate` that hangs says so in the end."""
    lines: list[str] = []
    patience = Patience(turn_seconds=0.5)
    async with held(fresh, TURN):
        with pytest.raises(CannotMigrate, match="still at work"):
            await anyio.to_thread.run_sync(
                partial(migrate, fresh.database, say=lines.append, patience=patience)
            )
    assert ["is at work" in line for line in lines] == [True]


async def test_a_turn_that_was_lost(fresh: Settings) -> None:
    """A migration whose turn is held by nobody any more takes itself back, and says why."""
    nobody = partial(require_turn, 0)
    without = partial(upgrade, to="0008", on_version_apply=nobody)
    with pytest.raises(CannotMigrate, match="connection was lost"):
        await rule.run(url_of(fresh), without)
    assert await rule.run(url_of(fresh), revision) is None


def test_requests_decide_how_patient_it_is() -> None:
    """A lock is waited for a quarter of what a request has, and a second at most."""
    assert [Patience.beside(seconds).lock_seconds for seconds in (1, 4, 60)] == [0.25, 1, 1]


async def test_a_type_that_changes_fails_no_request(fresh: Settings) -> None:
    """What a connection has prepared before is prepared again, and so is the transaction."""
    outdated: list[str] = []

    def note(context: ExceptionContext) -> None:
        outdated.append(str(context.original_exception))

    await anyio.to_thread.run_sync(migrate, fresh.database)
    statuses: list[int] = []
    async with running_reach(fresh) as reach:
        http = await operator(reach)
        await sign_up(reach.database, fresh, *addresses(20))
        ids = [one["id"] for one in await everybody(http)]

        async def ask_everything() -> None:
            reads = [http.get(f"/v1/people/{one}") for one in ids]
            writes = [http.patch(f"/v1/people/{one}", json={"name": "Bea"}) for one in ids]
            answers = await asyncio.gather(*reads, *writes)
            statuses.extend(answer.status_code for answer in answers)

        await ask_everything()
        event.listen(Engine, "handle_error", note)
        for length in (200, 300):
            kind = f"varchar({length})"
            await ask(url_of(fresh), f"ALTER TABLE people ALTER COLUMN description TYPE {kind}")
            await ask_everything()
        event.remove(Engine, "handle_error", note)
    assert statuses == [200] * 120
    assert {"cached statement plan is invalid" in words for words in outdated} == {True}


async def test_a_write_that_is_done_again_is_done_once(fresh: Settings) -> None:
    """The part before the outdated statement was rolled back."""
    await anyio.to_thread.run_sync(migrate, fresh.database)
    async with opened(fresh) as database:
        await sign_up(database, fresh, "ada@example.com")
        runs = 0

        def rename(tx: Transaction) -> str:
            nonlocal runs
            runs += 1
            tx.exec_driver_sql("UPDATE people SET version = version + 1")
            return str(tx.exec_driver_sql("SELECT name, description, version FROM people").one())

        for _ in range(10):
            assert await database.write(rename)
        await ask(url_of(fresh), "ALTER TABLE people ALTER COLUMN description TYPE varchar(200)")
        assert await database.write(rename) == "('Ada', None, 12)"
        assert runs == 12
