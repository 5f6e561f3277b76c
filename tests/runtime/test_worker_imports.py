"""A worker holds in memory what it needs, and nothing of the web."""

import subprocess
import sys

import pytest

#: What each would bring: 40 MB in all.
WEB = ("rich.console", "fastapi", "starlette", "uvicorn", "redis", "aiosmtpd", "altcha", "alembic")
CONFIGURED = "reach.cli.output; reach.cli.output.configured(sys.stderr)"
ASK = "import sys, {}; print(*sorted(set(sys.modules) & {{{}}}))"


def imported_by(module: str) -> list[str]:
    """Tell which of these a module imports, in a process of its own."""
    names = ", ".join(map(repr, WEB))
    command = [sys.executable, "-c", ASK.format(f"{CONFIGURED}; import {module}", names)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize(
    "module", ["reach.runtime.worker", "reach.cli.running", "reach.db.sqlite", "reach.db.postgres"]
)
def test_a_worker_imports_nothing_of_the_web(module: str) -> None:
    """What ``reach worker`` imports once it has read its settings, by either database."""
    assert imported_by(module) == []


def test_it_would_be_noticed() -> None:
    """The API's process does import it."""
    assert {"fastapi", "starlette", "uvicorn"} <= set(imported_by("reach.runtime.processes"))
