"""Which messages an operator means: what they are found by; all of them retried, or cancelled."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Executable,
    and_,
    bindparam,
    column,
    func,
    select,
    table,
    true,
    update,
)

from reach.db import keyset
from reach.db.keyset import MOST_COUNTED, Conditions, Count
from reach.db.transaction import Transaction, notify
from reach.db.types import (
    Key,
    OrderedText,
    among,
    beside,
    encode,
    now,
    rows,
)
from reach.messages.model import NOTICE, Message, State, messages
from reach.messages.outbox import AGAIN, CHANNEL, IS_HELD

#: How many are changed in one transaction, in statements of so many each, and for how long another
#: one is begun.
MOST_AT_ONCE, BATCH, MOST_SECONDS = 10_000, 1000, 1.0

#: What is done to many.
Change = Literal["retry", "cancel"]

#: All that is known of them here.
_people = table("people", column("id", Key), column("email_key", OrderedText))


@dataclass(frozen=True, slots=True)
class Filter:
    """What messages are found by; None finds any.

    ``recipient`` is the key of the address that somebody has now (see ``people.address``): all that
    was for them is found, what went to another address of theirs before too. ``since`` and
    ``until`` are about when they were promised: from the one on, and before the other.
    """

    state: State | None = None
    template: str | None = None
    recipient: str | None = field(default=None, repr=False)
    person_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Conditions:
        """Say so in SQL, along the index that leaves the fewest, as far as can be told.

        Most are sent: of these a template leaves fewer, of others the state. An address is looked
        up among people: of messages' recipients there is no index. An id holds the time it was made
        at, so times are a range of ids.
        """
        asked: list[ColumnElement[bool]] = []
        if self.person_id is not None:
            asked.append(messages.c.person_id == self.person_id)
        if self.recipient is not None:
            holder = select(_people.c.id).where(_people.c.email_key == self.recipient)
            asked.append(messages.c.person_id == holder.scalar_subquery())
        same = [(messages.c.state, self.state), (messages.c.template, self.template)]
        if self.state == "sent":
            same.reverse()
        asked += [column == value for column, value in same if value is not None]
        fitting = asked[1:]
        if self.recipient is not None:
            fitting.append(messages.c.template != NOTICE)  # about them, and not for them
        found = Conditions(asked[:1], fitting)
        return found.between(messages.c.created_at, messages.c.id, self.since, self.until)


def page(
    tx: Transaction, chosen_by: Filter, *, limit: int, before: UUID | None = None
) -> tuple[Sequence[Message], UUID | None]:
    """List messages, newest first, from after ``before`` (a message's id) on; and where it goes on.

    A part may have fewer messages, even none, and go on all the same: see ``db.keyset``.
    """
    conditions = chosen_by.conditions()
    found, on = keyset.page(tx, select(messages), conditions, limit=limit, before=before)
    return [Message(**row) for row in found], on


def count(tx: Transaction, chosen_by: Filter, *, most: int = MOST_COUNTED) -> Count:
    """Count those messages, up to ``most`` + 1, as ``db.keyset`` does."""
    return keyset.count(tx, select(messages), chosen_by.conditions(), most=most)


def retryable(
    tx: Transaction, chosen_by: Filter, *, limit: int = MOST_AT_ONCE + 1
) -> Sequence[UUID]:
    """Choose up to ``limit`` of those messages that can be tried again, the oldest first.

    It only reads: to look through many that do not fit holds up nobody. Raises ValueError if no
    state is chosen: it would take what was sent.
    """
    if chosen_by.state is None:
        raise ValueError("choose a state")
    return _oldest(tx, chosen_by, _can_be("retry", chosen_by.state), limit)


def cancellable(
    tx: Transaction, chosen_by: Filter, *, limit: int = MOST_AT_ONCE + 1
) -> Sequence[UUID]:
    """Choose up to ``limit`` of those messages that can be cancelled, the oldest first.

    Raises ValueError unless the queued are chosen: only they can be.
    """
    if chosen_by.state != "queued":
        raise ValueError("choose those that are queued")
    return _oldest(tx, chosen_by, true(), limit)


def _oldest(
    tx: Transaction, chosen_by: Filter, fitting: ColumnElement[bool], limit: int
) -> Sequence[UUID]:
    chosen = select(messages.c.id).where(*chosen_by.conditions().all, fitting)
    return tx.execute(chosen.order_by(messages.c.id).limit(limit)).scalars().all()


def retry_all(tx: Transaction, ids: Sequence[UUID], state: State) -> tuple[int, bool]:
    """Queue messages again that are still in ``state``: how many, and whether any are left."""
    count, is_left = _change_all(tx, ids, "retry", state)
    if count:
        notify(tx, CHANNEL)
    return count, is_left


def cancel_all(tx: Transaction, ids: Sequence[UUID]) -> tuple[int, bool]:
    """Stop messages that are still queued from being sent: how many, and whether any are left.

    One that a worker is sending at this moment ends as ``sent`` if the mail server takes it.
    """
    return _change_all(tx, ids, "cancel", "queued")


def _change_all(
    tx: Transaction, ids: Sequence[UUID], change: Change, state: State
) -> tuple[int, bool]:
    """Change those that are still in ``state``.

    After a second no more are begun: sign-ups and deliveries wait on SQLite for as long as this
    takes. Left are also those that somebody else holds a lock on: an erasure locks a person and
    then their messages, so to wait for it here, with other messages locked, could be in a circle.
    """
    ends_at, begun, count, passed_over = time.monotonic() + MOST_SECONDS, 0, 0, 0
    while begun < len(ids) and (begun == 0 or time.monotonic() < ends_at):
        batch = ids[begun : begun + BATCH]
        given = {"rows": encode(tx.dialect.name, [{"id": id_} for id_ in batch]), "was": state}
        count += len(tx.execute(_change_some(tx.dialect.name, change, state), given).all())
        passed_over += tx.execute(_left(tx.dialect.name, change, state), given).scalar_one()
        begun += len(batch)
    return count, begun < len(ids) or passed_over > 0


@cache
def _change_some(dialect: str, change: Change, state: State) -> Executable:
    chosen = (
        select(messages.c.id)
        .where(*_given(dialect, change, state))
        .order_by(messages.c.id)
        .with_for_update(of=messages, skip_locked=True)
        .cte("chosen")
        .prefix_with("MATERIALIZED")
    )
    becomes = AGAIN if change == "retry" else {"state": "cancelled", "finished_at": now()}
    changed = update(messages).where(among(messages.c.id, select(chosen.c.id))).values(becomes)
    return changed.returning(messages.c.id)


@cache
def _left(dialect: str, change: Change, state: State) -> Executable:
    given = _given(dialect, change, state)
    return select(func.count()).select_from(messages).where(*given)


def _given(dialect: str, change: Change, state: State) -> Sequence[ColumnElement[bool]]:
    given = rows(dialect, messages.c.id)
    is_so = messages.c.state == bindparam("was")
    return [messages.c.id == given.c.id, beside(is_so), beside(_can_be(change, state))]


def _can_be(change: Change, state: State) -> ColumnElement[bool]:
    """Which of those in a state are changed: the queued are retried that wait for a next try."""
    waits = and_(messages.c.due_at > now(), ~IS_HELD)
    return waits if change == "retry" and state == "queued" else true()
