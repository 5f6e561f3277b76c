"""The mail budget: counted in the outbox, per person, for what strangers can trigger alone."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import earliest_id, new_id, now
from reach.messages import budget, outbox
from reach.messages.model import STRANGERS, messages
from reach.messages.outbox import Promise
from reach.people.model import people
from reach.runtime.process import opened
from reach.settings import BadSettings, Settings, load
from tests.support.database.stored import sign_up

ADA, BOB = "ada@example.com", "bob@example.com"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def with_limit(settings: Settings, limit: str) -> Settings:
    """The same settings with another budget."""
    return settings.model_copy(update={"limit_mail_per_address": limit})


async def ids(database: Database) -> dict[str, UUID]:
    """Who has which address."""

    def look(tx: Transaction) -> dict[str, UUID]:
        return {row.email: row.id for row in tx.execute(select(people.c.email, people.c.id))}

    return await database.read(look)


async def promise(database: Database, settings: Settings, person: UUID, *templates: str) -> None:
    """Promise these messages."""
    promises = [Promise(person, ADA, template, {"name": "Ada"}) for template in templates]
    await database.write(outbox.promise, promises, settings)


async def age(database: Database, by: timedelta) -> None:
    """Make every message older: what it was made at, and its id, which was made with it."""

    def make_older(tx: Transaction) -> None:
        for row in tx.execute(select(messages.c.id, messages.c.created_at)).all():
            made = (row.created_at - by).timestamp()
            older = UUID(int=earliest_id(made).int | row.id.int & (1 << 80) - 1)
            changed = {"id": older, "created_at": row.created_at - by}
            tx.execute(update(messages).where(messages.c.id == row.id).values(**changed))

    await database.write(make_older)


async def may_get(database: Database, settings: Settings, *whom: UUID) -> set[UUID]:
    """Those of them who are within their budget."""
    return await database.write(budget.within, whom, settings)


async def test_every_window_of_the_budget_holds(settings: Settings) -> None:
    """Three an hour and five a day: never more than either; each person has their own."""
    limited = with_limit(settings, "5/day;3/hour")
    async with opened(settings) as database:
        await sign_up(database, settings, ADA, BOB)
        who = await ids(database)
        ada, bob = who[ADA], who[BOB]
        await promise(database, settings, ada, "already-signed-up")
        assert await may_get(database, limited, ada, bob) == {ada, bob}
        await promise(database, settings, ada, "manage-link")
        assert await may_get(database, limited, ada, bob) == {bob}
        await age(database, HOUR)
        await promise(database, settings, ada, "manage-link")
        assert await may_get(database, limited, ada) == {ada}
        await promise(database, settings, ada, "manage-link")
        assert await may_get(database, limited, ada) == set()
        await age(database, DAY - HOUR)
        assert await may_get(database, limited, ada) == {ada}


async def test_the_edge_is_the_databases(settings: Settings) -> None:
    """A window ends by the database's clock, though ids were made by another one."""
    limited = with_limit(settings, "1/hour")
    async with opened(settings) as database:
        await sign_up(database, settings, ADA)
        (ada,) = (await ids(database)).values()

        def move(tx: Transaction, seconds: float) -> None:
            five_minutes_slow = earliest_id(time.time() - seconds - 300)
            tx.execute(update(messages).values(id=five_minutes_slow, created_at=now(-seconds)))

        await database.write(move, 3590)
        assert await may_get(database, limited, ada) == set()
        await database.write(move, 3601)
        assert await may_get(database, limited, ada) == {ada}


async def test_off_lifts_it(settings: Settings) -> None:
    """Then nothing is counted."""
    async with opened(settings) as database:
        await sign_up(database, settings, ADA)
        (ada,) = (await ids(database)).values()
        await promise(database, settings, ada, *["manage-link"] * 30)
        assert await may_get(database, settings, ada) == set()
        assert await may_get(database, with_limit(settings, "off"), ada) == {ada}


async def test_what_strangers_cannot_trigger_does_not_count(settings: Settings) -> None:
    """A change's email, and what an operator promised, whatever its template."""
    limited = with_limit(settings, "2/hour")
    async with opened(settings) as database:
        await sign_up(database, settings, ADA)
        (ada,) = (await ids(database)).values()
        await promise(database, settings, ada, *["changed"] * 5)
        words = {"name": "Ada", **budget.BY_OPERATOR}
        by_operator = [Promise(ada, ADA, name, words) for name in STRANGERS]
        await database.write(outbox.promise, by_operator, settings)
        assert await may_get(database, limited, ada) == {ada}
        await promise(database, settings, ada, "already-signed-up")
        assert await may_get(database, limited, ada) == set()


async def test_nobody_is_within_no_budget(settings: Settings) -> None:
    """Of nobody, nobody; who has no message may get one."""
    async with opened(settings) as database:
        assert await may_get(database, settings) == set()
        stranger = new_id()
        assert await may_get(database, settings, stranger) == {stranger}


@pytest.mark.parametrize(
    ("limit", "days", "fits"),
    [("20/day", 1, True), ("20/day", 0.9, False), ("1/month", 90, True), ("off", 0.1, True)],
)
def test_what_is_swept_cannot_be_counted(
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    days: float,
    fits: bool,
) -> None:
    """A window longer than messages are kept is refused, naming both settings."""
    given: dict[str, Any] = {"limit_mail_per_address": limit, "keep_messages_days": days}
    if fits:
        assert make_settings(**given).keep_messages_days == days
        return
    for name, value in given.items():
        monkeypatch.setenv(f"REACH_{name.upper()}", str(value))
    with pytest.raises(BadSettings) as caught:
        load()
    assert "REACH_LIMIT_MAIL_PER_ADDRESS" in str(caught.value)
    assert "REACH_KEEP_MESSAGES_DAYS" in str(caught.value)
