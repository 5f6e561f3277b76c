"""deploy/compose.yaml as Compose reads it, and the program that reads it so."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.image.built import SUITE, NoImage, mirror
from tests.support.root import ROOT

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
