"""Pods can do what Reach needs, and nothing else: Pod Security "restricted", and more."""

from collections.abc import Iterator

import pytest

from tests.support.deploy.chart import SIDECAR, VALUES, Manifest, container_of, only, pod_of, site

IMAGE_USER = 10001


def pods(name: str) -> Iterator[tuple[Manifest, Manifest]]:
    """List a site's objects that have pods, each with what it says of them."""
    for thing in site(name):
        pod = pod_of(thing)
        if pod is not None:
            yield thing, pod


@pytest.mark.parametrize("name", VALUES)
def test_every_pod_is_restricted(name: str) -> None:
    """API's, worker's, inbound's, migration's, check's: as the image's user, without a token."""
    found = list(pods(name))
    deployments = ["Deployment"] * (3 if name == "everything" else 2)
    assert sorted(thing["kind"] for thing, _ in found) == [*deployments, "Job", "Pod"]
    for _, pod in found:
        assert pod["automountServiceAccountToken"] is False
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {security[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {IMAGE_USER}
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys()


@pytest.mark.parametrize("name", VALUES)
def test_every_container_is_restricted(name: str) -> None:
    """Sidecars too: no capability, no way to more, a root that cannot be written, bounds."""
    for _, pod in pods(name):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["runAsNonRoot"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "cpu" in container["resources"]["requests"]
            assert "memory" in container["resources"]["limits"]
            assert not any("hostPort" in port for port in container.get("ports", ()))
            # The image has no shell.
            assert "command" not in container
            assert "exec" not in str(container.get("lifecycle", {}))


@pytest.mark.parametrize("name", VALUES)
def test_only_tmp_can_be_written(name: str) -> None:
    """All else that is mounted is read, and what is written has an end."""
    for thing, pod in pods(name):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = container_of(thing)["volumeMounts"]
        assert {one["name"] for one in mounts} == set(volumes)
        writable = [one["mountPath"] for one in mounts if not one.get("readOnly")]
        assert writable == ["/tmp"]
        assert volumes["tmp"]["emptyDir"]["sizeLimit"]
        kinds = {kind for volume in volumes.values() for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "secret", "configMap"}
        for volume in volumes.values():
            # Its owner, root, and the group of the image's user.
            assert volume.get("secret", {}).get("defaultMode", 0o440) == 0o440


@pytest.mark.parametrize("name", VALUES)
def test_the_name_of_the_service_is_no_setting(name: str) -> None:
    """Kubernetes would set REACH_PORT=tcp://… in every pod of the namespace."""
    for _, pod in pods(name):
        assert pod["enableServiceLinks"] is False


def test_a_sidecar_is_there_before_reach_and_after_it() -> None:
    """In the migration's pod too, which would never end beside a container like any other."""
    for _, pod in pods("everything"):
        (sidecar,) = pod["initContainers"]
        assert sidecar["restartPolicy"] == "Always"
        assert sidecar["image"] == SIDECAR["image"]
    for _, pod in pods("values-gke.yaml"):
        assert [one["name"] for one in pod["initContainers"]] == ["cloud-sql-proxy"]
        assert "startupProbe" in pod["initContainers"][0]


@pytest.mark.parametrize("name", VALUES)
def test_accounts_have_no_token_and_are_there_in_time(name: str) -> None:
    """The migration's is made before it; the others' with the release."""
    objects = site(name)
    accounts = {one["metadata"]["name"]: one for one in objects if one["kind"] == "ServiceAccount"}
    for account in accounts.values():
        assert account["automountServiceAccountToken"] is False
    for thing, pod in pods(name):
        assert pod["serviceAccountName"] in accounts, thing["metadata"]["name"]
    job = pod_of(only(objects, "Job", "migrate"))
    assert job is not None
    hooks = accounts[job["serviceAccountName"]]["metadata"]["annotations"]
    assert hooks["helm.sh/hook"] == "pre-install,pre-upgrade"
