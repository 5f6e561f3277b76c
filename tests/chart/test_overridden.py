"""What a cluster may want otherwise: users of its own, IPv6, other ingresses, files of a site."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.support.deploy.chart import (
    EVERYTHING,
    LEAST,
    SIDECAR,
    VERSIONS,
    Manifest,
    Refused,
    container_of,
    only,
    pod_of,
    render,
)

#: What OpenShift's restricted-v2 gives by itself, and refuses from others.
OWN_IDS = ("runAsUser", "runAsGroup", "fsGroup")
OPENSHIFT = {**EVERYTHING, "podSecurityContext": dict.fromkeys(OWN_IDS)}
LIST = {"name": "lists", "configMap": {"name": "disposable"}}
MOUNT = {"name": "lists", "mountPath": "/etc/lists", "readOnly": True}
#: What ingress-nginx takes in a path that is Exact or Prefix, since 1.12 by default (its
#: internal/ingress/inspector/ingress.go, validPathType).
NGINX_PATH = r"/[A-Za-z0-9_/-]*"


def pods(values: Mapping[str, Any]) -> Iterator[tuple[Manifest, Manifest]]:
    """List the five kinds of pods, each with its object; Kubernetes takes them all."""
    found = [(thing, pod) for thing in render(values) if (pod := pod_of(thing))]
    assert sorted(thing["kind"] for thing, _ in found) == [*["Deployment"] * 3, "Job", "Pod"]
    for thing, _ in found:
        for version in (VERSIONS[0], VERSIONS[-1]):
            kubernetes_validate.validate(thing, version, strict=True)
    yield from found


def test_a_cluster_may_choose_the_user_by_itself() -> None:
    """As OpenShift does: for hooks and tests too. All else that makes a pod restricted stays."""
    for _, pod in pods(OPENSHIFT):
        security = pod["securityContext"]
        assert security == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        for container in (*pod["initContainers"], *pod["containers"]):
            assert not container["securityContext"].keys() & set(OWN_IDS)
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("nothing", [None, {}])
def test_security_contexts_can_be_left_out(nothing: Any) -> None:
    """By null alone: an empty one changes nothing, as everywhere in helm."""
    values = {**EVERYTHING, "podSecurityContext": nothing, "containerSecurityContext": nothing}
    for _, pod in pods(values):
        for one in (pod, container_of({"kind": "Pod", "spec": pod})):
            assert ("securityContext" in one) == (nothing is not None)


def test_security_contexts_can_be_changed() -> None:
    """Key by key; a sidecar's own word stands above it, null too."""
    sidecar = {**SIDECAR, "securityContext": {"readOnlyRootFilesystem": None, "runAsUser": 65532}}
    values = {
        **EVERYTHING,
        "sidecars": [sidecar],
        "podSecurityContext": {"runAsUser": 4321, "supplementalGroups": [7]},
        "containerSecurityContext": {"readOnlyRootFilesystem": False, "runAsNonRoot": None},
    }
    for _, pod in pods(values):
        security = pod["securityContext"]
        assert (security["runAsUser"], security["supplementalGroups"]) == (4321, [7])
        assert (security["runAsGroup"], security["runAsNonRoot"]) == (10001, True)
        assert container_of({"kind": "Pod", "spec": pod})["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": False,
        }
        (beside,) = pod["initContainers"]
        assert beside["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsUser": 65532,
        }


def test_null_from_the_command_line_takes_a_key_away() -> None:
    """Helm itself does that, if the key is a default."""
    flags = [part for name in OWN_IDS for part in ("--set", f"podSecurityContext.{name}=null")]
    for thing in render(LEAST, flags=flags):
        if pod := pod_of(thing):
            assert not pod["securityContext"].keys() & set(OWN_IDS)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_pods_listen_where_they_are_told_to(host: str) -> None:
    """For requests and for metrics; probes ask the pod's own address, whichever it is."""
    objects = render({**LEAST, "host": host})
    told = {"api": {"REACH_HOST", "REACH_METRICS_HOST"}, "worker": {"REACH_METRICS_HOST"}}
    for component, names in told.items():
        container = container_of(only(objects, "Deployment", component))
        variables = {one["name"]: one.get("value") for one in container["env"]}
        assert {name for name, value in variables.items() if value == host} == names
        for probe in ("startupProbe", "livenessProbe"):
            assert "host" not in container[probe]["httpGet"]


