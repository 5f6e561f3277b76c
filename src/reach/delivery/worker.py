"""The worker: leases what is due, sends it, records what became of it."""

import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import anyio
import anyio.abc
import anyio.lowlevel
import structlog
from opentelemetry.trace import Span

from reach.db.database import Database
from reach.delivery.attempt import (
    POLL_SECONDS,
    OutcomeRecorder,
    attempted,
    delivering,
    expect_templates,
    next_delay_seconds,
    note,
    note_attempt,
    note_finished,
    uncomposed,
)
from reach.delivery.circuit_breaker import CircuitBreaker
from reach.delivery.cleanup import fold_for_ever, sweep_for_ever
from reach.delivery.leases import FAILURES, Holding, Leases, reason_of
from reach.delivery.recall import recall_for_ever
from reach.mail.compose import CannotCompose, Composer
from reach.messages.outbox import CHANNEL, MOST_VANISHED
from reach.messages.outcome import Deferred, Outcome, Rejected, Sent, Unavailable, Unknown
from reach.messages.queue import AttemptOutcome
from reach.settings import Settings
from reach.smtp.sender import Sender
from reach.telemetry import traces
from reach.telemetry.logs import frames
from reach.telemetry.metrics import SLOTS, SLOTS_BUSY

log = structlog.get_logger("reach.worker")

#: A worker holds what it can send in about this long, so that another one finds work too …
AHEAD_SECONDS = 0.25
#: … and at most so many messages for each slot.
MOST_AHEAD = 16
#: A slot goes on while what it did is being settled. What is accepted and unsettled when a worker
#: dies is sent again, so this is a trade: with 1 for each slot, a third fewer emails a second.
UNRECORDED_PER_SLOT = 3


class Chore(Protocol):
    """What a worker does beside delivering, for somebody else; ``channel`` is what it waits for."""

    channel: str

    async def run(self) -> None:
        """Do it until cancelled."""


