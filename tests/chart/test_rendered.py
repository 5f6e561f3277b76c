"""The chart is one that helm takes, and its objects are ones that Kubernetes takes."""

import json

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.support.deploy.chart import (
    CHART,
    EVERYTHING,
    FILES,
    MADE,
    VALUES,
    VERSIONS,
    Manifest,
    helm,
    render,
    site,
)

#: Sites that have all there is between them.
MOST = ("everything", "values-production.yaml", "by-value")
#: Objects of operators, which Kubernetes itself has no schema of.
CUSTOM = {"keda.sh", "monitoring.coreos.com", "traefik.io", "gateway.networking.k8s.io"}


@pytest.mark.parametrize("name", VALUES)
def test_helm_finds_no_fault_in_the_chart(name: str) -> None:
    """Not even what it would only warn of."""
    given = ["--values", str(CHART / name)] if name in FILES else []
    said = helm(
        "lint", "--strict", str(CHART), *given, "--values", "-", given=json.dumps(VALUES[name])
    )
    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert "WARNING" not in said


def test_the_oldest_kubernetes_that_is_checked_is_the_oldest_that_helm_admits() -> None:
    """Else nobody knows of those between."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["kubeVersion"] == f">={VERSIONS[0]}.0-0"
    assert VERSIONS[-1] == ".".join(map(str, kubernetes_validate.latest_version().split(".")[:2]))


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(version: str) -> None:
    """Nothing is misspelt, nothing missing.

    The oldest and the newest look at every site; those between at the ones that have all there is.
    """
    checked: list[Manifest] = []
    for name in VALUES if version in (VERSIONS[0], VERSIONS[-1]) else MOST:
        for thing in site(name):
            if thing["apiVersion"].split("/")[0] in CUSTOM or thing in checked:
                continue
            kubernetes_validate.validate(thing, version, strict=True)
            checked.append(thing)
    assert {"Deployment", "Job", "NetworkPolicy", "HorizontalPodAutoscaler", "Pod"} <= {
        thing["kind"] for thing in checked
    }


def test_a_misspelt_field_is_noticed() -> None:
    """The schemas are strict."""
    thing = json.loads(json.dumps(site("least")[0])) | {"spek": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(thing, VERSIONS[0], strict=True)


@pytest.mark.parametrize("name", VALUES)
def test_two_releases_in_one_namespace_do_not_meet(name: str) -> None:
    """Each object has the release's name and its namespace, and none is there twice."""
    objects = site(name)
    ids = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(ids)) == len(ids)
    for thing in objects:
        assert thing["metadata"]["namespace"] == "signup"
        assert thing["metadata"]["name"].split("-")[0] == "reach"
        assert thing["metadata"]["labels"]["app.kubernetes.io/instance"] == "reach"
    files = [name] if name in FILES else []
    others = render(VALUES[name], files=files, release="reach-two")
    assert not set(ids) & {(one["kind"], one["metadata"]["name"]) for one in others}


def test_the_same_values_make_the_same_objects() -> None:
    """So that what has not changed is not rolled; but for a key that is made."""
    for values in (MADE, EVERYTHING):
        # A flag that changes nothing keeps the second from being the first, remembered.
        first, second = render(values), render(values, flags=["--debug"])
        assert [_without_made(one) for one in first] == [_without_made(one) for one in second]


def _without_made(thing: Manifest) -> Manifest:
    return {**thing, "data": {}} if thing["kind"] == "Secret" else thing


def test_further_words_for_pods_reach_them() -> None:
    """Where they may run, and what they are marked with: API, worker and migration."""
    objects = site("everything")
    for thing in (one for one in objects if one["kind"] in ("Deployment", "Job")):
        pod = thing["spec"]["template"]
        assert pod["metadata"]["annotations"]["example.org/owner"] == "us"
        assert pod["spec"]["nodeSelector"] == {"disk": "fast"}
        assert pod["spec"]["tolerations"] == [{"key": "reach", "operator": "Exists"}]
        assert "podAntiAffinity" in pod["spec"]["affinity"]
        assert pod["spec"]["priorityClassName"] == "high"
        assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
        assert pod["spec"]["containers"][0]["image"] == f"reach@sha256:{'0' * 64}"
