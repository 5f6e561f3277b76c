"""Postfix, as Debian has it, with settings of a test's."""

import os
import shutil
import signal
import smtplib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes.ports import free_port
from tests.support.root import ROOT
from tests.support.servers.server import Program

#: Where Debian keeps what is not for people to call.
DAEMONS = Path("/usr/lib/postfix/sbin")

#: Mail that it takes is thrown away, and noted in its log.
POSTFIX_MAIN = (ROOT / "deploy" / "tests" / "postfix-main.cf").read_text(encoding="utf-8")
POSTFIX_MASTER = (ROOT / "deploy" / "tests" / "postfix-master.cf").read_text(encoding="utf-8")


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
        main = POSTFIX_MAIN.format(folder=self.folder) + given
        (self._configuration / "main.cf").write_text(main)
        (self._configuration / "master.cf").write_text(POSTFIX_MASTER.format(port=self.port))
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


@contextmanager
def postfix(**settings: str) -> Iterator[Postfix]:
    """Run a Postfix, or skip where none can be had."""
    try:
        server = Postfix(**settings)
    except NoPostfix as why:
        pytest.skip(str(why))
    try:
        server.start()
        yield server
    finally:
        server.close()
