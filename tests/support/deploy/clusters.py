"""A real Traefik that reads the rendered chart from a cluster's API, before real processes."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import yaml

from tests.support.deploy.chart import LEAST, Manifest, only, render
from tests.support.deploy.edges import SHIPPED, Edge
from tests.support.processes.ports import free_port
from tests.support.root import ROOT
from tests.support.servers.kubernetes import Kubernetes, running_kubernetes
from tests.support.servers.traefik import ClusterTraefik


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


#: What Traefik is told of; what runs the pods, and what watches them, is others' business.
TOLD = {
    *("Service", "IngressRoute", "Middleware", "ServersTransport", "TraefikService"),
    *("Ingress", "Gateway", "HTTPRoute"),
}
NAMESPACE = "signup"
#: What Traefik calls those who read each kind of edge.
KINDS = {
    "IngressRoute": "kubernetescrd",
    "Ingress": "kubernetes",
    "HTTPRoute": "kubernetesgateway",
}
PROVIDERS = ("kubernetesCRD", "kubernetesIngress", "kubernetesGateway")


@dataclass
class Cluster:
    """A rendered release in a cluster with a Traefik."""

    objects: Sequence[Manifest]
    kubernetes: Kubernetes
    edge: Edge

    def run(self, *pods: Pod) -> None:
        """Let these pods run, and no others."""
        wanted = list(endpoint_slices(self.objects, pods))
        names = {one["metadata"]["name"] for one in wanted}
        known = self.kubernetes.listed("discovery.k8s.io/v1", "EndpointSlice", "", "")
        self.kubernetes.apply(*wanted)
        self.kubernetes.delete(*(one for one in known if one["metadata"]["name"] not in names))


def release(kind: str, port: int = 0, **edge: Any) -> list[Manifest]:
    """Render the chart with one kind of edge, whose TLS ends elsewhere unless ``edge`` says."""
    gateway = {"create": True, "port": port or None}
    values = {"kind": kind, "tls": {"enabled": False}, "gateway": gateway, **edge}
    return installed({"edge": {**LEAST["edge"], **values}})


def installed(values: Manifest) -> list[Manifest]:
    """Render the chart with these values, and put it where helm would."""
    objects = render({**LEAST, **values}, namespace=NAMESPACE)
    for one in objects:
        one["metadata"].setdefault("namespace", NAMESPACE)
    return objects


def before_it() -> list[Manifest]:
    """What Traefik's own chart, and the cluster's keeper, have put there."""
    text = (ROOT / "deploy" / "tests" / "cluster.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load_all(text))


def shipped_arguments() -> list[str]:
    """Read what Traefik's chart is told to start it with."""
    values: Mapping[str, Any] = yaml.safe_load((SHIPPED / "cluster.yaml").read_text("utf-8"))
    return list(values["additionalArguments"])


def arguments(url: str, port: int, secure: int, inside: int) -> list[str]:
    """Say how Traefik is started: as it is shipped, on the test's ports and of its cluster."""
    return [
        *shipped_arguments(),
        f"--entryPoints.web.address=127.0.0.1:{port}",
        f"--entryPoints.websecure.address=127.0.0.1:{secure}",
        f"--entryPoints.traefik.address=127.0.0.1:{inside}",
        *(f"--providers.{name}.endpoint={url}" for name in PROVIDERS),
        "--providers.providersThrottleDuration=100ms",
        "--api.insecure=true",
        "--api.dashboard=false",
    ]


@asynccontextmanager
async def running_cluster(
    objects: Sequence[Manifest],
    *pods: Pod,
    port: int = 0,
    secure: int = 0,
    extra: Sequence[Manifest] = (),
    is_faulty: bool = False,
) -> AsyncIterator[Cluster]:
    """Run Traefik in front of pods, by what was rendered.

    It is called on ``port``, by TLS on ``secure``; ``extra`` is in the cluster besides. If it
    ``is_faulty``, Traefik must complain.
    """
    port, inside = port or free_port(), free_port()
    told = [one for one in objects if one["kind"] in TOLD]
    slices = endpoint_slices(objects, pods)
    reader = next(KINDS[one["kind"]] for one in objects if one["kind"] in KINDS)
    needs = "" if is_faulty else reader
    async with running_kubernetes(*before_it(), *extra, *told, *slices) as (kubernetes, url):
        traefik = ClusterTraefik(arguments(url, port, secure or free_port(), inside), inside, needs)
        try:
            await asyncio.to_thread(traefik.start)
            yield Cluster(objects, kubernetes, Edge(port, traefik))
        finally:
            traefik.close()
