"""kill -9 of a worker at a named point of telling a webhook: at least once, nothing lost, in order.

The points: leased and not sent; sent and not answered; answered and not recorded.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reach.db.database import Database
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import held, is_awaited
from tests.support.database.stored import sign_up
from tests.support.processes.running import KILLED, worker
from tests.support.servers.receiver import SILENT, Receiver
from tests.support.webhooks import add_webhook, events_in, tries_in

ROWS_OF_EVENTS = "SELECT id FROM webhook_events FOR UPDATE"


async def test_killed_at_each_point_it_tells_again(mailing: Settings, database: Database) -> None:
    """What comes after, of the same person, waits through it all; each attempt has the same id."""
    async with deaf_port() as port:
        types = ("person.signed_up", "person.changed")
        await add_webhook(database, mailing, f"http://127.0.0.1:{port}/", *types)
        await sign_up(database, mailing, "ada@example.com")
        await sign_up(database, mailing, "ada@example.com", name="Lovelace")
        async with worker(mailing) as first:
            await eventually(lambda: leases_in(database))
            first.kill()
            assert first.exit_code == KILLED
    async with Receiver(port=port) as receiver:
        receiver.answer = lambda _: SILENT
        async with worker(mailing) as second:
            await eventually(lambda: receiver.heard)
            second.kill()
            assert second.exit_code == KILLED
        assert (await tries_in(database), await leases_in(database)) == (0, 2)
        receiver.answer, receiver.gate = lambda _: 200, asyncio.Event()
        async with worker(mailing) as third:
            await eventually(lambda: len(receiver.heard) == 2)
            async with held(mailing, ROWS_OF_EVENTS):
                receiver.gate.set()
                await eventually(lambda: is_awaited(mailing, "UPDATE webhook_events"))
                third.kill()
                assert third.exit_code == KILLED
        assert (await tries_in(database), len(receiver.taken)) == (0, 1)
        async with worker(mailing):
            await eventually(lambda: is_told(database))
    assert [one.type for one in receiver.heard] == [*["person.signed_up"] * 3, "person.changed"]
    assert len({one.id for one in receiver.heard}) == 2


async def leases_in(database: Database) -> int:
    """How many leases of events there were."""
    return sum(row.lease for row in await events_in(database))


async def is_told(database: Database) -> bool:
    """Whether all is told."""
    return {row.state for row in await events_in(database)} == {"delivered"}


@asynccontextmanager
async def deaf_port() -> AsyncIterator[int]:
    """Give a port at which nobody can connect: what waits there is not accepted, and fills it."""
    with socket.socket() as listening, socket.socket() as one, socket.socket() as other:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for waiting in (one, other):
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
