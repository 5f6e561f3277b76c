"""A real Prometheus, two API processes under one parent, and two workers: every count is right."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from pydantic import SecretStr

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import addresses
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, ended, said, worker
from tests.support.servers.mail import MailServer
from tests.support.servers.prometheus import NoPrometheus, Prometheus, running_prometheus

EACH = 60
DEADLINE_SECONDS = 60
NEW = 'sum(reach_signups_total{result="new"})'
SENT = 'sum(reach_messages_finished_total{state="sent"})'
SENT_COUNT = "sum(reach_promised_to_sent_seconds_count)"
#: Everything that only grows.
GROWING = 'count by (__name__) ({__name__=~"reach_.+_(total|count|sum|bucket)"})'


@pytest.fixture
def serving(
    make_settings: Callable[..., Settings], postgres: str, redis_url: str, mail_server: MailServer
) -> Settings:
    """Two API processes, which count together."""
    return make_settings(
        database_url=postgres,
        redis_url=redis_url,
        smtp_url=SecretStr(mail_server.url),
        limit_signups="100000/minute",
        processes=2,
        port=free_port(),
        metrics_port=free_port(),
    )


async def test_the_sums_hold_while_a_process_is_killed_and_replaced(
    serving: Settings, mail_server: MailServer
) -> None:
    """Exactly as many as signed up and were mailed; no scrape fails, and no count goes down."""
    ports = [free_port(), free_port()]
    with ReachProcess("api", settings=serving) as api:
        async with (
            worker(serving, metrics_port=ports[0]),
            worker(serving, metrics_port=ports[1]),
            client(serving) as http,
        ):
            await eventually(lambda: is_ready(http), DEADLINE_SECONDS, 0.05)
            jobs = {"api": [serving.metrics_port or 0], "worker": ports}
            try:
                with running_prometheus(jobs) as prometheus:
                    await eventually(lambda: prometheus.healthy_targets() == 3, DEADLINE_SECONDS)
                    await go_through(serving, http, api, prometheus)
            except NoPrometheus as reason:
                pytest.skip(str(reason))
        assert len(mail_server.messages) == 2 * EACH
        api.running.terminate()
        assert await ended(api, 20) == 0


async def go_through(
    settings: Settings, http: httpx.AsyncClient, api: ReachProcess, prometheus: Prometheus
) -> None:
    """Sign up as many as before the crash after it."""
    await sign_up(http, "before")
    await shows(prometheus, EACH)
    first = api.children
    killed = first.pop()
    killed.kill()
    await eventually(lambda: len(api.children - first - {killed}) == 1, DEADLINE_SECONDS, 0.05)
    await said(api, "process replaced")
    async with client(settings) as others:
        await sign_up(others, "after")
    await shows(prometheus, 2 * EACH)
    names = [labels["__name__"] for labels, _ in prometheus.query(GROWING)]
    assert "reach_signups_total" in names
    resets = {name: prometheus.value(f"sum(resets({name}[10m]))") for name in names}
    assert {name: count for name, count in resets.items() if count} == {}
    assert prometheus.value("min(min_over_time(up[10m]))") == 1
    # What the dead was doing ended with it; who lives now is doing nothing.
    idle = "sum(reach_http_requests_in_progress)"
    await eventually(lambda: prometheus.value(idle) == 0, DEADLINE_SECONDS, 0.2)


async def sign_up(http: httpx.AsyncClient, name: str) -> None:
    """Sign up ``EACH`` people at the same time."""
    people = [{"email": address, "name": "Ada"} for address in addresses(EACH, name)]
    answers = await asyncio.gather(*(http.post("/v1/signups", json=one) for one in people))
    assert {answer.status_code for answer in answers} == {httpx.codes.ACCEPTED}


async def shows(prometheus: Prometheus, count: int) -> None:
    """Wait until Prometheus knows of so many sign-ups, all mailed: exactly so many."""

    def sums() -> list[float | None]:
        return [prometheus.value(expression) for expression in (NEW, SENT, SENT_COUNT)]

    await eventually(lambda: min(one or 0 for one in sums()) >= count, DEADLINE_SECONDS, 0.2)
    assert sums() == [count, count, count]


async def is_ready(http: httpx.AsyncClient) -> bool:
    """Whether people can sign up."""
    try:
        return (await http.get("/readyz")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
