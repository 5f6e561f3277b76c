"""Writing down what was reported, and what follows: a message's state, an address suppressed.

Each message has one report of each kind, so what is told again changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import (
    Executable,
    column,
    select,
    table,
)
from sqlalchemy.dialects import postgresql, sqlite

from reach.db.transaction import Transaction, after_commit
from reach.db.types import Key, OrderedText, beside, encode, now, rows
from reach.events import noting
from reach.events.noting import Event
from reach.messages import reported, suppressions
from reach.messages.model import CONFIRM_ADDRESS, NOTICE, attempts, messages, reports
from reach.messages.reported import words_of
from reach.messages.suppressions import Suppressed
from reach.reports.model import TEXT_CHARACTERS, Report, Verdict
from reach.reports.streaks import has_bounced_for_long
from reach.reports.verdicts import address_key, verdict_on
from reach.telemetry.metrics import REPORTS

log = structlog.get_logger("reach.reports")

#: What became of a report. ``unmatched``: it is about no message of ours, or nothing shows that it
#: is. ``forged``: it has the look of a signature of ours, and none.
Taken = Literal["recorded", "known", "unmatched", "forged"]
#: Among so many of a person's newest messages the one is looked for that a provider means.
MOST_LOOKED_AT = 50

_people = table("people", column("id", Key), column("email_key", OrderedText))


@dataclass(frozen=True, slots=True)
class Claim:
    """A report, and which messages it may be about.

    ``signed`` is the one that a signature of ours names. ``named`` are those whose id it knows, the
    surest first: ids are not guessed, but seen by all who have the message, so such a report has to
    name its recipient too; unless it is ``is_verified``, by a provider's signature.
    """

    report: Report
    signed: UUID | None
    named: Sequence[UUID]
    is_verified: bool


class _Found(NamedTuple):
    id: UUID
    person_id: UUID | None
    template: str
    recipient: str
    #: That of its person's address now; None if it is for nobody.
    email_key: str | None

    @property
    def is_a_persons(self) -> bool:
        """Whether it is for a person, and not for the maker, or a test."""
        return self.person_id is not None and self.template != NOTICE

    @property
    def may_suppress(self) -> bool:
        """Whether what is reported of it may suppress its address: of a person's message, it may.

        But not of an address that its person has left: nothing of theirs is sent there, and when
        they are erased, nobody would find it. One that they want to have may be another's, who
        complains.
        """
        is_theirs = self.email_key == address_key(self.recipient)
        return self.is_a_persons and (is_theirs or self.template == CONFIRM_ADDRESS)


def record_all(tx: Transaction, claims: Sequence[Claim]) -> Sequence[Taken]:
    """Record what each report says of the message that it is about."""
    candidates = [_candidates(tx, claim) for claim in claims]
    found = _lock(tx, {id_ for ids in candidates for id_ in ids})
    given: dict[tuple[UUID, str], tuple[Claim, Verdict]] = {}
    meant: list[tuple[UUID, str] | None] = []
    for claim, ids in zip(claims, candidates, strict=True):
        about = _about(claim, [found[id_] for id_ in ids if id_ in found])
        meant.append(None)
        if about is not None:
            message, verdict = about
            meant[-1] = key = (message.id, verdict.kind)
            given.setdefault(key, (claim, verdict))
    new = _insert(tx, given) if given else set()
    _follow(tx, {key: given[key] for key in given if key in new}, found)
    taken: list[Taken] = []
    for one in meant:
        taken.append("unmatched" if one is None else "recorded" if one in new else "known")
        new.discard(one or (UUID(int=0), ""))  # a second one of the same commit is told again
    return taken


def _candidates(tx: Transaction, claim: Claim) -> Sequence[UUID]:
    """List the messages that a report may be about, the surest first.

    The last resort is what a provider calls the message: its mail server said that when it took it.
    """
    if claim.signed is not None:
        return [claim.signed]
    name = claim.report.clues.provider_id
    recipients = [one.recipient for one in claim.report.verdicts if one.recipient]
    if claim.named or not (claim.is_verified and name and recipients):
        return claim.named
    holder = select(_people.c.id).where(_people.c.email_key == address_key(recipients[0]))
    newest = (
        select(messages.c.id)
        .where(messages.c.person_id == holder.scalar_subquery())
        .order_by(messages.c.id.desc())
        .limit(MOST_LOOKED_AT)
    )
    said = (
        select(attempts.c.message_id)
        .where(
            attempts.c.message_id.in_(newest),
            beside(attempts.c.outcome == "sent"),
            beside(attempts.c.text.contains(name, autoescape=True)),
        )
        .order_by(attempts.c.message_id.desc())
        .limit(1)
    )
    return tx.execute(said).scalars().all()


def _lock(tx: Transaction, ids: Iterable[UUID]) -> Mapping[UUID, _Found]:
    """Find messages, and lock them in the order of their ids."""
    given = [{"id": id_} for id_ in sorted(ids)]
    if not given:
        return {}
    found = tx.execute(_find(tx.dialect.name), {"rows": encode(tx.dialect.name, given)})
    return {row.id: _Found(*row) for row in found}


@cache
def _find(dialect: str) -> Executable:
    given = rows(dialect, messages.c.id)
    wanted = (messages.c[name] for name in _Found._fields[:-1])
    return (
        select(*wanted, _people.c.email_key)
        .join_from(messages, given, messages.c.id == given.c.id)
        .outerjoin(_people, _people.c.id == messages.c.person_id)
        .order_by(messages.c.id)
        .with_for_update(of=messages)
    )


def _about(claim: Claim, candidates: Sequence[_Found]) -> tuple[_Found, Verdict] | None:
    """Choose the message that a report is about, and what it says of its recipient."""
    is_sure = claim.signed is not None or claim.is_verified
    for message in candidates:
        verdict = verdict_on(claim.report.verdicts, message.recipient, is_sure=is_sure)
        if verdict is not None:
            return message, verdict
    return None


@cache
def _add(dialect: str) -> Executable:
    add = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = rows(dialect, *reports.c[:-1])
    names = [c.name for c in reports.c]
    source = select(*(given.c[name] for name in names[:-1]), now())
    source = source.where(given.c.message_id.is_not(None))
    source = source.order_by(given.c.message_id, given.c.kind)
    made = add(reports).from_select(names, source).on_conflict_do_nothing()
    return made.returning(reports.c.message_id, reports.c.kind)


def _insert(
    tx: Transaction, given: Mapping[tuple[UUID, str], tuple[Claim, Verdict]]
) -> set[tuple[UUID, str]]:
    values: list[dict[str, object]] = [
        {
            "message_id": id_,
            "kind": kind,
            "category": verdict.category,
            "source": claim.report.source,
            "smtp_code": verdict.smtp_code,
            "enhanced_code": verdict.enhanced_code,
            "text": verdict.text[:TEXT_CHARACTERS],
        }
        for (id_, kind), (claim, verdict) in given.items()
    ]
    found = tx.execute(_add(tx.dialect.name), {"rows": encode(tx.dialect.name, values)})
    return {(row.message_id, row.kind) for row in found}


def _follow(
    tx: Transaction,
    new: Mapping[tuple[UUID, str], tuple[Claim, Verdict]],
    found: Mapping[UUID, _Found],
) -> None:
    """Do what follows from reports that are new: of a message's state, and of its address."""
    told: list[tuple[UUID, str, Verdict]] = []
    suppressed: list[Suppressed] = []
    happened: list[Event] = []
    for (id_, kind), (claim, verdict) in sorted(new.items(), key=lambda item: item[0]):
        after_commit(tx, partial(_tell, id_, claim.report.source, verdict))
        if kind not in ("bounced", "complained"):
            continue
        told.append((id_, kind, verdict))
        message = found[id_]
        if message.is_a_persons:
            happened.append(_event(message, verdict))
        if message.may_suppress and (cause := _cause(tx, message, verdict)) is not None:
            key = address_key(message.recipient)
            suppressed.append(Suppressed(key, cause, words_of(verdict), id_))
    reported.follow(tx, told)
    if happened:
        noting.note(tx, happened)
    suppressions.suppress_all(tx, suppressed)


