"""How many there are: people, messages, sign-ups an hour. The same truth for all who ask.

Everything here costs the same at 1,000 and at 10,000,000 rows.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NoReturn
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, Integer, ScalarSelect, bindparam, func, select, text

from reach.db import counters
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import CLOCKS_SECONDS, Key, earliest_id, now
from reach.delivery.cleanup import IS_FAR, longest_wait_seconds
from reach.delivery.leases import FAILURES
from reach.messages.model import IS_QUEUED, STATES, State, messages
from reach.people.link_requests import link_requests
from reach.settings import Settings
from reach.telemetry import metrics

#: How many hours and days are shown, those that have begun among them.
HOURS, DAYS = 48, 90
#: Of so many messages it is said how long they took.
TIMED = 1000
#: A message that is queued for longer than this is late.
LATE_SECONDS = 60
#: So many late messages are counted, and no more: it reads each one's place in an index.
MOST_LATE = 10_000
#: How old what is shown may be.
FRESH_SECONDS = 5.0

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

_OLDEST_DUE = (
    select(messages.c.due_at)
    .where(IS_QUEUED, messages.c.due_at <= now())
    .order_by(messages.c.due_at)
    .limit(1)
)
#: It waits for a time that no rule can have set (see ``delivery.cleanup``): so it is due.
_FAR_DUE = select(messages.c.id).where(IS_FAR).limit(1)
#: By their ids, which sort by the time of the promise: ``created_at`` has no index. Those that were
#: promised in days to come are late too: the clock was ahead.
_PROMISED_BEFORE = messages.c.id < bindparam("first_in_time", type_=Key)
_PROMISED_AHEAD = messages.c.id > bindparam("last_in_time", type_=Key)


def _late(which: ColumnElement[bool]) -> ScalarSelect[int]:
    found = select(messages.c.id).where(IS_QUEUED, which).order_by(messages.c.id.desc())
    late = found.limit(bindparam("most_late", type_=Integer)).subquery("late")
    return select(func.count()).select_from(late).scalar_subquery()


#: By its id, which sorts by time. While no worker runs, nobody has looked it up: a message may be
#: owed.
_OLDEST_ASKED = select(link_requests.c.created_at).order_by(link_requests.c.id).limit(1)
_OUTBOX = select(
    _OLDEST_DUE.scalar_subquery().label("oldest_due_at"),
    _OLDEST_ASKED.scalar_subquery().label("oldest_asked_at"),
    _FAR_DUE.scalar_subquery().label("far_due"),
    (_late(_PROMISED_BEFORE) + _late(_PROMISED_AHEAD)).label("late"),
    now().label("as_of"),
)


#: By their ids: those that were promised last. Written so, only the index of states will do.
_TIMED = (
    select(messages.c.created_at, messages.c.finished_at)
    .where(messages.c.state.between(text("'sent'"), text("'sent'")))
    .order_by(messages.c.state.desc(), messages.c.id.desc())
    .limit(TIMED)
)


@dataclass(frozen=True, slots=True)
class Hour:
    """What happened in the hour from ``hour`` on.

    A message that fails, is tried again and fails again counts as two ``failures``. ``bounces`` and
    ``complaints`` are by when they were reported, and not by when the message was sent.
    """

    hour: datetime
    sign_ups: int
    deliveries: int
    failures: int
    bounces: int
    complaints: int


@dataclass(frozen=True, slots=True)
class Day:
    """What happened on a day (UTC)."""

    day: date
    sign_ups: int
    deliveries: int
    failures: int
    bounces: int
    complaints: int


@dataclass(frozen=True, slots=True)
class MailSeconds:
    """How long it took from a promise until the mail server had the email, at most.

    Half of the newest 1,000 that were sent took no longer than ``p50``, 99 of 100 than ``p99``.
    """

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Stats:
    """What the database held at ``as_of``, by its own clock.

    ``oldest_due_seconds`` is how long the longest due message has been due, or the oldest request
    for a link has waited to be looked up; 0 if there is none. One that waits for a time that no
    rule can have set counts as due for as long as the longest wait.
    ``late`` is how many queued messages were promised more than a minute ago, 10,000 at most.
    ``per_hour`` has the last 48 hours, ``per_day`` the last 90 days, the oldest first.
    ``mail_seconds`` is None if nothing was sent.
    """

    people: int
    confirmed: int
    messages: Mapping[State, int]
    oldest_due_seconds: float
    late: int
    mail_seconds: MailSeconds | None
    per_hour: Sequence[Hour]
    per_day: Sequence[Day]
    as_of: datetime


def read(tx: Transaction, settings: Settings) -> Stats:
    """Read it: a few index look-ups, a thousand messages, and five counters for each hour."""
    longest = longest_wait_seconds(settings)
    given = {
        "first_in_time": earliest_id(time.time() - LATE_SECONDS),
        "last_in_time": earliest_id(time.time() + CLOCKS_SECONDS),
        "most_late": MOST_LATE,
        "longest_seconds": longest,
    }
    outbox = tx.execute(_OUTBOX, given).one()
    this_hour = outbox.as_of.replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - n * HOUR for n in reversed(range(HOURS))]
    days = [this_hour.replace(hour=0) - n * DAY for n in reversed(range(DAYS))]
    found, by_day = counters.read_days(tx, hours[0], days[0])

    def counter(name: str, hour: datetime = counters.CURRENT) -> int:
        return found.get((name, hour), 0)

    return Stats(
        people=counter("people"),
        confirmed=counter("confirmed"),
        messages={state: counter(state) for state in STATES},
        oldest_due_seconds=max(
            _seconds_since(outbox.oldest_due_at, outbox.as_of),
            _seconds_since(outbox.oldest_asked_at, outbox.as_of),
            0.0 if outbox.far_due is None else longest,
        ),
        late=min(outbox.late, MOST_LATE),
        mail_seconds=_mail_seconds(tx),
        per_hour=[Hour(hour, *(counter(name, hour) for name in _HAPPENED)) for hour in hours],
        per_day=[
            Day(day.date(), *(by_day.get((name, day), 0) for name in _HAPPENED)) for day in days
        ],
        as_of=outbox.as_of,
    )


#: In the order of the fields of ``Hour`` and ``Day``.
_HAPPENED = (
    counters.SIGN_UPS,
    counters.DELIVERIES,
    counters.FAILURES,
    counters.BOUNCES,
    counters.COMPLAINTS,
)


def _mail_seconds(tx: Transaction) -> MailSeconds | None:
    """A clock that was set back meanwhile makes no time less than none."""
    took = sorted(
        max((row.finished_at - row.created_at).total_seconds(), 0.0)
        for row in tx.execute(_TIMED)
        if row.finished_at is not None
    )
    if not took:
        return None
    return MailSeconds(took[(len(took) - 1) // 2], took[(len(took) - 1) * 99 // 100])


def _seconds_since(then: datetime | None, as_of: datetime) -> float:
    return 0.0 if then is None else max((as_of - then).total_seconds(), 0.0)


class _Desk:
    """The stats that all who ask about one database are given, for 5 s."""

    def __init__(self) -> None:
        self.stats: Stats | None = None
        #: When they were asked for, on the monotonic clock.
        self.asked_at = -math.inf
        self._asking: asyncio.Task[Stats] | None = None

    @property
    def fresh_seconds(self) -> float:
        """For how much longer what is here is fresh enough."""
        return self.asked_at + FRESH_SECONDS - time.monotonic()

    async def ask(self, database: Database, settings: Settings) -> Stats:
        if self.stats is not None and self.fresh_seconds > 0:
            return self.stats
        if self._asking is None:
            self._asking = asyncio.create_task(
                self._read(database, settings), name="stats", context=Context()
            )
            self._asking.add_done_callback(self._forget)
        # A caller who gives up does not take it from the others.
        return await asyncio.shield(self._asking)

    async def _read(self, database: Database, settings: Settings) -> Stats:
        asked_at = time.monotonic()
        stats = await database.read(read, settings)
        self.stats, self.asked_at = stats, asked_at
        return stats

    def _forget(self, asking: asyncio.Task[Stats]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # those who asked have it, or have given up


_desks: WeakKeyDictionary[Database, _Desk] = WeakKeyDictionary()


def _desk(database: Database) -> _Desk:
    return _desks.setdefault(database, _Desk())


async def recent(database: Database, settings: Settings) -> Stats:
    """Give the stats of at most 5 s ago, the same to everybody in this process.

    All who ask meanwhile share one query, and its failure: that is not kept.
    Raises DatabaseUnavailable.
    """
    return await _desk(database).ask(database, settings)


async def keep_gauges(database: Database, settings: Settings) -> NoReturn:
    """Keep the gauges that show what the database holds at most 5 s old.

    While it is unavailable they are NaN, and so are not exposed: nobody is shown an old truth, and
    ``absent()`` tells.
    """
    show_unknown()
    while True:
        try:
            show(await recent(database, settings))
        except FAILURES:
            show_unknown()
            await asyncio.sleep(FRESH_SECONDS)
        else:
            await asyncio.sleep(max(_desk(database).fresh_seconds, 0))


def show(stats: Stats) -> None:
    """Set the gauges."""
    unconfirmed = stats.people - stats.confirmed
    _set(unconfirmed, stats.confirmed, stats.messages, stats.oldest_due_seconds, stats.late)


def show_unknown() -> None:
    """Say that nothing is known."""
    _set(math.nan, math.nan, dict.fromkeys(STATES, math.nan), math.nan, math.nan)


def _set(
    unconfirmed: float,
    confirmed: float,
    by_state: Mapping[State, float],
    oldest_due_seconds: float,
    late: float,
) -> None:
    metrics.Known.seen_at = time.monotonic()
    metrics.PEOPLE.labels("false").set(unconfirmed)
    metrics.PEOPLE.labels("true").set(confirmed)
    for state, count in by_state.items():
        metrics.OUTBOX_MESSAGES.labels(state).set(count)
    metrics.OUTBOX_OLDEST_DUE.set(oldest_due_seconds)
    metrics.OUTBOX_OVERDUE.set(late)
