"""What prometheus-adapter would ask, of a real Prometheus that scrapes a real worker."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from anyio.to_thread import run_sync
from pydantic import SecretStr

from reach.settings import Settings
from reach.telemetry import metrics
from tests.support.clock import eventually
from tests.support.deploy.platform import values
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import client, running_api, worker
from tests.support.servers.prometheus import NoPrometheus, Prometheus
from tests.support.servers.prometheus import program as prometheus_program

NAMESPACE = "signup"
DEADLINE_SECONDS = 60


def rule() -> dict[str, object]:
    """The one rule of the adapter's values."""
    (found,) = values("prometheus-adapter.yaml")["rules"]["external"]
    return dict(found)


def written_out(series: str, namespace: str) -> str:
    """The query as the adapter fills it in, for an HPA of this namespace."""
    query = str(rule()["metricsQuery"])
    query = query.replace("<<.Series>>", series)
    query = query.replace("<<.LabelMatchers>>", f'namespace="{namespace}"')
    assert "<<" not in query, query
    return query


def test_it_names_our_metric() -> None:
    """By the name that it has in the code, inside and out."""
    name = metrics.OUTBOX_OLDEST_DUE._name
    asked = rule()
    assert re.search(r'__name__="(\w+)"', str(asked["seriesQuery"]))[1] == name  # type: ignore[index]
    assert asked["name"] == {"matches": f"^{name}$", "as": name}
    assert asked["resources"] == {"overrides": {"namespace": {"resource": "namespace"}}}


async def test_it_tells_how_long_the_oldest_has_waited(
    make_settings: Callable[..., Settings], sqlite: str, tmp_path: Path
) -> None:
    """One number for all of a namespace, that grows while nobody sends; 0 if nobody could."""
    try:
        prometheus_program("prometheus")
    except NoPrometheus as reason:
        pytest.skip(str(reason))
    ports = [free_port(), free_port()]
    settings = make_settings(
        database_url=sqlite,
        port=free_port(),
        metrics_port=ports[0],
        smtp_url=SecretStr(f"smtp://127.0.0.1:{free_port()}"),  # nobody is there
    )
    # A ServiceMonitor's targets have the namespace of their pods.
    targets = [
        {"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"namespace": NAMESPACE}}
    ]
    series = str(rule()["seriesQuery"])
    every = {"scrape_interval": "500ms", "scrape_timeout": "500ms"}
    server = Prometheus(
        tmp_path,
        {"global": every, "scrape_configs": [{"job_name": "reach", "static_configs": targets}]},
    )
    try:
        await run_sync(server.start)
        async with running_api(settings):
            async with client(settings) as http:
                assert (await http.post("/v1/signups", json=ADA)).status_code == 202
            await eventually(lambda: len(server.query(series)) == 1, DEADLINE_SECONDS, 0.2)
            (name,) = {labels["__name__"] for labels, _ in server.query(series)}
            query = written_out(name, NAMESPACE)
            await eventually(lambda: (server.value(query) or 0) > 1, DEADLINE_SECONDS, 0.2)
            assert server.query(written_out(name, "elsewhere")) == []
            async with worker(settings, metrics_port=ports[1]):
                is_open = "max(reach_circuit_breaker_open) == 1"
                await eventually(lambda: server.value(is_open) == 1, DEADLINE_SECONDS, 0.2)
                assert server.value(f"max({name})") != 0
                await eventually(lambda: server.value(query) == 0, DEADLINE_SECONDS, 0.2)
    finally:
        await run_sync(server.close)
