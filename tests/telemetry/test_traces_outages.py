"""A collector that is lost, hangs or refuses costs spans: no sign-up, no mail, and no time."""

import time
from collections.abc import Callable

import pytest

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, everything, said
from tests.support.servers.collector import Collector, environment_of
from tests.support.servers.mail import MailServer

SIGN_UPS = 30
#: The 2 s that are allowed, and what a stop takes on a busy machine.
STOP_SECONDS = 2 + 4


@pytest.fixture
def mailing(
    sqlite: str, make_settings: Callable[..., Settings], mail_server: MailServer
) -> Settings:
    """Settings where the database makes no difference."""
    return make_settings(database_url=sqlite, smtp_url=mail_server.url, port=free_port())


async def sign_up_many(settings: Settings) -> None:
    """Sign people up, one after another."""
    async with client(settings) as http:
        for number in range(SIGN_UPS):
            person = {"email": f"ada{number}@example.com", "name": "Ada"}
            assert (await http.post("/v1/signups", json=person)).status_code == 202


async def stopped(process: ReachProcess) -> float:
    """Stop a process, and say how many seconds it took."""
    began = time.monotonic()
    process.running.terminate()
    await eventually(lambda: process.exit_code is not None, 20)
    assert process.exit_code == 0
    return time.monotonic() - began


@pytest.mark.parametrize("trouble", ["away", "refuses"])
async def test_who_cannot_deliver_traces_says_so_once_and_goes_on(
    mailing: Settings, mail_server: MailServer, collector: Collector, trouble: str
) -> None:
    """Many batches fail, and there is one line, in our words; the process stops in time."""
    url = f"http://127.0.0.1:{free_port()}" if trouble == "away" else collector.url
    collector.status = 500
    environment = {**environment_of(url), "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    with ReachProcess("up", settings=mailing, environment=environment) as process:
        await said(process, "Reach is ready.")
        await sign_up_many(mailing)
        await eventually(lambda: len(mail_server.messages) == SIGN_UPS)
        await said(process, "traces are not taken")
        await sign_up_many(mailing)
        assert await stopped(process) < STOP_SECONDS
        written = everything(process)
    assert written.count("traces are not taken") == 1
    for foreign in ("opentelemetry", "Failed to export", "Transient", "urllib3", "Traceback"):
        assert foreign not in written
    assert "refuses" not in trouble or len(collector.bodies) > 1


async def test_a_collector_that_hangs_holds_up_nobody_and_no_stop(
    mailing: Settings, mail_server: MailServer, collector: Collector
) -> None:
    """Its time-out is 30 s; sign-ups and mail take what they take, and the end 2 s."""
    collector.hang()
    environment = {**collector.environment, "OTEL_EXPORTER_OTLP_TIMEOUT": "30"}
    with ReachProcess("up", settings=mailing, environment=environment) as process:
        await said(process, "Reach is ready.")
        await sign_up_many(mailing)
        await eventually(lambda: len(mail_server.messages) == SIGN_UPS)
        await eventually(lambda: collector.bodies)
        assert await stopped(process) < STOP_SECONDS


async def test_a_collector_that_comes_back_is_told_of_and_used(
    mailing: Settings, collector: Collector
) -> None:
    """What came meanwhile is lost; what comes then is not."""
    collector.status = 500
    with ReachProcess("up", settings=mailing, environment=collector.environment) as process:
        await said(process, "Reach is ready.")
        async with client(mailing) as http:
            await http.get("/")
            await said(process, "traces are not taken")
            collector.status = 200
            await http.get("/docs")
            await said(process, "traces are taken again")
    assert [span.name for span in collector.spans] == ["GET /docs"]


async def test_each_of_several_processes_hands_over_what_it_has_at_its_end(
    mailing: Settings, collector: Collector
) -> None:
    """Its spans would have waited for a minute."""
    environment = {**collector.environment, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    arguments = ("api", "--processes", "2")
    with ReachProcess(*arguments, settings=mailing, environment=environment) as process:
        process.wait_ready(mailing.port)
        for _ in range(SIGN_UPS):
            async with client(mailing) as http:
                assert (await http.get("/")).status_code == 200
        assert collector.spans == []
        await stopped(process)
    assert len(collector.named("GET /")) == SIGN_UPS
    instances = {span.resource["service.instance.id"] for span in collector.spans}
    assert str(process.pid) not in " ".join(instances), "its parent serves nobody"
