"""Real PgBouncers, as they are delivered: nothing is set that makes them bear with a client."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tests.support import watchdog
from tests.support.eventually import wait_until
from tests.support.ports import free_port
from tests.support.programs import NOBODY
from tests.support.server import Server

Mode = Literal["session", "transaction"]

CONFIGURATION = """\
[databases]
* = host={host} port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 500
; A transaction and the next one in another process, whenever there are two.
server_round_robin = 1
"""


class NoPgBouncer(Exception):
    """No PgBouncer can be had here; ``args[0]`` says why."""


def program() -> str:
    """Find it, on the PATH or where Debian keeps it. Raises NoPgBouncer."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise NoPgBouncer("there is no pgbouncer on the PATH (Debian's package is pgbouncer)")
    return found


class PgBouncer(Server):
    """A PgBouncer before the server of ``url``, with up to ``size`` processes for each database."""

    def __init__(self, url: str, mode: Mode, size: int = 20) -> None:
        self._program = program()
        self._url = urlsplit(url)
        self.folder = Path(tempfile.mkdtemp(prefix="reach-pgbouncer-"))
        self.port = free_port()
        (self.folder / "users").write_text(f'"{self._url.username}" ""\n')
        (self.folder / "ini").write_text(
            CONFIGURATION.format(
                host=self._url.hostname,
                server=self._url.port,
                port=self.port,
                folder=self.folder,
                mode=mode,
                size=size,
            )
        )
        #: It refuses to run as root.
        self._user = NOBODY if os.geteuid() == 0 else None
        if self._user is not None:
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, self._user, self._user)

    def through(self, url: str) -> str:
        """Give the URL by which a database of its server is reached through it."""
        parts = urlsplit(url)
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()

    def start(self) -> None:
        """Start it on its port, and wait until it takes connections."""
        with (self.folder / "log").open("wb") as output:
            self._process = subprocess.Popen(
                [self._program, str(self.folder / "ini")],
                user=self._user,
                group=self._user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        watchdog.guard(self._process.pid, signal.SIGKILL, self.folder)
        wait_until(lambda: not self.is_running or self._answers())
        assert self.is_running, (self.folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        """Stop it: connections are cut."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            watchdog.release(self._process.pid)

    def close(self) -> None:
        """Stop it for good and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False