def _event(message: _Found, verdict: Verdict) -> Event:
    """Tell others of a bounce or a complaint, with codes only."""
    assert message.person_id is not None
    codes = {"smtp_code": verdict.smtp_code, "enhanced_code": verdict.enhanced_code}
    details = {"template": message.template, "category": verdict.category, **codes}
    if verdict.kind == "complained":
        return Event("message.complained", message.person_id, message.id, details)
    return Event("message.bounced", message.person_id, message.id, details)


def _cause(tx: Transaction, message: _Found, verdict: Verdict) -> suppressions.Cause | None:
    """Say why nothing is to be sent to an address any more; None: it is."""
    if verdict.kind == "complained":
        return "complained"
    if verdict.category == "permanent":
        return "bounced"
    lasts = verdict.category in ("transient", "undetermined")
    assert message.person_id is not None
    key = address_key(message.recipient)
    return "bounced" if lasts and has_bounced_for_long(tx, message.person_id, key) else None


def _tell(id_: UUID, source: str, verdict: Verdict) -> None:
    REPORTS.labels(source, verdict.kind, verdict.category or "none").inc()
    log.info(
        "report recorded",
        reach_message_id=str(id_),
        source=source,
        kind=verdict.kind,
        category=verdict.category,
        smtp_code=verdict.smtp_code,
        enhanced_code=verdict.enhanced_code,
    )
