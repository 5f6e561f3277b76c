"""An outage, from the first failure to the last resolved alert, as a real Prometheus sees it.

The rules are the shipped ones, a hundred and twenty times as fast (see ``scaled``).
"""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.to_thread import run_sync
from pydantic import SecretStr

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import said
from tests.support.servers.mail import MailServer
from tests.support.servers.prometheus import NoPrometheus, Prometheus, running_prometheus
from tests.support.servers.redis import Redis
from tests.support.telemetry.rules import written

EVERY_SECONDS = 0.5
SIGN_UPS_EVERY_SECONDS = 0.25
#: For whatever takes a few seconds on a machine that is idle.
PATIENCE_SECONDS = 60


@dataclass
class Watched:
    """A running Reach, and who watches it."""

    prometheus: Prometheus
    processes: list[str]
    #: Whom a 202 was said to.
    accepted: set[str] = field(default_factory=set)

    async def ever_fired(self) -> set[str]:
        """Name every alert that has fired since the beginning."""
        return await self._alerts("group by (alertname) (last_over_time(ALERTS{%s}[1h]))")

    async def firing(self) -> set[str]:
        """Name the alerts that fire now."""
        return await self._alerts("group by (alertname) (ALERTS{%s})")

    async def _alerts(self, expression: str) -> set[str]:
        found = await run_sync(self.prometheus.query, expression % 'alertstate="firing"')
        return {labels["alertname"] for labels, _ in found}

    async def value(self, expression: str) -> float | None:
        """Evaluate an expression of one series now; None if there is none."""
        return await run_sync(self.prometheus.value, expression)

    async def sign_up_for_ever(self) -> None:
        """Sign somebody new up four times a second, at each process in turn."""
        processes = itertools.cycle(self.processes)
        async with httpx.AsyncClient(verify=NO_CERTIFICATES, trust_env=False, timeout=20) as http:
            for number in itertools.count():
                email = f"person-{number}@example.com"
                form = {"email": email, "name": "Ada"}
                answer = await http.post(f"{next(processes)}/v1/signups", json=form)
                assert answer.status_code == httpx.codes.ACCEPTED, answer.text
                self.accepted.add(email)
                await anyio.sleep(SIGN_UPS_EVERY_SECONDS)


@asynccontextmanager
async def watched(settings: Settings, folder: Path) -> AsyncIterator[Watched]:
    """Run it all; everything is well, and mail goes out, when this begins. May skip."""
    api_ports = [free_port(), free_port()]
    ports = {"reach-api": [free_port(), free_port()], "reach-worker": [free_port(), free_port()]}
    with processes(settings, api_ports, ports) as running:
        for process in running:
            words = "api started" if process.arguments == ("api",) else "worker started"
            await said(process, words)
        prometheus = running_prometheus(ports, rules=written(folder), every_seconds=EVERY_SECONDS)
        try:
            server = await run_sync(prometheus.__enter__)
        except NoPrometheus as reason:
            pytest.skip(str(reason))
        try:
            now = Watched(server, [f"http://127.0.0.1:{port}" for port in api_ports])
            async with anyio.create_task_group() as group:
                group.start_soon(now.sign_up_for_ever)
                is_well = partial(now.value, "reach:mails_in_time:increase5m > 4")
                await eventually(is_well, PATIENCE_SECONDS, every=0.1)
                assert await now.value("reach:workers:count") == 2
                yield now
                group.cancel_scope.cancel()
        finally:
            await run_sync(prometheus.__exit__, None, None, None)


@contextmanager
def processes(
    settings: Settings, api_ports: list[int], ports: dict[str, list[int]]
) -> Iterator[list[ReachProcess]]:
    """Run them, each with a metrics port of its own."""
    apis = [
        ReachProcess("api", settings=settings, port=api, metrics_port=port)
        for api, port in zip(api_ports, ports["reach-api"], strict=True)
    ]
    workers = [
        ReachProcess("worker", settings=settings, metrics_port=port)
        for port in ports["reach-worker"]
    ]
    with ExitStack() as stack:
        yield [stack.enter_context(process) for process in (*apis, *workers)]


pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def mailing(
    make_settings: Callable[..., Settings], sqlite: str, mail_server: MailServer
) -> Settings:
    """Settings for processes that share a database and send to ``mail_server``."""
    return make_settings(database_url=sqlite, smtp_url=SecretStr(mail_server.url))


async def test_an_outage_of_mail_fires_its_alert_and_no_other_and_its_end_resolves_it(
    mailing: Settings, mail_server: MailServer, tmp_path: Path
) -> None:
    """Ten minutes after the mail server vanishes one alert fires, and nothing else does, ever.

    The same rules without their quieting would have told of mail that is late, and of an outbox
    that is stuck: there was something to be quiet about.
    """
    async with watched(mailing, tmp_path) as now:
        await mail_server.stop()
        await fires(now, "ReachCircuitBreakerOpen")
        await fires(now, "LoudReachOutboxStuck")
        waiting = set(now.accepted)
        await mail_server.start()
        await eventually(lambda: waiting <= received(mail_server), PATIENCE_SECONDS)
        await fires(now, "LoudReachMailLate")
        await fires(now)
        # So long the traces of an outage are looked for in the windows of the quickest alert.
        quiet = "last_over_time(reach:mail_explained:told[7500ms])"
        await eventually(lambda: is_over(now, quiet), PATIENCE_SECONDS, every=0.1)
        assert shipped(await now.ever_fired()) == {"ReachCircuitBreakerOpen"}
        assert await now.value("reach:circuit_breakers_open:count") == 0
        last = set(now.accepted)
    await eventually(lambda: last <= received(mail_server), PATIENCE_SECONDS)


async def test_an_outage_of_redis_fires_its_alert_and_no_other_and_its_end_resolves_it(
    mailing: Settings, redis: Redis, tmp_path: Path
) -> None:
    """Nobody who signs up notices, and one ticket says so."""
    counted = {"redis_url": SecretStr(redis.url), "limit_signups": "100000/minute"}
    async with watched(mailing.model_copy(update=counted), tmp_path) as now:
        redis.stop()
        await fires(now, "ReachRedisUnavailable")
        redis.start()
        await fires(now)
        assert await now.ever_fired() == {"ReachRedisUnavailable"}


async def fires(now: Watched, alert: str = "") -> None:
    """Wait until this fires; without a name, until nothing that is shipped does."""

    async def is_so() -> bool:
        firing = await now.firing()
        return alert in firing if alert else not shipped(firing)

    await eventually(is_so, PATIENCE_SECONDS, every=0.1)


async def is_over(now: Watched, expression: str) -> bool:
    """Whether an expression gives nothing any more."""
    return await now.value(expression) is None


def shipped(alerts: set[str]) -> set[str]:
    """Leave those out that only the test has."""
    return {name for name in alerts if not name.startswith("Loud")}


def received(server: MailServer) -> set[str]:
    """To whom mail has come."""
    return {mail.recipient for mail in server.messages}
