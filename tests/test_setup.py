"""`make run` on machines of all kinds: real set-ups, of a project with nothing to download."""

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.clock import wait_until
from tests.support.processes import watchdog
from tests.support.root import ROOT

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "sample"
version = "1"
[project.scripts]
reach = "sample:main"
[tool.hatch.build]
dev-mode-dirs = ["src"]
[tool.hatch.build.targets.wheel]
packages = ["src/sample"]
"""
SAMPLE = "import sys\ndef main(): print('started with', *sys.argv[1:])\n"
#: The build back-end and what it needs, lent by the environment that runs the tests.
LENT = ("hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove_classifiers")


class Project:
    """A project whose set-up is Reach's, and whose requirements are empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a folder"
        self.lent = folder / "lent"
        self.lent.mkdir()
        for name in LENT:
            spec = find_spec(name)
            assert spec is not None, f"{name} is in requirements/dev.txt"
            for place in spec.submodule_search_locations or []:
                (self.lent / name).symlink_to(place)
        (self.folder / "src/sample").mkdir(parents=True)
        (self.folder / "src/sample/__init__.py").write_text(SAMPLE)
        (self.folder / "pyproject.toml").write_text(PYPROJECT)
        (self.folder / "requirements").mkdir()
        shutil.copy(ROOT / "Makefile", self.folder)
        shutil.copy(ROOT / "requirements/install.py", self.folder / "requirements")
        for name in ("run", "build", "dev"):
            (self.folder / f"requirements/{name}.txt").write_text("# nothing\n")

    @property
    def state(self) -> Path:
        """What a finished .venv says of itself."""
        return self.folder / ".venv/reach-state.json"

    def start(self, *arguments: str, python: str = sys.executable) -> subprocess.Popen[str]:
        """Start ``make run`` as the leader of a process group."""
        everyday = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        return subprocess.Popen(
            ["make", "run", f"PYTHON={python}", *arguments],
            cwd=self.folder,
            env={**everyday, "PYTHONPATH": str(self.lent), "PIP_NO_INDEX": "1", "HOST": "ours"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, python: str = sys.executable) -> tuple[int, str, str]:
        """Run ``make run``: its exit code, stdout and stderr."""
        with self.start(*arguments, python=python) as process:
            try:
                output, errors = process.communicate(timeout=100)
            finally:
                watchdog.send(process.pid, signal.SIGKILL)
        return process.returncode, output, errors


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a project that nobody has set up yet."""
    return Project(tmp_path)


def program(path: Path, script: str) -> str:
    """Write a shell script that can be run."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_first_start_sets_up_and_the_second_does_not(project: Project) -> None:
    """One line while it sets up; then nothing at all, until the requirements change."""
    code, output, errors = project.run(
        "PORT=8010", "HOST=::1", "DATA_DIR=my data", "METRICS_PORT=9090"
    )
    flags = "--host ::1 --port 8010 --data-dir my data --metrics-port 9090"
    assert (code, output) == (0, f"started with up {flags}\n"), errors
    assert errors == "Setting up .venv (once; it takes about a minute).\n"
    # The environment's own HOST, which shells and build tools set, is not Reach's.
    assert project.run() == (0, "started with up\n", "")
    with (project.folder / "requirements/run.txt").open("a") as lock:
        lock.write("# changed\n")
    assert project.run() == (0, "started with up\n", "Bringing .venv up to date.\n")
    assert project.run() == (0, "started with up\n", "")


@pytest.mark.parametrize(
    "state",
    [{"python": "cpython 3.9"}, {"folder": "/elsewhere"}],
    ids=["other-python", "moved"],
)
def test_a_venv_that_will_not_do_is_made_again(project: Project, state: dict[str, str]) -> None:
    """Whatever lies at .venv, a start puts a sound one in its place."""
    junk = project.folder / ".venv/bin/python"
    junk.parent.mkdir(parents=True)
    program(junk, "echo junk; exit 1")
    python = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
    ours = {"python": python, "folder": str(project.folder), "pins": "", "level": "run"}
    project.state.write_text(json.dumps({**ours, **state}))
    code, output, errors = project.run()
    assert (code, output) == (0, "started with up\n"), errors
    assert errors.startswith("Setting up .venv")


def test_a_set_up_that_was_killed_heals(project: Project) -> None:
    """Ended in the middle, at a point where .venv looks usable, it is done over."""
    with project.start() as process:
        wait_until((project.folder / ".venv/bin/python").exists, seconds=60)
        os.killpg(process.pid, signal.SIGKILL)
    assert not project.state.exists()
    code, output, errors = project.run()
    assert (code, output) == (0, "started with up\n"), errors


def test_two_set_ups_at_once_take_turns(project: Project) -> None:
    """Of two first starts, the second waits for the first one's .venv and uses it."""
    with project.start() as first, project.start() as second:
        try:
            done = [process.communicate(timeout=100) for process in (first, second)]
        finally:
            watchdog.send(first.pid, signal.SIGKILL)
            watchdog.send(second.pid, signal.SIGKILL)
    assert [output for output, _ in done] == ["started with up\n"] * 2, done
    together = "".join(errors for _, errors in done)
    assert together.count("Setting up .venv") == 1
    assert together.count("waiting for it") == 1


def test_a_python_that_is_too_old_is_named(project: Project, tmp_path: Path) -> None:
    """One line says which version it is, which it should be, and how to name another."""
    pretend = "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[2])"
    old = program(tmp_path / "python3", f'exec "{sys.executable}" -c "{pretend}" "$@"')
    code, output, errors = project.run(python=old)
    assert code != 0
    assert output == ""
    line = errors.splitlines()[0]
    assert line.startswith("Reach needs Python 3.11 or later")
    assert "is 3.9." in line
    assert line.endswith("make run PYTHON=python3.12")
    assert not (project.folder / ".venv").exists()


def test_no_python_at_all_is_said(project: Project) -> None:
    """The shell's own 'command not found' is not an answer."""
    code, _, errors = project.run(python="no-such-python")
    assert code != 0
    assert errors.startswith("Reach needs Python 3.11 or later, and there is no no-such-python")


def test_a_missing_venv_module_is_named_with_its_package(project: Project) -> None:
    """Debian ships Python without it: one line says which package brings it."""
    (project.lent / "ensurepip.py").write_text("raise ImportError('not shipped')\n")
    code, _, errors = project.run()
    assert code != 0
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"apt install python{version}-venv" in errors.splitlines()[-2]
    assert "Traceback" not in errors
    assert not (project.folder / ".venv").exists()
