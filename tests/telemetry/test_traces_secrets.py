"""Nothing that anybody typed, and nothing that quotes it, is in any span.

What is looked through is what the collector got, byte for byte: names, attributes, events, links,
states and resources alike.
"""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI, Request
from sqlalchemy import text

from reach.db.transaction import Transaction
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.people import by_link, signed_up, token_of
from tests.support.processes.reach import Reach, running_reach, running_worker
from tests.support.servers.collector import Collector
from tests.support.servers.mail import GARBAGE, MailServer, once

#: It is in everything that is sent: in capitals and small letters, and never encoded.
CANARY = "zq7canary"
EMAIL, NAME = f"{CANARY}@{CANARY}.example", f"{CANARY} Lovelace"
HEADERS = {
    "Host": f"{CANARY}.example:8443",
    "User-Agent": CANARY,
    "X-Forwarded-For": CANARY,
    "Referer": f"https://{CANARY}.example/?q={CANARY}",
    "Cookie": f"{CANARY}={CANARY}",
    "tracestate": f"{CANARY}={CANARY}",
    "baggage": f"{CANARY}={CANARY}",
    "Idempotency-Key": CANARY,
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}


@pytest.fixture
async def traced_reach(
    traced: Collector, settings: Settings, mail_server: MailServer
) -> AsyncIterator[Reach]:
    """Reach on both databases, with traces on; some of its routes have faults."""
    smtp_url = type(settings.smtp_url)(mail_server.url)
    async with running_reach(settings.model_copy(update={"smtp_url": smtp_url})) as reach:
        reach.http.headers.update(HEADERS)
        break_some(reach.app)
        yield reach
    assert traced.spans
    assert_clean(traced)


def assert_clean(collector: Collector) -> None:
    """Look through everything that was handed over."""
    everything = b"".join(collector.bodies).lower()
    assert CANARY.encode() not in everything
    assert not re.search(rb"ey[\w-]{10,}\.ey", everything), "a link's token"
    assert b"rk_" not in everything, "an operator's key"


def break_some(app: FastAPI) -> None:
    """Add routes with faults of every kind that quotes what was typed."""

    async def crash(name: str) -> None:
        raise RuntimeError(f"no such name: {name}")

    async def refuse(name: str, request: Request) -> None:
        def twice(tx: Transaction) -> None:
            # Postgres quotes what it refuses; SQLite takes it for 0 here.
            tx.execute(text("SELECT CAST(CAST(:name AS TEXT) AS INTEGER)"), {"name": name})
            statement = text("INSERT INTO proofs (nonce, used_at) VALUES (:name, '2026-01-01')")
            for _ in range(2):
                tx.execute(statement, {"name": name})

        await request.app.state.services.database.write(twice)

    app.add_api_route("/crash/{name}", crash, include_in_schema=False)
    app.add_api_route("/refuse/{name}", refuse, include_in_schema=False)


async def ask_everywhere(reach: Reach, headers: dict[str, str]) -> set[str]:
    """Call every route with names in its path, its query and its body; give their templates."""
    templates = set()
    for method, path in sorted(reach.routes):
        where = re.sub(r"{\w+(:path)?}", CANARY, path)
        token = headers.get("Authorization", CANARY).removeprefix("Bearer ")
        url = f"{where}?token={token}&q={quote(EMAIL)}&cursor={CANARY}"
        body = {"email": EMAIL}
        if not path.endswith("/links"):
            body |= {"name": NAME, "description": CANARY}
        as_form = not path.startswith("/v1") and method == "POST"
        content = {"data": body} if as_form else {"json": body}
        if method in ("GET", "HEAD", "DELETE"):
            content = {}
        answer = await reach.http.request(method, url, headers=headers, **content)  # type: ignore[arg-type]
        assert answer.status_code != 500 or path.startswith(("/crash", "/refuse")), path
        templates.add(path)
    return templates


