"""How the image is built: by a Dockerfile that hadolint takes, with whatever builder is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.root import ROOT

DOCKER = ROOT / "deploy" / "docker"


def test_hadolint_finds_no_fault() -> None:
    """Not even what it would only suggest."""
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_finds_no_fault_in_what_builds_it() -> None:
    """Not even what it would only suggest."""
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run(
        [shellcheck, DOCKER / "build.sh"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("there", [(), ("docker",)], ids=["none", "docker without its daemon"])
def test_without_a_builder_it_says_what_to_install(there: tuple[str, ...], tmp_path: Path) -> None:
    """In a line, from `make image`."""
    for name in ("make", "sh", "bash", "env", "sed", "git", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    for name in there:
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(
        ["make", "image"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "docker (and its daemon), buildah or podman" in done.stderr.splitlines()[0]


def test_only_what_is_needed_reaches_a_builder() -> None:
    """Everything is denied but what the Dockerfile copies."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE)
    assert let_in == {name.rstrip("/") for name in copied}
