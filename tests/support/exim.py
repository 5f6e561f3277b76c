"""A real Exim 4, with a folder and a port of its own. It needs root, and Debian's exim4."""

import os
import shutil
import smtplib
import tempfile
from pathlib import Path

from tests.support.ports import free_port
from tests.support.program import Program

#: Whatever it takes it appends to one file, but for what it queues.
CONFIGURATION = """
exim_user = nobody
exim_group = nogroup
never_users =
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
primary_hostname = mail.example.org
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
pid_file_path = {folder}/exim.pid
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin acl
begin routers
all:
  driver = accept
  transport = file
begin transports
file:
  driver = appendfile
  file = {folder}/spool/delivered
  user = nobody
  group = nogroup
  create_file = anywhere
begin retry
* * F,1h,1m
"""


class NoExim(Exception):
    """No Exim can be had here; ``args[0]`` says why."""


class Exim(Program):
    """Exim as it comes, but for where it lies. Raises NoExim."""

    def __init__(self) -> None:
        """Write its configuration."""
        found = shutil.which("exim4")
        if os.geteuid() != 0 or found is None:
            raise NoExim("Exim needs root, and Debian's package exim4-daemon-light")
        super().__init__()
        self._program = found
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="exim-"))
        self.folder.chmod(0o755)
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            shutil.chown(self.folder / name, "nobody", "nogroup")
        self._configuration = self.folder / "exim.conf"
        self._configuration.write_text(CONFIGURATION.format(folder=self.folder, port=self.port))

    @property
    def url(self) -> str:
        """What REACH_SMTP_URL is for it."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def delivered(self) -> int:
        """How many messages it has delivered."""
        file = self.folder / "spool" / "delivered"
        return file.read_text().count("\nMessage-ID: ") if file.exists() else 0

    @property
    def log(self) -> str:
        """What it has written to its log so far."""
        return (self.folder / "log" / "mainlog").read_text()

    def command(self) -> list[str]:
        """Say how it is started."""
        return [self._program, "-C", str(self._configuration), "-bdf", "-q1h"]

    def is_ready(self) -> bool:
        """Whether it greets."""
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=1):
                return True
        except OSError:
            return False

    def close(self) -> None:
        """End it, and remove its folder."""
        super().close()
        shutil.rmtree(self.folder)
