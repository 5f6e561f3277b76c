"""Emails a second of a worker, beside ready-made ones; and what a worker has in memory."""

import asyncio
import smtplib
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import aiosmtplib

from benchmarks.context import POSTGRES, SQLITE, Context, titled
from benchmarks.figures import BEFORE, Figure, Goal
from benchmarks.load import flood
from benchmarks.processes import Running
from benchmarks.servers import NOW, Reach, Version
from benchmarks.serving import memory_figure
from benchmarks.sink import Taken, sink
from reach.mail.compose import Mail
from tests.support.messages import a_composer, a_message

SLOTS, FILLING = 8, 64
#: More than are sent here.
NO_BOUND = "0"
UNBOUNDED = "all on its connections"
SMTPLIB, AIOSMTPLIB = "smtplib, one connection", "aiosmtplib, eight connections"
#: What is sent without being measured.
WARM_MAILS = 50


@dataclass
class Mailer:
    """A worker, and the API that gives it something to do."""

    reach: Reach
    api: Running
    worker: Running
    taken: Taken
    per_second: list[float] = field(default_factory=list)
    microseconds: list[float] = field(default_factory=list)
    promised: int = 0

    def take_turn(self, mails: int) -> None:
        """Let so many pile up, then have the worker send them; every one once is checked."""
        prefix = self._fill(mails)
        wanted = {f"{prefix}{number}@example.com" for number in range(mails)}
        before = self.worker.busy_seconds()
        self.worker.cont()
        found = self.taken.next(mails)
        self.microseconds.append((self.worker.busy_seconds() - before) / mails * 1e6)
        assert {email for _, email in found} == wanted, "a mail is missing or came twice"
        left = self.reach.rows("SELECT count(*) FROM messages WHERE state <> 'sent'")
        assert left == 0, f"{left} messages are not recorded as sent"
        assert self.reach.stored()["messages"] == self.promised
        self.per_second.append((mails - 1) / (found[-1][0] - found[0][0]))

    def _fill(self, mails: int) -> str:
        """Sign up so many while the worker is frozen; the beginning of their addresses."""
        self.worker.pause()
        prefix = f"m{self.promised}-"
        self.promised += mails
        asyncio.run(flood(self.reach.port, count=mails, connections=FILLING, name=prefix))
        return prefix


def measure(context: Context) -> list[Figure]:
    """Measure every worker in turns, and the two ready-made ways with them."""
    with ExitStack() as stack:
        mailers = start(context, stack)
        ready = a_composer().compose(a_message())
        taken = stack.enter_context(sink())
        beside: dict[str, list[float]] = {SMTPLIB: [], AIOSMTPLIB: []}
        for mailer in mailers.values() if context.size.warm_seconds else ():
            mailer.take_turn(WARM_MAILS)
            mailer.per_second.clear()
            mailer.microseconds.clear()
        for _ in range(context.size.rounds):
            mails = context.size.mails
            beside[SMTPLIB].append(by_smtplib(taken.port, ready, mails))
            beside[AIOSMTPLIB].append(asyncio.run(by_aiosmtplib(taken.port, ready, mails)))
            taken.next(mails + mails // SLOTS * SLOTS)
            for mailer in mailers.values():
                mailer.take_turn(mails)
        return [*figures(mailers, beside), memory(mailers)]


def start(context: Context, stack: ExitStack) -> dict[str, Mailer]:
    """Start a worker of each kind, with an API that gives it something to do."""
    mailers = {}
    kinds: list[tuple[str, Version, str, dict[str, str]]] = [
        (titled(database, v), v, database, {})
        for database in (SQLITE, POSTGRES)
        for v in context.versions
    ]
    unbounded = {"smtp_messages_per_connection": NO_BOUND}
    kinds += [(f"{one}, {UNBOUNDED}", NOW, one, unbounded) for one in (SQLITE, POSTGRES)]
    for name, version, database, changes in kinds:
        taken = stack.enter_context(sink())
        settings = {"smtp_url": taken.url, "worker_slots": str(SLOTS), **changes}
        reach = context.reach(f"mails-{name}", database, version, **settings)
        api = stack.enter_context(reach.api(1))
        worker = stack.enter_context(reach.worker())
        mailers[name] = Mailer(reach, api, worker, taken)
    for mailer in mailers.values():
        mailer.api.wait_for(f"{mailer.reach.base}/readyz")
        mailer.worker.wait_for(words="worker started")
    return mailers


def figures(mailers: Mapping[str, Mailer], beside: dict[str, list[float]]) -> list[Figure]:
    """Mails a second, and processor time of one, on each database."""
    found = []
    for database in (SQLITE, POSTGRES):
        for name, words in ((database, "by default"), (f"{database}, {UNBOUNDED}", UNBOUNDED)):
            mailer, old = mailers[name], mailers.get(f"{BEFORE}, {database}")
            earlier = {BEFORE: old.per_second} if old else {}
            goal = Goal(0.6, is_least=True, beside=AIOSMTPLIB)
            title = f"emails/s, {database}, one worker, {words}"
            found.append(Figure(title, "/s", mailer.per_second, {**beside, **earlier}, goal))
            title = f"processor time a mail, {database}, {words}"
            taken = {BEFORE: old.microseconds} if old else {}
            found.append(Figure(title, "µs", mailer.microseconds, taken))
    return found


def memory(mailers: Mapping[str, Mailer]) -> Figure:
    """What a worker has in memory, after all that it sent."""
    old = mailers.get(f"{BEFORE}, {SQLITE}")
    beside = {BEFORE: [old.worker.memory().rss]} if old else {}
    found = mailers[SQLITE].worker.memory()
    return memory_figure("memory of one worker, after the load", found, beside, 80)


def by_smtplib(port: int, ready: Mail, mails: int) -> float:
    """Mails a second of the standard library, over one connection."""
    with smtplib.SMTP("127.0.0.1", port) as client:
        began = time.monotonic()
        for _ in range(mails):
            client.sendmail(ready.sender, [ready.recipient], ready.content)
        return mails / (time.monotonic() - began)


async def by_aiosmtplib(port: int, ready: Mail, mails: int) -> float:
    """Mails a second of aiosmtplib, over eight connections."""

    async def send() -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
        async with client:
            for _ in range(mails // SLOTS):
                await client.sendmail(ready.sender, [ready.recipient], ready.content)

    began = time.monotonic()
    await asyncio.gather(*(send() for _ in range(SLOTS)))
    return mails // SLOTS * SLOTS / (time.monotonic() - began)
