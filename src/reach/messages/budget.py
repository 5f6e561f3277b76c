"""The mail budget: how many emails strangers can have sent to one person.

It is counted in the outbox itself, in the transaction that would add to it: so it is the same over
all processes, and what was not sent does not count.
"""

import time
from collections.abc import Collection, Mapping
from functools import cache, partial
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, Float, Integer, bindparam, or_, select

from reach.db.prepared import Prepared
from reach.db.transaction import Transaction
from reach.db.types import CLOCKS_SECONDS, Key, beside, earliest_id, encode, now, rows
from reach.messages.model import STRANGERS, messages
from reach.settings import Settings

#: In a message's data: an operator promised it, so it is no stranger's.
BY_OPERATOR: Mapping[str, Any] = {"by_operator": True}


@cache
def _over(windows: int, of: tuple[str, ...]) -> Prepared:
    """Make what ``_find_over`` makes, for so many windows, of these templates."""
    return Prepared(partial(_find_over, windows=windows, of=of))


def _find_over(dialect: str, windows: int, of: tuple[str, ...]) -> Executable:
    """Find those who have used a window up: it looks for the last message of its quota."""
    given = rows(dialect, messages.c.person_id)
    last = [
        select(messages.c.id)
        .where(
            messages.c.person_id == given.c.person_id,
            messages.c.id >= bindparam("since", type_=Key),
            messages.c.created_at > now(-bindparam(f"seconds_{n}", type_=Float)),
            # Else a clock that was ahead for a moment would use it up for as long as it was ahead.
            messages.c.created_at <= now(CLOCKS_SECONDS),
            # An IN is expanded at every execution.
            beside(or_(*(messages.c.template == name for name in of))),
            messages.c.data["by_operator"].as_string().is_(None),
        )
        .correlate(given)
        .limit(1)
        .offset(bindparam(f"others_{n}", type_=Integer))
        .scalar_subquery()
        for n in range(windows)
    ]
    return select(given.c.person_id).where(or_(*(one.is_not(None) for one in last)))


def within(
    tx: Transaction,
    people: Collection[UUID],
    settings: Settings,
    *,
    of: tuple[str, ...] = STRANGERS,
) -> set[UUID]:
    """Choose those whom one more email may be sent that a stranger asked for, of all ``of`` these.

    Their rows must be locked, or two transactions could both send the last one.
    """
    windows = settings.policies["mail_per_address"].windows
    if not windows:
        return set(people)
    # Even if there are none: as many statements for all, or their time would tell who is known.
    values: dict[str, Any] = {
        "rows": encode(tx.dialect.name, [{"person_id": person} for person in people]),
        "since": earliest_id(time.time() - windows[-1].seconds - CLOCKS_SECONDS),
    }
    for n, window in enumerate(windows):
        values[f"seconds_{n}"] = window.seconds
        values[f"others_{n}"] = window.quota - 1
    over = _over(len(windows), of).rows(tx, values)
    return set(people) - {person_id for (person_id,) in over}
