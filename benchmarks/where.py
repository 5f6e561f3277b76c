"""Where the time of a sign-up and of a read goes: `python -m benchmarks.where`, about a minute.

Four servers take the same flood in turns, each one layer more than the one before it: a bare ASGI
application on uvicorn, the same behind our connection, the same with a request record, and Reach
(one process, SQLite). What a layer takes is the difference; of Reach each thread is told apart.
Printed is processor time a request: the median of the turns, and how much of it the kernel took.
"""

import asyncio
import gc
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn
from pydantic import SecretStr

from benchmarks.bare import asgi
from benchmarks.client import Work, send
from benchmarks.processes import WAIT_SECONDS, Running, listens
from reach.__main__ import NEW_OBJECTS
from reach.app import create_app
from reach.auth import keys
from reach.auth.signing import Signer
from reach.db.connect import open_database
from reach.db.migrate import migrate
from reach.limits.limiter import Limiter
from reach.people.address import parse_address
from reach.people.schemas import SignUp, Submission
from reach.people.signup import sign_up_all
from reach.runtime.process import keep_what_is_made
from reach.runtime.server import options
from reach.settings import Settings
from reach.telemetry import logging
from reach.web.middleware import RequestRecord
from tests.support.clock import wait_until
from tests.support.processes.ports import free_port

TURNS, SECONDS, CONNECTIONS, READ = 3, 2, 32, 200
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
UVICORN, CONNECTION, RECORD, REACH = "uvicorn", "connection", "record", "reach"
LAYERS = {
    UVICORN: "uvicorn and a bare application",
    CONNECTION: "+ bounds of HTTP (runtime/connection.py)",
    RECORD: "+ request record, counts (web/middleware.py)",
    REACH: "+ route, body, rules, group, answer",
}
MAIN = "MainThread"
#: User and kernel time, in microseconds a request, by thread.
Times = Mapping[str, tuple[float, float]]


def main() -> None:
    """Measure in turns, and print a table for each kind of request."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        token, ids = asyncio.run(prepared(Path(folder)))
        ports = {kind: stack.enter_context(served(kind, Path(folder))) for kind in LAYERS}
        works = {
            "a sign-up": partial(Work, "POST", path="/v1/signups", status=202),
            "a read": partial(Work, "GET", path="/v1/people/", status=200, token=token, ids=ids),
        }
        for title, work in works.items():
            found: dict[str, list[Times]] = defaultdict(list)
            for turn in range(TURNS + 1):
                for kind, (port, pid) in ports.items():
                    times = measured(work(base=f"http://127.0.0.1:{port}"), Path(folder), pid, turn)
                    if turn:  # the first one warms up
                        found[kind].append(times)
            report(title, found)


def report(title: str, found: Mapping[str, list[Times]]) -> None:
    """Print what each layer takes more than the one before it, and each other thread of Reach."""
    print(f"{title}: processor time in µs (of it in the kernel)")
    before = (0.0, 0.0)
    for kind, name in LAYERS.items():
        mine = median(found[kind], MAIN)
        line(name, tuple(a - b for a, b in zip(mine, before, strict=True)))
        before = mine
    others = sorted({thread for times in found[REACH] for thread in times} - {MAIN})
    total = before
    for thread in others:
        mine = median(found[REACH], thread)
        line(f"thread {thread}", mine)
        total = (total[0] + mine[0], total[1] + mine[1])
    line("in all", total)
    print(flush=True)


def line(name: str, times: tuple[float, ...]) -> None:
    """Print one line."""
    user, kernel = times
    print(f"  {name:48} {user + kernel:6.0f}  ({kernel:.0f})")


def median(turns: list[Times], thread: str) -> tuple[float, float]:
    """The median of the turns, of user and of kernel time."""
    each = [times.get(thread, (0.0, 0.0)) for times in turns]
    return statistics.median(user for user, _ in each), statistics.median(k for _, k in each)


def measured(work: Work, folder: Path, pid: int, turn: int) -> Times:
    """Send for some seconds; what each thread of the server took for a request."""
    before = by_thread(pid)
    load = send(work, seconds=SECONDS, connections=CONNECTIONS, prefix=f"t{turn}-{pid}-")
    after = by_thread(pid)
    names = threads_of(folder, pid)
    took: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for number, times in after.items():
        was = before.get(number, (0.0, 0.0))
        name = names.get(number, "others").rstrip("-0123456789")
        share = [(a - b) / load.answered * 1e6 for a, b in zip(times, was, strict=True)]
        took[name] = (took[name][0] + share[0], took[name][1] + share[1])
    return {name: times for name, times in took.items() if sum(times) >= 1}


def by_thread(pid: int) -> dict[int, tuple[float, float]]:
    """User and kernel seconds of each thread, by its number."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        found[int(task.name)] = (int(fields[11]) * TICK_SECONDS, int(fields[12]) * TICK_SECONDS)
    return found


