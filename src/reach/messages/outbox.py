"""The outbox, from the side of those who ask: promise an email, look at one, retry, cancel.

What a worker does with it is in ``queue``; how many messages are found together, in ``filters``.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Executable,
    Select,
    Text,
    bindparam,
    case,
    column,
    insert,
    literal,
    select,
    table,
    text,
    update,
)

from reach.db.prepared import Prepared
from reach.db.transaction import Transaction, notify
from reach.db.types import Key, among, beside, encode, new_id, now, rows
from reach.messages.model import (
    IS_QUEUED,
    IS_SENT,
    NOTICE,
    Attempt,
    History,
    Message,
    Reported,
    State,
    attempts,
    messages,
    reports,
)
from reach.problems import Conflict, NotFound
from reach.settings import Settings
from reach.telemetry.traces import current_header

#: Workers wait for this to be announced.
CHANNEL = "reach_messages"
#: All that is known of people here.
_people = table("people", column("id", Key))

#: A worker is sending it at this moment.
IS_HELD = (messages.c.lease > messages.c.recorded_lease) & (messages.c.due_at > now())
#: What a message becomes that is tried again: due now, its four days begin again. One that is held
#: stays with its worker: two would send it twice.
AGAIN: dict[str, Any] = {
    "state": "queued",
    "due_at": case((IS_HELD, messages.c.due_at), else_=now()),
    "failures": 0,
    "first_failed_at": None,
    "suspected_at": None,
    "finished_at": None,
}


class NoSuchMessage(NotFound):
    """No message has this id, or it has been swept or erased."""

    type, title = "no-such-message", "There is no such message"


class AlreadySent(Conflict):
    """The mail server has taken this message: it can be neither retried nor cancelled."""

    type, title = "already-sent", "This message was sent"


class NotQueued(Conflict):
    """Only a message that is still queued can be cancelled."""

    type, title = "not-queued", "This message is not queued"


@dataclass(frozen=True, slots=True)
class Promise:
    """An email that somebody is to get. ``data`` is what its template needs.

    It goes with the person of ``person_id`` when they are erased.

    ``trace_context`` says which request it comes of (see ``telemetry.trace_context``): that in
    which it is made. In a commit that many share it has to be told.
    """

    person_id: UUID | None
    recipient: str = field(repr=False)
    template: str
    data: Mapping[str, Any] = field(repr=False)
    trace_context: str | None = field(default_factory=current_header)


_PROMISED = [messages.c[n] for n in ("id", "person_id", "template", "data", "recipient")]
_PROMISED += [messages.c.message_id, messages.c.trace_context]


@Prepared
def _promise(dialect: str) -> Executable:
    given = rows(dialect, *_PROMISED)
    fixed = {
        "state": literal("queued"),
        "due_at": now(),
        "lease": 0,
        "recorded_lease": 0,
        "attempts": 0,
        "failures": 0,
        "created_at": now(),
    }
    source = select(*(given.c[c.name] for c in _PROMISED), *fixed.values())
    return insert(messages).from_select([*(c.name for c in _PROMISED), *fixed], source)


def promise(tx: Transaction, promises: Sequence[Promise], settings: Settings) -> Sequence[UUID]:
    """Write messages into the outbox, in the caller's transaction; its COMMIT wakes a worker.

    Their ``Message-ID`` and ``Date`` are fixed here. Returns their ids, in order. That there are
    none is no shortcut: the time that it saved would tell strangers something.
    """
    ids: list[UUID] = []
    given: list[dict[str, object]] = []
    for promised in promises:
        id_ = new_id()
        ids.append(id_)
        given.append(
            {
                "id": id_,
                "person_id": promised.person_id,
                "template": promised.template,
                "data": promised.data,
                "recipient": promised.recipient,
                "message_id": f"<{id_}@{settings.mail_domain}>",
                "trace_context": promised.trace_context,
            }
        )
    _promise.rows(tx, {"rows": encode(tx.dialect.name, given)})
    notify(tx, CHANNEL)
    return ids


@Prepared
def _supersede(dialect: str) -> Executable:
    """Lock in one order, by ids, as all do who lock several: then nobody waits in a circle.

    The state is no parameter: there are indexes for one state alone, so SQLite would prepare the
    statement again at each execution, to see whether they are for this one.
    """
    given = rows(dialect, messages.c.person_id)
    older = (
        select(messages.c.id)
        .join_from(messages, given, messages.c.person_id == given.c.person_id)
        .where(
            beside(messages.c.template == text("'welcome'")),
            beside(IS_QUEUED),
        )
        .order_by(messages.c.id)
        .with_for_update(of=messages)
        .cte("older")
        .prefix_with("MATERIALIZED")
    )
    # Not as a condition: Postgres takes so few rows to be without it that it would read them all.
    goes = messages.c.data["by_operator"].as_string().is_(None)
    return (
        update(messages)
        .where(among(messages.c.id, select(older.c.id)))
        .values(
            state=case((goes, "cancelled"), else_=messages.c.state),
            finished_at=case((goes, now()), else_=messages.c.finished_at),
            last_error=case((goes, bindparam("reason", type_=Text)), else_=messages.c.last_error),
        )
    )


def supersede_welcomes(tx: Transaction, people: Iterable[UUID], *, reason: str) -> None:
    """Cancel the welcomes that are queued for people who are locked: newer ones are promised.

    What an operator promised stays: it may say something else, and is no stranger's to cancel.
    One that a worker is sending at this moment ends as ``sent`` if the mail server takes it,
    because it was. That there are no people is no shortcut, as for ``promise``.
    """
    given = encode(tx.dialect.name, [{"person_id": person_id} for person_id in people])
    _supersede.rows(tx, {"rows": given, "reason": reason})


def supersede(
    tx: Transaction,
    person_id: UUID,
    templates: Collection[str],
    *,
    reason: str,
    state: State = "cancelled",
) -> None:
    """Cancel, or suppress, what is queued of these templates for a person who is locked.

    One that a worker is sending at this moment ends as ``sent`` if the mail server takes it.
    """
    chosen = _of_person(person_id, messages.c.template.in_(templates), IS_QUEUED)
    ended = {"state": state, "finished_at": now(), "last_error": reason}
    tx.execute(update(messages).where(among(messages.c.id, chosen)).values(ended))


def readdress(tx: Transaction, person_id: UUID, recipient: str, *, but: str) -> None:
    """Have all that was not sent to a person who is locked go elsewhere, ``but`` one template.

    What failed, or was cancelled, too: it may be retried, and then has links that are good. Notices
    that name the person go to the maker, as before.
    """
    template = messages.c.template
    theirs = ~IS_SENT, template != but, template != NOTICE
    chosen = _of_person(person_id, *theirs)
    moved = update(messages).where(among(messages.c.id, chosen)).values(recipient=recipient)
    tx.execute(moved)


def _of_person(person_id: UUID, *conditions: ColumnElement[bool]) -> Select[Any]:
    """Lock some of a person's messages, by their ids, as all do who lock several."""
    theirs = select(messages.c.id).where(messages.c.person_id == person_id)
    theirs = theirs.where(*map(beside, conditions)).order_by(messages.c.id)
    chosen = theirs.with_for_update().cte("chosen").prefix_with("MATERIALIZED")
    return select(chosen.c.id)


