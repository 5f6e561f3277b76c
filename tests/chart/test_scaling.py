"""Who is scaled by what, how pods come and go, and that a drain waits for nobody."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from reach.db.migrate import DEFAULT as PATIENCE
from reach.telemetry import metrics
from tests.support.deploy.chart import CHART, LEAST, VALUES, Manifest, only, render, site
from tests.support.servers.prometheus import NoPrometheus, program

AGE = "reach_outbox_oldest_due_age_seconds"
SCALED = {
    **LEAST,
    "api": {"autoscaling": {"enabled": True}},
    "worker": {"autoscaling": {"enabled": True, "oldestDueSeconds": 45}},
}
KEDA: dict[str, Any] = {
    **LEAST,
    "worker": {"autoscaling": {"enabled": True, "source": "keda", "oldestDueSeconds": 45}},
}


def test_pods_are_counted_by_one_alone() -> None:
    """A number in the Deployment would be put back at each upgrade, in the middle of a rush."""
    for values, scaled in ((LEAST, set()), (SCALED, {"api", "worker"}), (KEDA, {"worker"})):
        for component in ("api", "worker"):
            spec = only(render(values), "Deployment", component)["spec"]
            assert ("replicas" in spec) == (component not in scaled)


def test_the_api_scales_by_its_cpu() -> None:
    """That of Reach, not of what runs beside it; up at once, down slowly."""
    spec = only(render(SCALED), "HorizontalPodAutoscaler", "api")["spec"]
    (metric,) = spec["metrics"]
    assert metric["type"] == "ContainerResource"
    assert (metric["containerResource"]["container"], metric["containerResource"]["name"]) == (
        "reach",
        "cpu",
    )
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)


def test_the_worker_scales_by_the_longest_due_message() -> None:
    """By its age, which is no work to be divided; and there is always one to send the next."""
    assert AGE in {metric.name for metric in metrics.OUTBOX_OLDEST_DUE.describe()}
    spec = only(render(SCALED), "HorizontalPodAutoscaler", "worker")["spec"]
    (metric,) = spec["metrics"]
    assert metric["external"] == {
        "metric": {"name": AGE},
        "target": {"type": "Value", "value": "45"},
    }
    assert spec["minReplicas"] == 1
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    scaled = only(render(KEDA), "ScaledObject")["spec"]
    assert scaled["minReplicaCount"] == 1
    assert scaled["scaleTargetRef"]["name"] == "reach-worker"
    assert scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == spec["behavior"]
    (trigger,) = scaled["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "Value")
    assert trigger["metadata"]["threshold"] == "45"
    # What nobody knows is no 0: KEDA would take the workers away.
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert not [one for one in render(KEDA) if one["kind"] == "HorizontalPodAutoscaler"]


def test_production_is_watched_by_what_its_workers_scale_by() -> None:
    """Without it Prometheus would never know of a message that waits."""
    objects = site("values-production.yaml")
    assert only(objects, "HorizontalPodAutoscaler", "worker")
    assert only(objects, "ServiceMonitor")


def query() -> str:
    """What KEDA asks Prometheus."""
    scaled = only(render(KEDA), "ScaledObject")
    return str(scaled["spec"]["triggers"][0]["metadata"]["query"])


def test_prometheus_adapter_is_told_to_ask_the_same() -> None:
    """The README's rule: both ways of scaling scale alike."""
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    rule = yaml.safe_load(readme.split("```yaml\n")[1].split("```")[0])["rules"]["external"][0]
    asked = rule["metricsQuery"].replace("<<.Series>>", AGE)
    assert asked.replace("<<.LabelMatchers>>", 'namespace="signup"') == query()
    assert rule["name"]["as"] == AGE
    assert rule["seriesQuery"] == f'{{__name__="{AGE}",namespace!=""}}'


HERE, THERE = 'namespace="signup"', 'namespace="other"'


def worker(number: int, *, is_open: int, where: str = HERE) -> dict[str, str]:
    """The series of one worker."""
    labels = f'{{{where},job="reach-worker",instance="w{number}"}}'
    return {f"reach_worker_slots{labels}": "8", f"reach_circuit_breaker_open{labels}": str(is_open)}


def api(age: int | None, where: str = HERE) -> dict[str, str]:
    """The series of one API process, which has no circuit breaker; no age while nobody knows."""
    labels = f'{{{where},job="reach-api",instance="a1"}}'
    idle = {f"reach_worker_slots{labels}": "0", f"reach_circuit_breaker_open{labels}": "0"}
    return idle if age is None else idle | {f"{AGE}{labels}": str(age)}


