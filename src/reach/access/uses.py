"""When keys were last used: noted beside the answers, and never in their way."""

import asyncio
import time
from contextvars import Context
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from reach.auth import keys
from reach.auth.keys import ApiKey
from reach.db.database import Database
from reach.problems import ServiceUnavailable

log = structlog.get_logger("reach.access")


class KeyUses:
    """Notes that keys are used.

    Reading must go on where nothing can be written (a full disk, a lock, a standby), so this
    is best effort: not awaited, and after a failure not tried again for a minute.
    """

    def __init__(self, database: Database) -> None:
        """Take where to note it."""
        self._database = database
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._rests_until: dict[UUID, float] = {}

    def note(self, key: ApiKey) -> None:
        """Note that ``key`` is used now, unless that was done within the last minute."""
        if key.last_used_at is not None:
            since = abs(datetime.now(UTC) - key.last_used_at)  # ahead, if the clock was set back
            if since <= timedelta(seconds=keys.LAST_USED_SECONDS):
                return
        if key.id in self._tasks or time.monotonic() < self._rests_until.get(key.id, 0):
            return
        task = self._tasks[key.id] = asyncio.create_task(self._touch(key.id), context=Context())
        task.add_done_callback(lambda _: self._tasks.pop(key.id))

    async def close(self) -> None:
        """Give up what is not noted yet."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _touch(self, key_id: UUID) -> None:
        try:
            await self._database.write(keys.touch, key_id)
        except ServiceUnavailable as problem:
            self._rests_until[key_id] = time.monotonic() + keys.LAST_USED_SECONDS
            log.warning("the last use of a key was not noted", reason=problem.detail)
