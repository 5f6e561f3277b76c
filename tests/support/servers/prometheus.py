"""A real Prometheus on loopback, of the configuration and rules that a test gives it."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.ports import free_port
from tests.support.servers.server import Program


class NoPrometheus(Exception):
    """No Prometheus can be had here; ``args[0]`` says why."""


@cache
def program(name: str) -> str:
    """Find ``prometheus``, ``promtool`` or ``amtool``. Raises NoPrometheus."""
    found = shutil.which(name)
    if found is None:
        raise NoPrometheus(
            f"there is no {name} on the PATH: install Debian's packages prometheus and "
            "prometheus-alertmanager"
        )
    return found


class Prometheus(Program):
    """One Prometheus that scrapes ``targets`` and knows ``rules``; see ``running_prometheus``."""

    def __init__(self, folder: Path, configuration: Mapping[str, Any]) -> None:
        super().__init__()
        self._folder = folder
        self._http = httpx.Client(verify=NO_CERTIFICATES, trust_env=False, timeout=10)
        self.port = free_port()
        self.file = folder / "prometheus.yaml"
        self.file.write_text(yaml.safe_dump(dict(configuration)), encoding="utf-8")

    def command(self) -> list[str]:
        """With a folder of its own."""
        return [
            program("prometheus"),
            f"--config.file={self.file}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]

    def close(self) -> None:
        """End it, and hang up."""
        super().close()
        self._http.close()

    def ask(self, what: str, **parameters: str) -> Any:
        """Ask its API (``alerts``, ``targets``, ``rules`` …); returns ``data``.

        Raises AssertionError with Prometheus's own words if it refuses.
        """
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}"
        answer = self._http.get(url, params=parameters).json()
        assert answer["status"] == "success", answer.get("error")
        return answer["data"]

    def query(self, expression: str) -> Sequence[tuple[dict[str, str], float]]:
        """Evaluate an expression now: each series' labels and value."""
        data = self.ask("query", query=expression)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    def value(self, expression: str) -> float | None:
        """Evaluate an expression of one series; None if there is none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def firing(self) -> set[str]:
        """Name the alerts that fire."""
        alerts = self.ask("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def healthy_targets(self) -> int:
        """How many targets answered when they were last scraped."""
        return sum(one["health"] == "up" for one in self.ask("targets")["activeTargets"])

    def is_ready(self) -> bool:
        """Whether it takes questions."""
        try:
            url = f"http://127.0.0.1:{self.port}/-/ready"
            return self._http.get(url).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@contextmanager
def running_prometheus(
    jobs: Mapping[str, Sequence[int]],
    *,
    rules: Sequence[Path] = (),
    every_seconds: float = 1,
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes ports of 127.0.0.1, listed by the name of their job.

    Raises NoPrometheus.
    """
    every = f"{int(every_seconds * 1000)}ms"
    configuration = {
        "global": {
            "scrape_interval": every,
            "scrape_timeout": every,
            "evaluation_interval": every,
        },
        "rule_files": [str(file) for file in rules],
        "scrape_configs": [
            {
                "job_name": name,
                "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
            }
            for name, ports in jobs.items()
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        server = Prometheus(Path(folder), configuration)
        try:
            server.start()
            yield server
        finally:
            server.close()
