"""What a worker does for the search of people: see ``search_index``."""

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import structlog
from sqlalchemy import Select

from reach.db.database import Database
from reach.delivery.leases import FAILURES, reason_of
from reach.people import search_index
from reach.people.search_index import Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reach.delivery.cleanup import Sweep

log = structlog.get_logger("reach.worker")

#: Nobody announces what there is to do: until then, it is found without the index.
LOOK_SECONDS = 5.0


class Indexing:
    """Keeps the index that people are searched by. Where there is nothing to do, it only looks."""

    channel = "reach_people"
    waiting: Select[Any] | None = None
    sweeps: "Sequence[Sweep]" = ()

    def __init__(self, database: Database) -> None:
        """Take the collaborator."""
        self._database = database
        #: Which block is looked at next, whether it lacks somebody.
        self._number = 0

    def wake(self) -> None:
        """Nothing wakes it."""

    async def run(self) -> NoReturn:
        """Look every 5 s, until cancelled."""
        while True:
            try:
                await self.keep()
            except FAILURES as error:
                log.warning("cannot keep the index of people", reason=reason_of(error))
            await anyio.sleep(LOOK_SECONDS)

    async def keep(self) -> None:
        """Set right who has changed; then make blocks, as long as there are people for one.

        Each time one of the blocks that are there is counted: of a thousand none costs much.
        """
        while await self._database.read(search_index.is_any_changed):
            if not await self._database.write(search_index.set_right):
                break  # another worker has them in hand
        while (block := await self._database.read(search_index.next_block)) is not None:
            if not await self._add(block):
                break
        incomplete = await self._database.read(search_index.incomplete, self._number)
        if incomplete is not None:
            await self._add(incomplete, again=True)
        count = await self._database.read(search_index.count)
        self._number = (self._number + 1) % max(count, 1)

    async def _add(self, block: Block, *, again: bool = False) -> bool:
        """Write a block; its bits are worked out while the rest of this process goes on."""
        ready = await asyncio.to_thread(search_index.with_bits, block)
        return await self._database.write(search_index.add, ready, again=again)
