"""The image of deploy/docker, and deploy/compose.yaml as Compose reads it."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import yaml

from tests.support.root import ROOT

SUITE = "trixie"
NEEDED = ("buildah", "mmdebstrap", "unshare", "setpriv")
#: Nothing here has to outlive the machine; and what waits for the disk keeps other tests waiting.
UNSAFE = "--dpkgopt=force-unsafe-io"
BASE, NAME = "localhost/stand-in", "localhost/reach:test"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class NoImage(Exception):
    """No image can be built here; ``args[0]`` says why."""


@dataclass(frozen=True)
class Image:
    """A built image: what it is told, where its files are, and those of its base."""

    root: Path
    base: Path
    inspected: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """What an engine does with it."""
        found: dict[str, Any] = self.inspected["Docker"]["config"]
        return found

    @property
    def environment(self) -> dict[str, str]:
        """The variables that its processes have."""
        return dict(entry.split("=", 1) for entry in self.config["Env"])


@contextmanager
def built(folder: Path) -> Iterator[Image]:
    """Build it in ``folder``, which several test processes share; the last one removes it.

    Raises NoImage.
    """
    require_tools()
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as alone, (folder / "used").open("w") as used:
        fcntl.flock(alone, fcntl.LOCK_EX)
        fcntl.flock(used, fcntl.LOCK_SH)
        place = folder / "image.json"
        if not place.exists():
            place.write_text(json.dumps(build(folder)), encoding="utf-8")
        found = json.loads(place.read_text(encoding="utf-8"))
        if "failed" in found:
            raise AssertionError(found["failed"])
        fcntl.flock(alone, fcntl.LOCK_UN)
        try:
            yield Image(Path(found["root"]), Path(found["base"]), found["inspected"])
        finally:
            fcntl.flock(alone, fcntl.LOCK_EX)
            try:
                fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # another test process still runs what is in it
            else:
                place.unlink()
                shutil.rmtree(folder / "storage")


def require_tools() -> None:
    """Raise NoImage if what is needed is not there."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise NoImage("an image is built, and its files mounted, by root on Linux only")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        raise NoImage(f"there is no {' and no '.join(missing)} on the PATH")


def build(folder: Path) -> dict[str, Any]:
    """Build the image, or say why it ``failed``: the next one need not try. Raises NoImage."""
    try:
        return _build(folder)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(folder / "storage")
        return {"failed": f"{error}\n{error.output}"}


def _build(folder: Path) -> dict[str, Any]:
    storage = folder / "storage"
    storage.mkdir()
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\nrunroot = "{storage / "run"}"\n'
        f'graphroot = "{storage / "graph"}"\n',
        encoding="utf-8",
    )
    environment = os.environ | {
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "BUILDAH_ISOLATION": "chroot",
        "TMPDIR": str(storage),
    }

    def buildah(*arguments: str) -> str:
        return _run("buildah", *arguments, environment=environment)

    base = os.environ.get("REACH_TEST_IMAGE_BASE") or _stand_in(buildah)
    words = [f"BASE={base}", f"IMAGE={NAME}", "ENGINE=buildah", f"ARGS={lent(folder)}"]
    _run("make", "--silent", "-C", str(ROOT), "image", *words, environment=environment)
    mounted = {image: buildah("mount", buildah("from", "--quiet", image)) for image in (NAME, base)}
    return {
        "root": mounted[NAME],
        "base": mounted[base],
        "inspected": json.loads(buildah("inspect", "--type", "image", NAME)),
    }


def _stand_in(buildah: Any) -> str:
    """Make the base: Debian with Python where python:slim has it. Raises NoImage."""
    container = buildah("from", "scratch")
    python = 'ln -s /usr/bin/python3 "$1/usr/local/bin/python3"'
    packages = "--include=ca-certificates,python3,python3-venv"
    # As in the images that it stands in for.
    bare = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
    try:
        _run("mmdebstrap", "--variant=minbase", UNSAFE, packages, *bare,
             f"--customize-hook={python}",
             SUITE, buildah("mount", container), mirror())  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise NoImage(f"no {SUITE} can be had from {mirror()}: {error.output[-500:]}") from None
    buildah("config", "--env", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
    buildah("commit", "--quiet", "--rm", container, BASE)
    return BASE


def mirror() -> str:
    """Find where this machine has its own Debian from. Raises NoImage."""
    lists = _run("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)")
    release = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    codename = next(line for line in release if line.startswith("VERSION_CODENAME="))[17:]
    for line in lists.splitlines():
        address, *kind = line.split()
        if kind == [codename, "main"]:
            return address
    raise NoImage("this machine has its packages from no mirror of Debian's")


def lent(folder: Path) -> str:
    """Write flags that lend the build what this machine's pip is told: its index, if another."""
    listed = _run(sys.executable, "-m", "pip", "config", "list")
    options = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        options[name.rpartition(".")[2]] = value.strip("'")
    flags = []
    if (certificates := Path(options.pop("cert", CERTIFICATES))).exists():
        options["cert"] = "/run/secrets/certificates"
        flags.append(f"--secret id=certificates,src={certificates}")
    options.pop("constraint", None)  # every version is pinned
    options.pop("progress-bar", None)
    (folder / "pip.conf").write_text(
        "\n".join(["[global]", *(f"{name} = {value}" for name, value in options.items())]),
        encoding="utf-8",
    )
    flags.append(f"--secret id=pip.conf,src={folder / 'pip.conf'}")
    for word in " ".join(options.values()).split():
        place = Path(url2pathname(urlsplit(word).path) if word.startswith("file:") else word)
        if place.is_absolute() and place.is_dir():
            # An index of files names them beside itself.
            root = place.parent if place.name == "simple" else place
            flags.append(f"--volume {root}:{root}:ro")
    return " ".join(dict.fromkeys(flags))


def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a command, and give what it says. Raises CalledProcessError, with all that it said."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(
            done.returncode, command, f"{done.stdout}\n{done.stderr[-6000:]}"
        )
    return done.stdout.strip()


DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"
#: In Debian's package, and in Docker's own.
PLUGIN = "usr/libexec/docker/cli-plugins/docker-compose"
Service = dict[str, Any]


def services() -> dict[str, Service]:
    """Read every service, of whatever profile, with what nobody has set at its default."""
    found: dict[str, Service] = document()["services"]
    return found


def document() -> dict[str, Any]:
    """Read the file: anchors and merges resolved, variables at their defaults."""
    text = FILE.read_text(encoding="utf-8")
    read = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    assert isinstance(read, dict)
    return read


def compose(folder: Path) -> list[str]:
    """Find Compose: docker's plug-in, a program, or Debian's package laid out in ``folder``.

    Raises NoImage.
    """
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is not None:
            done = subprocess.run(
                [*command, "version"], capture_output=True, text=True, check=False
            )
            if done.returncode == 0 and re.search(r"v?2\.\d", done.stdout):
                return command
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        raise NoImage("there is no Docker Compose 2, and no root with mmdebstrap to fetch it")
    place = folder / "docker-compose"
    command = ["mmdebstrap", "--variant=extract", "--include=docker-compose"]
    done = subprocess.run(
        [*command, SUITE, str(place), mirror()], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NoImage(f"no docker-compose can be had from {mirror()}: {done.stderr[-500:]}")
    return [str(place / PLUGIN)]


def prepare(target: Path, public_url: str) -> None:
    """Run what compose.yaml runs first."""
    program = DEPLOY / "docker" / "prepare.py"
    done = subprocess.run(
        [sys.executable, program, DEPLOY, target, public_url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
