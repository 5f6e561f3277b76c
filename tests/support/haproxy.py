"""Real HAProxies, with the configuration of docs/guides/other-proxies.md."""

import os
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.support.ports import free_port
from tests.support.program import Program
from tests.support.root import ROOT

PAGE = ROOT / "docs" / "guides" / "other-proxies.md"
PLACE = "bind :80"
SERVER = "127.0.0.1:8000"


class NoHaproxy(Exception):
    """No HAProxy can be had here; ``args[0]`` says why."""


def binary() -> str:
    """Find it, on the PATH or where Debian keeps it. Raises NoHaproxy."""
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise NoHaproxy("there is no haproxy on the PATH (Debian's package is haproxy)")
    return found


def configuration() -> str:
    """The page's own."""
    page = PAGE.read_text(encoding="utf-8")
    return page.split("\n```haproxy\n", 1)[1].split("\n```\n", 1)[0] + "\n"


class Haproxy(Program):
    """One HAProxy before the Reach at ``server`` (a port), until ``close``."""

    def __init__(self, server: int) -> None:
        super().__init__()
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="reach-haproxy-")
        text = configuration()
        assert (text.count(PLACE), text.count(SERVER)) == (1, 1), text
        text = text.replace(PLACE, f"bind 127.0.0.1:{self.port}")
        text = text.replace(SERVER, f"127.0.0.1:{server}")
        self._file = Path(self._folder.name, "haproxy.cfg")
        self._file.write_text(text, encoding="utf-8")

    def command(self) -> list[str]:
        """In the foreground, by its configuration."""
        return [binary(), "-db", "-f", str(self._file)]

    def close(self) -> None:
        """End it, and remove its folder."""
        super().close()
        self._folder.cleanup()

    def is_ready(self) -> bool:
        """Whether somebody listens."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False