def view(tx: Transaction, message_id: UUID) -> Message:
    """Find a message. Raises NoSuchMessage."""
    row = tx.execute(select(messages).where(messages.c.id == message_id)).mappings().one_or_none()
    if row is None:
        raise NoSuchMessage
    return Message(**row)


def history(tx: Transaction, message_id: UUID) -> History:
    """Find a message with every attempt and report, the oldest first. Raises NoSuchMessage."""
    message = view(tx, message_id)
    tries = select(attempts).where(attempts.c.message_id == message_id).order_by(attempts.c.id)
    told = select(reports).where(reports.c.message_id == message_id)
    return History(
        message,
        [Attempt(**row) for row in tx.execute(tries).mappings()],
        sorted((Reported(**row) for row in tx.execute(told).mappings()), key=_when),
    )


def _when(report: Reported) -> tuple[datetime, str]:
    return report.reported_at, report.kind


def export(tx: Transaction, person_id: UUID) -> Sequence[dict[str, Any]]:
    """All that is stored of a person's messages, with attempts and reports; the oldest first.

    But for the worker, which is ours, the lease, which says nothing of them, and the trace of the
    request that promised it, which may be an operator's or a stranger's. Of a notice that names
    them: what it says, but not to whom it went and what became of it, which is the maker's.
    """
    theirs = select(messages).where(messages.c.person_id == person_id).order_by(messages.c.id)
    found = [dict(row) for row in tx.execute(theirs).mappings()]
    tries: dict[UUID, list[dict[str, Any]]] = {row["id"]: [] for row in found}
    made = select(attempts).join(messages).where(messages.c.person_id == person_id)
    for attempt in tx.execute(made.order_by(attempts.c.id)).mappings():
        shown = {name: attempt[name] for name in attempt if name not in ("worker", "message_id")}
        tries[attempt["message_id"]].append(shown)
    told: dict[UUID, list[dict[str, Any]]] = {row["id"]: [] for row in found}
    reported = select(reports).join(messages).where(messages.c.person_id == person_id)
    for report in tx.execute(reported.order_by(reports.c.reported_at)).mappings():
        shown = {name: report[name] for name in report if name != "message_id"}
        told[report["message_id"]].append(shown)
    hidden = {"lease", "recorded_lease", "trace_context"}
    return [
        {name: row[name] for name in ("id", "template", "data", "created_at")}
        if row["template"] == NOTICE
        else {
            **{name: row[name] for name in row if name not in hidden},
            "history": tries[row["id"]],
            "reports": told[row["id"]],
        }
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
    """Queue a message again, due now, its four days begin again.

    One that a worker is sending at this moment stays with that worker: two would send it
    twice. Raises NoSuchMessage; AlreadySent.
    """
    statement = (
        update(messages)
        .where(messages.c.id == message_id, ~IS_SENT)
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
