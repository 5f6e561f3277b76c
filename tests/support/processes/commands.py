"""Reach as its users run it: real processes, with an environment of their own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

import httpx
import psutil
from pydantic import SecretStr

from reach.settings import Settings
from reach.settings.types import PREFIX
from tests.support.canaries import found_in
from tests.support.clock import wait_until
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.lines import json_lines, whole_lines
from tests.support.processes import warm, watchdog
from tests.support.root import ROOT

#: To be run by Python before a command. A shell's background jobs, and what they start, are deaf
#: to Ctrl-C.
HEARS_CTRL_C = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def environment_of(settings: Settings) -> dict[str, str]:
    """Write the settings that were given as the variables that give them."""
    return {
        f"{PREFIX}{name.upper()}": _written(getattr(settings, name))
        for name in settings.model_fields_set
    }


def _written(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if value is None:
        return ""
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        return json.dumps(value)
    return str(value)


class ReachProcess:
    """One ``reach …`` process (with those it starts), ended at the latest by the ``with``.

    ``changes`` are settings by name, in place of those in ``settings``; ``environment`` holds
    any other variables. Nothing else of ours is inherited. ``module`` is what is run,
    by ``wrapper`` if there is one. It need not import Reach first (see ``warm``), unless ``cold``.
    """

    def __init__(
        self,
        *arguments: str,
        settings: Settings | None = None,
        environment: Mapping[str, str] | None = None,
        module: str = "reach",
        wrapper: Sequence[str] = (),
        cold: bool = False,
        **changes: Any,
    ) -> None:
        if unknown := set(changes) - set(Settings.model_fields):
            raise TypeError(f"no such settings: {unknown}")
        given = settings.model_copy(update=changes) if settings else None
        self.arguments = arguments
        self._command = (*wrapper, sys.executable, "-m", module, *arguments)
        self._is_plain = not cold and type(self) is ReachProcess and module == "reach"
        # Only tests have so many processes; what is measured starts as its users start it.
        self._is_plain &= "PYTEST_VERSION" in os.environ
        self._is_plain &= not wrapper and "--processes" not in arguments
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(PREFIX)},
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONUNBUFFERED": "1",
            **(environment_of(given) if given else {}),
            **({} if given else {f"{PREFIX}{k.upper()}": _written(v) for k, v in changes.items()}),
            **(environment or {}),
        }
        # Files, since a pipe that nobody reads stops who writes to it.
        self._output = tempfile.TemporaryFile()
        self._errors = tempfile.TemporaryFile()
        self._process: subprocess.Popen[bytes] | warm.Copy | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.kill()
        told = found_in(self.output, only_lines=True) + found_in(self.errors)
        self._output.close()
        self._errors.close()
        assert kind or not told, "\n".join(("this was told:", *told))

    @property
    def running(self) -> subprocess.Popen[bytes] | warm.Copy:
        """The process itself."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        """The number of the process, and of its group."""
        return self.running.pid

    @property
    def children(self) -> set[psutil.Process]:
        """The processes that serve for it; not that which tracks its resources."""
        found = set()
        for child in psutil.Process(self.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has just ended
                if "spawn_main" in " ".join(child.cmdline()):
                    found.add(child)
        return found

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number if one ended it."""
        return self.running.poll()

    @property
    def output(self) -> str:
        """What it has written to stdout so far."""
        return _all_of(self._output.fileno())

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of its log so far: stdout, all of which is JSON."""
        return json_lines(whole_lines(self.output))

    @property
    def errors(self) -> str:
        """What it has written to stderr so far."""
        return _all_of(self._errors.fileno())

    def start(self) -> None:
        """Start it, in a process group of its own; once it has ended, again."""
        assert self._process is None or self._process.poll() is not None, "it runs"
        if warm.CAN and self._is_plain and warm.original().fits(self.environment):
            self._process = warm.original().copy(
                self.arguments, self.environment, self._output, self._errors
            )
        else:
            self._process = subprocess.Popen(
                self._command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **self.streams(),
            )
        watchdog.guard(self.pid, signal.SIGKILL)

    def streams(self) -> dict[str, Any]:
        """Say where what it writes goes."""
        return {"stdout": self._output, "stderr": self._errors}

    def wait_for(self, text: str, seconds: float = 15) -> None:
        """Wait until it has written ``text``. Raises AssertionError, early if it ends first."""
        wait_until(lambda: self._has_ended() or text in self.output + self.errors, seconds)
        assert text in self.output + self.errors, self._story(f"ended without {text!r}")

    def wait_ready(self, port: int, seconds: float = 15) -> None:
        """Wait until ``/readyz`` says 200. Raises AssertionError, early if it ends first."""
        url = f"http://127.0.0.1:{port}/readyz"

        def answers() -> bool:
            try:
                return (
                    httpx.get(url, verify=NO_CERTIFICATES, trust_env=False, timeout=2).status_code
                    == httpx.codes.OK
                )
            except httpx.TransportError:
                return False

        try:
            wait_until(lambda: self._has_ended() or answers(), seconds, every=0.02)
        except AssertionError:
            raise AssertionError(self._story("was not ready in time")) from None
        assert not self._has_ended(), self._story("ended")

    def wait(self, seconds: float = 15) -> int:
        """Wait until it ends by itself, and return its exit code."""
        try:
            code = self.running.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(self._story(f"still ran after {seconds} s")) from None
        self._reaped()
        return code

    def stop(self, seconds: float = 15) -> int:
        """Ask it to end (SIGTERM), and return its exit code."""
        self.running.terminate()
        return self.wait(seconds)

    def kill(self) -> None:
        """End it and those it started at once (SIGKILL), and reap it."""
        if self._process is not None:
            watchdog.send(self.pid, signal.SIGKILL)
            self._process.wait()
            self._reaped()

    def pause(self) -> None:
        """Freeze it and those it started (SIGSTOP)."""
        os.killpg(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on (SIGCONT)."""
        os.killpg(self.pid, signal.SIGCONT)

    def _has_ended(self) -> bool:
        return self.running.poll() is not None

    def _reaped(self) -> None:
        watchdog.release(self.pid)

    def _story(self, what: str) -> str:
        words = " ".join(("reach", *self.arguments))
        return f"{words} {what} (exit code {self.exit_code})\n{self.output}\n{self.errors}"


