"""The database is lost while a worker has an acceptance to note: it notes it afterwards."""

from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from reach.db.database import Database
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import ROWS_OF_MESSAGES, held
from tests.support.database.stored import addresses, all_sent, attempts_in, sign_up
from tests.support.processes.running import ended, everything, said, worker
from tests.support.servers.mail import MailServer
from tests.support.servers.postgres import Postgres
from tests.support.times import LEASE_SECONDS

SLOTS = 2
#: A lease is renewed each third of its time: after so many failures it is long over.
MORE_RENEWALS_THAN_A_LEASE_HAS = 6


@pytest.mark.parametrize(
    ("goes_away", "comes_back"),
    [(Postgres.stop, Postgres.start), (Postgres.pause, Postgres.resume)],
    ids=["stopped", "silent"],
)
async def test_an_acceptance_is_noted_when_the_database_is_back(
    private_postgres: Postgres,
    make_settings: Callable[..., Settings],
    mail_server: MailServer,
    goes_away: Callable[[Postgres], None],
    comes_back: Callable[[Postgres], None],
) -> None:
    """Its lease is long over by then: even so no worker, neither it nor another, sends a copy."""
    settings = make_settings(
        database_url=private_postgres.url,
        smtp_url=mail_server.url,
        lease_seconds=LEASE_SECONDS,
        database_seconds=0.5,
    )
    async with opened(settings.model_copy(update={"database_seconds": 10})) as database:
        await sign_up(database, settings, "ada@example.com")
        gate = mail_server.gate("accepted")
        async with AsyncExitStack() as stack:
            holding = await stack.enter_async_context(worker(settings))
            await gate.wait_reached()  # so it is this one that has the message
            other = await stack.enter_async_context(worker(settings))
            goes_away(private_postgres)
            gate.open()
            await said(holding, "cannot record the outcome yet")
            await said(holding, "cannot renew leases", MORE_RENEWALS_THAN_A_LEASE_HAS)
            await said(other, "cannot lease")
            comes_back(private_postgres)
            (message,) = await all_sent(database)
            (attempt,) = await attempts_in(database)
            assert (message.attempts, attempt.outcome) == (1, "sent")
            # They work on.
            await sign_up(database, settings, "bob@example.com")
            await all_sent(database)
            for process in (holding, other):
                process.running.terminate()
                assert await ended(process, settings.grace_seconds) == 0, everything(process)
    assert mail_server.recipients == ["ada@example.com", "bob@example.com"]


async def test_a_worker_that_cannot_record_stops_sending(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """What it may have to send again, if it dies now, is at most four messages for each slot."""
    recipients = addresses(60)
    settings = mailing.model_copy(update={"worker_slots": SLOTS, "database_seconds": 1})
    await sign_up(database, settings, *recipients)
    gate = mail_server.gate("rcpt")
    async with worker(settings) as process:
        await gate.wait_reached(SLOTS)
        async with held(settings, ROWS_OF_MESSAGES):
            gate.open()
            await said(process, "cannot record the outcome yet", SLOTS)
            await eventually(lambda: mail_server.close_idle() == SLOTS)  # it sends nothing now
            assert SLOTS <= len(mail_server.messages) <= 4 * SLOTS
        await all_sent(database)
    assert Counter(mail_server.recipients) == dict.fromkeys(recipients, 1)
