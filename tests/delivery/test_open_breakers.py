"""Operators see that a worker's circuit breaker is open, and no longer than it is."""

from collections.abc import Sequence
from functools import partial

import pytest
from sqlalchemy import update

from reach.db.database import Database
from reach.db.types import now
from reach.delivery import open_breakers
from reach.delivery.open_breakers import OpenBreaker
from reach.messages.outcome import Unavailable
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import sign_up
from tests.support.processes.reach import running_worker
from tests.support.servers.mail import MailServer

NOT_NOW = Unavailable("421 4.3.2 <ada@example.com>: not now", 421, "4.3.2")


@pytest.fixture
def mailing(mailing: Settings) -> Settings:
    """Settings that probe soon."""
    return mailing.model_copy(update={"breaker_first_seconds": 0.05, "breaker_cap_seconds": 0.2})


async def shown(database: Database) -> Sequence[OpenBreaker]:
    """The breakers that are open, as operators see them."""
    return await database.read(open_breakers.read)


async def is_shown(database: Database, count: int) -> bool:
    """Whether so many are open."""
    return len(await shown(database)) == count


async def test_it_is_told_while_it_is_open(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """With the server's code, and without its words, which may name somebody."""
    mail_server.script["mail"] = "450 4.3.2 <ada@example.com>: not now"
    await sign_up(database, mailing, "ada@example.com")
    async with running_worker(mailing):
        await eventually(partial(is_shown, database, 1))
        (found,) = await shown(database)
        assert (found.smtp_code, found.enhanced_code) == (450, "4.3.2")
        assert "ada" not in repr(found)
        probes = mail_server.commands.count("MAIL")
        await eventually(lambda: mail_server.commands.count("MAIL") > probes + 1)
        (again,) = await shown(database)
        assert again.opened_at == found.opened_at
        del mail_server.script["mail"]
        await eventually(partial(is_shown, database, 0))


async def test_who_has_stopped_has_none(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """It is told when a worker ends."""
    mail_server.script["mail"] = "421 4.3.2 not now"
    await sign_up(database, mailing, "ada@example.com")
    async with running_worker(mailing):
        await eventually(partial(is_shown, database, 1))
    assert await shown(database) == []


async def test_the_dead_do_not_count(database: Database) -> None:
    """A row that is not renewed; the next one who tells deletes it, and the name may come again."""
    for worker in ("dead", "alive"):
        await database.write(open_breakers.note, worker, NOT_NOW, 60.0)
    (alive, dead) = sorted(await shown(database), key=lambda one: one.worker)
    columns = open_breakers.open_breakers.c
    over = {"fresh_until": now(-1), "opened_at": now(-1000)}
    of_dead = update(open_breakers.open_breakers).where(columns.worker == "dead").values(over)
    await database.write(lambda tx: tx.execute(of_dead))
    assert await shown(database) == [alive]
    await database.write(open_breakers.note, "dead", None, 60.0)
    (_, again) = sorted(await shown(database), key=lambda one: one.worker)
    assert again.opened_at >= dead.opened_at
    assert again.smtp_code is None
    await database.write(lambda tx: tx.execute(of_dead))
    await database.write(open_breakers.forget, "alive")
    everything = open_breakers.open_breakers.select()
    assert await database.read(lambda tx: tx.execute(everything).all()) == []