class Worker:
    """Delivers what the outbox holds, with ``worker_slots`` attempts at the same time."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        composer: Composer,
        sender: Sender,
        chores: Sequence[Chore] = (),
    ) -> None:
        """Take the collaborators; touch nothing yet."""
        self._chores = chores
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._settings = settings
        self._database = database
        self._composer = composer
        self._sender = sender
        self._recorder = OutcomeRecorder(settings, database)
        self._due = database.subscribe(CHANNEL)
        self._breaker = CircuitBreaker(settings)
        self._leases = Leases(database, settings.lease_seconds)
        self._recording = anyio.Semaphore(UNRECORDED_PER_SLOT * settings.worker_slots)
        self._attempt_seconds = AHEAD_SECONDS
        #: When the attempts under way began, on the monotonic clock.
        self._began: dict[Holding, float] = {}
        self._busy_slots = 0
        self._low_water = 0

    async def run(self, stop: anyio.Event, cut_off: anyio.Event | None = None) -> None:
        """Work until ``stop``; then finish what is in hand, for up to the grace time.

        What is not begun by then is released at once; an attempt still under way after the
        grace time, or at ``cut_off``, is cut off.
        """
        log.info("worker started", worker=self.name)
        SLOTS.inc(self._settings.worker_slots)
        expect_templates(self._composer.templates)
        async with anyio.create_task_group() as around:
            around.start_soon(self._database.relay, CHANNEL, *(one.channel for one in self._chores))
            for chore in self._chores:
                around.start_soon(chore.run)
            around.start_soon(self._leases.keep)
            around.start_soon(self._breaker.keep, self._sender.probe, self._due.set)
            around.start_soon(sweep_for_ever, self._database, self._settings.keep_messages_days)
            around.start_soon(recall_for_ever, self._database, self._settings)
            if not self._settings.database.is_sqlite:
                around.start_soon(fold_for_ever, self._database)
            async with anyio.create_task_group() as deliveries:
                deliveries.start_soon(partial(self._lease_until, stop, deliveries))
                await stop.wait()
                self._end_within(self._settings.grace_seconds, deliveries)
                if cut_off is not None:
                    around.start_soon(self._end_at, cut_off, deliveries)
                self._due.set()
                # A release takes no longer than the database may; cut short, it would leave
                # what waits to the end of its lease.
                with anyio.CancelScope(shield=True):
                    await self._leases.give_back(self._leases.take_waiting())
            around.cancel_scope.cancel()
        SLOTS.dec(self._settings.worker_slots)
        await self._sender.close()
        log.info("worker stopped", worker=self.name)

    def _end_within(self, seconds: float, deliveries: anyio.abc.TaskGroup) -> None:
        """Cut attempts off after so many seconds from now.

        What the database does not take is given up sooner: its last answer comes in that time too.
        """
        deadline = anyio.current_time() + seconds
        deliveries.cancel_scope.deadline = deadline
        self._recorder.gives_up_at = deadline - self._settings.database_seconds

    async def _end_at(self, cut_off: anyio.Event, deliveries: anyio.abc.TaskGroup) -> None:
        await cut_off.wait()
        self._end_within(0, deliveries)

    # Leasing

    async def _lease_until(self, stop: anyio.Event, deliveries: anyio.abc.TaskGroup) -> None:
        """Lease messages as slots can take them, and start a slot for each that is free."""
        while not stop.is_set():
            if self._breaker.is_paused:
                await self._until_any(stop.wait, self._breaker.wait_until_open)
                continue
            if self._recorder.is_away:
                await self._until_any(stop.wait, self._recorder.wait_until_back)
                continue
            self._due.clear()
            room = self._room()
            taken = await self._lease(room) if room > 0 else 0
            if stop.is_set() or self._breaker.is_paused:  # since it began to lease
                with anyio.CancelScope(shield=True):
                    await self._leases.give_back(self._leases.take_waiting(), self._breaker.reason)
            self._start_slots(deliveries)
            if taken < room or room <= 0:
                # A slot that runs dry sets the event too.
                with anyio.move_on_after(POLL_SECONDS):
                    await self._due.wait()

    def _room(self) -> int:
        """How many more messages this worker should hold."""
        if self._breaker.is_on_trial:
            return 1 - len(self._leases)
        slots = self._breaker.slots
        ahead = min(MOST_AHEAD, AHEAD_SECONDS / max(self._expected_seconds(), 0.001))
        # Leases are taken many at a time: one commit for each message would be too dear.
        self._low_water = int(slots * ahead / 2)
        most = slots + int(slots * ahead)
        return most - len(self._leases) if self._leases.waiting <= self._low_water else 0

    def _expected_seconds(self) -> float:
        """How long an attempt takes, to all we know: longer if every one under way already does."""
        if len(self._began) < self._breaker.slots:
            return self._attempt_seconds
        return max(self._attempt_seconds, time.monotonic() - max(self._began.values()))

    async def _lease(self, limit: int) -> int:
        try:
            with anyio.CancelScope(shield=True):  # lest it be committed, and nobody know
                taken = await self._leases.take(limit)
        except FAILURES as error:
            log.warning("cannot lease", reason=reason_of(error))
            self._recorder.is_away = True
            return 0
        return taken

    def _start_slots(self, deliveries: anyio.abc.TaskGroup) -> None:
        for _ in range(min(self._breaker.slots - self._busy_slots, self._leases.waiting)):
            self._busy_slots += 1
            deliveries.start_soon(self._slot, self._leases.take_next(), deliveries)

    async def _slot(self, holding: Holding, deliveries: anyio.abc.TaskGroup) -> None:
        """Deliver one message, then others for as long as there are any."""
        try:
            await self._deliver(holding, deliveries)
            while self._leases.waiting and self._may_go_on():
                if self._leases.waiting <= self._low_water:
                    self._due.set()
                await self._deliver(self._leases.take_next(), deliveries)
        finally:
            self._busy_slots -= 1
            self._due.set()

    def _may_go_on(self) -> bool:
        """Whether a slot that is done may take the next message."""
        is_held_up = self._breaker.is_paused or self._recorder.is_away
        return not is_held_up and self._busy_slots <= self._breaker.slots

    # One attempt

    async def _deliver(self, holding: Holding, deliveries: anyio.abc.TaskGroup) -> None:
        """Attempt it; what became of it is settled beside the next attempt."""
        if not holding.is_current():
            self._leases.drop(holding)
            return
        with delivering(holding.message) as span:
            await self._try(holding, deliveries, span)

    async def _try(self, holding: Holding, deliveries: anyio.abc.TaskGroup, span: Span) -> None:
        started_at, self._began[holding] = datetime.now(UTC), time.monotonic()
        SLOTS_BUSY.inc()
        try:
            outcome = await self._attempt(holding)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._cut_off(holding, started_at)
            raise
        finally:
            SLOTS_BUSY.dec()
            took = time.monotonic() - self._began.pop(holding)
        self._attempt_seconds += 0.1 * (took - self._attempt_seconds)
        outcome = self._breaker.judge(outcome, holding.message)
        note(span, outcome)
        with anyio.CancelScope(shield=True):
            await self._recording.acquire()
        deliveries.start_soon(self._record_outcome, holding, outcome, started_at, took)

    async def _record_outcome(
        self, holding: Holding, outcome: Outcome, started_at: datetime, took: float
    ) -> None:
        try:
            with anyio.CancelScope(shield=True), traces.child("settle", of_ended=True):
                await self._record(holding, outcome, started_at, took)
        finally:
            self._leases.drop(holding)
            self._recording.release()
            self._due.set()

    async def _attempt(self, holding: Holding) -> Outcome:
        message = holding.message
        if message.lease - message.recorded_lease > MOST_VANISHED:
            return Deferred(f"{MOST_VANISHED} workers in a row vanished while they held it")
        try:
            mail = self._composer.compose(message)
            return await self._sender.send(mail, still_held=holding.may_send_content)
        except CannotCompose as error:
            log.warning("message cannot be composed", **uncomposed(message, error))
            return Rejected(f"cannot be composed: {error}")
        except Exception as error:  # noqa: BLE001 - it must not take its neighbours down
            log.error(  # noqa: TRY400 - its message may hold an address
                "attempt crashed", reach_message_id=str(message.id), **frames(error)
            )
            return Unknown("crashed here") if holding.content_began else Deferred("crashed here")

    async def _cut_off(self, holding: Holding, started_at: datetime) -> None:
        """The grace time is over in the middle of an attempt."""
        if holding.content_began:
            took = time.monotonic() - self._began[holding]
            await self._record(holding, Unknown("the worker was stopped"), started_at, took)
        else:
            await self._leases.give_back([holding])
        self._leases.drop(holding)

    async def _record(
        self, holding: Holding, outcome: Outcome, started_at: datetime, took: float
    ) -> None:
        message, finished_at = holding.message, datetime.now(UTC)
        note_attempt(outcome, took)
        if isinstance(outcome, Sent):
            log.info("sent", **attempted(message, outcome, took))
        else:
            log.info("not sent", **attempted(message, outcome, took))
        if isinstance(outcome, Unavailable):
            await self._give_back(holding, outcome)
            return
        delay_seconds = next_delay_seconds(
            message.failures + 1,
            first_seconds=self._settings.retry_first_seconds,
            cap_seconds=self._settings.retry_cap_seconds,
        )
        attempt_outcome = AttemptOutcome(
            holding.held, self.name, started_at, finished_at, outcome, delay_seconds
        )
        state = await self._recorder.record(attempt_outcome)
        note_finished(message, state, finished_at)
        if state == "failed":
            log.warning("message failed", **attempted(message, outcome, took))
        if state is None:
            log.warning(
                "outcome recorded too late", reach_message_id=str(message.id), outcome=outcome.name
            )

    async def _give_back(self, holding: Holding, paused: Unavailable) -> None:
        """Release what met a closed lane, and what waits for it."""
        delay_seconds = self._breaker.hold_seconds if paused.was_heard else 0
        await self._leases.give_back([holding], paused, delay_seconds=delay_seconds)
        if self._breaker.is_paused:
            await self._leases.give_back(self._leases.take_waiting(), paused)

    @staticmethod
    async def _until_any(*waits: Callable[[], Awaitable[None]]) -> None:
        """Wait until one of several things has happened."""
        async with anyio.create_task_group() as group:

            async def wait(one: Callable[[], Awaitable[None]]) -> None:
                await one()
                group.cancel_scope.cancel()

            for one in waits:
                group.start_soon(wait, one)
