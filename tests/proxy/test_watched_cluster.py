"""What the chart gives to monitoring: a real Prometheus finds the pods, and the rules hold."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from reach.settings import Settings
from tests.support.chart.rendered import Manifest, only
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.prometheus import NoPrometheus, Prometheus, program
from tests.support.promises.running import running_api, worker
from tests.support.proxy.clusters import installed
from tests.support.proxy.operated import jobs
from tests.support.proxy.pods import address_of, pod
from tests.support.telemetry.asked import DASHBOARD, RULES
from tests.telemetry.test_rules import ran

RUNBOOKS = "https://git.example.org/reach/docs/runbooks"


def watched(**monitoring: Any) -> list[Manifest]:
    """Render the chart with what watches it."""
    return installed({"monitoring": {"enabled": True, **monitoring}})


def dashboards(objects: list[Manifest]) -> list[Manifest]:
    """List what Grafana's sidecar would read."""
    return [one for one in objects if one["metadata"]["labels"].get("grafana_dashboard") == "1"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_prometheus_finds_every_pod_as_the_rules_expect(
    behind: Settings, tmp_path: Path
) -> None:
    """``up`` has the jobs that the rules and the dashboard look for, and each pod by its name."""
    objects = watched(serviceMonitor={"interval": "1s"})
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(only(objects, "PrometheusRule")["spec"]), encoding="utf-8")
    port = free_port()
    pods = [
        pod(objects, "api", 1, {8000: behind.port, 9090: port}),
        pod(objects, "worker", 1, {9090: port}),
    ]
    api, working = (
        behind.model_copy(
            update={
                "host": address_of(name, 1),
                "metrics_host": address_of(name, 1),
                "metrics_port": port,
            }
        )
        for name in ("api", "worker")
    )
    async with running_api(api), worker(working):
        configuration = {
            "global": {"evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": list(jobs(only(objects, "ServiceMonitor"), objects, pods)),
        }
        prometheus = prometheus_of(tmp_path, configuration)
        try:
            await asyncio.to_thread(prometheus.start)
            expected = {("reach-api", "reach-api-1", 1), ("reach-worker", "reach-worker-1", 1)}
            await eventually(lambda: ups(prometheus) == expected, 30, 0.2)
            await eventually(lambda: prometheus.value("reach:workers:count") == 1, 30, 0.2)
            builds = prometheus.query("count by (job) (reach_build_info)")
        finally:
            prometheus.close()
    assert {labels["job"] for labels, _ in builds} == {"reach-api", "reach-worker"}


def prometheus_of(folder: Path, configuration: dict[str, Any]) -> Prometheus:
    """Make a Prometheus. Skips where there is none."""
    try:
        program("prometheus")
    except NoPrometheus as reason:
        pytest.skip(str(reason))
    return Prometheus(folder, configuration)


def ups(prometheus: Prometheus) -> set[tuple[str, str, float]]:
    """List what is scraped, and whether it answers."""
    return {(labels["job"], labels["instance"], value) for labels, value in prometheus.query("up")}


def test_the_rules_are_those_of_prometheus_itself(tmp_path: Path) -> None:
    """Word for word; with the address of the runbooks, every alert leads there."""
    source = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    assert only(watched(), "PrometheusRule")["spec"] == source
    spec = only(watched(prometheusRule={"runbooksUrl": f"{RUNBOOKS}/"}), "PrometheusRule")["spec"]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(spec), encoding="utf-8")
    assert "SUCCESS" in ran("promtool", "check", "rules", file)
    alerts = [rule for group in spec["groups"] for rule in group["rules"] if "alert" in rule]
    for rule in alerts:
        page = f"/{rule['alert']}.md"
        wanted = f'{{{{ or $externalLabels.runbooks "{RUNBOOKS}" }}}}{page}'
        assert rule["annotations"]["runbook_url"] == wanted


def test_the_dashboard_is_grafanas_own() -> None:
    """The sidecar's label, and the file, byte for byte."""
    (found,) = dashboards(watched())
    assert found["kind"] == "ConfigMap"
    assert found["data"] == {"reach.json": DASHBOARD.read_text(encoding="utf-8")}
    assert json.loads(found["data"]["reach.json"])["uid"] == "reach"


def test_each_can_be_left_out() -> None:
    """A cluster without the operator gets none of it, unless it is asked for."""
    everything = {"serviceMonitor", "prometheusRule", "dashboard"}
    assert parts(installed({})) == set()
    assert parts(watched()) == everything
    for name in everything:
        assert parts(watched(**{name: {"enabled": False}})) == everything - {name}


def parts(objects: list[Manifest]) -> set[str]:
    """Name the parts that are there, as the values call them."""
    kinds = {one["kind"] for one in objects}
    found = {kind[0].lower() + kind[1:] for kind in kinds & {"ServiceMonitor", "PrometheusRule"}}
    return found | ({"dashboard"} if dashboards(objects) else set())
