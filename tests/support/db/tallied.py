"""What the counters say, and what counting gives."""

from collections import Counter
from datetime import UTC, datetime

from sqlalchemy import func, select

from reach.db import counters
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.messages.model import STATES, messages
from reach.people.model import people

#: Before every hourly count, and after the hour of the counters of now.
LONG_AGO = datetime(1970, 1, 1, 1, tzinfo=UTC)
OTHERS = ("confirmed", *STATES)


def counted(tx: Transaction) -> dict[str, int]:
    """Count people and messages, row by row."""
    by_state = select(messages.c.state, func.count().label("n")).group_by(messages.c.state)
    every, confirmed = tx.execute(select(func.count(), func.count(people.c.confirmed_at))).one()
    found = {row.state: row.n for row in tx.execute(by_state)}
    return {"people": every, "confirmed": confirmed, **dict.fromkeys(STATES, 0), **found}


def current(tx: Transaction) -> dict[str, int]:
    """What the counters say there is."""
    found = counters.read(tx, datetime.now(UTC))
    return {name: found.get((name, counters.CURRENT), 0) for name in ("people", *OTHERS)}


def hourly(tx: Transaction) -> Counter[str]:
    """What the counters say has happened, in whichever hour."""
    found: Counter[str] = Counter()
    for (name, hour), count in counters.read(tx, LONG_AGO).items():
        if hour != counters.CURRENT:
            found[name] += count
    return found


async def are_true(database: Database) -> bool:
    """Whether they are what counting gives, at one moment."""

    def compare(tx: Transaction) -> bool:
        return current(tx) == counted(tx)

    return await database.read(compare)


def row_count(tx: Transaction) -> int:
    """How many rows all counters take."""
    return tx.execute(select(func.count()).select_from(counters.counters)).scalar_one()
