"""`reach messages`: found, retried and cancelled through real processes; and sent, by a worker."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from reach.cli.stats import sums
from reach.messages.model import STATES
from reach.messages.outcome import Rejected
from reach.people.stats import Hour, Stats
from reach.people.stats_schemas import StatsBody
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.outboxes import Outbox
from tests.support.processes.answers import answer_of
from tests.support.processes.commands import ReachProcess, run
from tests.support.processes.running import worker
from tests.support.servers.mail import MailServer
from tests.support.trail import trail

BEGINNING = datetime(2026, 3, 4, tzinfo=UTC)
WORDS = "550 5.1.1 no such \x1b[31muser\u202e"


async def fail(outbox: Outbox, count: int) -> Sequence[str]:
    """Let so many messages be rejected; their ids, the oldest first."""
    await outbox.fill(count)
    for message in await outbox.lease():
        await outbox.record(message, Rejected(WORDS, 550, "5.1.1"))
    return [str(message.id) for message in await outbox.all()]


async def test_what_failed_is_found_and_tried_again(outbox: Outbox, settings: Settings) -> None:
    """One by its id; many only with --yes, and counted first. Each is in the trail."""
    ids = await fail(outbox, 3)
    found = answer_of("messages", "list", "--state", "failed", settings=settings)
    assert [message["id"] for message in found] == ids[::-1]
    shown = answer_of("messages", "show", ids[0], settings=settings)
    assert [attempt["text"] for attempt in shown["history"]] == [WORDS]
    code, output = run("messages", "show", ids[0], settings=settings)
    assert code == 0
    assert "550 5.1.1 no such \\u{1b}[31muser\\u{202e}" in output

    again = answer_of("messages", "retry", ids[0], settings=settings)
    assert (again["state"], again["dry_run"]) == ("queued", False)
    many = ("messages", "retry", "--recipient", "ADA1@example.com")
    assert run(*many, settings=settings) == (2, "")
    would = answer_of(*many, "--dry-run", settings=settings)
    assert would == {"queued": 1, "more": False, "dry_run": True}
    code, output = run("messages", "retry", "--since", "2h", "--yes", settings=settings)
    assert (code, output) == (0, "Now queued: 2 messages.\n")
    assert {message.state for message in await outbox.all()} == {"queued"}
    entries = await trail(outbox.database)
    assert [(entry.action, entry.count) for entry in entries] == [
        ("messages.retry", 2),
        ("message.retry", 1),
    ]


async def test_what_is_queued_is_cancelled(outbox: Outbox, settings: Settings) -> None:
    """One by its id, once; all of them only with --yes."""
    first, *_ = await outbox.fill(3)
    would = answer_of("messages", "cancel", str(first.id), "--dry-run", settings=settings)
    assert would["state"] == "cancelled"
    assert {message.state for message in await outbox.all()} == {"queued"}
    assert run("messages", "cancel", str(first.id), "-q", settings=settings) == (0, "")
    with ReachProcess("messages", "cancel", str(first.id), settings=settings) as it:
        assert (it.wait(), it.output, it.errors) == (1, "", "This message is not queued.\n")
    assert run("messages", "cancel", "--all", settings=settings) == (2, "")
    done = answer_of("messages", "cancel", "--template", "welcome", "--yes", settings=settings)
    assert done == {"cancelled": 2, "more": False, "dry_run": False}
    assert {message.state for message in await outbox.all()} == {"cancelled"}


async def test_a_running_worker_sends_what_a_command_promises(
    mailing: Settings, mail_server: MailServer
) -> None:
    """A welcome; and a test, with sample data, in the language asked for, which belongs to nobody.

    What went out is counted by `reach stats`.
    """
    async with worker(mailing):
        assert run("people", "add", "ada@example.com", "Ada", settings=mailing)[0] == 0
        test = ("messages", "send-test", "welcome", "grace@example.com", "--lang", "de")
        sent = answer_of(*test, settings=mailing)
        assert (sent["template"], sent["person_id"]) == ("welcome", None)

        def is_there() -> bool:
            return len(mail_server.messages) == 2

        await eventually(is_there, 20)
        (mail,) = [mail for mail in mail_server.messages if mail.recipient == "grace@example.com"]
        assert mail.headers["Content-Language"] == "de"
        assert "Sample Name" in mail.headers["Subject"]

        def is_sent() -> bool:
            shown = answer_of("messages", "show", sent["id"], settings=mailing)
            return bool(shown["state"] == "sent")

        await eventually(is_sent)
    found = answer_of("stats", settings=mailing)
    assert StatsBody.model_validate(found).messages.sent == 2
    code, output = run("stats", settings=mailing)
    assert code == 0
    assert "people\t1\n" in output
    assert "deliveries.day\t2\n" in output


def test_a_day_is_the_last_24_hours() -> None:
    """Of the 48 that there are: this one, which has only begun, and the 23 before it."""
    hour = timedelta(hours=1)
    hours = [Hour(BEGINNING + n * hour, 1, 2, 3, 4, 5) for n in range(48)]
    as_of = hours[-1].hour + hour / 2
    found = Stats(0, 0, dict.fromkeys(STATES, 0), 0.0, 0, None, hours, [], as_of)
    assert sums(found) == {
        "sign_ups": {"hour": 1, "day": 24},
        "deliveries": {"hour": 2, "day": 48},
        "failures": {"hour": 3, "day": 72},
        "bounces": {"hour": 4, "day": 96, "percent_week": None},
        "complaints": {"hour": 5, "day": 120, "percent_week": None},
    }
