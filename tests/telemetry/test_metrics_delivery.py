"""Deliveries are counted: each attempt, what it came to, and what a worker is doing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from reach.db.database import Database
from reach.messages import outbox, queue
from reach.people.model import people
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import addresses, all_sent, messages_in, sign_up
from tests.support.processes.reach import running_worker
from tests.support.servers.mail import DROP, MailServer, once
from tests.support.telemetry.metrics import Since, value

ATTEMPTS, FINISHED = "reach_delivery_attempts_total", "reach_messages_finished_total"
SENT = "reach_promised_to_sent_seconds"
TOOK = "reach_delivery_attempt_duration_seconds"
HELD, SLOTS, BUSY = "reach_leases_held", "reach_worker_slots", "reach_worker_slots_busy"
BY = ("outcome", "smtp_class")


@pytest.fixture
async def since() -> AsyncIterator[Since]:
    """What is counted from here on; in the end, nobody may be left doing anything."""
    began = Since()
    yield began
    for gauge in (HELD, SLOTS, BUSY, "reach_database_pool_busy"):
        assert began.of(gauge) == 0, gauge


async def test_what_is_sent_is_counted(mailing: Settings, database: Database, since: Since) -> None:
    """By outcome and reply, by its end, and by how long it took from the promise on."""
    await sign_up(database, mailing, *addresses(3))
    with capture_logs() as said:
        async with running_worker(mailing):
            await all_sent(database)
            await eventually(lambda: since.of(FINISHED, state="sent") == 3)
    assert since.all_of(ATTEMPTS, *BY) == {("sent", "2xx"): 3}
    assert since.all_of(FINISHED, "state") == {"sent": 3}
    assert since.of(f"{TOOK}_count") == 3
    assert 0 < since.of(f"{TOOK}_sum") < 60
    assert since.of(f"{SENT}_count", template="welcome") == 3
    assert 0 < since.of(f"{SENT}_sum", template="welcome") < 180
    assert since.of("reach_leases_reclaimed_total") == 0
    lines = [line for line in said if line["event"] == "sent"]
    ids = {(str(message.id), message.message_id) for message in await messages_in(database)}
    assert {(line["reach_message_id"], line["message_id"]) for line in lines} == ids
    assert {(one["outcome"], one["smtp_code"]) for one in lines} == {("sent", 250)}
    assert all(line["nanoseconds"] > 0 for line in lines)


async def test_what_a_worker_is_doing_is_seen_while_it_does_it(
    mailing: Settings, mail_server: MailServer, database: Database, since: Since
) -> None:
    """Its slots, those that are taken, and the messages that it holds."""
    gate = mail_server.gate("data")
    await sign_up(database, mailing, *addresses(3))
    settings = mailing.model_copy(update={"worker_slots": 2, "smtp_data_seconds": 60})
    async with running_worker(settings):
        await gate.wait_reached(2)
        assert (since.of(SLOTS), since.of(BUSY), since.of(HELD)) == (2, 2, 3)
        gate.open()
        await all_sent(database)


@pytest.mark.parametrize(
    "row",
    [
        ("rcpt", "451 4.2.1 Not now", ("deferred", "4xx")),
        ("accepted", DROP, ("unknown", "none")),
    ],
)
async def test_an_attempt_that_is_repeated_is_no_end(
    mailing: Settings,
    mail_server: MailServer,
    database: Database,
    since: Since,
    row: tuple[str, str, tuple[str, str]],
) -> None:
    """It counts as what it was; the message is counted once, by what it came to."""
    stage, reply, attempt = row
    mail_server.script[stage] = once(reply)
    await sign_up(database, mailing, "ada@example.com")
    async with running_worker(mailing):
        await all_sent(database)
        await eventually(lambda: since.of(FINISHED, state="sent") == 1)
    assert since.all_of(ATTEMPTS, *BY) == {attempt: 1, ("sent", "2xx"): 1}
    assert since.all_of(FINISHED, "state") == {"sent": 1}


async def test_a_message_that_is_given_up_is_counted_and_told(
    mailing: Settings, mail_server: MailServer, database: Database, since: Since
) -> None:
    """Failed, and one line that says which; it was never sent."""
    mail_server.script["rcpt"] = "550 5.1.1 Nobody"
    await sign_up(database, mailing, "ada@example.com")
    with capture_logs() as said:
        async with running_worker(mailing):
            await eventually(lambda: since.of(FINISHED, state="failed") == 1)
    assert since.all_of(ATTEMPTS, *BY) == {("rejected", "5xx"): 1}
    assert since.all_of(FINISHED, "state") == {"failed": 1}
    assert since.all_of(f"{SENT}_count", "template") == {}
    (message,) = await messages_in(database)
    (line,) = [line for line in said if line["event"] == "message failed"]
    assert (line["reach_message_id"], line["smtp_code"]) == (str(message.id), 550)
    assert line["message_id"] == message.message_id
    assert message.last_error == "550 5.1.1 RCPT TO: Nobody"
    assert (line["log_level"], line["enhanced_code"]) == ("warning", "5.1.1")
    assert [line["event"] for line in said].count("not sent") == 1


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("Hello\n{{ nmae }}", ("welcome.txt", 2, "UndefinedError", None)),
        ("{{ {'x': 1}[name] }}", ("welcome.txt", 1, "UndefinedError", None)),
        ("{% include name ~ '.txt' %}", ("welcome.txt", 1, "TemplateNotFound", None)),
        ("{% if %}", ("welcome.txt", 1, "TemplateSyntaxError", None)),
        (b"\xff", ("welcome.txt", None, "UnicodeDecodeError", None)),
        ("{{ link }}", ("welcome.txt", 1, "CannotLink", None)),
    ],
    ids=["misspelt", "a key", "a name", "syntax", "bytes", "link"],
)
async def test_why_a_template_fails_is_told(
    mailing: Settings,
    database: Database,
    tmp_path: Path,
    source: str | bytes,
    told: tuple[object, ...],
) -> None:
    """In which line of which file, and of what kind; nothing of what it was given."""
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "welcome.txt").write_bytes(source.encode() if isinstance(source, str) else source)
    await sign_up(database, mailing, "ada@example.com")
    settings = mailing.model_copy(update={"templates_dir": folder})
    with capture_logs() as said:
        async with running_worker(settings):
            await eventually(lambda: any(line["event"] == "message failed" for line in said))
    (message,) = await messages_in(database)
    (line,) = [line for line in said if line["event"] == "message cannot be composed"]
    names = ("template_file", "template_line", "error_type", "reason")
    assert tuple(line[name] for name in names) == told
    assert (line["reach_message_id"], line["log_level"]) == (str(message.id), "warning")
    person = await database.read(lambda tx: tx.execute(select(people.c.name)).scalar_one())
    assert person not in str(line)


async def test_what_an_operator_retried_is_sent_and_was_not_late_a_second_time(
    mailing: Settings, mail_server: MailServer, database: Database, since: Since
) -> None:
    """Its time from the promise on would say so: it failed then, and was counted as that."""
    mail_server.script["rcpt"] = "550 5.1.1 Nobody"
    await sign_up(database, mailing, "ada@example.com")
    async with running_worker(mailing):
        await eventually(lambda: since.of(FINISHED, state="failed") == 1)
        # Put off once more, it has failures again: fewer than attempts.
        mail_server.script["rcpt"] = once("451 4.2.1 Not now")
        (failed,) = await messages_in(database)
        await database.write(outbox.retry, failed.id)
        await eventually(lambda: since.of(FINISHED, state="sent") == 1)
        assert since.all_of(f"{SENT}_count", "template") == {}
        await sign_up(database, mailing, "bob@example.com")
        await eventually(lambda: since.of(FINISHED, state="sent") == 2)
    assert since.of(f"{SENT}_count", template="welcome") == 1
    assert since.all_of(FINISHED, "state") == {"failed": 1, "sent": 2}
    tries = {("rejected", "5xx"): 1, ("deferred", "4xx"): 1, ("sent", "2xx"): 2}
    assert since.all_of(ATTEMPTS, *BY) == tries


async def test_a_pause_is_seen_and_counted_once(
    mailing: Settings, mail_server: MailServer, database: Database, since: Since
) -> None:
    """However often it is probed; and its end is seen."""
    mail_server.script["greeting"] = "421 4.3.2 Away"
    await sign_up(database, mailing, "ada@example.com")
    async with running_worker(mailing.model_copy(update={"worker_slots": 1})):
        await eventually(lambda: mail_server.sessions >= 3)
        assert value("reach_circuit_breaker_open") == 1
        assert since.of("reach_circuit_breaker_openings_total") == 1
        del mail_server.script["greeting"]
        await all_sent(database)
        assert value("reach_circuit_breaker_open") == 0
        await eventually(lambda: since.of(FINISHED, state="sent") == 1)
    assert since.all_of(ATTEMPTS, *BY) == {("unavailable", "4xx"): 1, ("sent", "2xx"): 1}


async def test_what_a_vanished_worker_held_is_counted_when_it_is_leased_again(
    mailing: Settings, database: Database, since: Since
) -> None:
    """One that gave its messages back has not vanished."""
    await sign_up(database, mailing, *addresses(3))
    leased = await database.write(queue.lease_due, limit=2, lease_seconds=0)
    returned = queue.Held(leased[0].id, leased[0].lease)
    await database.write(queue.release, [returned])
    async with running_worker(mailing):
        await all_sent(database)
        await eventually(lambda: since.of(FINISHED, state="sent") == 3)
    assert since.of("reach_leases_reclaimed_total") == 1
