"""Delivering events: what a worker does for webhooks beside sending email.

Each webhook has a few attempts under way at a time, each for another person, and none while it is
paused. What became of attempts is recorded in commits that they share.
"""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NoReturn
from uuid import UUID

import anyio
import structlog

from reach.db.database import Database
from reach.delivery.attempt import next_delay_seconds
from reach.delivery.leases import FAILURES, now_seconds, reason_of
from reach.events.model import EventState
from reach.events.noting import CHANNEL
from reach.settings import Settings
from reach.telemetry.logging import frames
from reach.telemetry.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS
from reach.webhooks import endpoints, health, history, queue, secrets
from reach.webhooks.endpoints import MANY_FAILURES
from reach.webhooks.payload import body_of
from reach.webhooks.queue import RESULTS, Due, Look, Tried
from reach.webhooks.secrets import Seals, Unsealable
from reach.webhooks.sending import WHOLE_SECONDS, Answer, post
from reach.webhooks.targets import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reach.delivery.cleanup import Sweep

log = structlog.get_logger("reach.worker")

#: How often a worker looks, whatever it is told.
POLL_SECONDS = 1.0
#: Without webhooks there is less to look for.
IDLE_SECONDS = 5.0
#: Attempts of one worker at one webhook at the same time, each for another person.
SLOTS = 8
#: The wait after a failure: it doubles up to four hours.
FIRST_DELAY_SECONDS, MOST_DELAY_SECONDS = 5.0, 4 * 3600.0
#: A part of the lease, by which an attempt is over: nobody else has the event by then.
SHARE = 0.75
#: How long a worker that stops waits for answers.
STOP_SECONDS = 5.0
#: How often, and how soon after each other, the database is asked to record what it did not take.
RECORD_TRIES, RECORD_AGAIN_SECONDS = 5, 0.5

_attempts = {result: WEBHOOK_ATTEMPTS.labels(result) for result in RESULTS}


