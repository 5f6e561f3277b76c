"""The client: `wrk` where it is installed, else one of ours; each in a process of its own.

Both send the same requests, refuse every answer but the one that is due, and say what of the
processor they took themselves: that of a client that could do no more is not the server's figure.
"""

import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WRK = "wrk"
SCRIPT = Path(__file__).with_name("wrk.lua")
#: Longer than any answer may take; wrk's own two seconds would count a busy machine's as lost.
PATIENCE_SECONDS = 20
_RESULT = re.compile(
    r"^RESULT answered=(\d+) microseconds=(\d+) p50=(\d+) p99=(\d+) refused=(\d+) lost=(\d+)$",
    re.MULTILINE,
)
_TOLD = re.compile(r"^TOLD (.*)$", re.MULTILINE)


class Refused(Exception):
    """A server did not answer as it must; ``args[0]`` says what it did."""


@dataclass(frozen=True)
class Work:
    """What is asked of a server, again and again, and the status of a good answer.

    A POST has an address of its own each time. A GET asks for ``path``, or if there are ``ids``
    for each of them below it.
    """

    method: str
    base: str
    path: str
    status: int
    token: str = ""
    ids: Sequence[str] = ()


@dataclass(frozen=True)
class Load:
    """What came of it. ``unanswered`` is how many more the server may have done at most."""

    answered: int
    seconds: float
    p50_ms: float
    p99_ms: float
    unanswered: int
    client_seconds: float

    @property
    def per_second(self) -> float:
        """Requests that were answered a second."""
        return self.answered / self.seconds

    @property
    def client_share(self) -> float:
        """Share of one core that the client took. At 1 it could have sent no more."""
        return self.client_seconds / self.seconds


def name() -> str:
    """The client that is used here, with its version."""
    found = shutil.which(WRK)
    if found is None:
        return "our own client (no wrk here)"
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    return " ".join(told.split()[:2])


def send(
    work: Work, *, seconds: float, connections: int, prefix: str, program: str | None = None
) -> Load:
    """Keep so many connections busy for so long. Raises Refused for any answer that is not due."""
    if program is None and seconds >= 1:  # wrk knows whole seconds only
        program = shutil.which(WRK)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as ids:
        ids.write("".join(f"{one}\n" for one in work.ids))
        ids.flush()
        words = [work.method, str(work.status), work.path, work.token or "-", prefix]
        words.append(ids.name if work.ids else "-")
        if program:
            whole = max(1, round(seconds))
            command = [
                program,
                "-t1",
                f"-c{connections}",
                f"-d{whole}s",
                f"--timeout={PATIENCE_SECONDS}s",
            ]
            command += ["-s", str(SCRIPT), work.base, "--", *words]
        else:
            command = [sys.executable, "-m", "benchmarks.own_client", work.base]
            command += [str(connections), str(seconds), *words]
        before = _busy_seconds()
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds + 3 * PATIENCE_SECONDS,
            check=False,
        )
        busy = _busy_seconds() - before
    return parse(done.stdout, done.stderr, unanswered=connections if program else 0, busy=busy)


def parse(output: str, errors: str, *, unanswered: int, busy: float) -> Load:
    """Read what a client printed. Raises Refused."""
    result = _RESULT.search(output)
    if result is None:
        raise Refused(f"the client has no result: {output} {errors}")
    answered, microseconds, p50, p99, refused, lost = map(int, result.groups())
    if refused or lost or not answered:
        told = _TOLD.search(output)
        raise Refused(
            f"{refused} answers of {answered} were not what is due, and {lost} were lost"
            f"{f': {told[1]}' if told else ''}"
        )
    return Load(answered, microseconds / 1e6, p50 / 1e3, p99 / 1e3, unanswered, busy)


def _busy_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
