"""Notices: the maker hears of sign-ups, each by an email or several in one.

A sign-up does nothing for it. The counters, which triggers keep in its own transaction, say how
many there have been; of how many an address was told is kept beside, by the hour. What lies
between is owed: a worker promises the message and notes it as told in one transaction. See
docs/decisions/0061-the-maker-hears.md.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

import anyio
import structlog
from sqlalchemy import Column, RowMapping, Table, Text, delete, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite

from reach.db import counters
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import (
    CLOCKS_SECONDS,
    Document,
    Instant,
    Key,
    beside,
    earliest_id,
    metadata,
    now,
)
from reach.delivery.cleanup import Sweep
from reach.delivery.leases import FAILURES, reason_of
from reach.messages import outbox
from reach.messages.model import NOTICE, State, messages
from reach.messages.outbox import CHANNEL, Promise
from reach.people.model import people
from reach.settings import Settings

log = structlog.get_logger("reach.worker")

#: An address gets no two notices sooner after each other, whatever it wants to hear.
MINUTE_SECONDS = 60.0
#: How often a worker looks whatever it is told, and how often at most.
POLL_SECONDS, LOOK_SECONDS = 5.0, 1.0
#: Told of are the sign-ups of so many days. Each notice writes down how many of each hour: so they
#: are fewer than the days whose counts are kept.
DAYS = 13
#: Among how many of the newest people the one is looked for who is to be named.
MOST_LOOKED_AT = 100
#: No sign-up takes so long to commit.
LONGEST = timedelta(seconds=60)
HOUR_SECONDS = 3600
#: What is told of one person.
NAMED = ("name", "email", "description")

#: A row for each address. ``told`` is of how many sign-ups of each hour it was told, by hours since
#: 1970. Who was one of several, and so was not named, signed up before ``unnamed_since``.
notices = Table(
    "notices",
    metadata,
    Column("address", Text, primary_key=True),
    Column("told", Document, nullable=False),
    Column("told_at", Instant, nullable=False),
    Column("unnamed_since", Instant, nullable=False),
    Column("message_id", Key),
)

_columns = notices.c
#: With what became of the last message.
_STATES = select(*_columns, messages.c.state, messages.c.finished_at, now()).select_from(
    notices.outerjoin(messages, messages.c.id == _columns.message_id)
)
_ADDRESSES = select(_columns.address)
#: What another worker has in hand is passed over.
_TAKE = _STATES.order_by(_columns.address).with_for_update(of=notices, skip_locked=True)
_NOW = select(now())


class Told(NamedTuple):
    """What one address was told, up to when, and what became of the last message."""

    address: str
    told: Mapping[str, int]
    told_at: datetime
    unnamed_since: datetime
    message_id: UUID | None
    message_state: State | None
    finished_at: datetime | None
    as_of: datetime

    def pause_seconds(self, settings: Settings) -> float:
        """How long it is to be told nothing; while the last message is queued, until the poll.

        What lies further ahead than any pause can was set by a clock that was wrong.
        """
        if self.message_state == "queued":
            return POLL_SECONDS
        pace_seconds = settings.notify_seconds
        ends = [self.told_at + timedelta(seconds=pace_seconds)]
        if self.message_id is not None:
            last = max(self.told_at, self.finished_at or self.told_at)
            ends.append(last + timedelta(seconds=MINUTE_SECONDS))
        seconds = (max(ends) - self.as_of).total_seconds()
        return max(seconds, 0.0) if seconds <= max(pace_seconds, 2 * MINUTE_SECONDS) else 0.0

    def owed(self, by_hour: Mapping[str, int]) -> int:
        """Of how many sign-ups it has not heard."""
        return sum(max(count - self.told.get(hour, 0), 0) for hour, count in by_hour.items())


def begin(tx: Transaction, settings: Settings) -> None:
    """Begin to tell those addresses that are new here: of what comes from now on."""
    known = set(tx.execute(_ADDRESSES).scalars())
    new = [address for address in settings.notify_addresses if address not in known]
    if not new:
        return
    as_of = tx.execute(_NOW).scalar_one()
    begun = {"told": _by_hour(_found(tx, as_of)), "told_at": as_of, "unnamed_since": as_of}
    add = (postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert)(notices)
    rows = [{"address": address, **begun} for address in new]
    tx.execute(add.values(rows).on_conflict_do_nothing())


def begin_again(tx: Transaction, settings: Settings) -> None:
    """Begin, and forget the addresses that are to be told no more."""
    known = set(tx.execute(_ADDRESSES).scalars())
    if gone := sorted(known.difference(settings.notify_addresses)):
        tx.execute(delete(notices).where(_columns.address.in_(gone)))
    begin(tx, settings)


def is_begun(tx: Transaction, settings: Settings) -> bool:
    """Whether each address has a row, and no other has."""
    return set(tx.execute(_ADDRESSES).scalars()) == set(settings.notify_addresses)


def look(tx: Transaction, settings: Settings) -> float | None:
    """Look whether somebody is to be told of a sign-up: None if so, else how long not to look."""
    states = _read(tx, _STATES, settings)
    if len(states) < len(settings.notify_addresses):
        return None
    pauses = [state.pause_seconds(settings) for state in states]
    ready = [state for state, seconds in zip(states, pauses, strict=True) if seconds == 0]
    if ready:
        by_hour = _by_hour(_found(tx, ready[0].as_of))
        if any(state.owed(by_hour) for state in ready):
            return None
    return min(pauses)


def tell(tx: Transaction, settings: Settings) -> int:
    """Promise a notice to each address that is owed one; returns how many.

    The counters are read after the one who may be named, and before the time: so who is named is
    counted, and who signs up after that time is not.
    """
    begin(tx, settings)
    states = _read(tx, _TAKE, settings)
    ready = [state for state in states if state.pause_seconds(settings) == 0]
    if not ready:
        return 0
    newcomers: dict[str, RowMapping | None] = {}
    if settings.notify_details:
        newcomers = {state.address: _newcomer(tx, state) for state in ready}
    found = _found(tx, ready[0].as_of)
    by_hour, total = _by_hour(found), found.get(("people", counters.CURRENT), 0)
    told_at = tx.execute(_NOW).scalar_one()
    owing = [state for state in ready if state.owed(by_hour)]
    promises = [
        _notice(state, state.owed(by_hour), total, newcomers.get(state.address)) for state in owing
    ]
    if promises:
        ids = outbox.promise(tx, promises, settings)
        for state, promised, message_id in zip(owing, promises, ids, strict=True):
            # Who is told of by name is found by that, so others of the last moment are not missed.
            is_named = promised.person_id is not None
            since = max(state.unnamed_since, told_at - LONGEST) if is_named else told_at
            changes = {"told": by_hour, "told_at": told_at, "message_id": message_id}
            tx.execute(
                update(notices)
                .where(_columns.address == state.address)
                .values(**changes, unnamed_since=since)
            )
    return len(promises)


def _read(tx: Transaction, statement: Any, settings: Settings) -> Sequence[Told]:
    found = map(Told._make, tx.execute(statement))
    return [state for state in found if state.address in settings.notify_addresses]


def _found(tx: Transaction, as_of: datetime) -> Mapping[tuple[str, datetime], int]:
    return counters.read(tx, as_of - timedelta(days=DAYS))


def _by_hour(found: Mapping[tuple[str, datetime], int]) -> dict[str, int]:
    """Count who signed up in each hour, without those whom operators added: they know."""
    return {
        str(int(hour.timestamp()) // HOUR_SECONDS): count - found.get((counters.ADDED, hour), 0)
        for (name, hour), count in found.items()
        if name == counters.SIGN_UPS and hour != counters.CURRENT
    }


def _newcomer(tx: Transaction, state: Told) -> RowMapping | None:
    """Find the one person who may be all that an address has not heard of; None if not just one.

    They stay as they are until the transaction ends.
    """
    heard = exists().where(
        messages.c.person_id == people.c.id,
        beside(messages.c.template == NOTICE),
        beside(messages.c.recipient == state.address),
    )
    since = earliest_id(state.unnamed_since.timestamp() - CLOCKS_SECONDS)
    newest = select(people.c.id).where(people.c.id >= since).order_by(people.c.id.desc())
    one = (
        select(people.c.id, people.c.created_at, *(people.c[name] for name in NAMED))
        .where(
            people.c.id.in_(newest.limit(MOST_LOOKED_AT)),
            people.c.created_at > state.unnamed_since,
            people.c.typed_version.is_not(None),
            ~heard,
        )
        .order_by(people.c.id.desc())
        .limit(2)
        .with_for_update(read=True, key_share=True, of=people)
    )
    found = tx.execute(one).mappings().all()
    return found[0] if len(found) == 1 else None


def _notice(state: Told, count: int, total: int, newcomer: RowMapping | None) -> Promise:
    """Make what says it. Of one person it is theirs, and goes with them; else it names nobody."""
    data: dict[str, Any] = {"count": count, "total": total, "since": _iso(state.told_at)}
    data["person"] = person_id = None
    if count == 1 and newcomer is not None:
        person_id = newcomer["id"]
        data["person"] = {name: newcomer[name] for name in NAMED}
        data["person"]["signed_up_at"] = _iso(newcomer["created_at"])
    return Promise(person_id, state.address, NOTICE, data, None)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


class Notices:
    """What a worker does beside delivering, so that the maker hears."""

    channel, waiting = CHANNEL, None
    sweeps: Sequence[Sweep] = ()

    def __init__(self, settings: Settings, database: Database) -> None:
        """Take the collaborators; from now on it notices what is promised, as sign-ups do."""
        self._settings = settings
        self._database = database
        self._came = database.subscribe(CHANNEL)

    def wake(self) -> None:
        """Look now, whatever has come."""
        self._came.set()

    async def run(self) -> NoReturn:
        """Tell of sign-ups as they come, until cancelled. It looks first: idle, it writes nothing.

        What it is cut off in is all done or not at all, and then falls to the next worker.
        """
        has_begun = False
        while True:
            self._came.clear()
            pause: float | None = 0.0
            try:
                if not has_begun:
                    if not await self._database.read(is_begun, self._settings):
                        await self._database.write(begin_again, self._settings)
                    has_begun = True
                if not self._settings.notify_addresses:
                    await anyio.sleep_forever()
                pause = await self._database.read(look, self._settings)
                if pause is None:
                    await self._database.write(tell, self._settings)
            except FAILURES as error:
                log.warning("cannot tell of sign-ups", reason=reason_of(error))
            await anyio.sleep(max(min(pause or 0.0, POLL_SECONDS), LOOK_SECONDS))
            if pause == 0:
                with anyio.move_on_after(POLL_SECONDS):
                    await self._came.wait()


async def begin_early(database: Database, settings: Settings) -> None:
    """Begin before the first sign-up is taken here: a worker may start later.

    If the database does not answer yet, a worker begins once it does.
    """
    try:
        if not await database.read(is_begun, settings):
            await database.write(begin, settings)
    except FAILURES as error:
        log.warning("cannot tell of sign-ups", reason=reason_of(error))
