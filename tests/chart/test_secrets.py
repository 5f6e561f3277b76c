"""Secrets stand in Secrets alone, and the key that signs links is made once."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.deploy.chart import (
    BY_VALUE,
    CHART,
    LEAST,
    MADE,
    PASSWORD,
    VALUES,
    Manifest,
    container_of,
    only,
    pod_of,
    render,
    site,
)

KEPT = "reach-secret-key"
#: What the release is made of, by group: helm asks whether the cluster knows it.
KINDS = {
    "": {"secrets": "Secret", "services": "Service", "serviceaccounts": "ServiceAccount"},
    "apps": {"deployments": "Deployment"},
    "networking.k8s.io": {"networkpolicies": "NetworkPolicy"},
    "policy": {"poddisruptionbudgets": "PodDisruptionBudget"},
}


def made(objects: list[Manifest]) -> Manifest:
    """Find the Secret with the key that helm made."""
    (found,) = (o for o in objects if o["kind"] == "Secret" and o["metadata"]["name"] == KEPT)
    return found


def test_no_secret_stands_elsewhere() -> None:
    """Not in a Deployment, a Job, an annotation: those are read by many more people."""
    objects = site("by-value")
    for thing in objects:
        assert (PASSWORD in json.dumps(thing)) == (thing["kind"] == "Secret"), thing["metadata"]
    names = {one["metadata"]["name"] for one in objects if one["kind"] == "Secret"}
    assert names == {"reach-urls", "reach-migrate"}


def test_of_the_secret_of_providers_the_api_gets_what_it_has() -> None:
    """Each of four under its name, and none needs to be there; the worker has no use for them."""
    objects = render({**LEAST, "bounces": {"existingSecret": "providers"}})
    found = {}
    for component in ("api", "worker"):
        variables = container_of(only(objects, "Deployment", component))["env"]
        found[component] = {
            one["name"]: one["valueFrom"]["secretKeyRef"]
            for one in variables
            if one["name"].startswith("REACH_BOUNCES_")
        }
    names = ("POSTMARK_SECRET", "MAILGUN_KEY", "RESEND_SECRET", "GENERIC_SECRET")
    assert found["api"] == {
        (key := f"REACH_BOUNCES_{name}"): {"name": "providers", "key": key, "optional": True}
        for name in names
    }
    assert found["worker"] == {}


@pytest.mark.parametrize("name", VALUES)
def test_every_secret_that_is_named_is_there_or_somebody_elses(name: str) -> None:
    """By its name and its key: a pod whose Secret is not there never starts."""
    objects = site(name)
    held = {one["metadata"]["name"]: one for one in objects if one["kind"] == "Secret"}
    for thing in (one for one in objects if one["kind"] in ("Deployment", "Job", "Pod")):
        for variable in container_of(thing)["env"]:
            source = variable.get("valueFrom", {}).get("secretKeyRef", {"name": "", "key": ""})
            secret = held.get(source["name"])
            if secret is None:
                continue
            assert source["key"] in {**secret.get("stringData", {}), **secret.get("data", {})}
            # The migration comes before the release's own Secrets; they last, its own does not.
            is_hook = "helm.sh/hook" in secret["metadata"].get("annotations", {})
            assert is_hook == (thing["kind"] == "Job"), source


def test_a_changed_value_rolls_the_pods_that_read_it() -> None:
    """A Secret that changes rolls nothing by itself; eight digits of a digest tell no password."""
    changed = {**BY_VALUE, "smtp": {"url": f"smtps://reach:{PASSWORD}2@relay.example"}}
    marks = [
        only(objects, "Deployment", "worker")["spec"]["template"]["metadata"]["annotations"]
        for objects in (site("by-value"), render(changed))
    ]
    assert marks[0] != marks[1]
    assert [len(one["reach/secrets"]) for one in marks] == [8, 8]


def test_the_key_that_is_made_is_long_random_and_kept() -> None:
    """It outlives the release, and Kubernetes lets nobody put another in its place."""
    first, second = (made(render(MADE, flags=flags)) for flags in ((), ("--debug",)))
    key = base64.b64decode(first["data"]["secret-key"]).decode()
    assert len(key) >= 48
    assert key.isalnum()
    assert first["data"] != second["data"]
    assert first["immutable"] is True
    assert first["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not [o for o in site("values-production.yaml") if o["kind"] == "Secret"]


def test_an_upgrade_does_not_change_the_key() -> None:
    """Helm finds the one that is there, and takes it for its own, after an uninstall too."""
    kept = base64.b64encode(b"the-key-of-the-first-install").decode()
    # As helm leaves it.
    whose = {"meta.helm.sh/release-name": "reach", "meta.helm.sh/release-namespace": "signup"}
    labels = {"app.kubernetes.io/managed-by": "Helm"}
    metadata = {"name": KEPT, "namespace": "signup", "annotations": whose, "labels": labels}
    secret: Manifest = {"kind": "Secret", "apiVersion": "v1", "metadata": metadata}
    secret |= {"data": {"secret-key": kept}}
    # This cluster has none of Traefik's objects.
    values = {**MADE, "edge": {**LEAST["edge"], "kind": "none"}}
    with _cluster({"signup": secret}) as url:
        flags = (
            *("--dry-run=server", "--disable-openapi-validation", "--kube-apiserver", url),
            *("--kube-version", "1.34.0"),
        )
        assert made(render(values, flags=flags))["data"] == secret["data"]
        assert made(render(values, flags=flags, namespace="other"))["data"] != secret["data"]


def _resources(group: str) -> dict[str, Any]:
    """List what a group has, as an API server does."""
    return {
        "kind": "APIResourceList",
        "groupVersion": f"{group}/v1".lstrip("/"),
        "resources": [
            {"name": name, "namespaced": True, "kind": kind, "verbs": ["get"]}
            for name, kind in KINDS[group].items()
        ],
    }


@contextmanager
def _cluster(secrets: dict[str, Any]) -> Iterator[str]:
    """Serve what helm asks an API server for, to look one Secret up: by namespace."""
    groups = [
        {"name": group, "versions": [{"groupVersion": f"{group}/v1", "version": "v1"}]}
        for group in KINDS
        if group
    ]
    answers: dict[str, Any] = {
        "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        **{f"/apis/{group}/v1": _resources(group) for group in KINDS if group},
        "/api/v1": _resources(""),
        **{f"/api/v1/namespaces/{k}/secrets/{KEPT}": one for k, one in secrets.items()},
    }
    missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            body = json.dumps(missing | {"reason": "NotFound"} if found is None else found)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_the_readme_makes_every_secret_of_production() -> None:
    """With its keys: a pod whose Secret is missing waits, and helm with it, until it gives up."""
    readme = (CHART / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    created = {
        line.split()[4]: set(re.findall(r"--from-\w+=([\w.-]+)", line))
        for line in readme.splitlines()
        if line.startswith("kubectl create secret ")
    }
    objects = site("values-production.yaml")
    named: set[tuple[str, str]] = set()
    for thing in objects:
        pod = pod_of(thing)
        if pod is None:
            continue
        for variable in container_of(thing)["env"]:
            source = variable.get("valueFrom", {}).get("secretKeyRef")
            named |= {(source["name"], source["key"])} if source else set()
        for volume in (one["secret"] for one in pod["volumes"] if "secret" in one):
            named |= {(volume["secretName"], item["key"]) for item in volume["items"]}
    certificate = only(objects, "IngressRoute")["spec"]["tls"]["secretName"]
    assert named == {(name, key) for name, keys in created.items() for key in keys}
    assert set(created) == {name for name, _ in named} | {certificate}
