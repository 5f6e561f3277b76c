"""Every question of dashboard and rules has an answer, and is about what Reach really counts."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from sqlalchemy import update

from reach.db.columns import now
from reach.db.engine import Database, Transaction
from reach.messages.model import IS_QUEUED, messages
from reach.people.model import people
from reach.settings import Settings
from tests.eventually import eventually
from tests.promises.running import said
from tests.promises.stored import opened
from tests.servers.mail import MailServer
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.processes import ReachProcess
from tests.servers.prometheus import NoPrometheus, Prometheus, running_prometheus
from tests.servers.redis import Redis
from tests.telemetry.answers import Answers
from tests.telemetry.asked import RULES, of_dashboard, of_rules, read_dashboard
from tests.telemetry.knocks import Knocks, Servers

#: For a scrape, on a machine that does other things too.
SECONDS = 30
#: Later than any objective.
LONG_SECONDS = 3600
#: What stays 0 here, and why.
ALWAYS_ZERO = {"panel 'In hand and dropped' lines dropped": "the tests read every line"}


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
        prometheus: Prometheus,
        mail_server: MailServer,
        workers: Sequence[ReachProcess],
        database: Database,
    ) -> None:
        self.prometheus = prometheus
        self._mail_server = mail_server
        self._workers = workers
        self._database = database
        self._servers = Servers(mail_server)

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
        port = victim.environment["REACH_METRICS_PORT"]
        await self.seen(f'reach_leases_held{{instance="127.0.0.1:{port}"}} > 0')
        victim.kill()
        self._mail_server.resume()
        await self.risen("reach_leases_reclaimed_total")
        victim.start()
        await said(victim, "worker started", 2)

    async def close_the_lane(self) -> None:
        """Have no mail server for a while."""
        await self._mail_server.stop()
        await self.seen("sum(reach_lane_paused) == 2")
        await self._mail_server.start()
        await self.seen("sum(reach_lane_paused) == 0")

    async def lose_redis(self, redis: Redis) -> None:
        """Have no Redis for a while."""
        redis.stop()
        await self.seen("max(reach_redis_away) == 1")
        await self.risen("reach_limiter_fallbacks_total")
        redis.start()
        await self.seen("max(reach_redis_away) == 0")

    async def freeze(self, postgres: Postgres) -> None:
        """Have no database for a while."""
        postgres.pause()
        try:
            await self.risen('reach_http_request_duration_seconds_count{status="503"}')
        finally:
            postgres.resume()

    async def grow_old(self) -> None:
        """Have messages wait for long, some of them till they are sent at last; confirm people."""
        await self._database.write(promise_earlier)
        await self._database.write(confirm_some)
        await self.seen("max(reach_outbox_late_messages) > 0")
        self._servers.puts_off = False
        await self.seen(
            "sum(increase(reach_promised_to_sent_seconds_count[5m])) > "
            'sum(increase(reach_promised_to_sent_seconds_bucket{le="60.0"}[5m]))'
        )


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
            Knocks.at(busy_settings) as knocks,
            anyio.create_task_group() as group,
        ):
            busy = Busy(prometheus, mail_server, workers, database)
            group.start_soon(knocks.go_on, busy.next_scrape)
            yield busy
            group.cancel_scope.cancel()


def promise_earlier(tx: Transaction) -> None:
    """Move the promise of what is queued into the past."""
    tx.execute(update(messages).where(IS_QUEUED).values(created_at=now(-LONG_SECONDS)))


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
    await busy.risen('reach_delivery_attempts_total{outcome="sent"}')
    await busy.lose_redis(redis)
    await busy.close_the_lane()
    await busy.lose_a_worker()
    await busy.freeze(private_postgres)
    await busy.grow_old()
    await busy.next_scrape()
    asked = [*of_dashboard(read_dashboard()), *of_rules(RULES)]
    answers = Answers(busy.prometheus, asked, ALWAYS_ZERO.keys())
    with suppress(AssertionError):  # it would show no more than that something is wrong
        await eventually(lambda: not answers.complaints(), SECONDS, every=0.5)
    (tmp_path / "answers.txt").write_text(answers.table(), encoding="utf-8")
    assert answers.complaints() == {}
