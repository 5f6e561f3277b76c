"""Sign-ups, reads, pages and refusals: Reach beside PocketBase and a server that stores nothing."""

import sqlite3
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

from benchmarks.context import POSTGRES, SQLITE, Context, titled
from benchmarks.figures import BEFORE, Figure, Goal
from benchmarks.processes import Memory, Running
from benchmarks.rounds import CLIENT_SHARE, Turns, compare
from benchmarks.servers import (
    BARE,
    CORES,
    FASTAPI,
    PocketBase,
    Reach,
    Server,
    ask,
    bare,
    pocketbase_program,
    some_ids,
)
from tests.support.servers.redis import NoRedis, Redis

PEER = "PocketBase"
REFUSED, REFUSED_ALONE = "refused", "refused, one process"
FLOOR = (
    "an answer takes 5 ms at least, so that its time tells nothing (decision 15):"
    " {most:,} a second are the most over {connections} connections"
)
FLOOR_SECONDS = 0.005
OWN = "of Reach's processes; Postgres's own are not in it"
GROUP = 64
LARGEST = "the largest figure of this run"
TOO_MANY = 429

Found = Mapping[str, Turns]


class Stand:
    """Every server that takes part, all of them running; those whose turn it is not are idle."""

    def __init__(self, context: Context, stack: ExitStack) -> None:
        self.context = context
        self.size = context.size
        self.servers: dict[str, Server] = {}
        self.apis: dict[str, Running] = {}
        self._stack = stack
        started = self._start_reach()
        self._start_others()
        for name, reach, api in started:
            api.wait_for(f"{reach.base}/readyz")
            self.servers[name] = reach.server(name, api)
            self.apis[name] = api

    def _start_reach(self) -> list[tuple[str, Reach, Running]]:
        """Start Reach of each version on each database."""
        started = []
        for version in self.context.versions:
            for database in (SQLITE, POSTGRES):
                name = titled(database, version)
                reach = self.context.reach(f"requests-{name}", database, version)
                # Of a few seconds' run, one alone shows that several processes work.
                processes = CORES if database == SQLITE else self.size.processes
                api = self._stack.enter_context(reach.api(processes))
                started.append((name, reach, api))
        return started

    def _start_others(self) -> None:
        """Start PocketBase, if it is here, and the bare servers."""
        if program := pocketbase_program():
            peer = PocketBase(program, self.context.folder / "pocketbase")
            self._stack.enter_context(peer.running)
            self.servers[PEER] = peer.server()
        bares = [bare(name, self.context.folder, self.size.processes) for name in (BARE, FASTAPI)]
        for running, server in bares:
            self._stack.enter_context(running)
            self.servers[server.name] = server
        for running, server in bares:
            running.wait_for(f"{server.base}/openapi.json")

    def compare(
        self, what: str, names: Sequence[str], *, connections: int, seconds: float | None = None
    ) -> Found:
        """Compare those of the named that are here and can do it."""
        servers = [self.servers[name] for name in names if name in self.servers]
        size = replace(self.size, seconds=seconds or self.size.seconds)
        able = [server for server in servers if what in server.works]
        return compare(able, what, size, connections=connections)

    def read_records(self) -> None:
        """Have those that are on the first page be read, one after the other."""
        for server in self.servers.values():
            if server.stored is not None and server.works["sign-up"].status != TOO_MANY:
                ids = some_ids(server.works["page"])
                server.works["read"] = replace(server.works["read"], ids=ids)


def measure(context: Context) -> list[Figure]:
    """Measure every figure of what callers and operators ask."""
    with ExitStack() as stack:
        stand = Stand(context, stack)
        figures, served = sign_ups(stand)
        stand.read_records()
        figures += reads(stand)
        figures += refusals(stand, served, stack)
        figures += [memory(stand), *commits(context), client(stand, figures)]
    return figures


def client(stand: Stand, figures: Sequence[Figure]) -> Figure:
    """What the client reaches where the server does nearly nothing: twice what it is used for."""
    found = stand.compare(
        "livez", [BARE], connections=stand.size.most, seconds=stand.size.other_seconds
    )
    rates = [figure for figure in figures if figure.unit == "/s"]
    largest = max(max(*figure.rounds, *figure.beside.get(PEER, [0.0]), 0) for figure in rates)
    goal = Goal(2, is_least=True, beside=LARGEST)
    title = "the client, against bare ASGI, requests/s"
    note = said(found[BARE], "")
    return Figure(title, "/s", found[BARE].per_second, {LARGEST: [largest]}, goal, note)


