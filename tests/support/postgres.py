"""Real Postgres servers: one for the whole test run, and private ones to break."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.support import watchdog
from tests.support.eventually import wait_until
from tests.support.ports import free_port
from tests.support.programs import Account, NoPostgres, binaries, choose_accounts, readable_copy
from tests.support.server import Server

OPTIONS = (
    "listen_addresses=127.0.0.1",
    "max_connections=200",
    "timezone=UTC",
    # Tests kill processes, never the operating system: what was written is safe without fsync.
    # A commit still waits for its WAL record (synchronous_commit stays on).
    "fsync=off",
    "full_page_writes=off",
)


class Postgres(Server):
    """A Postgres server with a folder and a port of its own, as long as the ``with`` lasts."""

    def __init__(self, place: Path | None = None, account: Account | None = None) -> None:
        self._place = place or binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="reach-postgres-"))
        self._account = account or choose_accounts(self._place)[0]
        self.port = free_port()
        try:
            self._initialise()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def url(self) -> str:
        """Its first database, which is empty."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it on its port, and wait until it takes connections. Raises NoPostgres."""
        assert not self.is_running
        log = self._start_once()
        if not self.is_running:
            raise NoPostgres(f"Postgres does not start: {log}")

    def stop(self) -> None:
        """Stop it in order: connections are cut, what was committed is kept."""
        if self.is_running:
            self.resume()
            self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill all its processes at once, as the out-of-memory killer would."""
        if self.is_running:
            family = self._family()
            for process in family:
                _signal(process, signal.SIGKILL)
            self._end(signal.SIGKILL)
            psutil.wait_procs(family, timeout=10)

    def pause(self) -> None:
        """Freeze all its processes: connections stay open, nothing answers."""
        # The main process first, so that no further one comes into being.
        for process in self._family():
            _signal(process, signal.SIGSTOP)
        for process in self._family():
            _signal(process, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        for process in reversed(self._family()):
            _signal(process, signal.SIGCONT)

    def close(self) -> None:
        """Stop it for good and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def follow(self, primary: "Postgres") -> None:
        """Be a standby of ``primary`` from the next start on (until it is promoted)."""
        data = self.folder / "data"
        source = f"host=127.0.0.1 port={primary.port} user=postgres"
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{source}'\n")
        (data / "standby.signal").touch()
        self._hand_over(data / "standby.signal")

    def _prepare(self) -> None:
        """Let the account that runs it read the programs and write to the folder."""
        if self._account.user is not None:
            if not self._account.can_run(self._place / "postgres"):
                self._place = readable_copy(self._place, self.folder)
            self._hand_over(self.folder)

    def _hand_over(self, place: Path) -> None:
        """Give a file, or a folder and what is in it, to the account that runs it."""
        if self._account.user is not None:
            for path in (place, *place.rglob("*")):
                os.chown(path, self._account.user, self._account.user)

    def _initialise(self) -> None:
        self._prepare()
        command = [
            str(self._place / "initdb"),
            *(f"--pgdata={self.folder / 'data'}", "--username=postgres", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        ]
        # A collation as most servers have it, so that sorting by code point is never by chance.
        natural = ["--locale-provider=icu", "--icu-locale=en-US"]
        done = self._run([*command, *natural])
        if done.returncode != 0:  # built without ICU
            done = self._run(command)
        if done.returncode != 0:
            raise NoPostgres(f"initdb failed: {done.stdout.decode(errors='replace')}")

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self._account.wrapper, *command],
            user=self._account.user,
            group=self._account.user,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )

    def _start_once(self) -> str:
        """Start it, wait until it is ready or has ended, and return what it said."""
        log = self.folder / "log"
        options = [part for option in OPTIONS for part in ("-c", option)]
        command = [str(self._place / "postgres"), "-D", str(self.folder / "data"), *options]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*self._account.wrapper, *command, "-p", str(self.port), "-k", str(self.folder)],
                user=self._account.user,
                group=self._account.user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        watchdog.guard(self._process.pid, signal.SIGQUIT, self.folder)
        wait_until(lambda: not self.is_running or self._is_ready(), seconds=30)
        if not self.is_running:
            watchdog.release(self._process.pid)
        return log.read_text(errors="replace")

    def _is_ready(self) -> bool:
        """Whether postmaster.pid says so: its first line is the process, its last the state.

        A standby is one that can be read.
        """
        try:
            lines = (self.folder / "data/postmaster.pid").read_text().split()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(self.pid)] and lines[-1] in ("ready", "standby")

    def _end(self, last_signal: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(last_signal)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(10)
        watchdog.release(self._process.pid)

    def _family(self) -> list[psutil.Process]:
        """Its processes, the main one first: each backend leads a process group of its own."""
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]


def started() -> Postgres:
    """Start a server that the caller closes. Raises NoPostgres."""
    server = Postgres()
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
