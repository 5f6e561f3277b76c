"""Reports that one `reach inbound` takes in: DSNs over several LMTP connections, each committed.

Each is about a message of its own. Every answer must be 250, and every message be bounced in the
end, its address suppressed.
"""

import asyncio
import time
from collections.abc import Sequence

from pydantic import SecretStr

from benchmarks.context import Context
from benchmarks.figures import Figure, Goal
from benchmarks.processes import Running
from benchmarks.servers import SECRET, Reach
from reach.db.connect import open_database
from reach.settings import Settings
from tests.support.database.stored import addresses
from tests.support.inbound import dsn, send
from tests.support.processes.ports import free_port

#: 10,000 a minute.
GOAL = Goal(10_000 / 60, is_least=True)
#: As many as Postfix opens, unless it is told otherwise.
CONNECTIONS = 20
#: Messages that are promised and sent in one transaction.
FILLING = 500
RETURN_PATH = "bounces@mail.example.org"
BOUNCED = "SELECT count(*) FROM messages WHERE state = 'bounced'"
SUPPRESSED = "SELECT count(*) FROM suppressions"


def measure(context: Context) -> list[Figure]:
    """Measure it on each database."""
    figures = []
    for database in context.size.databases:
        port, count = free_port(), context.size.reports
        bind = f"lmtp://127.0.0.1:{port}"
        name = f"inbound-{database}"
        reach = context.reach(name, database, return_path=RETURN_PATH, inbound_bind=bind)
        mails = asyncio.run(fill(reach, count))
        with reach.inbound() as inbound:
            inbound.wait_for(words="inbound started")
            seconds, busy = take(inbound, port, mails)
        assert (reach.rows(BOUNCED), reach.rows(SUPPRESSED)) == (count, count)
        note = f"{busy / count * 1e6:.0f} µs of its processor time each; {CONNECTIONS} connections"
        what = f"Reports taken in, {count:,} DSNs, {database}"
        figures.append(Figure(what, "/s", [count / seconds], goal=GOAL, note=note))
    return figures


async def fill(reach: Reach, count: int) -> Sequence[tuple[str, bytes]]:
    """Send so many messages, and write the DSN of each, with the address that it comes back to."""
    settings = Settings(
        database_url=SecretStr(reach.database_url),
        secret_key=SecretStr(SECRET),
        return_path=RETURN_PATH,
    )
    database = open_database(settings)
    mails: list[tuple[str, bytes]] = []
    try:
        for first in range(0, count, FILLING):
            some = addresses(min(FILLING, count - first), f"r{first}-")
            paths = await send(settings, database, *some)
            mails += [(path, dsn(path, to)) for path, to in zip(paths, some, strict=True)]
    finally:
        await database.close()
    return mails


def take(inbound: Running, port: int, mails: Sequence[tuple[str, bytes]]) -> tuple[float, float]:
    """Have all of it taken in: how long that took, and how much of it the process was busy."""
    busy, began = inbound.busy_seconds(), time.monotonic()
    asyncio.run(deliver_all(port, mails))
    return time.monotonic() - began, inbound.busy_seconds() - busy


async def deliver_all(port: int, mails: Sequence[tuple[str, bytes]]) -> None:
    """Deliver over all connections at the same time."""
    shares = [mails[n::CONNECTIONS] for n in range(CONNECTIONS)]
    await asyncio.gather(*(deliver(port, share) for share in shares))


async def deliver(port: int, mails: Sequence[tuple[str, bytes]]) -> None:
    """Deliver over one connection, one mail after the other, as Postfix does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def expect(*codes: bytes) -> None:
        for code in codes:
            line = await reader.readline()
            while line[3:4] == b"-":
                line = await reader.readline()
            assert line[:3] == code, line

    try:
        await expect(b"220")
        writer.write(b"LHLO mail.example.org\r\n")
        await expect(b"250")
        for path, mail in mails:
            writer.write(b"MAIL FROM:<> SIZE=%d\r\nRCPT TO:<%b>\r\n" % (len(mail), path.encode()))
            writer.write(b"DATA\r\n")
            await expect(b"250", b"250", b"354")
            writer.write(mail + b".\r\n")
            await expect(b"250")
    finally:
        writer.close()