def sign_ups(stand: Stand) -> tuple[list[Figure], Sequence[float]]:
    """Sign-ups a second, and the processor time of one."""
    figures = []
    before = [f"{BEFORE}, {database}" for database in (SQLITE, POSTGRES)]
    names = [SQLITE, POSTGRES, PEER, BARE, FASTAPI, *before]
    served: Sequence[float] = ()
    for connections in sorted(stand.size.connections, reverse=True):
        is_most = connections == stand.size.most
        some = names if is_most else [SQLITE, POSTGRES, PEER, BARE, before[0]]
        found = stand.compare("sign-up", some, connections=connections)
        goal = Goal(1.25, is_least=True, beside=PEER) if is_most else None
        floor = FLOOR.format(most=round(connections / FLOOR_SECONDS), connections=connections)
        words = f"over {connections} connections"
        figures += [
            rate(f"sign-ups/s, SQLite, {words}", SQLITE, found, goal=goal, note=floor),
            postgres_rate(f"sign-ups/s, Postgres, {words}", found, is_judged=is_most),
        ]
        if is_most:
            cost = Goal(250, is_least=False)
            figures.append(took("processor time a sign-up, SQLite", SQLITE, found, goal=cost))
            figures.append(took("processor time a sign-up, Postgres", POSTGRES, found, note=OWN))
            served = found[SQLITE].per_second
    return figures, served


def reads(stand: Stand) -> list[Figure]:
    """Reads and pages a second with an operator's key, and what answers at all."""
    figures = []
    before = [f"{BEFORE}, {SQLITE}"]
    for connections in sorted(stand.size.connections, reverse=True):
        names = [SQLITE, POSTGRES, PEER, BARE, *before]
        seconds = stand.size.read_seconds
        found = stand.compare("read", names, connections=connections, seconds=seconds)
        is_most = connections == stand.size.most
        goal = Goal(1.5, is_least=True, beside=PEER) if is_most else None
        words = f"over {connections} connections"
        figures.append(rate(f"reads/s, SQLite, {words}", SQLITE, found, goal=goal))
        figures.append(rate(f"reads/s, Postgres, {words}", POSTGRES, found))
        if is_most:
            cost = Goal(130, is_least=False)
            figures.append(took("processor time a read, SQLite", SQLITE, found, goal=cost))
            figures.append(took("processor time a read, Postgres", POSTGRES, found))
    connections = stand.size.most
    for what, title in (("page", "pages of 100 people/s"), ("livez", "GET /livez a second")):
        names = [SQLITE, PEER, BARE, *before] if what == "page" else [SQLITE, BARE, *before]
        found = stand.compare(
            what, names, connections=connections, seconds=stand.size.other_seconds
        )
        figures.append(rate(title, SQLITE, found))
    return figures


def refusals(stand: Stand, served: Sequence[float], stack: ExitStack) -> list[Figure]:
    """Refusals a second (429): all cores, counted in Redis; and one process that counts alone."""
    names = []
    try:
        redis = stack.enter_context(Redis.private())
    except NoRedis:
        ways = [(REFUSED_ALONE, 1, "")]
    else:
        ways = [(REFUSED, stand.size.processes, redis.url), (REFUSED_ALONE, 1, "")]
    for name, processes, url in ways:
        reach = stand.context.reach(name, SQLITE, limit_signups="1/day", redis_url=url)
        api = stack.enter_context(reach.api(processes)).wait_for(f"{reach.base}/readyz")
        # The first is served; whom it was for is asked for no more.
        ask("POST", f"{reach.base}/v1/signups", {"email": "first@example.com", "name": "Ada"})
        server = reach.server(name, api, status=TOO_MANY)
        server.stored = None
        stand.servers[name] = server
        names.append(name)
    found = stand.compare(
        "sign-up", names, connections=stand.size.most, seconds=stand.size.other_seconds
    )
    titles = {
        REFUSED: "refusals (429) a second, all cores, counted in Redis",
        REFUSED_ALONE: "refusals (429) a second, one process, counted in memory",
    }
    # What all cores refuse is judged by what all cores serve.
    goals = {names[0]: Goal(3, is_least=True, beside="sign-ups/s")}
    return [
        Figure(titles[name], "/s", found[name].per_second, {"sign-ups/s": served}, goals.get(name))
        for name in names
    ]