def test_services_have_the_families_that_they_are_told_to() -> None:
    """Else those that the cluster gives."""
    for thing in render(LEAST):
        assert not {"ipFamilies", "ipFamilyPolicy"} & thing.get("spec", {}).keys()
    given = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}
    for service in ({"ipFamilyPolicy": "PreferDualStack"}, {"ipFamilies": ["IPv6"]}, given):
        services = [
            one for one in render({**LEAST, "service": service}) if one["kind"] == "Service"
        ]
        assert len(services) == 2
        for one in services:
            kubernetes_validate.validate(one, VERSIONS[0], strict=True)
            assert {name: one["spec"].get(name) for name in given} == {
                "ipFamilyPolicy": None,
                "ipFamilies": None,
                **service,
            }


def test_ingress_nginx_takes_every_path() -> None:
    """It refuses the whole Ingress for a dot in a path that is not ImplementationSpecific."""
    site = {**LEAST, "edge": {**LEAST["edge"], "kind": "ingress", "middlewares": False}}
    paths = [
        path
        for thing in render(site)
        if thing["kind"] == "Ingress"
        for rule in thing["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]
    assert {"/", "/openapi.json", "/manage", "/v1/signups"} <= {one["path"] for one in paths}
    for one in paths:
        is_plain = re.fullmatch(NGINX_PATH, one["path"]) is not None
        assert (one["pathType"] in ("Exact", "Prefix")) == is_plain, one["path"]


def test_files_of_a_site_are_in_every_container() -> None:
    """In the migration's and the test's too; sidecars mount them by themselves."""
    values = {**EVERYTHING, "extraVolumes": [LIST], "extraVolumeMounts": [MOUNT]}
    for thing, pod in pods(values):
        assert LIST in pod["volumes"]
        assert MOUNT in container_of(thing)["volumeMounts"]
        names = [one["name"] for one in pod["volumes"]]
        assert len(set(names)) == len(names)
    file = {"REACH_DISPOSABLE_DOMAINS_FILE": "/etc/lists/domains.txt"}
    for thing, _ in pods({**values, "settings": {**EVERYTHING["settings"], **file}}):
        if thing["metadata"]["labels"]["app.kubernetes.io/component"] == "migrate":
            continue
        (found,) = [one["value"] for one in container_of(thing)["env"] if one["name"] in file]
        assert found.startswith(MOUNT["mountPath"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"extraVolumes": [{"name": "tmp", "emptyDir": {}}]}, "extraVolumes: tmp is a volume of"),
        (
            {"extraVolumeMounts": [{"name": "x", "mountPath": "/etc/reach/dkim"}]},
            "extraVolumeMounts: /etc/reach/dkim is a place of Reach's own",
        ),
        ({"extraVolumeMounts": [{"name": "x", "mountPath": "/tmp/"}]}, "/tmp/ is a place"),
        ({"extraVolumes": [{"configMap": {}}]}, "name"),
        ({"host": "127.0.0.1"}, "host"),
        ({"service": {"ipFamilies": ["IPv5"]}}, "ipFamilies"),
        ({"podSecurityContext": 10001}, "podSecurityContext"),
    ],
    ids=json.dumps,
)
def test_what_cannot_be_is_refused(values: Any, words: str) -> None:
    """Before Kubernetes does, in words of its own."""
    with pytest.raises(Refused, match=words):
        render({**LEAST, **values})
