"""What others are told of messages that are at their end: see ``reach.events``."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from reach.events.noting import Event
from reach.messages.outcome import Outcome, Sent

if TYPE_CHECKING:
    from reach.events.model import EventType


def ended(recorded: Iterable[Any], outcomes: Mapping[tuple[UUID, int], Outcome]) -> list[Event]:
    """Tell of people's messages that are sent or failed by an attempt, with codes only.

    ``recorded`` has each one's id, lease, state, template and person, ``outcomes`` are by id and
    lease. What was sent, and came back before that was recorded, was sent all the same.
    """
    told = []
    for row in recorded:
        outcome = outcomes[row.id, row.lease]
        kind: EventType | None = "message.failed" if row.state == "failed" else None
        if isinstance(outcome, Sent):
            kind = "message.sent"
        if kind is not None and row.person_id is not None:
            codes = {"smtp_code": outcome.code, "enhanced_code": outcome.enhanced}
            told.append(Event(kind, row.person_id, row.id, {"template": row.template, **codes}))
    return told
