"""A delivery leads to the sign-up that caused it: across processes, retries and days."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import structlog.testing
from sqlalchemy import select, update

from reach.db.database import Database
from reach.messages.model import Message, messages
from reach.people.link_requests import answer_some, link_requests
from reach.runtime.process import opened
from reach.settings import Settings
from reach.telemetry import traces
from tests.support.clock import eventually
from tests.support.database.outboxes import DAY, Outbox
from tests.support.database.stored import confirm_everybody, messages_in
from tests.support.processes.commands import ReachProcess
from tests.support.processes.reach import ADA, Reach, running_worker
from tests.support.processes.running import client, said
from tests.support.servers.collector import Collector, Span
from tests.support.servers.mail import MailServer, once

#: What the caller is in, who asks for what the test does.
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = f"00-{TRACE_ID}-{SPAN_ID}-01"


@asynccontextmanager
async def api(settings: Settings, environment: Mapping[str, str]) -> AsyncIterator[None]:
    """Run ``reach api`` until the end, and let it end by itself."""
    with ReachProcess("api", settings=settings, environment=environment) as process:
        await said(process, "api started")
        yield
        process.stop()


@asynccontextmanager
async def worker(settings: Settings, environment: Mapping[str, str]) -> AsyncIterator[None]:
    """Run ``reach worker`` until the end."""
    with ReachProcess("worker", settings=settings, environment=environment) as process:
        await said(process, "worker started")
        yield
        process.running.terminate()
        await eventually(lambda: process.exit_code is not None)


async def sign_up(settings: Settings, caller: str | None = CALLER) -> None:
    """Sign Ada up, from within a trace."""
    headers = {} if caller is None else {"traceparent": caller}
    async with client(settings) as http:
        answer = await http.post("/v1/signups", json=ADA, headers=headers)
    assert answer.status_code == 202


def recorded(collector: Collector, delivery: Span) -> bool:
    """Whether what became of a delivery is in its trace, down to the commit that it shared."""
    (record,) = (span for span in collector.beneath(delivery) if span.name == "record the outcome")
    (join,) = collector.beneath(record)
    commits = {commit.place for commit in collector.named("group commit")}
    return join.name == "join a commit" and set(join.links) <= commits and bool(join.links)


async def one(collector: Collector, name: str) -> Span:
    """Wait for the only span of a name."""
    await eventually(lambda: collector.named(name))
    (found,) = collector.named(name)
    return found


async def test_a_delivery_by_another_process_is_linked_to_its_sign_up(
    mailing: Settings, mail_server: MailServer, collector: Collector
) -> None:
    """From the caller's trace to the request, and from there to the delivery and its stages."""
    async with api(mailing, collector.environment):
        await sign_up(mailing)
    request = await one(collector, "POST /v1/signups")
    assert (request.trace_id, request.parent_id) == (TRACE_ID, SPAN_ID)
    assert request.kind == "SERVER"
    assert request.attributes["http.response.status_code"] == 202
    async with worker(mailing, collector.environment):
        await eventually(lambda: mail_server.messages)
        await eventually(lambda: collector.named("record the outcome"))
    delivery = await one(collector, "deliver welcome")
    assert delivery.links == [request.place]
    assert delivery.kind == "CLIENT"
    assert (delivery.parent_id, delivery.trace_id != request.trace_id) == ("", True)
    assert delivery.attributes["reach.attempt.outcome"] == "sent"
    assert not delivery.is_error
    stages = [
        (stage.name, stage.attributes.get("reach.smtp.code"))
        for stage in collector.beneath(delivery)
        if stage.name != "record the outcome"
    ]
    assert recorded(collector, delivery)
    assert stages == [
        ("connect", None),
        ("MAIL FROM", 250),
        ("RCPT TO", 250),
        ("DATA", 354),
        ("final dot", 250),
    ]
    assert request.resource["service.name"] == "reach"
    assert request.resource["service.instance.id"] != delivery.resource["service.instance.id"]
    assert collector.paths == {"/v1/traces"}


