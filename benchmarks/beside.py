"""What holds Postgres back, and how soon it is back: `python -m benchmarks.beside --seconds 600`.

*idle*, *readers*: people sign up in commits of 16, and a worker's transactions look for what is
due, lease it and record that it was sent; in two databases of one server, in turns of 5 s. One of
them is beside a session idle in transaction, or beside four that read for ever in one REPEATABLE
READ each: so long vacuum removes nothing there. The goal is 0.9 times the other's, in the last
third as well.

*restart*, *backends*, *pool*, *kills*: 16 clients sign up, and the server restarts, ten of its
processes are ended, all connections of the pool are in use for 2 s, or the server is killed three
times. The goal is 0.95 times as many sign-ups a second, from 5 s after the last of it.

Refused: an answer that was no promise (everybody who was told yes must be there), any failure but
one that says that the database is unavailable.
"""

import argparse
import asyncio
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import asyncpg
from pydantic import SecretStr
from sqlalchemy import func, select, text

from benchmarks.delivering import BATCH, deliver
from benchmarks.sizes import requests
from reach.db.connect import open_database
from reach.db.errors import DatabaseUnavailable
from reach.db.migrate import migrate
from reach.db.transaction import Transaction
from reach.messages.front import Front
from reach.messages.model import messages
from reach.people.model import people
from reach.people.schemas import Submission
from reach.people.signup import sign_up_all
from reach.settings import Settings
from tests.support.servers.postgres import Postgres

CLIENTS, READERS, ENDED, KILLS = 16, 4, 10, 3
TURN_SECONDS, BEFORE_SECONDS, WITHIN_SECONDS, HELD_SECONDS = 5.0, 8.0, 5.0, 2.0
BESIDE_GOAL, BACK_GOAL = 0.9, 0.95
END_SOME = (
    "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity "
    f"WHERE application_name = 'reach' AND pid <> pg_backend_pid() LIMIT {ENDED}) AS ours"
)
READ = "SELECT count(*) FROM (SELECT id FROM people ORDER BY id DESC LIMIT 1000) AS newest"


class Outbox:
    """A database in which people sign up, and what they are owed is delivered."""

    def __init__(self, settings: Settings) -> None:
        """Open it."""
        self.settings = settings
        self.database = open_database(settings)
        self.front = Front()
        self.sent = 0
        self.rates: list[float] = []

    async def turn(self, seconds: float) -> None:
        """Deliver for so long, and note how many a second that was."""
        began, before = time.monotonic(), self.sent
        while time.monotonic() - began < seconds:
            await self.deliver()
        self.rates.append((self.sent - before) / (time.monotonic() - began))

    async def deliver(self) -> None:
        """Sign some up, lease what they are owed, and record that it was sent."""
        wanted = list(map(Submission, requests(self.sent, BATCH)))
        await self.database.write(sign_up_all, wanted, self.settings)
        await deliver(self.database, self.settings, self.front)
        self.sent += BATCH


def settings_of(url: str, folder: str) -> Settings:
    """Settings for a database, which is migrated."""
    settings = Settings(
        data_dir=Path(folder),
        database_url=SecretStr(url),
        secret_key=SecretStr(secrets.token_hex(32)),
    )
    migrate(settings.database)
    return settings


