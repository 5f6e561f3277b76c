"""Every question of dashboard and rules has an answer, and is about what Reach really counts."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID

import anyio
import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import earliest_id, now
from reach.messages import outbox
from reach.messages.model import messages
from reach.messages.outbox import Promise
from reach.people.model import people
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.http.raw import connection, request
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, said
from tests.support.servers.mail import DROP, MailServer, Reply
from tests.support.servers.mail_session import Session
from tests.support.servers.postgres import Postgres
from tests.support.servers.prometheus import NoPrometheus, Prometheus, running_prometheus
from tests.support.servers.redis import Redis
from tests.support.telemetry.expressions import (
    RULES,
    Answers,
    of_dashboard,
    of_rules,
    read_dashboard,
)
from tests.support.telemetry.metrics import scrape
from tests.support.webhooks import add_webhook

SIGN_UPS = "/v1/signups"
#: Where each kind of caller calls from; those not named here come from anywhere.
ONE_PLACE = {"impatient": "203.0.113.1", "thief": "203.0.113.2"}
EACH_ROUND = 3
MORE_THAN_MAY_WAIT = 20


class Callers:
    """Rounds of calls: in each, ``EACH_ROUND`` callers of every kind, all at the same time."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings) -> None:
        self._http = http
        self._settings = settings
        self._callers = 0
        self._is_over = False

    @classmethod
    @asynccontextmanager
    async def at(cls, settings: Settings) -> AsyncIterator["Callers"]:
        """Get ready to call the API of ``settings``."""
        async with client(settings) as http:
            yield cls(http, settings)

    async def go_on(self, between: Callable[[], Awaitable[object]]) -> None:
        """Call until ``stop``, with ``between`` between rounds."""
        while not self._is_over:
            kinds = [self.people, self.known, self.spammer, self.mistaken]
            kinds += [self.impatient, self.thief, self.gone, self.scanner, self.greedy]
            await asyncio.gather(*(kind() for kind in kinds * EACH_ROUND))
            await between()

    def stop(self) -> None:
        """End with this round: a call that is cut off may leave a connection that nobody closes."""
        self._is_over = True

    async def people(self) -> None:
        """Sign up, at servers that take mail, refuse it, put it off, or fall silent after it."""
        for server in ("good", "refusing", "later", "unknown"):
            await self._sign_up(server)

    async def known(self) -> None:
        """Sign up again and again."""
        await self._sign_up("known", address="known@good.example")

    async def spammer(self) -> None:
        """Fill in what people do not see."""
        await self._sign_up("spammer", motto="https://buy.example")

    async def mistaken(self) -> None:
        """Mistype."""
        await self._sign_up("mistaken", address="no address")

    async def impatient(self) -> None:
        """Come too often."""
        await self._sign_up("impatient")

    async def thief(self) -> None:
        """Try a key."""
        headers = {**self._from("thief"), "Authorization": "Bearer rk_of_nobody"}
        await self._http.get("/v1/people", headers=headers)

    async def gone(self) -> None:
        """Hang up in the middle of a sign-up."""
        forwarded = self._from("gone")["X-Forwarded-For"]
        headers = ("Content-Type: application/json", "Content-Length: 99", "Expect: 100-continue")
        async with connection(self._settings.port) as (reader, writer):
            writer.write(request(SIGN_UPS, f"X-Forwarded-For: {forwarded}", *headers))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(json.dumps({"email": "gone@good.example"}).encode())

    async def scanner(self) -> None:
        """Say what is no HTTP; while no process serves, to nobody."""
        with suppress(OSError, asyncio.IncompleteReadError):
            async with connection(self._settings.port) as (reader, writer):
                writer.write(b"no HTTP\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")

    async def greedy(self) -> None:
        """Ask for more at once than one connection may; while no process serves, nobody."""
        with suppress(OSError, asyncio.IncompleteReadError):
            async with connection(self._settings.port) as (reader, writer):
                writer.write(request("/livez", method="GET") * MORE_THAN_MAY_WAIT)
                await reader.read()

    async def _sign_up(self, kind: str, address: str = "", **more: str) -> None:
        headers = self._from(kind)
        email = address or f"{self._callers}@{kind}.example"
        await self._http.post(
            SIGN_UPS, json={"email": email, "name": "Ada", **more}, headers=headers
        )

    def _from(self, kind: str) -> dict[str, str]:
        self._callers += 1
        anywhere = f"10.{self._callers >> 16}.{self._callers >> 8 & 255}.{self._callers & 255}"
        return {"X-Forwarded-For": ONE_PLACE.get(kind, anywhere)}