class Deliveries:
    """What a worker does so that other systems hear what happened."""

    channel, waiting = CHANNEL, None

    def __init__(self, settings: Settings, database: Database) -> None:
        """Take the collaborators; from now on it notices what happens. Raises BadSettings."""
        self._settings = settings
        self._database = database
        self._seals = Seals(settings)
        self._came = database.subscribe(CHANNEL)
        #: Not with others that write: it locks events, and then webhooks.
        self._record = database.group(partial(health.record_all, settings=settings), apart=True)
        self._busy: Counter[object] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._whole_seconds = min(WHOLE_SECONDS, SHARE * settings.lease_seconds)
        days = settings.keep_events_days
        self.sweeps: Sequence[Sweep] = (partial(history.sweep, days=days), history.sweep_orphans)

    def wake(self) -> None:
        """Look now, whatever has come."""
        self._came.set()

    async def run(self) -> NoReturn:
        """Deliver until cancelled; then wait a little for what is under way.

        What it is cut off in, another worker tells again once its lease is over.
        """
        is_sealed = False
        try:
            while True:
                self._came.clear()
                pause = POLL_SECONDS
                try:
                    if not is_sealed:
                        await self._seal_again()
                        is_sealed = True
                    pause = await self._turn()
                except FAILURES as error:
                    log.warning("cannot deliver to webhooks", reason=reason_of(error))
                with anyio.move_on_after(pause):
                    await self._came.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await self._end()

    async def _seal_again(self) -> None:
        old, lost = await self._database.read(endpoints.unlike_key, self._seals)
        if old:
            await self._database.write(endpoints.seal_again, self._seals)
        for webhook_id in lost:
            await self._disable(webhook_id)

    async def _disable(self, webhook_id: UUID) -> None:
        await self._database.write(health.disable, webhook_id, "secret", self._settings)

    async def _turn(self) -> float:
        """Begin what is due and has room; how long there will be nothing to do."""
        looked = await self._database.read(queue.look)
        if not looked:
            return IDLE_SECONDS
        pause = POLL_SECONDS
        for one in looked:
            if one.due_seconds is None:
                continue
            wait = max(one.due_seconds, one.pause_seconds)
            if wait > 0:
                pause = min(pause, wait)
            elif self._room(one) > 0 and await self._begin(one):
                pause = 0.0
        return pause

    def _room(self, look: Look) -> int:
        """How many attempts more there may be; one at a time while the last ones have failed."""
        busy = self._busy[look.webhook.id]
        if look.webhook.failures >= MANY_FAILURES:
            return 1 - busy
        # Leases are taken several at a time: one commit for each would be too dear.
        return SLOTS - busy if busy <= SLOTS // 2 else 0

    async def _begin(self, look: Look) -> bool:
        """Lease what is due, and have it attempted; whether there may be more."""
        expires = now_seconds() + self._settings.lease_seconds
        with anyio.CancelScope(shield=True):  # or it is committed, and nobody knows
            leased, is_more = await self._database.write(
                queue.lease_due,
                look.webhook.id,
                limit=self._room(look),
                lease_seconds=self._settings.lease_seconds,
            )
            for due in leased:
                self._busy[look.webhook.id] += 1
                task = asyncio.create_task(self._attempt(look, due, expires))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return is_more

    async def _attempt(self, look: Look, due: Due, expires: float) -> None:
        try:
            started_at, began = datetime.now(UTC), time.monotonic()
            if now_seconds() + self._whole_seconds > expires:  # the process stood still
                return
            answer = await self._send(look, due, started_at)
            if answer is None:
                return
            seconds = time.monotonic() - began
            _attempts[answer.result].inc()
            WEBHOOK_SECONDS.observe(seconds)
            tried = Tried(
                due,
                started_at,
                int(seconds * 1000),
                answer.result,
                answer.status,
                answer.text,
                max(_delay_seconds(due), answer.pause_seconds),
                answer.pause_seconds,
            )
            self._tell(tried, await self._recorded(tried))
        except Exception as error:  # noqa: BLE001 - it must not take its neighbours down
            log.error("webhook attempt crashed", reach_event_id=str(due.id), **frames(error))
        finally:
            self._busy[look.webhook.id] -= 1
            self._came.set()

    async def _send(self, look: Look, due: Due, at: datetime) -> Answer | None:
        """Sign it and send it; None if it cannot be signed: then nothing is sent to the webhook."""
        webhook, allowed = look.webhook, self._settings.webhook_targets
        try:
            signing = [self._seals.open(webhook.id, webhook.secret)]
            if webhook.old_secret is not None and look.is_old_secret_good:
                signing.append(self._seals.open(webhook.id, webhook.old_secret))
        except Unsealable:
            await self._disable(webhook.id)
            return None
        try:
            target = Target.parse(webhook.url, allowed)
        except ValueError as error:
            return Answer("forbidden", None, str(error))
        body = body_of(due)
        headers = secrets.headers(due.id, at, body.decode(), signing)
        return await post(target, allowed, headers, body, whole_seconds=self._whole_seconds)

    async def _recorded(self, tried: Tried) -> EventState | None:
        """Record it. What the database does not take in time, is told again after the lease."""
        for left in reversed(range(RECORD_TRIES)):
            try:
                return await self._record(tried)
            except FAILURES as error:
                if not left:
                    log.warning("cannot deliver to webhooks", reason=reason_of(error))
                    break
                await anyio.sleep(RECORD_AGAIN_SECONDS)
        return None

    def _tell(self, tried: Tried, state: EventState | None) -> None:
        if state == "delivered":
            log.info("event delivered", **tried.told())
        elif state == "failed":
            log.warning("event failed", **tried.told())
        else:
            log.info("event not delivered", **tried.told())

    async def _end(self) -> None:
        """Wait for what is under way, and cut off what takes too long."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.gather(*late, return_exceptions=True)


def _delay_seconds(due: Due) -> float:
    return next_delay_seconds(
        due.failures + 1, first_seconds=FIRST_DELAY_SECONDS, cap_seconds=MOST_DELAY_SECONDS
    )
