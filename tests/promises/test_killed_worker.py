"""kill -9 of a worker at a named point: nothing is lost, and only what was taken comes twice."""

from pathlib import Path

import pytest

from reach.db.database import Database
from reach.messages import outbox, queue
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import ROWS_OF_MESSAGES, held, is_awaited
from tests.support.database.stored import all_sent, attempts_in, messages_in, sign_up
from tests.support.processes.running import worker
from tests.support.servers.mail import DROP, MailServer

#: More than the system keeps for a connection whose other end does not read.
LONG_TEXT = "{{ ('Dear ' ~ name ~ ', this is long.\n') * 640000 }}"
KILLED = -9


async def test_killed_in_the_middle_of_the_content_leaves_no_copy(
    mailing: Settings, mail_server: MailServer, database: Database, tmp_path: Path
) -> None:
    """The server has a part of the content and never gets the rest: it has no message."""
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "welcome.txt").write_text(LONG_TEXT)
    settings = mailing.model_copy(update={"templates_dir": templates})
    await sign_up(database, settings, "ada@example.com")
    gate = mail_server.gate("data-content")
    async with worker(settings) as first:
        await gate.wait_reached()
        first.kill()
        assert first.exit_code == KILLED
    gate.open()  # the server reads on, to where the content breaks off
    await eventually(lambda: mail_server.connections == 0)
    assert mail_server.messages == []
    await assert_untried(database)
    async with worker(settings):
        (message,) = await all_sent(database)
    assert (message.attempts, mail_server.recipients) == (1, ["ada@example.com"])


@pytest.mark.parametrize(("stage", "copies"), [("dot", 1), ("accepted", 2)])
async def test_killed_before_the_reply_sends_again_what_the_server_took(
    mailing: Settings, mail_server: MailServer, database: Database, stage: str, copies: int
) -> None:
    """The server has all of it: if it took it, though nobody heard, that makes one copy more."""
    await sign_up(database, mailing, "ada@example.com")
    gate = mail_server.gate(stage)
    async with worker(mailing) as first:
        await gate.wait_reached()
        first.kill()
        assert first.exit_code == KILLED
    assert len(mail_server.messages) == copies - 1
    await assert_untried(database)
    gate.open(DROP)
    async with worker(mailing):
        (message,) = await all_sent(database)
    assert message.attempts == 1
    assert_copies(mail_server, copies, message.message_id)


async def test_killed_between_acceptance_and_mark_sends_one_copy_more(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """The server took it and said so; the worker was about to note it."""
    await sign_up(database, mailing, "ada@example.com")
    gate = mail_server.gate("accepted")
    async with worker(mailing) as first:
        await gate.wait_reached()
        async with held(mailing, ROWS_OF_MESSAGES):
            gate.open()
            # The reply is out: the server waits for another message.
            await eventually(lambda: mail_server.close_idle() == 1)
            await eventually(lambda: is_awaited(mailing, "WITH held"))
            first.kill()
            assert first.exit_code == KILLED
    assert len(mail_server.messages) == 1
    await assert_untried(database)
    async with worker(mailing):
        (message,) = await all_sent(database)
    assert message.attempts == 1
    assert_copies(mail_server, 2, message.message_id)


async def test_a_message_that_kills_its_workers_cannot_loop(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Five workers in a row vanished with it: that is one failure, and it waits like any other."""
    await sign_up(database, mailing, "ada@example.com")

    async def vanishes() -> bool:
        """A worker takes it, and is never heard of again."""
        return bool(await database.write(queue.lease_due, limit=1, lease_seconds=0.001))

    for _ in range(queue.MOST_VANISHED):
        await eventually(vanishes)
    async with worker(mailing, retry_first_seconds=600, retry_cap_seconds=600):
        await eventually(lambda: attempts_in(database))
        assert mail_server.sessions == 0
        (message,) = await messages_in(database)
        (attempt,) = await attempts_in(database)
        assert (message.state, message.attempts, message.failures) == ("queued", 1, 1)
        assert (attempt.outcome, attempt.smtp_code) == ("deferred", None)
        assert 0.75 * 600 < (message.due_at - attempt.finished_at).total_seconds() < 1.25 * 600
        await database.write(outbox.retry, message.id)
        await all_sent(database)
    assert [attempt.outcome for attempt in await attempts_in(database)] == ["deferred", "sent"]


async def assert_untried(database: Database) -> None:
    """Assert that the message is still owed, and that no attempt was noted."""
    (message,) = await messages_in(database)
    assert (message.state, message.attempts, message.recorded_lease) == ("queued", 0, 0)


def assert_copies(server: MailServer, count: int, message_id: str) -> None:
    """Assert that there are so many copies, alike to the byte, Message-ID and Date with it."""
    assert len(server.messages) == count
    assert len({message.content for message in server.messages}) == 1
    assert {message.message_id for message in server.messages} == {message_id}
