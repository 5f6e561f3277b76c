"""A database of the version before the new words is migrated, and used."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from reach.db.migrate import upgrade
from reach.db.transaction import Transaction
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.database import rule
from tests.support.database.databases import create_database, drop_database
from tests.support.database.stored import attempts_in, sign_up
from tests.support.database.walks import are_true, current, hourly

BEFORE = "0008"
OUTCOMES = ("later", "unsure", "refused", "sent")
NOW = datetime.now(UTC)


def fill(tx: Transaction) -> None:
    """Store one person whose message was sent, and each outcome that an attempt could have."""
    is_sqlite = tx.dialect.name == "sqlite"
    at = int(NOW.timestamp() * 1e6) if is_sqlite else NOW
    one = UUID(int=1)
    given = {"one": str(one) if is_sqlite else one, "at": at}
    tx.execute(
        text(
            "INSERT INTO people (id, email, email_key, name, links_version, created_at, updated_at,"
            " version) VALUES (:one, 'a@example.com', 'a@example.com', 'A', 0, :at, :at, 1)"
        ),
        given,
    )
    tx.execute(
        text(
            "INSERT INTO messages (id, person_id, template, data, recipient, state, due_at, lease,"
            " settled_lease, attempts, failures, message_id, created_at) VALUES (:one, :one,"
            " 'welcome', '{}', 'a@example.com', 'queued', :at, 1, 0, 0, 0, '<a@b>', :at)"
        ),
        given,
    )
    tx.execute(
        text("UPDATE messages SET state = 'sent', settled_lease = 1, settled_at = :at"), given
    )
    tx.execute(
        text(
            "INSERT INTO idempotency_keys (caller, route, key, fingerprint, status, created_at)"
            " VALUES ('door', '/v1/signups', 'k', 'f', 202, :at)"
        ),
        given,
    )
    for number, outcome in enumerate(OUTCOMES):
        of = UUID(int=number)
        tx.execute(
            text(
                "INSERT INTO attempts (id, message_id, worker, started_at, finished_at, outcome,"
                " text) VALUES (:id, :one, 'w', :at, :at, :outcome, '')"
            ),
            {**given, "id": str(of) if is_sqlite else of, "outcome": outcome},
        )


@pytest.fixture(params=["sqlite", "postgres"])
def empty(
    request: pytest.FixtureRequest, make_settings: Callable[..., Settings], tmp_path: Path
) -> Iterator[Settings]:
    """A database without tables."""
    if request.param == "sqlite":
        (tmp_path / "old.db").touch()
        yield make_settings(database_url=f"sqlite:///{tmp_path}/old.db")
        return
    server = request.getfixturevalue("postgres_url")
    url = create_database(server)
    yield make_settings(database_url=url)
    drop_database(server, url)


async def test_a_database_of_before_is_migrated_and_used(empty: Settings) -> None:
    """Attempts have the new outcomes; what is counted stays true, and counts what comes."""
    settings = empty
    async with opened(settings) as database:
        if settings.database.is_sqlite:
            await database.write(partial(upgrade, to=BEFORE))
            await database.write(fill)
            await database.write(partial(upgrade, to="head"))
        else:
            url = settings.database_url.get_secret_value()
            await rule.run(url, partial(upgrade, to=BEFORE))
            await database.write(fill)
            await rule.run(url, partial(upgrade, to="head"))
        assert [one.outcome for one in await attempts_in(database)] == [
            "deferred",
            "unknown",
            "rejected",
            "sent",
        ]
        callers = text("SELECT caller FROM idempotency_keys")
        assert await database.read(lambda tx: tx.execute(callers).scalars().all()) == ["public"]
        assert await are_true(database)
        assert (await database.read(current))["sent"] == 1
        assert (await database.read(hourly))["deliveries"] == 1
        await sign_up(database, settings, "b@example.com")
        assert await are_true(database)
        assert (await database.read(current))["people"] == 2
