"""Commands on a terminal: tables, colours, questions; and what is left of them in a pipe."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import update

from reach.db.transaction import Transaction
from reach.people.model import people
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import wait_until
from tests.support.database.stored import sign_up
from tests.support.processes.commands import environment_of
from tests.support.root import ROOT

#: What no form lets in; but a database may hold it.
NASTY = "Ada \x1b]0;x\x07[red]\u202eadA"
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


#: To be run by Python before a command: Ctrl-C comes to those whose terminal it is.
TAKES_IT = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def environment(settings: Settings) -> dict[str, str]:
    """What a shell on a terminal would give to a command, and the settings."""
    usual = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "PYTHONPATH": str(ROOT / "src")}
    return {**usual, **environment_of(settings)}


class Terminal:
    """A command on a terminal of its own, and what stands there."""

    def __init__(self, settings: Settings, *arguments: str, columns: int = 80) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKES_IT, sys.executable, "-m", "reach", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=environment(settings),
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    def read(self) -> str:
        """All that has been written so far."""
        with suppress(BlockingIOError, OSError):  # nothing yet; or its end
            while data := os.read(self._master, 65536):
                self.shown += data.decode()
        return self.shown

    def wait_for(self, words: str) -> None:
        """Wait until it asks."""
        wait_until(lambda: words in self.read(), 20)

    def type(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._master, keys.encode())

    def wait(self) -> int:
        """Wait until it ends: its exit code."""
        wait_until(lambda: (self.read(), self._process.poll())[1] is not None, 20)
        self.read()
        return self._process.returncode

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._master)


@contextmanager
def terminal(settings: Settings, *arguments: str, columns: int = 80) -> Iterator[Terminal]:
    """Run a command on a terminal until the end of the ``with``."""
    shown = Terminal(settings, *arguments, columns=columns)
    try:
        yield shown
    finally:
        shown.close()


@pytest.fixture
async def here(make_settings: Callable[..., Settings], sqlite: str) -> Settings:
    """Settings of a database in which there is Ada, with a name that no form lets in."""

    def rename(tx: Transaction) -> None:
        tx.execute(update(people).values(name=NASTY))

    settings = make_settings(database_url=sqlite)
    async with opened(settings) as database:
        await sign_up(database, settings, "ada@example.com")
        await database.write(rename)
    return settings


async def test_a_table_is_as_wide_as_the_terminal(here: Settings) -> None:
    """With a head, and colours; and nothing that is stored acts on the terminal."""
    with terminal(here, "people", "list") as shown:
        assert shown.wait() == 0
    assert "\x1b[33mqueued" in shown.shown
    plain = ESCAPE.sub("", shown.shown)
    head, row, *others = plain.replace("\r", "").splitlines()
    assert others == []
    assert head.split() == ["Address", "Name", "Welcome", "Confirmed"]
    assert r"Ada \u{1b}]0;x\u{7}[red]\u{202e}adA" in row
    assert "\x1b" not in plain
    with terminal(here, "people", "list", columns=160) as shown:
        assert shown.wait() == 0
    head = ESCAPE.sub("", shown.shown).splitlines()[0]
    assert head.split()[0] == "ID"
    assert "Signed up" in head


async def test_what_cannot_be_undone_is_asked_first(here: Settings) -> None:
    """No and Ctrl-C leave all as it is, and a yes does it."""
    ends = {"n\n": 1, "\x04": 1, "\x03": 130, "y\n": 0}
    for keys, code in ends.items():
        with terminal(here, "people", "erase", "ada@example.com") as shown:
            shown.wait_for("This cannot be undone. [y/N] ")
            assert "<ada@example.com> with 1 message?" in shown.shown
            shown.type(keys)
            assert shown.wait() == code, (keys, shown.shown)
            assert "Traceback" not in shown.shown
            assert ("Erased" in shown.shown) == (code == 0)
            assert ("Nothing was done." in shown.shown) == (code == 1)


async def test_what_takes_long_shows_how_far_it_is(here: Settings, tmp_path: Path) -> None:
    """By a bar, which is taken off at the end; what was done stays."""
    file = tmp_path / "backup"
    with terminal(here, "db", "backup", str(file), columns=200) as shown:
        assert shown.wait() == 0
    assert "━" in shown.shown
    assert " rows" in shown.shown
    *_, done, _ = ESCAPE.sub("", shown.shown).splitlines()
    assert f"Backed up into {file}" in done
