"""A real Postfix, with a folder and a port of its own. It needs root, and Debian's package."""

import os
import shutil
import signal
import smtplib
import subprocess
import tempfile
from pathlib import Path

from tests.support.ports import free_port
from tests.support.program import Program

#: Where Debian keeps what is not for people to call.
DAEMONS = Path("/usr/lib/postfix/sbin")

#: Mail that it takes is thrown away, and noted in its log.
MAIN = """
compatibility_level = 3.6
myhostname = mail.example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
default_transport = discard
relay_transport = discard
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
smtpd_peername_lookup = no
"""
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class NoPostfix(Exception):
    """No Postfix can be had here; ``args[0]`` says why."""


class Postfix(Program):
    """Postfix with settings of a test's. Raises NoPostfix."""

    def __init__(self, **settings: str) -> None:
        """Write its configuration; ``settings`` are main.cf's."""
        if os.geteuid() != 0 or shutil.which("postfix") is None:
            raise NoPostfix("Postfix needs root, and Debian's package postfix")
        super().__init__()
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="postfix-"))
        self.folder.chmod(0o755)
        self._configuration = self.folder / "etc"
        for name in ("etc", "queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        given = "".join(f"{name} = {value}\n" for name, value in settings.items())
        main = MAIN.format(folder=self.folder) + given
        (self._configuration / "main.cf").write_text(main)
        (self._configuration / "master.cf").write_text(MASTER.format(port=self.port))
        # It makes the folders of the queue.
        check = ["postfix", "-c", str(self._configuration), "check"]
        subprocess.run(check, check=True, capture_output=True)

    @property
    def url(self) -> str:
        """What REACH_SMTP_URL is for it."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has written to its log so far."""
        file = self.folder / "log"
        return file.read_text() if file.exists() else ""

    def set(self, **settings: str) -> None:
        """Change its settings; sessions that are open keep the old ones."""
        given = [f"{name}={value}" for name, value in settings.items()]
        subprocess.run(["postconf", "-c", str(self._configuration), *given], check=True)
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def command(self) -> list[str]:
        """Say how it is started: in the foreground, and without its scripts."""
        return [str(DAEMONS / "master"), "-c", str(self._configuration), "-d", "-s"]

    def is_ready(self) -> bool:
        """Whether it greets."""
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=1):
                return True
        except OSError:
            return False

    def close(self) -> None:
        """End it and all its processes, and remove its folder."""
        super().close()
        shutil.rmtree(self.folder)