async def test_what_was_stored_while_traces_were_off_is_linked_too(
    mailing: Settings, mail_server: MailServer, collector: Collector
) -> None:
    """The message keeps its request's trace, exported or not; one begins here if none came."""
    async with api(mailing, {}), opened(mailing) as database:
        await sign_up(mailing)
        await set_states(database, "sent")
        await confirm_everybody(database)
        await sign_up(mailing, None)
        await set_states(database, "queued")
        came, begun = map(trace_of, await messages_in(database))
    assert came[0] == TRACE_ID != begun[0]
    async with worker(mailing, collector.environment):
        await eventually(lambda: len(mail_server.messages) == 2)
    welcome = await one(collector, "deliver welcome")
    told = await one(collector, "deliver already-signed-up")
    assert (welcome.links, told.links) == ([came], [begun])


async def set_states(database: Database, state: str) -> None:
    """Say so of every message."""
    await database.write(lambda tx: tx.execute(update(messages).values(state=state)))


def trace_of(message: Message) -> tuple[str, str]:
    """Read the trace context that a message keeps: the ids of the trace and of the span."""
    _, trace_id, span_id, _ = str(message.trace_context).split("-")
    return trace_id, span_id


async def test_a_retry_days_later_is_linked_and_its_lines_carry_the_trace(
    reach: Reach, mail_server: MailServer, traced: Collector
) -> None:
    """Each attempt is a trace of its own; whatever is logged about it bears the sign-up's."""
    patient = {"retry_first_seconds": DAY, "retry_cap_seconds": 2 * DAY}
    settings = reach.settings.model_copy(update=patient)
    mail_server.script["rcpt"] = once("450 4.2.1 busy")
    with structlog.testing.capture_logs(processors=[note_trace]) as lines:
        await reach.http.post("/v1/signups", json=ADA, headers={"traceparent": CALLER})
        outbox = Outbox(reach.database, settings)
        async with running_worker(settings):
            await eventually(lambda: attempts(outbox, 1))
        assert mail_server.messages == []
        await outbox.change(due_at=(await outbox.only()).created_at)
        async with running_worker(settings):
            await eventually(lambda: attempts(outbox, 2))
    await eventually(lambda: len(traced.named("deliver welcome")) == 2)
    first, second = traced.named("deliver welcome")
    assert [span.attributes["reach.message.attempt"] for span in (first, second)] == [1, 2]
    assert [span.attributes["reach.attempt.outcome"] for span in (first, second)] == [
        "deferred",
        "sent",
    ]
    assert first.is_error
    assert first.attributes["reach.smtp.enhanced_code"] == "4.2.1"
    assert {trace for trace, _ in (*first.links, *second.links)} == {TRACE_ID}
    assert first.trace_id != second.trace_id
    about_it = [line["trace"] for line in lines if line["event"] == "not sent"]
    assert about_it == [TRACE_ID]


async def attempts(outbox: Outbox, count: int) -> bool:
    """Whether so many attempts are noted."""
    return len(await outbox.attempts()) == count


def note_trace(_: Any, __: str, event: Any) -> Any:
    """Add to a line the trace that it would bear."""
    current = traces.current.get()
    return event | {"trace": current and f"{current.trace_id:032x}"}


async def test_the_message_of_each_route_keeps_its_request_s_trace(reach: Reach) -> None:
    """Whether it shares a commit or has its own, on the event loop or in a thread."""
    key = await reach.key()
    callers = [uuid4().hex for _ in range(4)]
    headers = [{**key, "traceparent": f"00-{caller}-{SPAN_ID}-01"} for caller in callers]
    added = await reach.http.post("/v1/people", json=ADA, headers=headers[0])
    id_ = added.json()["id"]
    await reach.http.patch(f"/v1/people/{id_}", json={"name": "Eve"}, headers=headers[1])
    promised = {"person_id": id_, "template": "changed", "data": {"fields": []}}
    await reach.http.post("/v1/messages", json=promised, headers=headers[2])
    await reach.http.post("/v1/links", json={"email": ADA["email"]}, headers=headers[3])
    await reach.database.write(answer_some, reach.settings)
    found = {trace_of(message)[0] for message in await messages_in(reach.database)}
    assert found == {*callers}


async def test_requests_for_unknown_addresses_carry_a_trace_as_well(reach: Reach) -> None:
    """Who is unknown costs the same writing."""
    header = {"traceparent": CALLER}
    for email in ("nobody@example.com", "nobody.else@example.com"):
        await reach.http.post("/v1/links", json={"email": email}, headers=header)
    stored = select(link_requests.c.trace_context)
    found = await reach.database.read(lambda tx: tx.execute(stored).scalars().all())
    assert [str(trace)[3:35] for trace in found] == [TRACE_ID] * 2
