"""Settling by a worker: an attempt did happen, so that is noted however long it takes."""

import math
from contextlib import suppress
from functools import partial

import anyio
import structlog

from reach.db.engine import Database
from reach.messages import outbox
from reach.messages.leases import FAILURES, reason_of
from reach.messages.model import State
from reach.messages.settle import Settlement, settle_all
from reach.settings import Settings

log = structlog.get_logger("reach.worker")

POLL_SECONDS = 1.0
#: A settle that the database did not take is tried again this soon: before anybody else can
#: lease the message and send it a second time.
SETTLE_AGAIN_SECONDS = 0.1


class Settler:
    """Settles attempts in commits that many share; knows whether the database is away.

    ``is_away`` may be set by whoever finds it so; ``gives_up_at`` is on anyio's clock:
    from then on, what the database did not take is given up, and while it takes nothing, all.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        """Take where to settle."""
        self.is_away = False
        self.gives_up_at = math.inf
        self._database = database
        # Sign-ups cancel messages of their own choice first: in one transaction with them,
        # settling would lock messages in two orders.
        self._settle = database.group(partial(settle_all, settings=settings), apart=True)
        self._unsettled = 0
        #: Whether the last answer of the database, to any of them, was none.
        self._has_failed = False

    async def settle(self, settlement: Settlement) -> State | None:
        """Settle, however long the database is away: the message's state; None if too late.

        Repeating one whose COMMIT was lost is harmless: a lease is settled once.
        """
        self._unsettled += 1
        has_said = False
        try:
            while not (self._has_failed and anyio.current_time() > self.gives_up_at):
                try:
                    state = await self._settle(settlement)
                except FAILURES as error:
                    if not has_said:
                        log.warning("cannot settle yet", reason=reason_of(error))
                    self.is_away = self._has_failed = has_said = True
                    await anyio.sleep(SETTLE_AGAIN_SECONDS)
                else:
                    self._has_failed = False
                    return state
            return None
        finally:
            self._unsettled -= 1

    async def wait_until_back(self) -> None:
        """Wait until the database is back, and what became of attempts is noted.

        Leases ran out meanwhile: whoever leased before that would send again what was accepted,
        and could not be noted, by another worker or by this one.
        """
        while self.is_away:
            with suppress(*FAILURES):
                await self._database.read(outbox.look)
                self.is_away = self._unsettled > 0
            await anyio.sleep(POLL_SECONDS)