def refuse(server: MailServer) -> None:
    """Have our mail server say what each caller's own would have it say."""

    def to_recipient(_: Session, argument: str) -> Reply:
        if "@refusing." in argument:
            return "550 5.1.1 No such mailbox"
        return "450 4.2.1 Come again" if "@later." in argument else None

    def when_accepted(_: Session, __: str) -> Reply:
        recipient = server.messages[-1].recipient
        return (
            DROP if "@unknown." in recipient and server.recipients.count(recipient) == 1 else None
        )

    server.script |= {"rcpt": to_recipient, "accepted": when_accepted}


#: For a scrape, on a machine that does other things too.
SECONDS = 30
#: Later than any objective.
LONG_SECONDS = 3600
#: What stays 0 here, and why.
ALWAYS_ZERO = {
    "panel 'In hand and dropped' lines dropped": "the tests read every line",
    "panel 'Reported after sent' {{kind}} {{category}}": "no report comes in here",
    # tests/inbound sees to what is counted of them.
    "panel 'Mails that came in' {{sort}}": "no reports come in",
    "panel 'Inbound answers, mailbox' {{code}}": "no reports come in",
    "panel 'Inbound answers, mailbox' mailbox unavailable": "there is no mailbox of reports",
}


@pytest.fixture
def busy_settings(
    make_settings: Callable[..., Settings],
    private_postgres: Postgres,
    redis: Redis,
    mail_server: MailServer,
) -> Settings:
    """Settings under which each thing can happen soon."""
    return make_settings(
        database_url=private_postgres.url,
        redis_url=redis.url,
        smtp_url=mail_server.url,
        port=free_port(),
        processes=2,
        trusted_proxies="127.0.0.1",
        limit_signups="10/minute",
        limit_failed_keys="10/minute",
        limit_api="600/minute",
        database_seconds=1,
        lease_seconds=2,
        worker_slots=4,
    )


@pytest.fixture
def ports() -> list[int]:
    """Where the API, and each of two workers, can be asked for metrics."""
    return [free_port() for _ in range(3)]


@pytest.fixture
def prometheus(ports: Sequence[int]) -> Iterator[Prometheus]:
    """A Prometheus with Reach's own rules."""
    try:
        jobs = {"reach-api": ports[:1], "reach-worker": ports[1:]}
        with running_prometheus(jobs, rules=[RULES]) as server:
            yield server
    except NoPrometheus as reason:
        pytest.skip(str(reason))


class Busy:
    """A busy Reach, and what can be done to it. Each ends when Prometheus has seen it twice."""

    def __init__(
        self,
        settings: Settings,
        prometheus: Prometheus,
        mail_server: MailServer,
        workers: Sequence[ReachProcess],
        database: Database,
    ) -> None:
        self.prometheus = prometheus
        self._settings = settings
        self._mail_server = mail_server
        self._workers = workers
        self._database = database

    async def next_scrape(self) -> None:
        """Wait until every target was asked once more."""
        expression = "min(count_over_time(up[10m]))"
        before = self.prometheus.value(expression) or 0
        await self.seen(f"{expression} > {before}")

    async def seen(self, expression: str) -> None:
        """Wait until something is so, as far as Prometheus knows."""
        await eventually(lambda: self.prometheus.query(expression), SECONDS, every=0.1)

    async def risen(self, counter: str) -> None:
        """Wait until a counter was seen to rise."""
        await self.seen(f"sum(increase({counter}[5m])) > 0")

    async def lose_a_worker(self) -> None:
        """Kill a worker in the middle of its work; the other one takes over; it comes back."""
        victim = self._workers[1]
        self._mail_server.stall()
        port = int(victim.environment["REACH_METRICS_PORT"])
        await self.seen("sum(reach_leases_held) > 0")
        await self.seen("sum(reach_worker_slots_busy) > 0")
        # Not as Prometheus knows: by then it may hold nothing any more.
        await eventually(lambda: scrape(port)["reach_leases_held"] > 0, SECONDS)
        victim.kill()
        self._mail_server.resume()
        await self.risen("reach_leases_reclaimed_total")
        victim.start()
        await said(victim, "worker started", 2)

    async def open_the_breaker(self) -> None:
        """Have no mail server for a while, and mail that waits for it since long ago."""
        await self._mail_server.stop()
        await self.seen("sum(reach_circuit_breaker_open) == 2")
        await self._database.write(promise_long_ago, self._settings)
        await self.seen("max(reach_outbox_overdue_messages) > 0")
        await self.seen("max(reach_outbox_oldest_due_age_seconds) > 0")
        await self._mail_server.start()
        await self.seen("sum(reach_circuit_breaker_open) == 0")

    async def lose_redis(self, redis: Redis) -> None:
        """Have no Redis for a while."""
        redis.stop()
        await self.seen("max(reach_redis_unavailable) == 1")
        await self.risen("reach_limiter_fallbacks_total")
        redis.start()
        await self.seen("max(reach_redis_unavailable) == 0")

    async def freeze(self, postgres: Postgres) -> None:
        """Have no database for a while."""
        postgres.pause()
        try:
            await self.risen('reach_http_request_duration_seconds_count{status="503"}')
        finally:
            postgres.resume()


