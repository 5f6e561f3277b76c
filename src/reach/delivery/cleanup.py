"""What a worker sets right beside delivering: old rows go, counters are folded, a little at a time.

And messages that wait for a time that no rule can have set are due now: the database's clock was
ten days ahead, say, while they were promised or leased, and has been set right. They would wait for
ten days, and no gauge would tell.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NoReturn

import anyio
import anyio.lowlevel
import structlog
from sqlalchemy import ColumnElement, Float, Integer, bindparam, case, delete, select, update

from reach.db import counters
from reach.db.database import Database
from reach.db.transaction import Transaction, notify
from reach.db.types import among, beside, now
from reach.delivery.attempt import JITTER
from reach.delivery.leases import FAILURES, now_seconds, reason_of
from reach.idempotency import stored
from reach.messages.model import IS_QUEUED, IS_SWEPT, messages
from reach.messages.outbox import CHANNEL
from reach.messages.queue import no_later
from reach.settings import Settings

log = structlog.get_logger("reach.worker")

SWEEP_SECONDS = 3600.0
SWEEP_ROWS = 1000
#: What the database's clock may be off, since the last look, by the machine's own: more, and
#: somebody has set it.
MOST_SHIFT_SECONDS = 3600.0
#: At 1,000 sign-ups and deliveries a second, what is to be added up stays below 2,000 rows.
FOLD_SECONDS = 5.0
RECALL_SECONDS = 5.0
RECALL_ROWS = 1000
#: What other workers may have been told to wait, whatever this one's settings are.
USUAL_CAP_SECONDS = 4 * 3600.0

#: Further ahead than any delay, pause or lease: read from the far end of the index of what is due.
IS_FAR: ColumnElement[bool] = IS_QUEUED & (
    messages.c.due_at > now(bindparam("longest_seconds", type_=Float))
)
_ANY = select(messages.c.id).where(IS_FAR).limit(1)
_CHOSEN = (
    select(messages.c.id)
    .where(IS_FAR)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
    .cte("chosen")
    .prefix_with("MATERIALIZED")
)
_IS_HELD = messages.c.lease > messages.c.recorded_lease
_RECALL = (
    update(messages)
    .where(among(messages.c.id, select(_CHOSEN.c.id)))
    .values(
        # A worker may be sending it: the clock may have gone back meanwhile. If that lives, it
        # renews its lease in time.
        due_at=case((_IS_HELD, now(bindparam("lease_seconds", type_=Float))), else_=now()),
        first_failed_at=no_later(messages.c.first_failed_at),
        suspected_at=no_later(messages.c.suspected_at),
    )
    .returning(messages.c.id)
)


#: Deletes up to so many old rows in a transaction, and returns how many.
Sweep = Callable[[Transaction], int]


async def sweep_for_ever(database: Database, days: float, others: Sequence[Sweep] = ()) -> NoReturn:
    """Sweep every hour: messages after ``days``, stored responses after 1, hourly counts after 91.

    ``others`` sweep what is known above this layer.
    What a clock takes for old that was set ahead is gone for good, so then an hour is waited.
    """
    clock = Clock(days)
    while True:
        try:
            if await clock.is_trusted(database):
                own = partial(sweep, days=days), partial(sweep_tests, days=days)
                sweeps: Sequence[Sweep] = (*own, stored.sweep, *others)
                for one in sweeps:
                    await _sweep_all(database, one)
                await database.write(counters.sweep)
            else:
                log.warning("not swept")
        except FAILURES as error:
            log.warning("cannot sweep", reason=reason_of(error))
        await anyio.sleep(SWEEP_SECONDS)


class Clock:
    """The database's clock, by which things are old, beside the machine's that nobody sets."""

    def __init__(self, days: float) -> None:
        """What has been finished for more than ``days`` is old."""
        self._days = days
        self._seen: tuple[datetime, float] | None = None

    async def is_trusted(self, database: Database) -> bool:
        """Whether it went on since the last look as time does; at the first, if not all is old."""
        time = now_seconds()
        told, newest = await database.read(_look)
        seen, self._seen = self._seen, (told, time)
        if seen is None:
            return newest is None or newest > told - timedelta(self._days)
        shift_seconds = (told - seen[0]).total_seconds() - (time - seen[1])
        return abs(shift_seconds) < MOST_SHIFT_SECONDS


def _look(tx: Transaction) -> tuple[datetime, datetime | None]:
    """Tell the time, and when the last message was finished that may be swept."""
    newest = select(messages.c.finished_at).where(IS_SWEPT, messages.c.finished_at.is_not(None))
    newest = newest.order_by(messages.c.finished_at.desc()).limit(1)
    told, last = tx.execute(select(now(), newest.scalar_subquery())).one()
    return told, last


async def fold_for_ever(database: Database) -> NoReturn:
    """Fold the counters every 5 s: what has to be added up to read one stays little."""
    while True:
        try:
            while await database.read(counters.is_foldable):
                if not await database.write(counters.fold):
                    break
        except FAILURES as error:
            log.warning("cannot fold", reason=reason_of(error))
        await anyio.sleep(FOLD_SECONDS)


async def _sweep_all(database: Database, sweep_some: Sweep) -> None:
    """Do it in transactions short enough that nobody waits long for one."""
    while await database.write(sweep_some):
        await anyio.lowlevel.checkpoint()


def sweep(tx: Transaction, *, days: float) -> int:
    """Delete up to 1,000 messages finished more than ``days`` ago; returns how many.

    Welcomes stay: a person's record shows what became of theirs.
    """
    old = (
        select(messages.c.id)
        .where(IS_SWEPT, messages.c.finished_at < now(-days * 86_400))
        .limit(SWEEP_ROWS)
    )
    return tx.execute(delete(messages).where(among(messages.c.id, old))).rowcount


def sweep_tests(tx: Transaction, *, days: float) -> int:
    """Delete up to 1,000 welcomes that were finished so long ago and are nobody's: tests."""
    old = (
        select(messages.c.id)
        .where(
            messages.c.person_id.is_(None),
            beside(~IS_SWEPT),
            beside(messages.c.finished_at < now(-days * 86_400)),
        )
        .limit(SWEEP_ROWS)
    )
    return tx.execute(delete(messages).where(among(messages.c.id, old))).rowcount


