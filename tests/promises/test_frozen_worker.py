"""A worker that is frozen past its lease, and then goes on as if nothing had happened."""

from collections import Counter

from reach.db.database import Database
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import addresses, all_sent, attempts_in, messages_in, sign_up
from tests.support.processes.running import ended, said, worker
from tests.support.servers.mail import MailServer

SLOTS = 6
TAKEN, BEGUN, WAITING = addresses(3, "taken"), addresses(3, "begun"), addresses(4, "waiting")


async def test_a_frozen_workers_late_word_is_ignored(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Another has sent its messages: it changes nothing, and sends no content any more.

    Of its ten messages the server had taken three, so these come twice; it had named the
    recipient of three and not begun four.
    """
    accepted = mail_server.gate("accepted")
    async with worker(mailing, worker_slots=SLOTS) as frozen:
        await sign_up(database, mailing, *TAKEN)
        await accepted.wait_reached(len(TAKEN))
        rcpt = mail_server.gate("rcpt")
        await sign_up(database, mailing, *BEGUN, *WAITING)
        await rcpt.wait_reached(len(BEGUN))
        await eventually(lambda: all_held(database))
        frozen.pause()
        accepted.open()  # the replies wait in the frozen worker's connections
        rcpt.open()
        async with worker(mailing) as other:
            messages = await all_sent(database)
            frozen.cont()
            await said(frozen, "outcome recorded too late", len(TAKEN) + len(BEGUN))
            frozen.running.terminate()
            assert await ended(frozen, 10) == 0
    assert await messages_in(database) == messages
    copies = {**dict.fromkeys(TAKEN, 2), **dict.fromkeys([*BEGUN, *WAITING], 1)}
    assert Counter(mail_server.recipients) == copies
    assert len({mail.content for mail in mail_server.messages}) == len(messages)
    attempts = await attempts_in(database)
    assert {attempt.message_id for attempt in attempts} == {message.id for message in messages}
    assert [(one.outcome, one.worker.rpartition(":")[2]) for one in attempts] == [
        ("sent", str(other.pid))
    ] * len(messages)


async def all_held(database: Database) -> bool:
    """Whether the one worker there is holds every message, and has recorded nothing of any."""
    return all(message.lease == 1 for message in await messages_in(database))