def threads_of(folder: Path, pid: int) -> dict[int, str]:
    """Ask a server for the names of its threads: the system has none before Python 3.14."""
    file = folder / f"threads-{pid}.json"
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    wait_until(file.exists)
    return {int(number): name for number, name in json.loads(file.read_text()).items()}


async def prepared(folder: Path) -> tuple[str, list[str]]:
    """Make Reach's database, with people to read; a key to read them with, and their ids."""
    settings = settings_in(folder)
    await asyncio.to_thread(migrate, settings.database)
    database, token = open_database(settings), keys.generate()
    forms = [
        SignUp.model_construct(email=parse_address(f"r{n}@example.com"), name="Ada Lovelace")
        for n in range(READ)
    ]
    await database.write(keys.add, token, "where", ["people:read"])
    await database.write(sign_up_all, [Submission(form) for form in forms], settings)
    rows = await database.read(lambda tx: tx.exec_driver_sql("SELECT id FROM people").all())
    await database.close()
    return f"Bearer {token}", [str(row[0]) for row in rows]


def settings_in(folder: Path) -> Settings:
    """Reach on SQLite in a folder, without limits."""
    off: dict[str, Any] = {f"limit_{name}": "off" for name in ("signups", "api", "failed_keys")}
    return Settings(data_dir=folder, secret_key=SecretStr("where" * 16), **off)


@contextmanager
def served(kind: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Serve one of the four; its port and process id."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.where", kind, str(port), str(folder)]
    with Running(command, os.environ, folder / f"{kind}.log") as process:
        wait_until(lambda: listens(port), WAIT_SECONDS)
        yield port, process.pid


def serve(kind: str, port: int, folder: Path) -> None:
    """Be one of the four servers, until the process ends."""
    settings = settings_in(folder)
    logging.configure("info", sys.stdout)
    app: Any = asgi
    if kind == RECORD:
        app = RequestRecord(asgi, settings, Limiter(settings, Signer(settings, "limits").signature))
    if kind == REACH:
        app = create_app(settings, open_database(settings))
    elif kind != UVICORN:
        app = Plain(app)
    given: dict[str, Any] = {
        "port": port,
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
    }
    given |= {} if kind == UVICORN else options(settings) | {"port": port}
    gc.set_threshold(NEW_OBJECTS)
    keep_what_is_made()
    signal.signal(signal.SIGUSR1, lambda *_: tell_threads(folder))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", **given))
    server.run()


class Plain:
    """An application with as much state as our connection asks for."""

    state = SimpleNamespace(services=SimpleNamespace(body_seconds=30.0, refusals={}))

    def __init__(self, app: Any) -> None:
        """Take what answers."""
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        await self._app(scope, receive, send)


def tell_threads(folder: Path) -> None:
    """Write down which thread has which number."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    file = folder / f"threads-{os.getpid()}.json"
    new = file.with_suffix(".new")
    new.write_text(json.dumps(names))
    new.rename(file)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    else:
        began = time.monotonic()
        main()
        print(f"{time.monotonic() - began:.0f} s")
