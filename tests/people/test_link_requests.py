"""A request for a link is a row, whatever the address is; a worker looks it up."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import anyio
import pytest
from sqlalchemy import Engine, event, select, update

from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.delivery import worker
from reach.idempotency.stored import idempotency_keys
from reach.messages.filters import Filter, page
from reach.people import link_requests as requests
from reach.people import stats
from reach.people.link_requests import (
    BATCH,
    CHANNEL,
    Asked,
    LinkRequests,
    add,
    answer_some,
    is_any,
    link_requests,
)
from reach.people.model import people
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import held
from tests.support.database.stored import addresses, messages_in, sign_up
from tests.support.people import at_work, signed_up, templates_in
from tests.support.processes.reach import ADA, Reach, running_worker
from tests.support.servers.mail import MailServer
from tests.support.telemetry.metrics import Since

UNKNOWN = "nobody@example.com"


class CutOff(Exception):
    """The worker ends here."""


TRANSACTIONS = "reach_database_transaction_duration_seconds_count"


async def ask(reach: Reach, email: str = ADA["email"], **headers: str) -> None:
    """Ask for a link."""
    answer = await reach.http.post("/v1/links", json={"email": email}, headers=headers)
    assert answer.status_code == 202


async def rows(database: Database) -> Sequence[Any]:
    """Every request that waits."""
    everything = select(link_requests).order_by(link_requests.c.id)
    return await database.read(lambda tx: tx.execute(everything).all())


async def none_waits(database: Database) -> bool:
    """Whether all requests are answered."""
    return not await database.read(is_any)


async def test_one_row_whatever_the_address(reach: Reach) -> None:
    """One INSERT, of the same columns; nobody has looked who is known when the answer goes out."""
    await signed_up(reach)
    done = []
    for email in (ADA["email"], UNKNOWN):
        found: list[str] = []

        def note(_: Any, __: Any, statement: str, *___: Any, found: list[str] = found) -> None:
            found.append(statement)

        event.listen(Engine, "before_cursor_execute", note)
        try:
            await ask(reach, email)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        done.append(found)
    assert done[0] == done[1]
    work = [sql for sql in done[0] if sql.startswith(("SELECT", "INSERT", "UPDATE"))]
    assert work[0].startswith("INSERT INTO link_requests ")
    assert work[1:] == []
    known, unknown = await rows(reach.database)
    assert (known.email_key, unknown.email_key) == (ADA["email"], UNKNOWN)
    assert [value is None for value in known] == [value is None for value in unknown]
    assert await templates_in(reach) == ["welcome"]


async def test_a_worker_answers_at_once(reach: Reach, mail_server: MailServer) -> None:
    """In another process's database, without its poll: the email goes to the one who is known."""
    await signed_up(reach)
    async with running_worker(reach.settings):
        await eventually(lambda: len(mail_server.messages) == 1)
        await ask(reach, UNKNOWN)
        await ask(reach, "ADA@EXAMPLE.COM")
        await eventually(lambda: len(mail_server.messages) == 2)
        await eventually(lambda: none_waits(reach.database))
    assert mail_server.recipients == [ADA["email"]] * 2
    assert "you asked for" in mail_server.messages[1].text


