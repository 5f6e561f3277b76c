"""docs/guides/kubernetes.md's GKE, step by step, makes what values-gke.yaml asks for."""

import re
from collections.abc import Iterator
from typing import Any

from tests.support.deploy.chart import Manifest, only, site
from tests.support.root import ROOT

PAGE = (ROOT / "docs" / "guides" / "kubernetes.md").read_text(encoding="utf-8")

(STEPS,) = (part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part[:3] == "GKE")
VALUES = "values-gke.yaml"
#: Which part of the platform brings which kinds.
BROUGHT = {"edge": {"traefik.io"}, "metrics": {"monitoring.coreos.com"}}


def everything(value: object) -> Iterator[dict[str, Any]]:
    """Every map inside, whole."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from everything(one)


def made() -> dict[str, set[str]]:
    """The Secrets that the steps create, and their keys."""
    secrets: dict[str, set[str]] = {}
    for kind, name, rest in re.findall(
        r"kubectl create secret (generic|tls) (\S+)((?:[^\n]*\\\n)*[^\n]*)", STEPS
    ):
        given = set(re.findall(r"--from-(?:literal|file)=([\w.-]+)=", rest))
        secrets[name] = given if kind == "generic" else {"tls.crt", "tls.key"}
    return secrets


def needed(objects: list[Manifest]) -> Iterator[tuple[str, str]]:
    """The Secrets that objects have from others, by name and key."""
    for one in everything(objects):
        if "secretKeyRef" in one:
            yield one["secretKeyRef"]["name"], one["secretKeyRef"]["key"]
        if one.get("kind") == "IngressRoute":
            yield from ((one["spec"]["tls"]["secretName"], key) for key in ("tls.crt", "tls.key"))


def test_every_secret_is_made_by_a_step() -> None:
    """The certificate's, too: else pods wait, or Traefik shows its own."""
    wanted = set(needed(site(VALUES)))
    assert {("reach", "url"), ("reach-tls", "tls.crt")} < wanted
    assert {one for one in wanted if one[1] not in made().get(one[0], set())} == set()


def test_every_kind_is_brought_by_a_step() -> None:
    """KEDA's is not: the platform brings prometheus-adapter, and a cluster has one of them."""
    (parts,) = re.findall(r"PARTS='([a-z ]+)' deploy/platform/platform.sh", STEPS)
    there = set().union(*(BROUGHT[part] for part in parts.split()))
    groups = {one["apiVersion"].partition("/")[0] for one in site(VALUES)}
    others = {group for group in groups if "." in group and not group.endswith(".k8s.io")}
    assert others == there


def test_the_platform_can_be_installed_there() -> None:
    """Autopilot refuses node-exporter, and Services in kube-system."""
    assert "gcloud container clusters create reach " in STEPS
    assert "create-auto" not in STEPS
    assert "--enable-dataplane-v2" in STEPS, "else nobody enforces a NetworkPolicy"


def test_redis_is_where_the_step_makes_it() -> None:
    """By the port of the URL, which the policy lets through; TLS is the exception."""
    (port,) = re.findall(r"--from-literal=redis='redis://[^']*:(\d+)/0'", STEPS)
    rules = everything(only(site(VALUES), "NetworkPolicy", "api")["spec"]["egress"])
    ports = {one["port"] for one in rules if "port" in one}
    assert int(port) in ports
    assert 6378 not in ports


def test_names_are_asked_of_the_nodes_own_cache() -> None:
    """Which is a pod to Dataplane V2, whatever address was asked."""
    for component in ("api", "worker", "migrate"):
        rules = everything(only(site(VALUES), "NetworkPolicy", component)["spec"]["egress"])
        peers = [one["podSelector"] for one in rules if "podSelector" in one]
        assert {"matchLabels": {"k8s-app": "node-local-dns"}} in peers, component