def longest_wait_seconds(settings: Settings) -> float:
    """Tell how far ahead ``due_at`` can lie by any rule: a delay or a pause, then a lease."""
    cap = max(settings.retry_cap_seconds, settings.breaker_cap_seconds, USUAL_CAP_SECONDS)
    return cap * (1 + JITTER) + settings.lease_seconds


def is_any_far(tx: Transaction, settings: Settings) -> bool:
    """Whether a message waits for longer than any rule lets it."""
    longest = {"longest_seconds": longest_wait_seconds(settings)}
    return tx.execute(_ANY, longest).one_or_none() is not None


def recall(tx: Transaction, settings: Settings) -> int:
    """Make up to 1,000 such messages due, now or at the end of a lease; returns how many."""
    given = {"longest_seconds": longest_wait_seconds(settings), "most": RECALL_ROWS}
    found = tx.execute(_RECALL, {**given, "lease_seconds": settings.lease_seconds}).all()
    if found:
        notify(tx, CHANNEL)
    return len(found)


async def recall_for_ever(database: Database, settings: Settings) -> NoReturn:
    """Look for such messages every 5 s; that reads one place of an index, and writes nothing."""
    while True:
        try:
            while await database.read(is_any_far, settings):
                if not (count := await database.write(recall, settings)):
                    break  # others have them in hand
                log.warning("messages recalled", count=count)
        except FAILURES as error:
            log.warning("cannot recall", reason=reason_of(error))
        await anyio.sleep(RECALL_SECONDS)
