"""`make watch`: a Prometheus beside `reach up`, where there is one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.clock import wait_until
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes import watchdog
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.root import ROOT
from tests.support.servers.prometheus import NoPrometheus, program

SECONDS = 40


@contextmanager
def watching(folder: Path, metrics_port: int, *more: str) -> Iterator[tuple[int, Path]]:
    """Run it until the end of the ``with``, and end it as Ctrl-C does; its port and output."""
    try:
        program("prometheus")
    except NoPrometheus as reason:
        pytest.skip(str(reason))
    port, output = free_port(), folder / "output"
    numbers = ("--metrics-port", str(metrics_port), "--port", str(port))
    with output.open("wb") as written:
        process = subprocess.Popen(
            [*SCRIPT, *numbers, "--data-dir", str(folder / "data"), *more],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    watchdog.guard(process.pid, signal.SIGKILL)
    try:
        yield port, output
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0, output.read_text()
    finally:
        watchdog.send(process.pid, signal.SIGKILL)
        process.wait()
        watchdog.release(process.pid)


SCRIPT = (sys.executable, str(ROOT / "deploy/prometheus/watch.py"))


def asked(port: int, what: str, **parameters: str) -> list[dict[str, str]]:
    """Ask Prometheus; nothing while it does not answer yet."""
    try:
        url = f"http://127.0.0.1:{port}/api/v1/{what}"
        answer = httpx.get(
            url, params=parameters, verify=NO_CERTIFICATES, trust_env=False, timeout=5
        ).json()
    except (httpx.TransportError, ValueError):
        return []
    found: list[dict[str, str]] = answer["data"].get("result") or answer["data"].get("groups")
    return found or []


def test_it_watches_a_reach_that_runs_with_the_rules(tmp_path: Path) -> None:
    """`reach up` is scraped, every rule is loaded, and what is printed says where to look."""
    metrics = free_port()
    arguments = ("up", "--port", "0", "--metrics-port", str(metrics))
    with ReachProcess(*arguments, data_dir=tmp_path / "reach") as reach:
        reach.wait_for("Reach is ready.", SECONDS)
        with watching(tmp_path, metrics) as (port, output):
            wait_until(lambda: asked(port, "query", query='up{job="reach"} == 1'), SECONDS)
            wait_until(lambda: asked(port, "query", query="reach:workers:count == 1"), SECONDS)
            assert asked(port, "rules")
            said = output.read_text()
            assert f"http://127.0.0.1:{port}/alerts" in said
            assert "make run" not in said
    assert (tmp_path / "data/prometheus/data").is_dir()
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_it_says_how_to_start_a_reach_that_shows_its_metrics(tmp_path: Path) -> None:
    """Nothing answers yet: the line to type is printed, and Prometheus waits for it."""
    kept = tmp_path / "data/prometheus/data/old"
    kept.mkdir(parents=True)
    metrics = free_port()
    with watching(tmp_path, metrics, "--forget") as (port, output):
        wait_until(lambda: asked(port, "query", query='up{job="reach"} == 0'), SECONDS)
        assert f"make run METRICS_PORT={metrics}" in output.read_text()
    assert not kept.exists()


def test_without_a_prometheus_it_says_how_to_get_one(tmp_path: Path) -> None:
    """One page of help instead of a traceback."""
    done = subprocess.run(
        SCRIPT,
        env={**os.environ, "PATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "apt install prometheus" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
