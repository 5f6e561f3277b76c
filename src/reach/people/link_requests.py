"""Requests for a link: a row for everybody alike, which a worker looks up afterwards.

Who asks is answered before anybody has looked whether the address is known. So neither the
answer nor its time can tell: see docs/decisions/0033-signing-up-again.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

import anyio
import structlog
from sqlalchemy import Column, Executable, Index, Integer, Table, Text, bindparam, delete, select
from sqlalchemy import insert as sql_insert

from reach.db.database import Database
from reach.db.transaction import Transaction, notify
from reach.db.types import Instant, Key, OrderedText, encode, metadata, new_id, now, rows
from reach.delivery.leases import FAILURES, reason_of
from reach.messages import budget, outbox, recipient_budget
from reach.messages.outbox import Promise
from reach.people import address_changes, queries
from reach.people.address import stored_recipient
from reach.people.queries import Known
from reach.settings import Settings

if TYPE_CHECKING:
    from reach.delivery.cleanup import Sweep

log = structlog.get_logger("reach.worker")

#: Workers that answer requests wait for this to be announced.
CHANNEL = "reach_link_requests"
#: The worker's look tells at once what waits (see ``LinkRequests.waiting``); but it does not look
#: while the mail server is unavailable, nor while it has more to send than it can hold.
POLL_SECONDS = 5.0
#: How many requests one transaction answers at most.
BATCH = 100

link_requests = Table(
    "link_requests",
    metadata,
    Column("id", Key, primary_key=True),
    Column("email_key", OrderedText, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("trace_context", Text),
)
Index("ix_link_requests_email_key", link_requests.c.email_key)

_columns = link_requests.c
_GIVEN = (_columns.id, _columns.email_key, _columns.trace_context)
_ANY = select(_columns.id).limit(1)
#: What another worker has in hand is passed over.
_TAKE = (
    select(_columns.id, _columns.email_key, _columns.trace_context)
    .order_by(_columns.id)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody's request for the link of the holder of an address, by the address's key."""

    email_key: str = field(repr=False)
    trace_context: str | None
    id: UUID = field(default_factory=new_id)


@cache
def _add(dialect: str) -> Executable:
    given = rows(dialect, *_GIVEN)
    source = select(*(given.c[column.name] for column in _GIVEN), now())
    names = [*(column.name for column in _GIVEN), "created_at"]
    return sql_insert(link_requests).from_select(names, source)


def add(tx: Transaction, asked: Iterable[Asked]) -> None:
    """Write requests down, each as a row; the COMMIT wakes a worker."""
    given = encode(
        tx.dialect.name,
        [
            {"id": one.id, "email_key": one.email_key, "trace_context": one.trace_context}
            for one in asked
        ],
    )
    tx.execute(_add(tx.dialect.name), {"rows": given})
    notify(tx, CHANNEL)


def is_any(tx: Transaction) -> bool:
    """Whether a request waits."""
    return tx.execute(_ANY).one_or_none() is not None


def answer_some(tx: Transaction, settings: Settings, *, limit: int = BATCH) -> int:
    """Answer up to ``limit`` requests, the oldest first, and delete them; returns how many.

    Who is known and within their mail budget is promised a ``manage-link`` message, one for
    all requests at hand. The others' requests are deleted, and nothing is promised.
    """
    taken = [Asked(row.email_key, row.trace_context, row.id) for row in _take(tx, limit)]
    if not taken:
        return 0
    asked = {one.email_key: one for one in taken}
    known = queries.lock_known(tx, sorted(asked))
    within = budget.within(tx, [person.id for person in known], settings)
    promises = [_link_for(one, asked[one.email_key]) for one in known if one.id in within]
    if promises:
        outbox.promise(tx, promises, settings)
    given = encode(tx.dialect.name, [{"id": one.id} for one in taken])
    tx.execute(_delete(tx.dialect.name), {"rows": given})
    return len(taken)


def forget(tx: Transaction, email_key: str) -> None:
    """Delete the requests for an address, before its owner is locked: as who answers them does."""
    chosen = (
        select(_columns.id)
        .where(_columns.email_key == email_key)
        .order_by(_columns.id)
        .with_for_update()
        .cte("chosen")
        .prefix_with("MATERIALIZED")
    )
    tx.execute(delete(link_requests).where(_columns.id.in_(select(chosen.c.id))))


def export(tx: Transaction, email_key: str) -> Sequence[Mapping[str, Any]]:
    """The requests for an address that wait, the oldest first: but for the trace, as messages."""
    shown = select(_columns.id, _columns.email_key, _columns.created_at)
    found = tx.execute(shown.where(_columns.email_key == email_key).order_by(_columns.id))
    return [dict(row) for row in found.mappings()]


class LinkRequests:
    """What a worker does about requests for links, beside delivering messages.

    And it sweeps what is over of changes of address.
    """

    channel, waiting = CHANNEL, _ANY

    def __init__(self, settings: Settings, database: Database) -> None:
        """Take the collaborators; from now on it notices what comes."""
        self._settings = settings
        self._database = database
        self._came = database.subscribe(CHANNEL)
        of_recipients = partial(recipient_budget.sweep, settings=settings)
        self.sweeps: Sequence[Sweep] = (address_changes.sweep, of_recipients)

    def wake(self) -> None:
        """Have requests answered that are known to wait."""
        self._came.set()

    async def run(self) -> NoReturn:
        """Answer requests as they come, until cancelled. It looks first: idle, it writes nothing.

        What it is cut off in is all done or not at all, and then falls to the next worker.
        """
        while True:
            self._came.clear()
            try:
                while await self._database.read(is_any):
                    # Nothing: another worker has them in hand.
                    if not await self._database.write(answer_some, self._settings):
                        break
            except FAILURES as error:
                log.warning("cannot answer link requests", reason=reason_of(error))
            with anyio.move_on_after(POLL_SECONDS):
                await self._came.wait()


def _take(tx: Transaction, limit: int) -> Sequence[Any]:
    return tx.execute(_TAKE, {"most": limit}).all()


@cache
def _delete(dialect: str) -> Executable:
    given = rows(dialect, _columns.id)
    return delete(link_requests).where(_columns.id.in_(select(given.c.id)))


def _link_for(person: Known, asked: Asked) -> Promise:
    """Write to the address as its owner wrote it: another spelling might be another mailbox."""
    return Promise(
        person.id,
        stored_recipient(person.email),
        "manage-link",
        {"name": person.name},
        asked.trace_context,
    )