CASES: dict[str, tuple[dict[str, str], float | None]] = {
    "nothing waits": (api(0) | worker(1, is_open=0), 0),
    "messages wait": (api(120) | worker(1, is_open=0), 120),
    "the mail server turns everybody away": (
        api(3600) | worker(1, is_open=1) | worker(2, is_open=1),
        0,
    ),
    "it takes some workers": (api(120) | worker(1, is_open=1) | worker(2, is_open=0), 120),
    "no worker is there": (api(120), 120),
    "the database is unavailable": (api(None) | worker(1, is_open=0), None),
    "it is somebody else's": (
        api(0) | worker(1, is_open=0) | api(999, THERE) | worker(3, is_open=1, where=THERE),
        0,
    ),
}


def test_what_workers_are_scaled_by(tmp_path: Path) -> None:
    """More workers where they help, and a number only if one is known: as Prometheus counts."""
    cases = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": k, "values": f"{v}x5"} for k, v in series.items()],
            "promql_expr_test": [
                {
                    "expr": query(),
                    "eval_time": "3m",
                    "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
                }
            ],
        }
        for name, (series, value) in CASES.items()
    ]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": cases}), encoding="utf-8")
    try:
        command = [program("promtool"), "test", "rules", str(file)]
    except NoPrometheus as reason:
        pytest.skip(str(reason))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "SUCCESS" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", VALUES)
def test_a_version_takes_the_place_of_another_without_a_gap(name: str) -> None:
    """One pod more, then one less; spread over zones and hosts; and a drain takes one at a time."""
    objects = site(name)
    for component in ("api", "worker"):
        spec = only(objects, "Deployment", component)["spec"]
        assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        spread = spec["template"]["spec"]["topologySpreadConstraints"]
        assert [one["topologyKey"] for one in spread] == [
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        ]
        budget = only(objects, "PodDisruptionBudget", component)["spec"]
        # With minAvailable: 1 and one replica a node could never be drained.
        assert (budget["maxUnavailable"], "minAvailable" in budget) == (1, False)
        for one in (*(part["labelSelector"] for part in spread), budget["selector"]):
            assert one["matchLabels"] == spec["selector"]["matchLabels"]


def hooks(thing: Manifest) -> dict[str, str]:
    """What helm does with an object, and when."""
    return {
        k.removeprefix("helm.sh/"): v
        for k, v in thing["metadata"].get("annotations", {}).items()
        if k.startswith("helm.sh/hook")
    }


@pytest.mark.parametrize("name", VALUES)
def test_what_the_migration_needs_is_there_before_it(name: str) -> None:
    """At a first install nothing of the release is; and later nothing of it is taken away."""
    objects = site(name)
    job = only(objects, "Job", "migrate")
    assert hooks(job) == {
        "hook": "pre-install,pre-upgrade",
        "hook-weight": "0",
        "hook-delete-policy": "before-hook-creation",
    }
    needed = [o for o in objects if o["metadata"]["name"] == "reach-migrate" and o is not job]
    assert {"ServiceAccount", "NetworkPolicy"} <= {one["kind"] for one in needed}
    for thing in needed:
        assert hooks(thing) == {
            "hook": "pre-install,pre-upgrade",
            "hook-weight": "-10",
            "hook-delete-policy": "before-hook-creation,hook-succeeded",
        }
    # helm takes hooks away and makes them again: no other pod may live on them.
    elsewhere = [o for o in objects if o not in needed and o is not job]
    assert "reach-migrate" not in str(elsewhere)


def test_the_migration_is_tried_again_and_given_up() -> None:
    """Exit code 2 mends itself never; an evicted pod is no failure; its log stays for a while.

    It has the time to wait for another one, and then to try some migrations for long.
    """
    spec = only(site("least"), "Job", "migrate")["spec"]
    assert spec["backoffLimit"] == 6
    needed = PATIENCE.turn_seconds + 4 * PATIENCE.migration_seconds
    assert needed < spec["activeDeadlineSeconds"]
    assert spec["ttlSecondsAfterFinished"] == 86400
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    codes, evicted = spec["podFailurePolicy"]["rules"]
    assert (codes["action"], codes["onExitCodes"]["values"]) == ("FailJob", [2])
    assert evicted["action"] == "Ignore"
    assert not [
        one
        for one in render({**LEAST, "migrate": {"enabled": False}})
        if one["metadata"]["name"] == "reach-migrate"
    ]