@pytest.fixture
async def busy(
    busy_settings: Settings,
    prometheus: Prometheus,
    mail_server: MailServer,
    ports: Sequence[int],
) -> AsyncIterator[Busy]:
    """Two API processes, two workers, and callers of every kind who go on calling."""
    api, *workers = [
        ReachProcess(command, settings=busy_settings, metrics_port=port)
        for command, port in zip(("api", "worker", "worker"), ports, strict=True)
    ]
    with api, workers[0], workers[1]:
        for worker in workers:
            await said(worker, "worker started")
        api.wait_ready(busy_settings.port)
        async with (
            opened(busy_settings) as database,
            Callers.at(busy_settings) as callers,
            anyio.create_task_group() as group,
        ):
            busy = Busy(busy_settings, prometheus, mail_server, workers, database)
            refuse(mail_server)
            group.start_soon(callers.go_on, busy.next_scrape)
            await busy.risen('reach_delivery_attempts_total{outcome="sent"}')
            await database.write(confirm_some)
            # One leads where nothing may be sent; of the other the secret is lost.
            others = busy_settings.model_copy(
                update={"secret_key": SecretStr("another-key-that-is-long-enough")}
            )
            for settings in (busy_settings, others):
                await add_webhook(database, settings, "https://127.0.0.1:9/")
            yield busy
            callers.stop()


def promise_long_ago(tx: Transaction, settings: Settings) -> None:
    """Promise a few messages as if it had been done an hour ago, in id and time."""
    owner = tx.execute(select(people.c.id).limit(1)).scalar_one()
    welcome = Promise(owner, "old@good.example", "welcome", {"name": "Ada"})
    long_ago = earliest_id(time.time() - LONG_SECONDS).int
    for number, new in enumerate(outbox.promise(tx, [welcome] * 3, settings)):
        then = {"id": UUID(int=long_ago + number), "created_at": now(-LONG_SECONDS)}
        tx.execute(update(messages).where(messages.c.id == new).values(then))


def confirm_some(tx: Transaction) -> None:
    """Have some people confirm their address."""
    some = people.c.email.like("%@good.example")
    tx.execute(update(people).where(some).values(confirmed_at=now()))


async def test_each_expression_gives_numbers_and_names_what_there_is(
    busy: Busy, private_postgres: Postgres, redis: Redis, tmp_path: Path
) -> None:
    """After everything happened that dashboard and alerts are about, each has an answer.

    A rule's recording and an alert's comparison are answered too. Every selector finds a series
    by itself, and what is grouped by is one of its labels.
    """
    await busy.lose_redis(redis)
    await busy.open_the_breaker()
    await busy.lose_a_worker()
    await busy.freeze(private_postgres)
    await busy.next_scrape()
    asked = [*of_dashboard(read_dashboard()), *of_rules(RULES)]
    answers = Answers(busy.prometheus, asked, ALWAYS_ZERO.keys())
    with suppress(AssertionError):  # it would show no more than that something is wrong
        await eventually(lambda: not answers.complaints(), SECONDS, every=0.5)
    (tmp_path / "answers.txt").write_text(answers.table(), encoding="utf-8")
    assert answers.complaints() == {}
