"""Alternating rounds: every server does the same work in turns, over the same client."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from benchmarks.client import Load, Refused, send
from benchmarks.servers import CORES, Server

#: Each load's addresses are of its own.
_LOADS = count()
#: A client that took more than this of a core may be what was measured.
CLIENT_SHARE = 0.5


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int = 3
    seconds: float = 2
    #: Those of what is not a sign-up: below 1 it is our own client's, which starts sooner.
    read_seconds: float = 2
    other_seconds: float = 1.5
    warm_seconds: float = 1
    connections: tuple[int, ...] = (16, 64)
    mails: int = 3000
    #: Processes of an API; one of them, in the sign-ups, always has as many as cores.
    processes: int = CORES
    #: Where what is asked at an even pace, and what being watched costs, is measured.
    databases: tuple[str, ...] = ("SQLite", "Postgres")
    paced: int = 300
    paced_rounds: int = 3
    idle_seconds: float = 20
    #: A worker that writes nothing for so long has nothing left to write. It folds each 5 s.
    quiet_seconds: float = 6
    starts: int = 5
    turns: int = 5
    turn_sign_ups: int = 1500
    #: People of a list that is imported and exported.
    listed: int = 1_000_000
    #: Reports that are taken in.
    reports: int = 10_000

    @property
    def most(self) -> int:
        """The most connections."""
        return max(self.connections)


FULL = Size()
QUICK = Size(
    rounds=1,
    seconds=1,
    read_seconds=0.3,
    other_seconds=0.3,
    warm_seconds=0,
    connections=(16,),
    mails=40,
    processes=1,
    databases=("Postgres",),
    paced=20,
    paced_rounds=1,
    idle_seconds=0.5,
    quiet_seconds=0.1,
    starts=1,
    turns=1,
    turn_sign_ups=64,
    listed=2500,
    reports=200,
)


@dataclass
class Turns:
    """What a server's turns came to, one entry a round."""

    per_second: list[float] = field(default_factory=list)
    microseconds: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    client_share: list[float] = field(default_factory=list)

    def add(self, load: Load, busy: float) -> None:
        """Note one."""
        self.per_second.append(load.per_second)
        self.microseconds.append(busy / load.answered * 1e6)
        self.p50_ms.append(load.p50_ms)
        self.p99_ms.append(load.p99_ms)
        self.client_share.append(load.client_share)


def take_turn(server: Server, what: str, *, seconds: float, connections: int) -> tuple[Load, float]:
    """Load a server once. Returns that, and its processor time. Raises Refused."""
    before = server.busy_seconds()
    work = server.works[what]
    try:
        load = send(work, seconds=seconds, connections=connections, prefix=f"load{next(_LOADS)}-")
    except Refused as reason:
        raise Refused(f"{server.name}, {what}: {reason}") from None
    busy = server.busy_seconds() - before
    if work.method == "POST":
        server.answered += load.answered
        server.unanswered += load.unanswered
        server.check()
    return load, busy


def compare(
    servers: Sequence[Server], what: str, size: Size, *, connections: int
) -> Mapping[str, Turns]:
    """Let each take its turn, round after round; a round begins with another one each time."""
    found = {server.name: Turns() for server in servers}
    for server in servers if size.warm_seconds else ():
        take_turn(server, what, seconds=size.warm_seconds, connections=connections)
    for number in range(size.rounds):
        first = number % len(servers)
        for server in (*servers[first:], *servers[:first]):
            load, busy = take_turn(server, what, seconds=size.seconds, connections=connections)
            found[server.name].add(load, busy)
    return found


def ratio(some: Sequence[float], others: Sequence[float]) -> float:
    """The median of what each round's figures are to each other."""
    return statistics.median(one / other for one, other in zip(some, others, strict=True))
