"""What a cluster makes of rendered Deployments and Services: pods, and where a Service leads.

A pod here is a process on a loopback address of its own. It may listen elsewhere than its
containers say, since every test's port 8000 is one and the same: ``ports`` says where.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.support.chart.rendered import Manifest, only


@dataclass(frozen=True)
class Pod:
    """One pod of a Deployment's template; ``ports`` are real ports by the containers'."""

    number: int
    deployment: Manifest
    address: str
    ports: Mapping[int, int]
    is_ready: bool = True

    @property
    def name(self) -> str:
        """As it is called in the cluster."""
        return f"{self.deployment['metadata']['name']}-{self.number}"

    @property
    def template(self) -> Manifest:
        """What it is made of."""
        template: Manifest = self.deployment["spec"]["template"]
        return template

    def unready(self) -> "Pod":
        """It, while its readiness probe fails."""
        return replace(self, is_ready=False)

    def resolved(self, target: int | str) -> int | None:
        """Find where a Service's target port leads; None if the pod has no port of that name."""
        if isinstance(target, int):
            return self.ports.get(target)
        for container in self.template["spec"]["containers"]:
            for port in container.get("ports", []):
                if port.get("name") == target:
                    return self.ports.get(port["containerPort"])
        return None


def pod(objects: Sequence[Manifest], component: str, number: int, ports: Mapping[int, int]) -> Pod:
    """Make a pod of one component's Deployment; its address follows from its number."""
    deployment = only(objects, "Deployment", component)
    return Pod(number, deployment, address_of(component, number), ports)


def address_of(component: str, number: int) -> str:
    """The address of a component's pod of that number."""
    return f"127.0.{ {'api': 2, 'worker': 3}[component] }.{number}"


def endpoint_slices(objects: Sequence[Manifest], pods: Sequence[Pod]) -> Iterator[Manifest]:
    """Say where each Service leads, as Kubernetes does: one slice for each pod it selects."""
    for service in (one for one in objects if one["kind"] == "Service"):
        selector = service["spec"]["selector"].items()
        for one in pods:
            if selector <= one.template["metadata"]["labels"].items():
                yield _slice(service, one)


def _slice(service: Manifest, one: Pod) -> Manifest:
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    ports = []
    for port in service["spec"]["ports"]:
        real = one.resolved(port.get("targetPort", port["port"]))
        if real is not None:  # Kubernetes leaves it out, too
            ports.append({"name": port["name"], "port": real, "protocol": "TCP"})
    labels = {**service["metadata"]["labels"], "kubernetes.io/service-name": name}
    target = {"kind": "Pod", "name": one.name, "namespace": namespace}
    conditions: dict[str, Any] = {"ready": one.is_ready, "serving": one.is_ready}
    endpoint = {"addresses": [one.address], "conditions": conditions, "targetRef": target}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-{one.name}", "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [endpoint],
        "ports": ports,
    }
