"""The worker: leases what is due, and has it attempted in its slots."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import anyio
import anyio.abc
import structlog
from sqlalchemy import Select

from reach.auth import audit
from reach.db.database import Database
from reach.delivery import open_breakers
from reach.delivery.attempt import Attempts
from reach.delivery.cleanup import Sweep, fold_for_ever, recall_for_ever, sweep_for_ever
from reach.delivery.leases import FAILURES, Holding, Leases, reason_of
from reach.delivery.relays import Relay, Relays
from reach.delivery.throttle import Throttle
from reach.mail.compose import Composer
from reach.messages import queue, suppressions
from reach.messages.outbox import CHANNEL
from reach.settings import Settings
from reach.telemetry.metrics import SLOTS

log = structlog.get_logger("reach.worker")

#: How often a worker looks for what falls due, whatever it is told.
POLL_SECONDS = 1.0
#: A worker holds what it can send in about this long, so that another one finds work too …
AHEAD_SECONDS = 0.25
#: … and at most so many messages for each slot.
MOST_AHEAD = 16
#: The shortest wait for what falls due: what the clocks of both databases can tell apart.
SHORTEST_WAIT_SECONDS = 0.001
#: How long a worker that came too late lets others lease first. It doubles each time, and is halved
#: when it is not too late: so of several one comes to be the first.
#: How long a stopping worker tries to tell that its circuit breaker is no more.
TELL_SECONDS = 1.0
LEAST_GIVE_WAY_SECONDS, FIRST_GIVE_WAY_SECONDS, MOST_GIVE_WAY_SECONDS = 0.005, 0.02, 0.2


class Chore(Protocol):
    """What a worker does beside delivering, for somebody else.

    ``channel`` announces that there is something to do; ``waiting`` then finds a row, and is part
    of the worker's own look: so that one sees all that the worker is there for. It is None if that
    would cost each look more than it is worth. ``sweeps`` delete what is over, from time to time.
    """

    @property
    def channel(self) -> str:
        """What announces it."""

    @property
    def waiting(self) -> Select[Any] | None:
        """What finds it."""

    @property
    def sweeps(self) -> Sequence[Sweep]:
        """What deletes what is over."""

    def wake(self) -> None:
        """Note that there is something to do, which ``waiting`` has found."""

    async def run(self) -> None:
        """Do it until cancelled."""


class Worker:
    """Delivers what the outbox holds, with ``worker_slots`` attempts at the same time."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        composer: Composer,
        relays: Relays,
        chores: Sequence[Chore] = (),
    ) -> None:
        """Take the collaborators; touch nothing yet."""
        self._chores = chores
        self._waking = [chore for chore in chores if chore.waiting is not None]
        waiting = (chore.waiting for chore in chores if chore.waiting is not None)
        self._look = queue.looking_also(*waiting)
        self._settings = settings
        self._database = database
        self._relays = relays
        self._due = database.subscribe(CHANNEL)
        self._leases = Leases(database, settings.lease_seconds)
        self._throttle = Throttle.of(settings, self._leases, self._due.set)
        self._attempts = Attempts(settings, composer, relays, self._leases, self._wake)
        self._recorder = self._attempts.recorder
        self._busy_slots = 0
        self._low_water = 0
        #: Whether there was more to do, at the last look, than could be held.
        self._is_full = False
        #: How long nothing is due, to all we know.
        self._idle_seconds = POLL_SECONDS
        #: How long to let others lease first: what was seen to be due was another worker's by the
        #: time that it was leased.
        self._give_way_seconds = 0.0

    async def run(self, stop: anyio.Event, cut_off: anyio.Event | None = None) -> None:
        """Work until ``stop``; then finish what is in hand, for up to the grace time.

        What is not begun by then is released at once; an attempt still under way after the
        grace time, or at ``cut_off``, is cut off.
        """
        log.info("worker started", worker=self._attempts.worker)
        SLOTS.inc(self._settings.worker_slots)
        async with anyio.create_task_group() as around:
            channels = dict.fromkeys((CHANNEL, *(chore.channel for chore in self._chores)))
            around.start_soon(self._database.relay, *channels)
            for chore in self._chores:
                around.start_soon(chore.run)
            around.start_soon(self._leases.keep)
            for keeper in self._relays.keepers(self._due.set, self._tell):
                around.start_soon(keeper)
            days = self._settings.keep_messages_days
            keep_audit = partial(audit.sweep, days=self._settings.keep_audit_days)
            sweeps: list[Sweep] = [keep_audit, suppressions.sweep]
            sweeps += [sweep for chore in self._chores for sweep in chore.sweeps]
            around.start_soon(sweep_for_ever, self._database, days, sweeps)
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
            await self._tell_of_the_end()
            around.cancel_scope.cancel()
        SLOTS.dec(self._settings.worker_slots)
        await self._relays.close()
        log.info("worker stopped", worker=self._attempts.worker)

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

    async def _tell(self, relay: Relay) -> None:
        """Tell operators whether a circuit breaker is open; sending depends on it in nothing."""
        breaker = relay.breaker
        name = self._attempts.worker
        if len(self._relays.all) > 1:
            name = open_breakers.name_of(name, relay.number, len(self._relays.all), relay.host)
        try:
            if breaker.is_open:
                wait_seconds = breaker.wait_seconds
                await self._database.write(open_breakers.note, name, breaker.reason, wait_seconds)
            else:
                await self._database.write(open_breakers.forget, name)
        except FAILURES as error:
            log.warning("cannot tell of the circuit breaker", reason=reason_of(error))

    async def _tell_of_the_end(self) -> None:
        """Who has stopped has no breaker."""
        for relay in self._relays.all:
            if relay.breaker.is_open:
                relay.breaker.half_open()
                with anyio.move_on_after(TELL_SECONDS, shield=True):
                    await self._tell(relay)

    # Leasing

    async def _lease_until(self, stop: anyio.Event, deliveries: anyio.abc.TaskGroup) -> None:
        """Lease messages as slots can take them, and start a slot for each that is free."""
        while not stop.is_set():
            if self._relays.is_open:
                await self._until_any(stop.wait, self._relays.wait_until_not_open)
                continue
            if self._recorder.is_unavailable:
                await self._until_any(stop.wait, self._recorder.wait_until_back)
                continue
            if self._give_way_seconds > LEAST_GIVE_WAY_SECONDS and not self._is_full:
                await anyio.sleep(self._give_way_seconds)
            self._due.clear()
            room = self._room()
            taken = await self._lease(room) if room > 0 else 0
            self._is_full = taken == room or room <= 0
            if stop.is_set() or self._relays.is_open:  # since it began to lease
                with anyio.CancelScope(shield=True):
                    await self._leases.give_back(self._leases.take_waiting(), self._relays.reason)
            self._start_slots(deliveries)
            if taken < room or room <= 0:
                with anyio.move_on_after(self._idle_seconds):
                    await self._due.wait()

    def _room(self) -> int:
        """How many more messages this worker should hold."""
        held = len(self._leases.in_hand) - len(self._leases.parked)
        slots = self._relays.slots
        if self._relays.is_half_open:
            return slots - held
        ahead = min(MOST_AHEAD, AHEAD_SECONDS / max(self._attempts.expected_seconds(slots), 0.001))
        # Leases are taken many at a time: one commit for each message would be too dear.
        self._low_water = int(slots * ahead / 2)
        if len(self._leases.waiting) > self._low_water:
            return 0
        return slots + int(slots * ahead) - held

    async def _lease(self, limit: int) -> int:
        """Lease up to ``limit`` messages, if one is due; returns how many.

        It looks first, but where the last lease has filled all the room: a lease is a write. Where
        several workers see one message, those that came too late give way at the next.
        """
        front = self._leases.front
        looks = not self._is_full or limit == 1 or front.is_worn
        try:
            if looks:
                due_in, others = await self._database.read(queue.look, self._look, front)
                for chore, has_work in zip(self._waking, others, strict=True):
                    if has_work:
                        chore.wake()
                self._idle_seconds = min(POLL_SECONDS, max(due_in, SHORTEST_WAIT_SECONDS))
                if due_in > 0:
                    return 0
            with anyio.CancelScope(shield=True):  # or it is committed, and nobody knows
                taken = await self._leases.take(limit)
                if self._throttle is not None and taken:
                    await self._throttle.sort(self._leases.newest)
        except FAILURES as error:
            log.warning("cannot lease", reason=reason_of(error))
            self._recorder.is_unavailable = True
            return 0
        if taken:
            self._give_way_seconds /= 2
        elif looks:
            longer = max(2 * self._give_way_seconds, FIRST_GIVE_WAY_SECONDS)
            self._give_way_seconds = min(longer, MOST_GIVE_WAY_SECONDS)
        self._idle_seconds = POLL_SECONDS
        return taken

    def _wake(self) -> None:
        """Have the leasing go on, if what has ended is what it waits for.

        What falls due meanwhile is announced, or found by the poll.
        """
        if self._is_full or self._leases.waiting or not self._may_go_on():
            self._due.set()

    def _start_slots(self, deliveries: anyio.abc.TaskGroup) -> None:
        for _ in range(min(self._relays.slots - self._busy_slots, len(self._leases.waiting))):
            self._busy_slots += 1
            deliveries.start_soon(self._slot, self._leases.waiting.popleft(), deliveries)

    async def _slot(self, holding: Holding, deliveries: anyio.abc.TaskGroup) -> None:
        """Deliver one message, then others for as long as there are any."""
        try:
            await self._attempts.make(holding, deliveries)
            while self._leases.waiting and self._may_go_on():
                if len(self._leases.waiting) <= self._low_water:
                    self._due.set()
                await self._attempts.make(self._leases.waiting.popleft(), deliveries)
        finally:
            self._busy_slots -= 1
            self._wake()

    def _may_go_on(self) -> bool:
        """Whether a slot that is done may take the next message."""
        is_held_up = self._relays.is_open or self._recorder.is_unavailable
        return not is_held_up and self._busy_slots <= self._relays.slots

    @staticmethod
    async def _until_any(*waits: Callable[[], Awaitable[None]]) -> None:
        """Wait until one of several things has happened."""
        async with anyio.create_task_group() as group:

            async def wait(one: Callable[[], Awaitable[None]]) -> None:
                await one()
                group.cancel_scope.cancel()

            for one in waits:
                group.start_soon(wait, one)
