"""Times at an even pace: sign-up to acceptance, sign-ups while mail fails, starts."""

import asyncio
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from benchmarks.context import Context
from benchmarks.figures import BEFORE, Figure, Goal
from benchmarks.load import Paced, pace
from benchmarks.processes import WAIT_SECONDS, until
from benchmarks.servers import Reach, Version, ask
from benchmarks.sink import Taken, sink

PER_SECOND = 100.0
WARM = 50
NORMAL, DOWN, STALLED = "normal", "down", "stalled"
TWO = "its lease, and its outcome"
NOBODY = "smtp://127.0.0.1:1"


def measure(context: Context) -> list[Figure]:
    """Measure all that is asked at an even pace, on each database."""
    figures = []
    for database in context.size.databases:
        with ExitStack() as stack:
            taken = stack.enter_context(sink())
            urls = {NORMAL: taken.url, DOWN: NOBODY, STALLED: stack.enter_context(silent())}
            each = install(context, database, urls, stack)
            figures += idle(context, database, each[NORMAL], taken)
            figures += accepted(context, database, each[NORMAL], taken)
            figures += failing(context, database, each)
    return figures


def install(
    context: Context, database: str, urls: Mapping[str, str], stack: ExitStack
) -> dict[str, Reach]:
    """Run Reach as its users do, its API and a worker, for each mail server."""
    each, started = {}, []
    for kind, url in urls.items():
        reach = each[kind] = context.reach(f"{kind}-{database}", database, smtp_url=url)
        api, worker = (
            stack.enter_context(reach.api(context.size.processes)),
            stack.enter_context(reach.worker()),
        )
        started.append((reach, api, worker))
    for reach, api, worker in started:
        api.wait_for(f"{reach.base}/readyz")
        worker.wait_for(words="worker started")
    return each


def idle(context: Context, database: str, reach: Reach, taken: Taken) -> list[Figure]:
    """Write transactions of a worker: while nothing is due, and for one sign-up."""
    paced(reach, "warm", WARM)
    taken.next(WARM)
    before = quiet(reach, context.size.quiet_seconds)
    time.sleep(context.size.idle_seconds)
    after = reach.writes()
    paced(reach, "one", 1)
    taken.next(1)
    words = f"write transactions of a worker, {database}"
    none, two = Goal(0, is_least=False), Goal(2, is_least=False)
    minute = (after - before) * 60 / context.size.idle_seconds
    return [
        Figure(f"{words}: idle, a minute", "", [minute], goal=none),
        Figure(f"{words}: for one sign-up", "", [reach.writes() - after], goal=two, note=TWO),
    ]


def quiet(reach: Reach, seconds: float) -> float:
    """Wait until the worker has written what was left: counters, say. How much it is by then."""
    deadline = time.monotonic() + WAIT_SECONDS
    last, now = -1.0, reach.writes()
    while last != now:
        assert time.monotonic() < deadline, "a worker that has nothing to do writes on"
        time.sleep(seconds)
        last, now = now, reach.writes()
    return now


def accepted(context: Context, database: str, reach: Reach, taken: Taken) -> list[Figure]:
    """Milliseconds from a sign-up's first byte to the mail server's acceptance."""
    p50, p99 = [], []
    for number in range(context.size.paced_rounds):
        begun = paced(reach, f"a{number}-", context.size.paced).begun
        found = taken.next(context.size.paced)
        assert {email for _, email in found} == set(begun), "a mail is missing or came twice"
        delays = [(at - begun[email]) * 1000 for at, email in found]
        p50.append(statistics.median(delays))
        p99.append(statistics.quantiles(delays, n=100, method="inclusive")[98])
    words = f"sign-up to acceptance, {database}, {PER_SECOND:.0f} a second"
    return [
        Figure(f"{words}: p50", "ms", p50, goal=Goal(20, is_least=False)),
        Figure(f"{words}: p99", "ms", p99, goal=Goal(60, is_least=False)),
    ]


def failing(context: Context, database: str, each: Mapping[str, Reach]) -> list[Figure]:
    """How long sign-ups take while the mail server is down or stalled, beside a normal one."""
    found: dict[str, list[float]] = {kind: [] for kind in each}
    before = {kind: reach.stored() for kind, reach in each.items()}
    for number in range(-1, context.size.paced_rounds):
        for kind, reach in each.items():
            count = context.size.paced if number >= 0 else WARM
            p99 = paced(reach, f"f{number}-", count).p99_ms
            found[kind] += [p99] if number >= 0 else []
    added = WARM + context.size.paced_rounds * context.size.paced
    for kind, reach in each.items():
        assert reach.stored() == {table: rows + added for table, rows in before[kind].items()}
    goal = Goal(1.1, is_least=False, beside=NORMAL)
    return [
        Figure(
            f"sign-up p99, {database}, mail server {kind}",
            "ms",
            found[kind],
            {NORMAL: found[NORMAL]},
            goal,
            "a worker tries to send meanwhile",
        )
        for kind in (DOWN, STALLED)
    ]


def measure_start(context: Context) -> list[Figure]:
    """Seconds from `reach up` to the first sign-up's 202, in a folder that is not there yet."""
    rounds: dict[str, list[float]] = {version.name: [] for version in context.versions}
    for _ in range(context.size.starts):
        for version in context.versions:
            rounds[version.name].append(start(version))
    now, *others = (rounds[version.name] for version in context.versions)
    beside = {BEFORE: others[0]} if others else {}
    title = "`reach up`, new folder, to the first 202"
    return [Figure(title, "s", now, beside, Goal(1, is_least=False))]


def start(version: Version) -> float:
    """Start it once."""
    with tempfile.TemporaryDirectory() as folder:
        running, base = Reach.new(version, Path(folder))
        began = time.monotonic()
        with running:
            until(lambda: is_signed_up(base))
            return time.monotonic() - began


def is_signed_up(base: str) -> bool:
    """Sign up, if somebody listens. Any answer but a 202 is an error."""
    try:
        ask("POST", f"{base}/v1/signups", {"email": "first@example.com", "name": "Ada"})
    except httpx.TransportError:
        return False
    return True


def paced(reach: Reach, name: str, count: int) -> Paced:
    """Sign up so many at the pace."""
    return asyncio.run(pace(reach.port, count=count, per_second=PER_SECOND, name=name))


@contextmanager
def silent() -> Iterator[str]:
    """A mail server that takes every connection and says nothing: its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"smtp://127.0.0.1:{listener.getsockname()[1]}"