async def begun(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """Open a session that keeps one snapshot."""
    connection = await asyncpg.connect(url)
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await connection.fetch(READ)
    return connection


async def read_for_ever(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Read again and again what the snapshot holds."""
    while True:
        await connection.fetch(READ)
        await asyncio.sleep(0.1)


async def beside(what: str, server: Postgres, folder: str, seconds: float) -> bool:
    """Deliver in both databases in turns; whether the one that is held keeps up."""
    admin = await asyncpg.connect(server.url)
    urls = [f"{server.url.rpartition('/')[0]}/{what}_{name}" for name in ("free", "held")]
    for url in urls:
        await admin.execute(f"CREATE DATABASE {url.rpartition('/')[2]}")
    found = [await asyncio.to_thread(settings_of, url, folder) for url in urls]
    free, held = map(Outbox, found)
    sessions = [await begun(urls[1]) for _ in range(1 if what == "idle" else READERS)]
    readers = [asyncio.create_task(read_for_ever(s)) for s in sessions if what == "readers"]
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        for outbox in (free, held):
            await outbox.turn(TURN_SECONDS)
    for reader in readers:
        assert not reader.done()  # or it has failed
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    for session in sessions:
        session.terminate()
    for outbox in (free, held):
        assert await outbox.database.read(_count) == (outbox.sent, outbox.sent)
        await outbox.database.close()
    await admin.close()
    ratios = [b / a for a, b in zip(free.rates, held.rates, strict=True)]
    last = ratios[-max(len(ratios) // 3, 1) :]
    ratio, late = statistics.median(ratios), statistics.median(last)
    print(
        f"{what:9} {statistics.median(free.rates):6.0f} a second; beside it {ratio:.2f} times, "
        f"in the last third {late:.2f} (goal {BESIDE_GOAL}); {held.sent} delivered",
        flush=True,
    )
    return min(ratio, late) >= BESIDE_GOAL


def _count(tx: Transaction) -> tuple[int, int]:
    everybody = select(func.count()).select_from(people)
    sent = select(func.count()).select_from(messages).where(messages.c.state == "sent")
    return tx.execute(everybody).scalar_one(), tx.execute(sent).scalar_one()


class Crowd:
    """Clients that sign up as fast as they are told yes."""

    def __init__(self, settings: Settings) -> None:
        """Open the database."""
        self.settings = settings
        self.database = open_database(settings)
        self.join = self.database.group(partial(sign_up_all, settings=settings))
        self.yes = self.no = self.asked = 0

    async def client(self) -> None:
        """Sign up one after the other; what is unavailable is tried with somebody else."""
        while True:
            (form,) = requests(self.asked, 1)
            self.asked += 1
            try:
                await self.join(Submission(form))
                self.yes += 1
            except DatabaseUnavailable:
                self.no += 1
                await asyncio.sleep(0.05)

    async def rate(self, seconds: float) -> float:
        """How many were told yes a second, in the next seconds."""
        began, before = time.monotonic(), self.yes
        await asyncio.sleep(seconds)
        return (self.yes - before) / (time.monotonic() - began)


async def restart(server: Postgres, _: Crowd) -> None:
    """Stop and start it."""
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)


async def backends(server: Postgres, _: Crowd) -> None:
    """End ten of its processes, or as many as there are of Reach's."""
    connection = await asyncpg.connect(server.url)
    await connection.fetch(END_SOME)
    await connection.close()


async def pool(_: Postgres, crowd: Crowd) -> None:
    """Have other transactions take every connection of the pool."""

    def sleep(tx: Transaction) -> None:
        tx.execute(text(f"SELECT pg_sleep({HELD_SECONDS})"))

    many = range(crowd.settings.database_connections)
    await asyncio.gather(*(crowd.database.read(sleep) for _ in many))


async def kills(server: Postgres, _: Crowd) -> None:
    """Kill it three times."""
    for _number in range(KILLS):
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await asyncio.sleep(1)


EVENTS: dict[str, Callable[[Postgres, Crowd], Awaitable[None]]] = {
    "restart": restart,
    "backends": backends,
    "pool": pool,
    "kills": kills,
}


async def back(what: str, server: Postgres, folder: str) -> bool:
    """Sign up before, during and after; whether it is as fast again in time."""
    settings = await asyncio.to_thread(settings_of, server.url, folder)
    crowd = Crowd(settings)
    clients = [asyncio.create_task(crowd.client()) for _ in range(CLIENTS)]
    await crowd.rate(BEFORE_SECONDS / 2)  # it warms up
    before = await crowd.rate(BEFORE_SECONDS)
    await EVENTS[what](server, crowd)
    seconds = [await crowd.rate(1.0) for _ in range(int(WITHIN_SECONDS))]
    after = await crowd.rate(BEFORE_SECONDS)
    for client in clients:
        assert not client.done()  # or it has failed
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    there, _ = await crowd.database.read(_count)
    await crowd.database.close()
    assert crowd.yes <= there <= crowd.asked, (crowd.yes, there, crowd.asked)
    each = " ".join(f"{one / before:.2f}" for one in seconds)
    print(
        f"{what:9} {before:6.0f} a second; after it {after / before:.2f} times "
        f"(goal {BACK_GOAL}); its first seconds {each}; told no: {crowd.no}",
        flush=True,
    )
    return after >= BACK_GOAL * before


def main() -> None:
    """Measure what is asked for; exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--what", default=",".join(["idle", "readers", *EVENTS]))
    given = parser.parse_args()
    good = []
    for what in given.what.split(","):
        with tempfile.TemporaryDirectory() as folder, Postgres.private() as server:
            if what in EVENTS:
                good.append(asyncio.run(back(what, server, folder)))
            else:
                good.append(asyncio.run(beside(what, server, folder, given.seconds)))
    raise SystemExit(not all(good))


if __name__ == "__main__":
    main()
