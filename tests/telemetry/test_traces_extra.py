"""OpenTelemetry's SDK is an extra: without it Reach runs, and says what it lacks if it lacks it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reach.settings import Settings
from reach.telemetry import traces
from tests.support.processes.commands import ReachProcess, environment_of
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import client, ended, everything, said
from tests.support.root import ROOT

#: Python runs it first of all, in every process: what is None here cannot be imported.
WITHOUT_SDK = """import sys
sys.modules["opentelemetry.sdk"] = sys.modules["opentelemetry.exporter"] = None
"""
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
BAD_SAMPLER = {**ENDPOINT, "OTEL_TRACES_SAMPLER": "canary"}
MAKE = "from reach.runtime.processes import app_of_environment as make; make()"


@pytest.fixture
def without_sdk(tmp_path: Path) -> dict[str, str]:
    """The variables of a process that cannot import what the extra installs."""
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WITHOUT_SDK)
    return {"PYTHONPATH": f"{folder}:{ROOT / 'src'}"}


@pytest.fixture
def mailing(sqlite: str, make_settings: Callable[..., Settings]) -> Settings:
    """Settings where the database makes no difference."""
    return make_settings(database_url=sqlite, smtp_url="smtp://127.0.0.1:9", port=free_port())


async def test_reach_runs_without_the_extra(mailing: Settings, without_sdk: dict[str, str]) -> None:
    """As long as nobody asks for traces."""
    with ReachProcess("up", settings=mailing, environment=without_sdk) as process:
        await said(process, "Reach is ready.")
        async with client(mailing) as http:
            assert (await http.post("/v1/signups", json=ADA)).status_code == 202


@pytest.mark.parametrize("arguments", [("up",), ("api",), ("api", "--processes", "2"), ("worker",)])
async def test_traces_without_the_extra_are_refused_with_the_remedy(
    mailing: Settings, without_sdk: dict[str, str], arguments: tuple[str, ...]
) -> None:
    """Rather than to be off in silence: exit code 2, and how to install it."""
    environment = {**without_sdk, **ENDPOINT}
    with ReachProcess(*arguments, settings=mailing, environment=environment) as process:
        assert await ended(process, 15) == 2
        assert "OTEL_EXPORTER_OTLP_ENDPOINT is set" in everything(process)
        assert "pip install 'reach[traces]'" in everything(process)
        assert "Traceback" not in everything(process)


@pytest.mark.parametrize("count", ["1", "2"])
async def test_variables_that_no_process_could_use(mailing: Settings, count: str) -> None:
    """2 and one line, from the parent: not children that are started again for ever."""
    flags = ("--processes", count)
    with ReachProcess("api", *flags, settings=mailing, environment=BAD_SAMPLER) as process:
        assert await ended(process, 20) == 2
        (line,) = process.errors.splitlines()
        assert line.startswith("OpenTelemetry cannot use its OTEL_ variables")
        assert "canary" not in everything(process)


def test_a_process_that_cannot_make_its_application_says_so_in_the_log(mailing: Settings) -> None:
    """In one line, without a message: no traceback of uvicorn's."""
    environment = {**os.environ, **environment_of(mailing), **BAD_SAMPLER}
    done = subprocess.run(
        [sys.executable, "-c", MAKE], env=environment, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["message"], line["error"]["type"]) == (
        "crashed",
        "reach.settings.types.BadSettings",
    )


async def test_commands_that_trace_nothing_need_no_extra(
    mailing: Settings, without_sdk: dict[str, str]
) -> None:
    """They run in the same environment as those that do."""
    environment = {**without_sdk, **ENDPOINT}
    with ReachProcess("migrate", settings=mailing, environment=environment) as process:
        assert await ended(process, 15) == 0


def test_the_lock_of_the_extra_is_where_the_remedy_says() -> None:
    """Those who follow it find the file."""
    assert (ROOT / traces.REMEDY.split()[-1]).is_file()
