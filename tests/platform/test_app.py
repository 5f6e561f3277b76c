"""What platform.sh tells helm of Reach, told to the real helm, with Reach's real chart."""

from pathlib import Path

import pytest
import yaml

from tests.support.deploy.chart import CHART, Manifest, helm, only
from tests.support.deploy.platform import Platform, values

ADDRESS = "http://signup.localhost:8080"
LOCAL = {"CLUSTER": "kind"}
ELSEWHERE = {"PLATFORM_CONTEXT": "gke", "PLATFORM_VALUES": str(CHART / "values-gke.yaml")}


def rendered(folder: Path, **variables: str) -> list[Manifest]:
    """Run the script; render the chart by the arguments that it gave helm. Raises Refused."""
    platform = Platform(folder)
    platform.write_state(contexts=["gke"])
    done = platform.run("up", **variables)
    assert done.returncode == 0, done.stderr
    (call,) = [c for c in platform.calls() if "upgrade --install reach /" in c.words]
    told = call.arguments[call.arguments.index("--install") + 1 :]
    return [one for one in yaml.safe_load_all(helm("template", *told)) if one]


def kinds(objects: list[Manifest]) -> set[str]:
    """Of which kinds there is an object."""
    return {one["kind"] for one in objects}


@pytest.mark.parametrize("parts", ["database cache mail app", "database cache mail edge app"])
def test_the_chart_takes_what_it_is_told_without_the_watching(tmp_path: Path, parts: str) -> None:
    """No schema, no check refuses it; nothing is made whose kind no part brings."""
    objects = rendered(tmp_path, PARTS=parts, **LOCAL)
    assert ("IngressRoute" in kinds(objects)) is ("edge" in parts)
    assert not kinds(objects) & {"ServiceMonitor", "PrometheusRule", "HorizontalPodAutoscaler"}
    assert ADDRESS in yaml.safe_dump_all(objects)


def test_the_chart_takes_what_it_is_told_of_the_watching(tmp_path: Path) -> None:
    """Prometheus asks Reach, and workers are scaled by what the adapter tells."""
    objects = rendered(tmp_path, PARTS="database cache mail edge metrics app", **LOCAL)
    assert {"IngressRoute", "ServiceMonitor", "PrometheusRule"} < kinds(objects)
    (metric,) = only(objects, "HorizontalPodAutoscaler", "worker")["spec"]["metrics"]
    (rule,) = values("prometheus-adapter.yaml")["rules"]["external"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]


def test_the_chart_takes_a_sites_own_values(tmp_path: Path) -> None:
    """Those alone: a laptop's are not mixed in."""
    objects = rendered(tmp_path, PARTS="edge metrics app", **ELSEWHERE)
    assert "https://signup.example.org" in yaml.safe_dump_all(objects)
    assert ADDRESS not in yaml.safe_dump_all(objects)
