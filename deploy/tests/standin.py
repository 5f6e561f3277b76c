"""Stands where helm, kubectl, minikube, kind, docker and make would: it keeps what it was told.

Run as ``python -I -S standin.py PROGRAM STATE REAL-KUBECTL SITE-PACKAGES ARGUMENT...``. It knows as
much of a cluster as tells a right order from a wrong one: an object needs its namespace, and the
kind that some chart brings; what exists cannot be created.
"""

import fcntl
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

#: The kinds that a chart brings, and what else comes of installing it.
BROUGHT = {
    "cloudnative-pg": ["crd/clusters.postgresql.cnpg.io"],
    "traefik": ["crd/ingressroutes.traefik.io", "crd/middlewares.traefik.io"],
    "kube-prometheus-stack": [
        "crd/servicemonitors.monitoring.coreos.com",
        "crd/podmonitors.monitoring.coreos.com",
        "crd/prometheusrules.monitoring.coreos.com",
    ],
    "eck-operator": [
        "crd/elasticsearches.elasticsearch.k8s.elastic.co",
        "crd/kibanas.kibana.k8s.elastic.co",
    ],
    "metrics-server": [
        "apiservice/v1beta1.metrics.k8s.io",
        "deployment/kube-system/reach-metrics-server",
    ],
}
KIND_OF = {
    "Cluster": "clusters.postgresql.cnpg.io",
    "PodMonitor": "podmonitors.monitoring.coreos.com",
    "Elasticsearch": "elasticsearches.elasticsearch.k8s.elastic.co",
    "Kibana": "kibanas.kibana.k8s.elastic.co",
}
GLOBAL = ("namespace", "crd", "apiservice", "clusterrole", "clusterrolebinding")
LOCAL_FLAGS = {
    ("minikube", "start"): {"--profile", "--cpus", "--memory"},
    ("minikube", "image"): {"--profile"},
    ("minikube", "delete"): {"--profile"},
    ("kind", "get"): set(),
    ("kind", "create"): {"--name", "--wait"},
    ("kind", "export"): {"--name"},
    ("kind", "load"): {"--name"},
    ("kind", "delete"): {"--name"},
    ("docker", "info"): set(),
    ("make", "image"): {"--directory"},
}


