"""Two API processes and two workers, with traffic all along and a Prometheus that watches."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.to_thread import run_sync

from reach.settings import Settings
from tests.support.eventually import eventually
from tests.support.plain import NO_CERTIFICATES
from tests.support.ports import free_port
from tests.support.processes import ReachProcess
from tests.support.prometheus import NoPrometheus, Prometheus, running_prometheus
from tests.support.promises.running import said
from tests.support.telemetry.scaled import written

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
