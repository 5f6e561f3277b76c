"""What operators ask of a message: look, retry, cancel. Of many: ``filters``."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import column, select, table, update

from reach.db.transaction import Transaction, notify
from reach.db.types import Key, now
from reach.messages.filters import AGAIN
from reach.messages.model import Attempt, Message, attempts, messages
from reach.messages.outbox import CHANNEL
from reach.problems import Conflict, NotFound

#: All that is known of them here.
_people = table("people", column("id", Key))


class NoSuchMessage(NotFound):
    """No message has this id, or it has been swept or erased."""

    type, title = "no-such-message", "There is no such message"


class AlreadySent(Conflict):
    """The mail server has taken this message: it can be neither retried nor cancelled."""

    type, title = "already-sent", "This message was sent"


class NotQueued(Conflict):
    """Only a message that is still queued can be cancelled."""

    type, title = "not-queued", "This message is not queued"


def view(tx: Transaction, message_id: UUID) -> Message:
    """Find a message. Raises NoSuchMessage."""
    row = tx.execute(select(messages).where(messages.c.id == message_id)).mappings().one_or_none()
    if row is None:
        raise NoSuchMessage
    return Message(**row)


def history(tx: Transaction, message_id: UUID) -> tuple[Message, Sequence[Attempt]]:
    """Find a message with every attempt, the oldest first. Raises NoSuchMessage."""
    statement = select(attempts).where(attempts.c.message_id == message_id).order_by(attempts.c.id)
    message = view(tx, message_id)
    return message, [Attempt(**row) for row in tx.execute(statement).mappings()]


def export(tx: Transaction, person_id: UUID) -> Sequence[dict[str, Any]]:
    """All that is stored of a person's messages, each with its attempts; the oldest first.

    But for the worker, which is ours, the lease, which says nothing of them, and the trace of the
    request that promised it, which may be an operator's or a stranger's.
    """
    theirs = select(messages).where(messages.c.person_id == person_id).order_by(messages.c.id)
    found = [dict(row) for row in tx.execute(theirs).mappings()]
    tries: dict[UUID, list[dict[str, Any]]] = {row["id"]: [] for row in found}
    made = select(attempts).join(messages).where(messages.c.person_id == person_id)
    for attempt in tx.execute(made.order_by(attempts.c.id)).mappings():
        shown = {name: attempt[name] for name in attempt if name not in ("worker", "message_id")}
        tries[attempt["message_id"]].append(shown)
    hidden = {"lease", "recorded_lease", "trace_context"}
    return [
        {**{name: row[name] for name in row if name not in hidden}, "history": tries[row["id"]]}
        for row in found
    ]


def hold_person(tx: Transaction, message_id: UUID) -> None:
    """Keep a message's person from being erased until the transaction ends.

    For who will refer to the person after the message is locked: an erasure locks them in the
    other order.
    """
    statement = (
        select(_people.c.id)
        .join_from(messages, _people, _people.c.id == messages.c.person_id)
        .where(messages.c.id == message_id)
        .with_for_update(read=True, key_share=True, of=_people)
    )
    tx.execute(statement)


def retry(tx: Transaction, message_id: UUID) -> Message:
    """Queue a message again, due now, its four days begun anew.

    One that a worker is sending at this moment stays with that worker: two would send it
    twice. Raises NoSuchMessage; AlreadySent.
    """
    statement = (
        update(messages)
        .where(messages.c.id == message_id, messages.c.state != "sent")
        .values(AGAIN)
        .returning(*messages.c)
    )
    row = tx.execute(statement).mappings().one_or_none()
    if row is None:
        view(tx, message_id)
        raise AlreadySent
    notify(tx, CHANNEL)
    return Message(**row)


def cancel(tx: Transaction, message_id: UUID) -> Message:
    """Stop a queued message from being sent.

    If a worker is sending it at this moment and the mail server takes it, it ends as
    ``sent``, because it was. Raises NoSuchMessage; NotQueued.
    """
    statement = (
        update(messages)
        .where(messages.c.id == message_id, messages.c.state == "queued")
        .values(state="cancelled", finished_at=now())
        .returning(*messages.c)
    )
    row = tx.execute(statement).mappings().one_or_none()
    if row is None:
        view(tx, message_id)
        raise NotQueued
    return Message(**row)