class Told:
    """One call, and the cluster as earlier calls left it."""

    def __init__(self, program: str, folder: Path, arguments: list[str]) -> None:
        self.program, self.folder, self.arguments = program, folder, arguments
        self.given = sys.stdin.read() if {"-", "/dev/stdin"} & self.words else ""
        # One after the other from here on: those of a pipe run at the same time.
        self.lock = (folder / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.state: dict[str, Any] = json.loads((folder / "state.json").read_text())
        self.objects: list[str] = self.state["objects"]

    @property
    def words(self) -> set[str]:
        """The arguments, those of ``=`` apart."""
        return {part for one in self.arguments for part in one.split("=")}

    def keep(self) -> None:
        """Write the call down."""
        line = {
            "program": self.program,
            "arguments": self.arguments,
            "given": self.given,
            "kubeconfig": os.environ.get("KUBECONFIG"),
        }
        with (self.folder / "calls.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def flag(self, name: str) -> str:
        """The value of a flag, in either form; empty if it was not given."""
        for place, one in enumerate(self.arguments):
            if one == name:
                return self.arguments[place + 1]
            if one.startswith(f"{name}="):
                return one.split("=", 1)[1]
        return ""


def main() -> None:
    """Do what the program would."""
    program, folder, kubectl, site = sys.argv[1:5]
    told = Told(program, Path(folder), sys.argv[5:])
    told.keep()
    if told.flag("--dry-run") == "client":
        os.execv(kubectl, ["kubectl", *told.arguments[2:]])
    sys.path.append(site)
    {"helm": helm, "kubectl": kubectl_}.get(program, local)(told)
    (told.folder / "state.json").write_text(json.dumps(told.state))


def refuse(words: str) -> None:
    """End as such a program does."""
    sys.exit(f"stand-in: {words}")


def local(told: Told) -> None:
    """What starts clusters, and what builds images."""
    verb = next(one for one in told.arguments if not one.startswith("-") and "/" not in one)
    known = LOCAL_FLAGS[told.program, verb]
    unknown = {one for one in told.arguments if one.startswith("--")} - known
    if unknown:
        refuse(f"{told.program} {verb} has no {unknown}")
    if (told.program, verb) in {("minikube", "start"), ("kind", "create")}:
        told.state["cluster"] = True
    if verb == "delete":
        told.state["cluster"] = False
        told.objects.clear()
    if (told.program, verb) == ("kind", "get") and told.state["cluster"]:
        print("reach")


def helm(told: Told) -> None:
    """Charts come and go; what they bring besides stays."""
    verb, *rest = told.arguments[2:]
    if verb == "list":
        return
    release = next(one for one in rest if not one.startswith("-"))
    namespace = told.flag("--namespace")
    name = f"release/{namespace}/{release}"
    if verb == "uninstall":
        if name in told.objects:
            told.objects.remove(name)
        return
    if namespace != "kube-system" and f"namespace/{namespace}" not in told.objects:
        refuse(f'namespaces "{namespace}" not found')
    chart = rest[rest.index(release) + 1]
    if told.state["fails"] == chart:
        refuse("context deadline exceeded")
    told.objects += [one for one in (name, *BROUGHT.get(chart, ())) if one not in told.objects]


def kubectl_(told: Told) -> None:
    """As much of a cluster as the order of things shows in."""
    if told.arguments[:2] == ["config", "get-contexts"]:
        sys.exit(told.arguments[2] not in told.state["contexts"])
    verb, *rest = told.arguments[2:]
    if verb in {"apply", "create"}:
        put(told, is_new=verb == "create")
    elif verb == "get":
        get(told, rest)
    elif verb == "wait":
        for one in (one for one in rest if "/" in one and not one.startswith("-")):
            kind, name = one.split("/")
            if not any(_is(found, kind, name) for found in told.objects):
                refuse(f"{one} not found")
    elif verb == "delete":
        delete(told, rest)
    elif verb == "config":
        print(told.state["server"], end="")
    elif verb == "port-forward":
        port = rest[1].removeprefix(":")
        print(f"Forwarding from 127.0.0.1:{told.state['port']} -> {port}", flush=True)
        told.lock.close()
        signal.pause()


def _is(found: str, kind: str, name: str) -> bool:
    parts = found.split("/")
    singular = {plural: one.lower() for one, plural in KIND_OF.items()}
    return parts[-1] == name and parts[0] == singular.get(kind, kind)


def put(told: Told, *, is_new: bool) -> None:
    """Make objects, or make them as they are to be."""
    import yaml

    made: list[tuple[str, str, str, dict[str, str]]]
    if "secret" in told.arguments:
        made = [("Secret", told.flag("--namespace"), told.arguments[5], {})]
    else:
        file = told.flag("--filename")
        text = told.given if file == "-" else Path(file).read_text()
        made = [
            (
                one["kind"],
                one["metadata"].get("namespace", ""),
                one["metadata"]["name"],
                one["metadata"].get("labels") or {},
            )
            for one in yaml.safe_load_all(text)
        ]
    for kind, namespace, name, labels in made:
        crd = KIND_OF.get(kind)
        if crd and f"crd/{crd}" not in told.objects:
            refuse(f'no matches for kind "{kind}"')
        plain = kind.lower()
        if plain not in GLOBAL and f"namespace/{namespace}" not in told.objects:
            refuse(f'namespaces "{namespace}" not found')
        one = f"{plain}/{name}" if plain in GLOBAL else f"{plain}/{namespace}/{name}"
        if one in told.objects and is_new:
            refuse(f"{one} already exists")
        if one not in told.objects:
            told.objects.append(one)
        if plain == "namespace" and labels.get("app.kubernetes.io/part-of") == "reach-platform":
            told.state["ours"] = sorted({*told.state["ours"], name})


def get(told: Told, rest: list[str]) -> None:
    """Tell what there is."""
    if "--selector" in rest:
        wanted = told.flag("--field-selector").removeprefix("metadata.name=")
        if wanted in told.state["ours"] and f"namespace/{wanted}" in told.objects:
            print(f"namespace/{wanted}")
    elif told.flag("--output").startswith("go-template"):
        print(told.state["data"][rest[1]], end="")
    elif "--all-namespaces" not in rest:
        kind, name, namespace = rest[0], rest[1], told.flag("--namespace")
        one = f"{kind}/{name}" if kind in GLOBAL else f"{kind}/{namespace}/{name}"
        if one in told.objects:
            print(one)


def delete(told: Told, rest: list[str]) -> None:
    """Take away what was asked for, and with a namespace all that is in it."""
    if rest[0] == "namespace":
        gone = set(told.state["ours"])
        told.state["objects"] = [
            one
            for one in told.objects
            if not (one.startswith("namespace/") and one.split("/")[1] in gone)
            and not (one.count("/") > 1 and one.split("/")[1] in gone)
        ]
        told.state["ours"] = []


if __name__ == "__main__":
    main()
