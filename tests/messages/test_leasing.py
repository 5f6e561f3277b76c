"""A lease is a write, so it is taken only of what is due: an idle worker reads."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, event

from reach.db.types import now
from reach.delivery import worker
from reach.messages.queue import look
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.outboxes import HOUR, MINUTE, Outbox
from tests.support.database.stored import sign_up
from tests.support.processes.reach import running_worker
from tests.support.servers.mail import MailServer
from tests.support.telemetry.metrics import Since

TRANSACTIONS = "reach_database_transaction_duration_seconds_count"
FINISHED = "reach_messages_finished_total"
#: What a worker writes as it starts: it deletes what is old, by ten statements.
AT_START = 10


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have idle workers look ten times as often as they do."""
    monkeypatch.setattr(worker, "POLL_SECONDS", worker.POLL_SECONDS / 10)


@pytest.fixture
def mailing(outbox: Outbox, mail_server: MailServer) -> Settings:
    """The settings of workers that send."""
    return outbox.settings.model_copy(update={"smtp_url": SecretStr(mail_server.url)})


@pytest.fixture
def leases() -> Iterator[list[str]]:
    """Each lease that this process asks a database for."""
    found: list[str] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "lease=(messages.lease + " in statement:
            found.append(statement)

    yield found
    event.remove(Engine, "before_cursor_execute", note)


def writes(since: Since) -> float:
    """How many transactions wrote, or could have."""
    return since.of(TRANSACTIONS, kind="write", result="ok")


def are_sent(since: Since, count: int) -> bool:
    """Whether so many messages were sent, and that is recorded."""
    return since.of(FINISHED, state="sent") == count


async def is_idle(times: int = 3) -> None:
    """Wait until workers have looked so often for something to do."""
    since = Since()
    await eventually(lambda: since.of(TRANSACTIONS, kind="read", result="ok") >= times)


@asynccontextmanager
async def idle_workers(settings: Settings, count: int = 1) -> AsyncIterator[None]:
    """Run workers that have begun, and found nothing to do."""
    since = Since()
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(running_worker(settings))
        await eventually(lambda: writes(since) >= count * AT_START)
        await is_idle()
        yield


async def test_an_idle_worker_writes_nothing(mailing: Settings) -> None:
    """Its poll is a read."""
    async with idle_workers(mailing):
        since = Since()
        await is_idle(10)
        assert writes(since) == 0


async def test_a_message_takes_one_lease(
    outbox: Outbox, mailing: Settings, leases: list[str]
) -> None:
    """And what wakes a worker but leaves nothing due takes none."""
    async with idle_workers(mailing):
        since = Since()
        for number in range(1, 6):
            await sign_up(outbox.database, mailing, f"ada{number}@example.com")
            await eventually(partial(are_sent, since, number))
            await is_idle()
    assert len(leases) == 5


async def test_several_workers_do_not_all_lease_for_one_message(
    outbox: Outbox, mailing: Settings, leases: list[str]
) -> None:
    """One that came too late gives way at the next: so it is not one lease a worker."""
    count, workers = 15, 3
    async with idle_workers(mailing, workers):
        since = Since()
        for number in range(1, count + 1):
            await sign_up(outbox.database, mailing, f"ada{number}@example.com")
            await eventually(partial(are_sent, since, number))
            await is_idle()
    assert count <= len(leases) < 2 * count


async def test_what_falls_due_later_needs_no_poll(
    outbox: Outbox, mailing: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker knows when the next falls due, and is there by then."""
    monkeypatch.setattr(worker, "POLL_SECONDS", float(HOUR))
    await outbox.fill()
    await outbox.change(due_at=now(1.5))
    since = Since()
    async with running_worker(mailing):
        await eventually(partial(are_sent, since, 1))


async def test_how_soon_the_next_message_falls_due(outbox: Outbox) -> None:
    """By the database's clock; of what is queued alone."""
    assert (await outbox.database.read(look))[0] == float("inf")
    first, second = await outbox.fill(2)
    assert (await outbox.database.read(look))[0] <= 0
    await outbox.change(first, due_at=now(HOUR))
    await outbox.change(second, due_at=now(2 * HOUR))
    assert (await outbox.database.read(look))[0] == pytest.approx(HOUR, abs=MINUTE)
    await outbox.change(first, state="sent")
    assert (await outbox.database.read(look))[0] == pytest.approx(2 * HOUR, abs=MINUTE)