async def test_no_route_puts_what_was_typed_into_a_span(
    traced_reach: Reach, traced: Collector
) -> None:
    """As a stranger, as an operator and by a link: paths, queries, bodies, headers."""
    key = await traced_reach.key()
    person = await signed_up(traced_reach, EMAIL, name=NAME)
    link = by_link(token_of(traced_reach.settings, person.id))
    templates: set[str] = set()
    for headers in ({}, key, link, {"Authorization": f"Bearer {CANARY}"}):
        templates |= await ask_everywhere(traced_reach, headers)
    # Asked for ever, or open for ever.
    untraced = {"/livez", "/readyz", "/mailbox/events", "/console/events"}
    await eventually(lambda: templates - untraced <= routes_of(traced))
    assert not routes_of(traced) & untraced
    crashed = [
        span for span in traced.spans if span.attributes.get("http.route") == "/crash/{name}"
    ]
    assert {span.attributes["error.type"] for span in crashed} == {"500"}
    assert all(span.is_error for span in crashed)
    requests = [span for span in traced.spans if span.kind == "SERVER"]
    assert not any(span.wire.trace_state for span in requests)
    assert {name for span in requests for name in span.attributes} == {
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "url.scheme",
        "network.protocol.version",
        "error.type",
    }
    failed = [span for span in traced.spans if "db.response.status_code" in span.attributes]
    assert {span.attributes["db.response.status_code"] for span in failed} <= {
        "SQLITE_CONSTRAINT_PRIMARYKEY",
        "22P02",
    }
    assert failed


def routes_of(collector: Collector) -> set[str]:
    """Which routes were traced."""
    return {str(span.attributes.get("http.route")) for span in collector.spans}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/{CANARY}/../{CANARY}"),
        ("GET", f"/v1/people/{CANARY}/{CANARY}?{CANARY}"),
        ("GET", f"/static/{CANARY}"),
        ("GET", f"/v1/signups%0A{CANARY}"),
        ("PROPFIND", "/"),
        ("UNSUBSCRIBE", f"/v1/{CANARY}"),
        ("OPTIONS", f"/v1/signups?{CANARY}"),
        ("POST", f"/v1/signups/{CANARY}"),
    ],
)
async def test_what_fits_no_route_leaves_no_word(
    traced_reach: Reach, traced: Collector, method: str, path: str
) -> None:
    """Unknown paths, odd methods: the span says that somebody asked, and what was answered."""
    answer = await traced_reach.http.request(method, path)
    assert answer.status_code >= 400
    await eventually(lambda: [one for one in traced.spans if one.kind == "SERVER"])
    (span,) = (one for one in traced.spans if one.kind == "SERVER")
    assert span.attributes["http.response.status_code"] == answer.status_code
    assert span.attributes["http.request.method"] in ("GET", "POST", "OPTIONS", "_OTHER")
    assert "http.request.method_original" not in span.attributes


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        ("greeting", f"554 go away, {EMAIL}"),
        ("ehlo", f"550 {EMAIL}"),
        ("mail", f"451 4.3.0 {EMAIL}"),
        ("rcpt", f"550 5.1.1 <{EMAIL}> does not live here"),
        ("data", f"550 5.7.1 {EMAIL}"),
        ("dot", f"552 5.2.2 {EMAIL} is full"),
        ("dot", GARBAGE),
    ],
)
async def test_what_a_mail_server_says_is_in_no_span(
    traced_reach: Reach, traced: Collector, mail_server: MailServer, stage: str, reply: str
) -> None:
    """It quotes addresses; its codes are kept."""
    mail_server.script[stage] = once(reply)
    await traced_reach.sign_up(EMAIL, NAME)
    async with running_worker(traced_reach.settings):
        await eventually(lambda: [one for one in deliveries(traced) if one.is_error])
    failed = next(one for one in deliveries(traced) if one.is_error)
    assert failed.attributes["reach.attempt.outcome"] in (
        "unavailable",
        "deferred",
        "rejected",
        "unknown",
    )
    if isinstance(reply, str):
        assert failed.attributes["reach.smtp.code"] == int(reply[:3])


def deliveries(collector: Collector) -> list[Any]:
    """The spans of all attempts."""
    return [span for span in collector.spans if span.name == "deliver welcome"]
