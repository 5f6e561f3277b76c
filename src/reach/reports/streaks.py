"""Addresses that took no mail for a long time: bounces that may pass, one after the other."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import exists, select

from reach.db.transaction import Transaction
from reach.db.types import ascii_lower, beside, now
from reach.messages.model import messages, reports

#: So many bounces in a row, the first so long before the last, are taken for a dead mailbox.
MOST, LASTING = 5, timedelta(days=7)
#: Mail servers try for as long (RFC 5321 §4.5.4.1): what was sent before that, and did not come
#: back, has arrived.
TRIED = timedelta(days=5)
#: So many of a person's newest messages are looked at.
MOST_LOOKED_AT = 100


def has_bounced_for_long(tx: Transaction, person_id: UUID, key: str) -> bool:
    """Whether an address (by its key) of a person has bounced five times over seven days or more.

    Without a delivery between: neither one that was reported, nor a message that was sent between
    them and did not come back in time. Bounces that are about us do not count, either way.
    """
    delivered = exists().where(reports.c.message_id == messages.c.id, reports.c.kind == "delivered")
    bounced = reports.alias("bounced")
    newest = (
        select(
            messages.c.state,
            messages.c.finished_at,
            bounced.c.category,
            delivered.label("is_delivered"),
            now().label("as_of"),
        )
        .outerjoin_from(
            messages,
            bounced,
            (bounced.c.message_id == messages.c.id) & (bounced.c.kind == "bounced"),
        )
        .where(
            messages.c.person_id == person_id,
            beside(ascii_lower(messages.c.recipient) == key),
            beside(messages.c.finished_at.is_not(None)),
        )
        .order_by(messages.c.id.desc())
        .limit(MOST_LOOKED_AT)
    )
    times: list[datetime] = []
    for one in tx.execute(newest):
        has_arrived = one.state == "sent" and one.as_of - one.finished_at > TRIED
        if one.is_delivered or (has_arrived and times):
            break
        if one.category in ("transient", "undetermined"):
            times.append(one.finished_at)
    return len(times) >= MOST and max(times) - min(times) >= LASTING
