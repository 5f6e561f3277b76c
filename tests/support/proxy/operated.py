"""What the Prometheus operator makes of a ServiceMonitor: a job of Prometheus's configuration.

Only what our ServiceMonitor uses, by the operator's documentation: no operator ran here. Debian's
Prometheus is built without its discovery of Kubernetes, so what that finds is written down, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.support.chart.rendered import Manifest
from tests.support.proxy.pods import Pod, endpoint_slices

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
