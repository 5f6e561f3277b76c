"""The keys that we give other people's charts are those that were read in their repositories."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deploy.platform import FILES, MANIFESTS, PLATFORM
from tests.support.root import ROOT

#: Seen in each chart's values, of the version in docs/reference/not-run.md: helm takes a key that
#: does not exist without a word. To use another one, look it up first. A name that ends in ``.*``
#: has below it what is not the chart's to name: Kubernetes's fields, labels, users.
SEEN = {
    "cnpg.yaml": {"replicaCount", "resources.*"},
    "eck.yaml": {"resources.*"},
    "metrics-server.yaml": {"args"},
    "prometheus-adapter.yaml": {
        *("prometheus.url", "prometheus.port", "replicas", "rules.default", "rules.external"),
        "resources.*",
    },
    "prometheus.yaml": {
        "defaultRules.rules.general",
        *(f"kube{one}.enabled" for one in ("ControllerManager", "Scheduler", "Etcd", "Proxy")),
        *(f"prometheus.prometheusSpec.{one}SelectorNilUsesHelmValues"
          for one in ("serviceMonitor", "podMonitor", "rule")),
        *(f"prometheus.prometheusSpec.{one}"
          for one in ("scrapeInterval", "evaluationInterval", "retention", "externalLabels.*",
                      "additionalAlertRelabelConfigs", "resources.*", "storageSpec.*")),
        "alertmanager.alertmanagerSpec.secrets",
        *(f"grafana.admin.{one}" for one in ("existingSecret", "userKey", "passwordKey")),
        *(f"grafana.sidecar.dashboards.{one}"
          for one in ("enabled", "label", "labelValue", "searchNamespace")),
    },
    "traefik.yaml": {
        *("deployment.replicas", "podDisruptionBudget.enabled"),
        *("podDisruptionBudget.maxUnavailable", "resources.*"),
    },
    "../traefik/cluster.yaml": {"service.spec.*", "additionalArguments"},
    "valkey.yaml": {
        *("fullnameOverride", "auth.enabled", "auth.usersExistingSecret", "auth.aclUsers.*"),
        *("persistence.enabled", "extraConfig", "resources.*"),
    },
}  # fmt: skip


def keys(values: dict[str, Any], before: str = "") -> Iterator[str]:
    """Every key that has a value, by its whole name."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from keys(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"


def was_seen(key: str, seen: set[str]) -> bool:
    """Whether it is a key that was read, or below one that is not the chart's to name."""
    opened = (one.removesuffix("*") for one in seen if one.endswith(".*"))
    return key in seen or any(key.startswith(one) for one in opened)


@pytest.mark.parametrize("name", SEEN)
def test_every_key_was_read_in_the_charts_repository(name: str) -> None:
    """A chart may refuse an unknown one, or worse: leave it out silently."""
    used = set(keys(yaml.safe_load((PLATFORM / name).read_text(encoding="utf-8"))))
    assert {key for key in used if not was_seen(key, SEEN[name])} == set()


def test_every_values_file_is_held_against_its_chart() -> None:
    """Those of the folder that are no manifests, and Traefik's other one."""
    assert {Path(name).name for name in SEEN} == {
        *(file.name for file in FILES if file.name not in MANIFESTS),
        "cluster.yaml",
    }
    assert (ROOT / "deploy/traefik/cluster.yaml").exists()
