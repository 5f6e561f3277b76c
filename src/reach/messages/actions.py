"""What operators do with messages, by whatever way: each is noted in the audit trail with it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from reach.auth import audit
from reach.auth.audit import Actor
from reach.db.transaction import Transaction
from reach.messages import filters, outbox, suppressions
from reach.messages.filters import Filter
from reach.messages.model import TEST, Message
from reach.messages.outbox import Promise
from reach.messages.suppressions import Suppressed, Suppression
from reach.settings import Settings


def retry(tx: Transaction, actor: Actor, message_id: UUID) -> Message:
    """Queue a message again, due now. Raises NoSuchMessage; AlreadySent."""
    message = outbox.retry(tx, message_id)
    audit.note(tx, actor, "message.retry", message_id)
    return message


def cancel(tx: Transaction, actor: Actor, message_id: UUID) -> Message:
    """Stop a queued message from being sent. Raises NoSuchMessage; NotQueued."""
    message = outbox.cancel(tx, message_id)
    audit.note(tx, actor, "message.cancel", message_id)
    return message


def retry_all(
    tx: Transaction, actor: Actor, ids: Sequence[UUID], chosen_by: Filter
) -> tuple[int, bool]:
    """Queue messages again that are still in the filter's state: see ``filters.retry_all``.

    Raises ValueError if no state is chosen.
    """
    if chosen_by.state is None:
        raise ValueError("choose a state")
    count, is_left = filters.retry_all(tx, ids, chosen_by.state)
    if count:
        audit.note(tx, actor, "messages.retry", count=count, **_told(chosen_by))
    return count, is_left


def send_test(  # noqa: PLR0913 - what it is, for whom, and who does it
    tx: Transaction,
    actor: Actor,
    template: str,
    recipient: str,
    language: str,
    *,
    settings: Settings,
) -> UUID:
    """Promise somebody an email that shows a template, with sample data; returns the message's id.

    It goes the way of every other one, so it shows too whether mail gets there.
    """
    test = Promise(None, recipient, template, {TEST: True, "language": language})
    (message_id,) = outbox.promise(tx, [test], settings)
    audit.note(tx, actor, "template.send-test", message_id, template=template, language=language)
    return message_id


def cancel_all(
    tx: Transaction, actor: Actor, ids: Sequence[UUID], chosen_by: Filter
) -> tuple[int, bool]:
    """Stop messages that are still queued from being sent: see ``filters.cancel_all``."""
    count, is_left = filters.cancel_all(tx, ids)
    if count:
        audit.note(tx, actor, "messages.cancel", count=count, **_told(chosen_by))
    return count, is_left


def suppress(
    tx: Transaction, actor: Actor, email_key: str, note: str = ""
) -> tuple[Suppression, bool]:
    """Have nothing sent to an address; returns what is noted of it now, and whether that is new.

    A complaint stays as it is: it is the owner's own word. What changes nothing is not in the audit
    trail.
    """
    is_new = suppressions.find_by_key(tx, email_key) is None
    is_changed = suppressions.suppress_all(tx, [Suppressed(email_key, "operator", note)])
    found = suppressions.find_by_key(tx, email_key)
    assert found is not None  # it is locked, or is a complaint, which no bounce or sign-up lifts
    if is_changed:
        audit.note(tx, actor, "suppression.add", found.id, cause=found.cause)
    return found, is_new


def lift(tx: Transaction, actor: Actor, suppression_id: UUID) -> Suppression:
    """Have mail sent to an address again. Raises NoSuchSuppression."""
    lifted = suppressions.lift(tx, suppression_id)
    audit.note(tx, actor, "suppression.lift", suppression_id, cause=lifted.cause)
    return lifted


def _told(chosen_by: Filter) -> dict[str, Any]:
    """Write a filter down for the audit trail: of a recipient, only that there is one."""
    told: dict[str, Any] = {"state": chosen_by.state}
    if chosen_by.template is not None:
        told["template"] = chosen_by.template
    if chosen_by.recipient is not None:
        told["recipient"] = True
    if chosen_by.person_id is not None:
        told["person_id"] = str(chosen_by.person_id)
    for name in ("since", "until"):
        if (time := getattr(chosen_by, name)) is not None:
            told[name] = time.isoformat()
    return told