def _all_of(descriptor: int) -> str:
    """Read a file from its start, without moving the offset that a writer shares."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


def warm_up() -> None:
    """Have ready what processes are copied from, before the first test that starts one."""
    if warm.CAN:
        warm.original()


@contextmanager
def api_process(settings: Settings, *arguments: str, **changes: Any) -> Iterator[ReachProcess]:
    """Run ``reach api`` until the end of the ``with``; it answers on ``settings.port`` when ready.

    ``changes`` may bring a port of its own: ``port=free_port()``.
    """
    port = int(str(changes.get("port", settings.port)))
    with ReachProcess("api", *arguments, settings=settings, **changes) as process:
        process.wait_ready(port)
        yield process


@contextmanager
def worker_process(settings: Settings, *arguments: str, **changes: Any) -> Iterator[ReachProcess]:
    """Run ``reach worker`` until the end of the ``with``; it works when this begins.

    It says so in a line of its log, so a test without a database starts a ``ReachProcess``.
    """
    with ReachProcess("worker", *arguments, settings=settings, **changes) as process:
        process.wait_for("worker started")
        yield process


def run(*arguments: str, settings: Settings | None = None, **environment: str) -> tuple[int, str]:
    """Run a command to its end: its exit code and its stdout. It says no more than lines."""
    with ReachProcess(*arguments, settings=settings, environment=environment) as process:
        code = process.wait()
        assert "Traceback" not in process.errors
        assert "crashed" not in process.errors
        assert process.errors or code == 0
        return code, process.output
