"""What the chart gives to monitoring: a real Prometheus finds the pods, and the rules hold."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.deploy.chart import Manifest, only
from tests.support.deploy.clusters import Pod, address_of, endpoint_slices, installed, pod
from tests.support.processes.ports import free_port
from tests.support.processes.running import running_api, worker
from tests.support.servers.prometheus import NoPrometheus, Prometheus, program
from tests.support.telemetry.expressions import DASHBOARD, RULES
from tests.support.telemetry.rules import ran

NAMESPACE = "__meta_kubernetes_namespace"
SERVICE = "__meta_kubernetes_service_label"
SLICE = "__meta_kubernetes_endpointslice"


def jobs(
    monitor: Manifest, objects: Sequence[Manifest], pods: Sequence[Pod]
) -> Iterator[dict[str, Any]]:
    """Write one job for each endpoint."""
    meta, spec = monitor["metadata"], monitor["spec"]
    names = spec["namespaceSelector"]["matchNames"]
    found = [one for one in discovered(objects, pods) if one["labels"][NAMESPACE] in names]
    for number, endpoint in enumerate(spec["endpoints"]):
        yield {
            "job_name": f"serviceMonitor/{meta['namespace']}/{meta['name']}/{number}",
            "static_configs": found,
            "scrape_interval": endpoint["interval"],
            "metrics_path": endpoint["path"],
            "relabel_configs": [
                *selected(spec["selector"]["matchLabels"]),
                keep([f"{SLICE}_port_name"], endpoint["port"]),
                *usual(),
                *(as_prometheus_has_it(one) for one in endpoint["relabelings"]),
            ],
        }


def discovered(objects: Sequence[Manifest], pods: Sequence[Pod]) -> Iterator[dict[str, Any]]:
    """List every port of every Service's pods, with what Prometheus tells of each."""
    services = {one["metadata"]["name"]: one for one in objects if one["kind"] == "Service"}
    by_name = {one.name: one for one in pods}
    for one in endpoint_slices(objects, pods):
        (endpoint,) = one["endpoints"]
        meta = services[one["metadata"]["labels"]["kubernetes.io/service-name"]]["metadata"]
        pod = by_name[endpoint["targetRef"]["name"]]
        labels = {
            NAMESPACE: meta["namespace"],
            "__meta_kubernetes_service_name": meta["name"],
            "__meta_kubernetes_pod_name": pod.name,
            "__meta_kubernetes_pod_container_name": "reach",
            **dict(labelled("service", meta["labels"])),
            **dict(labelled("pod", pod.template["metadata"]["labels"])),
        }
        for port in one["ports"]:
            yield {
                "targets": [f"{endpoint['addresses'][0]}:{port['port']}"],
                "labels": {**labels, f"{SLICE}_port_name": port["name"]},
            }


def labelled(what: str, labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Tell of an object's labels."""
    for name, value in labels.items():
        yield f"__meta_kubernetes_{what}_label_{plain(name)}", value
        yield f"__meta_kubernetes_{what}_labelpresent_{plain(name)}", "true"


def plain(name: str) -> str:
    """Write a label's name as Prometheus can."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def selected(labels: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Keep the Services with these labels."""
    for name, value in labels.items():
        sources = [f"{SERVICE}_{plain(name)}", f"{SERVICE}present_{plain(name)}"]
        yield keep(sources, f"({value});true")


def keep(sources: list[str], regex: str) -> dict[str, Any]:
    """Keep what matches."""
    return {"action": "keep", "source_labels": sources, "regex": regex}


def usual() -> Iterator[dict[str, Any]]:
    """Put in the labels that the operator puts in everywhere."""
    for label, source in {
        "namespace": NAMESPACE,
        "service": "__meta_kubernetes_service_name",
        "pod": "__meta_kubernetes_pod_name",
        "container": "__meta_kubernetes_pod_container_name",
        "job": "__meta_kubernetes_service_name",
        "endpoint": f"{SLICE}_port_name",
    }.items():
        yield {"source_labels": [source], "target_label": label}


def as_prometheus_has_it(relabeling: dict[str, Any]) -> dict[str, Any]:
    """Spell the fields as Prometheus does. Raises KeyError for one that is not known."""
    names = {
        "sourceLabels": "source_labels",
        "targetLabel": "target_label",
        "replacement": "replacement",
        "regex": "regex",
        "action": "action",
    }
    return {names[name]: value for name, value in relabeling.items()}


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