def memory(stand: Stand) -> Figure:
    """What an API process has in memory, after all that it was asked."""
    found = {name: api.memory() for name, api in stand.apis.items()}
    old = found.get(f"{BEFORE}, {SQLITE}")
    beside = {BEFORE: [old.rss]} if old else {}
    return memory_figure("memory of one API process, after the load", found[SQLITE], beside, 100)


def memory_figure(
    name: str, found: Memory, beside: Mapping[str, Sequence[float]], most: float
) -> Figure:
    """A figure of memory: resident, and beside it what is its own share (PSS)."""
    if found.pss is not None:
        beside = {"PSS": [found.pss], **beside}
    goal = Goal(most, is_least=False)
    return Figure(name, "MB", [found.rss], beside, goal, "resident (RSS), shared pages included")


def commits(context: Context) -> list[Figure]:
    """Commits a second of a bare loop on the same disk: the limit of SQLite with FULL."""
    figures = []
    for group in (1, GROUP):
        path = context.folder / f"commits-{group}.sqlite3"
        rounds = [
            commit_loop(str(path), group, context.size.other_seconds)
            for _ in range(context.size.rounds)
        ]
        words = "one" if group == 1 else str(group)
        note = "rows of a person and a message, by sqlite3 alone"
        title = f"limit: bare commit loop, {words} a commit, sign-ups/s"
        figures.append(Figure(title, "/s", rounds, note=note))
    return figures


def commit_loop(path: str, group: int, seconds: float) -> float:
    """Write so many people with a message each in every commit; people a second."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        columns = "id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT"
        database.execute(f"CREATE TABLE IF NOT EXISTS people ({columns})")
        database.execute("CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, person_id)")
        first: int = database.execute("SELECT count(*) FROM people").fetchone()[0]
        number, began = first, time.monotonic()
        while time.monotonic() < began + seconds:
            some = range(number, number + group)
            database.execute("BEGIN IMMEDIATE")
            rows = [(one, f"p{one}@example.com", "Ada Lovelace") for one in some]
            database.executemany("INSERT INTO people VALUES (?, ?, ?)", rows)
            database.executemany("INSERT INTO messages VALUES (?, ?)", [(n, n) for n in some])
            database.execute("COMMIT")
            number += group
        return (number - first) / (time.monotonic() - began)


def rate(
    title: str, name: str, found: Found, *, goal: Goal | None = None, note: str = ""
) -> Figure:
    """Requests a second of one, beside those of the others that are no other database's."""
    beside = {key: turns.per_second for key, turns in others(name, found).items()}
    return Figure(title, "/s", found[name].per_second, beside, goal, said(found[name], note))


def postgres_rate(title: str, found: Found, *, is_judged: bool) -> Figure:
    """Sign-ups a second on Postgres, beside SQLite's: those of before, if they are here."""
    old = f"{BEFORE}, {SQLITE}"
    names = {SQLITE: SQLITE, f"{BEFORE}, {POSTGRES}": BEFORE, old: old}
    beside = {name: found[key].per_second for key, name in names.items() if key in found}
    goal = Goal(1, is_least=True, beside=old) if is_judged else None
    return Figure(title, "/s", found[POSTGRES].per_second, beside, goal, said(found[POSTGRES], ""))


def took(
    title: str, name: str, found: Found, *, goal: Goal | None = None, note: str = ""
) -> Figure:
    """Processor time a request, of all processes of each."""
    beside = {key: turns.microseconds for key, turns in others(name, found).items()}
    return Figure(title, "µs", found[name].microseconds, beside, goal, note)


def others(name: str, found: Found) -> dict[str, Turns]:
    """What stands beside: before on the same database under that name, and no other Reach."""
    known = {f"{BEFORE}, {name}": BEFORE, PEER: PEER, BARE: BARE, FASTAPI: FASTAPI}
    return {known[key]: turns for key, turns in found.items() if key in known}


def said(turns: Turns, note: str) -> str:
    """A note, and a warning if the client may be what was measured."""
    share = max(turns.client_share)
    p50, p99 = map(statistics.median, (turns.p50_ms, turns.p99_ms))
    times = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    client = f"the client took {share:.0%} of a core"
    if share > CLIENT_SHARE:
        client += ": more than half, so the figure may be the client's"
    return "; ".join(filter(None, (note, times, client)))
