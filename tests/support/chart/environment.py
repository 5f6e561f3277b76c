"""The environment of a container, as the kubelet would make it: secrets, references, files."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.support.chart.rendered import Manifest, container_of, pod_of

#: By the name of a Secret and its key.
Secrets = Mapping[tuple[str, str], str]
REFERENCE = re.compile(r"\$\$\((?P<escaped>[\w.-]+)\)|\$\((?P<name>[\w.-]+)\)")
MOUNTED = "/etc/reach"


def environment(thing: Manifest, secrets: Secrets, folder: Path) -> dict[str, str]:
    """Make the variables of Reach's container; what it mounts is in ``folder`` instead."""
    found: dict[str, str] = {}
    for variable in container_of(thing)["env"]:
        if "value" in variable:
            text = REFERENCE.sub(lambda one: _resolved(one, found), variable["value"])
            found[variable["name"]] = text.replace(MOUNTED, str(folder))
        else:
            source = variable["valueFrom"]["secretKeyRef"]
            found[variable["name"]] = secrets[source["name"], source["key"]]
    return found


def _resolved(one: re.Match[str], before: Mapping[str, str]) -> str:
    """https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables."""
    if one["escaped"] is not None:
        return f"$({one['escaped']})"
    return before.get(one["name"], one[0])


def mount(thing: Manifest, secrets: Secrets, folder: Path) -> None:
    """Put the files of Secrets where ``environment`` says that they are."""
    pod = pod_of(thing)
    assert pod is not None
    places = {one["name"]: one["mountPath"] for one in container_of(thing)["volumeMounts"]}
    for volume in pod["volumes"]:
        place = folder / places[volume["name"]].removeprefix(MOUNTED).lstrip("/")
        for item in volume.get("secret", {}).get("items", ()):
            place.mkdir(parents=True, exist_ok=True)
            text = secrets[volume["secret"]["secretName"], item["key"]]
            (place / item["path"]).write_text(text, encoding="utf-8")
        if "configMap" in volume:
            place.mkdir(parents=True, exist_ok=True)


def secrets_of(objects: list[Manifest]) -> dict[tuple[str, str], str]:
    """List what a release's own Secrets hold, in clear text."""
    return {
        (one["metadata"]["name"], key): text
        for one in objects
        if one["kind"] == "Secret"
        for key, text in one.get("stringData", {}).items()
    }
