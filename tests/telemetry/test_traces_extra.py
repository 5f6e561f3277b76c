"""OpenTelemetry's SDK is an extra: without it Reach runs, and says what it lacks if it lacks it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reach.settings import Settings
from reach.telemetry import traces
from tests.promises.running import client, ended, everything, said
from tests.servers.ports import free_port
from tests.servers.processes import ROOT, ReachProcess
from tests.servers.reach import ADA

#: Python runs it first of all, in every process: what is None here cannot be imported.
WITHOUT_SDK = """import sys
sys.modules["opentelemetry.sdk"] = sys.modules["opentelemetry.exporter"] = None
"""
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


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


async def test_commands_that_trace_nothing_need_no_extra(
    mailing: Settings, without_sdk: dict[str, str]
) -> None:
    """They run in the same environment as those that do."""
    environment = {**without_sdk, **ENDPOINT}
    with ReachProcess("migrate", settings=mailing, environment=environment) as process:
        assert await ended(process, 15) == 0


def test_the_lock_of_the_extra_is_where_the_remedy_says() -> None:
    """Whoever follows it finds the file."""
    assert (ROOT / traces.REMEDY.split()[-1]).is_file()
