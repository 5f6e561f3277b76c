"""Messages that wait for a time that no rule can have set: they are due now.

The database's clock was ten days ahead, say, while they were promised or leased, and has been set
right. They would wait for ten days, and no gauge would tell.
"""

from typing import NoReturn

import anyio
import structlog
from sqlalchemy import ColumnElement, Float, Integer, bindparam, case, select, update

from reach.db.database import Database
from reach.db.transaction import Transaction, notify
from reach.db.types import now
from reach.delivery.attempt import JITTER
from reach.delivery.leases import FAILURES, reason_of
from reach.messages.model import IS_QUEUED, messages
from reach.messages.outbox import CHANNEL
from reach.messages.queue import no_later
from reach.settings import Settings

log = structlog.get_logger("reach.worker")

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
    .where(messages.c.id.in_(select(_CHOSEN.c.id)))
    .values(
        # A worker may be sending it: the clock may have gone back meanwhile. If that lives, it
        # renews its lease in time.
        due_at=case((_IS_HELD, now(bindparam("lease_seconds", type_=Float))), else_=now()),
        first_failed_at=no_later(messages.c.first_failed_at),
        suspected_at=no_later(messages.c.suspected_at),
    )
    .returning(messages.c.id)
)


def longest_wait_seconds(settings: Settings) -> float:
    """Tell how far ahead ``due_at`` can lie by any rule: a delay or a pause, then a lease."""
    cap = max(settings.retry_cap_seconds, settings.breaker_cap_seconds, USUAL_CAP_SECONDS)
    return cap * (1 + JITTER) + settings.lease_seconds


def is_any(tx: Transaction, settings: Settings) -> bool:
    """Whether there are such messages."""
    longest = {"longest_seconds": longest_wait_seconds(settings)}
    return tx.execute(_ANY, longest).one_or_none() is not None


def recall(tx: Transaction, settings: Settings) -> int:
    """Make up to 1,000 of them due now, or at the end of a lease from now; returns how many."""
    given = {"longest_seconds": longest_wait_seconds(settings), "most": RECALL_ROWS}
    found = tx.execute(_RECALL, {**given, "lease_seconds": settings.lease_seconds}).all()
    if found:
        notify(tx, CHANNEL)
    return len(found)


async def recall_for_ever(database: Database, settings: Settings) -> NoReturn:
    """Look for them every 5 s; that reads one place of an index, and writes nothing."""
    while True:
        try:
            while await database.read(is_any, settings):
                if not (count := await database.write(recall, settings)):
                    break  # others have them in hand
                log.warning("messages recalled", count=count)
        except FAILURES as error:
            log.warning("cannot recall", reason=reason_of(error))
        await anyio.sleep(RECALL_SECONDS)