async def test_a_commit_elsewhere_is_answered_without_a_poll(
    reach: Reach, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker hears of it, and its look finds the request: also where nothing is due."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(requests, "POLL_SECONDS", 3600.0)
    await signed_up(reach)
    async with running_worker(reach.settings), opened(reach.settings) as elsewhere:
        await eventually(lambda: len(mail_server.messages) == 1)
        for _ in range(3):
            await elsewhere.write(add, [Asked(UNKNOWN, None)])
            await eventually(lambda: none_waits(elsewhere))


async def test_what_no_worker_has_seen_is_answered_by_the_next(
    reach: Reach, mail_server: MailServer
) -> None:
    """Asked while none ran, or cut off midway: nothing is lost, and nothing done twice."""
    await signed_up(reach)
    await ask(reach)

    def cut_off(tx: Transaction) -> None:
        assert answer_some(tx, reach.settings) == 1
        raise CutOff

    with pytest.raises(CutOff):
        await reach.database.write(cut_off)
    assert await templates_in(reach) == ["welcome"]
    assert len(await rows(reach.database)) == 1
    async with running_worker(reach.settings):
        await eventually(lambda: len(mail_server.messages) == 2)
    assert await templates_in(reach) == ["manage-link", "welcome"]
    assert await none_waits(reach.database)


async def test_more_than_a_batch(settings: Settings) -> None:
    """Hundreds at once, of people known and unknown: each known one gets one message."""
    known = addresses(BATCH + 50)
    async with opened(settings) as database:
        await sign_up(database, settings, *known)
        asked = [Asked(address, None) for address in [*known, *addresses(BATCH, "nobody"), *known]]
        await database.write(add, asked)
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(LinkRequests(settings, database).run)
            await eventually(lambda: none_waits(database))
            group.cancel_scope.cancel()
        links = [m for m in await messages_in(database) if m.template == "manage-link"]
        assert {message.recipient for message in links} == set(known)
        assert BATCH + 50 <= len(links) <= 2 * (BATCH + 50)


async def test_two_workers_take_different_ones(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """What another worker has in hand is passed over, and nobody waits for it."""
    settings = make_settings(database_url=postgres)
    async with opened(settings) as database:
        await database.write(add, [Asked(address, None) for address in addresses(3)])
        oldest = "SELECT id FROM link_requests ORDER BY id LIMIT 1 FOR UPDATE"
        async with held(settings, oldest):
            assert await database.write(answer_some, settings) == 2
            assert await database.write(answer_some, settings) == 0
        assert await database.write(answer_some, settings) == 1


async def test_the_mail_budget_holds(reach: Reach) -> None:
    """Over it the request is answered by nothing, and goes all the same."""
    await signed_up(reach)
    poor = reach.settings.model_copy(update={"limit_mail_per_address": "3/hour"})
    for _ in range(4):
        await ask(reach)
        assert await reach.database.write(answer_some, poor) == 1
    assert await templates_in(reach) == ["manage-link", "manage-link", "welcome"]
    assert await none_waits(reach.database)


async def test_an_idle_worker_writes_nothing(settings: Settings) -> None:
    """It reads, once in a while; only if something waits does it begin to write."""
    database, since = open_database(settings), Since()
    try:
        chore = LinkRequests(settings, database)
        async with anyio.create_task_group() as group:
            group.start_soon(chore.run)
            for count in range(1, 4):
                database.announce(CHANNEL)
                await eventually(partial(has_looked, since, count))
            group.cancel_scope.cancel()
        assert set(since.all_of(TRANSACTIONS, "kind")) == {"read"}
    finally:
        await database.close()


def has_looked(since: Since, times: int) -> bool:
    """Whether it has looked so often, and once more."""
    return since.of(TRANSACTIONS, kind="read", result="ok") > times


async def test_it_goes_on_when_the_database_was_unavailable(
    make_settings: Callable[..., Settings], database_url: str, told: Callable[[], str]
) -> None:
    """An outage is waited for, and told; it ends no worker."""
    settings = make_settings(database_url=database_url, database_seconds=2)
    async with opened(settings) as database:
        await sign_up(database, settings, ADA["email"])
        await database.write(add, [Asked(ADA["email"], None)])
        async with anyio.create_task_group() as group:
            async with held(settings, "SELECT id FROM people FOR UPDATE"):
                group.start_soon(LinkRequests(settings, database).run)
                await eventually(lambda: "cannot answer link requests" in told())
            await eventually(lambda: none_waits(database))
            group.cancel_scope.cancel()
        assert len(await messages_in(database)) == 2


async def test_erasure_takes_requests_along(reach: Reach) -> None:
    """Whose they are was unknown when they were stored; the export has them until then.

    Their answers are stored under nobody, before and after.
    """
    http, person = await at_work(reach)
    await ask(reach, "ADA@example.com", **{"Idempotency-Key": "k"})
    await ask(reach, UNKNOWN, **{"Idempotency-Key": "k"})
    found = (await http.get("/v1/me/export")).json()
    (request,) = found["link_requests"]
    assert set(request) == {"id", "email_key", "created_at"}
    assert request["email_key"] == ADA["email"]
    assert found["answers"] == []
    assert (await http.delete("/v1/me")).status_code == 204
    assert [row.email_key for row in await rows(reach.database)] == [UNKNOWN]
    keys = select(idempotency_keys.c.caller, idempotency_keys.c.person_id)
    kept = await reach.database.read(lambda tx: tx.execute(keys).all())
    assert [tuple(row) for row in kept] == [("public", None)] * 2
    assert person.email == ADA["email"]


async def test_operators_see_that_nobody_answers(reach: Reach) -> None:
    """How long the oldest has waited shows as the oldest that is due: a message may be owed."""
    assert (await reach.database.read(stats.read, reach.settings)).oldest_due_seconds == 0
    await ask(reach, UNKNOWN)
    long_ago = update(link_requests).values(created_at=now(-300.0))
    await reach.database.write(lambda tx: tx.execute(long_ago))
    seen = await reach.database.read(stats.read, reach.settings)
    assert 300 <= seen.oldest_due_seconds < 400
    await reach.database.write(answer_some, reach.settings)
    assert (await reach.database.read(stats.read, reach.settings)).oldest_due_seconds == 0


async def test_the_message_keeps_its_request_s_trace(reach: Reach) -> None:
    """Though another process makes it, later."""
    await signed_up(reach)
    trace = "0af7651916cd43dd8448eb211c80319c"
    await ask(reach, traceparent=f"00-{trace}-b7ad6b7169203331-01")
    await reach.database.write(answer_some, reach.settings)
    (newest,), _ = await reach.database.read(page, Filter(), limit=1)
    assert newest.template == "manage-link"
    assert (newest.trace_context or "").split("-")[1] == trace


async def test_an_address_that_nobody_admits_any_more_stops_no_worker(
    reach: Reach, mail_server: MailServer
) -> None:
    """A new version may read addresses otherwise: that one's message fails, the others' do not."""
    database, settings = reach.database, reach.settings
    await sign_up(database, settings, "ada@example.com", "bob@example.com")
    is_ada = people.c.email_key == "ada@example.com"
    bad = update(people).where(is_ada).values(email="ada@@example.com")
    await database.write(lambda tx: tx.execute(bad))
    asked = [Asked(f"{name}@example.com", None) for name in ("ada", "bob")]
    await database.write(add, asked)
    await sign_up(database, settings, "ada@example.com")

    async def is_over() -> bool:
        return all(message.state != "queued" for message in await messages_in(database))

    async with running_worker(settings):
        await eventually(lambda: mail_server.recipients.count("bob@example.com") == 2)
        await eventually(is_over)
    states = {(m.template, m.recipient): m.state for m in await messages_in(database)}
    assert states["manage-link", "ada@@example.com"] == "failed"
    assert states["welcome", "ada@@example.com"] == "failed"
    assert states["manage-link", "bob@example.com"] == "sent"
